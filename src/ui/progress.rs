//! How far a run is: what is done, what runs, and how long the rest will take.

use crate::engine::plan::Plan;
use crate::engine::run::forecast::{DeviceClass, Experience};
use crate::engine::run::{Ending, Outcome};
use crate::engine::store::Store;
use crate::panic::lock;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Steps that no job has; what counts further counts bytes.
const MOST_STEPS: u64 = 10_000_000;

/// A run as it stands.
pub(super) struct Progress {
    started: Instant,
    /// Jobs that belong to the run, and those of them that ended.
    pub(super) jobs: usize,
    pub(super) done: usize,
    pub(super) executed: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    /// In the order of the plan.
    pub(super) stages: Vec<Stage>,
    pub(super) running: BTreeMap<String, Running>,
    /// Kinds of jobs that have not ended, by name.
    left: BTreeMap<String, &'static str>,
    experience: Experience,
    /// Seconds of jobs that were executed.
    busy: f64,
}

/// A stage, and how many of its jobs ended; jobs that were asked for while it runs are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) jobs: usize,
    pub(super) done: usize,
}

/// A job at work.
#[derive(Clone, Debug)]
pub(super) struct Running {
    since: Instant,
    /// The first step that was heard of, and when.
    first: Option<(u64, Instant)>,
    /// Steps done, and all of them.
    pub(super) steps: Option<(u64, u64)>,
    pub(super) note: String,
}

impl Running {
    /// Steps in a second, once there is something to go by.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let ((first, since), (done, _)) = (self.first?, self.steps?);
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        (done > first && seconds > 0.5).then(|| (done - first) as f64 / seconds)
    }

    /// Seconds until the end, by its own steps.
    fn left(&self, now: Instant) -> Option<f64> {
        let (done, total) = self.steps?;
        Some(total.saturating_sub(done) as f64 / self.rate(now)?)
    }
}

/// How long the rest will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Left {
    pub(super) seconds: f64,
    /// Jobs of which nothing like them ever ran, so that it will be longer.
    pub(super) unknown: usize,
}

impl Progress {
    /// Of all jobs of a plan, or of jobs of which nothing is known.
    pub(super) fn new(plan: Option<&Plan>) -> Self {
        let jobs = || plan.into_iter().flat_map(|plan| plan.graph.node_weights());
        let of_stage = |name: &String| Stage {
            name: name.clone(),
            jobs: jobs().filter(|job| job.stage == *name).count(),
            done: 0,
        };
        Self {
            started: Instant::now(),
            jobs: 0,
            done: 0,
            executed: 0,
            cached: 0,
            failed: 0,
            stages: plan.map_or_else(Vec::new, |plan| plan.stages.iter().map(of_stage).collect()),
            running: BTreeMap::new(),
            left: jobs().map(|job| (job.name.clone(), job.kind.name)).collect(),
            experience: Experience::default(),
            busy: 0.0,
        }
    }

    /// What is known of earlier runs.
    pub(super) fn learn(&mut self, experience: Experience) {
        self.experience = experience;
    }

    pub(super) fn start(&mut self, job: &str) {
        let running = Running { since: Instant::now(), first: None, steps: None, note: String::new() };
        self.running.insert(job.to_owned(), running);
    }

    pub(super) fn step(&mut self, job: &str, done: u64, total: u64, note: &str) {
        let Some(running) = self.running.get_mut(job) else { return };
        // What counts something else from now on begins anew.
        if running.steps.is_some_and(|(_, known)| known != total) {
            running.first = None;
        }
        running.first.get_or_insert((done, Instant::now()));
        running.steps = Some((done, total));
        note.clone_into(&mut running.note);
    }

    /// Notes the end of a job; whether it was the last of its stage.
    pub(super) fn end(&mut self, outcome: &Outcome) -> bool {
        self.running.remove(&outcome.job);
        let is_planned = self.left.remove(&outcome.job).is_some();
        self.done += 1;
        match outcome.ending {
            Ending::Executed => {
                self.executed += 1;
                self.busy += outcome.seconds;
                self.experience.took(&outcome.job, outcome.kind, outcome.seconds);
            }
            Ending::Cached => self.cached += 1,
            Ending::Failed => self.failed += 1,
            Ending::Blocked | Ending::Interrupted(_) => {}
        }
        let stage = self.stages.iter_mut().find(|stage| is_planned && stage.name == outcome.stage);
        stage.is_some_and(|stage| {
            stage.done += 1;
            stage.done == stage.jobs
        })
    }

    /// How long the rest will take at the pace of this run; `None` as long as nobody can know.
    pub(super) fn time_left(&self, now: Instant) -> Option<Left> {
        let (mut work, mut unknown) = (0.0, 0);
        for (job, kind) in &self.left {
            let running = self.running.get(job);
            let expected = self.experience.of(job, kind, None).map(|expected| expected.seconds);
            let spent = running.map_or(0.0, |running| now.saturating_duration_since(running.since).as_secs_f64());
            match running.and_then(|running| running.left(now)).or(expected.map(|whole| (whole - spent).max(0.0))) {
                Some(seconds) => work += seconds,
                None => unknown += 1,
            }
        }
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        let at_work = self.running.values().map(|running| now.saturating_duration_since(running.since).as_secs_f64());
        let pace = (self.busy + at_work.sum::<f64>()) / elapsed.max(0.001);
        (work > 0.0 || unknown < self.left.len()).then(|| Left { seconds: work / pace.max(1.0), unknown })
    }

    /// The run in a line.
    pub(super) fn in_words(&self, now: Instant) -> String {
        let Self { jobs, done, running, failed, .. } = self;
        let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
        let mut text = format!("{done} of {jobs} jobs done{failed}, {} running", running.len());
        if let Some((job, running)) = running.iter().max_by_key(|(_, running)| std::cmp::Reverse(running.since)) {
            text += &format!(" (`{job}`{})", running.in_words(now));
        }
        text + &self.time_left(now).map_or_else(String::new, |left| format!("; {}", left.in_words()))
    }
}

impl Left {
    pub(super) fn in_words(self) -> String {
        let (time, unknown) = (super::seconds(self.seconds), self.unknown);
        if unknown == 0 {
            return format!("about {time} left");
        }
        format!("at least {time} left, for {unknown} jobs are of kinds that never ran here")
    }
}

impl Running {
    /// Steps, their rate and what the job says, behind its name.
    pub(super) fn in_words(&self, now: Instant) -> String {
        // So many are no steps but bytes.
        let are_bytes = self.steps.is_some_and(|(_, total)| total >= MOST_STEPS);
        let steps = self.steps.map_or_else(String::new, |(done, total)| {
            if are_bytes { format!(" {:.0} %", 100.0 * done as f64 / total as f64) } else { format!(" {done}/{total}") }
        });
        let is_told = are_bytes || self.note.contains("/s");
        let rate = self.rate(now).filter(|_| !is_told).map_or_else(String::new, |rate| {
            if rate >= 1.0 { format!(", {rate:.1} steps/s") } else { format!(", {:.1} s a step", 1.0 / rate) }
        });
        let note = if self.note.is_empty() { String::new() } else { format!(", {}", self.note) };
        format!("{steps}{rate}{note}")
    }
}

/// Does something over and over, in a thread of its own, until it is dropped.
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Reads what earlier runs took once the first interval is over, and calls `tick` after each of them.
    pub(super) fn new(
        every: Duration,
        progress: Arc<Mutex<Progress>>,
        store: Arc<Store>,
        pipeline: String,
        tick: impl Fn(&Progress) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let mut has_read = false;
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if !has_read {
                    has_read = true;
                    // Without it there is what this run saw itself.
                    let known = Experience::read(&store, &pipeline, DeviceClass::default()).unwrap_or_default();
                    lock(&progress).learn(known);
                }
                tick(&lock(&progress));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told of already.
            let _ = thread.join();
        }
    }
}
