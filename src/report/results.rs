//! What a study found out: every method on every target, what transfer gained, and how well similarity told it beforehand.
//!
//! The same types hold a matrix of scores that someone brings along (`spot analyse`) and our own. Numbers remember the
//! artifacts that they were computed from, so that a reader can walk from a cell of a table to the jobs behind it.

use super::columns::Role;
use super::embeddings::{Separation, TaskSimilarity};
use super::leaks::Leak;
use super::prediction::Prediction;
use super::spread::Spread;
use super::transfer::{Findings, Scores};
use serde::{Deserialize, Serialize};

/// Version of this layout.
pub const VERSION: u32 = 3;

/// What a study found out. Scores are in 0..=100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this layout.
    pub version: u32,
    /// The split that the scores belong to. On `validation` they are optimistic: checkpoints were chosen on it.
    pub split: String,
    /// Seeds of a target on which rows are compared, the fewest if targets differ.
    pub seeds: usize,
    /// What was compared; the first is the baseline, prompt tuning without transfer.
    pub methods: Vec<Method>,
    /// Methods beside rows of the same budget.
    pub controls: Vec<Comparison>,
    /// What methods chose by validation scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// A row for each target.
    pub targets: Vec<Target>,
    /// Means over groups of targets.
    pub suites: Vec<Suite>,
    /// Every source tried on every target.
    pub matrix: Option<Matrix>,
    /// How alike the prompts of the tasks are.
    pub similarity: Option<TaskSimilarity>,
    /// Whether they are alike by tasks or by seeds.
    pub separation: Option<Separation>,
    /// Similarity of source prompts and what their transfer gained.
    pub points: Vec<Point>,
    /// Whether similarity foretold what transfer gained.
    pub prediction: Prediction,
    /// Text of targets that sources have learned from; `None` if it was not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<Vec<Leak>>,
    /// What a reader should know before believing a number.
    pub warnings: Vec<String>,
}

/// A way to learn the targets, over all of them: a row of the paper's Table 3. Steps are updates of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Name.
    pub name: String,
    /// What kind of row it is.
    pub role: Role,
    /// Mean over targets of a study repeated with every seed.
    pub score: Spread,
    /// Gain over the baseline in points; `null` for the baseline.
    pub change: Option<Spread>,
    /// 95 % interval of the gain by Student's t over targets: it is about other targets like these.
    pub change_interval: Option<[f64; 2]>,
    /// Two-sided p-value of the gain, by exchanging its signs target by target; of ways to learn only.
    pub p: Option<f64>,
    /// The same, corrected for the number of ways that are compared (Holm 1979).
    pub p_holm: Option<f64>,
    /// Mean over targets of the relative error reduction, in percent.
    pub relative_error_reduction: Option<Spread>,
    /// Target tunings that it costs for each target and seed, if that is known.
    pub tunings: Option<usize>,
    /// Source prompts among which it chose.
    pub candidates: Option<usize>,
    /// Steps for each target and seed, the run behind its embedding included.
    pub target_steps: Option<f64>,
    /// Steps of the sources that it needs, spent once for all targets.
    pub source_steps: Option<f64>,
    /// Percentage of the steps of trying every source on every target that it saved.
    pub search_skipped: Option<f64>,
    /// Its gain as a percentage of that of the oracle chosen on other seeds.
    pub oracle_share: Option<f64>,
    /// Its gain as a percentage of that of the maximum, as the paper has it.
    pub maximum_share: Option<f64>,
}

/// A method beside a row of the same budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method.
    pub method: String,
    /// What it has to beat.
    pub control: String,
    /// Gain over it in points, mean over targets.
    pub difference: f64,
    /// 95 % interval of it, by Student's t over targets.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p-value, by exchanging signs target by target.
    pub p: Option<f64>,
    /// The same, corrected for the number of comparisons (Holm 1979).
    pub p_holm: Option<f64>,
}

/// What a method chose for a target among several prompts, by their validation scores. Scores are means over its choices, of which there
/// is one for each seed or one for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// Prompts among which it chose, each time.
    pub candidates: usize,
    /// By what: a metric, or `score`, the mean of the task's metrics.
    pub metric: String,
    /// What the chosen ones scored on the validation split; the best of several is optimistic.
    pub validation: f64,
    /// What all candidates scored there.
    pub mean_of_all: f64,
    /// The score of the chosen ones on the split of the report.
    pub score: f64,
    /// Digests of the chosen prompts.
    pub chosen: Vec<String>,
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

/// Every source tried on every target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Its scores.
    pub scores: Scores,
    /// What they say.
    pub findings: Findings,
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

impl Results {
    /// For machines; ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("results are strings and finite numbers");
        json.push('\n');
        json
    }
}
