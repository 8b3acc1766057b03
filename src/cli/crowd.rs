//! The workers of a pipeline on all machines, and what each does.

use super::slurm::{Array, Queue};
use crate::engine::plan::Plan;
use crate::remote::Objects;
use crate::remote::lease::{Worker, workers};
use crate::ui;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Seconds after which it is said that a worker has not been heard of.
const SILENT: f64 = 60.0;

/// Workers of a pipeline.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) workers: Vec<At>,
    /// The Slurm array that is at work, in words.
    array: Option<String>,
}

/// A worker, for programs too. Scripts rely on the fields.
#[derive(Debug, Serialize)]
pub(super) struct At {
    worker: String,
    host: String,
    pid: u32,
    run: Option<String>,
    device: String,
    started: String,
    /// How far its jobs are, in words.
    jobs: BTreeMap<String, String>,
    /// Seconds since its last beat: until the newest beat of all, or until now by the clock of this machine, if that is later.
    heard: f64,
}

impl Crowd {
    /// Nobody.
    pub(super) fn none() -> &'static Self {
        static NONE: Crowd = Crowd { workers: Vec::new(), array: None };
        &NONE
    }

    /// Those that beat for a pipeline, or did until they ended without a word.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub(super) fn of(plan: &Plan, objects: &dyn Objects) -> anyhow::Result<Self> {
        let found = workers(objects)?;
        // The newest beat is the best that is known of that clock; this machine's own may be another.
        let newest = found.iter().map(|(_, written)| *written).max().unwrap_or(SystemTime::UNIX_EPOCH);
        let now = newest.max(SystemTime::now());
        let of_plan = found.into_iter().filter(|(worker, _)| worker.pipeline == plan.name);
        let at = |(Worker { worker, host, pid, run, device, started, jobs, .. }, written): (Worker, SystemTime)| {
            let heard = now.duration_since(written).unwrap_or_default().as_secs_f64();
            At { worker, host, pid, run, device, started, jobs, heard }
        };
        let workers = of_plan.map(at).collect();
        let array = Array::last(objects, &plan.name)?.and_then(|array| {
            // Where Slurm's programs are not, the workers say enough.
            let queue = Queue::of(&array).ok().filter(|queue| !queue.is_empty())?;
            Some(format!("Slurm array {}: {}\n", array.id, queue.in_words()))
        });
        Ok(Self { workers, array })
    }

    /// Who does a job.
    pub(super) fn worker_of(&self, job: &str) -> Option<&str> {
        let at = self.workers.iter().find(|at| at.jobs.contains_key(job) && at.heard < SILENT)?;
        Some(&at.worker)
    }

    /// A line a worker; nothing if there is none.
    pub(super) fn in_words(&self) -> String {
        let Self { workers, array } = self;
        let array = array.as_deref().unwrap_or_default();
        if workers.is_empty() {
            return array.to_owned();
        }
        let line = |at: &At| {
            let job =
                |(job, how): (&String, &String)| if how.is_empty() { job.clone() } else { format!("{job} ({how})") };
            let jobs: Vec<String> = at.jobs.iter().map(job).collect();
            let doing = if jobs.is_empty() { "waits".to_owned() } else { jobs.join(", ") };
            let At { worker, host, device, heard, .. } = at;
            let silent =
                if *heard >= SILENT { format!("; not heard of for {}", ui::seconds(*heard)) } else { String::new() };
            format!("  {worker} on `{host}`, {device}: {doing}{silent}\n")
        };
        format!("{array}{} workers\n{}", workers.len(), workers.iter().map(line).collect::<String>())
    }
}
