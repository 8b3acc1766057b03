//! Earlier entries, for explaining what changed since.

use super::digest::Key;
use super::entry::Entry;
use super::recipe::Recipe;
use super::state::Reason;
use super::store::Store;
use std::sync::{Arc, OnceLock};

/// Earlier entries of a store, seen from one pipeline. All entries are read only once something has to be explained that
/// the views do not explain.
pub(super) struct History {
    store: Arc<Store>,
    pipeline: String,
    all: OnceLock<Vec<(Key, Recipe)>>,
}

impl History {
    pub(super) fn new(store: Arc<Store>, pipeline: &str) -> Self {
        Self { store, pipeline: pipeline.to_owned(), all: OnceLock::new() }
    }

    /// The entry that a job of this kind made or found last.
    pub(super) fn viewed(&self, job: &str, kind: &str) -> Option<Entry> {
        let key = self.store.viewed(&self.pipeline, job)?;
        let entry = self.store.entry(&key).ok()?.ok()??;
        (entry.recipe.kind == kind).then_some(entry)
    }

    /// Why a job with this recipe has no entry: where it differs from the nearest earlier one. That is the last of its own,
    /// otherwise the one of its kind with the fewest differences.
    pub(super) fn reasons(&self, job: &str, recipe: &Recipe) -> (Vec<Reason>, Option<Key>) {
        if let Some(entry) = self.viewed(job, &recipe.kind) {
            return (changes(recipe, &entry.recipe), Some(entry.key));
        }
        let same_kind = self.all().iter().filter(|(_, old)| old.kind == recipe.kind);
        let nearest =
            same_kind.map(|(key, old)| (recipe.differences(old).len(), key, old)).min_by_key(|(n, key, _)| (*n, *key));
        match nearest {
            Some((_, key, old)) => (changes(recipe, old), Some(*key)),
            None => (vec![Reason::NeverSeen], None),
        }
    }

    fn all(&self) -> &[(Key, Recipe)] {
        self.all.get_or_init(|| {
            let keys = self.store.keys().unwrap_or_default();
            let entry = |key: Key| self.store.entry(&key).ok()?.ok()?;
            keys.into_iter().filter_map(entry).map(|entry| (entry.key, entry.recipe)).collect()
        })
    }
}

fn changes(new: &Recipe, old: &Recipe) -> Vec<Reason> {
    let differences = new.differences(old);
    if differences.is_empty() { vec![Reason::Gone] } else { differences.into_iter().map(Reason::Changed).collect() }
}
