//! What becomes of jobs and of a run, and who is told.

use super::reason::Reason;
use crate::engine::resources::Lack;
use crate::engine::sharing::Tally;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::{Damage, Newer};
use crate::remote;

/// How the run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran.
    Executed,
    /// Its result was there.
    Cached,
    /// It failed.
    Failed,
    /// A job upstream failed.
    Blocked,
    /// It was asked to stop, and will go on from this step.
    Interrupted(u64),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Executed => f.write_str("executed"),
            Self::Cached => f.write_str("cached"),
            Self::Failed => f.write_str("failed"),
            Self::Blocked => f.write_str("blocked"),
            Self::Interrupted(step) => write!(f, "interrupted at step {step}"),
        }
    }
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub job: String,
    /// The stage that it comes from.
    pub stage: String,
    /// Its kind.
    pub kind: &'static str,
    /// How it ended.
    pub ending: Ending,
    /// Its key, if it got as far.
    pub key: Option<Key>,
    /// Why it ran; for hits, where the entry comes from.
    pub reasons: Vec<Reason>,
    /// How long it took.
    pub seconds: f64,
    /// What went wrong.
    pub error: Option<String>,
    /// If it ran, what it made: names and digests of its outputs.
    pub outputs: Vec<(String, Digest)>,
}

/// Who watches a run.
pub trait Watch: Sync {
    /// So many jobs are known now.
    fn known(&self, jobs: usize);
    /// A job starts to execute.
    fn started(&self, job: &str);
    /// A job has done `done` of `total` steps.
    fn step(&self, job: &str, done: u64, total: u64, note: &str);
    /// A job has something to say that is worth a line.
    fn say(&self, job: &str, message: &str);
    /// The same of something that is not as it should be.
    fn warn(&self, job: &str, message: &str);
    /// A job ended.
    fn ended(&self, outcome: &Outcome);
}

/// The worst that happened in a run; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A job failed.
    Job,
    /// Something in the store was damaged while it was needed.
    Integrity,
    /// The machine is not up to it: the disk is full.
    Environment,
}

/// The job needs something that this machine does not have; the program exits with the code for that.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// A run in numbers.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Jobs that belong to the run.
    pub jobs: usize,
    /// Jobs that ran.
    pub executed: usize,
    /// Jobs whose result was there.
    pub cached: usize,
    /// Jobs that failed.
    pub failed: usize,
    /// Jobs that could not run since one upstream failed.
    pub blocked: usize,
    /// Jobs that a worker left to others.
    pub elsewhere: usize,
    /// Of these, jobs that need more than the worker has, if nobody was seen to do them: names, and what there is not.
    pub beyond: Vec<(String, Lack)>,
    /// Jobs whose result was not where it was to be brought from.
    pub absent: usize,
    /// Whether somebody stopped it before it was done.
    pub interrupted: bool,
    /// How long it took.
    pub seconds: f64,
    /// Seconds of jobs that the cached results took when they were made.
    pub saved: f64,
    /// What the shared place did, if there is one.
    pub store: Option<Tally>,
    /// The worst that happened.
    pub fault: Option<Fault>,
    /// Jobs with a result: name, kind and key, in the order in which they ended.
    pub results: Vec<(String, &'static str, Key)>,
}

impl Fault {
    /// What kind of failure an error is.
    pub fn of(error: &anyhow::Error) -> Self {
        let full = |error: &std::io::Error| {
            matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        };
        for cause in error.chain() {
            let io = cause.downcast_ref::<std::io::Error>();
            let is_far = cause.is::<Unavailable>() || cause.is::<remote::Error>();
            if is_far || io.is_some_and(|error| full(error) || Newer::is(error)) {
                return Self::Environment;
            }
            if cause.is::<Damage>() {
                return Self::Integrity;
            }
        }
        Self::Job
    }
}
