//! Jobs that failed in a run of several workers: each is tried by one of them.

use crate::engine::store::digest::Key;
use crate::panic::lock;
use crate::remote::{Error, Objects};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Bytes of a message that others are told.
const LONGEST: usize = 16 << 10;

/// What failed in a run that has a name.
#[derive(Debug)]
pub struct Failures {
    objects: Arc<dyn Objects>,
    folder: String,
    /// Keys of the jobs that had failed at the last look.
    keys: Mutex<HashSet<Key>>,
}

/// How a job failed somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The job.
    pub job: String,
    /// Which worker tried.
    pub worker: String,
    /// What went wrong.
    pub error: String,
}

impl Failures {
    /// Those of a run, kept in a place.
    pub fn new(objects: Arc<dyn Objects>, run: &str) -> Self {
        Self { objects, folder: format!("failures/{run}"), keys: Mutex::default() }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}/{key}", self.folder)
    }

    /// Tells the others that a job failed.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn tell(&self, key: &Key, failure: &Failure) -> Result<(), Error> {
        let end = failure.error.floor_char_boundary(LONGEST);
        let failure = Failure { error: failure.error[..end].to_owned(), ..failure.clone() };
        self.objects.put(&self.name(key), &serde_json::to_vec(&failure).expect("a failure is plain data"))
    }

    /// How a job failed, if it had at the last look.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn of(&self, key: &Key) -> Result<Option<Failure>, Error> {
        if !self.has(key) {
            return Ok(None);
        }
        let object = self.objects.get(&self.name(key))?;
        Ok(object.and_then(|object| serde_json::from_slice(&object.bytes).ok()))
    }

    /// Whether a job had failed at the last look.
    pub fn has(&self, key: &Key) -> bool {
        lock(&self.keys).contains(key)
    }

    /// Whether any job had failed at the last look.
    pub fn any(&self) -> bool {
        !lock(&self.keys).is_empty()
    }

    /// Looks which jobs failed.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn look(&self) -> Result<(), Error> {
        let listed = self.objects.list(&self.folder)?;
        let keys = listed.iter().filter_map(|listed| listed.name.rsplit_once('/')?.1.parse().ok());
        *lock(&self.keys) = keys.collect();
        Ok(())
    }
}
