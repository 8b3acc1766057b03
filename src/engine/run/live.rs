//! A running job, as it shows itself to other processes.

use super::outcome::Watch;
use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::engine::store::live::{Live, LiveFiles, Measured, Process};
use crate::panic::lock;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Jobs that take less are not worth a file.
const WORTH_IT: Duration = Duration::from_secs(1);

/// Time between two writes of how far a job is.
const OFTEN: Duration = Duration::from_secs(2);

/// Points of a curve that are kept; beyond, every other one goes.
const MOST_POINTS: usize = 64;

/// What a job shows of itself while it runs; gone when dropped.
pub(super) struct Showing<'a> {
    job: &'a str,
    watch: &'a dyn Watch,
    files: LiveFiles,
    temp: PathBuf,
    state: Mutex<State>,
}

struct State {
    live: Live,
    since: Instant,
    /// The step from which this process went on, and when it was first told.
    first: Option<(u64, Instant)>,
    /// When the file was written last.
    told: Option<Instant>,
    has_log: bool,
    /// Whether it was said that nothing can be shown.
    is_mute: bool,
}

impl<'a> Showing<'a> {
    /// A job that begins.
    pub(super) fn new(store: &Store, pipeline: &str, job: &'a str, key: &Key, watch: &'a dyn Watch) -> Self {
        let state = State {
            live: Live::begun(*key, Process::own()),
            since: Instant::now(),
            first: None,
            told: None,
            has_log: false,
            is_mute: false,
        };
        let files = store.live_files(pipeline, job, key);
        Self { job, watch, files, temp: store.temp_path(), state: Mutex::new(state) }
    }

    /// Notes how far it is.
    pub(super) fn step(&self, done: u64, total: u64) {
        let mut state = lock(&self.state);
        // What counts something else from now on begins anew.
        if state.live.steps != total {
            state.first = None;
        }
        let (from, then) = *state.first.get_or_insert((done, Instant::now()));
        let seconds = then.elapsed().as_secs_f64();
        state.live.rate = (done > from && seconds > 0.0).then(|| (done - from) as f64 / seconds);
        (state.live.step, state.live.steps) = (done, total);
        self.tell(&mut state);
    }

    /// Notes what it measured.
    pub(super) fn measured(&self, step: u64, values: &[(&str, f64)]) {
        let mut state = lock(&self.state);
        for (name, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            state.live.values.insert((*name).to_owned(), Measured { step, value: *value });
            let curve = state.live.curves.entry((*name).to_owned()).or_default();
            // A job that goes on after an interruption takes steps again.
            curve.retain(|(known, _)| *known < step);
            curve.push((step, *value));
            if curve.len() > MOST_POINTS {
                thin(curve);
            }
        }
        self.tell(&mut state);
    }

    /// Adds to its log.
    pub(super) fn log(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        let done = self.files.log(bytes, !state.has_log);
        state.has_log = done.is_ok();
        self.check(&mut state, done);
    }

    fn tell(&self, state: &mut State) {
        let (now, since) = (Instant::now(), state.since);
        let is_due = state.told.map_or(now - since >= WORTH_IT, |told| now - told >= OFTEN);
        if !is_due {
            return;
        }
        state.told = Some(now);
        state.live.seconds = (now - since).as_secs_f64();
        let done = self.files.tell(&state.live, &self.temp);
        self.check(state, done);
    }

    /// That nobody can follow a job is no reason to end it.
    fn check(&self, state: &mut State, done: io::Result<()>) {
        if let Err(error) = done
            && !std::mem::replace(&mut state.is_mute, true)
        {
            self.watch.warn(self.job, &format!("its course cannot be shown while it runs: {error}"));
        }
    }
}

impl Drop for Showing<'_> {
    fn drop(&mut self) {
        let state = lock(&self.state);
        if state.told.is_some() || state.has_log {
            self.files.remove();
        }
    }
}

/// Every other point goes; the last stays.
fn thin(curve: &mut Vec<(u64, f64)>) {
    let last = curve.len() % 2;
    let mut at = 0;
    curve.retain(|_| {
        at += 1;
        at % 2 == last
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_stay_short_and_keep_their_last_point() {
        for len in [4, 5] {
            let mut curve: Vec<(u64, f64)> = (0..len).map(|step| (step, 0.0)).collect();
            thin(&mut curve);
            assert_eq!(curve.last().unwrap().0, len - 1);
            assert_eq!(curve.len() as u64, len.div_ceil(2));
        }
    }
}
