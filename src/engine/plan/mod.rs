//! A plan: the jobs of a manifest as a graph, every reference resolved.

pub mod graph;

use super::manifest::problem::suggestion;
use super::resources::Resources;
use super::stage::{Input, Job, Kind, Made};
use super::store::provenance::Manifest;
use petgraph::graph::{DiGraph, NodeIndex};
use std::path::PathBuf;
use std::sync::Arc;

/// The jobs of a manifest under one profile. An edge leads from a job to one that reads its output; there are no cycles.
pub struct Plan {
    /// `name:` of the manifest.
    pub name: String,
    /// The profile in force, if the manifest has profiles.
    pub profile: Option<String>,
    /// The manifest.
    pub path: PathBuf,
    /// All files that it was read from: the manifest first, then what it extends.
    pub manifests: Vec<Manifest>,
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
    pub inputs: Vec<Linked>,
    /// What it needs of a worker.
    pub resources: Resources,
}

/// An input of which the jobs are known that make it.
pub type Linked = Input<Vec<Made<NodeIndex>>>;

impl Linked {
    /// The jobs whose outputs it is.
    pub(super) fn jobs(&self) -> impl Iterator<Item = NodeIndex> {
        self.made().into_iter().flatten().filter_map(|made| match made {
            Made::Output(job, _) => Some(*job),
            Made::Artifact(_) => None,
        })
    }
}

/// Number of artifacts and files among `inputs` that are read in a role.
pub(super) fn count(inputs: &[Linked], role: &str) -> usize {
    let inputs = inputs.iter().filter(|input| input.role == role);
    inputs.map(|input| input.made().map_or(1, Vec::len)).sum()
}

impl Plan {
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
