//! What can be wrong with a store.

use super::digest::{Digest, Key};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Something in the store, or outside but recorded in it, that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A blob is not what its name says.
    #[error("blob `{}` of `{artifact}` is {}", digest.short(), wrong.of_blob())]
    Blob {
        /// Its digest.
        digest: Digest,
        /// The artifact that needs it.
        artifact: String,
        /// How.
        wrong: Wrong,
    },
    /// A file outside the store is not what was recorded.
    #[error("file `{}`, part of `{artifact}`, is {}", path.display(), wrong.of_file())]
    External {
        /// Where it is.
        path: PathBuf,
        /// The artifact that needs it.
        artifact: String,
        /// How.
        wrong: Wrong,
    },
    /// An entry is not what was written.
    #[error("entry `{}` is damaged: {why}", key.short())]
    Entry {
        /// Its key.
        key: Key,
        /// What is wrong with it.
        why: String,
    },
    /// The job's entry or blobs were damaged, and `audit --repair` set them aside.
    #[error("entry `{}` was set aside by `audit --repair`", key.short())]
    SetAside {
        /// Its key.
        key: Key,
    },
}

/// An entry was written by a newer program, whose results this one neither reads nor replaces.
#[derive(Debug, thiserror::Error)]
#[error("entry `{}` was written by a newer program ({why}); use that one, or another cache (`--cache`)", key.short())]
pub struct Newer {
    /// Its key.
    pub key: Key,
    /// What this program does not know.
    pub why: String,
}

impl Newer {
    /// Whether an error is this one.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().and_then(|error| error.downcast_ref::<Self>()).is_some()
    }
}

/// How content is not what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is gone.
    Missing,
    /// It is other content.
    Changed,
    /// A folder, a link that leads nowhere or a device stands in its place.
    NoFile,
}

impl Wrong {
    /// What is wrong with content that was recorded with a digest, and of which this one was found.
    ///
    /// # Errors
    /// If it may be right, but cannot be read.
    pub fn of(found: io::Result<Digest>, recorded: &Digest) -> io::Result<Option<Self>> {
        match found {
            Ok(found) => Ok((found != *recorded).then_some(Self::Changed)),
            Err(error) => Self::in_place(&error).map(Some).ok_or(error),
        }
    }

    /// What an error says about what stands in a place.
    pub(super) fn in_place(error: &io::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::NotFound => Some(Self::Missing),
            ErrorKind::InvalidInput | ErrorKind::IsADirectory | ErrorKind::NotADirectory => Some(Self::NoFile),
            _ => None,
        }
    }

    fn of_blob(self) -> &'static str {
        if self == Self::Changed { "corrupt" } else { self.of_file() }
    }

    fn of_file(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::NoFile => "no file",
        }
    }
}
