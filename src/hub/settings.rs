//! The environment variables of the Python tools: where the cache is, which hub, who asks.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the cache is, which hub is asked, and by whom.
#[derive(Clone)]
pub struct Settings {
    endpoint: String,
    cache: PathBuf,
    /// Of the environment; otherwise a file may have one.
    token: Option<String>,
    token_file: Option<PathBuf>,
    offline: bool,
    timeout: Duration,
    pause: Duration,
    certificates: Option<PathBuf>,
}

/// Without the token.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, cache, offline, .. } = self;
        write!(f, "Settings {{ endpoint: {endpoint:?}, cache: {cache:?}, offline: {offline} }}")
    }
}

/// The hub that everybody means.
const ENDPOINT: &str = "https://huggingface.co";
/// Seconds without a byte after which a transfer is begun anew; that of the Python tools.
const TIMEOUT: u64 = 10;
/// What is waited before the second attempt; doubled with each.
const PAUSE: Duration = Duration::from_millis(500);

impl Settings {
    /// What the environment of the program says.
    ///
    /// # Errors
    /// If a variable makes no sense, or none says where home is.
    pub fn from_environment() -> Result<Self, String> {
        Self::of(&|name| std::env::var_os(name).and_then(|value| value.into_string().ok()))
    }

    /// What an environment says that gives variables by name.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub fn of(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str, old: &str| get(name).or_else(|| get(old));
        let user = get("HOME").map(PathBuf::from);
        let path = |text: String| match (text.strip_prefix("~/"), &user) {
            (Some(rest), Some(user)) => user.join(rest),
            _ => PathBuf::from(text),
        };
        let caches = get("XDG_CACHE_HOME").map(path).or_else(|| Some(user.as_ref()?.join(".cache")));
        let home = get("HF_HOME").map(path).or_else(|| Some(caches?.join("huggingface")));
        let cache =
            either("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE").map(path).or_else(|| Some(home.as_ref()?.join("hub")));
        let token_file = get("HF_TOKEN_PATH").map(path).or_else(|| Some(home?.join("token")));
        let anonymous = get("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value));
        let seconds =
            match get("HF_HUB_DOWNLOAD_TIMEOUT") {
                None => TIMEOUT,
                Some(text) => text.trim().parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
                    format!("HF_HUB_DOWNLOAD_TIMEOUT is `{text}`, expected a whole number of seconds")
                })?,
            };
        Ok(Self {
            endpoint: endpoint(get("HF_ENDPOINT"))?,
            cache: cache.ok_or("no place for models of the hub: set HF_HUB_CACHE to a folder, or HOME")?,
            token: either("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN").filter(|_| !anonymous),
            token_file: token_file.filter(|_| !anonymous),
            offline: either("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE").is_some_and(|value| is_true(&value)),
            timeout: Duration::from_secs(seconds),
            pause: PAUSE,
            certificates: either("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE").map(path),
        })
    }

    /// With another time between attempts, and another after which a silent transfer is given up.
    #[must_use]
    pub fn with_patience(self, pause: Duration, timeout: Duration) -> Self {
        Self { pause, timeout, ..self }
    }

    /// Where files lie.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Whether the hub must not be asked.
    pub fn offline(&self) -> bool {
        self.offline
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// Certificates of whom to trust, if not those of the program.
    pub(super) fn certificates(&self) -> Option<&Path> {
        self.certificates.as_deref()
    }

    /// The token to send, if there is one, and where it is from. It must not be shown.
    ///
    /// # Errors
    /// If the file cannot be read, or what it or `HF_TOKEN` holds cannot be a token.
    pub(super) fn token(&self) -> Result<Option<(String, String)>, String> {
        let (token, place) = match (&self.token, &self.token_file) {
            (Some(token), _) => (token.clone(), "HF_TOKEN".to_owned()),
            (None, Some(file)) => match fs_err::read_to_string(file) {
                Ok(token) => (token, format!("`{}`", file.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.to_string()),
            },
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{place} holds no token: there are characters in it that no token has"));
        }
        Ok((!token.is_empty()).then(|| (token.to_owned(), place)))
    }
}

fn endpoint(written: Option<String>) -> Result<String, String> {
    let Some(written) = written else { return Ok(ENDPOINT.to_owned()) };
    let address = written.trim().trim_end_matches('/');
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    // Who asks is said by a token; a password in an address would end up in messages.
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']));
    let parsed = address.parse::<ureq::http::Uri>().is_ok();
    if good && parsed {
        Ok(address.to_owned())
    } else {
        Err("HF_ENDPOINT is not an address such as https://huggingface.co".to_owned())
    }
}

fn is_true(text: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&text.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Settings::of(&find)
    }

    fn cache(variables: &[(&str, &str)]) -> String {
        settings(variables).unwrap().cache().display().to_string()
    }

    #[test]
    fn the_cache_is_where_the_python_tools_have_it() {
        let home = ("HOME", "/u");
        assert_eq!(cache(&[home]), "/u/.cache/huggingface/hub");
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]), "/u/hf/hub");
        assert_eq!(cache(&[home, ("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/c");
        assert!(settings(&[]).unwrap_err().contains("HF_HUB_CACHE"));
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let home = folder.path().to_str().unwrap();
        let of = |more: &[(&str, &str)]| settings(&[&[("HF_HOME", home)], more].concat()).unwrap();
        assert_eq!(of(&[]).token().unwrap(), None);
        fs_err::write(&file, "hf_file\n").unwrap();
        assert_eq!(of(&[]).token().unwrap().unwrap().0, "hf_file");
        let both = of(&[("HF_TOKEN", " hf_secret ")]);
        assert_eq!(both.token().unwrap().unwrap(), ("hf_secret".to_owned(), "HF_TOKEN".to_owned()));
        assert!(!format!("{both:?}").contains("secret"));
        assert_eq!(of(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token().unwrap(), None);
        let broken = of(&[("HF_TOKEN", "hf_se\ncret")]).token().unwrap_err();
        assert!(broken.contains("HF_TOKEN") && !broken.contains("cret"), "{broken}");
    }

    #[test]
    fn variables_that_make_no_sense_are_refused() {
        let of = |name: &str, value: &str| settings(&[("HOME", "/u"), (name, value)]);
        assert_eq!(of("HF_ENDPOINT", "http://localhost:80/").unwrap().endpoint(), "http://localhost:80");
        for bad in ["localhost", "ftp://a", "https://", "https://me:pass@host", "https://a b"] {
            assert!(of("HF_ENDPOINT", bad).unwrap_err().contains("HF_ENDPOINT"), "{bad}");
        }
        assert!(of("HF_HUB_DOWNLOAD_TIMEOUT", "0").is_err());
        assert!(of("HF_HUB_DOWNLOAD_TIMEOUT", "soon").is_err());
        for yes in ["1", "TRUE", "yes", "On"] {
            assert!(of("HF_HUB_OFFLINE", yes).unwrap().offline());
        }
        assert!(!of("HF_HUB_OFFLINE", "0").unwrap().offline());
        assert!(of("TRANSFORMERS_OFFLINE", "1").unwrap().offline());
    }
}
