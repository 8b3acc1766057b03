//! `tune`: a soft prompt learns a task, or a mixture of tasks, through the frozen backbone (Lester et al. 2021).

use super::backbone::{self, Model};
use super::class_labels;
use super::evaluate::{Decoding, answers};
use super::learning::{Course, Kept, Loop};
use super::mixture::{Tasks, check_mixing};
use super::names::{check_apart, check_mixture, learned};
use super::training::{PromptTraining, WhichCheckpoint};
use super::work::Tuning;
use super::{CHECKPOINTS, CURVE, DATASET, EVENTS, PROMPT};
use crate::engine::context::Cx;
use crate::engine::stage::{Curves, Input, Issue, Known, Needs, Notes, Output, Ref, Refs, Stage, Subject};
use crate::engine::store::digest::Digest;
use crate::ml::model::arithmetic::Pass;
use crate::ml::prompt::about::About;
use crate::ml::prompt::combination::combination;
use crate::ml::prompt::file::{self, ORIGIN, PromptFile};
use crate::ml::prompt::{Prompt, init};
use crate::ml::random::Stream;
use crate::ml::tasks::Split;
use crate::ml::train::Learner;
use crate::ml::train::examples::Examples;
use crate::ml::train::mixture::Mixing;
use crate::ml::train::prompt_tuning::PromptLearner;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One prompt, tuned on one task or on a mixture.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tune {
    /// The frozen model.
    pub backbone: Ref,
    /// What the prompt learns: a task's data set, or several, which are mixed.
    pub data: Refs,
    /// How often each task of a mixture is drawn.
    #[serde(default, skip_serializing_if = "Mixing::is_default")]
    pub mixing: Mixing,
    /// Where the prompt begins.
    #[serde(default)]
    pub init: Init,
    /// P, number of rows of the prompt.
    #[serde(default = "hundred")]
    pub length: usize,
    /// Seed of the initial prompt, the order of examples, and dropout; runs of one seed on different training data share none
    /// of them.
    #[serde(default)]
    pub seed: u64,
    /// Seed of an initial prompt that is the same for all runs that name it, whatever they learn. The embedding of such a run is
    /// what it learned: its prompt minus this origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<u64>,
    /// Steps, batches, optimiser, evaluation.
    #[serde(default)]
    pub training: PromptTraining,
    /// Steps after which the prompt is kept besides the best one, for embeddings.
    #[serde(default)]
    pub keep_at: Vec<u64>,
    /// Which checkpoint is the prompt.
    #[serde(default, skip_serializing_if = "WhichCheckpoint::is_best")]
    pub checkpoint: WhichCheckpoint,
}

fn hundred() -> usize {
    100
}

/// Where a prompt begins (Lester et al. 2021, section 2.1; `prompts.py` of google-research/prompt-tuning).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// Embeddings drawn from the most common pieces of the vocabulary.
    SampledVocabulary(Top),
    /// The mean embedding of each label's pieces, then sampled vocabulary. Of a mixture the labels of the tasks that have any;
    /// without any it is refused.
    ClassLabels(Top),
    /// The embeddings of a text's pieces, then sampled vocabulary.
    Text(String),
    /// Uniform random numbers.
    Uniform(Range),
    /// A tuned prompt: this is soft prompt transfer.
    Prompt(Ref),
    /// A weighted average of tuned prompts; weights by `task,seed` of the prompt.
    Average(Average),
}

/// How much of the vocabulary counts as common.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Top {
    /// The first ids, which are the most common pieces.
    top: usize,
}

/// A range of numbers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Range {
    /// Smallest.
    low: f64,
    /// Bound that is not reached.
    high: f64,
}

/// Prompts and their weights.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Average {
    /// The prompts.
    pub prompts: Refs,
    /// Weight by `task,seed`; they must sum to 1.
    pub weights: BTreeMap<String, f64>,
}

impl Default for Top {
    fn default() -> Self {
        Self { top: 5000 }
    }
}

impl Default for Range {
    fn default() -> Self {
        Self { low: -0.5, high: 0.5 }
    }
}

impl Init {
    /// Embeddings of some of the first `top` pieces.
    pub fn sampled(top: usize) -> Self {
        Self::SampledVocabulary(Top { top })
    }

    /// From what a run begins that cannot be the beginning of every other one.
    fn own_beginning(&self) -> Option<&'static str> {
        match self {
            Self::SampledVocabulary(_) | Self::Text(_) | Self::Uniform(_) => None,
            Self::ClassLabels(_) => Some("the labels of its own task"),
            Self::Prompt(_) | Self::Average(_) => Some("tuned prompts"),
        }
    }
}

impl Default for Init {
    fn default() -> Self {
        Self::SampledVocabulary(Top::default())
    }
}

/// Longest prompt: beyond, attention over the prompt costs more than the text.
const LONGEST: usize = 4096;

impl Stage for Tune {
    const KIND: &'static str = "tune";
    const VERSION: u32 = 6;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "prompt", of: PROMPT },
        Output { name: "checkpoints", of: CHECKPOINTS },
        Output { name: "curve", of: CURVE },
        // TensorBoard finds it in the folder of views by this name.
        Output { name: "events.tfevents", of: EVENTS },
    ];
    const CURVES: Option<Curves> =
        Some(Curves { caption: "Validation score while prompts are tuned", told_by: "prompt" });

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone), Input::many("data", &self.data, DATASET)];
        match &self.init {
            Init::Prompt(prompt) => inputs.push(Input::one("init.prompt", prompt, PROMPT)),
            Init::Average(average) => inputs.push(Input::many("init.average.prompts", &average.prompts, PROMPT)),
            _ => {}
        }
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        self.mixing.check().map_err(|error| Issue::new("mixing", error.to_string()))?;
        self.checkpoint.check(self.training.patience)?;
        if self.length == 0 || self.length > LONGEST {
            return Err(Issue::new("length", format!("is {}, expected 1 to {LONGEST}", self.length)));
        }
        if let Some(step) = self.keep_at.iter().find(|step| **step > self.training.steps) {
            let steps = self.training.steps;
            return Err(Issue::new("keep_at", format!("asks for step {step}, but tuning ends after {steps}")));
        }
        if let (Some(_), Some(begins)) = (self.origin, self.init.own_beginning()) {
            let message = format!(
                "stands beside an `init` that begins from {begins}; runs of one origin begin from the same prompt"
            );
            return Err(Issue::new("origin", message));
        }
        match &self.init {
            Init::Uniform(range) if !(range.low < range.high && range.low.is_finite() && range.high.is_finite()) => {
                Err(Issue::new("init.uniform", "expected `low` below `high`"))
            }
            Init::Average(average) if (average.weights.values().sum::<f64>() - 1.0).abs() > 1e-6 => {
                let sum: f64 = average.weights.values().sum();
                Err(Issue::new("init.average.weights", format!("sum to {sum}, expected 1")))
            }
            _ => Ok(()),
        }
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        check_mixing(self.mixing, inputs("data"))
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        let source = inputs("init.prompt").pop().map(|known| known.subject);
        learned(inputs("data"), self.seed.to_string(), source)
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_mixture("data", inputs)?;
        check_apart(&["init.average.prompts"], inputs)
    }

    fn needs(&self) -> Needs {
        Needs { shared_model: Some("backbone"), ..Needs::default() }
    }

    fn operations(&self, inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64> {
        let (settings, batch) = (&self.training.settings(), self.training.batching().size);
        Tuning { settings, pass: Pass::Prompt, prompt: self.length, batch }.operations(inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?.clone();
        let model = Model::load(cx, &backbone)?;
        let tasks = Tasks::read(cx, &model)?;
        let seed = tasks.run_seed(self.seed)?;
        let Beginning { prompt, from } = self.beginning(cx, &model, &tasks, seed)?;
        let origin = self.origin.map(|_| prompt.clone());
        let origin_digest =
            origin.clone().map(|prompt| Digest::of(&PromptFile::of(prompt, About::default()).to_bytes()));
        let width = prompt.width;
        let client = model.client(cx, &backbone)?;
        let examples = Examples::new(tasks.train(), self.mixing, self.training.batching(), seed)?;
        let mut run = Loop::new(PromptLearner::new(client, examples, self.training.settings(), prompt)?);
        let course = Course {
            keep_at: &self.keep_at,
            losses: &["loss"],
            scores: &|learner: &PromptLearner<'_>| {
                let (client, prompt) = (learner.model(), learner.prompt());
                tasks.scores(|data| answers(client, &model, prompt, data, Split::Validation, Decoding::Greedy))
            },
            file: &|values, step, score| {
                let prompt = Prompt { values: values.to_vec(), width };
                Ok(PromptFile::of(prompt, self.about(&tasks.name(), step, score)).to_bytes())
            },
        };
        run.go(cx, &course)?;
        let companions = run.learner.model().batched_with();
        if !companions.is_empty() {
            cx.note("companions", companions.join(" "));
        }
        let Kept { parameters, step, score, .. } = run.chosen(self.checkpoint);
        let steps = run.step;
        cx.ended_after(run.share());
        let described = |step, score| About {
            backbone: Some(backbone.digest.to_string()),
            steps: Some(steps),
            origin: origin_digest.map(|digest| digest.to_string()),
            source: from.task.clone(),
            source_seed: from.seed,
            source_steps: from.steps,
            ..self.about(&tasks.name(), step, score)
        };
        let prompt = Prompt { values: parameters, width };
        cx.write("prompt", &PromptFile::of(prompt, described(step, score)).to_bytes())?;
        let kept = run.kept.into_iter().map(|(step, values)| (format!("step_{step}"), Prompt { values, width }));
        let prompts = kept.chain(origin.map(|origin| (ORIGIN.to_owned(), origin))).collect();
        let about = described(self.training.steps, None);
        cx.write("checkpoints", &PromptFile { prompts, about }.to_bytes())?;
        let settings = run.learner.settings();
        cx.write("curve", &run.curve.table(settings).to_parquet()?)?;
        cx.write("events.tfevents", &run.curve.events(settings))
    }
}

impl Tune {
    /// What a prompt file says of itself.
    fn about(&self, task: &str, step: u64, score: Option<f64>) -> About {
        About { task: Some(task.to_owned()), seed: Some(self.seed), step: Some(step), score, ..About::default() }
    }

    /// Where the run begins; what is random about it is drawn by `seed`, or by the origin that it shares with others.
    fn beginning(&self, cx: &Cx<'_>, model: &Model, tasks: &Tasks, seed: u64) -> anyhow::Result<Beginning> {
        let weights = &model.weights;
        let width = weights.dims.width;
        let mut stream = match self.origin {
            Some(origin) => Stream::new(origin, "origin"),
            None => Stream::new(seed, "initial prompt"),
        };
        let sampled = |top: usize, stream: &mut Stream| {
            // Ids beyond the tokenizer's are rows of padding that were never trained.
            init::sampled_vocabulary(weights, self.length, top.min(model.tokens.size()), stream)
        };
        let prompt = match &self.init {
            Init::SampledVocabulary(Top { top }) => sampled(*top, &mut stream),
            Init::ClassLabels(Top { top }) => {
                let labels = class_labels::labels(cx, tasks)?.into_iter().map(|label| model.tokens.pieces(label));
                let labels = labels.collect::<Result<Vec<_>, _>>()?;
                if labels.len() > self.length {
                    cx.progress().warn(&format!(
                        "{} labels, but {} rows: the last labels are left out",
                        labels.len(),
                        self.length
                    ));
                }
                init::class_labels(weights, &labels, sampled(*top, &mut stream))
            }
            Init::Text(text) => {
                init::text(weights, &model.tokens.pieces(text)?, sampled(Top::default().top, &mut stream))
            }
            Init::Uniform(Range { low, high }) => init::uniform(self.length, width, *low, *high, &mut stream),
            Init::Prompt(_) => {
                let (file, prompt) = self.fitting(&cx.one("init.prompt")?.bytes()?, width)?;
                let steps = file.about.steps_in_all();
                return Ok(Beginning { prompt, from: Source { task: file.about.task, seed: file.about.seed, steps } });
            }
            Init::Average(average) => {
                let from = Source { task: Some("average".to_owned()), ..Source::default() };
                return Ok(Beginning { prompt: self.average(cx, average, width)?, from });
            }
        };
        Ok(Beginning { prompt, from: Source::default() })
    }

    fn average(&self, cx: &Cx<'_>, average: &Average, width: usize) -> anyhow::Result<Prompt> {
        let mut terms = Vec::new();
        let prompts = cx.many("init.average.prompts");
        let (given, named) = (prompts.len(), average.weights.len());
        ensure!(given == named, "`init.average`: {given} prompts, but {named} weights");
        for artifact in prompts {
            let (file, prompt) = self.fitting(&artifact.bytes()?, width)?;
            let name = file.about.name();
            let weight = average
                .weights
                .get(&name)
                .with_context(|| format!("`init.average.weights` has no weight for the prompt `{name}`"))?;
            terms.push((*weight, prompt));
        }
        let terms: Vec<(f64, &Prompt)> = terms.iter().map(|(weight, prompt)| (*weight, prompt)).collect();
        combination(&terms, 1.0).context("`init.average`")
    }

    /// A prompt from which this one can begin.
    fn fitting(&self, bytes: &[u8], width: usize) -> anyhow::Result<(PromptFile, Prompt)> {
        let file = PromptFile::from_bytes(bytes).context("`init`")?;
        let name = file.about.name();
        let prompt = file.prompt(file::PROMPT).context("`init`")?.clone();
        prompt.fits(width).with_context(|| format!("`init`: the prompt `{name}`"))?;
        let length = prompt.length();
        ensure!(
            length == self.length,
            "`init`: the prompt `{name}` has {length} rows, but `length` is {}; a prompt starts another of its own length",
            self.length
        );
        Ok((file, prompt))
    }
}

/// Where a run begins.
struct Beginning {
    prompt: Prompt,
    from: Source,
}

/// The prompt that another comes from; nothing where that is not a tuned one.
#[derive(Default)]
struct Source {
    task: Option<String>,
    seed: Option<u64>,
    /// Updates that it took in all, if that is known.
    steps: Option<u64>,
}
