//! The executor: runs what is not cached, every job at most once.
//!
//! A scheduler (the calling thread) knows the graph, workers know nothing but the job before them:
//!
//! - a job is ready when everything upstream is done; the scheduler hands it to a free worker as an [`Order`]; jobs that
//!   compute through a shared model have workers of their own, more of them, since they mostly wait for it, and work on few
//!   different models at a time, since each takes memory;
//! - the worker fetches what of its inputs is kept elsewhere, digests its files and, if the kind expands, first asks it for more
//!   jobs, which the scheduler adds;
//! - then it has the key, and looks for an entry: that is a hit, or it takes the lock of the key, looks again, and executes;
//! - the saver writes entries, those of jobs that ended meanwhile together, each after its blobs;
//! - pushers bring what was made to where other machines find it, if there is such a place, and give the claim back then;
//! - the scheduler sees who is ready as soon as a job has run; once its entry is there it journals the outcome and points the views
//!   at it.
//!
//! ```text
//! waiting ─► ready ─► running ─► (saving) ─► executed | cached | failed | interrupted
//!    │         ▲         ├─► waiting (for the jobs that it asked for)
//!    ▼         └─────────┼─► parked  (another job of this run has the same key)
//! blocked                └─► elsewhere (another run works on it, or is to, since this worker has not what it needs; the scout tells
//!                                       when to look again)
//! ```
//!
//! Early cut-off needs no code: inputs enter a key by content.

mod claim;
mod crew;
mod event;
pub mod forecast;
mod history;
mod inputs;
mod jobs;
mod live;
mod memory;
mod outcome;
mod pusher;
pub mod reason;
mod saver;
mod scheduler;
mod scout;
mod settings;
pub(super) mod shared;
pub mod state;

use super::context::Bench;
use super::plan::Plan;
use super::sharing::Sharing;
use super::store::Store;
use super::store::files::is_read_only;
use super::store::journal::Journal;
use super::store::journal::chain::Broken;
use crew::{Crew, News};
pub use event::Event;
use history::History;
use jobs::Jobs;
use memory::Parts;
pub use outcome::{Ending, Fault, Outcome, Summary, Unavailable, Watch};
use scheduler::Scheduler;
use scout::Waiting;
pub use settings::{Role, Settings};
use shared::Shared;
use state::{JobState, Question, State, survey};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

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
    match store.prepare() {
        Err(error) if is_read_only(&error) => return only_found(plan, store, settings, watch, &error),
        other => other.map_err(|error| Unavailable(error.to_string()))?,
    }
    let mut said = false;
    let hold = store.share(|| {
        if !std::mem::replace(&mut said, true) {
            watch.warn(&plan.name, "something is being removed from the store; waiting until that is done");
        }
        !stop.load(Ordering::Relaxed)
    })?;
    let Some(_hold) = hold else { return Ok(Summary { interrupted: true, ..Summary::default() }) };
    store.respell_views(&plan.name)?;
    if let Some(signer) = &settings.signer {
        signer.introduce(store)?;
    }
    store.drop_dead(&plan.name)?;
    let (journal, broken) = Journal::start(store, &plan.name, &Event::start(plan, settings))?;
    if let Some(Broken { path, what }) = broken {
        let path = path.display();
        watch.warn(
            &plan.name,
            &format!("the journal of an earlier run, `{path}`, was damaged ({what}) and is set aside"),
        );
    }
    let (shared, jobs) = (Shared::default(), Jobs::new(plan));
    let wanted = jobs.wanted(settings.only.as_ref());
    let crew = Crew {
        pipeline: &plan.name,
        manifests: &plan.manifests,
        bench: Bench {
            store,
            device: &settings.device,
            threads: settings.threads,
            memory: settings.memory,
            stop,
            shared: &shared,
            signer: settings.signer.as_deref(),
        },
        settings,
        memory: Parts::of(settings.memory, &jobs, &wanted, settings.jobs),
        watch,
        history: History::new(store.clone(), &plan.name),
        claimed: Mutex::default(),
        waiting: Waiting::default(),
        warned: Mutex::default(),
        forced_done: Mutex::default(),
    };
    let (orders, inbox) = mpsc::channel();
    let (outbox, news) = mpsc::channel();
    let (saver, unsaved) = mpsc::channel();
    let inbox = Mutex::new(inbox);
    let (over, ended) = mpsc::channel();
    let (owed, debts) = mpsc::channel();
    let debts = Mutex::new(debts);
    let sharing = settings.sharing.as_deref();
    let pushes = sharing.filter(|sharing| sharing.writes());
    let reads_late = sharing.is_some() && settings.role == Role::Worker;
    if let Some(sharing) = settings.sharing.as_ref().filter(|_| reads_late) {
        store.read_through(sharing.clone());
    }
    if matches!(settings.role, Role::Worker | Role::Watch) {
        crew.look(Duration::ZERO, None)?;
    }
    let outlet = pushes.map(|sharing| (sharing, owed));
    let summary = std::thread::scope(|scope| {
        if let Some(sharing) = pushes {
            scope.spawn(|| pusher::push_owed(store, sharing, &plan.name, watch));
            for _ in 0..pusher::TOGETHER {
                scope.spawn(|| pusher::push(store, sharing, &debts, watch));
            }
        }
        for _ in 0..settings.jobs.max(1) + settings.together.max(1) {
            let (outbox, inbox, crew) = (outbox.clone(), &inbox, &crew);
            scope.spawn(move || crew.work(inbox, &outbox));
        }
        let (looks, crew) = (outbox.clone(), &crew);
        scope.spawn(move || scout::scout(crew, &ended, &looks));
        scope.spawn(move || saver::save(store, settings.signer.as_deref(), &outlet, &unsaved, &outbox, News::Saved));
        let scheduler = Scheduler::new(jobs, &wanted, crew, journal, (orders, saver));
        let summary = scheduler.drive(&news);
        drop(over);
        summary
    })?;
    if let Some(sharing) = pushes {
        if let Err(error) = sharing.tell_untold() {
            watch.warn(
                &plan.name,
                &format!("what is in the store could not be told to others, so they ask for it: {error:#}"),
            );
        }
        let keys = summary.results.iter().map(|(_, _, key)| *key).collect();
        let is_whole = settings.only.is_none() && summary.results.len() == summary.jobs;
        if let Err(error) = sharing.need(&plan.name, &owner(plan), &keys, is_whole) {
            watch.warn(&plan.name, &format!("the store was not told what this run needs: {error:#}"));
        }
    }
    Ok(Summary { store: sharing.map(Sharing::tally), ..summary })
}

/// Whose pipeline it is: two projects may call theirs alike.
fn owner(plan: &Plan) -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let path = fs_err::canonicalize(&plan.path).unwrap_or_else(|_| plan.path.clone());
    format!("{user}\n{}", path.display())
}

/// A run in a store that cannot be written: it serves what is there, if that is all. Nothing is locked and nothing journaled.
fn only_found(
    plan: &Plan,
    store: &Arc<Store>,
    settings: &Settings,
    watch: &dyn Watch,
    error: &std::io::Error,
) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let question = Question { only: settings.only.clone(), forced: settings.forced.clone(), sharing: None };
    let jobs = survey(plan, store, &question)?;
    let folder = store.root().display();
    if let Some(job) = jobs.iter().find(|job| job.state != State::Cached) {
        let name = &job.job;
        return Err(Unavailable(format!("`{folder}` cannot be written ({error}), but `{name}` is to run")).into());
    }
    watch.warn(&plan.name, &format!("`{folder}` cannot be written ({error}), so this run leaves no journal"));
    watch.known(jobs.len());
    let mut summary = Summary { jobs: jobs.len(), cached: jobs.len(), ..Summary::default() };
    for JobState { job, stage, kind, key, reasons, .. } in jobs {
        summary.results.extend(key.map(|key| (job.clone(), kind, key)));
        let (ending, outputs) = (Ending::Cached, Vec::new());
        watch.ended(&Outcome { job, stage, kind, ending, key, reasons, seconds: 0.0, error: None, outputs });
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}
