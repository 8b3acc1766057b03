//! One place for many machines: named bytes in a bucket or a shared folder, and leases on them. Knows nothing of what the bytes are.
//!
//! Whatever is written here is read by others while it is written, so there are three ways to write: to put what has only one possible
//! content, to create what must not be there yet, and to replace what must not have changed since it was read.

mod address;
#[cfg(feature = "bucket")]
mod bucket;
mod folder;
pub mod lease;
#[cfg(feature = "bucket")]
mod patient;

pub use address::{Address, Scheme};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of the longest object that is read into memory.
pub const LONGEST: u64 = 64 << 20;

/// What tells one content of an object from another, without the bytes: an ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

#[cfg(test)]
impl Version {
    /// The one with this number.
    pub(crate) fn new(number: u64) -> Self {
        Self(number.to_string())
    }
}

/// An object that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Which content of this name it is.
    pub version: Version,
}

/// An object that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Which content of this name it is.
    pub version: Version,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of the place.
    pub written: SystemTime,
}

/// Why a place did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not let this program: credentials, permissions.
    #[error("{0}")]
    Refused(String),
    /// It does not answer, or not with sense; another time it may.
    #[error("{0}")]
    Unreachable(String),
}

/// Named bytes. Names are paths without `..`, relative to the place.
pub trait Objects: fmt::Debug + Send + Sync {
    /// The content of an object of at most [`LONGEST`] bytes; `None` if there is none.
    ///
    /// # Errors
    /// If the place cannot be asked, or there is a longer one.
    fn get(&self, name: &str) -> Result<Option<Object>, Error>;

    /// Writes the content of an object somewhere; whether there is one. Nothing is known of the bytes: they may be cut off.
    ///
    /// # Errors
    /// If the place cannot be asked, or `into` not be written.
    fn copy(&self, name: &str, into: &mut dyn Write) -> Result<bool, Error>;

    /// The size of an object in bytes; `None` if there is none.
    ///
    /// # Errors
    /// If the place cannot be asked.
    fn size(&self, name: &str) -> Result<Option<u64>, Error>;

    /// Writes an object, over another of that name if there is one.
    ///
    /// # Errors
    /// If it may not be written or the place cannot be asked.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// As [`put`](Self::put), with the content of a file.
    ///
    /// # Errors
    /// As [`put`](Self::put), and if the file cannot be read.
    fn send(&self, name: &str, file: &Path) -> Result<(), Error>;

    /// Writes an object that is not there yet; `None` if it is.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error>;

    /// Writes an object over the content of this version; `None` if it has another, or none.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, Error>;

    /// Removes an object, which may be gone.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn remove(&self, name: &str) -> Result<(), Error>;

    /// Names all objects below a folder, in no order.
    ///
    /// # Errors
    /// If the place cannot be asked.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error>;
}

/// A folder of this machine, or one that others mount too.
pub fn folder(path: &Path) -> Arc<dyn Objects> {
    Arc::new(folder::Folder::new(path))
}

/// Opens a place. Asks it nothing yet.
///
/// # Errors
/// If this build cannot speak to it, or the environment lacks what it needs.
pub fn open(address: &Address) -> Result<Arc<dyn Objects>, Error> {
    match &address.scheme {
        Scheme::File(path) => Ok(folder(path)),
        #[cfg(feature = "bucket")]
        _ => Ok(Arc::new(patient::Patient(bucket::open(address)?))),
        #[cfg(not(feature = "bucket"))]
        _ => Err(Error::Refused(format!(
            "`{address}`: this program was built without the client for buckets; build it with `--features bucket`"
        ))),
    }
}
