//! Repositories of a hub as inputs of stages.

use crate::engine::context::{Interrupted, Progress};
use crate::engine::remote::{Presence, Remote};
use crate::engine::run::Unavailable;
use crate::hub::{self, Choose, Error, Repo, Settings, Snapshot, Watch};
use anyhow::anyhow;
use std::fmt;
use std::sync::Arc;

/// The files of a repository that a stage reads. Where they lie, and who asks for them, the environment says.
pub(super) struct Files {
    pub(super) repo: Repo,
    pub(super) choose: Arc<dyn Choose>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)
    }
}

fn settings() -> anyhow::Result<Settings> {
    Settings::from_environment().map_err(|why| Unavailable(why).into())
}

/// The files of a repository, if they are on this machine. Reaches no network.
///
/// # Errors
/// If they are not, with what to do.
pub(super) fn cached(repo: &Repo, choose: &dyn Choose) -> anyhow::Result<Snapshot> {
    match hub::cached(&settings()?, repo, choose) {
        Ok(snapshot) => Ok(snapshot),
        Err(Error::Io(error)) => Err(error.into()),
        Err(error) => Err(Unavailable(error.to_string()).into()),
    }
}

impl Remote for Files {
    fn look(&self) -> anyhow::Result<Presence> {
        let settings = settings()?;
        Ok(match hub::look(&settings, &self.repo, &*self.choose)? {
            hub::Presence::Here(snapshot) => {
                Presence::Here { version: format!("{}, commit {}", self.repo, snapshot.commit), files: snapshot.files }
            }
            hub::Presence::Away(missing) if settings.offline() => {
                Presence::Away(format!("{}, and HF_HUB_OFFLINE is set", missing.in_words()))
            }
            hub::Presence::Away(missing) => Presence::Away(missing.in_words()),
        })
    }

    fn fetch(&self, progress: &dyn Progress, stopped: &dyn Fn() -> bool) -> anyhow::Result<()> {
        let watch = Watcher { progress, stopped };
        match hub::fetch(&settings()?, &self.repo, &*self.choose, &watch) {
            Ok(_) => Ok(()),
            Err(Error::Stopped) => Err(Interrupted { step: 0 }.into()),
            Err(Error::Unavailable(why)) => Err(Unavailable(why).into()),
            Err(Error::Refused(why)) => Err(anyhow!(why)),
            Err(Error::Io(error)) => Err(error.into()),
        }
    }
}

struct Watcher<'a> {
    progress: &'a dyn Progress,
    stopped: &'a dyn Fn() -> bool,
}

impl Watch for Watcher<'_> {
    fn step(&self, done: u64, total: u64, note: &str) {
        self.progress.step(done, total, note);
    }

    fn say(&self, message: &str) {
        self.progress.say(message);
    }

    fn warn(&self, message: &str) {
        self.progress.warn(message);
    }

    fn stopped(&self) -> bool {
        (self.stopped)()
    }
}
