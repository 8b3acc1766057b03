//! The store: blobs, entries, scratch folders, locks and views on disk.
//!
//! ```text
//! cache/v1/                CACHEDIR.TAG and .gitignore of its own
//!   blobs/ab/cdef…         read-only; written to tmp/, synced, renamed; checked against the digest when read
//!   entries/ab/<key>.json  written after its blobs
//!   runs/<pipeline>/….jsonl  journals, and found/ with what they share
//!   partial/<key>/         scratch of an interrupted job
//!   locks/<key>            advisory; freed by the kernel on death
//!   locks/store            shared by runs; held alone by what removes things
//!   views/<pipeline>/<job>/… links with human names to the newest artifacts; <artifact>.parts/ has their parts
//!   signed/                what keys say of entries and runs (`signed.rs`)
//!   curves/<pipeline>/<job>/… what running jobs show of themselves
//!   unpushed/<key>         results that a shared place still lacks
//!   workers/ claims/ cancel/ failures/ slurm/  what workers of this cache leave word of (`remote::lease`, `engine::sharing`)
//!   damaged/               what was found damaged and set aside
//!   files.json             digests of files by their stat data
//! ```

mod aside;
mod blobs;
pub mod catalog;
pub mod content;
mod damage;
pub mod digest;
mod entries;
pub mod entry;
pub mod files;
pub mod journal;
pub mod live;
mod locks;
pub(super) mod names;
pub(super) mod partial;
pub mod provenance;
pub mod recipe;
mod seal;
pub mod signed;
mod unpushed;
mod views;

use crate::replace::replace;
pub use blobs::Received;
pub use damage::{Damage, Newer, Wrong};
pub use entries::Found;
use files::Files;
pub use locks::{Hold, InUse, Lock};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a temporary file must have rested before it counts as left over.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Where results are kept.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    files: Files,
    /// Where blobs come from that are not here.
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
}

/// A place that has blobs which are not in the store of this machine.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// Brings one here; whether it is here and right now.
    ///
    /// # Errors
    /// If the place cannot be asked, or the store not be written.
    fn bring(&self, store: &Store, digest: &digest::Digest) -> io::Result<bool>;
}

/// Tells temporary files of one process apart.
static UNIQUE: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// The store in a cache folder. Writes nothing yet.
    pub fn new(cache: &Path) -> Arc<Self> {
        let root = std::path::absolute(cache.join("v1")).unwrap_or_else(|_| cache.join("v1"));
        Arc::new(Self { files: Files::new(root.join("files.json")), root, elsewhere: OnceLock::new() })
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// From now on blobs that are not here are brought from elsewhere when they are read; said once.
    pub fn read_through(&self, elsewhere: Arc<dyn Elsewhere>) {
        // A second place would be a mistake of this program; the first one stays.
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Digests of files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Makes the folder, marks it as a cache and removes what earlier runs left half-written.
    ///
    /// # Errors
    /// If the store is not a folder, or cannot be written.
    pub fn prepare(&self) -> io::Result<()> {
        self.is_folder()?;
        fs_err::create_dir_all(self.root.join("tmp"))?;
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by spot; see https://bford.info/cachedir/\n";
        let cache = self.root.parent().unwrap_or(&self.root);
        for (folder, name, text) in [(cache, "CACHEDIR.TAG", tag), (cache, ".gitignore", "*\n")] {
            let path = folder.join(name);
            // An empty one is what a kill or a loss of power left of it.
            if !path.metadata().is_ok_and(|meta| meta.len() > 0) {
                replace(&path, &self.temp_path(), |file| file.write_all(text.as_bytes()))?;
            }
        }
        // Whatever there is may belong to somebody else, or to a system that is only read.
        drop(self.hold_file()?);
        self.remove_leftovers()
    }

    /// Whether the cache is a folder, if there is one.
    ///
    /// # Errors
    /// If something else stands in its place.
    pub fn is_folder(&self) -> io::Result<()> {
        match self.root.ancestors().take(2).find(|folder| names::is_no_folder(folder)) {
            Some(odd) => {
                let message = format!("`{}` is not a folder, so no results can be kept in it", odd.display());
                Err(io::Error::new(io::ErrorKind::NotADirectory, message))
            }
            None => Ok(()),
        }
    }

    /// Temporary files of processes that no longer exist. Only old ones: a process of another container, which shares the
    /// cache, does not show here.
    fn remove_leftovers(&self) -> io::Result<()> {
        for item in fs_err::read_dir(self.root.join("tmp"))? {
            let path = item?.path();
            let process = path.file_name().and_then(|name| name.to_str()?.split('-').next()?.parse::<i32>().ok());
            let alive = process
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
            let rested = fs_err::symlink_metadata(&path).and_then(|meta| meta.modified()).map(|time| time.elapsed());
            if !alive && matches!(rested, Ok(Ok(age)) if age > LEFTOVER_AGE) {
                let _ = if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) };
            }
        }
        Ok(())
    }

    /// Replaces a file of the store; see [`replace`].
    ///
    /// # Errors
    /// If it cannot be written or synced.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temp = self.ready(path)?;
        replace(path, &temp, |file| written(file, bytes, mode))
    }

    /// Makes room for a file of the store; gives a path for it until it is whole.
    fn ready(&self, path: &Path) -> io::Result<PathBuf> {
        let temp = self.temp_path();
        self.clear_way(path)?;
        for folder in [temp.parent(), path.parent()].into_iter().flatten() {
            fs_err::create_dir_all(folder)?;
        }
        Ok(temp)
    }

    /// A path for something of this process that is to go; a later run removes it if this process does not.
    pub fn temp_path(&self) -> PathBuf {
        let number = UNIQUE.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{}-{number}", std::process::id()))
    }
}

fn written(file: &mut fs_err::File, bytes: &[u8], mode: u32) -> io::Result<()> {
    file.write_all(bytes)?;
    file.set_permissions(PermissionsExt::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_marks_a_cache_is_whole_even_after_a_loss_of_power_and_left_alone_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (tag, ignored) = (folder.path().join("CACHEDIR.TAG"), folder.path().join(".gitignore"));
        fs_err::write(&tag, "").unwrap();
        fs_err::write(&ignored, "*\n!README.md\n").unwrap();
        store.prepare().unwrap();
        assert!(fs_err::read_to_string(&tag).unwrap().starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
        assert_eq!(fs_err::read_to_string(&ignored).unwrap(), "*\n!README.md\n");
    }
}
