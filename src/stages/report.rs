//! `report`: every target's scores with and without transfer, as tables.

use super::{REPORT, SCORES};
use crate::data::Table;
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Issue, Output, Refs, Stage};
use crate::ml::statistics::{mean, relative_error_reduction, standard_deviation};
use crate::report::{Cell, Pair, Results, Spread, Target};
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A results table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Evaluations of prompt tuning without transfer.
    baseline: Refs,
    /// Evaluations of each strategy; the names become columns, in this order.
    strategies: Vec<Strategy>,
    /// Evaluations of single transfers from one source, for the matrix of sources and targets.
    #[serde(default)]
    pairs: Refs,
}

/// A column of the table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strategy {
    /// Heading.
    name: String,
    /// Evaluations.
    scores: Refs,
}

/// An evaluation, read back.
struct Evaluation {
    task: String,
    split: String,
    seed: String,
    source: String,
    majority: Option<f64>,
    score: f64,
}

/// Scores by task, then by seed.
type ByTask = BTreeMap<String, BTreeMap<String, f64>>;

impl Stage for Report {
    const KIND: &'static str = "report";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "text", of: REPORT },
        Output { name: "markdown", of: REPORT },
        Output { name: "json", of: REPORT },
    ];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::many("baseline", &self.baseline, SCORES)];
        for (i, strategy) in self.strategies.iter().enumerate() {
            inputs.push(Input::many(format!("strategies[{i}].scores"), &strategy.scores, SCORES));
        }
        if !self.pairs.0.is_empty() {
            inputs.push(Input::many("pairs", &self.pairs, SCORES));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        let mut seen = BTreeSet::new();
        match self.strategies.iter().position(|strategy| !seen.insert(&strategy.name)) {
            Some(i) => Err(Issue::new(format!("strategies[{i}].name"), "stands here a second time")),
            None => Ok(()),
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let results = self.results(cx)?;
        cx.write("text", results.to_text().as_bytes())?;
        cx.write("markdown", results.to_markdown().as_bytes())?;
        cx.write("json", results.to_json().as_bytes())
    }
}

impl Report {
    fn results(&self, cx: &Cx<'_>) -> anyhow::Result<Results> {
        let evaluations = evaluations(cx, "baseline")?;
        let split = evaluations.first().context("`baseline` names no evaluation")?.split.clone();
        let majority: BTreeMap<&str, f64> =
            evaluations.iter().filter_map(|e| Some((e.task.as_str(), e.majority?))).collect();
        let baseline = by_task(&evaluations, &split)?;
        let mut strategies = Vec::new();
        for (i, strategy) in self.strategies.iter().enumerate() {
            let scores = by_task(&evaluations_of(cx, i)?, &split)?;
            for task in baseline.keys() {
                ensure!(scores.contains_key(task), "strategy `{}` has no scores for `{task}`", strategy.name);
            }
            strategies.push(scores);
        }
        let targets: Vec<Target> = baseline
            .iter()
            .map(|(task, scores)| Target {
                task: task.clone(),
                majority: majority.get(task.as_str()).copied(),
                baseline: spread(scores),
                cells: strategies.iter().map(|by_task| cell(scores, &by_task[task])).collect(),
            })
            .collect();
        Ok(Results {
            version: 1,
            split,
            strategies: self.strategies.iter().map(|strategy| strategy.name.clone()).collect(),
            mean: mean_row(&targets, &baseline, &strategies),
            pairs: if self.pairs.0.is_empty() { Vec::new() } else { pairs(&evaluations_at(cx, "pairs")?, &baseline) },
            targets,
        })
    }
}

fn evaluations_of(cx: &Cx<'_>, strategy: usize) -> anyhow::Result<Vec<Evaluation>> {
    evaluations_at(cx, &format!("strategies[{strategy}].scores"))
}

fn evaluations(cx: &Cx<'_>, role: &str) -> anyhow::Result<Vec<Evaluation>> {
    evaluations_at(cx, role)
}

fn evaluations_at(cx: &Cx<'_>, role: &str) -> anyhow::Result<Vec<Evaluation>> {
    cx.many(role)
        .into_iter()
        .map(|artifact| {
            let mut table = Table::from_parquet(&artifact.bytes()?)?;
            let (names, values) = (table.take_text("metric")?, table.take_float("value")?);
            let score = names.iter().position(|name| name == "score").context("no `score` among the metrics")?;
            let get = |key: &str| table.metadata.get(key).cloned().unwrap_or_default();
            Ok(Evaluation {
                task: get("task"),
                split: get("split"),
                seed: get("seed"),
                source: get("source"),
                majority: get("majority").parse().ok(),
                score: values[score],
            })
        })
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("`{role}`"))
}

fn by_task(evaluations: &[Evaluation], split: &str) -> anyhow::Result<ByTask> {
    let mut scores = ByTask::new();
    for e in evaluations {
        ensure!(e.split == split, "scores on the {} split stand beside scores on the {split} split", e.split);
        ensure!(e.score.is_finite(), "the score of `{}`, seed {}, is not a number", e.task, e.seed);
        let twice = scores.entry(e.task.clone()).or_default().insert(e.seed.clone(), e.score);
        ensure!(twice.is_none(), "two evaluations of `{}`, seed {}, in one column", e.task, e.seed);
    }
    Ok(scores)
}

fn spread(scores: &BTreeMap<String, f64>) -> Spread {
    spread_of(&scores.values().copied().collect::<Vec<_>>())
}

fn spread_of(scores: &[f64]) -> Spread {
    Spread { mean: mean(scores), deviation: standard_deviation(scores), seeds: scores.len() }
}

fn cell(baseline: &BTreeMap<String, f64>, transfer: &BTreeMap<String, f64>) -> Cell {
    let (baseline, score) = (spread(baseline), spread(transfer));
    Cell { relative_error_reduction: relative_error_reduction(score.mean, baseline.mean), score }
}

/// Means over targets: of the scores of a seed first, so that the deviation is that of a whole study repeated; of the
/// targets' relative error reductions, as in the paper's Table 3 (SCIENCE a.11).
fn mean_row(targets: &[Target], baseline: &ByTask, strategies: &[ByTask]) -> Target {
    let cells = strategies.iter().enumerate().map(|(i, by_task)| {
        let reductions: Vec<f64> = targets.iter().filter_map(|t| t.cells[i].relative_error_reduction).collect();
        let relative_error_reduction = (!reductions.is_empty()).then(|| mean(&reductions));
        Cell { score: over_targets(by_task, baseline), relative_error_reduction }
    });
    Target {
        task: "mean".to_owned(),
        majority: None,
        baseline: over_targets(baseline, baseline),
        cells: cells.collect(),
    }
}

fn over_targets(scores: &ByTask, baseline: &ByTask) -> Spread {
    let rows: Vec<&BTreeMap<String, f64>> = baseline.keys().filter_map(|task| scores.get(task)).collect();
    let mut seeds: BTreeSet<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    seeds.retain(|seed| rows.iter().all(|row| row.contains_key(*seed)));
    if seeds.is_empty() {
        let means: Vec<f64> = rows.iter().map(|row| spread(row).mean).collect();
        return Spread { mean: mean(&means), deviation: None, seeds: 0 };
    }
    let studies: Vec<f64> =
        seeds.iter().map(|seed| mean(&rows.iter().map(|row| row[*seed]).collect::<Vec<_>>())).collect();
    spread_of(&studies)
}

fn pairs(evaluations: &[Evaluation], baseline: &ByTask) -> Vec<Pair> {
    let mut scores: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for e in evaluations {
        scores.entry((&e.source, &e.task)).or_default().push(e.score);
    }
    scores
        .into_iter()
        .map(|((source, target), scores)| {
            let score = spread_of(&scores);
            let baseline = baseline.get(target).map(spread);
            let reduction = baseline.and_then(|baseline| relative_error_reduction(score.mean, baseline.mean));
            Pair { source: source.to_owned(), target: target.to_owned(), score, relative_error_reduction: reduction }
        })
        .collect()
}
