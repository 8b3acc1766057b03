//! The content of a file, mapped into memory: weights of many gigabytes are read where they are, without a copy.

use memmap2::Mmap;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// The content of a file.
#[derive(Debug)]
pub struct Content(Mmap);

impl Content {
    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = fs_err::File::open(path)?;
        // SAFETY: nothing here writes to files that it reads: blobs never change, and other inputs are checked against
        // their digest after they are mapped. Whoever overwrites one in place while a job reads it gets that job killed or
        // other numbers, which the check of inputs after the job finds.
        Ok(Self(unsafe { Mmap::map(file.file()) }?))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
