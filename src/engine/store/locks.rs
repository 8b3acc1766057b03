//! Locks: of a key, for whoever executes its job; of the store, shared by runs and held alone by what removes things.

use super::Store;
use super::digest::Key;
use super::names::list;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lock of a key; free again when dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: fs_err::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that whoever waits for it sees that the name is gone and takes a new file.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// The whole store, held by runs side by side or by one process that removes things; free again when dropped.
#[derive(Debug)]
pub struct Hold {
    _file: fs_err::File,
}

/// The store cannot be held alone, since somebody works in it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is in use: a run or a repair works in it; try again once it has ended", .0.display())]
pub struct InUse(pub PathBuf);

impl Store {
    /// Takes the lock of a key. `waiting` is asked now and then while another process holds it; `false` gives up.
    ///
    /// # Errors
    /// If the lock file cannot be made, or the file system has no locks.
    pub fn lock(&self, key: &Key, mut waiting: impl FnMut() -> bool) -> io::Result<Option<Lock>> {
        let path = self.root.join("locks").join(key.to_string());
        fs_err::create_dir_all(self.root.join("locks"))?;
        loop {
            let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
            match file.file().try_lock() {
                Ok(()) if still_named(&file, &path) => return Ok(Some(Lock { path, _file: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if !waiting() => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(30)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Holds the store together with other runs, so that nothing is removed from it. `waiting` is asked now and then while
    /// something is being removed; `false` gives up.
    ///
    /// # Errors
    /// If the lock file cannot be made, or the file system has no locks.
    pub fn share(&self, mut waiting: impl FnMut() -> bool) -> io::Result<Option<Hold>> {
        let file = self.hold_file()?;
        while !patiently(|| file.file().try_lock_shared())? {
            if !waiting() {
                return Ok(None);
            }
        }
        Ok(Some(Hold { _file: file }))
    }

    /// Holds the store alone, to remove something from it.
    ///
    /// # Errors
    /// [`InUse`] if anyone else holds it.
    pub fn claim(&self) -> anyhow::Result<Hold> {
        let file = self.hold_file()?;
        if patiently(|| file.file().try_lock())? {
            Ok(Hold { _file: file })
        } else {
            Err(InUse(self.root.clone()).into())
        }
    }

    /// Whether anyone holds the store.
    pub fn is_held(&self) -> bool {
        // The lock that this takes for a moment is why the others try twice.
        let opened = fs_err::File::open(self.root.join("locks/store"));
        opened.is_ok_and(|file| matches!(file.file().try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Never removed, so it needs no second look as the locks of keys do.
    ///
    /// # Errors
    /// If it cannot be made or opened for writing.
    pub(super) fn hold_file(&self) -> io::Result<fs_err::File> {
        let folder = self.root.join("locks");
        fs_err::create_dir_all(&folder)?;
        fs_err::OpenOptions::new().create(true).append(true).open(folder.join("store"))
    }

    /// The keys that have a lock file, held or left behind.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn lock_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("locks"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// Tries to take a lock twice, with a moment in between; whether it has it.
fn patiently(take: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    for _ in 0..2 {
        match take() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(30)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether the locked file is still the one that its name leads to; its last holder removed it otherwise.
fn still_named(file: &fs_err::File, path: &Path) -> bool {
    let inode = |meta: io::Result<std::fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
    let named = inode(fs_err::metadata(path));
    named.is_some() && named == inode(file.metadata())
}
