//! What is damaged and was set aside, to be looked at.

use super::Store;
use super::damage::Damage;
use super::digest::Key;
use super::names::{list, remove};
use std::io;
use std::path::{Path, PathBuf};

impl Store {
    pub(super) fn set_aside_path(&self, key: &Key) -> PathBuf {
        self.root.join("damaged").join(format!("{key}.json"))
    }

    /// Moves what is damaged out of the way; it stays in `damaged/` to be looked at. Files outside are not touched.
    pub fn set_aside(&self, damage: &Damage) -> io::Result<()> {
        match damage {
            Damage::Corrupt { digest, .. } => {
                self.move_aside(&self.blob_path(digest), &self.root.join("damaged").join(digest.to_string()))
            }
            Damage::Entry { key, .. } => self.set_entry_aside(key),
            Damage::Missing { .. } | Damage::External { .. } | Damage::SetAside { .. } => Ok(()),
        }
    }

    /// Moves an entry out of the way, so that its job runs again.
    pub fn set_entry_aside(&self, key: &Key) -> io::Result<()> {
        self.move_aside(&self.entry_path(key), &self.set_aside_path(key))
    }

    fn move_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::create_dir_all(self.root.join("damaged"))?;
        remove(fs_err::rename(from, to))
    }

    /// The files that were set aside as damaged.
    pub fn damaged_files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.root.join("damaged");
        Ok(list(&folder)?.iter().map(|name| folder.join(name)).collect())
    }
}
