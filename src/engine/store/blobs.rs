//! Blobs: bytes under the names of their digests.

use super::content::Content;
use super::damage::Damage;
use super::digest::Digest;
use super::names::{remove, two_levels};
use super::{Store, files};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Store {
    /// Where the blob with this digest is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(&name[2..])
    }

    /// Stores bytes. A blob that is there already is checked, so that a damaged one is replaced.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if !self.holds(&path, &digest)? {
            self.write(&path, bytes, 0o444)?;
        }
        Ok(digest)
    }

    fn holds(&self, path: &Path, digest: &Digest) -> io::Result<bool> {
        match files::hash(path) {
            Ok(found) => Ok(found == *digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
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
        self.checked(digest, artifact, Content::of)
    }

    fn checked<B: Deref<Target = [u8]>>(
        &self,
        digest: &Digest,
        artifact: &str,
        open: impl FnOnce(&Path) -> io::Result<B>,
    ) -> anyhow::Result<B> {
        let artifact = artifact.to_owned();
        match open(&self.blob_path(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(Damage::Corrupt { digest: *digest, artifact }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Damage::Missing { digest: *digest, artifact }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The digests of all blobs with their sizes, sorted.
    pub fn blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for (folder, name) in two_levels(&self.root.join("blobs"))? {
            if let Ok(digest) = format!("{folder}{name}").parse::<Digest>() {
                blobs.push((digest, fs_err::metadata(self.blob_path(&digest))?.size()));
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Removes a blob, which no entry may need.
    pub fn drop_blob(&self, digest: &Digest) -> io::Result<()> {
        remove(fs_err::remove_file(self.blob_path(digest)))
    }
}
