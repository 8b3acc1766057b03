//! Prompt tuning (Lester et al. 2021): one soft prompt learns one task through a frozen T5.
//!
//! A [`Tuner`] is a loop taken apart: whoever drives it calls [`step`](Tuner::step), scores when it is due, and may put
//! the state away and take it up again. Everything random is a pure function of the seed and the step, so a resumed run
//! gives the bytes of an uninterrupted one.

use super::examples::{Examples, Pair, Size};
use super::mixture::Mixing;
use super::optim::{self, Optimizer, Schedule, Shape};
use crate::ml::batcher::Client;
use crate::ml::error::{Error, Result};
use crate::ml::model::cpu::Loss;
use crate::ml::model::{CrossEntropy, Dropout, Key, Sharing};
use crate::ml::prompt::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a prompt is tuned. The defaults are the paper's (SCIENCE a.4 to a.6), but for the number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the prompt. SPoT: 262,144 for sources, 100,000 for targets; Lester et al.: 30,000.
    pub steps: u64,
    /// Examples in an update. However many, memory is bounded: gradients are accumulated over parts that fit.
    pub batch_size: usize,
    /// Batches among which neighbours in length are brought together, so that a device that pads its batches computes less
    /// padding; 1 leaves every batch a random sample.
    #[serde(skip_serializing_if = "is_one")]
    pub length_window: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub schedule: Shape,
    /// Steps in which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Optimiser.
    pub optimizer: optim::Settings,
    /// Probability of dropping an activation.
    pub dropout: f64,
    /// Which activations share a mask: `sequence` as in T5X, `element` as in Hugging Face.
    pub dropout_sharing: Sharing,
    /// Factor of log(Z)² in the loss.
    pub z_loss: f64,
    /// Probability mass of the target that is spread over the other words.
    pub label_smoothing: f64,
    /// Steps between evaluations on the validation split; the best checkpoint is kept. Step 0 is evaluated too.
    pub evaluate_every: u64,
    /// Evaluations without improvement after which tuning stops; 0 never stops early.
    pub patience: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 32,
            length_window: 1,
            learning_rate: 0.3,
            schedule: Shape::Constant,
            warmup_steps: 0,
            optimizer: optim::Settings::default(),
            dropout: 0.1,
            dropout_sharing: Sharing::Sequence,
            z_loss: 1e-4,
            label_smoothing: 0.0,
            evaluate_every: 500,
            patience: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(window: &usize) -> bool {
    *window == 1
}

impl Settings {
    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |field, found: String, expected: &str| Err(Error::Setting { field, found, expected: expected.to_owned() });
        if self.batch_size == 0 || self.batch_size > 1 << 16 {
            return wrong("batch_size", self.batch_size.to_string(), "1 to 65536");
        }
        if self.length_window == 0 || self.length_window > 1 << 16 {
            return wrong("length_window", self.length_window.to_string(), "1 to 65536");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("learning_rate", self.learning_rate.to_string(), "above 0");
        }
        if self.warmup_steps > self.steps {
            return wrong("warmup_steps", self.warmup_steps.to_string(), "at most `steps`");
        }
        if self.evaluate_every == 0 {
            return wrong("evaluate_every", "0".to_owned(), "at least 1");
        }
        for (field, value) in [("dropout", self.dropout), ("label_smoothing", self.label_smoothing)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(field, value.to_string(), "at least 0 and below 1");
            }
        }
        if !(self.z_loss >= 0.0 && self.z_loss.is_finite()) {
            return wrong("z_loss", self.z_loss.to_string(), "at least 0");
        }
        self.optimizer.check()
    }

    /// Whether the prompt is scored after `step` updates.
    pub fn evaluates_at(&self, step: u64) -> bool {
        step.is_multiple_of(self.evaluate_every) || step == self.steps
    }

    /// The learning rate over the steps.
    pub fn schedule(&self) -> Schedule {
        let Self { learning_rate, schedule, warmup_steps, steps, .. } = *self;
        Schedule { peak: learning_rate, shape: schedule, warmup: warmup_steps, steps }
    }

    pub(super) fn loss(&self) -> CrossEntropy {
        CrossEntropy { z_loss: self.z_loss as f32, label_smoothing: self.label_smoothing as f32 }
    }

    /// Dropout of the examples of a step.
    pub(super) fn dropout(&self, seed: u64, step: u64, examples: usize) -> Option<Dropout> {
        (self.dropout > 0.0).then(|| Dropout {
            rate: self.dropout as f32,
            sharing: self.dropout_sharing,
            keys: (0..examples as u64).map(|slot| Key::new(seed, step, slot)).collect(),
        })
    }
}

/// A prompt in the middle of learning.
pub struct Tuner<'d> {
    model: Client,
    examples: Examples<'d>,
    settings: Settings,
    seed: u64,
    prompt: Prompt,
    optimizer: Optimizer,
    step: u64,
}

impl<'d> Tuner<'d> {
    /// A run on one task that has done nothing yet.
    ///
    /// # Errors
    /// If there is no example, or a setting is out of range.
    pub fn new(model: Client, train: Vec<Pair<'d>>, settings: Settings, prompt: Prompt, seed: u64) -> Result<Self> {
        Self::mixed(model, vec![train], Mixing::default(), settings, prompt, seed)
    }

    /// A run on several tasks, of which `mixing` says how often each is drawn.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn mixed(
        model: Client,
        tasks: Vec<Vec<Pair<'d>>>,
        mixing: Mixing,
        settings: Settings,
        prompt: Prompt,
        seed: u64,
    ) -> Result<Self> {
        settings.check()?;
        let size = Size::Examples(settings.batch_size);
        let examples = Examples::new(tasks, mixing, size, settings.length_window, seed)?;
        let optimizer = Optimizer::new(settings.optimizer.clone(), (prompt.length(), prompt.width));
        Ok(Self { model, examples, settings, seed, prompt, optimizer, step: 0 })
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The prompt as it is now.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The model that it learns through.
    pub fn model(&self) -> &Client {
        &self.model
    }

    /// What must be kept, beside the prompt and the number of steps, to go on later: the optimiser's moments.
    pub fn moments(&self) -> &[Vec<f32>] {
        self.optimizer.moments()
    }

    /// Goes on where a run was after `step` updates.
    pub fn restore(&mut self, step: u64, prompt: Prompt, moments: Vec<Vec<f32>>) -> Result<()> {
        prompt.fits(self.prompt.width)?;
        if prompt.values.len() != self.prompt.values.len() {
            return Err(Error::Checkpoint("the prompt has another length".to_owned()));
        }
        self.optimizer.restore(step, moments)?;
        self.step = step;
        self.prompt = prompt;
        Ok(())
    }

    /// One update; what it learned from.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or the gradient is no number any more; the prompt is left as it was.
    pub fn step(&mut self) -> Result<Step> {
        let batch = self.examples.batch(self.step);
        let dropout = self.settings.dropout(self.seed, self.step, batch.len());
        let tokens = batch.inputs.ids().len() + batch.targets.ids().len();
        let (loss, mut gradient) = self.model.gradients(&self.prompt.values, batch, self.settings.loss(), dropout)?;
        let rate = self.settings.schedule().rate(self.step + 1);
        if !loss.sum.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::Diverged { step: self.step + 1, loss: loss.mean(), rate });
        }
        if !self.settings.optimizer.is_scale_invariant() {
            let share = 1.0 / loss.tokens.max(1) as f32;
            gradient.iter_mut().for_each(|g| *g *= share);
        }
        self.optimizer.step(&mut self.prompt.values, &gradient, rate);
        self.step += 1;
        Ok(Step { loss, tokens })
    }
}

/// What an update learned from.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The loss before it.
    pub loss: Loss,
    /// Tokens of texts and targets.
    pub tokens: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::batcher::{self, Batcher};
    use crate::ml::model::{Dims, Weights};
    use crate::ml::random::Stream;
    use std::sync::Arc;

    fn batcher() -> (Batcher, usize) {
        let dims = Dims::from_json(include_bytes!("../../../tests/golden/t5_v1_1/config.json")).unwrap();
        let width = dims.width;
        let weights = Arc::new(Weights::random(dims, &mut Stream::new(0, "weights")));
        let settings = batcher::Settings { device: "cpu".to_owned(), threads: 1, memory: usize::MAX };
        (Batcher::start(&weights, &settings).unwrap(), width)
    }

    /// Texts of 1 to 40 ids.
    fn rows() -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut stream = Stream::new(1, "rows");
        (0..203).map(|i| (vec![2 + i % 30; 1 + stream.below(40)], vec![3, 1])).collect()
    }

    fn tuner<'d>(batcher: &Batcher, width: usize, rows: &'d [(Vec<u32>, Vec<u32>)], settings: Settings) -> Tuner<'d> {
        let train = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        let prompt = Prompt { values: vec![0.1; 2 * width], width };
        Tuner::new(batcher.client("test"), train, settings, prompt, 7).unwrap()
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_tuning_and_leaves_the_prompt() {
        let ((batcher, width), rows) = (batcher(), rows());
        let settings = Settings { batch_size: 4, learning_rate: 1e300, ..Settings::default() };
        let mut tuner = tuner(&batcher, width, &rows, settings);
        let (error, before) = loop {
            let before = tuner.prompt().clone();
            match tuner.step() {
                Ok(_) => assert!(tuner.steps_done() < 5, "a learning rate of 1e300 did no harm"),
                Err(error) => break (error, before),
            }
        };
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        assert_eq!(*tuner.prompt(), before);
    }
}
