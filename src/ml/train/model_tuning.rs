//! Model tuning: all weights learn a task, or a mixture of tasks (Raffel et al. 2020, fine-tuning; the baseline of
//! Lester et al. 2021 and of SPoT).

use super::device_learning::DeviceWeights;
use super::examples::Examples;
use super::settings::Settings;
use super::weight_gradients::Workers;
use super::weight_optimizer::WeightOptimizer;
use super::{Learner, Moments, Step, tokens};
use crate::ml::error::{Error, Result};
use crate::ml::model::{Precision, Weights};
use candle_core::Device;
use std::sync::Arc;

/// Where a model learns.
pub enum Compute {
    /// On the CPU.
    Cpu(Workers),
    /// On a device, where the weights stay between steps. Activations may take `memory` bytes; on a GPU, half of what is free
    /// of its own.
    Device {
        /// Which.
        device: Device,
        /// Bytes that activations may take.
        memory: usize,
    },
}

/// A model that learns.
pub struct ModelLearner<'d> {
    host: WeightOptimizer,
    compute: Compute,
    /// The weights on a device, from the first step on.
    on_device: Option<Box<DeviceWeights>>,
    /// The device has taken steps that are not fetched.
    behind: bool,
    examples: Examples<'d>,
    settings: Settings,
}

impl<'d> ModelLearner<'d> {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// If a setting is out of range, or the weights are frozen in bf16.
    pub fn new(weights: Weights, compute: Compute, examples: Examples<'d>, settings: Settings) -> Result<Self> {
        settings.check()?;
        if weights.precision() == Precision::Bf16 {
            let expected = "`precision: f32`: small updates of weights in bf16 would be rounded away";
            return Err(Error::setting("backbone", "kept in bf16", expected));
        }
        let host = WeightOptimizer::new(weights, &settings.optimizer);
        Ok(Self { host, compute, on_device: None, behind: false, examples, settings })
    }

    /// The weights as they are now.
    ///
    /// # Panics
    /// If they are on a device and not [fetched](Learner::fetch) since the last step.
    pub fn weights(&self) -> &Arc<Weights> {
        self.host().weights()
    }

    /// A name for each of the [moments](Learner::moments): the tensor's, and which of its moments it is.
    pub fn moment_names(&self) -> Vec<String> {
        self.host.moment_names()
    }

    /// Before the first step: takes up the moments of an earlier run, `[n]` each, which have seen `seen` updates.
    ///
    /// # Errors
    /// If they are of another model or optimiser.
    pub fn take_up(&mut self, seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        self.leave_device();
        self.host.restore_moments(seen, moments)
    }

    fn host(&self) -> &WeightOptimizer {
        assert!(!self.behind, "the weights are on a device");
        &self.host
    }

    /// What is on a device is not what goes on.
    fn leave_device(&mut self) {
        self.on_device = None;
        self.behind = false;
    }
}

impl Learner for ModelLearner<'_> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gradients(&mut self, step: u64) -> Result<Step> {
        let batch = self.examples.batch(step)?;
        let dropout = self.settings.dropout(self.examples.seed(), step, batch.len());
        let (loss, dropout) = (self.settings.loss(), dropout.as_ref());
        let share = |loss: &_| self.settings.share(loss);
        let loss = match (&mut self.compute, &mut self.on_device) {
            (Compute::Cpu(workers), _) => {
                let (weights, gradient) = self.host.parts();
                gradient.fill(0.0);
                let loss = workers.gradients(weights, &batch, loss, dropout, gradient)?;
                let share = share(&loss);
                gradient.iter_mut().filter(|_| share != 1.0).for_each(|g| *g *= share);
                loss
            }
            (Compute::Device { .. }, Some(weights)) => weights.gradients(&batch, loss, dropout, share)?,
            (Compute::Device { device, memory }, none) => {
                let weights = none.insert(Box::new(DeviceWeights::new(&self.host, device, *memory)?));
                weights.gradients(&batch, loss, dropout, share)?
            }
        };
        Ok(Step { losses: vec![loss], tokens: tokens(&batch) })
    }

    fn is_finite(&self) -> Result<bool> {
        match &self.on_device {
            Some(weights) => weights.is_finite(),
            None => Ok(self.host.gradient.iter().all(|g| g.is_finite())),
        }
    }

    fn update(&mut self, rate: f64) -> Result<()> {
        match &mut self.on_device {
            Some(weights) => {
                self.behind = true;
                weights.update(rate)
            }
            None => {
                self.host.update(rate);
                Ok(())
            }
        }
    }

    fn fetch(&mut self) -> Result<()> {
        if let Some(weights) = self.on_device.as_ref().filter(|_| self.behind) {
            weights.fetch(&mut self.host)?;
            self.behind = false;
        }
        Ok(())
    }

    fn parameters(&self) -> &[f32] {
        self.weights().data()
    }

    fn moments(&self) -> Moments<'_> {
        self.host().moments()
    }

    fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        self.leave_device();
        self.host.restore(parameters, seen, moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::{Dims, open};
    use crate::ml::random::Stream;
    use crate::ml::train::examples::{Batching, Size};
    use crate::ml::train::mixture::Mixing;
    use crate::ml::train::optim::{self, AdafactorSettings};

    fn weights() -> Weights {
        let dims = Dims::v1_1(60, 32, (2, 16), 64, (1, 1));
        Weights::random(dims, &mut Stream::new(0, "weights"))
    }

    /// A text of some ids, and as target whether it has more of 10 than of 11.
    fn rows() -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut stream = Stream::new(1, "rows");
        let row = |_| {
            let input: Vec<u32> = (0..7).map(|_| 10 + stream.below(2) as u32).collect();
            let tens = input.iter().filter(|id| **id == 10).count();
            (input, vec![if tens > 3 { 20 } else { 21 }, 1])
        };
        (0..300).map(row).collect()
    }

    fn learner<'d>(rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelLearner<'d> {
        on(Compute::Cpu(Workers::new(2, usize::MAX).unwrap()), rows, settings)
    }

    /// On CPU tensors, or on the GPU number `SPOT_GPU`.
    fn device_learner<'d>(rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelLearner<'d> {
        let device = match std::env::var("SPOT_GPU") {
            Ok(index) => open(&format!("cuda:{index}")),
            Err(_) => open("candle"),
        };
        on(Compute::Device { device: device.unwrap(), memory: usize::MAX }, rows, settings)
    }

    /// Batches of at most 512 tokens.
    fn on<'d>(compute: Compute, rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelLearner<'d> {
        ModelLearner::new(weights(), compute, examples(rows), settings.clone()).unwrap()
    }

    fn examples(rows: &[(Vec<u32>, Vec<u32>)]) -> Examples<'_> {
        let pairs: Vec<_> = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        Examples::new(vec![pairs], Mixing::default(), Batching::of(Size::Tokens(512)), 7).unwrap()
    }

    fn settings() -> Settings {
        let optimizer = optim::Settings::Adafactor(AdafactorSettings::of_weights());
        Settings { optimizer, learning_rate: 0.02, dropout: 0.0, ..Settings::default() }
    }

    fn learn(learner: &mut ModelLearner<'_>, steps: std::ops::Range<u64>) {
        steps.for_each(|step| drop(learner.step(step).unwrap()));
    }

    /// Takes up what another has learned.
    fn go_on(learner: &mut ModelLearner<'_>, from: &ModelLearner<'_>) {
        let Moments { seen, values } = from.moments();
        learner.restore(from.parameters(), seen, values.into_iter().map(<[f32]>::to_vec).collect()).unwrap();
    }

    #[test]
    fn all_weights_learn_a_task_that_they_could_not_do() {
        let rows = rows();
        let mut learner = learner(&rows, &settings());
        let losses: Vec<f64> = (0..120).map(|step| learner.step(step).unwrap().loss()).collect();
        let (first, last) = (losses[0], losses[110..].iter().sum::<f64>() / 10.0);
        assert!(first > 1.0 && last < 0.1, "from {first} to {last}");
    }

    #[test]
    fn a_model_that_goes_on_gives_the_bits_of_one_that_never_stopped() {
        let rows = rows();
        let settings = Settings { dropout: 0.1, ..settings() };
        let mut whole = learner(&rows, &settings);
        learn(&mut whole, 0..7);
        let mut first = learner(&rows, &settings);
        learn(&mut first, 0..4);
        let mut second = learner(&rows, &settings);
        go_on(&mut second, &first);
        learn(&mut second, 4..7);
        assert!(second.parameters() == whole.parameters());
    }

    /// Relative to how far the weights have moved. Adafactor divides by the size of a gradient however small it is, so that
    /// what is rounding in a gradient can be as large as an update.
    #[test]
    fn a_device_learns_as_the_cpu_does() {
        let rows = rows();
        let adamw = optim::Settings::AdamW(optim::AdamWSettings::default());
        let sgd = optim::Settings::Sgd(optim::SgdSettings { momentum: 0.9, weight_decay: 0.0 });
        for (optimizer, bound) in [(settings().optimizer, 1e-3), (adamw, 1e-3), (sgd, 1e-4)] {
            let settings = Settings { optimizer, dropout: 0.1, label_smoothing: 0.1, ..settings() };
            let (mut cpu, mut device) = (learner(&rows, &settings), device_learner(&rows, &settings));
            let start = cpu.parameters().to_vec();
            for step in 0..5 {
                let (expected, found) = (cpu.step(step).unwrap(), device.step(step).unwrap());
                assert_eq!(found.tokens, expected.tokens);
                let (found, expected) = (found.loss(), expected.loss());
                assert!((found - expected).abs() < 1e-4 * expected, "{found}, expected {expected}");
            }
            device.fetch().unwrap();
            assert_eq!(device.moments().seen, 5);
            let length =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
            let (found, expected) = (device.parameters(), cpu.parameters());
            let astray = length(found, expected) / length(expected, &start);
            assert!(astray < bound, "{:?}: {astray}", settings.optimizer);
        }
    }

    #[test]
    fn a_device_goes_on_with_the_bits_of_one_that_never_stopped() {
        let rows = rows();
        let settings = Settings { dropout: 0.1, ..settings() };
        let mut whole = device_learner(&rows, &settings);
        learn(&mut whole, 0..7);
        let mut first = device_learner(&rows, &settings);
        learn(&mut first, 0..4);
        first.fetch().unwrap();
        // Looking at the weights does not move them.
        let mut second = device_learner(&rows, &settings);
        learn(&mut second, 0..2);
        go_on(&mut second, &first);
        learn(&mut first, 4..7);
        learn(&mut second, 4..7);
        [&mut first, &mut second, &mut whole].into_iter().for_each(|learner| learner.fetch().unwrap());
        for learner in [&first, &second] {
            assert!(learner.parameters() == whole.parameters());
            assert!(learner.moments().values == whole.moments().values);
        }
    }

    #[test]
    #[should_panic(expected = "the weights are on a device")]
    fn weights_that_are_elsewhere_are_not_shown() {
        let rows = rows();
        let mut learner = device_learner(&rows, &settings());
        learner.step(0).unwrap();
        learner.parameters();
    }

    /// As T5X's restored state: steps are counted anew, moments are not.
    #[test]
    fn moments_that_are_taken_up_change_the_first_step() {
        let rows = rows();
        let mut first = learner(&rows, &settings());
        learn(&mut first, 0..4);
        let mut fresh = learner(&rows, &settings());
        let mut restored = learner(&rows, &settings());
        let Moments { seen, values } = first.moments();
        restored.take_up(seen, values.into_iter().map(<[f32]>::to_vec).collect()).unwrap();
        assert_eq!(fresh.step(0).unwrap().losses, restored.step(0).unwrap().losses);
        assert_eq!((fresh.moments().seen, restored.moments().seen), (1, 5));
        assert!(fresh.parameters() != restored.parameters());
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_tuning_and_leaves_the_weights() {
        let rows = rows();
        let settings = Settings { learning_rate: 1e300, ..settings() };
        for mut learner in [learner(&rows, &settings), device_learner(&rows, &settings)] {
            let (error, before) = (0..5)
                .find_map(|step| {
                    learner.fetch().unwrap();
                    let before = learner.parameters().to_vec();
                    learner.step(step).err().map(|error| (error, before))
                })
                .expect("a learning rate of 1e300 does harm");
            assert!(matches!(error, Error::Diverged { .. }), "{error}");
            learner.fetch().unwrap();
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
            assert!(learner.parameters().iter().zip(&before).all(same));
        }
    }

    #[test]
    fn weights_in_bf16_are_refused() {
        let rows = rows();
        let compute = Compute::Cpu(Workers::new(1, usize::MAX).unwrap());
        let learner = ModelLearner::new(weights().to_bf16(), compute, examples(&rows), settings());
        let error = learner.err().unwrap().to_string();
        assert!(error.contains("`backbone` is kept in bf16, expected `precision: f32`"), "{error}");
    }
}
