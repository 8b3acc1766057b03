//! `tune_model`: all weights of the backbone learn a task, the baseline of prompt tuning; the result is a backbone.

use super::backbone::{self, Model, Parts};
use super::checkpoint::Checkpoint;
use super::evaluate::{Decoding, answers};
use super::pace::Pace;
use super::{BACKBONE, CURVE, DATASET};
use crate::data::{Column, Dataset, Table, read_dataset};
use crate::engine::context::{Artifact, Cx, Interrupted};
use crate::engine::run::Unavailable;
use crate::engine::stage::{Input, Issue, Output, Ref, Stage};
use crate::ml::batcher::{self, Batcher};
use crate::ml::model_tuning::{ModelTuner, Settings};
use crate::ml::prompt::Prompt;
use crate::ml::t5::{Precision, Weights};
use crate::ml::tasks::Split;
use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A backbone whose weights are tuned on one task. Evaluate it with a prompt of its own, or tune prompts on it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneModel {
    /// The model to begin with, kept in f32.
    backbone: Ref,
    /// What it learns.
    data: Ref,
    /// Seed of the order of examples and of dropout.
    #[serde(default)]
    seed: u64,
    /// Steps, batches, learning rate, evaluation.
    #[serde(default)]
    training: Settings,
}

impl Stage for TuneModel {
    const KIND: &'static str = "tune_model";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] =
        &[Output { name: "backbone", of: BACKBONE }, Output { name: "curve", of: CURVE }];

    fn inputs(&self) -> Vec<Input> {
        vec![backbone::input(&self.backbone), Input::one("data", &self.data, DATASET)]
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        if cx.device() != "cpu" {
            let reason = format!("device `{}`: `tune_model` computes gradients of weights on `cpu` only", cx.device());
            return Err(Unavailable(reason).into());
        }
        let backbone = cx.one("backbone")?.clone();
        let model = Model::load(cx, &backbone)?;
        let dataset = read_dataset(&cx.one("data")?.bytes()?).context("`data`")?;
        model.check_data(&dataset)?;
        let train = dataset.pairs(Split::Train).collect();
        let tuner = ModelTuner::new((*model.weights).clone(), train, self.training.clone(), self.seed)?;
        let progress = Progress { best: tuner.weights().data().to_vec(), ..Progress::default() };
        let mut run = Run { tuner, progress };
        run.go(self, cx, &model, &dataset)?;
        let Run { tuner, progress } = run;
        let mut best = tuner.weights().clone();
        best.data_mut().copy_from_slice(&progress.best);
        cx.note("best step", progress.record.best_step);
        let parts = parts(cx, &backbone, &best)?;
        cx.write("backbone", &parts.to_bytes())?;
        cx.write("curve", &progress.record.curve.table().to_parquet()?)
    }
}

/// The tuned weights beside the configuration and the tokenizer that the backbone had, so that its data sets stay valid.
fn parts(cx: &mut Cx<'_>, backbone: &Artifact, weights: &Weights) -> anyhow::Result<Parts> {
    let given: Parts = serde_json::from_slice(&backbone.bytes()?).context("a backbone artifact")?;
    Ok(Parts {
        config: cx.attach("backbone", "config.json", &backbone.part(&given.config)?)?,
        tokenizer: cx.attach("backbone", "tokenizer.json", &backbone.part(&given.tokenizer)?)?,
        weights: vec![cx.attach("backbone", "model.safetensors", &weights.to_safetensors(false)?)?],
        precision: Precision::F32,
    })
}

/// A tuning at work, and what it keeps.
struct Run<'d> {
    tuner: ModelTuner<'d>,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    /// The best weights so far.
    best: Vec<f32>,
    record: Record,
}

/// What a checkpoint says beside weights and moments.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Record {
    best_score: Option<f64>,
    best_step: u64,
    stale_evaluations: u64,
    /// Examples learned from.
    examples: u64,
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
    fn table(&self) -> Table {
        Table::new(vec![
            ("step", Column::Int(self.steps.iter().map(|step| *step as i64).collect())),
            ("loss", Column::OptFloat(self.losses.clone())),
            ("score", Column::OptFloat(self.scores.clone())),
        ])
    }
}

impl Run<'_> {
    /// Evaluate if due, save, step: until the end.
    fn go(&mut self, stage: &TuneModel, cx: &Cx<'_>, model: &Model, dataset: &Dataset) -> anyhow::Result<()> {
        let settings = &stage.training;
        let mut losses = Vec::new();
        let mut pace = Pace::new();
        if let Some(saved) = Checkpoint::load(cx)? {
            self.restore(saved)?;
        }
        loop {
            let step = self.tuner.steps_done();
            let resumed = self.progress.record.curve.steps.last() == Some(&step);
            if settings.evaluates_at(step) && !resumed {
                pace.note = self.evaluate(cx, model, dataset, &mut losses)?;
                cx.progress().step(step, settings.steps, &pace.text(settings.steps - step));
                if settings.patience > 0 && self.progress.record.stale_evaluations >= settings.patience {
                    return Ok(());
                }
                // Evaluations are where no mean of losses is under way.
                if step < settings.steps {
                    self.save(cx)?;
                }
            }
            if step >= settings.steps {
                return Ok(());
            }
            if cx.stopped() {
                let step = self.progress.record.curve.steps.last().copied().unwrap_or(0);
                return Err(Interrupted { step }.into());
            }
            let learned = self.tuner.step()?;
            losses.push(learned.loss.mean());
            if pace.count(learned.tokens) {
                cx.progress().step(step + 1, settings.steps, &pace.text(settings.steps - step - 1));
            }
        }
    }

    fn save(&mut self, cx: &Cx<'_>) -> anyhow::Result<()> {
        self.progress.record.examples = self.tuner.examples_done();
        let mut state = Checkpoint { step: self.tuner.steps_done(), ..Checkpoint::default() };
        state.vectors.insert("weights".to_owned(), self.tuner.weights().data().to_vec());
        state.vectors.insert("best".to_owned(), self.progress.best.clone());
        state.put_moments(&self.tuner.moments());
        state.put_word("progress", &self.progress.record)?;
        state.save(cx)
    }

    fn restore(&mut self, mut saved: Checkpoint) -> anyhow::Result<()> {
        let record: Record = saved.word("progress")?;
        let (weights, best, moments) = (saved.take("weights"), saved.take("best"), saved.take_moments());
        self.tuner.restore(saved.step, record.examples, &weights, moments)?;
        self.progress = Progress { best, record };
        Ok(())
    }

    /// Scores the weights on the validation split, without a prompt, and keeps them if they are the best so far; without
    /// such a split the last are best. What there is to say of it.
    fn evaluate(
        &mut self,
        cx: &Cx<'_>,
        model: &Model,
        dataset: &Dataset,
        losses: &mut Vec<f64>,
    ) -> anyhow::Result<String> {
        let step = self.tuner.steps_done();
        let score = match dataset.examples(Split::Validation) {
            [] => None,
            examples => {
                let answers = self.answers(cx, model, dataset)?;
                dataset.task.score(&answers, examples).score
            }
        };
        let loss = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        losses.clear();
        let Progress { best, record } = &mut self.progress;
        record.curve.steps.push(step);
        record.curve.losses.push(loss);
        record.curve.scores.push(score);
        let improved = score.is_none_or(|score| record.best_score.is_none_or(|best| score > best));
        record.stale_evaluations = if improved { 0 } else { record.stale_evaluations + 1 };
        // Of equal scores the earlier one is best, as in `tune`, but for untuned weights.
        if improved || record.best_step == 0 && score == record.best_score {
            best.copy_from_slice(self.tuner.weights().data());
            (record.best_score, record.best_step) = (score, step);
        }
        let loss = loss.map(|loss| format!("loss {loss:.3}"));
        let score = score.map(|score| format!("score {score:.1}"));
        Ok(loss.into_iter().chain(score).collect::<Vec<_>>().join(" · "))
    }

    /// Answers of the weights as they are now, which live no longer than this evaluation.
    fn answers(&self, cx: &Cx<'_>, model: &Model, dataset: &Dataset) -> anyhow::Result<Vec<String>> {
        let settings = batcher::Settings { device: "cpu".to_owned(), threads: cx.threads(), memory: cx.memory() };
        let batcher = Batcher::start(&Arc::new(self.tuner.weights().clone()), &settings)?;
        let none = Prompt { values: Vec::new(), width: model.weights.dims.width };
        answers(&batcher.client(cx.job()), model, &none, dataset, Split::Validation, Decoding::Greedy)
    }
}
