//! `transfer`: a target is tuned from the source prompts that its ranking recommends (SPoT, section 3), or by a control of the same
//! budget.
//!
//! The tunings are jobs of their own, of the kind `tune`, asked for once the ranking is known: whoever asks for the same
//! one (another strategy, a larger k, a brute-force matrix) shares it.

mod average;
mod choice;
mod each;
mod making;
mod mixture;
mod restarts;
mod strategy;
mod target;

use super::backbone;
use super::names::{check_apart, learned};
use super::reading::read;
use super::training::PromptTraining;
use super::tune::Init;
use super::{DATASET, PROMPT, RANKING, TRIALS};
use crate::data::{Ranked, Ranking, Trial, Trials};
use crate::engine::context::{Artifact, Cx};
use crate::engine::stage::{Input, Issue, Known, Output, Ref, Refs, Spec, Stage, Subject};
use crate::ml;
use crate::ml::prompt::file::PromptFile;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strategy::Strategy;
use target::{Fields, MixtureTuning, Source, Target, Tuned};

/// Target tuning from retrieved source prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The frozen model.
    backbone: Ref,
    /// The target's examples.
    data: Ref,
    /// The sources by similarity to the target; every strategy but `restarts` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranking: Option<Ref>,
    /// The prompts that are ranked, found by task and seed.
    #[serde(default)]
    prompts: Refs,
    /// The sources' examples, for the strategies that look at them.
    #[serde(default)]
    source_data: Refs,
    /// What is made of the ranking.
    strategy: Strategy,
    /// How a prompt is tuned on a mixture, for `mixture_of_top_k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mixture: Option<MixtureTuning>,
    /// Where tunings from scratch begin, for `restarts`: as those of the baseline do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init: Option<Init>,
    /// P, as of the source prompts.
    length: usize,
    /// Seed of the target tunings.
    #[serde(default)]
    seed: u64,
    /// How the target is tuned.
    #[serde(default)]
    training: PromptTraining,
}

/// The prompts by task and seed, each with the updates that it took, if it says.
type Library = BTreeMap<(String, u64), (Artifact, Option<u64>)>;

impl Stage for Transfer {
    const KIND: &'static str = "transfer";
    const VERSION: u32 = 5;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }, Output { name: "trials", of: TRIALS }];
    const EXPANDS: bool = true;

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone), Input::one("data", &self.data, DATASET)];
        inputs.extend(self.ranking.as_ref().map(|ranking| Input::one("ranking", ranking, RANKING)));
        if !self.prompts.0.is_empty() {
            inputs.push(Input::many("prompts", &self.prompts, PROMPT));
        }
        if !self.source_data.0.is_empty() {
            inputs.push(Input::many("source_data", &self.source_data, DATASET));
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        let (choice, making) = self.strategy.parts();
        choice.check()?;
        let fields = self.fields();
        making.check(&fields)?;
        if choice.looks_at_data() {
            fields.check_source_data()?;
        }
        self.mixture.as_ref().map_or(Ok(()), MixtureTuning::check)
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        let (taken, prompts) = (self.strategy.choice().count(inputs("prompts")), inputs("prompts"));
        if taken > prompts {
            return Err(Issue::new("strategy", format!("asks for {taken} sources, but `prompts` are {prompts}")));
        }
        Ok(())
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        learned(inputs("data"), self.seed.to_string(), None)
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["prompts"], inputs)?;
        // The target's own data are mixed with those of the sources.
        let mixes = self.strategy.making().mixes();
        check_apart(if mixes { &["data", "source_data"] } else { &["source_data"] }, inputs)
    }

    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize {
        let (choice, making) = self.strategy.parts();
        making.jobs(choice.count(inputs("prompts")))
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let target = self.target(cx);
        let sources = self.sources(&target, ranking(cx)?.sources, &library(cx)?)?;
        self.strategy.making().expand(&target, sources)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let (ranking, library, making) = (ranking(cx)?, library(cx)?, self.strategy.making());
        let (candidates, embedding_steps) = (ranking.sources.len(), ranking.embedding_steps);
        let sources = self.sources(&self.target(cx), ranking.sources, &library)?;
        let mut tunings = cx.expanded().iter().map(Tuned::read).collect::<anyhow::Result<Vec<_>>>()?;
        let all = tunings.iter().map(Tuned::steps).sum::<Option<u64>>();
        tunings.drain(..making.before());
        let own = tunings.iter().map(Tuned::steps).sum::<Option<u64>>();
        let scores = tunings.iter().map(Tuned::score).collect::<anyhow::Result<Vec<f64>>>()?;
        let best = first_highest(&scores);
        let (task, _) = tunings[best].file.about.identity()?;
        let spent = self.spent(all, embedding_steps, &sources, &library);
        let trials = Trials {
            rows: self.trials(&sources, &scores, best),
            task: task.to_owned(),
            seed: self.seed,
            tunings: tunings.len(),
            candidates,
            tuning_steps: own.map(|own| own as f64 / tunings.len() as f64),
            target_steps: spent.target,
            source_steps: spent.sources,
            library_steps: spent.library,
        };
        cx.write("trials", &trials.to_parquet()?)?;
        cx.write("prompt", &making.prompt(self.seed, tunings.swap_remove(best)))
    }
}

/// Where the highest score is; of equal ones the first, which is that of the better ranked source.
fn first_highest(scores: &[f64]) -> usize {
    let better = |best: usize, next: usize| if scores[next] > scores[best] { next } else { best };
    (0..scores.len()).reduce(better).unwrap_or(0)
}

/// Updates that a transfer took, each where it is known.
struct Spent {
    /// For this target, with those of its embedding if sources were ranked.
    target: Option<u64>,
    /// For the sources which had to be tuned.
    sources: Option<u64>,
    /// For all candidates.
    library: Option<u64>,
}

impl Transfer {
    fn fields(&self) -> Fields<'_> {
        Fields {
            ranking: self.ranking.is_some(),
            prompts: !self.prompts.0.is_empty(),
            source_data: !self.source_data.0.is_empty(),
            mixture: self.mixture.is_some(),
            init: self.init.as_ref(),
        }
    }

    fn target<'t>(&'t self, cx: &'t Cx<'t>) -> Target<'t> {
        let (init, mixture) = (self.init.as_ref(), self.mixture.as_ref());
        Target { cx, init, mixture, training: &self.training, length: self.length, seed: self.seed }
    }

    /// The sources that are tried, each with its prompt.
    fn sources(&self, target: &Target<'_>, ranking: Vec<Ranked>, library: &Library) -> anyhow::Result<Vec<Source>> {
        let sources = ranking.len();
        let choice = self.strategy.choice();
        let taken = choice.count(sources);
        ensure!(sources > 0 || self.ranking.is_none(), "`ranking` has no source");
        ensure!(taken <= sources, "`strategy` asks for {taken} sources, but the ranking has {sources}");
        let source = |ranked: Ranked| {
            let found = library.get(&(ranked.task.clone(), ranked.seed));
            let (prompt, steps) = found.cloned().with_context(|| {
                let Ranked { task, seed, .. } = &ranked;
                format!("the ranking names the prompt `{task},{seed}`, which is not among `prompts`")
            })?;
            Ok(Source { ranked, prompt, steps })
        };
        choice.of(target, ranking)?.into_iter().map(source).collect()
    }

    /// What was spent for all tunings, the embeddings of the target, these sources and the library.
    fn spent(&self, tunings: Option<u64>, embedding: Option<u64>, sources: &[Source], library: &Library) -> Spent {
        let choice = self.strategy.choice();
        let embedding = if choice.compares() { embedding } else { Some(0) };
        let all = library.values().map(|(_, steps)| *steps).sum();
        // Whoever ranks the sources has tuned them all.
        let chosen = || sources.iter().map(|source| source.steps).sum();
        Spent {
            target: tunings.and_then(|tunings| Some(tunings + embedding?)),
            sources: if choice.knows_all() { all } else { chosen() },
            library: all,
        }
    }

    /// A row for each source, or for each tuning from scratch.
    fn trials(&self, sources: &[Source], scores: &[f64], best: usize) -> Vec<Trial> {
        let making = self.strategy.making();
        let trial = |row: usize| {
            let (source, tuning) = (sources.get(row).map(|source| &source.ranked), making.tuning_of(row));
            Trial {
                source: source.map(|source| (source.task.clone(), source.seed)),
                similarity: source.map(|source| source.similarity),
                seed: making.seed(self.seed, row),
                validation: scores[tuning],
                chosen: tuning == best,
            }
        };
        (0..sources.len().max(scores.len())).map(trial).collect()
    }
}

/// The sources of the ranking, if one is given.
fn ranking(cx: &Cx<'_>) -> anyhow::Result<Ranking> {
    match cx.many("ranking").first() {
        Some(artifact) => read("ranking", artifact, Ranking::from_parquet),
        None => Ok(Ranking { target: String::new(), seed: None, embedding_steps: None, sources: Vec::new() }),
    }
}

fn library(cx: &Cx<'_>) -> anyhow::Result<Library> {
    let mut library = Library::new();
    for artifact in cx.many("prompts") {
        let identified = |bytes: &[u8]| -> ml::error::Result<_> {
            let about = PromptFile::from_bytes(bytes)?.about;
            let (task, seed) = about.identity()?;
            Ok(((task.to_owned(), seed), about.steps_in_all()))
        };
        let (name, steps) = read("prompts", artifact, identified)?;
        if let Some((other, _)) = library.insert(name.clone(), (artifact.clone(), steps))
            && other.digest != artifact.digest
        {
            bail!("`prompts` has two prompts of task `{}` and seed {}", name.0, name.1);
        }
    }
    Ok(library)
}
