//! The workers of an array, looked after while a run waits for them.

use super::{Array, Queue, Script};
use crate::cli::sharing::seconds_of;
use crate::engine::run::{Outcome, Watch};
use crate::error::Usage;
use crate::panic::lock;
use crate::remote::Objects;
use crate::remote::lease::{nonce, workers};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often an array is submitted anew whose workers have all left though jobs are left.
const MOST: usize = 5;
/// How often in a row Slurm may refuse one, since a limit of jobs may be free again in a moment.
const REFUSALS: usize = 30;

/// Looks after the array of a run.
pub(in crate::cli) struct Monitor<'a> {
    pub(in crate::cli) script: &'a Script,
    pub(in crate::cli) objects: &'a dyn Objects,
    pub(in crate::cli) pipeline: &'a str,
    pub(in crate::cli) watch: &'a Afar<'a>,
    pub(in crate::cli) stop: &'a AtomicBool,
    /// Between two questions to Slurm.
    pub(in crate::cli) pause: Duration,
}

impl Monitor<'_> {
    /// Looks until the run ends; says why, if it stopped the run.
    pub(in crate::cli) fn look_after(&self, mut array: Array, ended: &Receiver<()>) -> Option<String> {
        let (mut before, mut empty, mut submitted, mut refused) = (String::new(), 0, 0, 0);
        let mut due = Instant::now();
        while ended.recv_timeout(self.pause) == Err(RecvTimeoutError::Timeout) {
            if Instant::now() >= due {
                due = Instant::now() + self.pause * self.show_jobs();
            }
            let queue = match Queue::of(&array) {
                Ok(queue) => queue,
                Err(error) => {
                    // The workers may well be at work; what they make is seen without Slurm.
                    self.tell(&error.to_string(), &mut before);
                    continue;
                }
            };
            if !self.script.begins_later() {
                queue.wake();
            }
            if !queue.is_empty() {
                empty = 0;
                self.tell(&format!("array {}: {}", array.id, queue.in_words()), &mut before);
                continue;
            }
            // What they made last may not be seen yet.
            empty += 1;
            if empty < 3 {
                continue;
            }
            if submitted == MOST {
                let logs = self.script.logs.display();
                return Some(self.give_up(format!(
                    "the workers of {MOST} arrays have left, and jobs are left; what they said is in `{logs}`"
                )));
            }
            let script = Script { mark: format!("spot-{:.12}", nonce()), ..self.script.clone() };
            match Array::submit(&script, self.objects, self.pipeline) {
                Ok(new) => {
                    self.watch.warn(
                        self.pipeline,
                        &format!(
                            "all workers of the array {} have left, and jobs are left; submitted the array {}",
                            array.id, new.id
                        ),
                    );
                    (array, empty, submitted, refused) = (new, 0, submitted + 1, 0);
                }
                Err(error) if refused == REFUSALS => {
                    return Some(self.give_up(format!("no worker is left, and jobs are left: {error:#}")));
                }
                Err(error) => {
                    refused += 1;
                    self.tell(&format!("{error:#}; tried again in a moment"), &mut before);
                }
            }
        }
        None
    }

    /// Shows what workers do as if it were done here; how many pauses later to do so again, since each is asked for. If they cannot be
    /// seen now, they can then.
    fn show_jobs(&self) -> u32 {
        const IN_A_PAUSE: usize = 16;
        let found = workers(self.objects).unwrap_or_default();
        let pauses = u32::try_from(found.len().div_ceil(IN_A_PAUSE)).unwrap_or(u32::MAX).max(1);
        let own = found.into_iter().filter(|(worker, _)| worker.run.as_deref() == Some(&self.script.run));
        for (job, how) in own.flat_map(|(worker, _)| worker.jobs) {
            self.watch.at_work(&job, &how);
        }
        pauses
    }

    /// Ends the run that waits; the reason.
    fn give_up(&self, why: String) -> String {
        self.stop.store(true, Ordering::Relaxed);
        why
    }

    fn tell(&self, text: &str, before: &mut String) {
        if text != before {
            self.watch.say(self.pipeline, text);
            text.clone_into(before);
        }
    }
}

/// Watches a run that others do.
pub(in crate::cli) struct Afar<'a> {
    watch: &'a dyn Watch,
    /// Jobs that were seen, and whether they have ended.
    seen: Mutex<HashMap<String, bool>>,
}

impl<'a> Afar<'a> {
    pub(in crate::cli) fn new(watch: &'a dyn Watch) -> Self {
        Self { watch, seen: Mutex::default() }
    }

    /// What a worker says of a job: `40 of 300`, or nothing. That may be older than the news of its end.
    fn at_work(&self, job: &str, how: &str) {
        let mut seen = lock(&self.seen);
        match seen.get(job) {
            Some(true) => return,
            Some(false) => {}
            None => {
                seen.insert(job.to_owned(), false);
                self.watch.started(job);
            }
        }
        let numbers = how.split_once(" of ").and_then(|(done, total)| Some((done.parse().ok()?, total.parse().ok()?)));
        if let Some((done, total)) = numbers {
            self.watch.step(job, done, total, "");
        }
    }
}

impl Watch for Afar<'_> {
    fn known(&self, jobs: usize) {
        self.watch.known(jobs);
    }

    fn started(&self, job: &str) {
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
        let mut seen = lock(&self.seen);
        seen.insert(outcome.job.clone(), true);
        self.watch.ended(outcome);
    }
}

/// The time between two questions to Slurm: what `SPOT_SLURM_SECONDS` says, or few enough for a controller that serves a thousand users.
///
/// # Errors
/// If the environment says nothing sensible.
pub(in crate::cli) fn pause() -> Result<Duration, Usage> {
    const SECONDS: f64 = 10.0;
    seconds_of("SPOT_SLURM_SECONDS", SECONDS, 0.1..=600.0)
}
