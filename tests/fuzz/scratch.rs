//! A folder for readers that take files, in memory where the system has such.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder of this process.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self(
            if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
                .expect("a folder for temporary files"),
        )
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    /// Writes a file.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(path);
        if std::fs::write(&path, bytes).is_err() {
            std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
            std::fs::write(&path, bytes).expect("a file");
        }
        path
    }

    /// Removes a folder with all that is in it.
    pub(crate) fn empty(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    /// An open file with these bytes.
    pub(crate) fn file(&self, bytes: &[u8]) -> fs_err::File {
        let path = self.put("opened", bytes);
        fs_err::File::open(path).expect("it was just written")
    }
}

/// The input that a worker reads, in a file, so that it is there when the worker is not.
pub(crate) struct Current(std::fs::File);

impl Current {
    pub(crate) fn new(path: &Path) -> Self {
        Self(std::fs::File::create(path).expect("a file"))
    }

    /// Says which input comes, and its number.
    pub(crate) fn set(&self, number: u64, input: &[u8]) {
        let bytes = [&number.to_le_bytes(), input].concat();
        self.0.set_len(bytes.len() as u64).and_then(|()| self.0.write_all_at(&bytes, 0)).expect("a file");
    }

    /// What [`set`](Self::set) said last.
    pub(crate) fn last(path: &Path) -> (u64, Vec<u8>) {
        let bytes = std::fs::read(path).unwrap_or_default();
        let number = bytes.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        (number, bytes.get(8..).unwrap_or_default().to_vec())
    }
}
