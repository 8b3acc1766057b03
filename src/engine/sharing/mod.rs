//! Results in one place that many machines share: looked for there before a job runs, and brought there once it has run.
//!
//! ```text
//! store.json              what this place is
//! blobs/ab/cdef…          as in the store of a machine; written before the entries that need them
//! entries/ab/<key>.json   created once: who comes second takes what is there
//! told/ab/<key, digests>  empty: by their names a listing tells which results are there, and what they are
//! signed/entries/…        what keys say of entries
//! observations/<key>/…    entries of those who came second and had made something else
//! partial/<key>.json      the saved steps of an interrupted job; its files are blobs
//! failures/<run>/<key>    jobs that failed in a run of several workers
//! roots/…                 what each pipeline used last: the rest can go
//! doctor/<nonce>          a question whether the place does what all this relies on
//! workers/ claims/ cancel/  leases (`remote::lease`)
//! ```
//!
//! Nothing that comes from there is believed: an entry is checked as one on disk is, a blob is hashed while it is received.

mod entries;
mod failures;
mod probe;
mod roots;
mod scratch;
mod told;
mod unpushed;

use super::run::Unavailable;
use super::store::digest::{Digest, Key};
use super::store::entry::Entry;
use crate::remote::{self, Address, Objects, Version};
pub use entries::{Pulled, Pushed};
pub use failures::{Failure, Failures};
pub use roots::Unneeded;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The object that says what a place is.
const MARK: &str = "store.json";
/// The layout that this program reads and writes.
const FORMAT: u32 = 1;

/// A place with results, and what is known of it.
#[derive(Debug)]
pub struct Sharing {
    objects: Arc<dyn Objects>,
    address: Address,
    access: Access,
    is_new: bool,
    /// Whether signatures are brought along with entries.
    with_signatures: bool,
    counts: Counts,
    /// Entries that are there and cannot be used, which may be replaced.
    unusable: Mutex<HashMap<Key, Version>>,
    /// Entries that are not there.
    missed: Mutex<HashSet<Key>>,
    /// Blobs that are there with other bytes.
    wrong: Mutex<HashSet<Digest>>,
    told: Mutex<told::Told>,
    /// Entries that were looked at and stay where they are.
    peeked: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    pushed: AtomicU64,
}

/// What a place did for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Results that came from there.
    pub hits: u64,
    /// Results that were not there.
    pub misses: u64,
    /// Questions and transfers that failed, though they were tried again.
    pub errors: u64,
    /// Results that were there, but incomplete or with wrong bytes.
    pub refused: u64,
    /// Results that were brought there.
    pub pushed: u64,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    made_by: String,
}

/// What is done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Results are taken from there; nothing is written.
    Read,
    /// Results are brought there too; it must be there.
    Write,
    /// The same, and where there is nothing yet it is made.
    Make,
}

/// Whether a place is marked as one that this program reads. What makes no sense is asked for again, since that may be the way and not
/// the place.
///
/// # Errors
/// If it cannot be asked, or is marked as another one.
fn is_marked(objects: &dyn Objects, address: &Address) -> Result<bool, String> {
    let mut attempt = 1;
    loop {
        let mark = objects.get(MARK).map_err(|error| format!("the store `{address}` cannot be used: {error}"))?;
        let Some(mark) = mark else { return Ok(false) };
        let wrong = match serde_json::from_slice::<Mark>(&mark.bytes) {
            Ok(Mark { format: FORMAT, .. }) => return Ok(true),
            Ok(Mark { format, .. }) => format!(
                "the store `{address}` has format {format}, and this program reads {FORMAT}; use the program that made it, or another prefix"
            ),
            Err(error) => {
                format!("`{MARK}` of the store `{address}` cannot be read ({error}): is something else kept there?")
            }
        };
        if attempt == entries::ATTEMPTS {
            return Err(wrong);
        }
        attempt += 1;
    }
}

impl Sharing {
    /// Opens a place; signatures are brought along with entries if `with_signatures`.
    ///
    /// # Errors
    /// [`Unavailable`] if it cannot be asked, is of another format, or is empty though it is not to be made: a place that was
    /// named wrongly must not look like one that has no results yet.
    pub fn open(address: &Address, access: Access, with_signatures: bool) -> Result<Self, Unavailable> {
        let why = |error: remote::Error| Unavailable(format!("the store `{address}` cannot be used: {error}"));
        let objects = remote::open(address).map_err(why)?;
        let is_new = !is_marked(&*objects, address).map_err(Unavailable)?;
        if is_new && access != Access::Make {
            return Err(Unavailable(format!(
                "there is no store at `{address}` (no `{MARK}`); `spot run` and `spot push` make one, if they may write"
            )));
        }
        if is_new {
            let made_by = super::store::provenance::program();
            let mark = serde_json::to_vec(&Mark { format: FORMAT, made_by }).expect("a mark is plain data");
            // Another run may make it at the same time, which comes to the same.
            objects.create(MARK, &mark).map_err(why)?;
        }
        Ok(Self { is_new, with_signatures, ..Self::new(objects, address.clone(), access) })
    }

    /// A place that is not asked whether it is one.
    fn new(objects: Arc<dyn Objects>, address: Address, access: Access) -> Self {
        Self {
            objects,
            address,
            access,
            is_new: false,
            with_signatures: false,
            counts: Counts::default(),
            unusable: Mutex::default(),
            missed: Mutex::default(),
            wrong: Mutex::default(),
            told: Mutex::default(),
            peeked: Mutex::default(),
        }
    }

    /// A place of a test.
    #[cfg(test)]
    pub(super) fn over(objects: Arc<dyn Objects>) -> Self {
        Self::new(objects, "file:///in/memory".parse().expect("an address"), Access::Write)
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether results are brought there.
    pub fn writes(&self) -> bool {
        self.access != Access::Read
    }

    /// Whether there was nothing before it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The bytes there by name.
    pub fn objects(&self) -> &Arc<dyn Objects> {
        &self.objects
    }

    /// What it did so far.
    pub fn tally(&self) -> Tally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { hits, misses, errors, refused, pushed } = &self.counts;
        Tally { hits: of(hits), misses: of(misses), errors: of(errors), refused: of(refused), pushed: of(pushed) }
    }

    /// An error of the place, counted.
    fn failed(&self, error: &remote::Error) -> anyhow::Error {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        Unavailable(format!("the store `{}` failed: {error}", self.address)).into()
    }
}
