//! Blobs: bytes under the names of their digests.

use super::content::Content;
use super::damage::{Damage, Wrong};
use super::digest::Digest;
use super::names::{remove, two_levels};
use super::{Store, files, written};
use crate::replace::replace_unsynced;
use crate::trust::Sha256;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
        let hashed = files::hashed(&self.blob_path(digest));
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
        open: impl FnOnce(&Path) -> io::Result<B>,
    ) -> anyhow::Result<B> {
        let path = self.blob_path(digest);
        let opened = files::is_file(&path).and_then(|()| open(&path));
        let found = opened.as_ref().map(|bytes| Digest::of(bytes)).map_err(files::again);
        match Wrong::of(found, digest)? {
            Some(wrong) => Err(Damage::Blob { digest: *digest, artifact: artifact.to_owned(), wrong }.into()),
            None => Ok(opened?),
        }
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
