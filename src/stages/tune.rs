//! `tune`: a soft prompt learns a task, or a mixture of tasks, through the frozen backbone (Lester et al. 2021).

use super::backbone::{self, Model};
use super::checkpoint::{Checkpoint, replace};
use super::evaluate::{Decoding, answers};
use super::pace::Pace;
use super::{CHECKPOINTS, CURVE, DATASET, EVENTS, PROMPT};
use crate::data::{Column, Dataset, Table, events, read_dataset};
use crate::engine::context::{Cx, Interrupted};
use crate::engine::stage::{Input, Issue, Needs, Output, Ref, Refs, Stage};
use crate::ml::error::Error;
use crate::ml::mixture::Mixing;
use crate::ml::prompt::{self, Prompt};
use crate::ml::prompt_file::{self, PromptFile};
use crate::ml::random::Stream;
use crate::ml::statistics::mean;
use crate::ml::tasks::Split;
use crate::ml::train::{Settings, Tuner};
use anyhow::{Context, anyhow, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Seed of the initial prompt, the order of examples, and dropout.
    #[serde(default)]
    pub seed: u64,
    /// Steps, batches, optimiser, evaluation.
    #[serde(default)]
    pub training: Settings,
    /// Steps after which the prompt is kept besides the best one, for embeddings.
    #[serde(default)]
    pub keep_at: Vec<u64>,
    /// Which checkpoint is the prompt.
    #[serde(default, skip_serializing_if = "WhichCheckpoint::is_best")]
    pub checkpoint: WhichCheckpoint,
}

/// Which checkpoint of a tuning is its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhichCheckpoint {
    /// The best on the validation splits.
    #[default]
    Best,
    /// The last.
    Final,
}

impl WhichCheckpoint {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_best(&self) -> bool {
        *self == Self::Best
    }
}

fn hundred() -> usize {
    100
}

/// Where a prompt begins (SCIENCE a.7).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// Embeddings drawn from the most common pieces of the vocabulary.
    SampledVocabulary(Top),
    /// The mean embedding of each label's pieces, then sampled vocabulary.
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
    const VERSION: u32 = 3;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "prompt", of: PROMPT },
        Output { name: "checkpoints", of: CHECKPOINTS },
        Output { name: "curve", of: CURVE },
        // TensorBoard finds it in the folder of views by this name.
        Output { name: "events.tfevents", of: EVENTS },
    ];

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
        if self.length == 0 || self.length > LONGEST {
            return Err(Issue::new("length", format!("is {}, expected 1 to {LONGEST}", self.length)));
        }
        if let Some(step) = self.keep_at.iter().find(|step| **step > self.training.steps) {
            let steps = self.training.steps;
            return Err(Issue::new("keep_at", format!("asks for step {step}, but tuning ends after {steps}")));
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

    fn needs(&self) -> Needs {
        Needs { shared_model: true }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?.clone();
        let model = Model::load(cx, &backbone)?;
        let tasks = Tasks::read(cx, &model)?;
        let (prompt, source) = self.initial(cx, &model, &tasks)?;
        let client = model.client(cx, &backbone)?;
        let train = tasks.0.iter().map(|dataset| dataset.pairs(Split::Train).collect()).collect();
        let mut run = Run {
            task: tasks.name(),
            tuner: Tuner::mixed(client, train, self.mixing, self.training.clone(), prompt.clone(), self.seed)?,
            progress: Kept {
                best: prompt,
                best_score: None,
                best_step: 0,
                kept: BTreeMap::new(),
                curve: Curve::default(),
            },
        };
        run.go(self, cx, &model, &tasks)?;
        let companions = run.tuner.model().companions();
        if !companions.is_empty() {
            cx.note("companions", companions.join(" "));
        }
        let last = (run.tuner.prompt().clone(), run.tuner.steps_done());
        let Kept { best, best_score, best_step, kept, curve } = run.progress;
        let (best, best_score, best_step) = match self.checkpoint {
            WhichCheckpoint::Best => (best, best_score, best_step),
            // The last step is always evaluated.
            WhichCheckpoint::Final => (last.0, curve.scores.last().copied().flatten(), last.1),
        };
        let described = |step, score| {
            let mut metadata = self.metadata(&run.task, step, score);
            metadata.insert("backbone".to_owned(), backbone.digest.to_string());
            metadata.extend(source.clone());
            metadata
        };
        cx.write("prompt", &PromptFile::of(best, described(best_step, best_score)).to_bytes())?;
        let prompts = kept.into_iter().map(|(step, prompt)| (format!("step_{step}"), prompt)).collect();
        let metadata = described(self.training.steps, None);
        cx.write("checkpoints", &PromptFile { prompts, metadata }.to_bytes())?;
        cx.write("curve", &curve.table(&self.training).to_parquet()?)?;
        cx.write("events.tfevents", &curve.events(&self.training))
    }
}

impl Tune {
    /// What a prompt file says of itself.
    fn metadata(&self, task: &str, step: u64, score: Option<f64>) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            ("task".to_owned(), task.to_owned()),
            ("seed".to_owned(), self.seed.to_string()),
            ("step".to_owned(), step.to_string()),
        ]);
        metadata.extend(score.map(|score| ("score".to_owned(), score.to_string())));
        metadata
    }

    /// The prompt to begin with, and what to say of the one that it comes from, if it is another's.
    fn initial(&self, cx: &Cx<'_>, model: &Model, tasks: &Tasks) -> anyhow::Result<(Prompt, BTreeMap<String, String>)> {
        let weights = &model.weights;
        let width = weights.dims.width;
        let mut stream = Stream::new(self.seed, "initial prompt");
        let sampled = |top: usize, stream: &mut Stream| {
            // Ids beyond the tokenizer's are rows of padding that were never trained.
            prompt::sampled_vocabulary(weights, self.length, top.min(model.tokens.size()), stream)
        };
        let prompt = match &self.init {
            Init::SampledVocabulary(Top { top }) => sampled(*top, &mut stream),
            Init::ClassLabels(Top { top }) => {
                let labels = tasks.0.iter().flat_map(|dataset| &dataset.task.labels);
                // Tasks of a mixture may share labels.
                let mut seen = BTreeSet::new();
                let labels = labels.filter(|label| seen.insert(*label)).map(|label| model.tokens.pieces(label));
                let labels = labels.collect::<Result<Vec<_>, _>>()?;
                if labels.len() > self.length {
                    cx.progress().warn(&format!(
                        "{} labels, but {} rows: the last labels are left out",
                        labels.len(),
                        self.length
                    ));
                }
                prompt::class_labels(weights, &labels, sampled(*top, &mut stream))
            }
            Init::Text(text) => {
                prompt::text(weights, &model.tokens.pieces(text)?, sampled(Top::default().top, &mut stream))
            }
            Init::Uniform(Range { low, high }) => prompt::uniform(self.length, width, *low, *high, &mut stream),
            Init::Prompt(_) => {
                let (file, prompt) = self.fitting(&cx.one("init.prompt")?.bytes()?, width)?;
                let said = [("source", file.get("task")), ("source_seed", file.get("seed"))];
                let said = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
                return Ok((prompt, said.collect()));
            }
            Init::Average(average) => {
                let source = BTreeMap::from([("source".to_owned(), "average".to_owned())]);
                return Ok((self.average(cx, average, width)?, source));
            }
        };
        Ok((prompt, BTreeMap::new()))
    }

    fn average(&self, cx: &Cx<'_>, average: &Average, width: usize) -> anyhow::Result<Prompt> {
        let mut values = vec![0.0f64; self.length * width];
        let prompts = cx.many("init.average.prompts");
        let (given, named) = (prompts.len(), average.weights.len());
        ensure!(given == named, "`init.average`: {given} prompts, but {named} weights");
        for artifact in prompts {
            let (file, prompt) = self.fitting(&artifact.bytes()?, width)?;
            let name = file.name();
            let weight = average
                .weights
                .get(&name)
                .with_context(|| format!("`init.average.weights` has no weight for the prompt `{name}`"))?;
            values.iter_mut().zip(&prompt.values).for_each(|(sum, x)| *sum += weight * f64::from(*x));
        }
        Ok(Prompt { values: values.into_iter().map(|x| x as f32).collect(), width })
    }

    /// A prompt from which this one can begin.
    fn fitting(&self, bytes: &[u8], width: usize) -> anyhow::Result<(PromptFile, Prompt)> {
        let file = PromptFile::from_bytes(bytes).context("`init`")?;
        let name = file.name();
        let prompt = file.prompt(prompt_file::PROMPT).context("`init`")?.clone();
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

/// The data sets that a prompt learns, by the names of their tasks.
struct Tasks(Vec<Dataset>);

impl Tasks {
    fn read(cx: &Cx<'_>, model: &Model) -> anyhow::Result<Self> {
        let mut datasets = Vec::new();
        for artifact in cx.many("data") {
            let dataset = read_dataset(&artifact.bytes()?).context("`data`")?;
            model.check_data(&dataset)?;
            ensure!(
                !dataset.examples(Split::Train).is_empty(),
                "`data` of the task `{}` has no training examples",
                dataset.task.name
            );
            datasets.push(dataset);
        }
        datasets.sort_by(|a, b| a.task.name.cmp(&b.task.name));
        if let Some(pair) = datasets.windows(2).find(|pair| pair[0].task.name == pair[1].task.name) {
            bail!("`data` has two data sets of the task `{}`; a mixture has one of each", pair[0].task.name);
        }
        ensure!(!datasets.is_empty(), "`data` names no data set");
        Ok(Self(datasets))
    }

    /// The task, or those of a mixture: `cb+mnli`.
    fn name(&self) -> String {
        self.0.iter().map(|dataset| dataset.task.name.as_str()).collect::<Vec<_>>().join("+")
    }
}

/// A tuning at work, and what it keeps.
struct Run<'d> {
    task: String,
    tuner: Tuner<'d>,
    progress: Kept,
}

struct Kept {
    best: Prompt,
    best_score: Option<f64>,
    best_step: u64,
    kept: BTreeMap<u64, Prompt>,
    curve: Curve,
}

/// A row for each evaluation: mean training loss of a token since the last one, and the validation score.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Curve {
    steps: Vec<u64>,
    losses: Vec<Option<f64>>,
    scores: Vec<Option<f64>>,
}

impl Curve {
    /// The learning rate of the last update before each evaluation.
    fn rates(&self, settings: &Settings) -> Vec<Option<f64>> {
        self.steps.iter().map(|step| (*step > 0).then(|| settings.schedule().rate(*step))).collect()
    }

    fn table(&self, settings: &Settings) -> Table {
        Table::new(vec![
            ("step", Column::Int(self.steps.iter().map(|step| *step as i64).collect())),
            ("loss", Column::OptFloat(self.losses.clone())),
            ("score", Column::OptFloat(self.scores.clone())),
            ("learning_rate", Column::OptFloat(self.rates(settings))),
        ])
    }

    fn events(&self, settings: &Settings) -> Vec<u8> {
        let series = |values: &[Option<f64>]| {
            self.steps.iter().zip(values).filter_map(|(step, value)| Some((*step, (*value)?))).collect()
        };
        events(&[
            ("train/loss", series(&self.losses)),
            ("train/learning_rate", series(&self.rates(settings))),
            ("validation/score", series(&self.scores)),
        ])
    }
}

impl Run<'_> {
    /// Evaluate if due, keep if asked, save, step: until the end.
    fn go(&mut self, stage: &Tune, cx: &Cx<'_>, model: &Model, tasks: &Tasks) -> anyhow::Result<()> {
        let settings = &stage.training;
        let mut losses = Vec::new();
        let mut stale_evaluations = 0;
        let mut pace = Pace::new();
        if let Some(saved) = Checkpoint::load(cx)? {
            stale_evaluations = self.restore(saved)?;
        }
        loop {
            let step = self.tuner.steps_done();
            if stage.keep_at.contains(&step) {
                self.progress.kept.insert(step, self.tuner.prompt().clone());
            }
            let resumed = self.progress.curve.steps.last() == Some(&step);
            if settings.evaluates_at(step) && !resumed {
                let improved = self.evaluate(model, tasks, &mut losses)?;
                stale_evaluations = if improved { 0 } else { stale_evaluations + 1 };
                let (loss, score) = (self.progress.curve.losses.last(), self.progress.curve.scores.last());
                pace.note = note(loss.copied().flatten(), score.copied().flatten());
                cx.progress().step(step, settings.steps, &pace.text(settings.steps - step));
                let patient = settings.patience == 0 || stale_evaluations < settings.patience;
                // Steps that must be kept are reached whatever the score does.
                if !patient && stage.keep_at.iter().all(|keep| *keep <= step) {
                    return Ok(());
                }
                // Evaluations are where nothing but the prompts and the optimiser is under way.
                if step < settings.steps {
                    self.save(cx, stale_evaluations)?;
                }
            }
            if step >= settings.steps {
                return Ok(());
            }
            if cx.stopped() {
                let step = self.progress.curve.steps.last().copied().unwrap_or(0);
                return Err(Interrupted { step }.into());
            }
            let learned = self.tuner.step().map_err(|error| self.keep_best(stage, cx, error))?;
            losses.push(learned.loss.mean());
            if pace.count(learned.tokens) {
                cx.progress().step(step + 1, settings.steps, &pace.text(settings.steps - step - 1));
            }
        }
    }

    /// Before a tuning that diverged fails, keeps the best prompt that it had.
    fn keep_best(&self, stage: &Tune, cx: &Cx<'_>, error: Error) -> anyhow::Error {
        if !matches!(error, Error::Diverged { .. }) {
            return error.into();
        }
        let Kept { best, best_score, best_step, .. } = &self.progress;
        let file = PromptFile::of(best.clone(), stage.metadata(&self.task, *best_step, *best_score));
        let kept = cx.scratch().and_then(|scratch| {
            let path = scratch.join("best.safetensors");
            replace(&path, &file.to_bytes())?;
            Ok(path)
        });
        match kept {
            Ok(path) => {
                anyhow!("{error}; the best prompt so far, of step {best_step}, is kept as `{}`", path.display())
            }
            Err(_) => error.into(),
        }
    }

    fn save(&self, cx: &Cx<'_>, stale_evaluations: u64) -> anyhow::Result<()> {
        let Kept { best, best_score, best_step, kept, curve } = &self.progress;
        let mut state = Checkpoint { step: self.tuner.steps_done(), ..Checkpoint::default() };
        state.vectors.insert("prompt".to_owned(), self.tuner.prompt().values.clone());
        state.vectors.insert("best".to_owned(), best.values.clone());
        for (step, prompt) in kept {
            state.vectors.insert(format!("kept_{step}"), prompt.values.clone());
        }
        state.put_moments(self.tuner.moments());
        state.put_word("progress", &(best_score, best_step, curve, stale_evaluations))?;
        state.save(cx)
    }

    /// Takes up a saved state; the number of evaluations without improvement in it.
    fn restore(&mut self, mut saved: Checkpoint) -> anyhow::Result<u64> {
        let width = self.tuner.prompt().width;
        let (best_score, best_step, curve, stale_evaluations) = saved.word("progress")?;
        let prompt = Prompt { values: saved.take("prompt"), width };
        let best = Prompt { values: saved.take("best"), width };
        let moments = saved.take_moments();
        let mut kept = BTreeMap::new();
        for (name, values) in saved.vectors {
            let step = name.strip_prefix("kept_").and_then(|step| step.parse().ok());
            kept.insert(step.with_context(|| format!("`{name}` in a saved state"))?, Prompt { values, width });
        }
        self.tuner.restore(saved.step, prompt, moments)?;
        self.progress = Kept { best, best_score, best_step, kept, curve };
        Ok(stale_evaluations)
    }

    /// Scores the prompt on the validation splits, all tasks of a mixture counting alike; whether it is the best so far. Without
    /// such a split, or metrics, the last is best.
    fn evaluate(&mut self, model: &Model, tasks: &Tasks, losses: &mut Vec<f64>) -> anyhow::Result<bool> {
        let step = self.tuner.steps_done();
        let prompt = self.tuner.prompt().clone();
        let mut scores = Vec::new();
        for dataset in tasks.0.iter().filter(|dataset| !dataset.task.metrics.is_empty()) {
            let examples = dataset.examples(Split::Validation);
            if !examples.is_empty() {
                let answers =
                    answers(self.tuner.model(), model, &prompt, dataset, Split::Validation, Decoding::Greedy)?;
                scores.extend(dataset.task.score(&answers, examples).score);
            }
        }
        let score = (!scores.is_empty()).then(|| mean(&scores));
        let Kept { best, best_score, best_step, curve, .. } = &mut self.progress;
        let loss = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        losses.clear();
        curve.steps.push(step);
        curve.losses.push(loss);
        curve.scores.push(score);
        let improved = score.is_none_or(|score| best_score.is_none_or(|best| score > best));
        // Of equal scores the earlier one is best, but an untrained prompt only if it is better than all that follow.
        if improved || *best_step == 0 && score == *best_score {
            (*best, *best_score, *best_step) = (prompt, score, step);
        }
        Ok(improved)
    }
}

fn note(loss: Option<f64>, score: Option<f64>) -> String {
    let loss = loss.map(|loss| format!("loss {loss:.3}"));
    let score = score.map(|score| format!("score {score:.1}"));
    loss.into_iter().chain(score).collect::<Vec<_>>().join(" · ")
}
