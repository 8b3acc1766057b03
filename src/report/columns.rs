//! Scores of a method by target and seed: a column of the comparison.

use super::evaluation::{Cost, Evaluation};
use super::spread::Spread;
use crate::ml::statistics::mean;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Prompt tuning without transfer.
    Baseline,
    /// A way to learn the targets.
    #[default]
    Method,
    /// What sources drawn at random can be expected to get.
    Chance,
    /// The source that is best on the other targets.
    Elsewhere,
    /// The source that is best on the target's other seeds: what of the maximum would come again.
    Oracle,
    /// The best source, known only afterwards.
    Maximum,
}

impl Role {
    /// Whether nobody could have learned a target so without knowing its scores beforehand.
    pub fn is_known_afterwards(self) -> bool {
        matches!(self, Self::Oracle | Self::Maximum)
    }
}

/// A score, and the artifacts behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    pub(super) value: f64,
    pub(super) illegal: f64,
    pub(super) only_label: Option<String>,
    pub(super) from: Vec<String>,
}

/// Scores of a method on a target by seed.
pub(super) type BySeed = BTreeMap<String, Score>;

/// Scores of a method by target and seed.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) cost: Option<Cost>,
    pub(super) controls: Vec<String>,
    pub(super) scores: BTreeMap<String, BySeed>,
}

impl Column {
    /// Scores of which nothing needs checking.
    pub(super) fn of_runs(name: &str, role: Role, evaluations: &[Evaluation]) -> Self {
        let mut scores: BTreeMap<String, BySeed> = BTreeMap::new();
        for e in evaluations {
            scores.entry(e.task.clone()).or_default().insert(e.seed.clone(), Score::of(e));
        }
        Self { name: name.to_owned(), role, cost: None, controls: Vec::new(), scores }
    }
}

impl Score {
    pub(super) fn of(e: &Evaluation) -> Self {
        Self { value: e.score, illegal: e.illegal, only_label: e.only_label.clone(), from: vec![e.digest.clone()] }
    }
}

pub(super) fn values(scores: &BySeed) -> Vec<f64> {
    scores.values().map(|score| score.value).collect()
}

pub(super) fn spread(scores: &BySeed) -> Spread {
    Spread::of(&values(scores)).from(scores.values().flat_map(|score| score.from.clone()))
}

/// The mean over targets for every seed that all of them have, so that the deviation is that of a whole study repeated; if they
/// have none in common, the mean of the targets' means.
pub(super) fn over_targets(column: &Column, of: impl Fn(&String) -> bool) -> Spread {
    let rows: Vec<&BySeed> = column.scores.iter().filter(|(task, _)| of(task)).map(|(_, row)| row).collect();
    let from = rows.iter().flat_map(|row| row.values()).flat_map(|score| score.from.clone());
    let seeds = common_seeds(&rows);
    if seeds.is_empty() {
        let means: Vec<f64> = rows.iter().map(|row| mean(&values(row))).collect();
        return Spread { mean: mean(&means), deviation: None, seeds: 0, from: from.collect() };
    }
    let studies: Vec<f64> =
        seeds.iter().map(|seed| mean(&rows.iter().map(|row| row[*seed].value).collect::<Vec<_>>())).collect();
    Spread::of(&studies).from(from)
}

pub(super) fn common_seeds<'a>(rows: &[&'a BySeed]) -> Vec<&'a String> {
    let mut seeds: BTreeSet<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    seeds.retain(|seed| rows.iter().all(|row| row.contains_key(*seed)));
    seeds.into_iter().collect()
}

/// What a method gained on each target over another: the difference of their means over seeds.
pub(super) fn gains(column: &Column, over: &Column) -> Vec<f64> {
    column.scores.iter().map(|(task, scores)| mean(&values(scores)) - mean(&values(&over.scores[task]))).collect()
}
