//! All weights on a device that they learn on: weights, their gradient and the optimiser's moments stay there; batches go there, and
//! losses come back.

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

/// Rows of encoder and decoder in a micro-batch, about, if they fit.
const ROWS: usize = 16 * 1024;
/// Rather than micro-batches of fewer rows than these, activations are computed twice.
const WORTHWHILE_ROWS: usize = 2048;

/// Weights, their gradient and their optimisers on a device.
pub struct DeviceWeights {
    dims: Dims,
    layout: Layout,
    parameters: Parameters,
    gradient: Gradient,
    /// What the gradient is multiplied by, once it is used.
    share: f32,
    /// Neighbours, from the first parameter to the last.
    optimizers: Vec<(Place, DeviceOptimizer)>,
    /// Bytes that activations may take.
    memory: usize,
}

impl DeviceWeights {
    /// Copies of weights and moments. Activations may take `memory` bytes; on a GPU, half of what is free of its own.
    ///
    /// # Errors
    /// If the device fails, or has not memory enough.
    pub fn new(host: &WeightOptimizer, device: &Device, memory: usize) -> Result<Self> {
        let weights = host.weights();
        let parameters = Parameters::new(weights, device)?;
        let optimizers = host.optimizers().iter();
        let optimizers =
            optimizers.map(|(place, optimizer)| Ok((place.clone(), DeviceOptimizer::of(optimizer, device)?)));
        let optimizers = optimizers.collect::<Result<_>>()?;
        // The gradient is to come, and what is not an activation needs room as well. Memory that was used stays in use, and
        // the rest must do for evaluations.
        let gradient = weights.layout.len() * size_of::<f32>();
        let memory = parameters.free_memory()?.map_or(memory, |free| free.saturating_sub(gradient) / 2);
        let (dims, layout) = (weights.dims.clone(), weights.layout.clone());
        Ok(Self { dims, layout, parameters, gradient: Gradient::default(), share: 1.0, optimizers, memory })
    }

    /// The loss of a batch without prompts; keeps the gradient of the sum of its losses, times the share that goes with it.
    ///
    /// # Errors
    /// If the device fails, or not even one example fits its memory.
    pub fn gradients(
        &mut self,
        batch: &Batch,
        loss: CrossEntropy,
        dropout: Option<&Dropout>,
        share: impl Fn(&Loss) -> f32,
    ) -> Result<Loss> {
        let (micro_batches, recompute) = self.micro_batches(batch, dropout.is_some())?;
        let mut engine = Engine::on(&self.dims, &self.layout, self.parameters.clone());
        engine.recompute(recompute);
        self.gradient = Gradient::default();
        let mut total = Loss::default();
        for examples in &micro_batches {
            let (part, dropout) = part(batch, dropout, examples);
            let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&self.gradient) };
            let found = engine.gradients(&[&[]], &part, loss, dropout.as_ref(), gradients)?[0];
            total.sum += found.sum;
            total.tokens += found.tokens;
        }
        self.share = share(&total);
        Ok(total)
    }

    /// Whether every element of the gradient is a number and finite.
    ///
    /// # Errors
    /// If the device fails.
    pub fn is_finite(&self) -> Result<bool> {
        self.gradient.is_finite()
    }

    /// The largest micro-batches that fit the memory, and whether their activations are computed twice.
    fn micro_batches(&self, batch: &Batch, dropout: bool) -> Result<(Vec<Range<usize>>, bool)> {
        let sizes =
            |least: usize| std::iter::successors(Some(ROWS), |rows| Some(rows / 2)).take_while(move |r| *r >= least);
        let saved = sizes(WORTHWHILE_ROWS).map(|rows| (rows, false));
        let mut least = 0;
        for (rows, recompute) in saved.chain(sizes(1).map(|rows| (rows, true))) {
            let micro_batches = cut(batch, rows);
            least = self.bytes(batch, &micro_batches, recompute, dropout);
            if least <= self.memory {
                return Ok((micro_batches, recompute));
            }
        }
        let mib = |bytes: usize| format!("{} MiB", bytes.div_ceil(1 << 20));
        let expected = format!("at least {} for an example of a batch, or shorter examples", mib(least));
        Err(Error::setting("memory", &format!("{} for activations", mib(self.memory)), expected))
    }

    /// Memory that the activations of the largest micro-batch take, at most: heads are padded to the longest example.
    fn bytes(&self, batch: &Batch, micro_batches: &[Range<usize>], recompute: bool, dropout: bool) -> usize {
        let padded = |examples: &Range<usize>| {
            let sizes = examples.clone().map(|example| rows(batch, example));
            let longest = sizes.fold((0, 0), |most, size| (most.0.max(size.0), most.1.max(size.1)));
            Counts::of(examples.clone().map(|_| longest))
        };
        let counts = micro_batches.iter().map(padded).fold(Counts::default(), Counts::max);
        self.dims.learning_bytes(&self.layout, counts, recompute, dropout)
    }

    /// Moves the weights against the gradient, which it uses up.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self, rate: f64) -> Result<()> {
        let mut optimizers = self.optimizers.iter_mut().peekable();
        for (start, tensor) in self.parameters.tensors_mut() {
            let gradient = match self.gradient.take(start) {
                Some(gradient) if self.share == 1.0 => gradient,
                Some(gradient) => (gradient * f64::from(self.share))?,
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

    /// Copies weights and moments to where they came from.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&self, host: &mut WeightOptimizer) -> Result<()> {
        let values = host.parameters_mut();
        for (start, tensor) in self.parameters.tensors() {
            let tensor = tensor.flatten_all()?.to_vec1::<f32>()?;
            values[start..start + tensor.len()].copy_from_slice(&tensor);
        }
        let mut moments = Vec::new();
        for (_, optimizer) in &self.optimizers {
            moments.extend(optimizer.moments()?);
        }
        host.restore_moments(self.optimizers[0].1.step_count(), moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Weights;
    use crate::ml::random::Stream;
    use crate::ml::train::optim::{AdafactorSettings, Settings};

    const LOSS: CrossEntropy = CrossEntropy { z_loss: 1e-4, label_smoothing: 0.0 };

    fn host() -> WeightOptimizer {
        let dims = Dims::v1_1(60, 32, (2, 16), 64, (4, 4));
        let weights = Weights::random(dims, &mut Stream::new(0, "weights"));
        WeightOptimizer::new(weights, &Settings::Adafactor(AdafactorSettings::of_weights()))
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

    fn on_device(memory: usize) -> DeviceWeights {
        DeviceWeights::new(&host(), &Device::Cpu, memory).unwrap()
    }

    /// Bytes that a batch needs in micro-batches of this many rows.
    fn needed(batch: &Batch, rows: usize, recompute: bool) -> usize {
        on_device(0).bytes(batch, &cut(batch, rows), recompute, false)
    }

    #[test]
    fn micro_batches_become_smaller_and_then_activations_are_computed_twice() {
        let batch = batch(400);
        let needed = |rows, recompute| needed(&batch, rows, recompute);
        for (memory, count, recompute) in [
            (needed(ROWS, false), 1..=1, false),
            (needed(ROWS, false) - 1, 2..=2, false),
            (needed(WORTHWHILE_ROWS, false), 5..=5, false),
            (needed(WORTHWHILE_ROWS, false) - 1, 2..=9, true),
            (needed(1, true), 400..=400, true),
        ] {
            let weights = on_device(memory);
            let (found, twice) = weights.micro_batches(&batch, false).unwrap();
            assert!(count.contains(&found.len()) && twice == recompute, "{} of them in {memory} bytes", found.len());
            assert!(weights.bytes(&batch, &found, twice, false) <= memory);
        }
        let error = on_device(1000).micro_batches(&batch, false).unwrap_err().to_string();
        assert!(error.contains("`memory` is 1 MiB for activations, expected at least "), "{error}");
    }

    #[test]
    fn micro_batches_have_the_gradient_of_the_whole() {
        let batch = batch(12);
        let [whole, cut] = [usize::MAX, needed(&batch, 1, true)].map(|memory| {
            let mut weights = on_device(memory);
            let loss = weights.gradients(&batch, LOSS, None, |_| 1.0).unwrap();
            let embedding = weights.gradient.take(0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (loss, embedding, weights.micro_batches(&batch, false).unwrap().0.len())
        });
        assert_eq!((whole.2, cut.2), (1, 12));
        assert!((cut.0.sum - whole.0.sum).abs() < 1e-6 * whole.0.sum && cut.0.tokens == whole.0.tokens);
        let length = whole.1.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let apart = cut.1.iter().zip(&whole.1).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        assert!(apart < 1e-5 * length, "{apart} of {length}");
    }

    #[test]
    fn what_a_device_learned_is_fetched() {
        let (mut host, batch) = (host(), batch(12));
        let before = host.weights().data().to_vec();
        let mut weights = DeviceWeights::new(&host, &Device::Cpu, usize::MAX).unwrap();
        weights.gradients(&batch, LOSS, None, |_| 1.0).unwrap();
        assert!(weights.is_finite().unwrap());
        weights.update(0.01).unwrap();
        assert!(host.weights().data() == before && host.moments().seen == 0, "it is on the device");
        weights.fetch(&mut host).unwrap();
        assert_eq!(host.moments().seen, 1);
        let slots = host.weights().layout.slots().to_vec();
        for slot in slots {
            assert!(host.weights().data()[slot.place.clone()] != before[slot.place.clone()], "{}", slot.name);
        }
        assert!(host.moments().values.iter().all(|moment| moment.iter().any(|v| *v > 0.0)));
    }
}
