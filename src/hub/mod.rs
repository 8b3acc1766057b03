//! Files that are fetched by name from the Hugging Face hub, into the cache that its Python tools share: what they brought is
//! used as it lies, and they find what was brought here. Nothing else in the program reaches the network.

mod cache;
mod checksum;
mod choice;
mod client;
mod download;
mod listing;
mod patience;
mod repo;
mod settings;
mod space;

use cache::Cache;
pub use choice::{Choice, Choose, Extent, Offer};
use client::{Client, Failed};
use download::{Download, Meter};
use listing::Listing;
pub use repo::{Kind, Repo, check_id, check_revision};
pub use settings::Settings;
use std::io;
use std::path::PathBuf;

/// The files of a repository that were chosen, on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit that they are of.
    pub commit: String,
    /// Names and paths, in the order of the names.
    pub files: Vec<(String, PathBuf)>,
}

/// What of a repository is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// All that is needed.
    Here(Snapshot),
    /// Not all of it.
    Away(Missing),
}

/// What is not on this machine, as far as it is known without asking the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Names of all files that are needed; empty if nobody has asked yet.
    pub names: Vec<String>,
    /// Their bytes, and how many of them are still to come.
    pub bytes: Option<(u64, u64)>,
    /// Why those that are here are not enough; nothing if none are here.
    pub why: Option<String>,
}

/// Who watches a download.
pub trait Watch {
    /// `done` of `total` bytes are here; `note` says how fast they come.
    fn step(&self, done: u64, total: u64, note: &str);
    /// Something that people want to know.
    fn say(&self, message: &str);
    /// Something that went wrong and is tried again.
    fn warn(&self, message: &str);
    /// Whether to leave the rest for another time.
    fn stopped(&self) -> bool;
}

/// Why files are not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network, the hub or the disk is not up to it; the same may succeed another time.
    #[error("{0}")]
    Unavailable(String),
    /// The hub does not give them, or gave something else.
    #[error("{0}")]
    Refused(String),
    /// Somebody asked to stop. What has come stays for another time.
    #[error("stopped")]
    Stopped,
    /// The cache cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What of a repository is on this machine. Reaches no network.
///
/// # Errors
/// If the cache is there and cannot be read.
pub fn look(settings: &Settings, repo: &Repo, choose: &dyn Choose) -> io::Result<Presence> {
    let cache = Cache::new(settings.cache(), repo);
    let Some(commit) = cache.commit()? else { return Ok(Presence::Away(Missing::default())) };
    let listing = cache.listing(&commit);
    Ok(match here(&cache, &commit, listing.as_ref(), choose)? {
        Ok(snapshot) => Presence::Here(snapshot),
        Err(why) => {
            let missing = listing.map(|listing| cache.missing(&listing, choose)).unwrap_or_default();
            Presence::Away(Missing { why: why.filter(|_| missing.names.is_empty()), ..missing })
        }
    })
}

/// The files that are needed, if all of them are here: of all that the hub has, or else of those that are here. If not, why those
/// that are here are not enough.
fn here(
    cache: &Cache<'_>,
    commit: &str,
    listing: Option<&Listing>,
    choose: &dyn Choose,
) -> io::Result<Result<Snapshot, Option<String>>> {
    let names = cache.names(commit)?;
    let complete = |choice: Choice| match choice {
        Choice::All(chosen) if chosen.iter().all(|name| names.binary_search(name).is_ok()) => Some(chosen),
        Choice::All(_) | Choice::First(_) => None,
    };
    let read = |name: &str| cache.content(commit, name);
    let extent = if listing.is_some() || cache.has_begun()? { Extent::Part } else { Extent::Unknown };
    let (of_all, lacks) = match listing.map(|listing| cache.choose(listing, choose)) {
        Some(Ok(choice)) => (complete(choice), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let chosen = match of_all {
        Some(chosen) => Ok(Some(chosen)),
        None => choose.choose(&Offer::new(&names, extent, &read)).map(complete),
    };
    Ok(match chosen {
        Ok(Some(mut chosen)) => {
            chosen.sort();
            let files = chosen.into_iter().map(|name| (name.clone(), cache.file(commit, &name))).collect();
            Ok(Snapshot { commit: commit.to_owned(), files })
        }
        Ok(None) => Err(None),
        Err(why) => Err(lacks.or(Some(why)).filter(|_| !names.is_empty())),
    })
}

/// Brings what is missing of a repository. If all of it is here, nothing is asked of the hub, even if the revision has moved there.
///
/// # Errors
/// One sentence that says what to do.
pub fn fetch(settings: &Settings, repo: &Repo, choose: &dyn Choose, watch: &dyn Watch) -> Result<Snapshot, Error> {
    match look(settings, repo, choose)? {
        Presence::Here(snapshot) => Ok(snapshot),
        Presence::Away(missing) if settings.offline() => {
            Err(Error::Unavailable(absent(settings, repo, &missing, "HF_HUB_OFFLINE is set")))
        }
        Presence::Away(_) => bring(settings, repo, choose, watch).map_err(|failed| match failed {
            Failed::Unreachable(why) => unreachable(settings, repo, choose, &why),
            Failed::Other(error) => error,
        }),
    }
}

/// What is here of a repository, for those who may not fetch. Reaches no network.
///
/// # Errors
/// If a file is not here, with what to do; or if the cache cannot be read.
pub fn cached(settings: &Settings, repo: &Repo, choose: &dyn Choose) -> Result<Snapshot, Error> {
    match look(settings, repo, choose)? {
        Presence::Here(snapshot) => Ok(snapshot),
        Presence::Away(missing) => {
            Err(Error::Unavailable(absent(settings, repo, &missing, "only `spot run` downloads")))
        }
    }
}

/// What to say where no answer came, which may be after a part of the files.
fn unreachable(settings: &Settings, repo: &Repo, choose: &dyn Choose, why: &str) -> Error {
    let missing = match look(settings, repo, choose) {
        Ok(Presence::Away(missing)) => missing,
        _ => Missing::default(),
    };
    Error::Unavailable(absent(settings, repo, &missing, why))
}

fn bring(settings: &Settings, repo: &Repo, choose: &dyn Choose, watch: &dyn Watch) -> Result<Snapshot, Failed> {
    let (client, cache) = (Client::new(settings, repo)?, Cache::new(settings.cache(), repo));
    let listing = client.listing(watch)?;
    let chosen = || {
        let chosen = cache.choose(&listing, choose);
        chosen.map_err(|why| Error::Refused(format!("{repo} cannot be used: {why}")))
    };
    let mut choice = chosen()?;
    cache.prepare()?;
    cache.keep_listing(&listing)?;
    cache.set_commit(&listing.sha)?;
    let delivery = Delivery { settings, client: &client, cache: &cache, listing: &listing, watch };
    if let Choice::First(names) = &choice {
        delivery.bring(names)?;
        choice = chosen()?;
    }
    match choice {
        Choice::All(names) => delivery.bring(&names)?,
        Choice::First(names) => {
            let names = names.join("`, `");
            return Err(Error::Refused(format!("{repo} cannot be used: `{names}` cannot be read")).into());
        }
    }
    let snapshot = here(&cache, &listing.sha, Some(&listing), choose)?;
    Ok(snapshot
        .map_err(|_| Error::Unavailable(format!("files of {repo} were removed while others came; try again")))?)
}

/// Files of a commit on their way.
struct Delivery<'a> {
    settings: &'a Settings,
    client: &'a Client<'a>,
    cache: &'a Cache<'a>,
    listing: &'a Listing,
    watch: &'a dyn Watch,
}

impl Delivery<'_> {
    /// Brings what is missing of these.
    fn bring(&self, names: &[String]) -> Result<(), Failed> {
        let Self { settings, client, cache, listing, watch } = *self;
        let absent = |name: &&str| !cache.file(&listing.sha, name).is_file();
        let left: Vec<&str> = names.iter().map(String::as_str).filter(absent).collect();
        let size = left.iter().filter_map(|name| listing.size(name)).sum::<u64>();
        if left.is_empty() {
            return Ok(());
        }
        space::check(settings.cache(), size.saturating_sub(cache.begun(listing, &left)))?;
        let files = if left.len() == 1 { "file" } else { "files" };
        watch.say(&format!("downloading {}, {} in {} {files}", client.repo, repo::size(size), left.len()));
        let mut meter = Meter::new(watch, size);
        left.into_iter().try_for_each(|name| Download { client, cache, listing, name }.bring(&mut meter, watch))
    }
}

/// What to say where files are needed and cannot be fetched.
fn absent(settings: &Settings, repo: &Repo, missing: &Missing, why: &str) -> String {
    let files = match missing.names.as_slice() {
        [] => String::new(),
        names => format!(
            " ({}{})",
            repo::shown(names),
            missing.bytes.map_or(String::new(), |(all, _)| format!("; {}", repo::size(all)))
        ),
    };
    let lacks = missing.why.as_ref().map_or_else(String::new, |why| format!(" (of what is here, {why})"));
    let (command, cache) = (repo.command(&missing.names), settings.cache().display());
    format!(
        "{repo}{files} is not on this machine{lacks}, and {why}; where there is a network, run `{command}`, and copy the folder `{}` of its \
         cache into `{cache}`",
        repo.folder()
    )
}

impl Missing {
    /// For people: `not downloaded (990 MB)`.
    pub fn in_words(&self) -> String {
        match self.bytes {
            None => "not downloaded".to_owned(),
            Some((all, left)) if all == left => format!("not downloaded ({})", repo::size(all)),
            Some((all, left)) => format!("not downloaded ({} of {} left)", repo::size(left), repo::size(all)),
        }
    }
}
