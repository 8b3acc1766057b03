//! Scratch folders: the work of interrupted jobs.

use super::Store;
use super::digest::Key;
use super::names::{list, remove};
use std::io;
use std::path::PathBuf;

impl Store {
    /// The scratch folder of a key.
    pub fn scratch_path(&self, key: &Key) -> PathBuf {
        self.root.join("partial").join(key.to_string())
    }

    /// Removes the scratch folder of a key.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn drop_scratch(&self, key: &Key) -> io::Result<()> {
        remove(fs_err::remove_dir_all(self.scratch_path(key)))
    }

    /// The step up to which an interrupted job left its work: what the file `step` of its scratch folder says.
    pub fn interrupted_at(&self, key: &Key) -> Option<u64> {
        fs_err::read_to_string(self.scratch_path(key).join("step")).ok()?.trim().parse().ok()
    }

    /// The keys whose scratch folders are there, sorted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn scratch_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("partial"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}
