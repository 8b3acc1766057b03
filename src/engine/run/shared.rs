//! Values that the jobs of a run share, found by the content that they were made from: models in memory and what computes
//! with them.
//!
//! Whatever was made from one content stays and goes together: it stays while a job uses some of it, and then as long as the
//! content is among the few that were used last. A run may tune any number of models; it must not keep them all.

use crate::engine::store::digest::Digest;
use crate::panic::lock;
use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// So many contents stay, unless jobs use more: the model that most jobs of a study begin from, and the one that was tuned or
/// evaluated last. Each more would be a whole model in memory for jobs that seldom come, and to read one again takes seconds.
/// For the same reason jobs that share models are at work on no more of them at a time.
pub(super) const KEPT: usize = 2;

/// The values of a run.
#[derive(Default)]
pub(in crate::engine) struct Shared(Mutex<Table>);

#[derive(Default)]
struct Table {
    contents: HashMap<Digest, Values>,
    /// Counts the times that a content was let go.
    now: u64,
}

/// What was made from one content.
#[derive(Default)]
struct Values {
    slots: HashMap<TypeId, Slot>,
    /// Jobs that use some of it.
    users: usize,
    /// When the last of them let it go.
    last_use: u64,
}

type Slot = Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>;

/// The values that one job uses; they stay until this is dropped.
pub(in crate::engine) struct Hold<'a> {
    shared: &'a Shared,
    contents: Mutex<BTreeSet<Digest>>,
}

impl Shared {
    /// For one job.
    pub(in crate::engine) fn hold(&self) -> Hold<'_> {
        Hold { shared: self, contents: Mutex::default() }
    }
}

impl Hold<'_> {
    /// The value of type `T` for a digest. Made outside the lock of the table, so that other values are not waited for.
    ///
    /// # Errors
    /// What `make` returns; the next job tries again.
    pub(in crate::engine) fn get<T: Send + Sync + 'static>(
        &self,
        digest: &Digest,
        make: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        let slot = self.slot::<T>(digest);
        let mut value = lock(&slot);
        let made = match &*value {
            Some(made) => made.clone(),
            None => value.insert(Arc::new(make()?)).clone(),
        };
        Ok(made.downcast().expect("slots are told apart by type"))
    }

    fn slot<T: 'static>(&self, digest: &Digest) -> Slot {
        let is_new = lock(&self.contents).insert(*digest);
        let mut table = lock(&self.shared.0);
        let values = table.contents.entry(*digest).or_default();
        values.users += usize::from(is_new);
        let slot = values.slots.entry(TypeId::of::<T>()).or_default().clone();
        // What has to make room goes before the new value is made.
        let forgotten = table.forget();
        drop(table);
        drop(forgotten);
        slot
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut table = lock(&self.shared.0);
        for digest in &*lock(&self.contents) {
            table.now += 1;
            let now = table.now;
            let values = table.contents.get_mut(digest).expect("values that a job uses stay");
            values.users -= 1;
            values.last_use = now;
        }
        let forgotten = table.forget();
        drop(table);
        // Without the lock: a model at work waits for its threads when it is dropped.
        drop(forgotten);
    }
}

impl Table {
    /// Takes out what no job uses and was not used lately.
    #[must_use = "is to be dropped once the table is unlocked"]
    fn forget(&mut self) -> Vec<Values> {
        let idle = self.contents.iter().filter(|(_, values)| values.users == 0);
        let mut idle: Vec<(u64, Digest)> = idle.map(|(digest, values)| (values.last_use, *digest)).collect();
        idle.sort_unstable();
        let busy = self.contents.len() - idle.len();
        let forgotten = idle.len().saturating_sub(KEPT.saturating_sub(busy));
        idle[..forgotten].iter().filter_map(|(_, digest)| self.contents.remove(digest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Counts itself while it lives.
    struct Counted {
        live: Arc<AtomicUsize>,
    }

    impl Counted {
        fn new(live: &Arc<AtomicUsize>) -> Self {
            live.fetch_add(1, Ordering::Relaxed);
            Self { live: live.clone() }
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Another type of value.
    struct Other(#[expect(dead_code, reason = "is there to be dropped")] Counted);

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// Takes the value of each of these for one job; those that had to be made.
    fn take<'n>(hold: &Hold<'_>, names: &[&'n str], live: &Arc<AtomicUsize>) -> Vec<&'n str> {
        let mut made = Vec::new();
        for name in names {
            let make = || {
                made.push(*name);
                Ok(Counted::new(live))
            };
            hold.get(&digest(name), make).unwrap();
        }
        made
    }

    #[test]
    fn the_contents_used_last_stay_and_older_ones_are_made_again() {
        let (shared, live) = (Shared::default(), Arc::default());
        let job = |name| take(&shared.hold(), &[name], &live).len();
        let made: Vec<usize> = ["a", "b", "a", "b", "c", "b", "a", "c"].into_iter().map(job).collect();
        assert_eq!(made, [1, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!(live.load(Ordering::Relaxed), KEPT);
    }

    #[test]
    fn what_a_job_uses_stays_whatever_others_do() {
        let (shared, live) = (Shared::default(), Arc::default());
        let long = shared.hold();
        take(&long, &["a"], &live);
        for name in ["b", "c", "d"] {
            assert_eq!(take(&shared.hold(), &["a", name], &live), [name]);
            assert_eq!(live.load(Ordering::Relaxed), 2, "`a`, and the last beside it");
        }
        let all = ["a", "b", "c", "d", "e"];
        let wide = shared.hold();
        take(&wide, &all, &live);
        assert_eq!(live.load(Ordering::Relaxed), all.len(), "a job may use more than would be kept");
        drop(wide);
        assert_eq!(live.load(Ordering::Relaxed), 2);
        assert_eq!(take(&long, &["a"], &live), [""; 0]);
    }

    #[test]
    fn room_is_made_before_the_next_value_is() {
        let (shared, live) = (Shared::default(), Arc::default());
        take(&shared.hold(), &["a", "b"], &live);
        let make = || {
            assert_eq!(live.load(Ordering::Relaxed), KEPT - 1);
            Ok(Counted::new(&live))
        };
        shared.hold().get(&digest("c"), make).unwrap();
    }

    #[test]
    fn values_of_one_content_are_told_apart_by_type_and_go_together() {
        let (shared, live) = (Shared::default(), Arc::default());
        for name in ["a", "b", "c"] {
            let hold = shared.hold();
            take(&hold, &[name], &live);
            hold.get(&digest(name), || Ok(Other(Counted::new(&live)))).unwrap();
        }
        assert_eq!(live.load(Ordering::Relaxed), 2 * KEPT);
        assert_eq!(take(&shared.hold(), &["b", "c"], &live), [""; 0]);
    }

    #[test]
    fn a_value_that_could_not_be_made_is_tried_again() {
        let (shared, live) = (Shared::default(), Arc::default());
        let hold = shared.hold();
        assert!(hold.get::<Counted>(&digest("a"), || anyhow::bail!("no")).is_err());
        assert_eq!(take(&hold, &["a"], &live), ["a"]);
    }

    /// Sees whether the table is locked when it is dropped.
    struct Looks {
        shared: Arc<Shared>,
        was_free: Arc<AtomicBool>,
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.was_free.store(self.shared.0.try_lock().is_ok(), Ordering::Relaxed);
        }
    }

    #[test]
    fn nothing_is_dropped_under_the_lock_of_the_table() {
        let (shared, was_free) = (Arc::<Shared>::default(), Arc::<AtomicBool>::default());
        let live = Arc::default();
        let looks = || Ok(Looks { shared: shared.clone(), was_free: was_free.clone() });
        shared.hold().get(&digest("a"), looks).unwrap();
        take(&shared.hold(), &["b", "c"], &live);
        assert!(was_free.swap(false, Ordering::Relaxed), "dropped to make room");
        let (first, second) = (shared.hold(), shared.hold());
        first.get(&digest("d"), looks).unwrap();
        take(&second, &["e", "f"], &live);
        drop(first);
        assert!(was_free.load(Ordering::Relaxed), "dropped at the end of a job");
    }
}
