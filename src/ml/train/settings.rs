//! How anything is trained: what prompts, models and pretraining have in common. What a batch holds is said by
//! [`Batching`](super::examples::Batching), or by the [`Objective`](super::pretrain::Objective) of pretraining.

use super::optim::{self, Schedule, Shape, in_range};
use crate::ml::error::{Error, Result};
use crate::ml::model::cpu::Loss;
use crate::ml::model::{CrossEntropy, Dropout, Key, Sharing};

/// Steps, learning rate, optimiser, loss and evaluation of a run. The defaults are those of prompt tuning in the paper (Vu et
/// al. 2022, sections 2 and 3; the loss is `losses.py` of google-research/t5x), but for the number of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Updates of the parameters.
    pub steps: u64,
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
    /// Which activations share a mask.
    pub dropout_sharing: Sharing,
    /// Factor of log(Z)² in the loss.
    pub z_loss: f64,
    /// Probability mass of the target that is spread over the other words.
    pub label_smoothing: f64,
    /// Steps between evaluations; step 0 and the last one are evaluated too.
    pub evaluate_every: u64,
    /// Evaluations without improvement after which training stops; 0 never stops early.
    pub patience: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 1000,
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
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        let rate = self.learning_rate;
        in_range("learning_rate", rate, rate > 0.0 && rate.is_finite(), "above 0")?;
        if self.warmup_steps > self.steps {
            return Err(Error::setting("warmup_steps", self.warmup_steps, "at most `steps`"));
        }
        if self.evaluate_every == 0 {
            return Err(Error::setting("evaluate_every", 0, "at least 1"));
        }
        for (field, value) in [("dropout", self.dropout), ("label_smoothing", self.label_smoothing)] {
            in_range(field, value, (0.0..1.0).contains(&value), "at least 0 and below 1")?;
        }
        in_range("z_loss", self.z_loss, self.z_loss >= 0.0 && self.z_loss.is_finite(), "at least 0")?;
        self.optimizer.check()
    }

    /// Whether what was learned is evaluated after `step` updates.
    pub fn evaluates_at(&self, step: u64) -> bool {
        step.is_multiple_of(self.evaluate_every) || step == self.steps
    }

    /// The learning rate over the steps.
    pub fn schedule(&self) -> Schedule {
        let Self { learning_rate, schedule, warmup_steps, steps, .. } = *self;
        Schedule { peak: learning_rate, shape: schedule, warmup: warmup_steps, steps }
    }

    /// The loss of a token.
    pub(super) fn loss(&self) -> CrossEntropy {
        CrossEntropy { z_loss: self.z_loss as f32, label_smoothing: self.label_smoothing as f32 }
    }

    /// Dropout of the `examples` of a step, which is counted from 0.
    pub(super) fn dropout(&self, seed: u64, step: u64, examples: usize) -> Option<Dropout> {
        (self.dropout > 0.0).then(|| Dropout {
            rate: self.dropout as f32,
            sharing: self.dropout_sharing,
            keys: (0..examples as u64).map(|slot| Key::new(seed, step, slot)).collect(),
        })
    }

    /// What the gradient of a sum of losses is multiplied by: an optimiser to which its size matters gets that of the mean of a
    /// token.
    pub(super) fn share(&self, loss: &Loss) -> f32 {
        if self.optimizer.is_scale_invariant() { 1.0 } else { 1.0 / loss.tokens.max(1) as f32 }
    }
}
