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

mod crew;
mod event;
mod history;
mod inputs;
mod jobs;
mod memory;
mod outcome;
pub mod reason;
mod scheduler;
mod settings;
pub(super) mod shared;
pub mod state;

use super::context::Bench;
use super::plan::Plan;
use super::store::Store;
use super::store::journal::Journal;
use crew::Crew;
pub use event::Event;
use history::History;
use jobs::Jobs;
use memory::Parts;
pub use outcome::{Ending, Fault, Outcome, Summary, Unavailable, Watch};
use scheduler::Scheduler;
pub use settings::Settings;
use shared::Shared;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

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
    let journal = Journal::start(store, &plan.name, &Event::start(plan, settings))?;
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
        let scheduler = Scheduler::new(jobs, &wanted, &crew, journal, orders);
        scheduler.drive(&reports)
    })
}
