//! A plan: the jobs of a manifest as a graph, every reference resolved.

pub mod graph;

use super::manifest::problem::suggestion;
use super::remote::Remote;
use super::stage::{Job, Kind};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::PathBuf;
use std::sync::Arc;

/// The jobs of a manifest under one profile. An edge leads from a job to one that reads its output.
pub struct Plan {
    /// `name:` of the manifest.
    pub name: String,
    /// The profile in force, if the manifest has profiles.
    pub profile: Option<String>,
    /// The manifest.
    pub path: PathBuf,
    /// Names of the stages, in the order of the manifest.
    pub stages: Vec<String>,
    /// The jobs; indices are in the order of the manifest.
    pub graph: DiGraph<Planned, ()>,
}

/// A job of a plan.
#[derive(Clone)]
pub struct Planned {
    /// `source[mnli,0]`, or `backbone` for a stage without a matrix.
    pub name: String,
    /// The stage it comes from.
    pub stage: String,
    /// Its kind.
    pub kind: Kind,
    /// What it does.
    pub job: Arc<dyn Job>,
    /// What it reads, in the order in which it is hashed.
    pub inputs: Vec<PlannedInput>,
}

/// An input of a planned job.
#[derive(Clone)]
pub struct PlannedInput {
    /// Role in the recipe.
    pub role: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where an input comes from.
#[derive(Clone)]
pub enum Source {
    /// One output of one job.
    Output(NodeIndex, Arc<str>),
    /// Outputs of several jobs; hashed and handed over in the order of their digests.
    Outputs(Vec<(NodeIndex, Arc<str>)>),
    /// A file.
    File(PathBuf),
    /// Files of a folder; the role of each is `role/name`.
    Folder(PathBuf, fn(&[String]) -> Vec<String>),
    /// Files that are kept elsewhere; the role of each is `role/name`.
    Remote(Arc<dyn Remote>),
}

/// Number of artifacts and files among `inputs` that are read in a role.
pub(super) fn count(inputs: &[PlannedInput], role: &str) -> usize {
    let of = |input: &PlannedInput| match &input.source {
        Source::Outputs(many) => many.len(),
        Source::Output(..) | Source::File(_) | Source::Folder(..) | Source::Remote(_) => 1,
    };
    inputs.iter().filter(|input| input.role == role).map(of).sum()
}

/// The jobs of a graph without cycles, each after those whose outputs it reads; otherwise in the order of the manifest.
pub(super) fn order(graph: &DiGraph<Planned, ()>) -> Vec<NodeIndex> {
    let incoming = |job| graph.neighbors_directed(job, Direction::Incoming).count();
    let mut waits: Vec<usize> = graph.node_indices().map(incoming).collect();
    let ready = graph.node_indices().filter(|job| waits[job.index()] == 0).map(Reverse);
    let mut ready: BinaryHeap<Reverse<NodeIndex>> = ready.collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(job)) = ready.pop() {
        order.push(job);
        for reader in graph.neighbors(job) {
            waits[reader.index()] -= 1;
            if waits[reader.index()] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    order
}

impl Plan {
    /// The jobs, each after those whose outputs it reads; otherwise in the order of the manifest.
    pub fn order(&self) -> Vec<NodeIndex> {
        order(&self.graph)
    }

    /// All jobs that read what these make, directly or not, in the order of the manifest; without the jobs themselves.
    pub fn dependants(&self, jobs: &[NodeIndex]) -> BTreeSet<NodeIndex> {
        let mut found = BTreeSet::new();
        let mut queue = jobs.to_vec();
        while let Some(job) = queue.pop() {
            queue.extend(self.graph.neighbors(job).filter(|reader| found.insert(*reader)));
        }
        for job in jobs {
            found.remove(job);
        }
        found
    }

    /// The job with this name.
    ///
    /// # Errors
    /// What to write instead.
    pub fn find(&self, name: &str) -> Result<NodeIndex, String> {
        let found = self.graph.node_indices().find(|index| self.graph[*index].name == name);
        found.ok_or_else(|| {
            let stage = name.split('[').next().unwrap_or_default();
            let own: Vec<&str> = self.names().filter(|known| known.split('[').next() == Some(stage)).collect();
            let hint = match own[..] {
                [] => suggestion(name, self.names()),
                _ => suggestion(name, own),
            };
            format!("no job `{name}`{hint}")
        })
    }

    /// The jobs that a name or pattern stands for: `source[mnli,0]`, `source`, `source[*]`, `source[*,0]`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn select(&self, pattern: &str) -> Result<Vec<NodeIndex>, String> {
        let (stage, wanted) = parts(pattern);
        if !self.stages.iter().any(|known| known == stage) {
            return Err(format!("no stage `{stage}`{}", suggestion(stage, self.stages.iter().map(String::as_str))));
        }
        let fits = |job: &Planned| {
            let (_, values) = parts(&job.name);
            let same = |(value, wanted): (&&str, &&str)| *wanted == "*" || value == wanted;
            job.stage == stage
                && (!pattern.contains('[')
                    || wanted == ["*"] && !values.is_empty()
                    || values.len() == wanted.len() && values.iter().zip(&wanted).all(same))
        };
        let chosen: Vec<NodeIndex> = self.graph.node_indices().filter(|index| fits(&self.graph[*index])).collect();
        if chosen.is_empty() { self.find(pattern).map(|index| vec![index]) } else { Ok(chosen) }
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.graph.node_indices().map(|index| self.graph[index].name.as_str())
    }
}

/// The stage in the name of a job, and the values of its matrix.
fn parts(name: &str) -> (&str, Vec<&str>) {
    match name.strip_suffix(']').and_then(|inner| inner.split_once('[')) {
        Some((stage, values)) => (stage, values.split(',').map(str::trim).collect()),
        None => (name, Vec::new()),
    }
}
