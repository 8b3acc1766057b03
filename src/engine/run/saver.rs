//! The saver: writes the entries of finished jobs, those that came in meanwhile together, since to sync one costs as much as to
//! sync many.

use super::claim::Claim;
use super::jobs::Id;
use super::pusher::Owed;
use crate::engine::sharing::Sharing;
use crate::engine::signing::Signer;
use crate::engine::store::Store;
use crate::engine::store::entry::Entry;
use crate::engine::store::signed::Signature;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// An entry to be written, and the claim on its key, which is given back then, or once others can find it.
pub(super) struct Finished {
    pub(super) id: Id,
    pub(super) entry: Arc<Entry>,
    pub(super) claim: Claim,
}

/// What became of an entry.
pub(super) struct Saved {
    pub(super) id: Id,
    pub(super) result: Result<(), Arc<io::Error>>,
}

/// Where results are shared, and who brings them there.
pub(super) type Outlet<'a> = Option<(&'a Sharing, Sender<Owed>)>;

/// Writes what comes in until nothing more can, signed by whoever signs; `report` makes of each end what the scheduler reads.
pub(super) fn save<R>(
    store: &Store,
    signer: Option<&Signer>,
    outlet: &Outlet<'_>,
    inbox: &Receiver<Finished>,
    outbox: &Sender<R>,
    report: impl Fn(Saved) -> R,
) {
    while let Ok(first) = inbox.recv() {
        let batch: Vec<Finished> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let entries: Vec<&Entry> = batch.iter().map(|finished| &*finished.entry).collect();
        let dropped = |()| entries.iter().try_for_each(|entry| store.drop_scratch(&entry.key));
        let signed = |signer: &Signer| entries.iter().map(|entry| signer.made(store, entry)).collect();
        let signatures: anyhow::Result<Vec<Signature>> = signer.map_or_else(|| Ok(Vec::new()), signed);
        let noted = match outlet {
            Some((sharing, _)) => entries.iter().try_for_each(|entry| sharing.owe(store, &entry.key)),
            None => Ok(()),
        };
        let signatures = noted.and_then(|()| signatures.map_err(io::Error::other));
        let saved = signatures.and_then(|signatures| store.save(&entries, signatures));
        let result = saved.and_then(dropped).map_err(Arc::new);
        for Finished { id, claim, entry } in batch {
            match outlet {
                // Where nobody takes it any more, the note stays.
                Some((_, owed)) if result.is_ok() => drop(owed.send(Owed { entry, claim })),
                _ => drop(claim),
            }
            if outbox.send(report(Saved { id, result: result.clone() })).is_err() {
                return;
            }
        }
    }
}
