//! The content of a file as it was at one instant: weights of many gigabytes are served without a copy where that is safe.

use super::files::is_file;
use memmap2::Mmap;
use rustix::fs::{Mode, OFlags, ioctl_ficlone, open};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Bytes of the largest file of others that is read into memory where it cannot be cloned.
const LARGE: u64 = 256 << 20;

/// The content of a file.
#[derive(Debug)]
pub struct Content(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Content {
    /// Maps a file that nobody changes: a blob.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub(super) fn of_blob(path: &Path) -> io::Result<Self> {
        map(fs_err::File::open(path)?.file())
    }

    /// The content of a file that others may change at any time. To map it would end this program with whoever cuts it off, so a
    /// clone of it is mapped, which shares its blocks until somebody writes. Where the file system has no clones it is read, up to
    /// [`LARGE`] bytes; beyond, it is the weights of a model, which fit into memory once at best, and is mapped as it lies.
    ///
    /// # Errors
    /// If it cannot be opened or read.
    pub fn of(path: &Path) -> io::Result<Self> {
        is_file(path)?;
        let file = fs_err::File::open(path)?;
        match cloned(&file, path).and_then(|clone| map(&clone)) {
            Ok(mapped) => Ok(mapped),
            Err(_) if file.metadata()?.len() > LARGE => map(file.file()),
            Err(_) => Ok(Self(Bytes::Read(fs_err::read(path)?))),
        }
    }
}

/// A nameless file beside another that has its content, without a copy.
fn cloned(file: &fs_err::File, path: &Path) -> io::Result<OwnedFd> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let clone = open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR)?;
    ioctl_ficlone(&clone, file.file())?;
    Ok(clone)
}

fn map(file: &impl AsRawFd) -> io::Result<Content> {
    // SAFETY: nobody writes to the file while it is mapped. A blob never changes once it has its name, a nameless clone has no
    // other user, and weights that cannot be cloned must be left alone while they are used (docs/models.md).
    Ok(Content(Bytes::Mapped(unsafe { Mmap::map(file) }?)))
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_cuts_off_keeps_the_content_that_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        fs_err::write(&path, &bytes).unwrap();
        let content = Content::of(&path).unwrap();
        fs_err::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert_eq!(content.len(), bytes.len());
        assert!(content.iter().eq(&bytes));
        assert!(Content::of(&folder.path().join("none")).is_err());
    }
}
