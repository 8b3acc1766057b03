//! `report`: what a study found out, as tables and for the page.

use super::embed::Embedding;
use super::names::check_apart;
use super::{EMBEDDING, REPORT, SCORES, TRIALS};
use crate::data::Table;
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Input, Issue, Known, Output, Refs, Stage};
use crate::ml::similarity::Similarity;
use crate::ml::statistics::mean;
use crate::report::compare::{self, Cost, Evaluation, Evidence, Likeness};
use crate::report::results::TaskSimilarity;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A study's results.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Evaluations of prompt tuning without transfer.
    baseline: Refs,
    /// What is compared with it, in this order.
    #[serde(default)]
    strategies: Vec<Strategy>,
    /// Evaluations of single transfers, every source prompt on every target: the matrix, the oracle, and what a selection must
    /// beat come from them.
    #[serde(default)]
    pairs: Refs,
    /// Embeddings of all tasks, for their similarity and how well it foretold transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embeddings: Option<Embeddings>,
    /// Groups of targets whose means are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suites: Vec<Suite>,
}

/// A way to learn the targets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strategy {
    /// Name.
    name: String,
    /// Evaluations.
    scores: Refs,
    /// The transfers, which say what choosing cost.
    #[serde(default)]
    trials: Refs,
}

/// Embeddings and how they are compared.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Embeddings {
    /// Of the sources.
    sources: Refs,
    /// Of the targets.
    targets: Refs,
    /// How similar two prompts are.
    #[serde(default)]
    metric: Similarity,
}

/// A group of targets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Suite {
    /// Name.
    name: String,
    /// Targets.
    tasks: Vec<String>,
}

impl Stage for Report {
    const KIND: &'static str = "report";
    const VERSION: u32 = 4;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "text", of: REPORT },
        Output { name: "markdown", of: REPORT },
        Output { name: "json", of: REPORT },
        Output { name: "scores.parquet", of: REPORT },
        Output { name: "methods.parquet", of: REPORT },
        Output { name: "transfers.parquet", of: REPORT },
    ];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::many("baseline", &self.baseline, SCORES)];
        for (i, strategy) in self.strategies.iter().enumerate() {
            inputs.push(Input::many(format!("strategies[{i}].scores"), &strategy.scores, SCORES));
            if !strategy.trials.0.is_empty() {
                inputs.push(Input::many(format!("strategies[{i}].trials"), &strategy.trials, TRIALS));
            }
        }
        if !self.pairs.0.is_empty() {
            inputs.push(Input::many("pairs", &self.pairs, SCORES));
        }
        if let Some(embeddings) = &self.embeddings {
            inputs.push(Input::many("embeddings.sources", &embeddings.sources, EMBEDDING));
            inputs.push(Input::many("embeddings.targets", &embeddings.targets, EMBEDDING));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        let twice = |names: Vec<&String>| {
            let mut seen = BTreeSet::new();
            names.into_iter().position(|name| !seen.insert(name))
        };
        if let Some(i) = twice(self.strategies.iter().map(|strategy| &strategy.name).collect()) {
            return Err(Issue::new(format!("strategies[{i}].name"), "stands here a second time"));
        }
        match twice(self.suites.iter().map(|suite| &suite.name).collect()) {
            Some(i) => Err(Issue::new(format!("suites[{i}].name"), "stands here a second time")),
            None => Ok(()),
        }
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["baseline"], inputs)?;
        for i in 0..self.strategies.len() {
            check_apart(&[&format!("strategies[{i}].scores")], inputs)?;
        }
        check_apart(&["pairs"], inputs)?;
        check_apart(&["embeddings.sources", "embeddings.targets"], inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let results = self.evidence(cx)?.results()?;
        cx.write("text", results.to_text().as_bytes())?;
        cx.write("markdown", results.to_markdown().as_bytes())?;
        cx.write("json", results.to_json().as_bytes())?;
        cx.write("scores.parquet", &results.scores_table().to_parquet()?)?;
        cx.write("methods.parquet", &results.methods_table().to_parquet()?)?;
        cx.write("transfers.parquet", &results.transfers_table().to_parquet()?)
    }
}

impl Report {
    fn evidence(&self, cx: &Cx<'_>) -> anyhow::Result<Evidence> {
        let strategy = |(i, strategy): (usize, &Strategy)| {
            Ok(compare::Strategy {
                name: strategy.name.clone(),
                evaluations: evaluations(cx, &format!("strategies[{i}].scores"))?,
                cost: cost(cx, &format!("strategies[{i}].trials"))?,
            })
        };
        let (likeness, tasks) = match &self.embeddings {
            Some(embeddings) => {
                let (likeness, tasks) = similarities(cx, embeddings.metric)?;
                (likeness, Some(tasks))
            }
            None => (Vec::new(), None),
        };
        Ok(Evidence {
            baseline: evaluations(cx, "baseline")?,
            strategies: self.strategies.iter().enumerate().map(strategy).collect::<anyhow::Result<_>>()?,
            pairs: evaluations(cx, "pairs")?,
            suites: self.suites.iter().map(|suite| (suite.name.clone(), suite.tasks.clone())).collect(),
            tasks,
            likeness,
        })
    }
}

fn evaluations(cx: &Cx<'_>, role: &str) -> anyhow::Result<Vec<Evaluation>> {
    let read = |artifact: &Artifact| evaluation(artifact).with_context(|| format!("`{role}`: `{}`", artifact.origin()));
    cx.many(role).into_iter().map(read).collect()
}

fn evaluation(artifact: &Artifact) -> anyhow::Result<Evaluation> {
    let mut table = Table::from_parquet(&artifact.bytes()?)?;
    let (names, values) = (table.take_text("metric")?, table.take_float("value")?);
    let get = |key: &str| table.metadata.get(key).cloned().unwrap_or_default();
    let score = names.iter().position(|name| name == "score");
    let score = score.with_context(|| {
        format!("the task `{}` has no score: it is text to learn from, or its answers are hidden", get("task"))
    })?;
    Ok(Evaluation {
        task: get("task"),
        split: get("split"),
        seed: get("seed"),
        source: (get("source"), get("source_seed")),
        majority: get("majority").parse().ok(),
        score: values[score],
        validation: get("validation").parse().ok(),
        illegal: illegal(&get("illegal"), &get("examples")),
        only_label: only_label(&get("predicted"))?,
        digest: artifact.digest.to_string(),
    })
}

/// Percentage of answers that are none.
fn illegal(illegal: &str, examples: &str) -> f64 {
    let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    100.0 * number(illegal) / number(examples).max(1.0)
}

/// The label that every legal answer was, if the task has others.
fn only_label(predicted: &str) -> anyhow::Result<Option<String>> {
    let predicted: Vec<(String, u64)> =
        if predicted.is_empty() { Vec::new() } else { serde_json::from_str(predicted)? };
    let mut said = predicted.iter().filter(|(_, count)| *count > 0);
    Ok(match (said.next(), said.next()) {
        (Some((label, _)), None) if predicted.len() > 1 => Some(label.clone()),
        _ => None,
    })
}

fn cost(cx: &Cx<'_>, role: &str) -> anyhow::Result<Option<Cost>> {
    let mut costs = BTreeSet::new();
    for artifact in cx.many(role) {
        let table = Table::from_parquet(&artifact.bytes()?).with_context(|| format!("`{role}`"))?;
        let get = |key: &str| table.metadata.get(key).and_then(|text| text.parse::<usize>().ok());
        costs.insert((get("tunings"), get("candidates")));
    }
    ensure!(costs.len() <= 1, "`{role}` has transfers of different strategies");
    Ok(costs.pop_first().and_then(|(tunings, candidates)| Some(Cost { tunings: tunings?, candidates: candidates? })))
}

/// Of every source run with every target run, and of all tasks, averaged over the pairs of their runs.
fn similarities(cx: &Cx<'_>, metric: Similarity) -> anyhow::Result<(Vec<Likeness>, TaskSimilarity)> {
    let (mut runs, mut digests) = (Vec::new(), Vec::new());
    for role in ["embeddings.sources", "embeddings.targets"] {
        for artifact in cx.many(role) {
            runs.push(Embedding::read(&artifact.bytes()?).with_context(|| format!("`{role}`"))?);
            digests.push(artifact.digest.to_string());
        }
    }
    let first = runs.first().context("`embeddings` names no embedding")?;
    runs.iter().try_for_each(|other| first.comparable(other))?;
    let all = Embedding::similarities(metric, &runs, &runs)?;
    let sources = cx.many("embeddings.sources").len();
    let name = |run: usize| (runs[run].task.clone(), runs[run].seed.clone());
    let pairs = (sources..runs.len()).flat_map(|target| (0..sources).map(move |source| (source, target)));
    let likeness = pairs.map(|(source, target)| Likeness {
        source: name(source),
        target: name(target),
        value: all[target][source],
    });
    let mut tasks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    runs.iter().enumerate().for_each(|(run, embedding)| tasks.entry(&embedding.task).or_default().push(run));
    let between =
        |a: &[usize], b: &[usize]| mean(&a.iter().flat_map(|a| b.iter().map(|b| all[*a][*b])).collect::<Vec<f64>>());
    let similarity = TaskSimilarity {
        metric,
        tasks: tasks.keys().map(|task| (*task).to_owned()).collect(),
        values: tasks.values().map(|a| tasks.values().map(|b| between(a, b)).collect()).collect(),
        from: tasks.values().map(|runs| runs.iter().map(|run| digests[*run].clone()).collect()).collect(),
    };
    Ok((likeness.collect(), similarity))
}
