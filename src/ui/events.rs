//! A run for programs: an event a line on standard output.

use super::print_json;
use super::progress::{Progress, Ticker};
use crate::engine::plan::Plan;
use crate::engine::run::{Outcome, Watch};
use crate::engine::store::Store;
use crate::panic::lock;
use serde::Serialize;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Shows a run to programs.
pub struct Events {
    progress: Arc<Mutex<Progress>>,
    _ticker: Option<Ticker>,
}

impl Events {
    /// For the jobs of a plan, `all` of them or some, with an event `progress` at every interval, if there is one.
    pub fn new(plan: &Plan, all: bool, store: &Arc<Store>, every: Option<Duration>) -> Self {
        let progress = Arc::new(Mutex::new(Progress::new(Some(plan).filter(|_| all))));
        let ticker = |every| Ticker::new(every, progress.clone(), store.clone(), plan.name.clone(), tell_progress);
        Self { _ticker: every.map(ticker), progress }
    }
}

fn tell_progress(progress: &Progress) {
    let now = Instant::now();
    let running = progress.running.iter().map(|(job, running)| {
        let (step, steps) = running.steps.unzip();
        json!({"job": job, "step": step, "steps": steps, "steps_per_second": running.rate(now), "note": running.note})
    });
    let left = progress.time_left(now);
    event(&json!({
        "event": "progress",
        "jobs": progress.jobs,
        "done": progress.done,
        "executed": progress.executed,
        "cached": progress.cached,
        "failed": progress.failed,
        "running": running.collect::<Vec<_>>(),
        "seconds_left": left.map(|left| left.seconds),
        "jobs_of_unknown_length": left.map(|left| left.unknown),
    }));
}

fn event(event: &impl Serialize) {
    // A reader that has gone does not stop the run.
    let _ = print_json(event);
}

impl Watch for Events {
    fn known(&self, jobs: usize) {
        lock(&self.progress).jobs = jobs;
        event(&json!({"event": "plan", "jobs": jobs}));
    }

    fn started(&self, job: &str) {
        lock(&self.progress).start(job);
        event(&json!({"event": "started", "job": job}));
    }

    fn step(&self, job: &str, done: u64, total: u64, note: &str) {
        lock(&self.progress).step(job, done, total, note);
    }

    fn say(&self, job: &str, message: &str) {
        event(&json!({"event": "message", "job": job, "message": message}));
    }

    fn warn(&self, job: &str, message: &str) {
        event(&json!({"event": "warning", "job": job, "message": message}));
    }

    fn ended(&self, outcome: &Outcome) {
        lock(&self.progress).end(outcome);
        event(&outcome.event());
    }
}
