//! Prompt tuning (Lester et al. 2021): one soft prompt learns one task through a frozen T5.
//!
//! A [`Tuner`] is a loop taken apart: whoever drives it calls [`step`](Tuner::step), scores when it is due, and may put
//! the state away and take it up again. Everything random is a pure function of the seed and the step, so a resumed run
//! gives the bytes of an uninterrupted one.

use super::batch::Batch;
use super::error::{Error, Result};
use super::kernels::{CrossEntropy, Dropout, Key, Sharing};
use super::optim::{self, Optimizer, Schedule, Shape};
use super::prompt::Prompt;
use super::random::Stream;
use super::t5::Engine;
use super::t5::fast::Loss;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a prompt is tuned. The defaults are the paper's (SCIENCE a.4 to a.6), but for the number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the prompt. SPoT: 262,144 for sources, 100,000 for targets; Lester et al.: 30,000.
    pub steps: u64,
    /// Examples in an update.
    pub batch_size: usize,
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

impl Settings {
    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |field, found: String, expected: &str| Err(Error::Setting { field, found, expected: expected.to_owned() });
        if self.batch_size == 0 || self.batch_size > 1 << 16 {
            return wrong("batch_size", self.batch_size.to_string(), "1 to 65536");
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

    fn loss(&self) -> CrossEntropy {
        CrossEntropy { z_loss: self.z_loss as f32, label_smoothing: self.label_smoothing as f32 }
    }
}

/// Ids of an example: input and target, each with its closing eos.
pub type Pair<'d> = (&'d [u32], &'d [u32]);

/// A prompt in the middle of learning.
pub struct Tuner<'w, 'd> {
    engine: Engine<'w>,
    train: Vec<Pair<'d>>,
    settings: Settings,
    seed: u64,
    prompt: Prompt,
    optimizer: Optimizer,
    step: u64,
    gradient: Vec<Vec<f32>>,
}

impl<'w, 'd> Tuner<'w, 'd> {
    /// A run that has done nothing yet.
    ///
    /// # Errors
    /// If there is no example, or a setting is out of range.
    pub fn new(
        engine: Engine<'w>,
        train: Vec<Pair<'d>>,
        settings: Settings,
        prompt: Prompt,
        seed: u64,
    ) -> Result<Self> {
        settings.check()?;
        if train.is_empty() {
            return Err(Error::Setting {
                field: "data",
                found: "without training rows".to_owned(),
                expected: "at least one".to_owned(),
            });
        }
        let optimizer = Optimizer::new(settings.optimizer.clone(), (prompt.length(), prompt.width));
        let gradient = vec![vec![0.0; prompt.values.len()]];
        Ok(Self { engine, train, settings, seed, prompt, optimizer, step: 0, gradient })
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The prompt as it is now.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The engine, for scoring.
    pub fn engine(&mut self) -> &mut Engine<'w> {
        &mut self.engine
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

    /// One update; the loss before it.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or the gradient is no number any more; the prompt is left as it was.
    pub fn step(&mut self) -> Result<Loss> {
        let batch = self.batch();
        let dropout = (self.settings.dropout > 0.0).then(|| Dropout {
            rate: self.settings.dropout as f32,
            sharing: self.settings.dropout_sharing,
            keys: (0..batch.len() as u64).map(|slot| Key::new(self.seed, self.step, slot)).collect(),
        });
        self.gradient[0].fill(0.0);
        let prompts = [&self.prompt.values[..]];
        let (settings, dropout) = (self.settings.loss(), dropout.as_ref());
        let losses = self.engine.gradients(&prompts, &batch, settings, dropout, &mut self.gradient)?;
        let loss = losses[0];
        let rate = self.schedule().rate(self.step + 1);
        let gradient = &mut self.gradient[0];
        if !loss.sum.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::Diverged { step: self.step + 1, loss: loss.mean(), rate });
        }
        if !self.settings.optimizer.is_scale_invariant() {
            let share = 1.0 / loss.tokens.max(1) as f32;
            gradient.iter_mut().for_each(|g| *g *= share);
        }
        self.optimizer.step(&mut self.prompt.values, gradient, rate);
        self.step += 1;
        Ok(loss)
    }

    fn schedule(&self) -> Schedule {
        let Settings { learning_rate, schedule, warmup_steps, steps, .. } = self.settings;
        Schedule { peak: learning_rate, shape: schedule, warmup: warmup_steps, steps }
    }

    /// The batch of the next step: epochs in an order of their own, one after the other, cut into batches.
    fn batch(&self) -> Batch {
        let (rows, size) = (self.train.len() as u64, self.settings.batch_size as u64);
        let mut batch = Batch::default();
        let mut epoch = None;
        for place in self.step * size..(self.step + 1) * size {
            let (number, at) = (place / rows, place % rows);
            if epoch.as_ref().is_none_or(|(n, _)| *n != number) {
                epoch = Some((number, self.order(number)));
            }
            let (_, order) = epoch.as_ref().expect("set just above");
            let (input, target) = self.train[order[at as usize]];
            batch.push(0, input, target);
        }
        batch
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        Stream::new(self.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
        order
    }
}

/// Rows that are decoded together: enough to fill the kernels, few enough to keep the encoder's activations small.
const DECODED_TOGETHER: usize = 64;

/// Greedy predictions as ids, without the closing eos, for each of `inputs` (ids with eos); at most `longest` ids each.
pub fn predict(engine: &mut Engine<'_>, prompt: &Prompt, inputs: &[&[u32]], longest: usize) -> Result<Vec<Vec<u32>>> {
    // Neighbours in length share a batch; each row's result does not depend on its neighbours.
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|i| inputs[*i].len());
    let mut answers = vec![Vec::new(); inputs.len()];
    for chunk in order.chunks(DECODED_TOGETHER) {
        let rows = chunk.iter().map(|i| inputs[*i].iter().copied()).collect();
        let decoded = engine.greedy(&prompt.values, &rows, longest)?;
        for (i, answer) in chunk.iter().zip(decoded) {
            answers[*i] = answer;
        }
    }
    Ok(answers)
}
