//! Prompt tuning (Lester et al. 2021): one soft prompt learns one task, or a mixture of tasks, through a frozen T5.

use super::examples::Examples;
use super::optim::Optimizer;
use super::settings::Settings;
use super::{Learner, Moments, Step, tokens};
use crate::ml::batcher::Client;
use crate::ml::error::{Error, Result};
use crate::ml::prompt::Prompt;

/// A prompt that learns.
pub struct PromptLearner<'d> {
    model: Client,
    examples: Examples<'d>,
    settings: Settings,
    prompt: Prompt,
    /// `[P, E]`.
    gradient: Vec<f32>,
    optimizer: Optimizer,
}

impl<'d> PromptLearner<'d> {
    /// A prompt that has learned nothing yet.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(model: Client, examples: Examples<'d>, settings: Settings, prompt: Prompt) -> Result<Self> {
        settings.check()?;
        let optimizer = Optimizer::new(settings.optimizer.clone(), (prompt.length(), prompt.width));
        Ok(Self { model, examples, settings, prompt, gradient: Vec::new(), optimizer })
    }

    /// The prompt as it is now.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The model that it learns through.
    pub fn model(&self) -> &Client {
        &self.model
    }
}

impl Learner for PromptLearner<'_> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gradients(&mut self, step: u64) -> Result<Step> {
        let batch = self.examples.batch(step)?;
        let dropout = self.settings.dropout(self.examples.seed(), step, batch.len());
        let tokens = tokens(&batch);
        let (loss, gradient) = self.model.gradients(&self.prompt.values, batch, self.settings.loss(), dropout)?;
        self.gradient = gradient;
        let share = self.settings.share(&loss);
        if share != 1.0 {
            self.gradient.iter_mut().for_each(|g| *g *= share);
        }
        Ok(Step { losses: vec![loss], tokens })
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(self.gradient.iter().all(|g| g.is_finite()))
    }

    fn update(&mut self, rate: f64) -> Result<()> {
        self.optimizer.step(&mut self.prompt.values, &self.gradient, rate);
        Ok(())
    }

    fn parameters(&self) -> &[f32] {
        &self.prompt.values
    }

    fn moments(&self) -> Moments<'_> {
        let values = self.optimizer.moments().iter().map(Vec::as_slice).collect();
        Moments { seen: self.optimizer.step_count(), values }
    }

    fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        if parameters.len() != self.prompt.values.len() {
            return Err(Error::Checkpoint("the prompt has another shape".to_owned()));
        }
        self.optimizer.restore(seen, moments)?;
        self.prompt.values.copy_from_slice(parameters);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::batcher::{self, Batcher};
    use crate::ml::model::{Dims, Weights};
    use crate::ml::random::Stream;
    use crate::ml::train::examples::{Batching, Size};
    use crate::ml::train::mixture::Mixing;
    use std::sync::Arc;

    fn batcher() -> (Batcher, usize) {
        let dims = Dims::from_json(include_bytes!("../../../tests/golden/t5_v1_1/config.json")).unwrap();
        let width = dims.width;
        let weights = Arc::new(Weights::random(dims, &mut Stream::new(0, "weights")));
        let settings = batcher::Settings { device: "cpu".to_owned(), threads: 1, memory: usize::MAX };
        (Batcher::start(&weights, &settings).unwrap(), width)
    }

    /// Texts of 1 to 40 ids.
    fn rows() -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut stream = Stream::new(1, "rows");
        (0..203).map(|i| (vec![2 + i % 30; 1 + stream.below(40)], vec![3, 1])).collect()
    }

    /// A prompt of two rows that learns from four examples at a time.
    fn learner<'d>(
        (batcher, width): &(Batcher, usize),
        rows: &'d [(Vec<u32>, Vec<u32>)],
        settings: Settings,
    ) -> PromptLearner<'d> {
        let train: Vec<_> = rows.iter().map(|(input, target)| (&input[..], &target[..])).collect();
        let batching = Batching::of(Size::Examples(4));
        let examples = Examples::new(vec![train], Mixing::default(), batching, 7).unwrap();
        let prompt = Prompt { values: vec![0.1; 2 * width], width: *width };
        PromptLearner::new(batcher.client("test"), examples, settings, prompt).unwrap()
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_tuning_and_leaves_the_prompt() {
        let (model, rows) = (batcher(), rows());
        let mut learner = learner(&model, &rows, Settings { learning_rate: 1e300, ..Settings::default() });
        let (error, before) = (0..5)
            .find_map(|step| {
                let before = learner.prompt().clone();
                learner.step(step).err().map(|error| (error, before))
            })
            .expect("a learning rate of 1e300 does harm");
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        assert_eq!(*learner.prompt(), before);
    }

    #[test]
    fn a_prompt_that_goes_on_gives_the_bits_of_one_that_never_stopped() {
        let (model, rows) = (batcher(), rows());
        let start = || learner(&model, &rows, Settings::default());
        let (mut whole, mut first, mut second) = (start(), start(), start());
        (0..7).for_each(|step| drop(whole.step(step).unwrap()));
        (0..4).for_each(|step| drop(first.step(step).unwrap()));
        let Moments { seen, values } = first.moments();
        let moments: Vec<Vec<f32>> = values.into_iter().map(<[f32]>::to_vec).collect();
        assert_eq!(seen, 4);
        second.restore(first.parameters(), seen, moments.clone()).unwrap();
        (4..7).for_each(|step| drop(second.step(step).unwrap()));
        assert!(second.parameters() == whole.parameters());
        let error = second.restore(&first.parameters()[1..], seen, moments).unwrap_err();
        assert_eq!(error.to_string(), "the prompt has another shape");
    }

    /// Adafactor does not mind the size of a gradient, gradient descent does.
    #[test]
    fn an_optimiser_that_minds_the_size_of_a_gradient_gets_that_of_a_mean() {
        let (model, rows) = (batcher(), rows());
        let gradient = |json: &str| {
            let optimizer = serde_json::from_str(json).unwrap();
            let mut learner = learner(&model, &rows, Settings { optimizer, ..Settings::default() });
            let step = learner.gradients(0).unwrap();
            assert_eq!(step.losses[0].tokens, 8, "two tokens of each of four targets");
            learner.gradient
        };
        let (sum, mean) = (gradient(r#"{"adafactor": {}}"#), gradient(r#"{"sgd": {}}"#));
        assert!(sum.iter().zip(&mean).all(|(sum, mean)| sum / 8.0 == *mean));
    }
}
