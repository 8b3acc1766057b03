//! The hardest audit: some cached jobs are executed again, in a store of their own, and must give the same bytes.

use crate::engine::plan::{Plan, Planned};
use crate::engine::run::state::{JobState, Question, State, survey};
use crate::engine::run::{Outcome, Settings, Watch, run};
use crate::engine::store::Store;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::panic::lock;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// A job that was executed again.
#[derive(Debug, Serialize)]
pub struct Rerun {
    /// Its name.
    pub job: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its key.
    pub key: Key,
    /// How long it took.
    pub seconds: f64,
    /// Artifacts that came out differently: name, the digest in the store, the digest now.
    pub differs: Vec<(String, Digest, Digest)>,
    /// Why it could not be executed.
    pub error: Option<String>,
}

/// Executes `count` of a plan's cached jobs again and compares what they make with the store, which is only read. A job of
/// each kind is taken in turn, the cheapest first, so that few jobs say something about all kinds. Jobs that ran on another
/// device than that of `settings` are left out, and so are those that start programs of the manifest, unless
/// `settings.programs` asks for them.
///
/// # Errors
/// If the store cannot be read or `scratch` not be written. What comes out of the jobs is in the result.
pub fn rerun(
    plan: &Plan,
    store: &Arc<Store>,
    count: usize,
    scratch: &Path,
    settings: &Settings,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Rerun>> {
    let states = survey(plan, store, &Question::default())?;
    let starts_program = |job: &Planned| job.job.needs().program && !settings.programs;
    let programs = plan.graph.node_weights().filter(|job| starts_program(job)).map(|job| job.name.as_str()).collect();
    let chosen = choose(&states, count, &settings.device, &programs);
    let keys: BTreeSet<Key> = chosen.iter().filter_map(|job| job.key).collect();
    let copy = Store::new(scratch);
    copy.prepare()?;
    for entry in states.iter().filter_map(|job| job.entry.as_ref()) {
        lend(store, &copy, entry, !keys.contains(&entry.key)).with_context(|| format!("`{}`", scratch.display()))?;
    }
    let only = chosen.iter().map(|job| job.job.clone()).collect();
    let settings = Settings { only: Some(only), forced: BTreeSet::new(), keep_going: true, ..settings.clone() };
    let outcomes = Outcomes { watch, ended: Mutex::default() };
    run(plan, &copy, &settings, &outcomes, stop)?;
    let outcomes = outcomes.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    chosen.iter().map(|job| compare(&copy, job, outcomes.get(&job.job))).collect()
}

/// A job of each kind in turn, the cheapest of its kind first; each key once, and none of `but`.
fn choose<'a>(states: &'a [JobState], count: usize, device: &str, but: &BTreeSet<&str>) -> Vec<&'a JobState> {
    let mut kinds: BTreeMap<&str, Vec<(f64, Key, &JobState)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    // Those that another job asked for are not in the plan, so they cannot be asked for by name.
    let planned = |job: &&JobState| job.state == State::Cached && !job.job.contains('/');
    for job in states.iter().filter(planned).filter(|job| !but.contains(job.job.as_str())) {
        let Some(entry) = job.entry.as_ref().filter(|entry| entry.provenance.device == device) else { continue };
        if seen.insert(entry.key) {
            kinds.entry(job.kind).or_default().push((entry.provenance.seconds, entry.key, job));
        }
    }
    for jobs in kinds.values_mut() {
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
    let most = kinds.values().map(Vec::len).max().unwrap_or(0);
    let turns = (0..most).flat_map(|turn| kinds.values().filter_map(move |jobs| jobs.get(turn)));
    turns.map(|(_, _, job)| *job).take(count).collect()
}

/// Links an entry's blobs into another store, and the entry itself if its job is not to run.
fn lend(from: &Store, to: &Store, entry: &Entry, whole: bool) -> io::Result<()> {
    for (_, digest, _) in entry.blobs().filter(|_| whole) {
        link(&from.blob_path(&digest), &to.blob_path(&digest))?;
    }
    if whole { link(&from.entry_path(&entry.key), &to.entry_path(&entry.key)) } else { Ok(()) }
}

fn link(target: &Path, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    match fs_err::os::unix::fs::symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn compare(copy: &Store, job: &JobState, outcome: Option<&Outcome>) -> anyhow::Result<Rerun> {
    let (key, entry) = job.key.zip(job.entry.as_ref()).context("a cached job has an entry")?;
    let mut rerun = Rerun { job: job.job.clone(), kind: job.kind, key, seconds: 0.0, differs: Vec::new(), error: None };
    let Some(outcome) = outcome else {
        rerun.error = Some("was not reached".to_owned());
        return Ok(rerun);
    };
    rerun.seconds = outcome.seconds;
    if outcome.key.is_some_and(|now| now != key) {
        rerun.error = Some("what it reads came out differently".to_owned());
        return Ok(rerun);
    }
    // The store of its own began without it, so whatever is there was made just now, if by another job with its recipe.
    let Some(made) = copy.entry(&key)?.ok().flatten() else {
        rerun.error = Some(outcome.error.clone().unwrap_or_else(|| outcome.ending.to_string()));
        return Ok(rerun);
    };
    for record in &entry.artifacts {
        let now = made.artifact(&record.name).map(|now| now.digest);
        if let Some(now) = now.filter(|now| *now != record.digest) {
            rerun.differs.push((record.name.clone(), record.digest, now));
        }
    }
    Ok(rerun)
}

/// Keeps what became of every job, and lets somebody else watch.
struct Outcomes<'a> {
    watch: &'a dyn Watch,
    ended: Mutex<BTreeMap<String, Outcome>>,
}

impl Watch for Outcomes<'_> {
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
        let mut ended = lock(&self.ended);
        ended.insert(outcome.job.clone(), outcome.clone());
        self.watch.ended(outcome);
    }
}
