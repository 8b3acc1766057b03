//! Requests to a hub: where they may go, who may know the token, what the answers mean.

use super::checksum::Checksum;
use super::listing::Listing;
use super::patience::{Ended, Hitch, Patience, attempts};
use super::{Error, Repo, Settings, Watch};
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// A hub, asked for one repository.
pub(super) struct Client<'a> {
    pub(super) settings: &'a Settings,
    pub(super) repo: &'a Repo,
    agent: Agent,
    /// And where it is from.
    token: Option<(String, String)>,
}

/// How asking a hub ended badly.
#[derive(Debug)]
pub(super) enum Failed {
    /// No answer came, whatever is asked.
    Unreachable(String),
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// How an attempt ended badly.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another may go well.
    Again(Hitch),
    /// Another would go the same way.
    Never(Error),
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Never(error.into())
    }
}

/// What a hub says of a file before it comes.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) checksum: Option<Checksum>,
    pub(super) size: Option<u64>,
    commit: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get { from: u64 },
    Head,
}

/// Addresses that one request may be sent on to.
const MOST_REDIRECTS: usize = 10;
/// Bytes of a listing.
const LARGEST_LISTING: u64 = 32 << 20;
const USER_AGENT: &str = concat!("spot/", env!("CARGO_PKG_VERSION"));

impl<'a> Client<'a> {
    /// A client of a repository.
    ///
    /// # Errors
    /// If the certificates or the token cannot be read, or are malformed.
    pub(super) fn new(settings: &'a Settings, repo: &'a Repo) -> Result<Self, Error> {
        let mut tls = TlsConfig::builder();
        if let Some(file) = settings.certificates() {
            let pem = fs_err::read(file)?;
            let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| if let Ok(PemItem::Certificate(one)) = item { Some(one) } else { None })
                .collect();
            if certificates.is_empty() {
                return Err(Error::Refused(format!("`{}` holds no certificate in PEM", file.display())));
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .http_status_as_error(false)
            // They are followed here, so that a token is sent to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .timeout_resolve(Some(settings.timeout()))
            .timeout_connect(Some(settings.timeout()))
            .timeout_per_read(Some(settings.timeout()))
            .timeout_per_write(Some(settings.timeout()));
        let token = settings.token().map_err(Error::Refused)?;
        Ok(Self { settings, repo, agent: config.build().into(), token })
    }

    /// What the repository has at its revision.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses, or its answer is not a listing of this revision.
    pub(super) fn listing(&self, watch: &dyn Watch) -> Result<Listing, Failed> {
        let url = format!("{}{}", self.settings.endpoint(), self.repo.listing_path());
        let json = self.patiently(watch, || {
            let (response, _) = self.send(Method::Get { from: 0 }, &url)?;
            let mut json = Vec::new();
            let mut body = response.into_body().into_reader().take(LARGEST_LISTING + 1);
            body.read_to_end(&mut json).map_err(|error| again(&url, &error))?;
            Ok(json)
        })?;
        let told =
            |why: &str| Error::Refused(format!("what {} says of {} makes no sense: {why}", shown(&url), self.repo));
        if json.len() as u64 > LARGEST_LISTING {
            return Err(told("it is longer than 32 MB").into());
        }
        let listing = Listing::of(&json).map_err(|why| told(&why))?;
        match self.repo.pinned() {
            Some(commit) if commit != listing.sha => Err(told(&format!("it is of the commit {}", listing.sha)).into()),
            _ => Ok(listing),
        }
    }

    /// What the hub says of a file at a commit.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses, or answers for another commit.
    pub(super) fn head(&self, commit: &str, name: &str, watch: &dyn Watch) -> Result<Head, Failed> {
        let url = self.file_url(commit, name);
        let head = self.patiently(watch, || Ok(self.send(Method::Head, &url)?.1))?;
        match &head.commit {
            Some(other) if other != commit => Err(Failed::Other(Error::Refused(format!(
                "{} answers for the commit {}; expected {commit}",
                shown(&url),
                other.escape_debug()
            )))),
            _ => Ok(head),
        }
    }

    pub(super) fn file_url(&self, commit: &str, name: &str) -> String {
        format!("{}{}", self.settings.endpoint(), self.repo.file_path(commit, name))
    }

    /// A file from some byte on: the answer to one attempt, which may begin elsewhere.
    ///
    /// # Errors
    /// If the connection fails, or the hub refuses; says whether another attempt may help.
    pub(super) fn open(&self, url: &str, from: u64) -> Result<Response<Body>, Trouble> {
        Ok(self.send(Method::Get { from }, url)?.0)
    }

    /// Tries something as often as it may go well.
    fn patiently<T>(&self, watch: &dyn Watch, mut attempt: impl FnMut() -> Result<T, Trouble>) -> Result<T, Failed> {
        let mut patience = Patience::new(self.settings.pause());
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(trouble) => self.endure(trouble, &mut patience, watch)?,
            }
        }
    }

    /// Waits for another attempt, if there may be one.
    ///
    /// # Errors
    /// If there may be no other attempt, this was the last, or somebody asked to stop.
    pub(super) fn endure(&self, trouble: Trouble, patience: &mut Patience, watch: &dyn Watch) -> Result<(), Failed> {
        match trouble {
            Trouble::Never(error) => Err(error.into()),
            Trouble::Again(hitch) => patience.after(hitch, watch).map_err(|ended| match ended {
                Ended::Stopped => Error::Stopped.into(),
                Ended::Exhausted(hitch) => Failed::Unreachable(format!("{}, after {}", hitch.why, attempts())),
            }),
        }
    }

    /// Sends a request, and again to where the answers point. A `HEAD` stops before another host: what is asked for is in the
    /// answer that points there.
    fn send(&self, method: Method, url: &str) -> Result<(Response<Body>, Head), Trouble> {
        let (mut url, mut head) = (url.to_owned(), Head::default());
        for _ in 0..=MOST_REDIRECTS {
            let response = self.request(method, &url)?;
            head.note(&response);
            if !response.status().is_redirection() {
                return match self.meaning(&url, &response) {
                    None => Ok((response, head)),
                    Some(trouble) => Err(trouble),
                };
            }
            let next = header(&response, "location").and_then(|place| joined(&url, place));
            let next = next.ok_or_else(|| refused(&url, "redirects to an address that cannot be followed"))?;
            if method == Method::Head && !same_origin(&url, &next) {
                return Ok((response, head));
            }
            url = next;
        }
        Err(refused(&url, "redirects without end").into())
    }

    fn request(&self, method: Method, url: &str) -> Result<Response<Body>, Trouble> {
        let request = match method {
            Method::Get { .. } => self.agent.get(url),
            Method::Head => self.agent.head(url),
        };
        let request = match method {
            Method::Get { from } if from > 0 => request.header("range", format!("bytes={from}-")),
            _ => request,
        };
        let request = match &self.token {
            Some((token, _)) if same_origin(url, self.settings.endpoint()) => {
                request.header("authorization", format!("Bearer {token}"))
            }
            _ => request,
        };
        request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                refused(url, &error.to_string()).into()
            }
            // What rustls finds wrong with the other side comes as data that are invalid.
            ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => unsafe_connection(url, &error).into(),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => unsafe_connection(url, &error).into(),
            error => Trouble::Again(Hitch::new(format!("{} cannot be reached ({error})", host(url)))),
        })
    }

    /// What is wrong with an answer; nothing if it brings what was asked for.
    fn meaning(&self, url: &str, response: &Response<Body>) -> Option<Trouble> {
        let (status, place) = (response.status().as_u16(), host(url));
        let why = match status {
            // 416: there is nothing from there on; whoever asked for it knows better.
            200 | 206 | 416 => return None,
            429 => format!(
                "{place} has had too many requests from here (429); with a user's token (HF_TOKEN) it allows more"
            ),
            408 | 500..=599 => format!("{place} is in trouble ({status})"),
            // The address of a large file is good for a while; the next attempt is given another.
            400..=499 if !same_origin(url, self.settings.endpoint()) => {
                format!("{place}, where the hub has the file, does not give it ({status})")
            }
            _ => {
                let code = header(response, "x-error-code").unwrap_or_default();
                return Some(Trouble::Never(Error::Refused(self.refusal(url, status, code))));
            }
        };
        let wait = header(response, "retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Some(Trouble::Again(Hitch { why, wait }))
    }

    /// What the hub means by refusing, and what to do.
    fn refusal(&self, url: &str, status: u16, code: &str) -> String {
        let (repo, place, endpoint) = (self.repo, host(url), self.settings.endpoint());
        let (page, tokens) = (format!("{endpoint}{}", repo.page()), format!("{endpoint}/settings/tokens"));
        let whose = self.token.as_ref().map(|(_, place)| place.as_str());
        match (status, code, whose) {
            (_, "GatedRepo", None) => format!(
                "{repo} is given to those who accept its terms: accept them at {page}, and set HF_TOKEN to a token of yours"
            ),
            (_, "GatedRepo", Some(token)) => format!(
                "{repo} is given to those who accept its terms, and the user of the token of {token} has not: accept them at {page}"
            ),
            (_, "RevisionNotFound", _) => {
                format!("{repo}: there is no such revision ({status}); look at {page}/tree/main")
            }
            (_, "EntryNotFound", _) => format!("{} is not there ({status}); look at {page}/tree/main", shown(url)),
            (401, "RepoNotFound" | "", None) => format!(
                "{repo}: {place} has no such repository, or shows it only to some users (401): check the name, or set HF_TOKEN to a token \
                 of {tokens}"
            ),
            (401, _, Some(token)) => format!(
                "{repo}: {place} does not accept the token of {token}, or has no such repository for it (401): check the name, or make \
                 a new token at {tokens}"
            ),
            (403, _, Some(token)) => {
                format!("{repo}: the token of {token} may not read it (403); give it that right at {tokens}")
            }
            (401 | 403, _, None) => {
                format!("{repo}: {place} shows it only to some users ({status}); set HF_TOKEN to a token of {tokens}")
            }
            (404 | 410, ..) => {
                format!("{repo}: {place} has no such repository or revision ({status}); check the name at {page}")
            }
            _ => format!("{repo}: {} answers {status}, which is not understood; is HF_ENDPOINT right?", shown(url)),
        }
    }
}

impl Head {
    /// What an answer says on the way; the first counts, as it is the hub's own.
    fn note(&mut self, response: &Response<Body>) {
        let redirected = response.status().is_redirection();
        let own = |name| header(response, name).filter(|_| !redirected);
        let etag = header(response, "x-linked-etag").or_else(|| own("etag"));
        let size = header(response, "x-linked-size").or_else(|| own("content-length"));
        self.checksum = self.checksum.take().or_else(|| etag.and_then(Checksum::of_etag));
        self.size = self.size.or_else(|| size?.trim().parse().ok());
        self.commit = self.commit.take().or_else(|| header(response, "x-repo-commit").map(str::to_owned));
    }
}

pub(super) fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

pub(super) fn again(url: &str, error: &std::io::Error) -> Trouble {
    Trouble::Again(Hitch::new(format!("the connection to {} broke off ({error})", host(url))))
}

fn refused(url: &str, why: &str) -> Error {
    Error::Refused(format!("{} {why}", shown(url)))
}

fn unsafe_connection(url: &str, error: &dyn std::error::Error) -> Error {
    let why = format!(
        "offers no secure connection ({error}); if a proxy has its own certificate, name its file by SSL_CERT_FILE"
    );
    refused(host(url), &why)
}

/// An address for messages: without its query, which may be a secret of whoever may read it.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// The beginning of an address, up to its host and port.
fn host(url: &str) -> &str {
    let path = url.find("://").map_or(0, |at| at + 3);
    let end = url[path..].find(['/', '?', '#']).map_or(url.len(), |at| path + at);
    &url[..end]
}

fn same_origin(one: &str, other: &str) -> bool {
    host(one).eq_ignore_ascii_case(host(other))
}

/// The address that a `Location` means which came from `base`. What was encrypted stays so.
fn joined(base: &str, location: &str) -> Option<String> {
    let next = if location.starts_with("https://") || location.starts_with("http://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{}:{location}", base.split(':').next()?)
    } else if location.starts_with('/') {
        format!("{}{location}", host(base))
    } else {
        return None;
    };
    let uri: Uri = next.parse().ok()?;
    // A name before the host may look like the host.
    let authority = uri.authority()?.as_str();
    let open = base.starts_with("https://") && !next.starts_with("https://");
    (!authority.contains('@') && !open).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_followed_where_they_are_plain() {
        let base = "https://hub.co:8/a/b?x=1";
        let all = [
            ("/c", Some("https://hub.co:8/c")),
            ("//cdn.co/c", Some("https://cdn.co/c")),
            ("https://cdn.co/c?y", Some("https://cdn.co/c?y")),
            ("http://cdn.co/c", None),
            ("c", None),
            ("file:///etc/passwd", None),
            ("https://hub.co:8@evil.co/", None),
            ("https://a b/", None),
        ];
        for (location, expected) in all {
            assert_eq!(joined(base, location).as_deref(), expected, "{location}");
        }
        assert_eq!(joined("http://hub", "http://cdn.co/c").as_deref(), Some("http://cdn.co/c"));
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        assert!(same_origin("https://hub.co/a", "https://HUB.co"));
        assert!(same_origin("https://hub.co?a", "https://hub.co/b"));
        for other in ["http://hub.co/a", "https://hub.co:444/a", "https://hub.co.evil/a", "https://evil/https://hub.co"]
        {
            assert!(!same_origin("https://hub.co/a", other), "{other}");
        }
        assert_eq!(shown("https://cdn/a?signature=secret"), "https://cdn/a");
    }
}
