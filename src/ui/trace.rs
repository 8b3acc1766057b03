//! A run as a trace of the format that Chrome and Perfetto open (Trace Event Format, "X" events).

use crate::engine::run::{Outcome, Watch};
use crate::panic::lock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// Notes when jobs run, and passes everything on.
pub struct Trace<'w> {
    watch: &'w dyn Watch,
    started: Instant,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    events: Vec<Value>,
    /// Jobs at work: since when, and in which row.
    running: BTreeMap<String, (u64, usize)>,
}

impl Rows {
    /// The first row without a job.
    fn free(&self) -> usize {
        (0..).find(|row| self.running.values().all(|(_, taken)| taken != row)).unwrap_or_default()
    }
}

impl<'w> Trace<'w> {
    /// A trace that begins now.
    pub fn new(watch: &'w dyn Watch) -> Self {
        Self { watch, started: Instant::now(), rows: Mutex::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes the trace; jobs side by side are rows, since a worker is none of which a job knows.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(self, path: &Path) -> io::Result<()> {
        let rows = self.rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let trace = json!({"displayTimeUnit": "ms", "traceEvents": rows.events});
        fs_err::write(path, trace.to_string())
    }
}

impl Watch for Trace<'_> {
    fn known(&self, jobs: usize) {
        self.watch.known(jobs);
    }

    fn started(&self, job: &str) {
        let now = self.now();
        let mut rows = lock(&self.rows);
        let row = rows.free();
        rows.running.insert(job.to_owned(), (now, row));
        drop(rows);
        self.watch.started(job);
    }

    fn step(&self, job: &str, done: u64, total: u64, note: &str) {
        self.watch.step(job, done, total, note);
    }

    fn say(&self, job: &str, message: &str) {
        self.watch.say(job, message);
    }

    fn warn(&self, job: &str, message: &str) {
        self.watch.warn(job, message);
    }

    fn ended(&self, outcome: &Outcome) {
        let now = self.now();
        let mut rows = lock(&self.rows);
        if let Some((since, row)) = rows.running.remove(&outcome.job) {
            rows.events.push(json!({
                "name": outcome.job, "cat": outcome.kind, "ph": "X", "pid": 1, "tid": row, "ts": since, "dur": now - since,
                "args": {"stage": outcome.stage, "state": outcome.ending.to_string(), "key": outcome.key},
            }));
        }
        drop(rows);
        self.watch.ended(outcome);
    }
}
