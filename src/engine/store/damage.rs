//! What can be wrong with a store.

use super::digest::{Digest, Key};
use std::path::PathBuf;

/// Something in the store, or outside but recorded in it, that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A blob is gone.
    #[error("blob `{}` of `{artifact}` is missing", digest.short())]
    Missing {
        /// Its digest.
        digest: Digest,
        /// The artifact that needs it.
        artifact: String,
    },
    /// A blob has other bytes than its name says.
    #[error("blob `{}` of `{artifact}` is corrupt", digest.short())]
    Corrupt {
        /// Its digest.
        digest: Digest,
        /// The artifact that needs it.
        artifact: String,
    },
    /// A file outside the store is gone or changed.
    #[error("file `{}`, part of `{artifact}`, is {what}", path.display())]
    External {
        /// Where it is.
        path: PathBuf,
        /// The artifact that needs it.
        artifact: String,
        /// `missing` or `changed`.
        what: &'static str,
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
