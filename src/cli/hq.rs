//! HyperQueue's job file: a task for each job of a plan, which is run alone once those that it reads from are done.
//!
//! The format is that of `docs/jobs/jobfile.md` of HyperQueue 0.27.

use crate::engine::plan::Plan;
use crate::engine::resources::Resources;
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
            text += &format!(
                "\n[[task]]\nid = {}\ncommand = [{}]\ncwd = {}\ndeps = [{}]\n[[task.request]]\n{}",
                index.index(),
                words.join(", "),
                quoted(&self.project.display().to_string()),
                needs.join(", "),
                self.request(plan, index),
            );
        }
        text
    }

    /// What a task asks for: what its stage says, and else one GPU if it computes through a model.
    fn request(&self, plan: &Plan, index: NodeIndex) -> String {
        let Resources { gpus, memory, time } = plan.graph[index].resources;
        let gpus = if gpus == 0 { u32::from(self.with_gpu && computes(plan, index)) } else { gpus };
        let mut text = format!("resources = {{ cpus = {}", self.threads);
        if gpus > 0 {
            text += &format!(", \"gpus/nvidia\" = {gpus}");
        }
        if memory > 0 {
            text += &format!(", mem = {}", memory.div_ceil(1 << 20));
        }
        text += " }\n";
        if !time.is_zero() {
            text += &format!("time_request = \"{}s\"\n", time.as_secs());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manifest::{Options, load};

    #[test]
    fn what_computes_through_a_model_takes_a_gpu_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.yaml");
        let text = "version: 1\nname: own\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n  \
                    data: {kind: ingest, backbone: backbone, from: {builtin: w_sum}, input_length: 24, target_length: 8}\n  \
                    tuned: {kind: tune, backbone: backbone, data: data, length: 2, training: {steps: 1}}\n  \
                    large: {like: tuned, seed: 1, resources: {gpus: 2, memory: 40GiB, time: 90m}}\n";
        fs_err::write(&path, text).unwrap();
        let options = Options { profile: None, set: &[], environment: &|_| None };
        let plan = load(&path, crate::stages::ALL, &options).unwrap();
        let tasks = Tasks {
            program: "/opt/s\"pot".into(),
            arguments: vec!["own".to_owned()],
            project: "/home/me\u{7f}".into(),
            threads: 4,
            with_gpu: true,
        };
        let file = tasks.of(&plan);
        let of = |job: &str| file.split("[[task]]").find(|task| task.contains(&format!("\"{job}\"]"))).unwrap();
        assert!(of("tuned").contains("resources = { cpus = 4, \"gpus/nvidia\" = 1 }"), "{file}");
        let large = "resources = { cpus = 4, \"gpus/nvidia\" = 2, mem = 40960 }\ntime_request = \"5400s\"\n";
        assert!(of("large").contains(large), "{file}");
        assert!(of("data").contains("resources = { cpus = 4 }") && of("data").contains("deps = [0]"), "{file}");
        assert!(of("data").contains("command = [\"/opt/s\\\"pot\", \"run\", \"own\", \"--only\", \"data\"]"), "{file}");
        assert!(file.contains("cwd = \"/home/me\\u007f\""), "{file}");
        let without = Tasks { with_gpu: false, ..tasks }.of(&plan);
        assert_eq!(without.matches("nvidia").count(), 1, "what a stage asks for stays");
    }
}
