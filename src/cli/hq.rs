//! HyperQueue's job file: a task for each job of a plan, which is run alone once those that it reads from are done.
//!
//! The format is that of `docs/jobs/jobfile.md` of HyperQueue 0.27.

use crate::engine::plan::Plan;
use petgraph::Direction;
use petgraph::graph::NodeIndex;
use std::path::PathBuf;

/// What all tasks have in common.
pub(super) struct Tasks {
    /// This program, and what `spot run` is told beside the job.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Where the project is.
    pub(super) project: PathBuf,
    /// Cores of a task.
    pub(super) threads: usize,
    /// Whether a task that computes through a model takes a GPU.
    pub(super) with_gpu: bool,
}

impl Tasks {
    /// The job file for `hq job submit-file`.
    pub(super) fn of(&self, plan: &Plan) -> String {
        let name = &plan.name;
        let mut text = format!("# spot graph {name} --format hq\nname = {}\n", quoted(name));
        for index in plan.graph.node_indices() {
            let job = &plan.graph[index];
            let words = [self.program.display().to_string(), "run".to_owned()].into_iter();
            let words = words.chain(self.arguments.iter().cloned()).chain(["--only".to_owned(), job.name.clone()]);
            let words: Vec<String> = words.map(|word| quoted(&word)).collect();
            let needs = plan.graph.neighbors_directed(index, Direction::Incoming).map(NodeIndex::index);
            let needs: Vec<String> = needs.map(|id| id.to_string()).collect();
            let gpus = if self.with_gpu && computes(plan, index) { ", \"gpus/nvidia\" = 1" } else { "" };
            text += &format!(
                "\n[[task]]\nid = {}\ncommand = [{}]\ncwd = {}\ndeps = [{}]\n[[task.request]]\nresources = {{ cpus = {}{gpus} }}\n",
                index.index(),
                words.join(", "),
                quoted(&self.project.display().to_string()),
                needs.join(", "),
                self.threads,
            );
        }
        text
    }
}

/// Whether a job computes through a model.
fn computes(plan: &Plan, index: NodeIndex) -> bool {
    let needs = plan.graph[index].job.needs();
    needs.own_model || needs.shared_model.is_some()
}

/// A string of TOML: as in JSON, but for one character that must not stand for itself.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is text").replace('\u{7f}', "\\u007f")
}
