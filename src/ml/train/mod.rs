//! Learning: of a prompt through a frozen model, of all weights, and of a model from nothing.
//!
//! What learns is a [`Learner`]. Whoever trains one calls [`step`](Learner::step), evaluates when it is due, and may put
//! parameters and moments away and take them up again. The batch of a step and everything random in it are functions of seed
//! and step, so that a resumed run gives the bytes of an uninterrupted one.

pub mod device_learning;
pub mod examples;
pub mod mixture;
pub mod model_tuning;
pub mod optim;
pub mod pretrain;
pub mod prompt_tuning;
pub mod settings;
pub mod weight_gradients;
pub mod weight_optimizer;

use super::error::{Error, Result};
use super::model::batch::Batch;
use super::model::cpu::Loss;
use settings::Settings;

/// Parameters that learn: their gradient on a batch, and an optimiser that moves them.
pub trait Learner {
    /// How it learns.
    fn settings(&self) -> &Settings;

    /// Computes the gradient of the batch of a step, counted from 0, in place of the last one.
    ///
    /// # Errors
    /// If the device fails, or has not memory enough for an example.
    fn gradients(&mut self, step: u64) -> Result<Step>;

    /// Whether every element of the gradient is a number and finite.
    ///
    /// # Errors
    /// If the device fails.
    fn is_finite(&self) -> Result<bool>;

    /// Moves the parameters against the gradient at this learning rate.
    ///
    /// # Errors
    /// If the device fails.
    fn update(&mut self, rate: f64) -> Result<()>;

    /// Gets parameters and moments from where they learn, so that they can be looked at.
    ///
    /// # Errors
    /// If the device fails.
    fn fetch(&mut self) -> Result<()> {
        Ok(())
    }

    /// What learns, as it is now: a prompt `[P, E]`, or all weights in the order of their layout.
    fn parameters(&self) -> &[f32];

    /// The optimiser's running moments as they are now.
    fn moments(&self) -> Moments<'_>;

    /// Takes up parameters, `[P, E]` of a prompt or `[n]` of a model, and moments, `[n]` each, that have seen `seen` updates.
    ///
    /// # Errors
    /// If they are of another shape or optimiser.
    fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()>;

    /// One update, of step `step` counted from 0; what it learned from.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or the gradient is not finite any more, and what [`gradients`](Self::gradients) and
    /// [`update`](Self::update) say; the parameters are left as they were.
    fn step(&mut self, step: u64) -> Result<Step> {
        let learned = self.gradients(step)?;
        let rate = self.settings().schedule().rate(step + 1);
        if !learned.losses.iter().all(|loss| loss.sum.is_finite()) || !self.is_finite()? {
            return Err(Error::Diverged { step: step + 1, loss: learned.loss(), rate });
        }
        self.update(rate)?;
        Ok(learned)
    }
}

/// What an update learned from.
#[derive(Clone, Debug)]
pub struct Step {
    /// The losses before it: of a tuning one, of pretraining that of texts and that of rows.
    pub losses: Vec<Loss>,
    /// Tokens of inputs and targets.
    pub tokens: usize,
}

impl Step {
    /// The sum of the mean losses of a token.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(Loss::mean).sum()
    }
}

/// The running moments of an optimiser, and how many updates they have seen.
#[derive(Debug)]
pub struct Moments<'a> {
    /// Updates.
    pub seen: u64,
    /// One after the other, `[n]` each, as [`Learner::restore`] takes them.
    pub values: Vec<&'a [f32]>,
}

/// Ids of inputs and targets.
fn tokens(batch: &Batch) -> usize {
    batch.inputs.ids().len() + batch.targets.ids().len()
}
