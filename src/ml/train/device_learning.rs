//! All weights learning on a device: weights, their gradient and the optimiser's moments stay there; batches go there, and losses
//! come back.

use super::optim::DeviceOptimizer;
use super::weight_gradients::{cut, part, rows};
use super::weight_optimizer::WeightOptimizer;
use crate::ml::error::{Error, Result};
use crate::ml::model::batch::Batch;
use crate::ml::model::cpu::Loss;
use crate::ml::model::gpu::{Engine, Gradient, Gradients, Parameters};
use crate::ml::model::{Counts, Dims, Layout, Place};
use crate::ml::model::{CrossEntropy, Dropout};
use candle_core::{Device, Tensor};
use std::ops::Range;

/// Rows of encoder and decoder in a piece of a batch, about, if they fit.
const ROWS: usize = 16 * 1024;
/// Rather than pieces of fewer rows than these, activations are computed twice.
const WORTHWHILE_ROWS: usize = 2048;

/// Weights and optimisers that may be on a device.
pub struct DeviceLearner {
    device: Device,
    memory: usize,
    state: Option<Box<State>>,
}

/// Weights and optimisers on a device.
struct State {
    dims: Dims,
    layout: Layout,
    parameters: Parameters,
    gradient: Gradient,
    /// Neighbours, from the first parameter to the last.
    optimizers: Vec<(Place, DeviceOptimizer)>,
    /// Bytes that activations may take.
    memory: usize,
}

impl DeviceLearner {
    /// A learner on `device`, which nothing is on yet. Activations may take `memory` bytes; on a GPU, half of what is free of its own.
    pub fn new(device: Device, memory: usize) -> Self {
        Self { device, memory, state: None }
    }

    /// The loss of a batch without prompts; keeps the gradient of the sum of its losses. What learns is `learning` as it is at
    /// the first call, and from then on what is on the device.
    ///
    /// # Errors
    /// If the device fails, or not even one example fits its memory.
    pub fn gradients(
        &mut self,
        learning: &WeightOptimizer,
        batch: &Batch,
        loss: CrossEntropy,
        dropout: Option<&Dropout>,
    ) -> Result<Loss> {
        if self.state.is_none() {
            self.state = Some(Box::new(State::new(learning, &self.device, self.memory)?));
        }
        self.state_mut().gradients(batch, loss, dropout)
    }

    /// Whether every element of the gradient is a number and finite.
    ///
    /// # Errors
    /// If the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        self.state.as_ref().map_or(Ok(true), |state| state.gradient.is_finite())
    }

    /// Moves the weights against `share` times the gradient, which it uses up.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self, rate: f64, share: f64) -> Result<()> {
        self.state_mut().step(rate, share)
    }

    /// Copies weights and moments, if they are on the device, to where they came from.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&self, learning: &mut WeightOptimizer) -> Result<()> {
        self.state.as_ref().map_or(Ok(()), |state| state.fetch(learning))
    }

    /// Leaves what is on the device; the next gradients take up what learns anew.
    pub fn forget(&mut self) {
        self.state = None;
    }

    fn state_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("gradients come before a step")
    }
}

impl State {
    fn new(learning: &WeightOptimizer, device: &Device, memory: usize) -> Result<Self> {
        let weights = learning.weights();
        let parameters = Parameters::new(weights, device)?;
        let optimizers = learning.optimizers().iter();
        let optimizers =
            optimizers.map(|(place, optimizer)| Ok((place.clone(), DeviceOptimizer::of(optimizer, device)?)));
        let optimizers = optimizers.collect::<Result<_>>()?;
        // The gradient is to come, and what is no activation needs room as well. Memory that was used stays in use, and the rest
        // must do for evaluations.
        let gradient = weights.layout.len() * size_of::<f32>();
        let memory = parameters.free_memory()?.map_or(memory, |free| free.saturating_sub(gradient) / 2);
        let (dims, layout) = (weights.dims.clone(), weights.layout.clone());
        Ok(Self { dims, layout, parameters, gradient: Gradient::default(), optimizers, memory })
    }

    fn gradients(&mut self, batch: &Batch, loss: CrossEntropy, dropout: Option<&Dropout>) -> Result<Loss> {
        let (pieces, recompute) = self.pieces(batch, dropout.is_some())?;
        let mut engine = Engine::on(&self.dims, &self.layout, self.parameters.clone());
        engine.recompute(recompute);
        self.gradient = Gradient::default();
        let mut total = Loss::default();
        for piece in &pieces {
            let (part, dropout) = part(batch, dropout, piece);
            let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&self.gradient) };
            let found = engine.gradients(&[&[]], &part, loss, dropout.as_ref(), gradients)?[0];
            total.sum += found.sum;
            total.tokens += found.tokens;
        }
        Ok(total)
    }

    /// The largest pieces of a batch that fit the memory, and whether their activations are computed twice.
    fn pieces(&self, batch: &Batch, dropout: bool) -> Result<(Vec<Range<usize>>, bool)> {
        let sizes =
            |least: usize| std::iter::successors(Some(ROWS), |rows| Some(rows / 2)).take_while(move |r| *r >= least);
        let kept = sizes(WORTHWHILE_ROWS).map(|rows| (rows, false));
        let mut least = 0;
        for (rows, recompute) in kept.chain(sizes(1).map(|rows| (rows, true))) {
            let pieces = cut(batch, rows);
            least = self.bytes(batch, &pieces, recompute, dropout);
            if least <= self.memory {
                return Ok((pieces, recompute));
            }
        }
        let mib = |bytes: usize| format!("{} MiB", bytes.div_ceil(1 << 20));
        Err(Error::Setting {
            field: "memory",
            found: format!("{} for activations", mib(self.memory)),
            expected: format!("at least {} for an example of a batch, or shorter examples", mib(least)),
        })
    }

    /// Memory that the activations of the largest piece take, at most: heads are padded to the longest example.
    fn bytes(&self, batch: &Batch, pieces: &[Range<usize>], recompute: bool, dropout: bool) -> usize {
        let padded = |piece: &Range<usize>| {
            let sizes = piece.clone().map(|example| rows(batch, example));
            let longest = sizes.fold((0, 0), |most, size| (most.0.max(size.0), most.1.max(size.1)));
            Counts::of(piece.clone().map(|_| longest))
        };
        let counts = pieces.iter().map(padded).fold(Counts::default(), Counts::max);
        self.dims.learning_bytes(counts, recompute, dropout)
    }

    fn step(&mut self, rate: f64, share: f64) -> Result<()> {
        let mut optimizers = self.optimizers.iter_mut().peekable();
        for (start, tensor) in self.parameters.tensors_mut() {
            let gradient = match self.gradient.take(start) {
                Some(gradient) if share == 1.0 => gradient,
                Some(gradient) => (gradient * share)?,
                None => tensor.zeros_like()?,
            };
            // Queries, keys and values are one tensor here, and three for an optimiser.
            let end = start + tensor.elem_count();
            let mut moved = Vec::new();
            while let Some((place, optimizer)) = optimizers.next_if(|(place, _)| place.start < end) {
                let own = |all: &Tensor| {
                    all.flatten_all()?.narrow(0, place.start - start, place.len())?.reshape(optimizer.shape())
                };
                let (parameters, gradient) = (own(tensor)?, own(&gradient)?);
                moved.push(optimizer.step(&parameters, &gradient, rate)?);
            }
            *tensor = Tensor::cat(&moved, 0)?.reshape(tensor.shape())?;
        }
        Ok(())
    }

    fn fetch(&self, learning: &mut WeightOptimizer) -> Result<()> {
        let values = learning.parameters_mut();
        for (start, tensor) in self.parameters.tensors() {
            let tensor = tensor.flatten_all()?.to_vec1::<f32>()?;
            values[start..start + tensor.len()].copy_from_slice(&tensor);
        }
        let mut moments = Vec::new();
        for (_, optimizer) in &self.optimizers {
            moments.extend(optimizer.moments()?);
        }
        learning.restore_moments(self.optimizers[0].1.step_count(), moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Weights;
    use crate::ml::random::Stream;
    use crate::ml::train::optim::{AdafactorSettings, Settings};

    const LOSS: CrossEntropy = CrossEntropy { z_loss: 1e-4, label_smoothing: 0.0 };

    fn learning() -> WeightOptimizer {
        let dims = Dims::v1_1(60, 32, (2, 16), 64, (4, 4));
        let weights = Weights::random(dims, &mut Stream::new(0, "weights"));
        WeightOptimizer::by_tensor(weights, &Settings::Adafactor(AdafactorSettings::of_weights()))
    }

    fn batch(examples: usize) -> Batch {
        let mut stream = Stream::new(1, "rows");
        let mut batch = Batch::default();
        for _ in 0..examples {
            let length = 1 + stream.below(40);
            let ids: Vec<u32> = (0..length).map(|_| stream.below(60) as u32).collect();
            batch.push(0, &ids, &[3, 1]);
        }
        batch
    }

    fn state(memory: usize) -> State {
        State::new(&learning(), &Device::Cpu, memory).unwrap()
    }

    /// Bytes that a batch needs in pieces of so many rows.
    fn needed(batch: &Batch, rows: usize, recompute: bool) -> usize {
        state(0).bytes(batch, &cut(batch, rows), recompute, false)
    }

    #[test]
    fn pieces_become_smaller_and_then_activations_are_computed_twice() {
        let batch = batch(400);
        let needed = |rows, recompute| needed(&batch, rows, recompute);
        for (memory, pieces, recompute) in [
            (needed(ROWS, false), 1..=1, false),
            (needed(ROWS, false) - 1, 2..=2, false),
            (needed(WORTHWHILE_ROWS, false), 5..=5, false),
            (needed(WORTHWHILE_ROWS, false) - 1, 2..=9, true),
            (needed(1, true), 400..=400, true),
        ] {
            let state = state(memory);
            let (found, twice) = state.pieces(&batch, false).unwrap();
            assert!(pieces.contains(&found.len()) && twice == recompute, "{} pieces in {memory} bytes", found.len());
            assert!(state.bytes(&batch, &found, twice, false) <= memory);
        }
        let error = state(1000).pieces(&batch, false).unwrap_err().to_string();
        assert!(error.contains("`memory` is 1 MiB for activations, expected at least "), "{error}");
    }

    #[test]
    fn pieces_have_the_gradient_of_the_whole() {
        let batch = batch(12);
        let [whole, pieces] = [usize::MAX, needed(&batch, 1, true)].map(|memory| {
            let mut state = state(memory);
            let loss = state.gradients(&batch, LOSS, None).unwrap();
            let embedding = state.gradient.take(0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (loss, embedding, state.pieces(&batch, false).unwrap().0.len())
        });
        assert_eq!((whole.2, pieces.2), (1, 12));
        assert!((pieces.0.sum - whole.0.sum).abs() < 1e-6 * whole.0.sum && pieces.0.tokens == whole.0.tokens);
        let length = whole.1.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let apart = pieces.1.iter().zip(&whole.1).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        assert!(apart < 1e-5 * length, "{apart} of {length}");
    }

    #[test]
    fn what_a_device_learned_is_fetched() {
        let (mut learning, batch) = (learning(), batch(12));
        let before = learning.weights().data().to_vec();
        let mut learner = DeviceLearner::new(Device::Cpu, usize::MAX);
        learner.fetch(&mut learning).unwrap();
        assert!(learning.weights().data() == before, "nothing is there");
        learner.gradients(&learning, &batch, LOSS, None).unwrap();
        assert!(learner.is_finite().unwrap());
        learner.step(0.01, 1.0).unwrap();
        assert!(learning.weights().data() == before && learning.step_count() == 0, "it is on the device");
        learner.fetch(&mut learning).unwrap();
        assert_eq!(learning.step_count(), 1);
        let slots = learning.weights().layout.slots().to_vec();
        for slot in slots {
            assert!(learning.weights().data()[slot.place.clone()] != before[slot.place.clone()], "{}", slot.name);
        }
        assert!(learning.moments().iter().all(|moment| moment.iter().any(|v| *v > 0.0)));
    }
}
