//! `transfer`: a target is tuned from the source prompts that its ranking recommends (SPoT, section 3).
//!
//! The tunings are jobs of their own, of the kind `tune`, asked for once the ranking is known: whoever asks for the same
//! one (another strategy, a larger k, a brute-force matrix) shares it.

use super::backbone;
use super::names::{check_apart, learned};
use super::tune::{Average, Init, Tune, WhichCheckpoint};
use super::{DATASET, PROMPT, RANKING, TRIALS};
use crate::data::{Column, Table, read_size};
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Given, Input, Issue, Known, Output, Ref, Refs, Spec, Stage, Subject};
use crate::ml::mixture::Mixing;
use crate::ml::prompt_file::PromptFile;
use crate::ml::random::Stream;
use crate::ml::train::Settings;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Target tuning from retrieved source prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The frozen model.
    backbone: Ref,
    /// The target's examples.
    data: Ref,
    /// The sources by similarity to the target.
    ranking: Ref,
    /// The prompts that are ranked, found by task and seed.
    prompts: Refs,
    /// The sources' examples, for the strategies that look at them.
    #[serde(default)]
    source_data: Refs,
    /// What is made of the ranking.
    strategy: Strategy,
    /// How a prompt is tuned on a mixture, for `mixture_of_top_k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mixture: Option<MixtureTuning>,
    /// P, as of the source prompts.
    length: usize,
    /// Seed of the target tunings.
    #[serde(default)]
    seed: u64,
    /// How the target is tuned.
    #[serde(default)]
    training: Settings,
}

/// How a prompt is tuned on a mixture; it begins from sampled vocabulary, as source prompts do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MixtureTuning {
    /// As of a source.
    #[serde(default)]
    training: Settings,
    /// The first ids from which it is sampled, which are the most common pieces.
    #[serde(default = "common")]
    vocabulary: usize,
}

fn common() -> usize {
    5000
}

/// What is made of a ranking (SCIENCE a.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    /// A tuning from each of the first k; the best on the validation split counts.
    BestOfTopK(usize),
    /// One tuning from the average of the first k, weighted by similarity. Similarities below 0 count as 0; if none is
    /// above, all weigh the same.
    WeightedAverageOfTopK(usize),
    /// A prompt is tuned on the mixture of the data of the first k's tasks and the target's own (examples-proportional); one target
    /// tuning begins from its last checkpoint.
    MixtureOfTopK(usize),
    /// A tuning from every source; the best on the validation split counts. This is what ranking is to save.
    BruteForce,
    /// One tuning from a source drawn at random: what a ranking must beat.
    RandomSource,
    /// One tuning from the source with the most training examples, by its prompt of the same seed if there is one: the choice of
    /// who knows nothing but sizes.
    LargestSource,
}

impl Strategy {
    /// Sources that are taken from the front of the ranking; all of them if `None`.
    fn k(self) -> Option<usize> {
        match self {
            Self::BestOfTopK(k) | Self::WeightedAverageOfTopK(k) | Self::MixtureOfTopK(k) => Some(k),
            Self::BruteForce | Self::RandomSource | Self::LargestSource => None,
        }
    }
}

/// What became of a source.
struct Trial<'a> {
    source: &'a Source,
    score: f64,
    chosen: bool,
}

/// Task, seed and similarity of a source.
type Ranked = (String, String, f64);

/// A source that is tried.
struct Source {
    task: String,
    seed: String,
    similarity: f64,
    prompt: Artifact,
}

impl Source {
    fn name(&self) -> String {
        format!("{},{}", self.task, self.seed)
    }
}

impl Stage for Transfer {
    const KIND: &'static str = "transfer";
    const VERSION: u32 = 3;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }, Output { name: "trials", of: TRIALS }];
    const EXPANDS: bool = true;

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![
            backbone::input(&self.backbone),
            Input::one("data", &self.data, DATASET),
            Input::one("ranking", &self.ranking, RANKING),
            Input::many("prompts", &self.prompts, PROMPT),
        ];
        if !self.source_data.0.is_empty() {
            inputs.push(Input::many("source_data", &self.source_data, DATASET));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        if self.strategy.k() == Some(0) {
            return Err(Issue::new("strategy", "k is 0, expected at least 1"));
        }
        let looks = matches!(self.strategy, Strategy::LargestSource | Strategy::MixtureOfTopK(_));
        if looks && self.source_data.0.is_empty() {
            return Err(Issue::new("strategy", "needs `source_data`, the data sets of the sources"));
        }
        match (&self.mixture, self.strategy) {
            (Some(mixture), _) => {
                let checked = mixture.training.check();
                checked.map_err(|error| Issue::new("mixture.training", error.to_string()))?;
                let patience = mixture.training.patience;
                if patience > 0 {
                    let message = format!("is {patience}, but the last checkpoint of a mixture counts; leave it out");
                    return Err(Issue::new("mixture.training.patience", message));
                }
            }
            (None, Strategy::MixtureOfTopK(_)) => {
                return Err(Issue::new("strategy", "needs `mixture`, which says how a prompt is tuned on it"));
            }
            (None, _) => {}
        }
        Ok(())
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        let (k, prompts) = (self.strategy.k().unwrap_or(0), inputs("prompts"));
        if k > prompts {
            return Err(Issue::new("strategy", format!("asks for the first {k}, but `prompts` are {prompts}")));
        }
        Ok(())
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        learned(inputs("data"), self.seed.to_string(), None)
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["prompts"], inputs)?;
        // The target's own data are mixed with those of the sources.
        let mixes = matches!(self.strategy, Strategy::MixtureOfTopK(_));
        check_apart(if mixes { &["data", "source_data"] } else { &["source_data"] }, inputs)
    }

    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize {
        match self.strategy {
            Strategy::BestOfTopK(k) => k,
            Strategy::BruteForce => inputs("prompts"),
            Strategy::MixtureOfTopK(_) => 2,
            Strategy::WeightedAverageOfTopK(_) | Strategy::RandomSource | Strategy::LargestSource => 1,
        }
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let top = self.top(cx, self.ranking(cx)?)?;
        match self.strategy {
            Strategy::BestOfTopK(_) | Strategy::BruteForce | Strategy::RandomSource | Strategy::LargestSource => top
                .into_iter()
                .map(|source| {
                    let name = source.name();
                    self.tuning(cx, name, Init::Prompt(Ref::default()), vec![("init.prompt", source.prompt)])
                })
                .collect(),
            Strategy::WeightedAverageOfTopK(k) => {
                let weights = weights(&top);
                let average = Average { prompts: Refs::default(), weights };
                let prompts = top.into_iter().map(|source| ("init.average.prompts", source.prompt)).collect();
                Ok(vec![self.tuning(cx, format!("average of {k}"), Init::Average(average), prompts)?])
            }
            Strategy::MixtureOfTopK(_) => {
                let mixture = self.mixture_tuning(cx, &top)?;
                let init = ("init.prompt".to_owned(), Given::Output(0, "prompt"));
                let mut target =
                    self.tuning(cx, "from the mixture".to_owned(), Init::Prompt(Ref::default()), Vec::new())?;
                target.inputs.push(init);
                Ok(vec![mixture, target])
            }
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let ranking = self.ranking(cx)?;
        let candidates = ranking.len();
        let top = self.top(cx, ranking)?;
        let mut tunings = Vec::new();
        // The first tuning of a mixture is not the target's.
        let others = usize::from(matches!(self.strategy, Strategy::MixtureOfTopK(_)));
        for tuning in cx.expanded().iter().skip(others) {
            let prompt =
                tuning.outputs.iter().find(|(name, _)| &**name == "prompt").context("a tuning without a prompt")?;
            let bytes = prompt.1.bytes()?;
            let file = PromptFile::from_bytes(&bytes)?;
            let score = file.score().with_context(|| {
                format!("the tuning from `{}` has no validation score; `data` needs a validation split", tuning.name)
            })?;
            tunings.push((score, file, bytes));
        }
        // Of equal scores the better ranked one.
        let mut best = 0;
        for (i, (score, ..)) in tunings.iter().enumerate() {
            if *score > tunings[best].0 {
                best = i;
            }
        }
        let rows: Vec<Trial<'_>> = match self.strategy {
            Strategy::BestOfTopK(_) | Strategy::BruteForce | Strategy::RandomSource | Strategy::LargestSource => {
                let tried = top.iter().zip(&tunings).enumerate();
                tried.map(|(i, (source, (score, ..)))| Trial { source, score: *score, chosen: i == best }).collect()
            }
            Strategy::WeightedAverageOfTopK(_) | Strategy::MixtureOfTopK(_) => {
                top.iter().map(|source| Trial { source, score: tunings[0].0, chosen: true }).collect()
            }
        };
        let table = Table::new(vec![
            ("source", Column::Text(rows.iter().map(|row| row.source.task.clone()).collect())),
            ("source_seed", Column::Text(rows.iter().map(|row| row.source.seed.clone()).collect())),
            ("similarity", Column::Float(rows.iter().map(|row| row.source.similarity).collect())),
            ("validation_score", Column::Float(rows.iter().map(|row| row.score).collect())),
            ("chosen", Column::Bool(rows.iter().map(|row| row.chosen).collect())),
        ])
        .with("task", tunings[best].1.get("task").unwrap_or_default())
        .with("tunings", tunings.len().to_string())
        .with("candidates", candidates.to_string())
        .with("seed", self.seed.to_string());
        cx.write("trials", &table.to_parquet()?)?;
        cx.write("prompt", &tunings[best].2)
    }
}

impl Transfer {
    /// The sources that are tried, each with its prompt.
    fn top(&self, cx: &Cx<'_>, mut ranking: Vec<Ranked>) -> anyhow::Result<Vec<Source>> {
        let sources = ranking.len();
        ensure!(sources > 0, "`ranking` has no source");
        match self.strategy {
            Strategy::BestOfTopK(k) | Strategy::WeightedAverageOfTopK(k) | Strategy::MixtureOfTopK(k) => {
                ensure!(k <= sources, "`strategy` asks for the first {k}, but the ranking has {sources} sources");
                ranking.truncate(k);
            }
            Strategy::BruteForce => {}
            Strategy::RandomSource => {
                let (target, _) = size(cx.one("data")?).context("`data`")?;
                let drawn = Stream::new(self.seed, &format!("random source of {target}")).below(sources);
                ranking.swap(0, drawn);
                ranking.truncate(1);
            }
            Strategy::LargestSource => {
                let largest = self.largest(cx)?;
                let own = self.seed.to_string();
                let rank = ranking.iter().position(|(task, seed, _)| *task == largest && *seed == own);
                let rank = rank.or_else(|| ranking.iter().position(|(task, ..)| *task == largest));
                ranking.swap(
                    0,
                    rank.with_context(|| format!("`ranking` has no prompt of `{largest}`, the largest source"))?,
                );
                ranking.truncate(1);
            }
        }
        let prompts = self.library(cx)?;
        let source = |(task, seed, similarity): Ranked| {
            let prompt = prompts.get(&(task.clone(), seed.clone())).with_context(|| {
                format!("the ranking names the prompt `{task},{seed}`, which is not among `prompts`")
            })?;
            Ok(Source { task, seed, similarity, prompt: prompt.clone() })
        };
        ranking.into_iter().map(source).collect()
    }

    /// The sources, best first.
    fn ranking(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Ranked>> {
        let mut table = Table::from_parquet(&cx.one("ranking")?.bytes()?).context("`ranking`")?;
        let (tasks, seeds) = (table.take_text("task")?, table.take_text("seed")?);
        let similarities = table.take_float("similarity")?;
        Ok(tasks.into_iter().zip(seeds).zip(similarities).map(|((task, seed), value)| (task, seed, value)).collect())
    }

    /// The source with the most training examples, of equal ones the first by name.
    fn largest(&self, cx: &Cx<'_>) -> anyhow::Result<String> {
        let mut sizes = Vec::new();
        for artifact in cx.many("source_data") {
            let (task, examples) = size(artifact).context("`source_data`")?;
            sizes.push((Reverse(examples), task));
        }
        let (_, largest) = sizes.into_iter().min().context("`source_data` names no data set")?;
        Ok(largest)
    }

    /// The prompts by task and seed.
    fn library(&self, cx: &Cx<'_>) -> anyhow::Result<BTreeMap<(String, String), Artifact>> {
        let mut library = BTreeMap::new();
        for artifact in cx.many("prompts") {
            let file = PromptFile::from_bytes(&artifact.bytes()?).context("`prompts`")?;
            let get = |key| file.get(key).unwrap_or_default().to_owned();
            let name = (get("task"), get("seed"));
            if let Some(other) = library.insert(name.clone(), artifact.clone())
                && other.digest != artifact.digest
            {
                bail!("`prompts` has two prompts of task `{}` and seed {}", name.0, name.1);
            }
        }
        Ok(library)
    }

    /// The tuning of a prompt on the data of these sources' tasks and of the target.
    fn mixture_tuning(&self, cx: &Cx<'_>, top: &[Source]) -> anyhow::Result<Spec> {
        let mixture = self.mixture.as_ref().context("`mixture` is missing")?;
        let tasks: BTreeSet<&str> = top.iter().map(|source| source.task.as_str()).collect();
        let mut data: BTreeMap<String, Artifact> = BTreeMap::new();
        for artifact in cx.many("source_data") {
            let (task, _) = size(artifact).context("`source_data`")?;
            if tasks.contains(task.as_str()) {
                data.insert(task, artifact.clone());
            }
        }
        if let Some(task) = tasks.iter().find(|task| !data.contains_key(**task)) {
            bail!("`source_data` has no data set of `{task}`, which the ranking names");
        }
        let target = cx.one("data")?;
        // The target's own data stand for its task, even if that is a source too.
        data.remove(&size(target).context("`data`")?.0);
        let name = format!("mixture of {}", tasks.into_iter().collect::<Vec<_>>().join("+"));
        let tune = Tune {
            init: Init::sampled(mixture.vocabulary),
            training: mixture.training.clone(),
            checkpoint: WhichCheckpoint::Final,
            ..self.tune(Init::default())
        };
        let mut inputs: Vec<(String, Given)> = vec![("backbone".to_owned(), cx.one("backbone")?.clone().into())];
        inputs.extend(data.into_values().chain([target.clone()]).map(|artifact| ("data".to_owned(), artifact.into())));
        Ok(Spec { name, job: Box::new(tune), inputs })
    }

    /// A tuning with the settings of the target's.
    fn tune(&self, init: Init) -> Tune {
        Tune {
            backbone: Ref::default(),
            data: Refs::default(),
            init,
            length: self.length,
            seed: self.seed,
            training: self.training.clone(),
            keep_at: Vec::new(),
            mixing: Mixing::default(),
            checkpoint: WhichCheckpoint::default(),
        }
    }

    fn tuning(
        &self,
        cx: &Cx<'_>,
        name: String,
        init: Init,
        prompts: Vec<(&'static str, Artifact)>,
    ) -> anyhow::Result<Spec> {
        let tune = self.tune(init);
        let mut inputs: Vec<(String, Given)> = vec![
            ("backbone".to_owned(), cx.one("backbone")?.clone().into()),
            ("data".to_owned(), cx.one("data")?.clone().into()),
        ];
        inputs.extend(prompts.into_iter().map(|(role, artifact)| (role.to_owned(), artifact.into())));
        Ok(Spec { name, job: Box::new(tune), inputs })
    }
}

/// The task of a data set and the number of its training examples.
fn size(data: &Artifact) -> anyhow::Result<(String, usize)> {
    let (task, examples) = read_size(&data.bytes()?)?;
    Ok((task.name, examples))
}

/// Shares by similarity. Where no source is similar, no source is better than another, and all count equally.
fn weights(top: &[Source]) -> BTreeMap<String, f64> {
    let positive = |source: &Source| source.similarity.max(0.0);
    let sum: f64 = top.iter().map(positive).sum();
    let share = |source: &Source| if sum > 0.0 { positive(source) / sum } else { 1.0 / top.len() as f64 };
    top.iter().map(|source| (source.name(), share(source))).collect()
}
