//! What a study found out: every method on every target, what transfer gained, and how well similarity told it beforehand.
//!
//! The same types hold a matrix of scores that someone brings along (`spot analyse`) and our own. Numbers remember the
//! artifacts that they were computed from, so that a reader can walk from a cell of a table to the jobs behind it.

use super::transfer::{Correlations, Findings, Scores};
use crate::ml::similarity::Similarity;
use crate::ml::statistics::{mean, standard_deviation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of this layout.
pub const VERSION: u32 = 2;

/// What a study found out. Scores are in 0..=100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this layout.
    pub version: u32,
    /// The split that the scores belong to. On `validation` they are optimistic: checkpoints were chosen on it.
    pub split: String,
    /// What was compared; the first is the baseline, prompt tuning without transfer.
    pub methods: Vec<Method>,
    /// A row for each target.
    pub targets: Vec<Target>,
    /// Means over groups of targets.
    pub suites: Vec<Suite>,
    /// Every source tried on every target.
    pub matrix: Option<Matrix>,
    /// How alike the prompts of the tasks are.
    pub similarity: Option<TaskSimilarity>,
    /// Similarity of source prompts and what their transfer gained.
    pub points: Vec<Point>,
    /// Correlation of the two, by target.
    pub correlation: BTreeMap<String, Correlations>,
    /// How good the ranking by similarity was, by target.
    pub retrieval: Vec<Retrieval>,
    /// What a reader should know before believing a number.
    pub warnings: Vec<String>,
}

/// A way to learn the targets, over all of them: a row of the paper's Table 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Name.
    pub name: String,
    /// Mean over targets of a study repeated with every seed.
    pub score: Spread,
    /// Gain over the baseline in points; `null` for the baseline.
    pub change: Option<Spread>,
    /// 95 % bootstrap interval of the gain, over targets and seeds.
    pub change_interval: Option<[f64; 2]>,
    /// Mean over targets of the relative error reduction, in percent.
    pub relative_error_reduction: Option<Spread>,
    /// Target tunings that it costs for each target and seed, if that is known.
    pub tunings: Option<usize>,
    /// Source prompts among which it chose.
    pub candidates: Option<usize>,
    /// Its gain as a percentage of the oracle's.
    pub oracle_share: Option<f64>,
    /// Percentage of the source prompts that it did not have to try.
    pub search_skipped: Option<f64>,
}

/// Scores of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Task.
    pub task: String,
    /// Score of always giving the most common answer; the floor that learning must pass.
    pub majority: Option<f64>,
    /// A cell for each method.
    pub cells: Vec<Cell>,
}

/// A method on a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Scores.
    pub score: Spread,
    /// Relative error reduction against the baseline in percent: negative where transfer hurt. `null` for the baseline, and
    /// where the baseline makes no error.
    pub relative_error_reduction: Option<f64>,
    /// Percentage of answers that are none, mean over seeds.
    pub illegal: f64,
    /// What is odd about it: many answers that are none, or one answer to everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Means over some targets: a column of the paper's Table 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// Name: `GLUE`.
    pub name: String,
    /// Its targets.
    pub targets: Vec<String>,
    /// Scores of each method.
    pub scores: Vec<Spread>,
}

/// Scores over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; `null` for a single seed.
    pub deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
    /// Digests of the artifacts that the scores are from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
}

/// Every source tried on every target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Its scores.
    pub scores: Scores,
    /// What they say.
    pub findings: Findings,
}

/// How alike the prompts of tasks are, averaged over the runs of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSimilarity {
    /// How it was measured.
    pub metric: Similarity,
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Square and symmetric.
    pub values: Vec<Vec<f64>>,
    /// For each task the digests of its embeddings.
    pub from: Vec<Vec<String>>,
}

/// A source prompt on a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Target task.
    pub target: String,
    /// Source task.
    pub source: String,
    /// Seed of the source prompt.
    pub source_seed: String,
    /// Similarity, averaged over the target's runs.
    pub similarity: f64,
    /// In percent, of the mean over the target's seeds.
    pub relative_error_reduction: f64,
    /// Digests of the scores.
    pub from: Vec<String>,
}

/// How good a ranking of sources was, known afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Target task.
    pub target: String,
    /// By k: how far the best of the first k stays behind the best of all, in percent of the latter; mean over seeds.
    pub regret: BTreeMap<usize, f64>,
    /// Normalised discounted cumulative gain of the whole ranking, 0 to 1; mean over seeds.
    pub ndcg: f64,
}

impl Spread {
    /// Of scores of some seeds.
    pub fn of(scores: &[f64]) -> Self {
        Self { mean: mean(scores), deviation: standard_deviation(scores), seeds: scores.len(), from: Vec::new() }
    }

    /// The same, from these artifacts.
    pub fn from(mut self, from: impl IntoIterator<Item = String>) -> Self {
        self.from = from.into_iter().collect();
        self
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}", self.mean)?;
        match self.deviation {
            Some(deviation) => write!(f, " ± {deviation:.1}"),
            None => Ok(()),
        }
    }
}

impl Results {
    /// For machines; ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("results are strings and finite numbers");
        json.push('\n');
        json
    }
}
