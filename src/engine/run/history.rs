//! The last entry of a job, for explaining what changed since.

use super::reason::Reason;
use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::engine::store::entry::Entry;
use crate::engine::store::recipe::Recipe;
use std::sync::Arc;

/// The last entries of the jobs of one pipeline.
///
/// A job is compared with itself alone. The entry of another task or pipeline may be more like it, but what differs from that
/// is no reason to run.
pub(super) struct History {
    store: Arc<Store>,
    pipeline: String,
}

impl History {
    pub(super) fn new(store: Arc<Store>, pipeline: &str) -> Self {
        Self { store, pipeline: pipeline.to_owned() }
    }

    /// The entry that a job of this kind made or found last.
    pub(super) fn viewed(&self, job: &str, kind: &str) -> Option<Entry> {
        let key = self.store.viewed(&self.pipeline, job)?;
        self.entry(&key).filter(|entry| entry.recipe.kind == kind)
    }

    /// Why a job with this recipe has no entry: where it differs from its own last one.
    pub(super) fn reasons(&self, job: &str, recipe: &Recipe) -> (Vec<Reason>, Option<Key>) {
        let Some(key) = self.store.viewed(&self.pipeline, job) else { return (vec![Reason::NeverSeen], None) };
        match self.entry(&key) {
            None => (vec![Reason::Gone], None),
            Some(entry) if entry.recipe.kind != recipe.kind => (vec![Reason::NeverSeen], None),
            Some(entry) => (changes(recipe, &entry.recipe), Some(entry.key)),
        }
    }

    fn entry(&self, key: &Key) -> Option<Entry> {
        self.store.entry(key).ok()?.ok()?
    }
}

fn changes(new: &Recipe, old: &Recipe) -> Vec<Reason> {
    let differences = new.differences(old);
    if differences.is_empty() { vec![Reason::Gone] } else { differences.into_iter().map(Reason::Changed).collect() }
}
