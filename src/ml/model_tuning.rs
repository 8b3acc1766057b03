//! Model tuning: all weights of a T5 learn one task, the baseline that prompt tuning is measured against (Vu et al. 2022).
//!
//! A [`ModelTuner`] is driven like a [`Tuner`](super::train::Tuner). Every update is a pure function of the seed, the step
//! and the state that a checkpoint holds.

use super::batch::Batch;
use super::error::{Error, Result};
use super::kernels::{CrossEntropy, Dropout, Key, Sharing};
use super::optim::{self, AdafactorSettings, Optimizer};
use super::random::Stream;
use super::t5::fast::{Engine, Gradients, Loss};
use super::t5::{Place, Precision, Weights};
use super::train::{Pair, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model is tuned: Adafactor with parameter scaling and a constant learning rate. The defaults are the paper's
/// (SCIENCE a.6), but for the number of steps and the size of a batch, which is 65,536 tokens there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the weights.
    pub steps: u64,
    /// Examples in an update; 32 if `batch_tokens` is not given either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Instead of `batch_size`: an update takes examples until the next one would bring it above this number of tokens,
    /// inputs and targets together, and at least one example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<usize>,
    /// Learning rate, which is multiplied by the root mean square of each tensor.
    pub learning_rate: f64,
    /// Probability of dropping an activation; the positions of a sequence share a mask, as in T5X.
    pub dropout: f64,
    /// Factor of log(Z)² in the loss.
    pub z_loss: f64,
    /// Steps between evaluations on the validation split; the best weights are kept. Step 0 is evaluated too.
    pub evaluate_every: u64,
    /// Evaluations without improvement after which tuning stops; 0 never stops early.
    pub patience: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: None,
            batch_tokens: None,
            learning_rate: 0.001,
            dropout: 0.1,
            z_loss: 1e-4,
            evaluate_every: 500,
            patience: 0,
        }
    }
}

/// Examples in an update if nothing is said.
const BATCH_SIZE: usize = 32;
/// Bounds of a batch, which must fit in memory as ids.
const LARGEST_BATCH: usize = 1 << 16;
const MOST_TOKENS: usize = 1 << 24;
/// A batch goes through the model in pieces of at most this many tokens, or of one example, so that the memory for
/// activations does not grow with the batch. Fixed, since the sum of gradients depends on where it is cut.
const PIECE_TOKENS: usize = 4096;

impl Settings {
    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |field, found: String, expected: &str| Err(Error::Setting { field, found, expected: expected.to_owned() });
        match (self.batch_size, self.batch_tokens) {
            (Some(size), Some(_)) => {
                return wrong("batch_size", format!("{size} beside `batch_tokens`"), "one of the two");
            }
            (Some(size), None) if size == 0 || size > LARGEST_BATCH => {
                return wrong("batch_size", size.to_string(), "1 to 65536");
            }
            (None, Some(tokens)) if tokens == 0 || tokens > MOST_TOKENS => {
                return wrong("batch_tokens", tokens.to_string(), "1 to 16777216");
            }
            _ => {}
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("learning_rate", self.learning_rate.to_string(), "above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", self.dropout.to_string(), "at least 0 and below 1");
        }
        if !(self.z_loss >= 0.0 && self.z_loss.is_finite()) {
            return wrong("z_loss", self.z_loss.to_string(), "at least 0");
        }
        if self.evaluate_every == 0 {
            return wrong("evaluate_every", "0".to_owned(), "at least 1");
        }
        Ok(())
    }

    /// Whether the weights are scored after `step` updates.
    pub fn evaluates_at(&self, step: u64) -> bool {
        step.is_multiple_of(self.evaluate_every) || step == self.steps
    }

    /// Whether a batch of `examples` cannot take another one, with which it would have `tokens`.
    fn is_full(&self, examples: usize, tokens: usize) -> bool {
        match self.batch_tokens {
            Some(most) => tokens > most,
            None => examples >= self.batch_size.unwrap_or(BATCH_SIZE),
        }
    }
}

/// A model in the middle of learning a task.
pub struct ModelTuner<'d> {
    weights: Weights,
    train: Vec<Pair<'d>>,
    settings: Settings,
    seed: u64,
    /// Where each tensor lies, and its optimiser.
    tensors: Vec<(Place, Optimizer)>,
    gradient: Vec<f32>,
    step: u64,
    /// Examples that were learned from, counted over all epochs.
    examples: u64,
    /// The epoch of the last example and the order of its examples.
    order: Option<(u64, Vec<usize>)>,
}

impl<'d> ModelTuner<'d> {
    /// A run that has done nothing yet.
    ///
    /// # Errors
    /// If there is no example, a setting is out of range, or the weights are kept in bf16.
    pub fn new(weights: Weights, train: Vec<Pair<'d>>, settings: Settings, seed: u64) -> Result<Self> {
        settings.check()?;
        let wrong = |field, found: &str, expected: &str| {
            Err(Error::Setting { field, found: found.to_owned(), expected: expected.to_owned() })
        };
        if train.is_empty() {
            return wrong("data", "without training rows", "at least one");
        }
        if weights.precision() != Precision::F32 {
            return wrong(
                "backbone",
                "kept in bf16",
                "`precision: f32`: small updates of weights in bf16 would be rounded away",
            );
        }
        let adafactor = optim::Settings::Adafactor(AdafactorSettings {
            weight_decay: 0.0,
            multiply_by_parameter_scale: true,
            ..AdafactorSettings::default()
        });
        let tensors = weights
            .layout
            .slots()
            .iter()
            .map(|slot| {
                let columns = slot.shape.last().copied().unwrap_or(1);
                let shape = (slot.place.len() / columns, columns);
                (slot.place.clone(), Optimizer::new(adafactor.clone(), shape))
            })
            .collect();
        let gradient = vec![0.0; weights.layout.len()];
        Ok(Self { weights, train, settings, seed, tensors, gradient, step: 0, examples: 0, order: None })
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Examples learned from, which must be kept to go on later.
    pub fn examples_done(&self) -> u64 {
        self.examples
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The optimisers' moments, which must be kept too.
    pub fn moments(&self) -> Vec<Vec<f32>> {
        self.tensors.iter().flat_map(|(_, optimizer)| optimizer.moments()).cloned().collect()
    }

    /// Goes on where a run was after `step` updates by `examples` examples.
    pub fn restore(&mut self, step: u64, examples: u64, weights: &[f32], moments: Vec<Vec<f32>>) -> Result<()> {
        if weights.len() != self.weights.layout.len() {
            return Err(Error::Checkpoint("the weights have another size".to_owned()));
        }
        let mut moments = moments.into_iter();
        for (_, optimizer) in &mut self.tensors {
            let own = moments.by_ref().take(optimizer.moments().len()).collect();
            optimizer.restore(step, own)?;
        }
        self.weights.data_mut().copy_from_slice(weights);
        (self.step, self.examples) = (step, examples);
        Ok(())
    }

    /// One update; what it learned from.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or the gradient is no number any more; the weights are left as they were.
    pub fn step(&mut self) -> Result<Step> {
        let batch = self.batch();
        let loss = self.accumulate(&batch);
        let rate = self.settings.learning_rate;
        if !loss.sum.is_finite() || self.gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::Diverged { step: self.step + 1, loss: loss.mean(), rate });
        }
        let weights = self.weights.data_mut();
        for (place, optimizer) in &mut self.tensors {
            optimizer.step(&mut weights[place.clone()], &self.gradient[place.clone()], rate);
        }
        self.step += 1;
        Ok(Step { loss, tokens: tokens(&batch) })
    }

    /// Computes the gradient of the sum of the losses of `batch`, piece after piece; that sum. Adafactor does not mind that
    /// it is no mean.
    fn accumulate(&mut self, batch: &Batch) -> Loss {
        self.gradient.fill(0.0);
        let settings = CrossEntropy { z_loss: self.settings.z_loss as f32, label_smoothing: 0.0 };
        let mut engine = Engine::new(&self.weights);
        let mut sum = Loss::default();
        let mut done = 0;
        for piece in pieces(batch) {
            let slots = done..done + piece.len() as u64;
            done = slots.end;
            let dropout = (self.settings.dropout > 0.0).then(|| Dropout {
                rate: self.settings.dropout as f32,
                sharing: Sharing::Sequence,
                keys: slots.map(|slot| Key::new(self.seed, self.step, slot)).collect(),
            });
            let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&mut self.gradient) };
            let losses = engine.gradients(&[&[]], &piece, settings, dropout.as_ref(), gradients);
            sum = Loss { sum: sum.sum + losses[0].sum, tokens: sum.tokens + losses[0].tokens };
        }
        sum
    }

    /// The batch of the next step: epochs in an order of their own, one after the other, cut into batches.
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut tokens = 0;
        loop {
            let (input, target) = self.example();
            tokens += input.len() + target.len();
            if !batch.is_empty() && self.settings.is_full(batch.len(), tokens) {
                return batch;
            }
            batch.push(0, input, target);
            self.examples += 1;
        }
    }

    /// The next example.
    fn example(&mut self) -> Pair<'d> {
        let rows = self.train.len();
        let (epoch, at) = (self.examples / rows as u64, (self.examples % rows as u64) as usize);
        let order = match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => {
                let mut order: Vec<usize> = (0..rows).collect();
                Stream::new(self.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
                order
            }
        };
        let example = self.train[order[at]];
        self.order = Some((epoch, order));
        example
    }
}

fn tokens(batch: &Batch) -> usize {
    batch.inputs.ids().len() + batch.targets.ids().len()
}

/// A batch cut into neighbouring examples that have at most [`PIECE_TOKENS`], or are alone.
fn pieces(batch: &Batch) -> Vec<Batch> {
    let mut pieces = vec![Batch::default()];
    let mut size = 0;
    for (input, target) in batch.inputs.rows().zip(batch.targets.rows()) {
        let own = input.len() + target.len();
        if size > 0 && size + own > PIECE_TOKENS {
            pieces.push(Batch::default());
            size = 0;
        }
        pieces.last_mut().expect("there is one from the start").push(0, input, target);
        size += own;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::t5::Dims;

    type Rows = Vec<(Vec<u32>, Vec<u32>)>;

    fn weights() -> Weights {
        let dims = Dims::from_json(include_bytes!("../../tests/golden/t5_v1_1/config.json")).unwrap();
        Weights::random(dims, &mut Stream::new(0, "weights"))
    }

    /// Texts of 3 to 9 ids among which one of two decides the label.
    fn rows() -> Rows {
        let mut stream = Stream::new(1, "rows");
        (0..48)
            .map(|i| {
                let mut text: Vec<u32> = (0..2 + stream.below(7)).map(|_| 10 + stream.below(20) as u32).collect();
                let place = stream.below(text.len());
                text[place] = 5 + i % 2;
                text.push(1);
                (text, vec![7 + i % 2, 1])
            })
            .collect()
    }

    fn tuner(rows: &Rows, settings: Settings) -> ModelTuner<'_> {
        let train = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        ModelTuner::new(weights(), train, settings, 7).unwrap()
    }

    fn mean_loss(tuner: &mut ModelTuner<'_>, steps: u64) -> f64 {
        (0..steps).map(|_| tuner.step().unwrap().loss.mean()).sum::<f64>() / steps as f64
    }

    #[test]
    fn the_weights_learn_a_toy_task() {
        let rows = rows();
        let settings = Settings { batch_size: Some(16), learning_rate: 0.02, dropout: 0.0, ..Settings::default() };
        let mut tuner = tuner(&rows, settings);
        let first = mean_loss(&mut tuner, 3);
        mean_loss(&mut tuner, 114);
        let last = mean_loss(&mut tuner, 3);
        // Knowing all but the label costs half of log 2 a token; to get below it the label must be learned.
        assert!(first > 1.0 && last < 0.2, "loss {first} at first, {last} at last");
    }

    #[test]
    fn a_restored_tuner_goes_on_bit_for_bit() {
        let rows = rows();
        for settings in [
            Settings { batch_size: Some(20), ..Settings::default() },
            Settings { batch_tokens: Some(90), ..Settings::default() },
        ] {
            let mut whole = tuner(&rows, settings.clone());
            mean_loss(&mut whole, 7);
            let mut first = tuner(&rows, settings.clone());
            mean_loss(&mut first, 4);
            let mut second = tuner(&rows, settings);
            second.restore(first.steps_done(), first.examples_done(), first.weights().data(), first.moments()).unwrap();
            mean_loss(&mut second, 3);
            assert!(second.weights().data() == whole.weights().data() && second.moments() == whole.moments());
            assert_eq!(second.examples_done(), whole.examples_done());
        }
    }

    #[test]
    fn batches_are_as_large_as_their_tokens_allow() {
        let mut rows = rows();
        rows.push((vec![9; 100], vec![7, 1]));
        let mut tuner = tuner(&rows, Settings { batch_tokens: Some(60), ..Settings::default() });
        let mut seen = Batch::default();
        let mut alone = 0;
        while tuner.examples_done() < 2 * rows.len() as u64 {
            let batch = tuner.batch();
            let (input, target) = tuner.example();
            assert!(tokens(&batch) + input.len() + target.len() > 60, "a batch had room for the next example");
            assert!(tokens(&batch) <= 60 || batch.len() == 1, "{} tokens", tokens(&batch));
            alone += usize::from(tokens(&batch) == 102);
            batch.inputs.rows().zip(batch.targets.rows()).for_each(|(input, target)| seen.push(0, input, target));
        }
        assert_eq!(alone, 2, "the long example comes once an epoch");
        let mut epoch: Vec<&[u32]> = seen.inputs.rows().take(rows.len()).collect();
        let mut expected: Vec<&[u32]> = rows.iter().map(|(input, _)| &input[..]).collect();
        epoch.sort_unstable();
        expected.sort_unstable();
        assert_eq!(epoch, expected);
    }

    #[test]
    fn pieces_are_bounded_and_give_the_batch_again() {
        let mut batch = Batch::default();
        for length in [4000, 90, 5, 1, 5000, 4094, 3] {
            batch.push(0, &vec![3; length], &[4, 1]);
        }
        let pieces = pieces(&batch);
        assert_eq!(pieces.iter().map(Batch::len).collect::<Vec<_>>(), [2, 2, 1, 1, 1]);
        let inputs: Vec<&[u32]> = pieces.iter().flat_map(|piece| piece.inputs.rows()).collect();
        assert_eq!(inputs, batch.inputs.rows().collect::<Vec<_>>());
    }

    #[test]
    fn a_loss_that_is_no_number_ends_the_run() {
        let rows = rows();
        let mut tuner = tuner(&rows, Settings { learning_rate: 1e30, ..Settings::default() });
        let error = (0..10).find_map(|_| tuner.step().err()).unwrap();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_tuned_is_refused() {
        let rows = rows();
        let train: Vec<Pair<'_>> = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        let error = |weights, train, settings| ModelTuner::new(weights, train, settings, 0).err().unwrap().to_string();
        let both = Settings { batch_size: Some(8), batch_tokens: Some(64), ..Settings::default() };
        assert!(error(weights(), train.clone(), both).contains("8 beside `batch_tokens`"));
        assert!(error(weights(), Vec::new(), Settings::default()).contains("without training rows"));
        assert!(error(weights().to_bf16(), train, Settings::default()).contains("`precision: f32`"));
    }
}
