//! What is damaged and was set aside, to be looked at.

use super::Store;
use super::damage::{Damage, Wrong};
use super::digest::Key;
use super::names::{is_no_folder, list, remove, remove_all};
use std::io;
use std::path::{Path, PathBuf};

impl Store {
    /// Moves out of the way what must not stand where a file of the store is to be: a folder in its place, or a file in that of
    /// its folder.
    ///
    /// # Errors
    /// If what stands there cannot be moved.
    pub(super) fn clear_way(&self, path: &Path) -> io::Result<()> {
        let odd = |path: &Path, is_odd: bool| {
            let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('/', "~");
            if is_odd { self.move_aside(path, &name) } else { Ok(()) }
        };
        let below = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in below.collect::<Vec<_>>().into_iter().rev() {
            odd(folder, is_no_folder(folder))?;
        }
        odd(path, path.symlink_metadata().is_ok_and(|meta| meta.is_dir()))
    }

    pub(super) fn set_aside_path(&self, key: &Key) -> PathBuf {
        self.root.join("damaged").join(format!("{key}.json"))
    }

    /// Moves what is damaged out of the way; it stays in `damaged/` to be looked at. Files outside are not touched.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn set_aside(&self, damage: &Damage) -> io::Result<()> {
        match damage {
            Damage::Blob { wrong: Wrong::Missing, .. } => Ok(()),
            Damage::Blob { digest, .. } => self.move_aside(&self.blob_path(digest), &digest.to_string()),
            Damage::Entry { key, .. } => self.set_entry_aside(key),
            Damage::External { .. } | Damage::SetAside { .. } => Ok(()),
        }
    }

    /// Moves an entry out of the way, so that its job runs again.
    ///
    /// # Errors
    /// If the entry cannot be moved, or the folders of entries cannot be read.
    pub fn set_entry_aside(&self, key: &Key) -> io::Result<()> {
        self.move_aside(&self.entry_path(key), &format!("{key}.json"))?;
        let mut misplaced = self.misplaced()?.into_iter().filter(|(found, _)| found == key);
        misplaced.try_for_each(|(_, path)| self.move_aside(&path, &format!("{key}.json")))
    }

    /// Moves something to `damaged/` under a name; what has that name there goes.
    ///
    /// # Errors
    /// If it cannot be moved, or what has the name there cannot be removed.
    pub(super) fn move_aside(&self, from: &Path, name: &str) -> io::Result<()> {
        // What is gone already may be what has that name there.
        if from.symlink_metadata().is_err() {
            return Ok(());
        }
        let to = self.root.join("damaged").join(name);
        fs_err::create_dir_all(self.root.join("damaged"))?;
        remove_all(&to)?;
        remove(fs_err::rename(from, to))
    }

    /// The files that were set aside as damaged.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn damaged_files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.root.join("damaged");
        Ok(list(&folder)?.iter().map(|name| folder.join(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::store::Store;
    use std::sync::Barrier;

    /// Whoever finds no folder yet, and then one that another has made in between, must not take it for something in the way.
    #[test]
    fn a_folder_that_others_make_at_the_same_time_stays() {
        for round in 0..200u32 {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path());
            let (bytes, barrier) = (round.to_le_bytes(), Barrier::new(8));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        barrier.wait();
                        store.prepare().unwrap();
                        let digest = store.put(&bytes).unwrap();
                        assert_eq!(store.read(&digest, "it").unwrap(), bytes);
                    });
                }
            });
            assert!(!store.root().join("damaged").exists());
        }
    }
}
