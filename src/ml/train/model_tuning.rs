//! Model tuning: all weights learn a task, or a mixture of tasks (Raffel et al. 2020, fine-tuning; the baseline of
//! Lester et al. 2021 and of SPoT).
//!
//! A [`ModelTuner`] is a loop taken apart, as [`Tuner`](super::prompt_tuning::Tuner) is for prompts, and learns from the same
//! stream of examples.

use super::device_learning::DeviceLearner;
use super::examples::{Examples, Pair, Size};
use super::mixture::Mixing;
use super::optim::{self, AdafactorSettings, Shape};
use super::prompt_tuning::{self, Step};
use super::weight_gradients::Lanes;
use super::weight_optimizer::WeightOptimizer;
use crate::ml::error::{Error, Result};
use crate::ml::model::Sharing;
use crate::ml::model::{Precision, Weights};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model is tuned. The defaults are the paper's (SCIENCE a.6), but for the number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the weights.
    pub steps: u64,
    /// Examples in an update; stands in place of `batch_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Tokens of inputs and targets in an update: examples are taken until the next would pass this. 65,536 if neither
    /// this nor `batch_size` is given.
    #[serde(skip_serializing_if = "is_usual")]
    pub batch_tokens: Option<usize>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub schedule: Shape,
    /// Steps in which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Optimiser; Adafactor relative to the size of the parameters and without weight decay if left out. Settings that are
    /// given start from the defaults of prompts: say `multiply_by_parameter_scale: true` among them.
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

/// Tokens of a batch in the paper.
const BATCH_TOKENS: usize = 1 << 16;
/// More tokens than these in a batch are a mistake.
const MOST_TOKENS: usize = 1 << 24;

#[expect(clippy::ref_option, reason = "serde hands over a reference")]
fn is_usual(tokens: &Option<usize>) -> bool {
    tokens.is_none_or(|tokens| tokens == BATCH_TOKENS)
}

impl Default for Settings {
    fn default() -> Self {
        let prompt_tuning::Settings {
            steps,
            schedule,
            warmup_steps,
            dropout,
            dropout_sharing,
            z_loss,
            label_smoothing,
            ..
        } = prompt_tuning::Settings::default();
        Self {
            steps,
            batch_size: None,
            batch_tokens: None,
            learning_rate: 0.001,
            schedule,
            warmup_steps,
            optimizer: optim::Settings::Adafactor(AdafactorSettings::of_weights()),
            dropout,
            dropout_sharing,
            z_loss,
            label_smoothing,
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
        match (self.batch_size, self.batch_tokens) {
            (Some(_), Some(tokens)) => {
                wrong("batch_tokens", format!("{tokens} beside a `batch_size`"), "one of the two")
            }
            (None, Some(tokens)) if tokens == 0 || tokens > MOST_TOKENS => {
                wrong("batch_tokens", tokens.to_string(), "1 to 16777216")
            }
            _ => self.common().check(),
        }
    }

    /// What is common to prompts and models.
    pub fn common(&self) -> prompt_tuning::Settings {
        prompt_tuning::Settings {
            steps: self.steps,
            batch_size: self.batch_size.unwrap_or(1),
            length_window: 1,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            optimizer: self.optimizer.clone(),
            dropout: self.dropout,
            dropout_sharing: self.dropout_sharing,
            z_loss: self.z_loss,
            label_smoothing: self.label_smoothing,
            evaluate_every: self.evaluate_every,
            patience: self.patience,
        }
    }

    fn size(&self) -> Size {
        match (self.batch_size, self.batch_tokens) {
            (Some(examples), _) => Size::Examples(examples),
            (None, tokens) => Size::Tokens(tokens.unwrap_or(BATCH_TOKENS)),
        }
    }
}

/// Where a model learns.
pub enum Compute {
    /// On the CPU.
    Cpu(Lanes),
    /// On a device, where the weights stay between steps.
    Device(DeviceLearner),
}

/// A model in the middle of learning.
pub struct ModelTuner<'d> {
    learning: WeightOptimizer,
    compute: Compute,
    /// A device has taken steps that are not fetched.
    behind: bool,
    examples: Examples<'d>,
    settings: prompt_tuning::Settings,
    seed: u64,
    step: u64,
}

impl<'d> ModelTuner<'d> {
    /// A run that has done nothing yet, on one task or on several, of which `mixing` says how often each is drawn.
    ///
    /// # Errors
    /// If a task has no example, a setting is out of range, or the weights are frozen in bf16.
    pub fn new(
        weights: Weights,
        compute: Compute,
        tasks: Vec<Vec<Pair<'d>>>,
        mixing: Mixing,
        settings: &Settings,
        seed: u64,
    ) -> Result<Self> {
        settings.check()?;
        if weights.precision() == Precision::Bf16 {
            return Err(Error::Setting {
                field: "backbone",
                found: "kept in bf16".to_owned(),
                expected: "`precision: f32`: small updates of weights in bf16 would be rounded away".to_owned(),
            });
        }
        let examples = Examples::new(tasks, mixing, settings.size(), 1, seed)?;
        let settings = settings.common();
        let learning = WeightOptimizer::by_tensor(weights, &settings.optimizer);
        Ok(Self { learning, compute, behind: false, examples, settings, seed, step: 0 })
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The weights as they are now, and their optimiser.
    ///
    /// # Panics
    /// If they are on a device and not [fetched](Self::fetch) since the last step.
    pub fn learning(&self) -> &WeightOptimizer {
        assert!(!self.behind, "the weights are on a device");
        &self.learning
    }

    /// Copies weights and optimiser from the device, if they are on one, so that they can be looked at.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&mut self) -> Result<()> {
        if let Compute::Device(learner) = &self.compute
            && self.behind
        {
            learner.fetch(&mut self.learning)?;
            self.behind = false;
        }
        Ok(())
    }

    /// Before the first step: takes up the moments of an earlier run, which have seen `seen` updates.
    ///
    /// # Errors
    /// If they are of another model or optimiser.
    pub fn take_up(&mut self, seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        self.leave_device();
        self.learning.restore_moments(seen, moments)
    }

    /// Goes on where a run was after `step` updates, with moments that have seen `seen`.
    ///
    /// # Errors
    /// If the state is of another model or optimiser.
    pub fn restore(&mut self, step: u64, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        self.leave_device();
        self.learning.restore_weights(parameters)?;
        self.learning.restore_moments(seen, moments)?;
        self.step = step;
        Ok(())
    }

    /// What is on a device is not what goes on.
    fn leave_device(&mut self) {
        if let Compute::Device(learner) = &mut self.compute {
            learner.forget();
        }
        self.behind = false;
    }

    /// One update; what it learned from.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or the gradient is no number any more; the weights are left as they were.
    pub fn step(&mut self) -> Result<Step> {
        let batch = self.examples.batch(self.step);
        let dropout = self.settings.dropout(self.seed, self.step, batch.len());
        let tokens = batch.inputs.ids().len() + batch.targets.ids().len();
        let (loss, dropout) = (self.settings.loss(), dropout.as_ref());
        let (loss, finite) = match &mut self.compute {
            Compute::Cpu(lanes) => {
                let (weights, gradient) = self.learning.parts();
                gradient.fill(0.0);
                let loss = lanes.gradients(weights, &batch, loss, dropout, gradient)?;
                (loss, gradient.iter().all(|g| g.is_finite()))
            }
            Compute::Device(learner) => {
                let loss = learner.gradients(&self.learning, &batch, loss, dropout)?;
                (loss, learner.is_finite()?)
            }
        };
        let rate = self.settings.schedule().rate(self.step + 1);
        if !finite || !loss.sum.is_finite() {
            return Err(Error::Diverged { step: self.step + 1, loss: loss.mean(), rate });
        }
        let mean = !self.settings.optimizer.is_scale_invariant();
        let share = if mean { 1.0 / loss.tokens.max(1) as f32 } else { 1.0 };
        match &mut self.compute {
            Compute::Cpu(_) => {
                self.learning.gradient.iter_mut().filter(|_| mean).for_each(|g| *g *= share);
                self.learning.step(rate);
            }
            Compute::Device(learner) => {
                self.behind = true;
                learner.step(rate, f64::from(share))?;
            }
        }
        self.step += 1;
        Ok(Step { loss, tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::{Dims, open};
    use crate::ml::random::Stream;

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

    fn tuner<'d>(rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelTuner<'d> {
        on(Compute::Cpu(Lanes::new(2, usize::MAX).unwrap()), rows, settings)
    }

    /// On CPU tensors, or on the GPU number `SPOT_GPU`.
    fn device_tuner<'d>(rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelTuner<'d> {
        let device = match std::env::var("SPOT_GPU") {
            Ok(index) => open(&format!("cuda:{index}")),
            Err(_) => open("candle"),
        };
        on(Compute::Device(DeviceLearner::new(device.unwrap(), usize::MAX)), rows, settings)
    }

    fn on<'d>(compute: Compute, rows: &'d [(Vec<u32>, Vec<u32>)], settings: &Settings) -> ModelTuner<'d> {
        let pairs = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        ModelTuner::new(weights(), compute, vec![pairs], Mixing::default(), settings, 7).unwrap()
    }

    fn settings() -> Settings {
        Settings { batch_tokens: Some(512), learning_rate: 0.02, dropout: 0.0, ..Settings::default() }
    }

    fn learn(tuner: &mut ModelTuner<'_>, steps: std::ops::Range<u64>) {
        for step in steps {
            assert_eq!(tuner.steps_done(), step);
            tuner.step().unwrap();
        }
    }

    #[test]
    fn all_weights_learn_a_task_that_they_could_not_do() {
        let rows = rows();
        let mut tuner = tuner(&rows, &settings());
        let losses: Vec<f64> = (0..120).map(|_| tuner.step().unwrap().loss.mean()).collect();
        let (first, last) = (losses[0], losses[110..].iter().sum::<f64>() / 10.0);
        assert!(first > 1.0 && last < 0.1, "from {first} to {last}");
    }

    #[test]
    fn a_tuner_that_goes_on_gives_the_bits_of_one_that_never_stopped() {
        let rows = rows();
        let settings = Settings { dropout: 0.1, ..settings() };
        let mut whole = tuner(&rows, &settings);
        learn(&mut whole, 0..7);
        let mut first = tuner(&rows, &settings);
        learn(&mut first, 0..4);
        let mut second = tuner(&rows, &settings);
        let moments = first.learning().moments().into_iter().map(<[f32]>::to_vec).collect();
        second.restore(4, first.learning().weights().data(), 4, moments).unwrap();
        learn(&mut second, 4..7);
        assert!(second.learning().weights().data() == whole.learning().weights().data());
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
            let (mut cpu, mut device) = (tuner(&rows, &settings), device_tuner(&rows, &settings));
            let start = cpu.learning().weights().data().to_vec();
            for _ in 0..5 {
                let (expected, found) = (cpu.step().unwrap(), device.step().unwrap());
                assert_eq!(found.tokens, expected.tokens);
                let (found, expected) = (found.loss.mean(), expected.loss.mean());
                assert!((found - expected).abs() < 1e-4 * expected, "{found}, expected {expected}");
            }
            device.fetch().unwrap();
            let (found, expected) = (device.learning(), cpu.learning());
            assert_eq!(found.step_count(), 5);
            let length =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
            let (found, expected) = (found.weights().data(), expected.weights().data());
            let astray = length(found, expected) / length(expected, &start);
            assert!(astray < bound, "{:?}: {astray}", settings.optimizer);
        }
    }

    #[test]
    fn a_device_goes_on_with_the_bits_of_one_that_never_stopped() {
        let rows = rows();
        let settings = Settings { dropout: 0.1, ..settings() };
        let mut whole = device_tuner(&rows, &settings);
        learn(&mut whole, 0..7);
        let mut first = device_tuner(&rows, &settings);
        learn(&mut first, 0..4);
        first.fetch().unwrap();
        // Looking at the weights does not move them.
        let mut second = device_tuner(&rows, &settings);
        learn(&mut second, 0..2);
        let moments: Vec<Vec<f32>> = first.learning().moments().into_iter().map(<[f32]>::to_vec).collect();
        second.restore(4, first.learning().weights().data(), 4, moments).unwrap();
        for tuner in [&mut first, &mut second, &mut whole] {
            learn(tuner, tuner.steps_done()..7);
            tuner.fetch().unwrap();
        }
        for tuner in [&first, &second] {
            assert!(tuner.learning().weights().data() == whole.learning().weights().data());
            assert!(tuner.learning().moments() == whole.learning().moments());
        }
    }

    #[test]
    #[should_panic(expected = "the weights are on a device")]
    fn weights_that_are_elsewhere_are_not_shown() {
        let rows = rows();
        let mut tuner = device_tuner(&rows, &settings());
        tuner.step().unwrap();
        tuner.learning();
    }

    /// As T5X's restored state: steps are counted anew, moments are not.
    #[test]
    fn moments_that_are_taken_up_change_the_first_step() {
        let rows = rows();
        let mut first = tuner(&rows, &settings());
        learn(&mut first, 0..4);
        let mut fresh = tuner(&rows, &settings());
        let mut restored = tuner(&rows, &settings());
        let moments = first.learning().moments().into_iter().map(<[f32]>::to_vec).collect();
        restored.take_up(first.learning().step_count(), moments).unwrap();
        assert_eq!(fresh.step().unwrap().loss, restored.step().unwrap().loss);
        assert_eq!((restored.steps_done(), restored.learning().step_count()), (1, 5));
        assert!(fresh.learning().weights().data() != restored.learning().weights().data());
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_tuning_and_leaves_the_weights() {
        let rows = rows();
        let settings = Settings { learning_rate: 1e300, ..settings() };
        for mut tuner in [tuner(&rows, &settings), device_tuner(&rows, &settings)] {
            let (error, before) = loop {
                tuner.fetch().unwrap();
                let before = tuner.learning().weights().data().to_vec();
                match tuner.step() {
                    Ok(_) => assert!(tuner.steps_done() < 5, "a learning rate of 1e300 did no harm"),
                    Err(error) => break (error, before),
                }
            };
            assert!(matches!(error, Error::Diverged { .. }), "{error}");
            tuner.fetch().unwrap();
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
            assert!(tuner.learning().weights().data().iter().zip(&before).all(same));
        }
    }

    #[test]
    fn weights_in_bf16_are_refused() {
        let rows = rows();
        let pairs = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        let lanes = Lanes::new(1, usize::MAX).unwrap();
        let compute = Compute::Cpu(lanes);
        let tuner = ModelTuner::new(weights().to_bf16(), compute, vec![pairs], Mixing::default(), &settings(), 7);
        let error = tuner.err().unwrap().to_string();
        assert!(error.contains("`backbone` is kept in bf16, expected `precision: f32`"), "{error}");
    }

    #[test]
    fn a_batch_has_a_number_of_examples_or_of_tokens() {
        let read = |json: &str| serde_json::from_str::<Settings>(json).unwrap();
        let error = read(r#"{"batch_size": 8, "batch_tokens": 9}"#).check().unwrap_err().to_string();
        assert_eq!(error, "`batch_tokens` is 9 beside a `batch_size`, expected one of the two");
        assert!(read(r#"{"batch_tokens": 0}"#).check().is_err());
        let written = |json: &str| serde_json::to_value(read(json)).unwrap();
        assert_eq!(written("{}"), written(r#"{"batch_tokens": 65536}"#), "one recipe, however it is written");
        assert_eq!(written(r#"{"batch_size": 8}"#)["batch_size"], 8);
    }
}
