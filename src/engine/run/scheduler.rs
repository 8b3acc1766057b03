//! The scheduler: which job is ready, who does it, what becomes of it.

use super::crew::{Crew, News, Report, There, Verdict};
use super::jobs::{Id, Jobs, Order};
use super::outcome::{Ending, Fault, Outcome, Summary};
use super::reason::Reason;
use super::saver::{Finished, Saved};
use super::settings::Role;
use super::shared::KEPT;
use crate::engine::context::{outputs, told_outputs};
use crate::engine::plan::Planned;
use crate::engine::resources::Lack;
use crate::engine::signing::runs::Made;
use crate::engine::stage::Promise;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::{Entry, Record};
use crate::engine::store::files::again;
use crate::engine::store::journal::{Found, Journal};
use crate::panic::lock;
use anyhow::{Context as _, anyhow};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// Where a job is; see the picture at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not part of this run (`--only`).
    Unwanted,
    /// For this many jobs upstream.
    Waiting(usize),
    Ready,
    Running,
    /// Done but for its entry, which is being written.
    Saving,
    Parked,
    /// For what another run makes.
    Elsewhere,
    Ended,
}

/// How long a worker waits for somebody who does what it cannot do, where there are no leases, whose terms would say.
const ALONE: Duration = Duration::from_secs(20);

pub(super) struct Scheduler<'a> {
    crew: &'a Crew<'a>,
    journal: Journal,
    orders: Sender<Order>,
    saver: Sender<Finished>,
    jobs: Jobs,
    /// By the index of the job.
    phases: Vec<Phase>,
    ready: BTreeSet<Id>,
    /// Jobs at work, and how many of them share a model.
    running: usize,
    sharing: usize,
    /// How many of these compute through which model.
    models: BTreeMap<Digest, usize>,
    /// What is known of jobs whose entries are being written.
    saving: BTreeMap<Id, Unsaved>,
    /// What a signed run made.
    made: Vec<Made>,
    /// Jobs whose key another job is executing.
    parked: BTreeMap<Key, Vec<Id>>,
    /// Jobs that another run works on, with their keys.
    elsewhere: BTreeMap<Id, Key>,
    /// Of these, jobs that need more than this worker has.
    beyond: BTreeMap<Id, Lack>,
    /// When somebody was seen to work on one of them, or another of them was found.
    helped: Instant,
    /// Since when it is known of a job that somebody else works on it.
    known_elsewhere: BTreeMap<Id, Instant>,
    /// The job with which a worker begins to look for one, so that not all begin with the same.
    first: Id,
    summary: Summary,
    /// Jobs whose results were there, and have to be made again.
    recalled: usize,
    /// Nothing new is started any more.
    halted: bool,
    started: Instant,
}

/// A job whose entry is being written.
struct Unsaved {
    entry: Arc<Entry>,
    reasons: Vec<Reason>,
    seconds: f64,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        jobs: Jobs,
        wanted: &[Id],
        crew: &'a Crew<'a>,
        journal: Journal,
        (orders, saver): (Sender<Order>, Sender<Finished>),
    ) -> Self {
        let n = jobs.len();
        let mut scheduler = Self {
            crew,
            journal,
            orders,
            saver,
            jobs,
            phases: vec![Phase::Unwanted; n],
            ready: BTreeSet::new(),
            running: 0,
            sharing: 0,
            models: BTreeMap::new(),
            saving: BTreeMap::new(),
            made: Vec::new(),
            parked: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            beyond: BTreeMap::new(),
            helped: Instant::now(),
            known_elsewhere: BTreeMap::new(),
            first: Id::new(first_of(crew, n)),
            summary: Summary::default(),
            recalled: 0,
            halted: false,
            started: Instant::now(),
        };
        for id in wanted {
            scheduler.admit(*id);
        }
        scheduler
    }

    /// Makes a job part of the run.
    fn admit(&mut self, id: Id) {
        self.summary.jobs += 1;
        self.wait_for(id, self.jobs.upstream(id).len());
    }

    fn wait_for(&mut self, id: Id, jobs: usize) {
        if jobs == 0 {
            self.phases[id.index()] = Phase::Ready;
            self.ready.insert(id);
        } else {
            self.phases[id.index()] = Phase::Waiting(jobs);
        }
    }

    /// Sees the run to its end.
    ///
    /// # Errors
    /// If the store or the journal cannot be written.
    pub(super) fn drive(mut self, news: &Receiver<News>) -> anyhow::Result<Summary> {
        self.crew.watch.known(self.summary.jobs);
        let mut broken = None;
        loop {
            self.dispatch();
            if self.running == 0 && self.saving.is_empty() && !self.waits_for_others() {
                break;
            }
            let settled = match news.recv().expect("workers, saver and scout live as long as the scheduler") {
                News::Report(report) => {
                    self.running -= 1;
                    self.leave(report.id);
                    self.settle(report)
                }
                News::Saved(saved) => self.settle_saved(saved),
                News::Looked => {
                    self.try_again();
                    Ok(())
                }
            };
            if let Err(error) = settled {
                self.halted = true;
                broken.get_or_insert(error);
            }
        }
        let Self { journal, mut summary, started, crew, phases, made, beyond, jobs, .. } = self;
        let unfinished = phases.iter().any(|phase| !matches!(phase, Phase::Ended | Phase::Unwanted));
        summary.interrupted |= unfinished && crew.bench.stop.load(Ordering::Relaxed);
        let name = |id: Id| jobs.get(id).plan.name.clone();
        summary.beyond = beyond.into_iter().map(|(id, lack)| (name(id), lack)).collect();
        summary.elsewhere = phases.iter().filter(|phase| **phase == Phase::Elsewhere).count();
        summary.seconds = started.elapsed().as_secs_f64();
        let ended = journal.end(crew.bench.store, &summary.event())?;
        if let Some(signer) = &crew.settings.signer {
            signer.ran(crew.bench.store, crew.pipeline, &ended, made).context("the run could not be signed")?;
        }
        crew.bench.store.files().save()?;
        broken.map_or(Ok(summary), Err)
    }

    fn dispatch(&mut self) {
        while !self.halted && !self.crew.bench.stop.load(Ordering::Relaxed) {
            let from_first = self.ready.range(self.first..).chain(self.ready.range(..self.first)).copied();
            let Some(id) = from_first.into_iter().find(|id| self.has_room(*id)) else { break };
            self.ready.remove(&id);
            self.phases[id.index()] = Phase::Running;
            self.join(id);
            let order = self.jobs.order(id).expect("everything upstream of a ready job is done");
            self.orders.send(order).expect("workers live as long as the scheduler");
            self.running += 1;
        }
    }

    /// Whether the run goes on until others have made something. A worker leaves once no job that is left waits for another, and all
    /// who work on these have been seen to live: of somebody who is dead that is known after a term, or half as long again, since beats are looked at
    /// now and then. For jobs that it cannot do it waits as long as somebody does one of them, and a little longer.
    fn waits_for_others(&self) -> bool {
        if self.elsewhere.is_empty() || self.halted || self.crew.bench.stop.load(Ordering::Relaxed) {
            return false;
        }
        let settings = self.crew.settings;
        if self.beyond.len() == self.elsewhere.len() {
            let long = settings.leases.as_ref().map_or(ALONE, |leases| leases.term() * 2);
            return self.helped.elapsed() < long;
        }
        let long = settings.leases.as_ref().map_or(Duration::ZERO, |leases| leases.term() * 2);
        let is_new = |id: &Id| self.known_elsewhere.get(id).is_none_or(|since| since.elapsed() < long);
        let waiting = || self.phases.iter().any(|phase| matches!(phase, Phase::Waiting(_)));
        settings.role != Role::Worker || waiting() || self.elsewhere.keys().any(is_new)
    }

    /// What others may be done with by now is looked at again.
    fn try_again(&mut self) {
        let (crew, beyond) = (self.crew, &self.beyond);
        let is_due = |id: &Id, key: &mut Key| match beyond.contains_key(id) {
            true => crew.has_ended(key),
            false => crew.is_worth_another_try(key),
        };
        let again: Vec<(Id, Key)> = self.elsewhere.extract_if(.., is_due).collect();
        for (id, key) in again {
            self.beyond.remove(&id);
            crew.waiting.remove(&key);
            self.wait(id);
        }
        if self.beyond.keys().filter_map(|id| self.elsewhere.get(id)).any(|key| crew.is_at_work(key)) {
            self.helped = Instant::now();
        }
    }

    fn leave_to_others(&mut self, id: Id, key: Key) {
        self.phases[id.index()] = Phase::Elsewhere;
        self.elsewhere.insert(id, key);
        self.crew.waiting.add(&key);
    }

    fn shares(&self, id: Id) -> bool {
        self.jobs.get(id).plan.job.needs().shared_model.is_some()
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
            Verdict::Stopped => self.phases[id.index()] = Phase::Ready,
            Verdict::Beyond(key, lack) => {
                self.leave_to_others(id, key);
                self.beyond.insert(id, lack);
                if self.known_elsewhere.insert(id, Instant::now()).is_none() {
                    self.helped = Instant::now();
                }
            }
            Verdict::Elsewhere(key) => {
                self.leave_to_others(id, key);
                let known = self.known_elsewhere.entry(id);
                let is_first = matches!(known, btree_map::Entry::Vacant(_));
                known.or_insert_with(Instant::now);
                if self.crew.settings.role == Role::Run && is_first {
                    let job = &self.jobs.get(id).plan.name;
                    self.crew.watch.warn(job, "another run is working on it; waiting for its result");
                }
            }
            Verdict::Absent => {
                self.summary.absent += 1;
                self.phases[id.index()] = Phase::Ended;
            }
            Verdict::Lost(keys, error) => {
                if !self.recall(id, &keys) {
                    return self.fail(id, report.key, report.seconds, &error);
                }
                self.wait(id);
            }
            Verdict::There(there) => {
                match &there {
                    Some(There::Whole(entry)) => self.know(id, entry),
                    Some(There::Told(digests)) => self.hear(id, report.key, digests),
                    None => self.release(id),
                }
                if let Some(There::Whole(entry)) = there {
                    self.summary.saved += entry.provenance.seconds;
                }
                let outcome = self.outcome(id, Ending::Cached, report.key);
                self.end(id, Outcome { reasons: report.reasons, seconds: report.seconds, ..outcome })?;
            }
            Verdict::Failed(error) => return self.fail(id, report.key, report.seconds, &error),
            Verdict::Interrupted(step) => {
                self.summary.interrupted = true;
                let outcome = self.outcome(id, Ending::Interrupted(step), report.key);
                self.end(id, Outcome { reasons: report.reasons, seconds: report.seconds, ..outcome })?;
            }
            Verdict::Found(entry) => {
                self.know(id, &entry);
                self.show(id, &entry)?;
                self.summary.saved += entry.provenance.seconds;
                let outcome = self.outcome(id, Ending::Cached, report.key);
                self.end(id, Outcome { reasons: report.reasons, seconds: report.seconds, ..outcome })?;
            }
            Verdict::Made(entry, claim) => {
                self.know(id, &entry);
                self.phases[id.index()] = Phase::Saving;
                let entry: Arc<Entry> = entry.into();
                self.saver.send(Finished { id, entry: entry.clone(), claim })?;
                self.saving.insert(id, Unsaved { entry, reasons: report.reasons, seconds: report.seconds });
                return Ok(());
            }
        }
        if let Some(key) = report.executed {
            self.unpark(key);
        }
        Ok(())
    }

    /// A job is done once its entry is written; others may read what it made before that.
    fn settle_saved(&mut self, Saved { id, result }: Saved) -> anyhow::Result<()> {
        let Unsaved { entry, reasons, seconds } = self.saving.remove(&id).expect("only unsaved entries are saved");
        if let Err(error) = result {
            return self.fail(id, Some(entry.key), seconds, &again(&error).into());
        }
        self.show(id, &entry)?;
        if self.crew.settings.signer.is_some() {
            let job = self.jobs.get(id).plan.name.clone();
            self.made.push(Made { job, key: entry.key, entry: Digest::of(entry.to_text().as_bytes()) });
        }
        let outputs = entry.artifacts.iter().map(|record| (record.name.clone(), record.digest)).collect();
        let outcome = self.outcome(id, Ending::Executed, Some(entry.key));
        self.end(id, Outcome { reasons, seconds, outputs, ..outcome })?;
        self.unpark(entry.key);
        Ok(())
    }

    /// What a job made is known, to all that wait for it.
    fn know(&mut self, id: Id, entry: &Entry) {
        let Planned { name, job, .. } = &self.jobs.get(id).plan;
        let made = outputs(self.crew.bench.store, name, &job.outputs(), entry);
        let known = self.jobs.get_mut(id);
        (known.outputs, known.key) = (made, Some(entry.key));
        self.release(id);
    }

    /// Of what a job made the digests are known, to all that wait for it.
    fn hear(&mut self, id: Id, key: Option<Key>, digests: &[Digest]) {
        let Planned { name, job, .. } = &self.jobs.get(id).plan;
        let made = key.and_then(|key| told_outputs(&key, name, &job.outputs(), digests));
        let known = self.jobs.get_mut(id);
        (known.outputs, known.key) = (made, key);
        self.release(id);
    }

    /// The jobs upstream of one that had made these results run again; whether there are any, or others wait for them already.
    fn recall(&mut self, reader: Id, keys: &BTreeSet<Key>) -> bool {
        let mut found = self.jobs.lacks(reader) > 0;
        for id in self.jobs.upstream(reader) {
            let known = self.jobs.get_mut(id);
            if !known.key.is_some_and(|key| keys.contains(&key)) || self.phases[id.index()] != Phase::Ended {
                continue;
            }
            let key = known.key.take();
            known.outputs = None;
            found = true;
            self.recalled += 1;
            self.summary.cached -= 1;
            self.summary.results.retain(|(_, _, result)| Some(*result) != key);
            let job = known.plan.name.clone();
            self.crew.watch.known(self.summary.jobs + self.recalled);
            self.crew
                .watch
                .warn(&job, "its result is not in the store any more as it was a moment ago, so it is made again");
            for dependant in self.jobs.downstream(id) {
                match self.phases[dependant.index()] {
                    Phase::Waiting(jobs) => self.phases[dependant.index()] = Phase::Waiting(jobs + 1),
                    Phase::Ready => {
                        self.ready.remove(&dependant);
                        self.phases[dependant.index()] = Phase::Waiting(1);
                    }
                    _ => {}
                }
            }
            self.wait(id);
        }
        found
    }

    /// A job waits for all before it that have not made what it reads, or is ready.
    fn wait(&mut self, id: Id) {
        self.wait_for(id, self.jobs.lacks(id));
    }

    fn show(&self, id: Id, entry: &Entry) -> std::io::Result<()> {
        let Planned { name, job, .. } = &self.jobs.get(id).plan;
        let promised = job.outputs();
        let named = |record: &Record| {
            let promise = promised.iter().find(|promise| *promise.name == *record.name);
            promise.map_or_else(|| record.name.clone(), Promise::file_name)
        };
        self.crew.bench.store.view(self.crew.pipeline, name, entry, &named)
    }

    /// Jobs that `parent` asked for become part of the run, and `parent` waits for them.
    fn adopt(&mut self, parent: Id, children: &[Id]) {
        self.phases.resize(self.jobs.len(), Phase::Unwanted);
        for &child in children {
            self.admit(child);
        }
        self.wait_for(parent, children.len());
        self.crew.watch.known(self.summary.jobs);
    }

    /// A job of this run executes the same key; unless it is done by now, wait for it.
    fn park(&mut self, id: Id, key: Key) {
        if lock(&self.crew.claimed).contains(&key) {
            self.phases[id.index()] = Phase::Parked;
            self.parked.entry(key).or_default().push(id);
        } else {
            self.wait(id);
        }
    }

    fn unpark(&mut self, key: Key) {
        lock(&self.crew.claimed).remove(&key);
        for id in self.parked.remove(&key).unwrap_or_default() {
            self.wait(id);
        }
    }

    /// Everything that waited for this job waits for one job less.
    fn release(&mut self, id: Id) {
        for dependant in self.jobs.downstream(id) {
            if let Phase::Waiting(jobs) = self.phases[dependant.index()] {
                self.wait_for(dependant, jobs - 1);
            }
        }
    }

    /// A job failed, with it all jobs with its key, and everything that depends on them is blocked.
    fn fail(&mut self, id: Id, key: Option<Key>, seconds: f64, error: &anyhow::Error) -> anyhow::Result<()> {
        self.summary.fault = self.summary.fault.max(Some(Fault::of(error)));
        self.halted |= !self.crew.settings.keep_going || Fault::of(error) == Fault::Environment;
        let outcome = self.outcome(id, Ending::Failed, key);
        self.end(id, Outcome { seconds, error: Some(format!("{error:#}")), ..outcome })?;
        self.block_dependants(id)?;
        let Some(key) = key else { return Ok(()) };
        lock(&self.crew.claimed).remove(&key);
        let name = self.jobs.get(id).plan.name.clone();
        for twin in self.parked.remove(&key).unwrap_or_default() {
            self.fail(twin, Some(key), 0.0, &anyhow!("`{name}`, which has the same recipe, failed"))?;
        }
        Ok(())
    }

    fn block_dependants(&mut self, failed: Id) -> anyhow::Result<()> {
        let mut open = vec![failed];
        while let Some(upstream) = open.pop() {
            let name = self.jobs.get(upstream).plan.name.clone();
            for id in self.jobs.downstream(upstream) {
                if matches!(self.phases[id.index()], Phase::Waiting(_)) {
                    let reason = Reason::Cannot(format!("depends on `{name}`, which did not succeed"));
                    let outcome = self.outcome(id, Ending::Blocked, None);
                    self.end(id, Outcome { reasons: vec![reason], ..outcome })?;
                    open.push(id);
                }
            }
        }
        Ok(())
    }

    /// What became of a job, but for what only the caller knows.
    fn outcome(&self, id: Id, ending: Ending, key: Option<Key>) -> Outcome {
        let planned = &self.jobs.get(id).plan;
        let (job, stage, kind) = (planned.name.clone(), planned.stage.clone(), planned.kind.name);
        let (reasons, outputs) = (Vec::new(), Vec::new());
        Outcome { job, stage, kind, ending, key, reasons, seconds: 0.0, error: None, outputs }
    }

    /// Counts, journals and shows what became of a job.
    fn end(&mut self, id: Id, outcome: Outcome) -> anyhow::Result<()> {
        let (ending, kind, key) = (outcome.ending, outcome.kind, outcome.key);
        self.phases[id.index()] = Phase::Ended;
        match ending {
            Ending::Executed => self.summary.executed += 1,
            Ending::Cached => self.summary.cached += 1,
            Ending::Failed => self.summary.failed += 1,
            Ending::Blocked => self.summary.blocked += 1,
            Ending::Interrupted(_) => {}
        }
        if let (Ending::Executed | Ending::Cached, Some(key)) = (ending, key) {
            self.summary.results.push((outcome.job.clone(), kind, key));
        }
        self.crew.watch.ended(&outcome);
        if let (Ending::Cached, Some(key)) = (ending, key) {
            let Outcome { job, stage, .. } = outcome;
            self.journal.found(Found { job, stage, kind: kind.to_owned(), key });
            return Ok(());
        }
        Ok(self.journal.add(&outcome.event())?)
    }
}

/// Where among `n` jobs a run begins to look for one: of several workers each somewhere else.
fn first_of(crew: &Crew<'_>, n: usize) -> usize {
    match &crew.settings.leases {
        Some(leases) if crew.settings.role == Role::Worker && n > 0 => {
            let digest = Digest::of(leases.name().as_bytes()).to_string();
            usize::from_str_radix(&digest[..8], 16).unwrap_or(0) % n
        }
        _ => 0,
    }
}
