//! Notes of results that a shared place still lacks.

use super::Store;
use super::digest::Key;
use super::names::{list, remove};
use std::io;
use std::path::PathBuf;

impl Store {
    /// The note for a key; it says which place.
    pub fn unpushed_path(&self, key: &Key) -> PathBuf {
        self.root.join("unpushed").join(key.to_string())
    }

    /// The keys that have a note, sorted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn unpushed_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("unpushed"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes the note for a key.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn drop_unpushed(&self, key: &Key) -> io::Result<()> {
        remove(fs_err::remove_file(self.unpushed_path(key)))
    }
}
