//! The graph of a plan while it is walked: it grows by the jobs that jobs ask for, and knows what was made so far.

use super::inputs::{self, UnreadableInput};
use crate::engine::context::{Artifact, Cx, Expanded, Read, Readers};
use crate::engine::plan::{Linked, Plan, Planned, count};
use crate::engine::remote::Remote;
use crate::engine::resources::Resources;
use crate::engine::stage::{Input, Job, Kind, Made, Promise, Source, Spec};
use crate::engine::store::Store;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::provenance::Origin;
use crate::engine::store::recipe::Recipe;
use anyhow::Context as _;
use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Index of a job. Those of the plan have the same as there.
pub(super) type Id = NodeIndex;

/// The jobs known so far. An edge leads from a job to one that reads its output, or that asked for it.
pub(super) struct Jobs {
    graph: DiGraph<Known, ()>,
}

/// A job, and what is known of it.
pub(super) struct Known {
    pub(super) plan: Planned,
    /// The jobs that it asked for and what it calls them, once it has been asked.
    pub(super) children: Option<Vec<(String, Id)>>,
    /// What it made and under which key, once it is done.
    pub(super) outputs: Option<Vec<(Arc<str>, Artifact)>>,
    pub(super) key: Option<Key>,
    readers: Arc<Readers>,
}

/// A job with everything known that it reads but the content of files, and for workers what is only told of: what decides its key.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) job: Arc<dyn Job>,
    inputs: Vec<Input<Vec<Artifact>>>,
    /// The finished jobs it asked for; `None` until it has been asked. Jobs of kinds that never ask have asked for none.
    pub(super) expanded: Option<Vec<Expanded>>,
    readers: Arc<Readers>,
    /// What it needs of a worker.
    pub(super) resources: Resources,
}

impl Jobs {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut read: Vec<BTreeSet<Arc<str>>> = vec![BTreeSet::new(); plan.graph.node_count()];
        let mut of_stages: BTreeMap<&str, BTreeSet<Arc<str>>> = BTreeMap::new();
        let inputs = plan.graph.node_weights().flat_map(|job| &job.inputs);
        for made in inputs.filter_map(Input::made).flatten() {
            let Made::Output(from, output) = made else { continue };
            read[from.index()].insert(output.clone());
            of_stages.entry(&plan.graph[*from].stage).or_default().insert(output.clone());
        }
        let known = |id: Id, job: &Planned| {
            let of_stage = of_stages.get(job.stage.as_str()).cloned().unwrap_or_default();
            Known::new(job.clone(), Readers { of_job: read[id.index()].clone(), of_stage })
        };
        Self { graph: plan.graph.map(known, |_, ()| ()) }
    }

    pub(super) fn len(&self) -> usize {
        self.graph.node_count()
    }

    pub(super) fn get(&self, id: Id) -> &Known {
        &self.graph[id]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Known {
        &mut self.graph[id]
    }

    /// The jobs whose outputs a job reads, each once; for one that expanded, the jobs that it asked for too.
    pub(super) fn upstream(&self, id: Id) -> BTreeSet<Id> {
        self.graph.neighbors_directed(id, Direction::Incoming).collect()
    }

    /// How many of the jobs whose outputs a job reads have not made them, or have lost them.
    pub(super) fn lacks(&self, id: Id) -> usize {
        self.upstream(id).into_iter().filter(|upstream| self.get(*upstream).outputs.is_none()).count()
    }

    /// The jobs that read what a job makes, or that asked for it.
    pub(super) fn downstream(&self, id: Id) -> BTreeSet<Id> {
        self.graph.neighbors(id).collect()
    }

    /// The jobs called `only`, and everything upstream of them; all if `None`. Each after those upstream of it.
    pub(super) fn wanted(&self, only: Option<&BTreeSet<String>>) -> Vec<Id> {
        let mut order = toposort(&self.graph, None).expect("a plan has no cycles");
        let Some(only) = only else { return order };
        let asked = self.graph.node_indices().filter(|id| only.contains(&self.get(*id).plan.name));
        let against = Reversed(&self.graph);
        let mut upstream = Dfs::empty(against);
        upstream.stack.extend(asked);
        let mut wanted = BTreeSet::new();
        while let Some(id) = upstream.next(against) {
            wanted.insert(id);
        }
        order.retain(|id| wanted.contains(id));
        order
    }

    /// Adds the jobs that `parent` asks for, each after those that it reads from.
    ///
    /// # Errors
    /// If two of them have one name, or one reads what none before it makes.
    pub(super) fn expand(&mut self, parent: Id, specs: Vec<Spec>) -> anyhow::Result<Vec<Id>> {
        let mut children: Vec<(String, Id)> = Vec::new();
        for spec in specs {
            let Planned { name, stage, resources, .. } = &self.get(parent).plan;
            let (name, stage, resources) = (format!("{name}/{}", spec.name), stage.clone(), *resources);
            anyhow::ensure!(children.iter().all(|(known, _)| *known != spec.name), "asks for two jobs called `{name}`");
            let inputs = self.linked(&name, spec.inputs, &children)?;
            let job: Arc<dyn Job> = spec.job.into();
            // The job that asked for it gets all that it makes.
            let made: BTreeSet<Arc<str>> = job.outputs().into_iter().map(|output| output.name).collect();
            let readers = Readers { of_job: made.clone(), of_stage: made };
            let upstream: BTreeSet<Id> = inputs.iter().flat_map(Linked::jobs).collect();
            let planned = Planned { name, stage, kind: job.kind(), job, inputs, resources };
            let child = self.graph.add_node(Known::new(planned, readers));
            for upstream in upstream {
                self.graph.add_edge(upstream, child, ());
            }
            self.graph.add_edge(child, parent, ());
            children.push((spec.name, child));
        }
        let ids = children.iter().map(|(_, id)| *id).collect();
        self.graph[parent].children = Some(children);
        Ok(ids)
    }

    /// Inputs of a job that another asks for: neighbours with one role are a set. `before` are the jobs before it in the list.
    fn linked(&self, name: &str, asked: Vec<(String, Made)>, before: &[(String, Id)]) -> anyhow::Result<Vec<Linked>> {
        let mut inputs: Vec<(String, Vec<Made<Id>>)> = Vec::new();
        for (role, made) in asked {
            let made = match made {
                Made::Artifact(artifact) => Made::Artifact(artifact),
                Made::Output(place, output) => {
                    let makes = |id: &Id| self.get(*id).plan.job.outputs().iter().any(|made| made.name == output);
                    let id = before.get(place).map(|(_, id)| *id).filter(makes);
                    let none = || format!("`{name}` reads an output `{output}` that no job before it makes");
                    Made::Output(id.with_context(none)?, output)
                }
            };
            match inputs.last_mut() {
                Some((last, set)) if *last == role => set.push(made),
                _ => inputs.push((role, vec![made])),
            }
        }
        Ok(inputs.into_iter().map(|(role, made)| Input { role, from: Source::Made(made) }).collect())
    }

    /// What a worker needs to do a job; `None` while the outputs of a job upstream are not known.
    pub(super) fn order(&self, id: Id) -> Option<Order> {
        let known = self.get(id);
        let Planned { name, kind, job, resources, .. } = &known.plan;
        let inputs = known.plan.inputs.iter().map(|input| self.found(input)).collect::<Option<_>>()?;
        let expanded = match &known.children {
            None => (!kind.expands).then(Vec::new),
            Some(children) => Some(children.iter().map(|child| self.expanded(child)).collect::<Option<_>>()?),
        };
        let readers = known.readers.clone();
        let (name, job, resources) = (name.clone(), job.clone(), *resources);
        Some(Order { id, name, kind: *kind, job, inputs, expanded, readers, resources })
    }

    /// The model that a job shares with others; `None` if it shares none, or if the model is not known yet.
    pub(super) fn model(&self, id: Id) -> Option<Digest> {
        Some(self.artifact(self.made_model(id)?)?.digest)
    }

    /// The job whose output is the model that a job shares with others; `None` if it shares none, or if none makes it.
    pub(super) fn model_from(&self, id: Id) -> Option<Id> {
        match self.made_model(id)? {
            Made::Output(job, _) => Some(*job),
            Made::Artifact(_) => None,
        }
    }

    fn made_model(&self, id: Id) -> Option<&Made<Id>> {
        let planned = &self.get(id).plan;
        let role = planned.job.needs().shared_model?;
        match planned.inputs.iter().find(|input| input.role == role)?.made()?.as_slice() {
            [model] => Some(model),
            _ => None,
        }
    }

    /// Number of artifacts that a job reads in a role.
    pub(super) fn count(&self, id: Id, role: &str) -> usize {
        count(&self.get(id).plan.inputs, role)
    }

    /// What is known of the inputs of a job whose upstream is not done: role and content.
    pub(super) fn known_inputs(&self, id: Id, store: &Store) -> Vec<(String, Digest)> {
        let found = self.get(id).plan.inputs.iter().filter_map(|input| self.found(input));
        let reads = found.filter_map(|input| inputs::read(&[input], store).ok()).flatten();
        reads.map(|read| (read.role, read.artifact.digest)).collect()
    }

    /// Floating-point operations that a job takes, if its kind and what made its inputs tell, as far as these are known.
    pub(super) fn operations(&self, id: Id) -> Option<f64> {
        let known = &self.get(id).plan;
        let notes = |role: &str| {
            let of_role = known.inputs.iter().filter(|input| input.role == role).filter_map(Input::made);
            let found: Option<Vec<Artifact>> = of_role.flatten().map(|made| self.artifact(made)).collect();
            found.into_iter().flatten().map(|artifact| artifact.notes()).collect()
        };
        known.job.operations(&notes)
    }

    /// Files that a job needs and that are not there, whatever its upstream will be.
    pub(super) fn missing(&self, id: Id) -> Option<UnreadableInput> {
        inputs::missing(&self.get(id).plan.inputs)
    }

    fn expanded(&self, (name, id): &(String, Id)) -> Option<Expanded> {
        Some(Expanded { name: name.clone(), outputs: self.get(*id).outputs.clone()? })
    }

    /// An input with the artifacts that it stands for; `None` while one of them is not made.
    fn found(&self, input: &Linked) -> Option<Input<Vec<Artifact>>> {
        input.refine(|made| made.iter().map(|made| self.artifact(made)).collect())
    }

    fn artifact(&self, made: &Made<Id>) -> Option<Artifact> {
        match made {
            Made::Artifact(artifact) => Some(artifact.clone()),
            Made::Output(id, name) => {
                let outputs = self.get(*id).outputs.as_ref()?;
                outputs.iter().find(|(output, _)| output == name).map(|(_, artifact)| artifact.clone())
            }
        }
    }
}

impl Known {
    fn new(plan: Planned, readers: Readers) -> Self {
        Self { plan, children: None, outputs: None, key: None, readers: Arc::new(readers) }
    }
}

impl Order {
    /// What of its inputs is kept elsewhere, by role.
    pub(super) fn remotes(&self) -> impl Iterator<Item = (&str, &dyn Remote)> {
        inputs::remotes(&self.inputs)
    }

    fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        let expanded = self.expanded.iter().flatten().flat_map(|job| job.outputs.iter().map(|(_, artifact)| artifact));
        self.inputs.iter().filter_map(Input::made).flatten().chain(expanded)
    }

    /// The keys of the entries that say the rest of what it reads of which only digests are known.
    pub(super) fn told_by(&self) -> BTreeSet<Key> {
        self.artifacts().filter_map(Artifact::told_by).collect()
    }

    /// The same with what these entries say.
    ///
    /// # Errors
    /// The keys of those that are not among them, or say something else.
    pub(super) fn known_from(
        &self,
        store: &Arc<Store>,
        entries: &BTreeMap<Key, Box<Entry>>,
    ) -> Result<Self, BTreeSet<Key>> {
        let known = |artifact: &Artifact| match artifact.told_by() {
            None => Some(artifact.clone()),
            Some(key) => artifact.known_from(store, entries.get(&key)?),
        };
        let lost: BTreeSet<Key> =
            self.artifacts().filter(|artifact| known(artifact).is_none()).filter_map(Artifact::told_by).collect();
        if !lost.is_empty() {
            return Err(lost);
        }
        let of_input = |input: &Input<Vec<Artifact>>| input.refine(|made| made.iter().map(known).collect());
        let of_job = |job: &Expanded| {
            let outputs = job.outputs.iter().filter_map(|(name, artifact)| Some((name.clone(), known(artifact)?)));
            Expanded { name: job.name.clone(), outputs: outputs.collect() }
        };
        let inputs = self.inputs.iter().filter_map(of_input).collect();
        let expanded = self.expanded.as_ref().map(|jobs| jobs.iter().map(of_job).collect());
        Ok(Self { inputs, expanded, ..self.clone() })
    }

    /// Everything the job reads, in the order in which it is hashed; files are digested here.
    ///
    /// # Errors
    /// As [`inputs::read`].
    pub(super) fn read(&self, store: &Store) -> Result<Vec<Read>, UnreadableInput> {
        inputs::read(&self.inputs, store)
    }

    /// The recipe of the job: its inputs, and the outputs of the jobs that it asked for.
    pub(super) fn recipe(&self, reads: &[Read]) -> Recipe {
        let inputs = reads.iter().map(|read| (read.role.clone(), read.artifact.digest));
        let expanded = self.expanded.iter().flatten().flat_map(|job| &job.outputs);
        let expanded = expanded.map(|(_, artifact)| ("expanded".to_owned(), artifact.digest));
        Recipe::new(self.kind.name, self.kind.version, self.job.params(), inputs.chain(expanded).collect())
    }

    /// Floating-point operations that the job takes, if its kind and what made its inputs tell.
    pub(super) fn operations(&self) -> Option<f64> {
        let notes = |role: &str| {
            let of_role = self.inputs.iter().filter(|input| input.role == role).filter_map(Input::made);
            of_role.flatten().map(Artifact::notes).collect()
        };
        self.job.operations(&notes)
    }

    /// Where everything that is read came from, in the order of the recipe.
    pub(super) fn origins(&self, reads: &[Read]) -> Vec<Origin> {
        let origin = |role: &str, artifact: &Artifact| {
            let file = artifact.path().map(Path::to_owned);
            let made = file.is_none().then(|| artifact.origin());
            Origin { role: role.to_owned(), digest: artifact.digest, artifact: made, file }
        };
        let expanded = self.expanded.iter().flatten().flat_map(|job| &job.outputs);
        let inputs = reads.iter().map(|read| origin(&read.role, &read.artifact));
        inputs.chain(expanded.map(|(_, artifact)| origin("expanded", artifact))).collect()
    }

    /// What the job writes, and what of it others read.
    pub(super) fn promises(&self) -> (Vec<Promise>, &Readers) {
        (self.job.outputs(), &self.readers)
    }

    /// Whether other jobs read what it makes.
    pub(super) fn is_read(&self) -> bool {
        !self.readers.of_job.is_empty()
    }

    /// Asks the job for more jobs.
    ///
    /// # Errors
    /// What the kind returns.
    pub(super) fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        self.job.expand(cx)
    }
}
