//! `transfer`: a target is tuned from the source prompts that its ranking recommends (SPoT, section 3).
//!
//! The tunings are jobs of their own, of the kind `tune`, asked for once the ranking is known: whoever asks for the same
//! one (another strategy, a larger k, a brute-force matrix) shares it.

use super::backbone;
use super::tune::{Average, Init, Tune};
use super::{DATASET, PROMPT, RANKING, TRIALS};
use crate::data::{Column, Table};
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Given, Input, Issue, Output, Ref, Refs, Spec, Stage};
use crate::ml::prompt_file::PromptFile;
use crate::ml::train::Settings;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// What is made of the ranking.
    strategy: Strategy,
    /// P, as of the source prompts.
    length: usize,
    /// Seed of the target tunings.
    #[serde(default)]
    seed: u64,
    /// How the target is tuned.
    #[serde(default)]
    training: Settings,
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
}

impl Strategy {
    fn k(self) -> usize {
        match self {
            Self::BestOfTopK(k) | Self::WeightedAverageOfTopK(k) => k,
        }
    }
}

/// What became of a source.
struct Trial<'a> {
    source: &'a Source,
    score: f64,
    chosen: bool,
}

/// A ranked source.
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
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }, Output { name: "trials", of: TRIALS }];
    const EXPANDS: bool = true;

    fn inputs(&self) -> Vec<Input> {
        vec![
            backbone::input(&self.backbone),
            Input::one("data", &self.data, DATASET),
            Input::one("ranking", &self.ranking, RANKING),
            Input::many("prompts", &self.prompts, PROMPT),
        ]
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        if self.strategy.k() == 0 {
            return Err(Issue::new("strategy", "k is 0, expected at least 1"));
        }
        Ok(())
    }

    fn expands_to_at_most(&self) -> usize {
        match self.strategy {
            Strategy::BestOfTopK(k) => k,
            Strategy::WeightedAverageOfTopK(_) => 1,
        }
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let top = self.top(cx)?;
        match self.strategy {
            Strategy::BestOfTopK(_) => top
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
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let top = self.top(cx)?;
        let mut tunings = Vec::new();
        for tuning in cx.expanded() {
            let prompt =
                tuning.outputs.iter().find(|(name, _)| *name == "prompt").context("a tuning without a prompt")?;
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
            Strategy::BestOfTopK(_) => {
                let tried = top.iter().zip(&tunings).enumerate();
                tried.map(|(i, (source, (score, ..)))| Trial { source, score: *score, chosen: i == best }).collect()
            }
            Strategy::WeightedAverageOfTopK(_) => {
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
        .with("seed", self.seed.to_string());
        cx.write("trials", &table.to_parquet()?)?;
        cx.write("prompt", &tunings[best].2)
    }
}

impl Transfer {
    /// The first k of the ranking, each with its prompt.
    fn top(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Source>> {
        let mut table = Table::from_parquet(&cx.one("ranking")?.bytes()?).context("`ranking`")?;
        let (tasks, seeds) = (table.take_text("task")?, table.take_text("seed")?);
        let similarities = table.take_float("similarity")?;
        let k = self.strategy.k();
        ensure!(k <= tasks.len(), "`strategy` asks for the first {k}, but the ranking has {} sources", tasks.len());
        let prompts = self.library(cx)?;
        let rows = tasks.iter().zip(&seeds).zip(&similarities).take(k);
        rows.map(|((task, seed), similarity)| {
            let prompt = prompts.get(&(task.clone(), seed.clone())).with_context(|| {
                format!("the ranking names the prompt `{task},{seed}`, which is not among `prompts`")
            })?;
            Ok(Source { task: task.clone(), seed: seed.clone(), similarity: *similarity, prompt: prompt.clone() })
        })
        .collect()
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

    fn tuning(
        &self,
        cx: &Cx<'_>,
        name: String,
        init: Init,
        prompts: Vec<(&'static str, Artifact)>,
    ) -> anyhow::Result<Spec> {
        let tune = Tune {
            backbone: Ref::default(),
            data: Ref::default(),
            init,
            length: self.length,
            seed: self.seed,
            training: self.training.clone(),
            keep_at: Vec::new(),
        };
        let mut inputs: Vec<(String, Given)> = vec![
            ("backbone".to_owned(), cx.one("backbone")?.clone().into()),
            ("data".to_owned(), cx.one("data")?.clone().into()),
        ];
        inputs.extend(prompts.into_iter().map(|(role, artifact)| (role.to_owned(), artifact.into())));
        Ok(Spec { name, job: Box::new(tune), inputs })
    }
}

/// Shares by similarity. Where no source is similar, no source is better than another, and all count equally.
fn weights(top: &[Source]) -> BTreeMap<String, f64> {
    let positive = |source: &Source| source.similarity.max(0.0);
    let sum: f64 = top.iter().map(positive).sum();
    let share = |source: &Source| if sum > 0.0 { positive(source) / sum } else { 1.0 / top.len() as f64 };
    top.iter().map(|source| (source.name(), share(source))).collect()
}
