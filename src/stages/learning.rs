//! The loop in which prompts and models learn: evaluate, keep, save, step. Who learns is a [`Learner`].

use super::backbone::Model;
use super::checkpoint::{Checkpoint, keep};
use super::pace::Pace;
use super::tune::WhichCheckpoint;
use crate::data::{Column, Dataset, Table, events, read_dataset};
use crate::engine::context::{Cx, Interrupted};
use crate::engine::stage::Issue;
use crate::ml;
use crate::ml::error::Error;
use crate::ml::random;
use crate::ml::statistics::mean;
use crate::ml::tasks::Split;
use crate::ml::train::examples::Pair;
use crate::ml::train::mixture::Mixing;
use crate::ml::train::prompt_tuning::{Settings, Step};
use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A loop taken apart: something that learns step by step.
pub(super) trait Learner {
    /// Updates done.
    fn steps_done(&self) -> u64;

    /// Gets what learns, and its optimiser, from where it learns, so that it can be looked at.
    fn fetch(&mut self) -> ml::error::Result<()> {
        Ok(())
    }

    /// What learns, as it is now.
    fn parameters(&self) -> &[f32];

    /// The optimiser as it is now.
    fn optimizer(&self) -> Moments<'_>;

    /// Whether a later job may want the optimiser as it was at the chosen checkpoint.
    fn keeps_moments(&self) -> bool;

    /// Goes on where a run was after `step` updates.
    fn restore(&mut self, step: u64, parameters: Vec<f32>, seen: u64, moments: Vec<Vec<f32>>) -> ml::error::Result<()>;

    /// One update.
    fn step(&mut self) -> ml::error::Result<Step>;

    /// Answers to the validation split of each of these, in text.
    fn answers(&self, cx: &Cx<'_>, model: &Model, datasets: &[&Dataset]) -> anyhow::Result<Vec<Vec<String>>>;

    /// A file for people, of parameters that are worth keeping although the job fails.
    fn file(&self, parameters: &[f32], step: u64, score: Option<f64>) -> anyhow::Result<Vec<u8>>;
}

/// The running moments of an optimiser, and how many updates they have seen.
pub(super) struct Moments<'a> {
    pub(super) seen: u64,
    pub(super) values: Vec<&'a [f32]>,
}

/// The data sets that are learned, by the names of their tasks.
pub(super) struct Tasks(pub(super) Vec<Dataset>);

impl Tasks {
    /// Those of the input `data`.
    pub(super) fn read(cx: &Cx<'_>, model: &Model) -> anyhow::Result<Self> {
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
    pub(super) fn name(&self) -> String {
        self.0.iter().map(|dataset| dataset.task.name.as_str()).collect::<Vec<_>>().join("+")
    }

    /// The seed of a run on these training examples: of one `seed`, runs on different examples have nothing random in common.
    /// If they had, prompts of different tasks would resemble each other by their seeds.
    pub(super) fn run_seed(&self, seed: u64) -> u64 {
        let mut about = Vec::new();
        let mut push = |number: u64| about.extend(number.to_le_bytes());
        for task in self.train() {
            push(task.len() as u64);
            for ids in task.iter().flat_map(|(input, target)| [input, target]) {
                push(ids.len() as u64);
                ids.iter().for_each(|id| push(u64::from(*id)));
            }
        }
        random::seed_about(seed, &about)
    }

    /// The training examples of each task.
    pub(super) fn train(&self) -> Vec<Vec<Pair<'_>>> {
        self.0.iter().map(|dataset| dataset.pairs(Split::Train).collect()).collect()
    }

    /// Those that checkpoints can be scored on.
    fn scored(&self) -> Vec<&Dataset> {
        let scored =
            |dataset: &&Dataset| !dataset.task.metrics.is_empty() && !dataset.examples(Split::Validation).is_empty();
        self.0.iter().filter(scored).collect()
    }
}

/// With a single data set there is nothing to mix, and rates would change the key of a job and not its result.
pub(super) fn check_mixing(mixing: Mixing, datasets: usize) -> Result<(), Issue> {
    if datasets < 2 && !mixing.is_default() {
        return Err(Issue::new("mixing", "has nothing to mix, since `data` is a single data set; leave it out"));
    }
    Ok(())
}

/// What is learned, and when it is looked at.
pub(super) struct Course<'a> {
    pub(super) model: &'a Model,
    pub(super) tasks: &'a Tasks,
    pub(super) settings: &'a Settings,
    /// Steps after which the parameters are kept besides the best ones.
    pub(super) keep_at: &'a [u64],
}

/// A state that somebody may ask for.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) parameters: Vec<f32>,
    /// Updates that the moments have seen; none of them if the learner keeps none.
    pub(super) seen: u64,
    pub(super) moments: Vec<Vec<f32>>,
    pub(super) step: u64,
    pub(super) score: Option<f64>,
}

/// A learner at work, and what is kept of it.
pub(super) struct Run<L> {
    pub(super) learner: L,
    best: Kept,
    pub(super) kept: BTreeMap<u64, Vec<f32>>,
    pub(super) curve: Curve,
}

impl<L: Learner> Run<L> {
    /// A run that has done nothing yet.
    pub(super) fn new(learner: L) -> Self {
        let best = Kept::of(&learner, None);
        Self { learner, best, kept: BTreeMap::new(), curve: Curve::default() }
    }

    /// Evaluate if due, keep if asked, save, step: until the end.
    pub(super) fn go(&mut self, cx: &Cx<'_>, course: &Course<'_>) -> anyhow::Result<()> {
        let (settings, keep_at) = (course.settings, course.keep_at);
        let mut losses = Vec::new();
        let mut stale_evaluations = 0;
        let mut pace = Pace::new();
        if let Some(saved) = Checkpoint::load(cx)? {
            stale_evaluations = self.restore(saved)?;
        }
        loop {
            let step = self.learner.steps_done();
            let (keeps, resumed) = (keep_at.contains(&step), self.curve.steps.last() == Some(&step));
            let evaluates = settings.evaluates_at(step) && !resumed;
            if keeps || evaluates {
                self.learner.fetch()?;
            }
            if keeps {
                self.kept.insert(step, self.learner.parameters().to_vec());
            }
            if evaluates {
                let improved = self.evaluate(cx, course, &mut losses)?;
                stale_evaluations = if improved { 0 } else { stale_evaluations + 1 };
                let (loss, score) = (self.curve.losses.last(), self.curve.scores.last());
                pace.note = note(loss.copied().flatten(), score.copied().flatten());
                cx.progress().step(step, settings.steps, &pace.text(settings.steps - step));
                let patient = settings.patience == 0 || stale_evaluations < settings.patience;
                // Steps that must be kept are reached whatever the score does.
                if !patient && keep_at.iter().all(|keep| *keep <= step) {
                    return Ok(());
                }
                // Evaluations are where nothing but the parameters and the optimiser is under way.
                if step < settings.steps {
                    self.save(cx, stale_evaluations)?;
                }
            }
            if step >= settings.steps {
                return Ok(());
            }
            if cx.stopped() {
                let step = self.curve.steps.last().copied().unwrap_or(0);
                return Err(Interrupted { step }.into());
            }
            let learned = self.learner.step().map_err(|error| self.keep_best(cx, error))?;
            losses.push(learned.loss.mean());
            if pace.count(learned.tokens) {
                cx.progress().step(step + 1, settings.steps, &pace.text(settings.steps - step - 1));
            }
        }
    }

    /// The checkpoint that was asked for, once the run is done.
    pub(super) fn chosen(&mut self, which: WhichCheckpoint) -> Kept {
        match which {
            WhichCheckpoint::Best => std::mem::take(&mut self.best),
            // The last step is always evaluated.
            WhichCheckpoint::Final => Kept::of(&self.learner, self.curve.scores.last().copied().flatten()),
        }
    }

    /// Before a run that diverged fails, keeps the best that it had.
    fn keep_best(&self, cx: &Cx<'_>, error: Error) -> anyhow::Error {
        if !matches!(error, Error::Diverged { .. }) {
            return error.into();
        }
        let Kept { parameters, step, score, .. } = &self.best;
        let kept = cx.scratch().and_then(|scratch| {
            let path = scratch.join("best.safetensors");
            keep(&path, &self.learner.file(parameters, *step, *score)?)?;
            Ok(path)
        });
        match kept {
            Ok(path) => anyhow!("{error}; the best so far, of step {step}, is kept as `{}`", path.display()),
            Err(_) => error.into(),
        }
    }

    fn save(&self, cx: &Cx<'_>, stale_evaluations: u64) -> anyhow::Result<()> {
        let mut state = Checkpoint { step: self.learner.steps_done(), ..Checkpoint::default() };
        let Moments { seen, values } = self.learner.optimizer();
        state.put("parameters", self.learner.parameters());
        state.put_all("moment", values);
        state.put("best", &self.best.parameters);
        state.put_all("best_moment", self.best.moments.iter().map(Vec::as_slice));
        for (step, parameters) in &self.kept {
            state.put(&format!("kept_{step}"), parameters);
        }
        let best = (self.best.score, self.best.step, self.best.seen);
        state.put_word("progress", &(seen, best, &self.curve, stale_evaluations))?;
        state.save(cx)
    }

    /// Takes up a saved state; the number of evaluations without improvement in it.
    fn restore(&mut self, mut saved: Checkpoint<'_>) -> anyhow::Result<u64> {
        let (seen, (score, step, best_seen), curve, stale_evaluations) = saved.word("progress")?;
        let (parameters, moments) = (saved.take("parameters"), saved.take_all("moment"));
        self.learner.restore(saved.step, parameters, seen, moments)?;
        let (parameters, moments) = (saved.take("best"), saved.take_all("best_moment"));
        self.best = Kept { parameters, seen: best_seen, moments, step, score };
        self.curve = curve;
        for (name, values) in saved.vectors {
            let step = name.strip_prefix("kept_").and_then(|step| step.parse().ok());
            self.kept.insert(step.with_context(|| format!("`{name}` in a saved state"))?, values.into_owned());
        }
        Ok(stale_evaluations)
    }

    /// Scores what was learned on the validation splits, a mixture by the mean of its tasks; whether it is the best so far.
    /// Without such a split the last is best.
    fn evaluate(&mut self, cx: &Cx<'_>, course: &Course<'_>, losses: &mut Vec<f64>) -> anyhow::Result<bool> {
        let step = self.learner.steps_done();
        let scored = course.tasks.scored();
        let mut scores = Vec::new();
        for (dataset, answers) in scored.iter().zip(self.learner.answers(cx, course.model, &scored)?) {
            let name = &dataset.task.name;
            let score = dataset.task.score(&answers, dataset.examples(Split::Validation)).score;
            ensure!(
                score.is_none_or(f64::is_finite),
                "the validation score of `{name}` is no number; are the answers of its split known?"
            );
            scores.extend(score.map(|score| (name.as_str(), score)));
        }
        let score = (!scores.is_empty()).then(|| mean(&scores.iter().map(|(_, score)| *score).collect::<Vec<_>>()));
        let loss = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        losses.clear();
        self.curve.push(step, loss, score, if course.tasks.0.len() > 1 { &scores } else { &[] });
        let best = &self.best;
        let improved = score.is_none_or(|score| best.score.is_none_or(|best| score > best));
        // Of equal scores the earlier one is best, but one that has learned nothing only if it is better than all that follow.
        if improved || best.step == 0 && score == best.score {
            self.best = Kept::of(&self.learner, score);
        }
        Ok(improved)
    }
}

impl Kept {
    fn of(learner: &impl Learner, score: Option<f64>) -> Self {
        let Moments { seen, values } = learner.optimizer();
        let keeps = learner.keeps_moments();
        let moments = values.into_iter().filter(|_| keeps).map(<[f32]>::to_vec).collect();
        Self { parameters: learner.parameters().to_vec(), seen, moments, step: learner.steps_done(), score }
    }
}

/// A row for each evaluation: mean training loss of a token since the last one, and the validation score.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Curve {
    steps: Vec<u64>,
    losses: Vec<Option<f64>>,
    scores: Vec<Option<f64>>,
    /// Of a mixture the score of each task that has one.
    tasks: BTreeMap<String, Vec<f64>>,
}

impl Curve {
    fn push(&mut self, step: u64, loss: Option<f64>, score: Option<f64>, tasks: &[(&str, f64)]) {
        self.steps.push(step);
        self.losses.push(loss);
        self.scores.push(score);
        for (task, score) in tasks {
            self.tasks.entry((*task).to_owned()).or_default().push(*score);
        }
    }

    /// The learning rate of the last update before each evaluation.
    fn rates(&self, settings: &Settings) -> Vec<Option<f64>> {
        self.steps.iter().map(|step| (*step > 0).then(|| settings.schedule().rate(*step))).collect()
    }

    /// With a column `score_TASK` for each task of a mixture.
    pub(super) fn table(&self, settings: &Settings) -> Table {
        let names: Vec<String> = self.tasks.keys().map(|task| format!("score_{task}")).collect();
        let mut columns = vec![
            ("step", Column::Int(self.steps.iter().map(|step| *step as i64).collect())),
            ("loss", Column::OptFloat(self.losses.clone())),
            ("score", Column::OptFloat(self.scores.clone())),
            ("learning_rate", Column::OptFloat(self.rates(settings))),
        ];
        columns
            .extend(names.iter().zip(self.tasks.values()).map(|(name, s)| (name.as_str(), Column::Float(s.clone()))));
        Table::new(columns)
    }

    /// The same for TensorBoard.
    pub(super) fn events(&self, settings: &Settings) -> Vec<u8> {
        let series = |values: &[Option<f64>]| -> Vec<(u64, f64)> {
            self.steps.iter().zip(values).filter_map(|(step, value)| Some((*step, (*value)?))).collect()
        };
        let names: Vec<String> = self.tasks.keys().map(|task| format!("validation/score/{task}")).collect();
        let tasks = self.tasks.values().map(|scores| self.steps.iter().copied().zip(scores.iter().copied()).collect());
        let mut all = vec![
            ("train/loss", series(&self.losses)),
            ("train/learning_rate", series(&self.rates(settings))),
            ("validation/score", series(&self.scores)),
        ];
        all.extend(names.iter().map(String::as_str).zip(tasks));
        events(&all)
    }
}

fn note(loss: Option<f64>, score: Option<f64>) -> String {
    let loss = loss.map(|loss| format!("loss {loss:.3}"));
    let score = score.map(|score| format!("score {score:.1}"));
    loss.into_iter().chain(score).collect::<Vec<_>>().join(" · ")
}
