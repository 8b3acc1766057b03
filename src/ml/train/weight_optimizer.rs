//! All weights of a model as something that learns: parameters, their gradient, and an optimiser for each tensor.

use super::optim::{Optimizer, Settings};
use crate::ml::error::{Error, Result};
use crate::ml::model::{Place, Weights};
use rayon::prelude::*;
use std::sync::Arc;

/// Weights and what moves them.
pub struct WeightOptimizer {
    weights: Arc<Weights>,
    /// Of the parameters, in the same layout.
    pub gradient: Vec<f32>,
    /// Neighbours, from the first parameter to the last.
    optimizers: Vec<(Place, Optimizer)>,
}

impl WeightOptimizer {
    /// An optimiser for each tensor, as Adafactor needs it.
    pub fn by_tensor(weights: Weights, settings: &Settings) -> Self {
        let optimizer = |slot: &crate::ml::model::Slot| {
            let shape = match slot.shape[..] {
                [rows, columns] => (rows, columns),
                _ => (1, slot.place.len()),
            };
            (slot.place.clone(), Optimizer::new(settings.clone(), shape))
        };
        let optimizers = weights.layout.slots().iter().map(optimizer).collect();
        Self::new(weights, optimizers)
    }

    /// One for all parameters together, for optimisers that do not look at neighbours.
    pub fn joint(weights: Weights, settings: Settings) -> Self {
        let parameters = weights.layout.len();
        Self::new(weights, vec![(0..parameters, Optimizer::new(settings, (1, parameters)))])
    }

    fn new(weights: Weights, optimizers: Vec<(Place, Optimizer)>) -> Self {
        let gradient = vec![0.0; weights.layout.len()];
        Self { weights: Arc::new(weights), gradient, optimizers }
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// Weights to compute with, and the gradient to add to.
    pub fn parts(&mut self) -> (&Weights, &mut [f32]) {
        (&self.weights, &mut self.gradient)
    }

    /// The parameters, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.weights).data_mut()
    }

    /// What looks after which parameters, from the first to the last.
    pub fn optimizers(&self) -> &[(Place, Optimizer)] {
        &self.optimizers
    }

    /// Updates that the moments know of.
    pub fn step_count(&self) -> u64 {
        self.optimizers[0].1.step_count()
    }

    /// The running moments, tensor after tensor.
    pub fn moments(&self) -> Vec<&[f32]> {
        self.optimizers.iter().flat_map(|(_, optimizer)| optimizer.moments()).map(Vec::as_slice).collect()
    }

    /// A name for each of [`moments`](Self::moments): the tensor's, and which of its moments it is.
    pub fn moment_names(&self) -> Vec<String> {
        let names = |(place, optimizer): &(Place, Optimizer)| {
            let slot = self.weights.layout.slots().iter().find(|slot| slot.place == *place);
            let name = slot.map_or("weights", |slot| slot.name.as_str());
            (0..optimizer.moments().len()).map(|i| format!("{name}.moment_{i}")).collect::<Vec<_>>()
        };
        self.optimizers.iter().flat_map(names).collect()
    }

    /// Takes up parameters.
    ///
    /// # Errors
    /// If they are of a model of another size.
    pub fn restore_weights(&mut self, parameters: &[f32]) -> Result<()> {
        if parameters.len() != self.weights.layout.len() {
            return Err(Error::Checkpoint("the weights have another size".to_owned()));
        }
        self.parameters_mut().copy_from_slice(parameters);
        Ok(())
    }

    /// Takes up moments that have seen `step` updates.
    ///
    /// # Errors
    /// If they are of another model or optimiser.
    pub fn restore_moments(&mut self, step: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        let mut moments = moments.into_iter();
        for (_, optimizer) in &mut self.optimizers {
            let own = moments.by_ref().take(optimizer.moments().len()).collect();
            optimizer.restore(step, own)?;
        }
        match moments.next() {
            None => Ok(()),
            Some(_) => Err(Error::Checkpoint("the optimiser state belongs to other settings".to_owned())),
        }
    }

    /// Moves the weights against the gradient. Every tensor is moved as if it were alone.
    pub fn step(&mut self, rate: f64) {
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
            optimizer.step(1e-3);
        }
    }

    #[test]
    fn big_matrices_are_factored_and_all_tensors_are_covered() {
        let optimizer = WeightOptimizer::by_tensor(weights(), &Settings::Adafactor(AdafactorSettings::of_weights()));
        let moments: Vec<(String, usize)> =
            optimizer.moment_names().into_iter().zip(optimizer.moments().iter().map(|m| m.len())).collect();
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
        let mut whole = WeightOptimizer::by_tensor(weights(), &settings);
        learn(&mut whole, 0..6);
        let mut first = WeightOptimizer::by_tensor(weights(), &settings);
        learn(&mut first, 0..4);
        let mut second = WeightOptimizer::by_tensor(weights(), &settings);
        second.restore_weights(first.weights().data()).unwrap();
        let moments = first.moments().into_iter().map(<[f32]>::to_vec).collect();
        second.restore_moments(first.step_count(), moments).unwrap();
        learn(&mut second, 4..6);
        assert!(second.weights().data() == whole.weights().data() && second.moments() == whole.moments());
        assert_eq!(second.step_count(), 6);
    }

    #[test]
    fn moments_of_another_optimiser_are_refused() {
        let adamw = Settings::AdamW(AdamWSettings::default());
        let other = WeightOptimizer::by_tensor(weights(), &adamw);
        let moments: Vec<Vec<f32>> = other.moments().into_iter().map(<[f32]>::to_vec).collect();
        let mut optimizer =
            WeightOptimizer::by_tensor(weights(), &Settings::Adafactor(AdafactorSettings::of_weights()));
        assert!(optimizer.restore_moments(1, moments.clone()).is_err());
        let mut joint = WeightOptimizer::joint(weights(), adamw.clone());
        assert!(joint.restore_moments(1, moments.clone()).is_err());
        let mut more = moments.clone();
        more.push(vec![0.0]);
        assert!(WeightOptimizer::by_tensor(weights(), &adamw).restore_moments(1, more).is_err());
        assert!(optimizer.restore_weights(&[0.0]).is_err());
    }

    /// AdamW looks at one parameter at a time, so it does not matter who looks after it.
    #[test]
    fn adamw_is_the_same_by_tensor_and_joint() {
        let settings = Settings::AdamW(AdamWSettings::default());
        let mut apart = WeightOptimizer::by_tensor(weights(), &settings);
        let mut joint = WeightOptimizer::joint(weights(), settings);
        learn(&mut apart, 0..3);
        learn(&mut joint, 0..3);
        assert!(apart.weights().data() == joint.weights().data());
    }
}
