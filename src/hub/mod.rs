//! Files that are fetched by name from the Hugging Face hub, into the cache that its Python tools share: what they brought is
//! used as it lies, and they find what was brought here. Nothing else in the program reaches the network.

mod cache;
mod checksum;
mod client;
mod download;
mod listing;
mod patience;
mod repo;
mod settings;
mod space;

use cache::Cache;
use client::{Client, Failed};
use download::{Download, Meter};
pub use repo::{Kind, Repo, check_id, check_revision};
pub use settings::Settings;
use std::io;
use std::path::PathBuf;

/// Which files of a repository are needed, of the names of those that there are; or what is lacking.
pub type Choose = fn(&[String]) -> Result<Vec<String>, String>;

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
pub fn look(settings: &Settings, repo: &Repo, choose: Choose) -> io::Result<Presence> {
    let cache = Cache::new(settings.cache(), repo);
    let Some(commit) = cache.commit()? else { return Ok(Presence::Away(Missing::default())) };
    if let Some(snapshot) = here(&cache, &commit, choose)? {
        return Ok(Presence::Here(snapshot));
    }
    let listing = cache.listing(&commit);
    Ok(Presence::Away(listing.map(|listing| cache.missing(&listing, choose)).unwrap_or_default()))
}

fn here(cache: &Cache<'_>, commit: &str, choose: Choose) -> io::Result<Option<Snapshot>> {
    let Ok(mut names) = choose(&cache.names(commit)?) else { return Ok(None) };
    names.sort();
    let files = names.into_iter().map(|name| (name.clone(), cache.file(commit, &name))).collect();
    Ok(Some(Snapshot { commit: commit.to_owned(), files }))
}

/// Brings what is missing of a repository. If all of it is here, nothing is asked of the hub, even if the revision has moved there.
///
/// # Errors
/// One sentence that says what to do.
pub fn fetch(settings: &Settings, repo: &Repo, choose: Choose, watch: &dyn Watch) -> Result<Snapshot, Error> {
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
pub fn cached(settings: &Settings, repo: &Repo, choose: Choose) -> Result<Snapshot, Error> {
    match look(settings, repo, choose)? {
        Presence::Here(snapshot) => Ok(snapshot),
        Presence::Away(missing) => {
            Err(Error::Unavailable(absent(settings, repo, &missing, "only `spot run` downloads")))
        }
    }
}

/// What to say where no answer came, which may be after a part of the files.
fn unreachable(settings: &Settings, repo: &Repo, choose: Choose, why: &str) -> Error {
    let missing = match look(settings, repo, choose) {
        Ok(Presence::Away(missing)) => missing,
        _ => Missing::default(),
    };
    Error::Unavailable(absent(settings, repo, &missing, why))
}

fn bring(settings: &Settings, repo: &Repo, choose: Choose, watch: &dyn Watch) -> Result<Snapshot, Failed> {
    let (client, cache) = (Client::new(settings, repo)?, Cache::new(settings.cache(), repo));
    let listing = client.listing(watch)?;
    let names = listing.choose(choose).map_err(|why| Error::Refused(format!("{repo} cannot be used: {why}")))?;
    let commit = &listing.sha;
    cache.prepare()?;
    cache.keep_listing(&listing)?;
    cache.set_commit(commit)?;
    let left: Vec<&str> = names.iter().map(String::as_str).filter(|name| !cache.file(commit, name).is_file()).collect();
    let sizes = |names: &[&str]| names.iter().filter_map(|name| listing.size(name)).sum::<u64>();
    space::check(settings.cache(), sizes(&left).saturating_sub(cache.begun(&listing, &left)))?;
    watch.say(&format!("downloading {repo}, {} in {} files", repo::size(sizes(&left)), left.len()));
    let mut meter = Meter::new(watch, sizes(&left));
    for name in left {
        Download { client: &client, cache: &cache, listing: &listing, name }.bring(&mut meter, watch)?;
    }
    let snapshot = here(&cache, commit, choose)?;
    Ok(snapshot
        .ok_or_else(|| Error::Unavailable(format!("files of {repo} were removed while others came; try again")))?)
}

/// What to say where files are needed and cannot be fetched.
fn absent(settings: &Settings, repo: &Repo, missing: &Missing, why: &str) -> String {
    let files = match missing.names.as_slice() {
        [] => String::new(),
        names => format!(
            " ({}{})",
            names.join(", "),
            missing.bytes.map_or(String::new(), |(all, _)| format!("; {}", repo::size(all)))
        ),
    };
    let (command, cache) = (repo.command(&missing.names), settings.cache().display());
    format!(
        "{repo}{files} is not on this machine, and {why}; where there is a network, run `{command}`, and copy the folder `{}` of its \
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
