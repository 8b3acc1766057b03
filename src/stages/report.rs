//! `report`: what a study found out, as tables and for the page.

use super::embed::Embedding;
use super::names::check_apart;
use super::reading::{read, read_all};
use super::{
    CANDIDATES, EMBEDDING, INPUTS, REPORT_JSON, REPORT_MARKDOWN, REPORT_METHODS, REPORT_SCORES, REPORT_TEXT,
    REPORT_TRANSFERS, SCORES, TRIALS,
};
use crate::data::{Candidates, Inputs, ScoresFile, Trials};
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Input, Issue, Known, Output, Refs, Stage};
use crate::ml::prompt::similarity::Similarity;
use crate::ml::statistics::mean;
use crate::report::compare::{self, Evidence};
use crate::report::embeddings;
use crate::report::evaluation::{Cost, Evaluation};
use crate::report::leaks;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// Data sets of sources and targets, to look for text of a target's validation and test splits among the training text of
    /// sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
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
    /// The candidates of the `best` stages that chose its prompts by their validation scores, which are shown beside the scores
    /// here: the best of several is optimistic.
    #[serde(default, skip_serializing_if = "Refs::is_empty")]
    candidates: Refs,
    /// Names of the rows of the same budget that it has to beat; rows that a report adds by itself may be named too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    controls: Vec<String>,
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

/// Data sets that are compared.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Data {
    /// Of the sources.
    sources: Refs,
    /// Of the targets.
    targets: Refs,
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
    const VERSION: u32 = 5;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "text", of: REPORT_TEXT },
        Output { name: "markdown", of: REPORT_MARKDOWN },
        Output { name: "json", of: REPORT_JSON },
        Output { name: "scores.parquet", of: REPORT_SCORES },
        Output { name: "methods.parquet", of: REPORT_METHODS },
        Output { name: "transfers.parquet", of: REPORT_TRANSFERS },
    ];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::many("baseline", &self.baseline, SCORES)];
        for (i, strategy) in self.strategies.iter().enumerate() {
            inputs.push(Input::many(format!("strategies[{i}].scores"), &strategy.scores, SCORES));
            if !strategy.trials.0.is_empty() {
                inputs.push(Input::many(format!("strategies[{i}].trials"), &strategy.trials, TRIALS));
            }
            if !strategy.candidates.0.is_empty() {
                inputs.push(Input::many(format!("strategies[{i}].candidates"), &strategy.candidates, CANDIDATES));
            }
        }
        if !self.pairs.0.is_empty() {
            inputs.push(Input::many("pairs", &self.pairs, SCORES));
        }
        if let Some(embeddings) = &self.embeddings {
            inputs.push(Input::many("embeddings.sources", &embeddings.sources, EMBEDDING));
            inputs.push(Input::many("embeddings.targets", &embeddings.targets, EMBEDDING));
        }
        if let Some(data) = &self.data {
            inputs.push(Input::many("data.sources", &data.sources, INPUTS));
            inputs.push(Input::many("data.targets", &data.targets, INPUTS));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        let twice = |names: Vec<&String>| {
            let mut seen = BTreeSet::new();
            names.into_iter().position(|name| !seen.insert(name))
        };
        if let Some(i) = twice(self.strategies.iter().map(|strategy| &strategy.name).collect()) {
            return Err(Issue::new(format!("strategies[{i}].name"), "appears here a second time"));
        }
        let chose_twice = |strategy: &Strategy| !strategy.trials.0.is_empty() && !strategy.candidates.0.is_empty();
        if let Some(i) = self.strategies.iter().position(chose_twice) {
            let message = "stands beside `trials`: prompts were chosen by a `transfer` or by a `best`, and what either cost is told by \
                           its own output";
            return Err(Issue::new(format!("strategies[{i}].candidates"), message));
        }
        match twice(self.suites.iter().map(|suite| &suite.name).collect()) {
            Some(i) => Err(Issue::new(format!("suites[{i}].name"), "appears here a second time")),
            None => Ok(()),
        }
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["baseline"], inputs)?;
        for i in 0..self.strategies.len() {
            check_apart(&[&format!("strategies[{i}].scores")], inputs)?;
        }
        check_apart(&["pairs"], inputs)?;
        check_apart(&["embeddings.sources", "embeddings.targets"], inputs)?;
        check_apart(&["data.sources", "data.targets"], inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let results = self.evidence(cx)?.results()?;
        let leaks = results.leaks.as_deref().unwrap_or_default();
        leaks::warnings(leaks).iter().for_each(|warning| cx.progress().warn(warning));
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
            let evaluations = evaluations(cx, &format!("strategies[{i}].scores"))?;
            let role = format!("strategies[{i}].candidates");
            let choices = read_all(cx, &role, Candidates::from_parquet)?;
            let of_choice = |choice| Cost::of_candidates(choice, Cost::of(&evaluations));
            let cost = match choices.is_empty() {
                true => cost(cx, &format!("strategies[{i}].trials"))?,
                false => Some(common(&role, &choices.iter().map(of_choice).collect::<Vec<_>>())?),
            };
            let (name, controls) = (strategy.name.clone(), strategy.controls.clone());
            Ok(compare::Strategy { name, evaluations, cost, controls, choices })
        };
        let embeddings = self.embeddings.as_ref().map(|embeddings| compared(cx, embeddings.metric)).transpose()?;
        Ok(Evidence {
            baseline: evaluations(cx, "baseline")?,
            strategies: self.strategies.iter().enumerate().map(strategy).collect::<anyhow::Result<_>>()?,
            pairs: evaluations(cx, "pairs")?,
            suites: self.suites.iter().map(|suite| (suite.name.clone(), suite.tasks.clone())).collect(),
            embeddings,
            data: self.data.is_some().then(|| data(cx)).transpose()?,
        })
    }
}

fn evaluations(cx: &Cx<'_>, role: &str) -> anyhow::Result<Vec<Evaluation>> {
    let evaluation = |artifact: &Artifact| {
        let scores = read(role, artifact, ScoresFile::from_parquet)?;
        let task = scores.task.clone();
        Evaluation::of(scores, artifact.digest.to_string()).with_context(|| {
            let origin = artifact.origin();
            format!("`{role}`: `{origin}`: the task `{task}` has no score: it is text to learn from, or its answers are hidden")
        })
    };
    cx.many(role).into_iter().map(evaluation).collect()
}

/// The data sets of sources and targets.
fn data(cx: &Cx<'_>) -> anyhow::Result<leaks::Data> {
    let read = |role: &str| read_all(cx, role, Inputs::from_parquet);
    Ok(leaks::Data { sources: read("data.sources")?, targets: read("data.targets")? })
}

/// What the transfers of a strategy spent, the steps as means over them.
fn cost(cx: &Cx<'_>, role: &str) -> anyhow::Result<Option<Cost>> {
    let costs: Vec<Cost> = read_all(cx, role, Trials::from_parquet)?.iter().map(Cost::of_trials).collect();
    if costs.is_empty() { Ok(None) } else { common(role, &costs).map(Some) }
}

/// The steps of all as means.
fn common(role: &str, costs: &[Cost]) -> anyhow::Result<Cost> {
    let first = costs.first().with_context(|| format!("`{role}` names nothing"))?;
    let alike = costs.iter().all(|cost| (cost.tunings, cost.candidates) == (first.tunings, first.candidates));
    ensure!(alike, "`{role}` is of different strategies: their numbers of tunings or of candidates differ");
    let average =
        |of: fn(&Cost) -> Option<f64>| costs.iter().map(of).collect::<Option<Vec<f64>>>().map(|all| mean(&all));
    Ok(Cost {
        target_steps: average(|cost| cost.target_steps),
        tuning_steps: average(|cost| cost.tuning_steps),
        source_steps: average(|cost| cost.source_steps),
        library_steps: average(|cost| cost.library_steps),
        ..*first
    })
}

/// The embeddings of sources and targets, each compared with every other.
fn compared(cx: &Cx<'_>, metric: Similarity) -> anyhow::Result<embeddings::Embeddings> {
    let (mut all, mut runs) = (Vec::new(), Vec::new());
    for role in ["embeddings.sources", "embeddings.targets"] {
        for artifact in cx.many(role) {
            let embedding = read(role, artifact, Embedding::read)?;
            runs.push(embeddings::Run {
                task: embedding.task.clone(),
                seed: embedding.seed.to_string(),
                digest: artifact.digest.to_string(),
            });
            all.push(embedding);
        }
    }
    let first = all.first().context("`embeddings` names no embedding")?;
    all.iter().try_for_each(|other| first.comparable(other))?;
    let sources = cx.many("embeddings.sources").len();
    Ok(embeddings::Embeddings { metric, values: Embedding::similarities(metric, &all, &all)?, runs, sources })
}
