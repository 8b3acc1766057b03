//! A plan: the jobs of a manifest as a graph, every reference resolved.

use super::problem::{nearest, suggestion};
use super::stage::{Job, Kind};
use petgraph::graph::{DiGraph, NodeIndex};
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
    Output(NodeIndex, &'static str),
    /// Outputs of several jobs; hashed and handed over in the order of their digests.
    Outputs(Vec<(NodeIndex, &'static str)>),
    /// A file.
    File(PathBuf),
    /// Files of a folder; the role of each is `role/name`.
    Folder(PathBuf, fn(&[String]) -> Vec<String>),
}

impl Plan {
    /// The job with this name.
    ///
    /// # Errors
    /// What to write instead.
    pub fn find(&self, name: &str) -> Result<NodeIndex, String> {
        let found = self.graph.node_indices().find(|index| self.graph[*index].name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.graph.node_weights().map(|job| job.name.as_str()).collect();
            let few = if names.len() <= 12 { &names[..] } else { &[] };
            match nearest(name, names.iter().copied()) {
                Some(near) => format!("no job `{name}`; did you mean `{near}`?"),
                None => format!("no job `{name}`{}", suggestion(name, few.iter().copied())),
            }
        })
    }

    /// The jobs that a name or pattern stands for: `source[mnli,0]`, `source`, `source[*,0]`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn select(&self, pattern: &str) -> Result<Vec<NodeIndex>, String> {
        let of_stage = |stage: &str| -> Vec<NodeIndex> {
            self.graph.node_indices().filter(|index| self.graph[*index].stage == stage).collect()
        };
        let (stage, values) = match pattern.strip_suffix(']').and_then(|inner| inner.split_once('[')) {
            Some((stage, values)) => (stage, Some(values)),
            None => (pattern, None),
        };
        if !self.stages.iter().any(|known| known == stage) {
            return Err(format!("no stage `{stage}`{}", suggestion(stage, self.stages.iter().map(String::as_str))));
        }
        let jobs = of_stage(stage);
        let Some(values) = values else { return Ok(jobs) };
        let wanted: Vec<&str> = values.split(',').map(str::trim).collect();
        let fits = |name: &str| {
            let own = name.strip_suffix(']').and_then(|name| name.split_once('[')).map_or("", |(_, values)| values);
            let own: Vec<&str> = own.split(',').collect();
            wanted == ["*"] || own.len() == wanted.len() && own.iter().zip(&wanted).all(|(o, w)| *w == "*" || o == w)
        };
        let chosen: Vec<NodeIndex> = jobs.into_iter().filter(|index| fits(&self.graph[*index].name)).collect();
        if chosen.is_empty() { self.find(pattern).map(|index| vec![index]) } else { Ok(chosen) }
    }
}
