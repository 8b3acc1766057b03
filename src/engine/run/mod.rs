//! The executor: runs what is not cached, every job at most once.
//!
//! A scheduler (the calling thread) knows the graph, workers know nothing but the job before them:
//!
//! - a job is ready when everything upstream is done; the scheduler hands it to a free worker as an [`Order`]; jobs that
//!   compute through a shared model have workers of their own, more of them, since they mostly wait for it, and work on few
//!   different models at a time, since each takes memory;
//! - the worker digests the job's files and, if the kind expands, first asks it for more jobs, which the scheduler adds;
//! - what of the inputs is kept elsewhere is brought here, then files are digested;
//! - then it has the key, and looks for an entry: that is a hit, or it takes the lock of the key, looks again, and executes;
//! - the scheduler journals the outcome, points the views at the entry, and sees who is ready now.
//!
//! ```text
//! waiting ─► ready ─► running ─► executed | cached | failed | interrupted
//!    │         ▲         ├─► waiting (for the jobs that it asked for)
//!    ▼         └─────────┴─► parked  (another job of this run has the same key)
//! blocked
//! ```
//!
//! Early cut-off needs no code: inputs enter a key by content.

mod history;
mod jobs;
mod memory;
pub mod reason;
pub(super) mod shared;
pub mod state;

use super::context::{Bench, ChangedInput, Cx, Interrupted, Progress, Read, outputs};
use super::plan::Plan;
use super::remote::Presence;
use super::stage::Spec;
use super::store::digest::{Digest, Key};
use super::store::entry::Entry;
use super::store::journal::Journal;
use super::store::provenance::{self, Provenance};
use super::store::recipe::Recipe;
use super::store::{Damage, Found, Lock, Store};
use crate::panic::message;
use anyhow::{Context as _, anyhow};
use history::History;
use jobs::{Id, Jobs, Order};
use memory::Parts;
use rayon::{ThreadPool, ThreadPoolBuilder};
use reason::Reason;
use serde::Serialize;
use shared::{KEPT, Shared};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many jobs run side by side, beside those that share a model.
    pub jobs: usize,
    /// How many jobs that share a model run side by side.
    pub together: usize,
    /// Threads for all of them together.
    pub threads: usize,
    /// Bytes that the activations of all models at work may take together.
    pub memory: usize,
    /// The device that the user chose: `cpu`, `cuda:0`.
    pub device: String,
    /// Go on after a failure with what does not depend on it.
    pub keep_going: bool,
    /// Run these jobs and what they need; all if `None`.
    pub only: Option<BTreeSet<String>>,
    /// Start the programs that the manifest names; without, jobs that need one fail.
    pub programs: bool,
    /// Fetch what is kept elsewhere; without, jobs that need it and do not find it here fail.
    pub fetch: bool,
    /// Execute these jobs though they are cached.
    pub forced: BTreeSet<String>,
    /// For the journal and provenance.
    pub command_line: Vec<String>,
}

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
    /// Whether somebody stopped it before it was done.
    pub interrupted: bool,
    /// How long it took.
    pub seconds: f64,
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
            if cause.downcast_ref::<std::io::Error>().is_some_and(full) || cause.is::<Unavailable>() {
                return Self::Environment;
            }
            if cause.is::<Damage>() {
                return Self::Integrity;
            }
        }
        Self::Job
    }
}

/// Runs a plan. `stop` may be set at any time: jobs save their work and nothing new starts.
///
/// # Errors
/// If the store or the journal cannot be written. What goes wrong with a job is its [`Outcome`].
pub fn run(
    plan: &Plan,
    store: &Arc<Store>,
    settings: &Settings,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> anyhow::Result<Summary> {
    store.prepare()?;
    let mut said = false;
    let hold = store.share(|| {
        if !std::mem::replace(&mut said, true) {
            watch.warn(&plan.name, "something is being removed from the store; waiting until that is done");
        }
        !stop.load(Ordering::Relaxed)
    })?;
    let Some(_hold) = hold else { return Ok(Summary { interrupted: true, ..Summary::default() }) };
    let journal = Journal::start(store, &plan.name, &start_event(plan, settings))?;
    let (shared, jobs) = (Shared::default(), Jobs::new(plan));
    let wanted = jobs.wanted(settings.only.as_ref());
    let crew = Crew {
        pipeline: &plan.name,
        bench: Bench {
            store,
            device: &settings.device,
            threads: settings.threads,
            memory: settings.memory,
            stop,
            shared: &shared,
        },
        settings,
        memory: Parts::of(settings.memory, &jobs, &wanted, settings.jobs),
        watch,
        history: History::new(store.clone(), &plan.name),
        claimed: Mutex::default(),
        forced_done: Mutex::default(),
    };
    let (orders, inbox) = mpsc::channel();
    let (outbox, reports) = mpsc::channel();
    let inbox = Mutex::new(inbox);
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.max(1) + settings.together.max(1) {
            let (outbox, inbox, crew) = (outbox.clone(), &inbox, &crew);
            scope.spawn(move || crew.work(inbox, &outbox));
        }
        let scheduler = Scheduler::new(jobs, wanted, &crew, journal, orders);
        scheduler.drive(&reports)
    })
}

/// A line of a journal, and of `run --format json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// The first line of a journal.
    Start {
        /// Name of the pipeline.
        pipeline: &'a str,
        /// Its manifest.
        manifest: &'a Path,
        /// The profile in force.
        profile: Option<&'a str>,
        /// UTC.
        time: String,
        /// Version of the program.
        program: String,
        /// Revision that the program was built from.
        revision: Option<String>,
        /// The device that the user chose.
        device: &'a str,
        /// The command line.
        command_line: &'a [String],
    },
    /// A job ended.
    Job {
        /// Its name.
        job: &'a str,
        /// The stage that it comes from.
        stage: &'a str,
        /// Its kind.
        kind: &'a str,
        /// How it ended.
        state: String,
        /// Its key, if it got as far.
        key: Option<Key>,
        /// Why it ran; for hits, where the entry comes from.
        reasons: &'a [Reason],
        /// How long it took.
        seconds: f64,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// The last line. Scripts rely on its fields.
    Summary {
        /// Jobs that belong to the run.
        jobs: usize,
        /// Jobs that ran.
        executed: usize,
        /// Jobs whose result was there.
        cached: usize,
        /// Jobs that failed.
        failed: usize,
        /// How long the run took.
        seconds: f64,
    },
}

fn start_event<'a>(plan: &'a Plan, settings: &'a Settings) -> Event<'a> {
    Event::Start {
        pipeline: &plan.name,
        manifest: &plan.path,
        profile: plan.profile.as_deref(),
        time: provenance::now(),
        program: provenance::program(),
        revision: provenance::revision(),
        device: &settings.device,
        command_line: &settings.command_line,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- the scheduler ----------------------------------------------------------------------------------------------------

/// Where a job is; see the picture at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not part of this run (`--only`).
    Unwanted,
    /// For so many jobs upstream.
    Waiting(usize),
    Ready,
    Running,
    Parked,
    Ended,
}

struct Scheduler<'a> {
    crew: &'a Crew<'a>,
    journal: Journal,
    orders: Sender<Order>,
    jobs: Jobs,
    phases: Vec<Phase>,
    /// The jobs that wait for each job.
    dependants: Vec<Vec<Id>>,
    ready: BTreeSet<Id>,
    /// Jobs at work, and how many of them share a model.
    running: usize,
    sharing: usize,
    /// How many of these compute through which model.
    models: BTreeMap<Digest, usize>,
    /// Jobs whose key another job is executing.
    parked: BTreeMap<Key, Vec<Id>>,
    summary: Summary,
    /// Nothing new is started any more.
    halted: bool,
    started: Instant,
}

impl<'a> Scheduler<'a> {
    fn new(jobs: Jobs, wanted: BTreeSet<Id>, crew: &'a Crew<'a>, journal: Journal, orders: Sender<Order>) -> Self {
        let n = jobs.len();
        let mut scheduler = Self {
            crew,
            journal,
            orders,
            jobs,
            phases: vec![Phase::Unwanted; n],
            dependants: vec![Vec::new(); n],
            ready: BTreeSet::new(),
            running: 0,
            sharing: 0,
            models: BTreeMap::new(),
            parked: BTreeMap::new(),
            summary: Summary::default(),
            halted: false,
            started: Instant::now(),
        };
        for id in wanted {
            scheduler.admit(id);
        }
        scheduler
    }

    /// Makes a job part of the run.
    fn admit(&mut self, id: Id) {
        let upstream = self.jobs.upstream(id);
        for job in &upstream {
            self.dependants[*job].push(id);
        }
        self.summary.jobs += 1;
        self.wait_for(id, upstream.len());
    }

    fn wait_for(&mut self, id: Id, jobs: usize) {
        if jobs == 0 {
            self.phases[id] = Phase::Ready;
            self.ready.insert(id);
        } else {
            self.phases[id] = Phase::Waiting(jobs);
        }
    }

    fn drive(mut self, reports: &Receiver<Report>) -> anyhow::Result<Summary> {
        self.crew.watch.known(self.summary.jobs);
        let mut broken = None;
        loop {
            self.dispatch();
            if self.running == 0 {
                break;
            }
            let report = reports.recv().expect("workers live as long as orders can be sent");
            self.running -= 1;
            self.leave(report.id);
            if let Err(error) = self.settle(report) {
                self.halted = true;
                broken.get_or_insert(error);
            }
        }
        let Self { journal, mut summary, started, crew, phases, .. } = self;
        let unfinished = phases.iter().any(|phase| !matches!(phase, Phase::Ended | Phase::Unwanted));
        summary.interrupted |= unfinished && crew.bench.stop.load(Ordering::Relaxed);
        summary.seconds = started.elapsed().as_secs_f64();
        journal.end(&summary.event())?;
        crew.bench.store.files().save()?;
        broken.map_or(Ok(summary), Err)
    }

    fn dispatch(&mut self) {
        while !self.halted && !self.crew.bench.stop.load(Ordering::Relaxed) {
            let Some(id) = self.ready.iter().copied().find(|id| self.has_room(*id)) else { break };
            self.ready.remove(&id);
            self.phases[id] = Phase::Running;
            self.join(id);
            let order = self.jobs.order(id).expect("everything upstream of a ready job is done");
            self.orders.send(order).expect("workers live as long as the scheduler");
            self.running += 1;
        }
    }

    fn shares(&self, id: Id) -> bool {
        self.jobs.get(id).job.needs().shared_model.is_some()
    }

    /// Counts a job among those that share a model, if it does.
    fn join(&mut self, id: Id) {
        self.sharing += usize::from(self.shares(id));
        if let Some(model) = self.jobs.model(id) {
            *self.models.entry(model).or_default() += 1;
        }
    }

    /// A job that may have shared a model is done with it for now.
    fn leave(&mut self, id: Id) {
        self.sharing -= usize::from(self.shares(id));
        if let Some(model) = self.jobs.model(id)
            && let Some(jobs) = self.models.get_mut(&model)
        {
            *jobs -= 1;
            self.models.retain(|_, jobs| *jobs > 0);
        }
    }

    /// Whether one more job like this may start now.
    fn has_room(&self, id: Id) -> bool {
        let settings = self.crew.settings;
        if !self.shares(id) {
            return self.running - self.sharing < settings.jobs.max(1);
        }
        let fits = |model: Digest| self.models.len() < KEPT || self.models.contains_key(&model);
        self.sharing < settings.together.max(1) && self.jobs.model(id).is_none_or(fits)
    }

    fn settle(&mut self, report: Report) -> anyhow::Result<()> {
        let id = report.id;
        match report.verdict {
            Verdict::Expanded(specs) => match self.jobs.expand(id, specs) {
                Ok(children) => self.adopt(id, &children),
                Err(error) => return self.fail(id, report.key, report.seconds, &error),
            },
            Verdict::Parked(key) => self.park(id, key),
            Verdict::Stopped => self.phases[id] = Phase::Ready,
            Verdict::Failed(error) => return self.fail(id, report.key, report.seconds, &error),
            Verdict::Interrupted(step) => {
                self.summary.interrupted = true;
                self.end(id, Ending::Interrupted(step), report.key, report.reasons, report.seconds, None)?;
            }
            Verdict::Done(entry, ending) => {
                let known = self.jobs.get(id);
                let made = outputs(self.crew.bench.store, &known.name, &known.job.outputs(), &entry);
                self.crew.bench.store.view(self.crew.pipeline, &known.name, &entry)?;
                self.jobs.get_mut(id).outputs = made;
                self.end(id, ending, report.key, report.reasons, report.seconds, None)?;
                self.release(id);
            }
        }
        if let Some(key) = report.executed {
            self.unpark(key);
        }
        Ok(())
    }

    /// Jobs that `parent` asked for become part of the run, and `parent` waits for them.
    fn adopt(&mut self, parent: Id, children: &[Id]) {
        self.phases.resize(self.jobs.len(), Phase::Unwanted);
        self.dependants.resize(self.jobs.len(), Vec::new());
        for &child in children {
            self.admit(child);
            self.dependants[child].push(parent);
        }
        self.wait_for(parent, children.len());
        self.crew.watch.known(self.summary.jobs);
    }

    /// A job of this run executes the same key; unless it is done by now, wait for it.
    fn park(&mut self, id: Id, key: Key) {
        if lock(&self.crew.claimed).contains(&key) {
            self.phases[id] = Phase::Parked;
            self.parked.entry(key).or_default().push(id);
        } else {
            self.wait_for(id, 0);
        }
    }

    fn unpark(&mut self, key: Key) {
        lock(&self.crew.claimed).remove(&key);
        for id in self.parked.remove(&key).unwrap_or_default() {
            self.wait_for(id, 0);
        }
    }

    /// Everything that waited for this job waits for one job less.
    fn release(&mut self, id: Id) {
        for dependant in std::mem::take(&mut self.dependants[id]) {
            if let Phase::Waiting(jobs) = self.phases[dependant] {
                self.wait_for(dependant, jobs - 1);
            }
        }
    }

    /// A job failed, with it all jobs with its key, and everything that depends on them is blocked.
    fn fail(&mut self, id: Id, key: Option<Key>, seconds: f64, error: &anyhow::Error) -> anyhow::Result<()> {
        self.summary.fault = self.summary.fault.max(Some(Fault::of(error)));
        self.halted |= !self.crew.settings.keep_going || Fault::of(error) == Fault::Environment;
        self.end(id, Ending::Failed, key, Vec::new(), seconds, Some(format!("{error:#}")))?;
        self.block_dependants(id)?;
        let Some(key) = key else { return Ok(()) };
        lock(&self.crew.claimed).remove(&key);
        let name = self.jobs.get(id).name.clone();
        for twin in self.parked.remove(&key).unwrap_or_default() {
            self.fail(twin, Some(key), 0.0, &anyhow!("`{name}`, which has the same recipe, failed"))?;
        }
        Ok(())
    }

    fn block_dependants(&mut self, failed: Id) -> anyhow::Result<()> {
        let mut open = vec![failed];
        while let Some(upstream) = open.pop() {
            let name = self.jobs.get(upstream).name.clone();
            for id in std::mem::take(&mut self.dependants[upstream]) {
                if matches!(self.phases[id], Phase::Waiting(_)) {
                    let reason = Reason::Cannot(format!("depends on `{name}`, which did not succeed"));
                    self.end(id, Ending::Blocked, None, vec![reason], 0.0, None)?;
                    open.push(id);
                }
            }
        }
        Ok(())
    }

    /// Counts, journals and shows what became of a job.
    fn end(
        &mut self,
        id: Id,
        ending: Ending,
        key: Option<Key>,
        reasons: Vec<Reason>,
        seconds: f64,
        error: Option<String>,
    ) -> anyhow::Result<()> {
        self.phases[id] = Phase::Ended;
        match ending {
            Ending::Executed => self.summary.executed += 1,
            Ending::Cached => self.summary.cached += 1,
            Ending::Failed => self.summary.failed += 1,
            Ending::Blocked => self.summary.blocked += 1,
            Ending::Interrupted(_) => {}
        }
        let known = self.jobs.get(id);
        let (job, stage, kind) = (known.name.clone(), known.stage.clone(), known.kind.name);
        let outcome = Outcome { job, stage, kind, ending, key, reasons, seconds, error };
        if let (Ending::Executed | Ending::Cached, Some(key)) = (ending, key) {
            self.summary.results.push((outcome.job.clone(), kind, key));
        }
        self.crew.watch.ended(&outcome);
        Ok(self.journal.add(&outcome.event())?)
    }
}

impl Summary {
    /// The last event of a run.
    pub fn event(&self) -> Event<'static> {
        let Self { jobs, executed, cached, failed, seconds, .. } = *self;
        Event::Summary { jobs, executed, cached, failed, seconds }
    }
}

impl Outcome {
    /// The event of a job's end.
    pub fn event(&self) -> Event<'_> {
        Event::Job {
            job: &self.job,
            stage: &self.stage,
            kind: self.kind,
            state: self.ending.to_string(),
            key: self.key,
            reasons: &self.reasons,
            seconds: self.seconds,
            error: self.error.as_deref(),
        }
    }
}

// ---- the workers ------------------------------------------------------------------------------------------------------

/// What the workers share.
struct Crew<'a> {
    pipeline: &'a str,
    bench: Bench<'a>,
    settings: &'a Settings,
    memory: Parts,
    watch: &'a dyn Watch,
    history: History,
    /// Keys that a worker of this run executes; the scheduler takes them out.
    claimed: Mutex<HashSet<Key>>,
    /// Keys that were executed because they were forced; once is enough.
    forced_done: Mutex<HashSet<Key>>,
}

/// What a worker has to say about an order.
struct Report {
    id: Id,
    key: Option<Key>,
    /// The key that was claimed for it, if it got as far.
    executed: Option<Key>,
    reasons: Vec<Reason>,
    seconds: f64,
    verdict: Verdict,
}

enum Verdict {
    Done(Box<Entry>, Ending),
    /// The job asks for more jobs first.
    Expanded(Vec<Spec>),
    /// Another job of this run executes the same key.
    Parked(Key),
    /// Gave up waiting for another run, since this one is to stop.
    Stopped,
    Interrupted(u64),
    Failed(anyhow::Error),
}

/// A job with its key.
struct Ticket<'a> {
    order: &'a Order,
    reads: &'a [Read],
    recipe: &'a Recipe,
    key: Key,
    /// Of the inputs that are kept elsewhere, by role.
    versions: &'a BTreeMap<String, String>,
}

/// Passes on what a job says of its progress.
struct Reporter<'a> {
    job: &'a str,
    watch: &'a dyn Watch,
}

impl Progress for Reporter<'_> {
    fn step(&self, done: u64, total: u64, note: &str) {
        self.watch.step(self.job, done, total, note);
    }

    fn say(&self, message: &str) {
        self.watch.say(self.job, message);
    }

    fn warn(&self, message: &str) {
        self.watch.warn(self.job, message);
    }
}

impl Crew<'_> {
    fn work(&self, inbox: &Mutex<Receiver<Order>>, outbox: &Sender<Report>) {
        let pool = OnceCell::new();
        loop {
            let order = lock(inbox).recv();
            let Ok(order) = order else { return };
            let report = self.attend(&order, &pool);
            if outbox.send(report).is_err() {
                return;
            }
        }
    }

    fn attend(&self, order: &Order, pool: &OnceCell<ThreadPool>) -> Report {
        let started = Instant::now();
        let mut report = Report {
            id: order.id,
            key: None,
            executed: None,
            reasons: Vec::new(),
            seconds: 0.0,
            verdict: Verdict::Stopped,
        };
        report.verdict = match self.find_or_make(order, pool, &mut report) {
            Ok(verdict) => verdict,
            Err(error) => match error.chain().find_map(|cause| cause.downcast_ref::<Interrupted>()) {
                Some(interrupted) => Verdict::Interrupted(interrupted.step),
                None => Verdict::Failed(error),
            },
        };
        report.seconds = started.elapsed().as_secs_f64();
        report
    }

    fn find_or_make(&self, order: &Order, pool: &OnceCell<ThreadPool>, report: &mut Report) -> anyhow::Result<Verdict> {
        let Some(versions) = self.fetch(order)? else { return Ok(Verdict::Stopped) };
        let reads = order.read(self.bench.store)?;
        if order.expanded.is_none() {
            return self.expand(order, &reads);
        }
        let recipe = order.recipe(&reads);
        let key = recipe.key();
        report.key = Some(key);
        let ticket = Ticket { order, reads: &reads, recipe: &recipe, key, versions: &versions };
        if let Some(hit) = self.hit(&ticket, report)? {
            return Ok(hit);
        }
        if !lock(&self.claimed).insert(key) {
            return Ok(Verdict::Parked(key));
        }
        report.executed = Some(key);
        let Some(_lock) = self.take_lock(&ticket)? else { return Ok(Verdict::Stopped) };
        // Another run may have made it while this one waited.
        if let Some(hit) = self.hit(&ticket, report)? {
            return Ok(hit);
        }
        report.reasons = self.reasons(&ticket)?;
        self.watch.started(&order.name);
        let entry = self.execute(&ticket, pool)?;
        lock(&self.forced_done).insert(key);
        Ok(Verdict::Done(Box::new(entry), Ending::Executed))
    }

    /// Brings what the job reads and is kept elsewhere, and says by role which versions these are; `None` if this run is to stop.
    fn fetch(&self, order: &Order) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        let progress = Reporter { job: &order.name, watch: self.watch };
        let stopped = || self.bench.stop.load(Ordering::Relaxed);
        let mut versions = BTreeMap::new();
        for (role, remote) in order.remotes() {
            let mut presence = remote.look()?;
            if let Presence::Away(why) = &presence {
                anyhow::ensure!(self.settings.fetch, "`{role}`: {why}; `spot run` fetches it, and nothing else does");
                match catch(|| remote.fetch(&progress, &stopped)) {
                    Err(error) if error.is::<Interrupted>() => return Ok(None),
                    fetched => fetched.with_context(|| format!("`{role}`"))?,
                }
                presence = remote.look()?;
            }
            match presence {
                Presence::Here { version, .. } => drop(versions.insert(role.to_owned(), version)),
                Presence::Away(why) => anyhow::bail!("`{role}`: {why}, though it was fetched a moment ago"),
            }
        }
        Ok(Some(versions))
    }

    fn expand(&self, order: &Order, reads: &[Read]) -> anyhow::Result<Verdict> {
        let progress = Reporter { job: &order.name, watch: self.watch };
        let cx = Cx::new(&order.name, order.promises(), reads, &[], &self.bench, &progress, None);
        catch(|| order.expand(&cx)).map(Verdict::Expanded)
    }

    fn hit(&self, ticket: &Ticket<'_>, report: &mut Report) -> anyhow::Result<Option<Verdict>> {
        if self.is_forced(ticket) {
            return Ok(None);
        }
        let Found::Hit(entry) = self.bench.store.find(&ticket.key)? else { return Ok(None) };
        if outputs(self.bench.store, &ticket.order.name, &ticket.order.job.outputs(), &entry).is_none() {
            return Ok(None);
        }
        report.reasons = vec![Reason::Made { end: entry.provenance.end.clone(), job: entry.provenance.job.clone() }];
        Ok(Some(Verdict::Done(entry, Ending::Cached)))
    }

    fn is_forced(&self, ticket: &Ticket<'_>) -> bool {
        self.settings.forced.contains(&ticket.order.name) && !lock(&self.forced_done).contains(&ticket.key)
    }

    /// Why a job has to run. Called under its lock, so that what is found damaged can be set aside.
    fn reasons(&self, ticket: &Ticket<'_>) -> anyhow::Result<Vec<Reason>> {
        let store = self.bench.store;
        if let Found::Damaged(damage) = store.find(&ticket.key)? {
            for damage in &damage {
                store.set_aside(damage)?;
            }
            return Ok(damage.iter().map(|damage| Reason::Damaged(damage.to_string())).collect());
        }
        if self.is_forced(ticket) {
            return Ok(vec![Reason::Forced]);
        }
        Ok(self.history.reasons(&ticket.order.name, ticket.recipe).0)
    }

    fn take_lock(&self, ticket: &Ticket<'_>) -> anyhow::Result<Option<Lock>> {
        let mut said = false;
        let lock = self.bench.store.lock(&ticket.key, || {
            if !said {
                said = true;
                self.watch.warn(&ticket.order.name, "another run is at it; waiting for its result");
            }
            !self.bench.stop.load(Ordering::Relaxed)
        })?;
        Ok(lock)
    }

    fn execute(&self, ticket: &Ticket<'_>, pool: &OnceCell<ThreadPool>) -> anyhow::Result<Entry> {
        if ticket.order.job.needs().program && !self.settings.programs {
            return Err(anyhow!("starts a program of the manifest, which was not asked for"));
        }
        let (store, order, started, start) = (self.bench.store, ticket.order, Instant::now(), provenance::now());
        let resumed_at = store.interrupted_at(&ticket.key);
        let attempts = self.count_attempt(&ticket.key)?;
        let progress = Reporter { job: &order.name, watch: self.watch };
        let expanded = order.expanded.as_deref().unwrap_or_default();
        let scratch = Some(store.scratch_path(&ticket.key));
        let bench = Bench { memory: self.memory.of_job(order.job.needs()), ..self.bench };
        let mut cx = Cx::new(&order.name, order.promises(), ticket.reads, expanded, &bench, &progress, scratch);
        let threads = if order.job.needs().shared_model.is_some() {
            catch(|| order.job.run(&mut cx))?;
            self.settings.threads
        } else {
            let pool = self.pool(pool)?;
            catch(|| pool.install(|| order.job.run(&mut cx)))?;
            pool.current_num_threads()
        };
        unchanged(store, ticket.reads)?;
        let (artifacts, mut notes) = cx.finish()?;
        notes.extend(ticket.versions.clone());
        let provenance = Provenance {
            pipeline: self.pipeline.to_owned(),
            job: order.name.clone(),
            inputs: order.origins(ticket.reads),
            program: provenance::program(),
            revision: provenance::revision(),
            device: self.settings.device.clone(),
            threads,
            host: provenance::host(),
            start,
            end: provenance::now(),
            seconds: started.elapsed().as_secs_f64(),
            peak_memory: provenance::peak_memory(),
            attempts,
            resumed_at,
            command_line: self.settings.command_line.clone(),
            notes,
        };
        let entry = Entry { key: ticket.key, recipe: ticket.recipe.clone(), artifacts, provenance };
        store.save(&entry)?;
        store.drop_scratch(&ticket.key)?;
        Ok(entry)
    }

    /// How often the job was started, this time included. Only jobs that left a scratch folder are counted.
    fn count_attempt(&self, key: &Key) -> anyhow::Result<u32> {
        let scratch = self.bench.store.scratch_path(key);
        if !scratch.is_dir() {
            return Ok(1);
        }
        let file = scratch.join("attempts");
        let before = fs_err::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let attempts = before.unwrap_or(1).saturating_add(1);
        fs_err::write(file, attempts.to_string())?;
        Ok(attempts)
    }

    /// The threads of a worker's jobs, made when the first of them executes.
    fn pool<'p>(&self, pool: &'p OnceCell<ThreadPool>) -> anyhow::Result<&'p ThreadPool> {
        if let Some(pool) = pool.get() {
            return Ok(pool);
        }
        let threads = (self.settings.threads / self.settings.jobs.max(1)).max(1);
        let made = ThreadPoolBuilder::new().num_threads(threads).build().context("failed to start threads")?;
        Ok(pool.get_or_init(|| made))
    }
}

/// Runs code of a kind; a panic in it is an error of the job like any other.
fn catch<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(anyhow!("panicked: {}", message(&*panic))))
}

/// Whether every file still has the content that entered the key.
fn unchanged(store: &Store, reads: &[Read]) -> anyhow::Result<()> {
    for read in reads {
        if let Some(path) = read.artifact.path()
            && store.files().digest(path).ok() != Some(read.artifact.digest)
        {
            return Err(ChangedInput(path.to_owned()).into());
        }
    }
    Ok(())
}
