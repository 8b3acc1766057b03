//! Files that are kept elsewhere under a name: what of them is on this machine, and how the rest gets here.

use super::context::Progress;
use std::fmt;
use std::path::PathBuf;

/// Files that are kept elsewhere under a name. They enter a recipe by their content like any file, so while they are not here the
/// job that reads them has no key.
pub trait Remote: fmt::Debug + Send + Sync {
    /// What of them is on this machine. Reaches nothing beyond it.
    ///
    /// # Errors
    /// If this machine cannot be asked.
    fn look(&self) -> anyhow::Result<Presence>;

    /// Brings what is not here; asked for by a run alone, when the job is about to start.
    ///
    /// # Errors
    /// What to do about it; [`Interrupted`](super::context::Interrupted) if it was `stopped` before all was here.
    fn fetch(&self, progress: &dyn Progress, stopped: &dyn Fn() -> bool) -> anyhow::Result<()>;
}

/// What of the files of a [`Remote`] is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// All of them.
    Here {
        /// Names and paths.
        files: Vec<(String, PathBuf)>,
        /// Which version of them it is, for provenance.
        version: String,
    },
    /// Not all of them; says so to people: `not downloaded (990 MB)`.
    Away(String),
}
