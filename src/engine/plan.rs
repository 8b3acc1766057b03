//! A plan: the jobs of a manifest as a graph, every reference resolved.

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
