//! All weights of a model as something that learns: parameters, their gradient, and an optimiser for each tensor.

use super::Moments;
use super::optim::{Optimizer, Settings};
use crate::ml::error::{Error, Result};
use crate::ml::model::{Place, Weights};
use rayon::prelude::*;
use std::sync::Arc;

/// Weights and what moves them.
pub struct WeightOptimizer {
    weights: Arc<Weights>,
    /// Of the parameters, in the same layout: matrix after matrix, `[V, E]` of the embedding first.
    pub gradient: Vec<f32>,
    /// Neighbours, from the first parameter to the last.
    optimizers: Vec<(Place, Optimizer)>,
}

impl WeightOptimizer {
    /// An optimiser for each tensor, as Adafactor needs it.
    pub fn new(weights: Weights, settings: &Settings) -> Self {
        let optimizer = |slot: &crate::ml::model::Slot| {
            let shape = match slot.shape[..] {
                [rows, columns] => (rows, columns),
                _ => (1, slot.place.len()),
            };
            (slot.place.clone(), Optimizer::new(settings.clone(), shape))
        };
        let optimizers = weights.layout.slots().iter().map(optimizer).collect();
        let gradient = vec![0.0; weights.layout.len()];
        Self { weights: Arc::new(weights), gradient, optimizers }
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// Weights to compute with, and their gradient, `[n]`, to add to.
    pub fn parts(&mut self) -> (&Weights, &mut [f32]) {
        (&self.weights, &mut self.gradient)
    }

    /// The parameters in the order of their layout, `[n]`, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.weights).data_mut()
    }

    /// What looks after which parameters, from the first to the last.
    pub fn optimizers(&self) -> &[(Place, Optimizer)] {
        &self.optimizers
    }

    /// The running moments, tensor after tensor: of each `[rows, columns]`, or `[rows]` and `[columns]` if it is factored.
    pub fn moments(&self) -> Moments<'_> {
        let values = self.optimizers.iter().flat_map(|(_, optimizer)| optimizer.moments());
        Moments { seen: self.optimizers[0].1.step_count(), values: values.map(Vec::as_slice).collect() }
    }

    /// A name for each of [`moments`](Self::moments): the tensor's, and which of its moments it is.
    pub fn moment_names(&self) -> Vec<String> {
        let tensors = self.weights.layout.slots().iter().zip(&self.optimizers);
        let names = tensors.flat_map(|(slot, (_, optimizer))| {
            (0..optimizer.moments().len()).map(|i| format!("{}.moment_{i}", slot.name))
        });
        names.collect()
    }

    /// Takes up parameters, `[n]`, and moments, `[n]` each, that have seen `seen` updates.
    ///
    /// # Errors
    /// If they are of another model or optimiser.
    pub fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        if parameters.len() != self.weights.layout.len() {
            return Err(Error::Checkpoint("the weights have another size".to_owned()));
        }
        self.restore_moments(seen, moments)?;
        self.parameters_mut().copy_from_slice(parameters);
        Ok(())
    }

    /// Takes up moments, `[n]` each, that have seen `seen` updates.
    ///
    /// # Errors
    /// If they are of another model or optimiser.
    pub fn restore_moments(&mut self, seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        let mut moments = moments.into_iter();
        for (_, optimizer) in &mut self.optimizers {
            let own = moments.by_ref().take(optimizer.moments().len()).collect();
            optimizer.restore(seen, own)?;
        }
        match moments.next() {
            None => Ok(()),
            Some(_) => Err(Error::Checkpoint("the optimiser state belongs to other settings".to_owned())),
        }
    }

    /// Moves the weights against the gradient. Every tensor is moved as if it were alone.
    pub fn update(&mut self, rate: f64) {
        let mut rest = Arc::make_mut(&mut self.weights).data_mut();
        let mut tensors = Vec::with_capacity(self.optimizers.len());
        for (place, optimizer) in &mut self.optimizers {
            let (own, others) = rest.split_at_mut(place.len());
            tensors.push((own, &self.gradient[place.clone()], optimizer));
            rest = others;
        }
        tensors.into_par_iter().for_each(|(parameters, gradient, optimizer)| {
            optimizer.step(parameters, gradient, rate);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Dims;
    use crate::ml::random::Stream;
    use crate::ml::train::optim::{AdafactorSettings, AdamWSettings};

    fn weights() -> Weights {
        let dims = Dims::v1_1(150, 128, (2, 64), 160, (1, 1));
        Weights::random(dims, &mut Stream::new(0, "weights"))
    }

    fn learn(optimizer: &mut WeightOptimizer, steps: std::ops::Range<u64>) {
        for step in steps {
            let mut stream = Stream::new(step, "gradient");
            optimizer.gradient.fill_with(|| stream.normal() as f32);
            optimizer.update(1e-3);
        }
    }

    #[test]
    fn big_matrices_are_factored_and_all_tensors_are_covered() {
        let optimizer = WeightOptimizer::new(weights(), &Settings::Adafactor(AdafactorSettings::of_weights()));
        let lengths = optimizer.moments().values.into_iter().map(<[f32]>::len);
        let moments: Vec<(String, usize)> = optimizer.moment_names().into_iter().zip(lengths).collect();
        let find = |name: &str| moments.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}")).1;
        assert_eq!((find("shared.weight.moment_0"), find("shared.weight.moment_1")), (150, 128));
        assert_eq!(find("encoder.block.0.layer.0.layer_norm.weight.moment_0"), 128);
        let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight.moment_0";
        assert_eq!(find(bias), 32 * 2);
        let mut end = 0;
        for (place, _) in &optimizer.optimizers {
            assert_eq!(place.start, end);
            end = place.end;
        }
        assert_eq!(end, optimizer.gradient.len());
    }

    #[test]
    fn one_that_goes_on_gives_the_bits_of_one_that_never_stopped() {
        let settings = Settings::Adafactor(AdafactorSettings::of_weights());
        let mut whole = WeightOptimizer::new(weights(), &settings);
        learn(&mut whole, 0..6);
        let mut first = WeightOptimizer::new(weights(), &settings);
        learn(&mut first, 0..4);
        let mut second = WeightOptimizer::new(weights(), &settings);
        let Moments { seen, values } = first.moments();
        let moments = values.into_iter().map(<[f32]>::to_vec).collect();
        second.restore(first.weights().data(), seen, moments).unwrap();
        learn(&mut second, 4..6);
        assert!(second.weights().data() == whole.weights().data());
        assert!(second.moments().values == whole.moments().values);
        assert_eq!(second.moments().seen, 6);
    }

    #[test]
    fn moments_of_another_optimiser_are_refused() {
        let adamw = Settings::AdamW(AdamWSettings::default());
        let other = WeightOptimizer::new(weights(), &adamw);
        let moments: Vec<Vec<f32>> = other.moments().values.into_iter().map(<[f32]>::to_vec).collect();
        let mut optimizer = WeightOptimizer::new(weights(), &Settings::Adafactor(AdafactorSettings::of_weights()));
        assert!(optimizer.restore_moments(1, moments.clone()).is_err());
        let mut more = moments;
        more.push(vec![0.0]);
        assert!(WeightOptimizer::new(weights(), &adamw).restore_moments(1, more).is_err());
        assert!(optimizer.restore(&[0.0], 1, Vec::new()).is_err());
    }
}
