//! The pushers: bring results to where others find them, behind the back of the run.

use super::claim::Claim;
use super::outcome::Watch;
use crate::engine::sharing::{Pushed, Sharing};
use crate::engine::store::entry::Entry;
use crate::engine::store::{Found, Store};
use crate::panic::lock;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

/// How many results are brought at a time.
pub(super) const TOGETHER: usize = 4;

/// A result of this machine that others are to find, and the claim on its key, which is given back then.
pub(super) struct Owed {
    pub(super) entry: Arc<Entry>,
    pub(super) claim: Claim,
}

/// Brings what comes in until nothing more can. What could not be brought stays noted.
pub(super) fn push(store: &Store, sharing: &Sharing, inbox: &Mutex<Receiver<Owed>>, watch: &dyn Watch) {
    loop {
        let owed = lock(inbox).recv();
        let Ok(Owed { entry, claim }) = owed else { return };
        let job = &entry.provenance.job;
        match sharing.push(store, &entry) {
            Ok(Pushed::New | Pushed::Same) => {
                if let Err(error) = sharing.paid(store, &entry.key) {
                    watch.warn(
                        job,
                        &format!("it is in the store, but the note that it is to be brought there stays: {error}"),
                    );
                }
            }
            Ok(Pushed::Other(theirs)) => {
                let (there, here, key) = (&theirs.provenance.host, &entry.provenance.host, entry.key.short());
                let _ = sharing.paid(store, &entry.key);
                // Machines of one class compute the same bits.
                let why = if there == here {
                    "the job is not deterministic"
                } else {
                    "the job is not deterministic, or these machines differ in last bits"
                };
                watch.warn(
                    job,
                    &format!(
                        "a machine ({there}) made something else under the same key {key} than this one ({here}): {why}. What was \
                         there first counts, and what this run made is kept in the store under `observations/`; what was made from it \
                         runs again with the next run"
                    ),
                );
            }
            Err(error) => watch.warn(
                job,
                &format!(
                    "its result is here, but could not be brought to `{}`: {error:#}; `spot push` tries again",
                    sharing.address()
                ),
            ),
        }
        drop(claim);
    }
}

/// Brings what earlier runs could not.
pub(super) fn push_owed(store: &Store, sharing: &Sharing, pipeline: &str, watch: &dyn Watch) {
    for key in sharing.owed(store).unwrap_or_default() {
        let Ok(Found::Hit(entry)) = store.find(&key) else {
            // Never written, or gone or damaged since: there is nothing to bring.
            let _ = sharing.paid(store, &key);
            continue;
        };
        match sharing.push(store, &entry).and_then(|_| Ok(sharing.paid(store, &key)?)) {
            Ok(()) => {}
            Err(error) => {
                let job = &entry.provenance.job;
                watch.warn(pipeline, &format!("the result of `{job}` could not be brought to the store: {error:#}"));
                return;
            }
        }
    }
}
