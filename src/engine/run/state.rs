//! The state of a job and the reasons for it; the survey of a plan that `status`, `explain` and `run --dry-run` print.

use super::history::History;
use super::jobs::{Id, Jobs, Order};
use super::reason::Reason;
use super::shared::Shared;
use crate::engine::context::{Artifact, Bench, Cx, Progress, outputs, told_outputs};
use crate::engine::plan::Plan;
use crate::engine::sharing::{Pulled, Sharing};
use crate::engine::store::digest::Key;
use crate::engine::store::entry::Entry;
use crate::engine::store::provenance::Origin;
use crate::engine::store::recipe::{Difference, Recipe};
use crate::engine::store::{Found, Store};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What is to be done about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Its result is there.
    Cached,
    /// Its result is not here, but in the place that machines share.
    Shared,
    /// It will run.
    Stale,
    /// It will run if a job upstream makes something new.
    MayRun,
    /// It cannot run, or not with what is on this machine.
    Blocked,
    /// It will run, from this step on.
    Interrupted(u64),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cached => f.write_str("cached"),
            Self::Shared => f.write_str("shared"),
            Self::Stale => f.write_str("stale"),
            Self::MayRun => f.write_str("may run"),
            Self::Blocked => f.write_str("blocked"),
            Self::Interrupted(step) => write!(f, "interrupted at step {step}"),
        }
    }
}

impl State {
    /// Whether there is a result, wherever.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Cached | Self::Shared)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A job of a survey.
#[derive(Clone, Debug)]
pub struct JobState {
    /// Its name.
    pub job: String,
    /// The stage that it comes from.
    pub stage: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its state.
    pub state: State,
    /// Its key; `None` while it depends on something that is not known.
    pub key: Option<Key>,
    /// Why; for cached jobs too.
    pub reasons: Vec<Reason>,
    /// Its recipe, if the key is known.
    pub recipe: Option<Recipe>,
    /// Its entry, if it is cached.
    pub entry: Option<Entry>,
    /// Its own last entry, with which `reasons` compare it.
    pub compared: Option<Key>,
    /// Where every input comes from, if all of them are known.
    pub origins: Vec<Origin>,
    /// Floating-point operations that it takes, if that is known and it is to run.
    pub operations: Option<f64>,
    /// At most how many jobs it will ask for; `None` if that is known already, or none.
    pub expands_to_at_most: Option<usize>,
}

/// What a survey is asked about.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Only these jobs and what they need; all if `None`.
    pub only: Option<BTreeSet<String>>,
    /// Jobs that are to run though they are cached.
    pub forced: BTreeSet<String>,
    /// Where results count too.
    pub sharing: Option<Arc<Sharing>>,
}

/// The states of the jobs of a plan, and of the jobs that they ask for as far as that is known. Nothing runs and nothing is
/// locked, so it can be asked for during a run.
///
/// # Errors
/// If the store cannot be read, or the place that machines share not be asked. What is wrong with a single job is its state.
pub fn survey(plan: &Plan, store: &Arc<Store>, question: &Question) -> anyhow::Result<Vec<JobState>> {
    if let Some(sharing) = &question.sharing {
        sharing.look(Duration::ZERO, None)?;
        store.read_through(sharing.clone());
    }
    let mut survey = Survey {
        store,
        sharing: question.sharing.as_deref(),
        forced: &question.forced,
        jobs: Jobs::new(plan),
        history: History::new(store.clone(), &plan.name),
        states: BTreeMap::new(),
    };
    let mut wanted = survey.jobs.wanted(question.only.as_ref());
    for &id in &wanted {
        survey.visit(id)?;
    }
    wanted.sort_unstable();
    // Jobs that were asked for stand after the job that asked.
    let mut states = Vec::new();
    for id in wanted {
        let children = survey.jobs.get(id).children.iter().flatten().map(|(_, child)| *child);
        for id in std::iter::once(id).chain(children) {
            states.extend(survey.states.remove(&id));
        }
    }
    Ok(states)
}

struct Survey<'a> {
    store: &'a Arc<Store>,
    sharing: Option<&'a Sharing>,
    forced: &'a BTreeSet<String>,
    jobs: Jobs,
    history: History,
    states: BTreeMap<Id, JobState>,
}

/// A job that says nothing: nobody watches while a plan is only looked at.
pub(super) struct Silent;

impl Progress for Silent {
    fn step(&self, _: u64, _: u64, _: &str) {}
    fn measured(&self, _: u64, _: &[(&str, f64)]) {}
    fn log(&self, _: &[u8]) {}
    fn say(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}

impl Survey<'_> {
    /// Finds the state of a job; those upstream have theirs.
    fn visit(&mut self, id: Id) -> anyhow::Result<()> {
        let state = match self.open_upstream(id) {
            Some(state) => state,
            None => self.resolve(id)?,
        };
        self.states.insert(id, state);
        Ok(())
    }

    fn blank(&self, id: Id, state: State, reasons: Vec<Reason>) -> JobState {
        let known = self.jobs.get(id);
        JobState {
            job: known.plan.name.clone(),
            stage: known.plan.stage.clone(),
            kind: known.plan.kind.name,
            state,
            key: None,
            reasons,
            recipe: None,
            entry: None,
            compared: None,
            origins: Vec::new(),
            operations: if state.is_done() { None } else { self.jobs.operations(id) },
            expands_to_at_most: (known.plan.kind.expands && known.children.is_none())
                .then(|| known.plan.job.expands_to_at_most(&|role| self.jobs.count(id, role)))
                .filter(|most| *most > 0),
        }
    }

    /// The state of a job whose inputs are not all known; `None` if they are.
    fn open_upstream(&mut self, id: Id) -> Option<JobState> {
        if let Some(why) = self.jobs.get(id).plan.job.blocked() {
            return Some(self.blank(id, State::Blocked, vec![Reason::Cannot(why)]));
        }
        let upstream = self.jobs.upstream(id).into_iter().filter_map(|id| self.states.get(&id));
        let open: Vec<_> = upstream.filter(|state| !state.state.is_done()).collect();
        if open.is_empty() {
            return None;
        }
        if let Some(missing) = self.jobs.missing(id) {
            let reason = Reason::Cannot(format!("{:#}", anyhow::Error::from(missing)));
            return Some(self.blank(id, State::Blocked, vec![reason]));
        }
        if let Some(blocked) = open.iter().find(|state| state.state == State::Blocked) {
            let reason = Reason::Cannot(format!("depends on `{}`, which is blocked", blocked.job));
            return Some(self.blank(id, State::Blocked, vec![reason]));
        }
        let mut reasons: Vec<_> = open.iter().map(|state| Reason::Upstream(state.job.clone())).collect();
        let changed = self.changed_anyway(id);
        let state = if changed.is_empty() { State::MayRun } else { State::Stale };
        reasons.splice(0..0, changed);
        let mut job = self.blank(id, state, Vec::new());
        reasons.extend(job.expands_to_at_most.map(Reason::Expands));
        job.reasons = reasons;
        Some(job)
    }

    /// Why a job will run whatever its open inputs turn out to be: what differs from its own last entry.
    fn changed_anyway(&self, id: Id) -> Vec<Reason> {
        let known = &self.jobs.get(id).plan;
        if self.forced.contains(&known.name) {
            return vec![Reason::Forced];
        }
        let Some(old) = self.history.viewed(&known.name, known.kind.name) else { return Vec::new() };
        let mut new = Recipe::new(known.kind.name, known.kind.version, known.job.params(), Vec::new());
        new.inputs = self.jobs.known_inputs(id, self.store);
        let known_role = |role: &str| new.inputs.iter().any(|(known, _)| known == role);
        let differences = new.differences(&old.recipe).into_iter();
        let certain = differences.filter(|difference| match difference {
            Difference::Input { field, .. } => known_role(field),
            Difference::Param { .. } | Difference::Version { .. } => true,
        });
        certain.map(Reason::Changed).collect()
    }

    /// The state of a job whose inputs are all known.
    fn resolve(&mut self, id: Id) -> anyhow::Result<JobState> {
        let Some(order) = self.jobs.order(id) else {
            let reason = Reason::Cannot("an output that it reads is not in the entry that should have it".to_owned());
            return Ok(self.blank(id, State::Blocked, vec![reason]));
        };
        let reads = match order.read(self.store) {
            Ok(reads) => reads,
            Err(error) => {
                let error = anyhow::Error::from(error);
                return Ok(self.blank(id, State::Blocked, vec![Reason::Cannot(format!("{error:#}"))]));
            }
        };
        if order.expanded.is_none() {
            return match self.learned(&order) {
                Ok(Some(order)) => self.expand(id, &order, &order.read(self.store)?),
                Ok(None) => self.expand(id, &order, &reads),
                Err(error) => Ok(self.blank(id, State::Blocked, vec![Reason::Cannot(format!("{error:#}"))])),
            };
        }
        let recipe = order.recipe(&reads);
        let key = recipe.key();
        let mut state = self.look_up(id, &recipe, key)?;
        state.origins = order.origins(&reads);
        state.key = Some(key);
        state.recipe = Some(recipe);
        Ok(state)
    }

    fn look_up(&mut self, id: Id, recipe: &Recipe, key: Key) -> anyhow::Result<JobState> {
        let name = self.jobs.get(id).plan.name.clone();
        let forced = self.forced.contains(&name);
        let found = match self.store.find(&key) {
            Ok(found) => found,
            Err(error) => return Ok(self.blank(id, State::Blocked, vec![Reason::Cannot(error.to_string())])),
        };
        let damage = match found {
            Found::Hit(entry) if !forced => {
                let found = outputs(self.store, &name, &self.jobs.get(id).plan.job.outputs(), &entry);
                if let Some(found) = found {
                    return Ok(self.hit(id, found, *entry));
                }
                vec![Reason::Damaged("its entry lacks an output".to_owned())]
            }
            Found::Nothing if !forced && self.is_shared(id, &key)? => {
                let place = self.sharing.map(|sharing| sharing.address().to_string()).unwrap_or_default();
                return Ok(self.blank(id, State::Shared, vec![Reason::Shared(place)]));
            }
            Found::Hit(_) | Found::Nothing => Vec::new(),
            Found::Damaged(damage) => damage.iter().map(|damage| Reason::Damaged(damage.to_string())).collect(),
        };
        let (mut reasons, compared) = self.history.reasons(&name, recipe);
        if forced {
            reasons = vec![Reason::Forced];
        } else if !damage.is_empty() {
            reasons = damage;
        }
        let state = self.store.interrupted_at(&key).map_or(State::Stale, State::Interrupted);
        Ok(JobState { compared, ..self.blank(id, state, reasons) })
    }

    /// Whether the result of a job is in the place that machines share; if so, what it made is known from now on.
    fn is_shared(&mut self, id: Id, key: &Key) -> anyhow::Result<bool> {
        let Some(sharing) = self.sharing.filter(|sharing| sharing.is_listed(key)) else { return Ok(false) };
        let (name, promised) = (self.jobs.get(id).plan.name.clone(), self.jobs.get(id).plan.job.outputs());
        let told = sharing.told(key).and_then(|digests| told_outputs(key, &name, &promised, &digests));
        let made = match told {
            Some(made) => Some(made),
            // Of some results it is only told that they are there.
            None => match sharing.peek(key)? {
                Pulled::Hit(entry) => outputs(self.store, &name, &promised, &entry),
                _ => None,
            },
        };
        let is_shared = made.is_some();
        self.jobs.get_mut(id).outputs = made;
        Ok(is_shared)
    }

    /// A job with all that there is to know of what it reads, if of some of that only digests were told.
    fn learned(&self, order: &Order) -> anyhow::Result<Option<Order>> {
        let Some(sharing) = self.sharing else { return Ok(None) };
        let mut entries = BTreeMap::new();
        for key in order.told_by() {
            if let Pulled::Hit(entry) = sharing.peek(&key)? {
                entries.insert(key, entry);
            }
        }
        let place = sharing.address();
        let lost =
            |_| anyhow::anyhow!("what `{}` reads is not in `{place}` as it was told; `spot run` makes it", order.name);
        order.known_from(self.store, &entries).map(Some).map_err(lost)
    }

    fn hit(&mut self, id: Id, outputs: Vec<(Arc<str>, Artifact)>, entry: Entry) -> JobState {
        self.jobs.get_mut(id).outputs = Some(outputs);
        let made = Reason::Made { end: entry.provenance.end.clone(), job: entry.provenance.job.clone() };
        JobState { entry: Some(entry), ..self.blank(id, State::Cached, vec![made]) }
    }

    /// Asks a job for its jobs, finds their states, and then that of the job itself.
    fn expand(&mut self, id: Id, order: &Order, reads: &[crate::engine::context::Read]) -> anyhow::Result<JobState> {
        let (stop, shared) = (AtomicBool::new(false), Shared::default());
        let bench = Bench {
            store: self.store,
            device: "cpu",
            threads: 1,
            memory: 0,
            stop: &stop,
            shared: &shared,
            signer: None,
        };
        let cx = Cx::new(&order.name, order.promises(), reads, &[], &bench, &Silent, None);
        let specs = order.expand(&cx).and_then(|specs| self.jobs.expand(id, specs));
        let children = match specs {
            Ok(children) => children,
            Err(error) => return Ok(self.blank(id, State::Blocked, vec![Reason::Cannot(format!("{error:#}"))])),
        };
        for child in children {
            self.visit(child)?;
        }
        match self.open_upstream(id) {
            Some(state) => Ok(state),
            None => self.resolve(id),
        }
    }
}
