//! Blobs: bytes under the names of their digests.

use super::content::Content;
use super::damage::{Damage, Wrong};
use super::digest::Digest;
use super::names::{remove, two_levels};
use super::{Store, files, written};
use crate::replace::replace_unsynced;
use crate::trust::Sha256;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What came of something that was to be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is here.
    Right,
    /// There is none.
    Nothing,
    /// What came has another digest.
    Wrong,
}

/// A file that is hashed while it is written, and takes only so many bytes. What was wrong with it is kept here, since whoever brings
/// the bytes puts errors into words of his own.
struct Hashing {
    file: fs_err::File,
    hasher: blake3::Hasher,
    left: u64,
    is_too_long: bool,
    failed: Option<io::Error>,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.is_too_long = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        if let Err(error) = self.file.write_all(bytes) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Store {
    /// Where the blob with this digest is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(&name[2..])
    }

    /// Stores bytes. A blob that is there already is checked, so that a damaged one is replaced. It is on disk for sure once an entry
    /// that needs it is saved.
    ///
    /// # Errors
    /// If the blob that is there cannot be read, or the new one cannot be written.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if Wrong::of(files::hash(&path), &digest)?.is_some() {
            let temp = self.ready(&path)?;
            replace_unsynced(&path, &temp, |file| written(file, bytes, 0o444))?;
        }
        Ok(digest)
    }

    /// Takes over a file of this store's disk as a blob, as [`put`](Self::put) does with bytes; the file is gone afterwards. Gives both
    /// digests of the bytes that were read.
    ///
    /// # Errors
    /// If it cannot be read or moved.
    pub fn adopt(&self, file: &Path) -> io::Result<(Digest, Sha256)> {
        let (digest, sha256) = files::digests(file)?;
        let path = self.blob_path(&digest);
        if Wrong::of(files::hash(&path), &digest)?.is_none() {
            fs_err::remove_file(file)?;
            return Ok((digest, sha256));
        }
        self.ready(&path)?;
        fs_err::set_permissions(file, PermissionsExt::from_mode(0o444))?;
        fs_err::rename(file, &path)?;
        Ok((digest, sha256))
    }

    /// The bytes of a blob, checked. `artifact` is what needs it.
    ///
    /// # Errors
    /// [`Damage`] if it is missing or corrupt.
    pub fn read(&self, digest: &Digest, artifact: &str) -> anyhow::Result<Vec<u8>> {
        self.checked(digest, artifact, |path| fs_err::read(path))
    }

    /// As [`read`](Self::read), without a copy.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn map(&self, digest: &Digest, artifact: &str) -> anyhow::Result<Content> {
        self.checked(digest, artifact, Content::of_blob)
    }

    /// A blob as a file at its beginning, checked, to be read in parts.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open(&self, digest: &Digest, artifact: &str) -> anyhow::Result<fs_err::File> {
        let hashed = self.here_or_brought(digest, || files::hashed(&self.blob_path(digest)));
        let found = hashed.as_ref().map(|(_, digest)| *digest).map_err(files::again);
        match Wrong::of(found, digest)? {
            Some(wrong) => Err(Damage::Blob { digest: *digest, artifact: artifact.to_owned(), wrong }.into()),
            None => Ok(hashed?.0),
        }
    }

    fn checked<B: Deref<Target = [u8]>>(
        &self,
        digest: &Digest,
        artifact: &str,
        open: impl Fn(&Path) -> io::Result<B>,
    ) -> anyhow::Result<B> {
        let path = self.blob_path(digest);
        let opened = self.here_or_brought(digest, || files::is_file(&path).and_then(|()| open(&path)));
        let found = opened.as_ref().map(|bytes| Digest::of(bytes)).map_err(files::again);
        match Wrong::of(found, digest)? {
            Some(wrong) => Err(Damage::Blob { digest: *digest, artifact: artifact.to_owned(), wrong }.into()),
            None => Ok(opened?),
        }
    }

    /// Reads a blob, and once more if it is not here and comes from elsewhere then.
    fn here_or_brought<T>(&self, digest: &Digest, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match (read(), self.elsewhere.get()) {
            (Err(error), Some(elsewhere)) if Wrong::in_place(&error) == Some(Wrong::Missing) => {
                if elsewhere.bring(self, digest)? { read() } else { Err(error) }
            }
            (other, _) => other,
        }
    }

    /// Whether a blob is missing here, or is not what its name says.
    ///
    /// # Errors
    /// If the system cannot read what is there.
    pub fn lacks(&self, digest: &Digest, size: u64) -> io::Result<bool> {
        self.lacks_file(&self.blob_path(digest), size, digest)
    }

    /// Takes in a blob from elsewhere, of at most so many bytes: hashed while `copy` writes it, and kept only if its digest is right.
    /// `copy` says whether there was one.
    ///
    /// # Errors
    /// What `copy` returns, or if it cannot be written.
    pub fn receive(
        &self,
        digest: &Digest,
        most: u64,
        copy: impl FnOnce(&mut dyn Write) -> io::Result<bool>,
    ) -> io::Result<Received> {
        let path = self.blob_path(digest);
        let temp = self.ready(&path)?;
        let received = self.receive_as(&temp, digest, most, copy);
        if matches!(received, Ok(Received::Right)) {
            fs_err::set_permissions(&temp, PermissionsExt::from_mode(0o444))?;
            fs_err::rename(&temp, &path)?;
        }
        received
    }

    /// As [`receive`](Self::receive), as a file elsewhere; there is none unless it is right.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_as(
        &self,
        path: &Path,
        digest: &Digest,
        most: u64,
        copy: impl FnOnce(&mut dyn Write) -> io::Result<bool>,
    ) -> io::Result<Received> {
        let file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut hashing = Hashing { file, hasher: blake3::Hasher::new(), left: most, is_too_long: false, failed: None };
        let copied = copy(&mut hashing);
        let received = match copied {
            Err(_) if hashing.is_too_long => Ok(Received::Wrong),
            Err(error) => Err(hashing.failed.take().unwrap_or(error)),
            Ok(false) => Ok(Received::Nothing),
            Ok(true) if Digest::from_hasher(&hashing.hasher) == *digest => Ok(Received::Right),
            Ok(true) => Ok(Received::Wrong),
        };
        if !matches!(received, Ok(Received::Right)) {
            fs_err::remove_file(path)?;
        }
        received
    }

    /// The digests of all blobs with their sizes, sorted.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for (folder, name) in two_levels(&self.root.join("blobs"))? {
            if let Ok(digest) = format!("{folder}{name}").parse::<Digest>() {
                // One that is just being removed counts no more.
                let meta = fs_err::metadata(self.blob_path(&digest));
                match meta {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    meta => blobs.push((digest, meta.map_or(0, |meta| meta.size()))),
                }
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Removes a blob, which no entry may need.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn drop_blob(&self, digest: &Digest) -> io::Result<()> {
        remove(fs_err::remove_file(self.blob_path(digest)))
    }
}
