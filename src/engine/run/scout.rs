//! The scout: looks now and then at what others do, while jobs wait for them.

use super::crew::{Crew, News};
use super::settings::{Role, Settings};
use crate::engine::store::digest::Key;
use crate::panic::lock;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Between two looks at locks of this machine.
const NEAR: Duration = Duration::from_millis(40);
/// Looks at a shared place in the term of a lease: at most, while something happens, and at least; and at most of whoever meets others.
const OFTEN: u32 = 30;
const SELDOM: u32 = 4;
pub(super) const MEETINGS: u32 = 8;

/// After a look a rest of so many times what it took: a place that serves many slowly is not asked the more by those who wait.
const LEISURE: u32 = 4;

/// Between two looks at whether the run is to stop, which must not wait for a look at others.
const TICK: Duration = Duration::from_millis(100);

/// The keys that jobs wait for which others make: how many, and how they begin.
#[derive(Default)]
pub(super) struct Waiting {
    beginnings: Mutex<BTreeMap<u8, usize>>,
}

impl Waiting {
    pub(super) fn add(&self, key: &Key) {
        *lock(&self.beginnings).entry(key.bytes()[0]).or_default() += 1;
    }

    pub(super) fn remove(&self, key: &Key) {
        let mut beginnings = lock(&self.beginnings);
        if let Entry::Occupied(mut keys) = beginnings.entry(key.bytes()[0]) {
            *keys.get_mut() -= 1;
            if *keys.get() == 0 {
                keys.remove();
            }
        }
    }

    fn len(&self) -> usize {
        lock(&self.beginnings).values().sum()
    }

    fn beginnings(&self) -> BTreeSet<u8> {
        lock(&self.beginnings).keys().copied().collect()
    }
}

/// Looks until the scheduler ends, and tells it after each look, and when the run is to stop.
pub(super) fn scout(crew: &Crew<'_>, ended: &Receiver<()>, outbox: &Sender<News>) {
    let (shortest, longest) = pauses(crew);
    let (mut pause, mut before, mut last) = (shortest, 0, Instant::now());
    while ended.recv_timeout(pause.min(TICK)) == Err(RecvTimeoutError::Timeout) {
        let waiting = crew.waiting.len();
        if waiting == 0 {
            (pause, before, last) = (shortest, 0, Instant::now());
            continue;
        }
        let is_over = crew.bench.stop.load(Ordering::Relaxed);
        if !is_over && last.elapsed() < pause {
            continue;
        }
        pause = if waiting < before { shortest } else { (pause + pause / 4).min(longest) };
        before = waiting;
        let start = Instant::now();
        if !is_over && let Err(error) = crew.look(pause / 2, Some(&crew.waiting.beginnings())) {
            crew.watch.warn(crew.pipeline, &format!("{error:#}; tried again in a moment"));
        }
        last = Instant::now();
        pause = pause.max((last - start) * LEISURE);
        if outbox.send(News::Looked).is_err() {
            return;
        }
    }
}

fn pauses(crew: &Crew<'_>) -> (Duration, Duration) {
    match &crew.settings.leases {
        Some(leases) => (leases.term() / OFTEN, leases.term() / SELDOM),
        None if crew.settings.sharing.is_some() => (Duration::from_secs(2), Duration::from_secs(15)),
        None => (NEAR, 5 * NEAR),
    }
}

impl Crew<'_> {
    /// Looks at results, leases and failures of others, unless that was done a moment ago; of results perhaps only at those whose keys
    /// begin so.
    ///
    /// # Errors
    /// If the shared place cannot be asked.
    pub(super) fn look(&self, rest: Duration, beginnings: Option<&BTreeSet<u8>>) -> anyhow::Result<()> {
        // Leases first: who gave one back has brought the result before. Failures as seldom as beats.
        let is_thorough = self.settings.leases.as_ref().map_or(Ok(true), |leases| leases.look(rest))?;
        if let Some(failures) = self.settings.failures.as_ref().filter(|_| is_thorough) {
            failures.look()?;
        }
        self.settings.sharing.as_ref().map_or(Ok(()), |sharing| sharing.look(rest, beginnings))
    }

    /// Whether there may be something to do about a key that somebody else was working on.
    pub(super) fn is_worth_another_try(&self, key: &Key) -> bool {
        self.is_free(key) || self.has_ended(key)
    }

    /// Whether somebody else has made something, or failed to.
    pub(super) fn has_ended(&self, key: &Key) -> bool {
        let Settings { sharing, failures, .. } = self.settings;
        sharing.as_ref().is_some_and(|sharing| sharing.is_listed(key))
            || failures.as_ref().is_some_and(|failures| failures.has(key))
            || self.bench.store.entry_path(key).exists()
    }

    fn is_free(&self, key: &Key) -> bool {
        self.settings.role != Role::Watch
            && self.settings.leases.as_ref().is_none_or(|leases| !leases.is_held(&key.to_string()))
    }

    /// Whether somebody works on it now, as far as can be seen.
    pub(super) fn is_at_work(&self, key: &Key) -> bool {
        match &self.settings.leases {
            Some(leases) => leases.is_held(&key.to_string()),
            // Who takes the lock has it for a moment only.
            None => matches!(self.bench.store.lock(key, || false), Ok(None)),
        }
    }
}
