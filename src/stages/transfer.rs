//! `transfer`: a target is tuned from the source prompts that its ranking recommends (SPoT, section 3), or by a control of the same
//! budget.
//!
//! The tunings are jobs of their own, of the kind `tune`, asked for once the ranking is known: whoever asks for the same
//! one (another strategy, a larger k, a brute-force matrix) shares it.

mod strategy;

use super::backbone;
use super::names::{check_apart, learned};
use super::tune::{Average, Init, Tune, WhichCheckpoint};
use super::{DATASET, PROMPT, RANKING, TRIALS};
use crate::data::{Column, Table, read_size};
use crate::engine::context::{Artifact, Cx, Expanded};
use crate::engine::stage::{Input, Issue, Known, Made, Output, Ref, Refs, Spec, Stage, Subject};
use crate::ml::prompt::file::PromptFile;
use crate::ml::random::{Stream, seed_about};
use crate::ml::train::mixture::Mixing;
use crate::ml::train::prompt_tuning::Settings;
use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use strategy::{Choice, Strategy, Use};

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

/// What a tuning made.
struct Tuned {
    bytes: Vec<u8>,
    file: PromptFile,
}

/// The sources, best first, and what finding their order cost.
#[derive(Default)]
struct Ranking {
    sources: Vec<Ranked>,
    /// Updates of the target's own runs whose embeddings were compared.
    embedding_steps: Option<u64>,
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

/// A prompt of the library.
struct Listed {
    artifact: Artifact,
    /// Updates that it took, if it says.
    steps: Option<u64>,
}

/// The prompts by task and seed.
type Library = BTreeMap<(String, String), Listed>;

impl Source {
    fn name(&self) -> String {
        format!("{},{}", self.task, self.seed)
    }
}

impl Stage for Transfer {
    const KIND: &'static str = "transfer";
    const VERSION: u32 = 4;
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
        let (choice, makes) = (self.strategy.choice(), self.strategy.makes());
        if let Choice::First(0) | Choice::Random(0) = choice {
            return Err(Issue::new("strategy", "k is 0, expected at least 1"));
        }
        match makes {
            Use::Scratch(0) => return Err(Issue::new("strategy", "is 0 restarts, expected at least 1")),
            Use::Scratch(_) => self.check_scratch()?,
            _ => self.check_sources()?,
        }
        let looks = choice.looks_at_data() || makes == Use::Mixture;
        if looks && self.source_data.0.is_empty() {
            return Err(Issue::new("strategy", "needs `source_data`, the data sets of the sources"));
        }
        match &self.mixture {
            Some(mixture) => mixture.check(),
            None if makes == Use::Mixture => {
                Err(Issue::new("strategy", "needs `mixture`, which says how a prompt is tuned on it"))
            }
            None => Ok(()),
        }
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        let (taken, prompts) = (self.strategy.choice().of(inputs("prompts")), inputs("prompts"));
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
        let mixes = self.strategy.makes() == Use::Mixture;
        check_apart(if mixes { &["data", "source_data"] } else { &["source_data"] }, inputs)
    }

    fn expands_to_at_most(&self, inputs: &dyn Fn(&str) -> usize) -> usize {
        self.strategy.makes().jobs(self.strategy.choice().of(inputs("prompts")))
    }

    fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        let top = self.sources(cx, self.ranking(cx)?.sources, &self.library(cx)?)?;
        match self.strategy.makes() {
            Use::Each => {
                let from = |source: Source| {
                    let name = source.name();
                    let tune = self.tune(Init::Prompt(Ref::default()), self.seed);
                    self.tuning(cx, name, tune, vec![("init.prompt", source.prompt)])
                };
                top.into_iter().map(from).collect()
            }
            Use::Average => {
                let average = Average { prompts: Refs::default(), weights: weights(&top) };
                let tune = self.tune(Init::Average(average), self.seed);
                let name = format!("average of {}", top.len());
                let prompts = top.into_iter().map(|source| ("init.average.prompts", source.prompt)).collect();
                Ok(vec![self.tuning(cx, name, tune, prompts)?])
            }
            Use::Mixture => {
                let mixture = self.mixture_tuning(cx, &top)?;
                let tune = self.tune(Init::Prompt(Ref::default()), self.seed);
                let mut target = self.tuning(cx, "from the mixture".to_owned(), tune, Vec::new())?;
                target.inputs.push(("init.prompt".to_owned(), Made::Output(0, "prompt".into())));
                Ok(vec![mixture, target])
            }
            Use::Scratch(k) => {
                let init = self.init.as_ref().context("`init` is missing")?;
                let restart = |restart: usize| {
                    let tune = self.tune(init.clone(), self.seed_of(restart));
                    self.tuning(cx, format!("restart {restart}"), tune, Vec::new())
                };
                (0..k).map(restart).collect()
            }
        }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let (ranking, library) = (self.ranking(cx)?, self.library(cx)?);
        let candidates = ranking.sources.len();
        let embedding_steps = ranking.embedding_steps;
        let top = self.sources(cx, ranking.sources, &library)?;
        let mut tunings = cx.expanded().iter().map(Tuned::read).collect::<anyhow::Result<Vec<_>>>()?;
        let all = tunings.iter().map(Tuned::steps).sum::<Option<u64>>();
        if self.strategy.makes() == Use::Mixture {
            // The first tuning is not the target's.
            tunings.remove(0);
        }
        let own = tunings.iter().map(Tuned::steps).sum::<Option<u64>>();
        let scores = tunings.iter().map(|tuning| self.score(tuning)).collect::<anyhow::Result<Vec<f64>>>()?;
        let best = first_highest(&scores);
        let mut table = self.trials(&top, &scores, best);
        let tuning = own.map(|own| own as f64 / tunings.len() as f64);
        table = tuning.into_iter().fold(table, |table, steps| table.with("tuning_steps", steps.to_string()));
        for (name, steps) in self.spent(all, embedding_steps, &top, &library) {
            table = steps.into_iter().fold(table, |table, steps| table.with(name, steps.to_string()));
        }
        let table = table
            .with("task", tunings[best].file.get("task").unwrap_or_default())
            .with("tunings", tunings.len().to_string())
            .with("candidates", candidates.to_string())
            .with("seed", self.seed.to_string());
        cx.write("trials", &table.to_parquet()?)?;
        match self.strategy.makes() {
            Use::Scratch(_) => cx.write("prompt", &self.under_own_seed(tunings.swap_remove(best).file).to_bytes()),
            _ => cx.write("prompt", &tunings[best].bytes),
        }
    }
}

impl Tuned {
    fn read(tuning: &Expanded) -> anyhow::Result<Self> {
        let prompt = tuning.outputs.iter().find(|(name, _)| &**name == "prompt");
        let bytes = prompt.context("a tuning without a prompt")?.1.bytes()?;
        Ok(Self { file: PromptFile::from_bytes(&bytes)?, bytes })
    }

    /// Updates, without those of prompts that it began from, if it says.
    fn steps(&self) -> Option<u64> {
        self.file.get("steps")?.parse().ok()
    }
}

/// Where the highest score is; of equal ones the first, which is that of the better ranked source.
fn first_highest(scores: &[f64]) -> usize {
    let better = |best: usize, next: usize| if scores[next] > scores[best] { next } else { best };
    (0..scores.len()).reduce(better).unwrap_or(0)
}

impl MixtureTuning {
    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("mixture.training", error.to_string()))?;
        let patience = self.training.patience;
        if patience > 0 {
            let message = format!("is {patience}, but the last checkpoint of a mixture counts; leave it out");
            return Err(Issue::new("mixture.training.patience", message));
        }
        Ok(())
    }
}

impl Transfer {
    fn check_sources(&self) -> Result<(), Issue> {
        let lacks = |what| Err(Issue::new("strategy", format!("needs `{what}`")));
        match (&self.ranking, self.prompts.0.is_empty(), &self.init) {
            (None, ..) => lacks("ranking"),
            (_, true, _) => lacks("prompts"),
            (.., Some(_)) => {
                Err(Issue::new("init", "is for `restarts`; with this strategy tunings begin from source prompts"))
            }
            _ => Ok(()),
        }
    }

    fn check_scratch(&self) -> Result<(), Issue> {
        let idle = [
            ("ranking", self.ranking.is_some()),
            ("prompts", !self.prompts.0.is_empty()),
            ("source_data", !self.source_data.0.is_empty()),
            ("mixture", self.mixture.is_some()),
        ];
        if let Some((field, _)) = idle.into_iter().find(|(_, given)| *given) {
            return Err(Issue::new(field, "has no use beside `restarts`, which begin from scratch; leave it out"));
        }
        match &self.init {
            None => Err(Issue::new("strategy", "needs `init`, which says where a tuning from scratch begins")),
            Some(Init::Prompt(_) | Init::Average(_)) => {
                Err(Issue::new("init", "names tuned prompts, but `restarts` begin from scratch"))
            }
            Some(_) => Ok(()),
        }
    }

    /// The sources that are tried, each with its prompt.
    fn sources(&self, cx: &Cx<'_>, mut ranking: Vec<Ranked>, library: &Library) -> anyhow::Result<Vec<Source>> {
        let sources = ranking.len();
        let choice = self.strategy.choice();
        ensure!(sources > 0 || choice == Choice::Nothing, "`ranking` has no source");
        let taken = choice.of(sources);
        ensure!(taken <= sources, "`strategy` asks for {taken} sources, but the ranking has {sources}");
        match choice {
            Choice::First(_) | Choice::All | Choice::Nothing => ranking.truncate(taken),
            Choice::Random(_) => {
                let (target, _) = size(cx.one("data")?).context("`data`")?;
                let drawn = Stream::new(self.seed, &format!("random source of {target}")).sample(sources, taken);
                ranking = drawn.into_iter().map(|at| ranking[at].clone()).collect();
            }
            Choice::Largest => {
                let largest = self.largest(cx)?;
                let own = self.seed.to_string();
                let rank = ranking.iter().position(|(task, seed, _)| *task == largest && *seed == own);
                let rank = rank.or_else(|| ranking.iter().position(|(task, ..)| *task == largest));
                let rank =
                    rank.with_context(|| format!("`ranking` has no prompt of `{largest}`, the largest source"))?;
                ranking = vec![ranking.swap_remove(rank)];
            }
        }
        let source = |(task, seed, similarity): Ranked| {
            let prompt = library.get(&(task.clone(), seed.clone())).with_context(|| {
                format!("the ranking names the prompt `{task},{seed}`, which is not among `prompts`")
            })?;
            Ok(Source { task, seed, similarity, prompt: prompt.artifact.clone() })
        };
        ranking.into_iter().map(source).collect()
    }

    fn ranking(&self, cx: &Cx<'_>) -> anyhow::Result<Ranking> {
        if self.ranking.is_none() {
            return Ok(Ranking::default());
        }
        let mut table = Table::from_parquet(&cx.one("ranking")?.bytes()?).context("`ranking`")?;
        let (tasks, seeds) = (table.take_text("task")?, table.take_text("seed")?);
        let similarities = table.take_float("similarity")?;
        let sources = tasks.into_iter().zip(seeds).zip(similarities);
        Ok(Ranking {
            sources: sources.map(|((task, seed), similarity)| (task, seed, similarity)).collect(),
            embedding_steps: table.metadata.get("embedding_steps").and_then(|steps| steps.parse().ok()),
        })
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

    fn library(&self, cx: &Cx<'_>) -> anyhow::Result<Library> {
        let mut library = Library::new();
        for artifact in cx.many("prompts") {
            let file = PromptFile::from_bytes(&artifact.bytes()?).context("`prompts`")?;
            let get = |key| file.get(key).unwrap_or_default().to_owned();
            let name = (get("task"), get("seed"));
            let listed = Listed { artifact: artifact.clone(), steps: file.steps_in_all() };
            if let Some(other) = library.insert(name.clone(), listed)
                && other.artifact.digest != artifact.digest
            {
                bail!("`prompts` has two prompts of task `{}` and seed {}", name.0, name.1);
            }
        }
        Ok(library)
    }

    /// The seed of a tuning from scratch; the first has the given one.
    fn seed_of(&self, restart: usize) -> u64 {
        if restart == 0 { self.seed } else { seed_about(self.seed, format!("restart {restart}").as_bytes()) }
    }

    /// The prompt of a restart as one of the given seed, which is the seed of the choice among them.
    fn under_own_seed(&self, mut file: PromptFile) -> PromptFile {
        if let Some(seed) = file.metadata.insert("seed".to_owned(), self.seed.to_string()) {
            file.metadata.insert("restart_seed".to_owned(), seed);
        }
        file
    }

    fn score(&self, tuning: &Tuned) -> anyhow::Result<f64> {
        tuning.file.score().with_context(|| {
            format!("the tuning of `{}` has no validation score; `data` needs a validation split", tuning.file.name())
        })
    }

    /// Updates that were spent for this target, with those of its embedding if sources were ranked; for the sources which had to
    /// be tuned; and for all candidates. Each where it is known.
    fn spent(
        &self,
        tunings: Option<u64>,
        embedding: Option<u64>,
        top: &[Source],
        library: &Library,
    ) -> [(&'static str, Option<u64>); 3] {
        let choice = self.strategy.choice();
        let embedding = if matches!(choice, Choice::First(_)) { embedding } else { Some(0) };
        let all = library.values().map(|prompt| prompt.steps).sum();
        let source = match choice {
            // Whoever ranks the sources has tuned them all.
            Choice::First(_) | Choice::All => all,
            Choice::Random(_) | Choice::Largest | Choice::Nothing => {
                top.iter().map(|source| library[&(source.task.clone(), source.seed.clone())].steps).sum()
            }
        };
        let target = tunings.and_then(|tunings| Some(tunings + embedding?));
        [("target_steps", target), ("source_steps", source), ("library_steps", all)]
    }

    /// A row for each source, or for each tuning from scratch.
    fn trials(&self, top: &[Source], scores: &[f64], best: usize) -> Table {
        let makes = self.strategy.makes();
        // A single tuning is from all sources together.
        let tuning = |row: usize| if matches!(makes, Use::Each | Use::Scratch(_)) { row } else { 0 };
        let rows = || 0..top.len().max(scores.len());
        let seed = |row: usize| if let Use::Scratch(_) = makes { self.seed_of(row) } else { self.seed };
        let said = |of: fn(&Source) -> &String| {
            Column::Text(rows().map(|row| top.get(row).map_or_else(String::new, |source| of(source).clone())).collect())
        };
        Table::new(vec![
            ("source", said(|source| &source.task)),
            ("source_seed", said(|source| &source.seed)),
            ("similarity", Column::OptFloat(rows().map(|row| Some(top.get(row)?.similarity)).collect())),
            ("seed", Column::Text(rows().map(|row| seed(row).to_string()).collect())),
            ("validation_score", Column::Float(rows().map(|row| scores[tuning(row)]).collect())),
            ("chosen", Column::Bool(rows().map(|row| tuning(row) == best).collect())),
        ])
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
            training: mixture.training.clone(),
            checkpoint: WhichCheckpoint::Final,
            ..self.tune(Init::sampled(mixture.vocabulary), self.seed)
        };
        let mut inputs: Vec<(String, Made)> = vec![("backbone".to_owned(), cx.one("backbone")?.clone().into())];
        inputs.extend(data.into_values().chain([target.clone()]).map(|artifact| ("data".to_owned(), artifact.into())));
        Ok(Spec { name, job: Box::new(tune), inputs })
    }

    /// A tuning with the settings of the target's.
    fn tune(&self, init: Init, seed: u64) -> Tune {
        Tune {
            backbone: Ref::default(),
            data: Refs::default(),
            init,
            length: self.length,
            seed,
            origin: None,
            training: self.training.clone(),
            keep_at: Vec::new(),
            mixing: Mixing::default(),
            checkpoint: WhichCheckpoint::default(),
        }
    }

    /// A tuning on the target's examples that begins from `prompts`, if from any.
    fn tuning(
        &self,
        cx: &Cx<'_>,
        name: String,
        tune: Tune,
        prompts: Vec<(&'static str, Artifact)>,
    ) -> anyhow::Result<Spec> {
        let mut inputs: Vec<(String, Made)> = vec![
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
