//! The workers: each does the job before it, or finds that it is done.

use super::claim::Claim;
use super::history::History;
use super::inputs::unchanged;
use super::jobs::{Id, Order};
use super::live::Showing;
use super::memory::Parts;
use super::outcome::{Fault, Watch};
use super::reason::Reason;
use super::saver::Saved;
use super::scout::{MEETINGS, Waiting};
use super::settings::{Role, Settings};
use crate::engine::context::{Bench, Cx, Finished, Interrupted, Progress, Read, outputs};
use crate::engine::remote::Presence;
use crate::engine::resources::Lack;
use crate::engine::sharing::{Failure, Pulled};
use crate::engine::stage::Spec;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::partial;
use crate::engine::store::provenance::{self, Manifest, Provenance};
use crate::engine::store::recipe::Recipe;
use crate::engine::store::{Damage, Found};
use crate::panic::{lock, message};
use crate::remote::lease::{Leases, Taken};
use anyhow::{Context as _, anyhow, bail, ensure};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What the workers share.
pub(super) struct Crew<'a> {
    pub(super) pipeline: &'a str,
    pub(super) manifests: &'a [Manifest],
    pub(super) bench: Bench<'a>,
    pub(super) settings: &'a Settings,
    pub(super) memory: Parts,
    pub(super) watch: &'a dyn Watch,
    pub(super) history: History,
    /// Keys that a worker of this run executes; the scheduler takes them out.
    pub(super) claimed: Mutex<HashSet<Key>>,
    /// What jobs wait for that others make.
    pub(super) waiting: Waiting,
    /// Stages of which it was said that their jobs need more than there is.
    pub(super) warned: Mutex<HashSet<String>>,
    /// Keys that were executed because they were forced; once is enough.
    pub(super) forced_done: Mutex<HashSet<Key>>,
}

/// What the scheduler hears.
pub(super) enum News {
    /// From a worker.
    Report(Report),
    /// From the saver.
    Saved(Saved),
    /// From the scout, which looked at what others do.
    Looked,
}

/// What a worker has to say about an order.
pub(super) struct Report {
    pub(super) id: Id,
    pub(super) key: Option<Key>,
    /// The key that was claimed for it, if it got as far.
    pub(super) executed: Option<Key>,
    pub(super) reasons: Vec<Reason>,
    pub(super) seconds: f64,
    pub(super) verdict: Verdict,
}

pub(super) enum Verdict {
    /// Its result was there.
    Found(Box<Entry>),
    /// Its result is in the shared place, and stays there; what is known of it, if jobs of this run read it.
    There(Option<There>),
    /// It ran; its entry is to be written, and the claim on its key given back then.
    Made(Box<Entry>, Claim),
    /// The job asks for more jobs first.
    Expanded(Vec<Spec>),
    /// Another job of this run executes the same key.
    Parked(Key),
    /// Another run works on it, or is to.
    Elsewhere(Key),
    /// This worker has not what it needs; others may.
    Beyond(Key, Lack),
    /// Its result is not there, and this run makes none.
    Absent,
    /// Gave up what it waited for, since this run is to stop.
    Stopped,
    /// What these entries had made for it is not to be had any more, and has to be made again.
    Lost(BTreeSet<Key>, anyhow::Error),
    Interrupted(u64),
    Failed(anyhow::Error),
}

/// What is known of a result that stays in the shared place.
pub(super) enum There {
    /// All.
    Whole(Box<Entry>),
    /// The digests of what it consists of.
    Told(Arc<[Digest]>),
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
    /// Where others see it; none of what is not the job itself.
    showing: Option<Showing<'a>>,
    /// Where other machines see it.
    leases: Option<&'a Leases>,
}

impl Progress for Reporter<'_> {
    fn step(&self, done: u64, total: u64, note: &str) {
        self.watch.step(self.job, done, total, note);
        if let Some(showing) = &self.showing {
            showing.step(done, total);
        }
        if let Some(leases) = self.leases {
            leases.note(self.job, format!("{done} of {total}"));
        }
    }

    fn measured(&self, step: u64, values: &[(&str, f64)]) {
        if let Some(showing) = &self.showing {
            showing.measured(step, values);
        }
    }

    fn log(&self, bytes: &[u8]) {
        if let Some(showing) = &self.showing {
            showing.log(bytes);
        }
    }

    fn say(&self, message: &str) {
        self.watch.say(self.job, message);
    }

    fn warn(&self, message: &str) {
        self.watch.warn(self.job, message);
    }
}

impl Crew<'_> {
    /// Does what comes in until nothing more can.
    pub(super) fn work(&self, inbox: &Mutex<Receiver<Order>>, outbox: &Sender<News>) {
        let pool = OnceCell::new();
        loop {
            let order = lock(inbox).recv();
            let Ok(order) = order else { return };
            let report = self.attend(&order, &pool);
            if outbox.send(News::Report(report)).is_err() {
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
            return self.or_lost(match self.learned(order)? {
                Err(lost) => return Ok(lost),
                Ok(None) => self.expand(order, &reads),
                Ok(Some(order)) => self.expand(&order, &order.read(self.bench.store)?),
            });
        }
        let recipe = order.recipe(&reads);
        let key = recipe.key();
        report.key = Some(key);
        let ticket = Ticket { order, reads: &reads, recipe: &recipe, key, versions: &versions };
        if let Some(hit) = self.hit(&ticket, report)? {
            return Ok(hit);
        }
        if let (Role::Worker, Some(sharing), Some(leases)) =
            (self.settings.role, &self.settings.sharing, &self.settings.leases)
        {
            // To look costs less than to take a lease for a job that is done. If nothing can be seen now, the scout says so.
            if !leases.is_held(&key.to_string()) {
                let _ = sharing.look_near(&key, leases.term() / MEETINGS);
            }
            if let Some(hit) = self.hit(&ticket, report)? {
                return Ok(hit);
            }
        }
        if !lock(&self.claimed).insert(key) {
            return Ok(Verdict::Parked(key));
        }
        report.executed = Some(key);
        if let Some(failure) = self.failure_elsewhere(&key)? {
            bail!("failed at the worker `{}`: {}", failure.worker, failure.error);
        }
        match self.settings.role {
            Role::Pull => return Ok(Verdict::Absent),
            Role::Watch => return Ok(Verdict::Elsewhere(key)),
            Role::Run => {}
            Role::Worker => {
                if let Some(lack) = self.settings.capacity.lacks(&order.resources) {
                    return Ok(Verdict::Beyond(key, lack));
                }
            }
        }
        let Some(claim) = self.claim(&ticket)? else { return Ok(Verdict::Elsewhere(key)) };
        // Another run may have made it while this one waited.
        if let Some(hit) = self.sure_hit(&ticket, report)? {
            if let (Role::Worker, Some(leases)) = (self.settings.role, &self.settings.leases) {
                // What else was made since the last look need not be asked for one by one. If it cannot be seen now, the scout says so.
                let _ = self.look(leases.term() / MEETINGS, None);
            }
            return Ok(hit);
        }
        let (learned, fresh);
        let ticket = match self.learned(order)? {
            Err(lost) => return Ok(lost),
            Ok(None) => ticket,
            Ok(Some(order)) => {
                learned = order;
                fresh = learned.read(self.bench.store)?;
                let is_same = learned.recipe(&fresh).key() == key;
                ensure!(is_same, "a file that it reads changed a moment ago; the next run sees it as it is now");
                Ticket { order: &learned, reads: &fresh, ..ticket }
            }
        };
        report.reasons = self.reasons(&ticket)?;
        self.warn_of_lacks(order);
        self.watch.started(&order.name);
        let made = self.execute(&ticket, pool).map(|entry| {
            lock(&self.forced_done).insert(key);
            Verdict::Made(Box::new(entry), claim)
        });
        self.or_lost(made).inspect_err(|error| self.leave_to_others(&ticket, error))
    }

    /// A run that has nobody to leave a job to does it without what it needs, and says so, once a stage.
    fn warn_of_lacks(&self, order: &Order) {
        let stage = order.name.split(['[', '/']).next().unwrap_or_default();
        if let Some(lack) = self.settings.capacity.lacks(&order.resources)
            && lock(&self.warned).insert(stage.to_owned())
        {
            self.watch
                .warn(&order.name, &format!("{lack}; it runs all the same, since `spot run` alone does every job"));
        }
    }

    /// A job with all that there is to know of what it reads, if of some of that only digests were told; or what is lost of it.
    fn learned(&self, order: &Order) -> anyhow::Result<Result<Option<Order>, Verdict>> {
        let keys = order.told_by();
        let Some(sharing) = self.settings.sharing.as_ref().filter(|_| !keys.is_empty()) else { return Ok(Ok(None)) };
        let mut entries = BTreeMap::new();
        for key in keys {
            if let Pulled::Hit(entry) = sharing.peek(&key)? {
                entries.insert(key, entry);
            }
        }
        Ok(match order.known_from(self.bench.store, &entries) {
            Ok(order) => Ok(Some(order)),
            Err(lost) => {
                lost.iter().for_each(|key| sharing.untell(key));
                Err(Verdict::Lost(lost, anyhow!("what it reads is not in `{}` as it was told", sharing.address())))
            }
        })
    }

    /// What ended since a blob of another worker's is not what its name says is no failure: that worker's job has to run again.
    fn or_lost(&self, made: anyhow::Result<Verdict>) -> anyhow::Result<Verdict> {
        let (Err(error), Role::Worker, Some(sharing)) = (&made, self.settings.role, &self.settings.sharing) else {
            return made;
        };
        let damage = error.chain().find_map(|cause| cause.downcast_ref::<Damage>());
        let Some(Damage::Blob { digest, .. }) = damage else { return made };
        let lost = sharing.lost(digest)?;
        made.or_else(|error| if lost.is_empty() { Err(error) } else { Ok(Verdict::Lost(lost, error)) })
    }

    /// How a job failed at another worker of this run.
    fn failure_elsewhere(&self, key: &Key) -> anyhow::Result<Option<Failure>> {
        self.settings.failures.as_ref().map_or(Ok(None), |failures| Ok(failures.of(key)?))
    }

    /// What others need of a job that did not end well, before they can take it: its saved steps, or that it failed.
    fn leave_to_others(&self, ticket: &Ticket<'_>, error: &anyhow::Error) {
        let Settings { sharing, failures, leases, .. } = self.settings;
        let left = if error.chain().any(<dyn std::error::Error + 'static>::is::<Interrupted>) {
            let sharing = sharing.as_ref().filter(|sharing| sharing.writes());
            sharing.map_or(Ok(()), |sharing| sharing.push_scratch(self.bench.store, &ticket.key))
        } else if Fault::of(error) != Fault::Job {
            // What this machine or the place lacks, or has damaged, is no failure of the job.
            Ok(())
        } else {
            let worker = leases.as_ref().map_or_else(provenance::node, |leases| leases.name().to_owned());
            let failure = Failure { job: ticket.order.name.clone(), worker, error: format!("{error:#}") };
            failures.as_ref().map_or(Ok(()), |failures| Ok(failures.tell(&ticket.key, &failure)?))
        };
        if let Err(error) = left {
            self.watch.warn(&ticket.order.name, &format!("others do not see how it ended: {error:#}"));
        }
    }

    /// Brings what the job reads and is kept elsewhere, and says by role which versions these are; `None` if this run is to stop.
    fn fetch(&self, order: &Order) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        let progress = Reporter { job: &order.name, watch: self.watch, showing: None, leases: None };
        let stopped = || self.bench.stop.load(Ordering::Relaxed);
        let mut versions = BTreeMap::new();
        for (role, remote) in order.remotes() {
            let mut presence = remote.look()?;
            if let Presence::Away(why) = &presence {
                ensure!(self.settings.fetch, "`{role}`: {why}; `spot run` fetches it, and nothing else does");
                match catch(|| remote.fetch(&progress, &stopped)) {
                    Err(error) if error.is::<Interrupted>() => return Ok(None),
                    fetched => fetched.with_context(|| format!("`{role}`"))?,
                }
                presence = remote.look()?;
            }
            match presence {
                Presence::Here { version, .. } => drop(versions.insert(role.to_owned(), version)),
                Presence::Away(why) => bail!("`{role}`: {why}, though it was fetched a moment ago"),
            }
        }
        Ok(Some(versions))
    }

    fn expand(&self, order: &Order, reads: &[Read]) -> anyhow::Result<Verdict> {
        let progress = Reporter { job: &order.name, watch: self.watch, showing: None, leases: None };
        let cx = Cx::new(&order.name, order.promises(), reads, &[], &self.bench, &progress, None);
        catch(|| order.expand(&cx)).map(Verdict::Expanded)
    }

    /// The result of a job, if it is here, or in the shared place as far as is known.
    fn hit(&self, ticket: &Ticket<'_>, report: &mut Report) -> anyhow::Result<Option<Verdict>> {
        let is_known = |key: &Key| {
            let by_listing = matches!(self.settings.role, Role::Worker | Role::Watch);
            self.settings.sharing.as_ref().is_some_and(|sharing| !by_listing || sharing.is_listed(key))
        };
        self.found(ticket, report, is_known(&ticket.key))
    }

    /// As [`hit`](Self::hit), and the shared place is asked. Called under the claim.
    fn sure_hit(&self, ticket: &Ticket<'_>, report: &mut Report) -> anyhow::Result<Option<Verdict>> {
        self.found(ticket, report, self.settings.sharing.is_some())
    }

    fn found(&self, ticket: &Ticket<'_>, report: &mut Report, asks: bool) -> anyhow::Result<Option<Verdict>> {
        if self.is_forced(ticket) {
            return Ok(None);
        }
        let here = self.bench.store.find(&ticket.key)?;
        // A worker leaves what it does not have where it is, until it reads it; what is damaged here is brought anew.
        let leaves = self.settings.role == Role::Worker && matches!(here, Found::Nothing);
        let entry = match here {
            Found::Hit(entry) => entry,
            _ if !asks => return Ok(None),
            _ if leaves && !ticket.order.is_read() && self.is_listed(&ticket.key) => {
                return Ok(Some(Verdict::There(None)));
            }
            _ if leaves && let Some(told) = self.told(ticket) => {
                return Ok(Some(Verdict::There(Some(There::Told(told)))));
            }
            _ => match self.pulled(ticket, leaves)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        if outputs(self.bench.store, &ticket.order.name, &ticket.order.job.outputs(), &entry).is_none() {
            return Ok(None);
        }
        report.reasons = vec![Reason::Made { end: entry.provenance.end.clone(), job: entry.provenance.job.clone() }];
        let is_here = self.bench.store.entry_path(&ticket.key).exists();
        Ok(Some(if is_here { Verdict::Found(entry) } else { Verdict::There(Some(There::Whole(entry))) }))
    }

    /// What the shared place tells of all that a job makes, without being asked for its entry.
    fn told(&self, ticket: &Ticket<'_>) -> Option<Arc<[Digest]>> {
        let told = self.settings.sharing.as_ref()?.told(&ticket.key)?;
        (told.len() == ticket.order.job.outputs().len()).then_some(told)
    }

    fn is_listed(&self, key: &Key) -> bool {
        self.settings.sharing.as_ref().is_some_and(|sharing| sharing.is_listed(key))
    }

    /// The result of a job from the shared place; `leaves` its blobs there.
    fn pulled(&self, ticket: &Ticket<'_>, leaves: bool) -> anyhow::Result<Option<Box<Entry>>> {
        let Some(sharing) = &self.settings.sharing else { return Ok(None) };
        let key = &ticket.key;
        match if leaves { sharing.peek(key)? } else { sharing.pull(self.bench.store, key)? } {
            Pulled::Hit(entry) => Ok(Some(entry)),
            Pulled::Miss | Pulled::Foreign => Ok(None),
            Pulled::Refused(why) => {
                let place = sharing.address();
                self.watch.warn(&ticket.order.name, &format!("its result in `{place}` cannot be used: {why}"));
                Ok(None)
            }
        }
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

    /// Claims a key, on this machine and among all; `None` if somebody else works on it.
    fn claim(&self, ticket: &Ticket<'_>) -> anyhow::Result<Option<Claim>> {
        let Some(lock) = self.bench.store.lock(&ticket.key, || false)? else { return Ok(None) };
        let Some(leases) = &self.settings.leases else { return Ok(Some(Claim { _lock: lock, _lease: None })) };
        let name = ticket.key.to_string();
        if leases.is_held(&name) {
            return Ok(None);
        }
        match leases.take(&name)? {
            Taken::Mine(lease) => Ok(Some(Claim { _lock: lock, _lease: Some(lease) })),
            Taken::Theirs(_) => {
                // Who is here has more of what comes next, and what he has made can be seen; if not now, the scout says so.
                let _ = self.look(leases.term() / MEETINGS, None);
                Ok(None)
            }
        }
    }

    fn execute(&self, ticket: &Ticket<'_>, pool: &OnceCell<ThreadPool>) -> anyhow::Result<Entry> {
        let (name, leases) = (&ticket.order.name, self.settings.leases.as_deref());
        if let Some(leases) = leases {
            leases.does(name, true);
        }
        let entry = self.made(ticket, pool);
        if let Some(leases) = leases {
            leases.does(name, false);
        }
        if entry.is_err() {
            // Where nothing was left to go on with, the folder is empty and can go; one with files in it cannot be removed so.
            let _ = fs_err::remove_dir(self.bench.store.scratch_path(&ticket.key));
        }
        entry
    }

    fn made(&self, ticket: &Ticket<'_>, pool: &OnceCell<ThreadPool>) -> anyhow::Result<Entry> {
        if ticket.order.job.needs().program && !self.settings.programs {
            return Err(anyhow!("starts a program of the manifest, which was not asked for"));
        }
        let (store, order, started, start) = (self.bench.store, ticket.order, Instant::now(), provenance::now());
        let is_taken_up = match &self.settings.sharing {
            Some(sharing) => sharing.pull_scratch(store, &ticket.key)?,
            None => false,
        };
        self.check_scratch(&ticket.key, &order.name)?;
        let resumed_at = store.interrupted_at(&ticket.key);
        let attempts = self.count_attempt(&ticket.key)?;
        let showing = Showing::new(store, self.pipeline, &order.name, &ticket.key, self.watch);
        let leases = self.settings.leases.as_deref();
        let progress = Reporter { job: &order.name, watch: self.watch, showing: Some(showing), leases };
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
        if let Some(sharing) = self.settings.sharing.as_ref().filter(|sharing| is_taken_up && sharing.writes()) {
            sharing.drop_scratch(&ticket.key)?;
        }
        let Finished { artifacts, mut notes, share } = cx.finish()?;
        notes.extend(ticket.versions.clone());
        let provenance = Provenance {
            pipeline: self.pipeline.to_owned(),
            job: order.name.clone(),
            manifests: self.manifests.to_vec(),
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
            operations: order.operations().map(|operations| operations * share),
            command_line: self.settings.command_line.clone(),
            notes,
        };
        Ok(Entry { key: ticket.key, recipe: ticket.recipe.clone(), artifacts, provenance })
    }

    /// A signed run goes on only from what its own key sealed.
    fn check_scratch(&self, key: &Key, job: &str) -> anyhow::Result<()> {
        let (store, Some(signer)) = (self.bench.store, self.bench.signer) else { return Ok(()) };
        let folder = store.scratch_path(key);
        if folder.exists() && !partial::is_sealed(&folder, &signer.scratch_secret())? {
            self.watch
                .warn(job, "the saved state of this job was not written by a run with this key, so it starts over");
            store.drop_scratch(key)?;
        }
        Ok(())
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
