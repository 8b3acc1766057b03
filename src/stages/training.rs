//! How prompts and models are trained, in the words of a manifest. Each kind has the parameters that it understands written out, as
//! serde's `flatten` would spoil the messages about others; all of them come to the same [`Settings`].

use crate::engine::stage::Issue;
use crate::ml::error::{Error, Result};
use crate::ml::model::Sharing;
use crate::ml::train::examples::{Batching, Size};
use crate::ml::train::optim::{self, AdafactorSettings, Shape};
use crate::ml::train::settings::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a prompt is tuned. The defaults are the paper's (Vu et al. 2022, sections 2 and 3; `prompt_finetune.gin` of
/// google-research/prompt-tuning), but for the number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromptTraining {
    /// Updates of the prompt. SPoT: 262,144 for sources, 100,000 for targets; Lester et al.: 30,000.
    pub steps: u64,
    /// Examples in an update. However many, memory is bounded: gradients are accumulated over parts that fit.
    pub batch_size: usize,
    /// Batches among which neighbours in length are brought together, so that a device that pads its batches computes less
    /// padding; 1 leaves every batch a random sample.
    #[serde(skip_serializing_if = "is_one")]
    pub length_window: usize,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(window: &usize) -> bool {
    *window == 1
}

impl Default for PromptTraining {
    fn default() -> Self {
        let Settings {
            steps,
            learning_rate,
            schedule,
            warmup_steps,
            optimizer,
            dropout,
            dropout_sharing,
            z_loss,
            label_smoothing,
            evaluate_every,
            patience,
        } = Settings::default();
        Self {
            steps,
            batch_size: 32,
            length_window: 1,
            learning_rate,
            schedule,
            warmup_steps,
            optimizer,
            dropout,
            dropout_sharing,
            z_loss,
            label_smoothing,
            evaluate_every,
            patience,
        }
    }
}

impl PromptTraining {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        self.batching().check()?;
        self.settings().check()
    }

    /// That of a job with these parameters, if it tunes prompts.
    pub fn of(params: &serde_json::Value) -> Option<Self> {
        Self::deserialize(params.get("training")?).ok()
    }

    /// The learning rate, if it is far from those at which prompts learn with Adafactor: its updates have the size of the rate,
    /// whatever the gradient's, and must be of the order of the rows of an embedding. The papers take 0.3 (Lester et al. 2021,
    /// section 3; Vu et al. 2022, section 2.1); 0.001, usual for models, leaves a prompt where it began.
    pub fn unusual_rate(&self) -> Option<f64> {
        let is_plain = matches!(&self.optimizer, optim::Settings::Adafactor(own) if !own.multiply_by_parameter_scale);
        (is_plain && !(0.03..=3.0).contains(&self.learning_rate)).then_some(self.learning_rate)
    }

    /// What a batch holds.
    pub(super) fn batching(&self) -> Batching {
        Batching { size: Size::Examples(self.batch_size), length_window: self.length_window }
    }

    /// What is not of prompts alone.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            steps: self.steps,
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
}

/// How a model is tuned. The defaults are those of model tuning in the paper (Vu et al. 2022, section 2), but for the number of
/// steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTraining {
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

#[expect(clippy::ref_option, reason = "serde hands over a reference")]
fn is_usual(tokens: &Option<usize>) -> bool {
    tokens.is_none_or(|tokens| tokens == BATCH_TOKENS)
}

impl Default for ModelTraining {
    fn default() -> Self {
        let Settings {
            steps,
            learning_rate: _,
            schedule,
            warmup_steps,
            optimizer: _,
            dropout,
            dropout_sharing,
            z_loss,
            label_smoothing,
            evaluate_every,
            patience,
        } = Settings::default();
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
            evaluate_every,
            patience,
        }
    }
}

impl ModelTraining {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range, or a batch that is measured twice.
    pub fn check(&self) -> Result<()> {
        if let (Some(_), Some(tokens)) = (self.batch_size, self.batch_tokens) {
            let (found, expected) = (format!("{tokens} beside a `batch_size`"), "one of the two".to_owned());
            return Err(Error::Setting { field: "batch_tokens", found, expected });
        }
        self.batching().check()?;
        self.settings().check()
    }

    /// What a batch holds.
    pub(super) fn batching(&self) -> Batching {
        Batching::of(match self.batch_size {
            Some(examples) => Size::Examples(examples),
            None => Size::Tokens(self.batch_tokens.unwrap_or(BATCH_TOKENS)),
        })
    }

    /// What is not of models alone.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            steps: self.steps,
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
}

/// Which checkpoint of a tuning is its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhichCheckpoint {
    /// The best on the validation splits.
    #[default]
    Best,
    /// The last, so that `patience` has no place beside it.
    Final,
}

impl WhichCheckpoint {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(super) fn is_best(&self) -> bool {
        *self == Self::Best
    }

    /// The last checkpoint of a tuning that stops early would be the one that others had been better than for longest.
    ///
    /// # Errors
    /// If it is asked for beside `patience`.
    pub(super) fn check(self, patience: u64) -> std::result::Result<(), Issue> {
        if self == Self::Final && patience > 0 {
            let message =
                format!("is {patience}, but `checkpoint: final` asks for the last step; leave out one of the two");
            return Err(Issue::new("training.patience", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_str, json, to_value};

    /// What recipes have of training that is not spelt out; a change would give every job another key.
    #[test]
    fn what_is_left_out_is_written_with_the_defaults() {
        let adafactor = |decay: f64| {
            json!({"decay_rate": 0.8, "weight_decay": decay, "clipping_threshold": 1.0, "epsilon": 1e-30,
                "min_dim_size_to_factor": 128, "step_origin": 0})
        };
        let common = json!({"steps": 1000, "schedule": "constant", "warmup_steps": 0, "dropout": 0.1,
            "dropout_sharing": "sequence", "z_loss": 1e-4, "label_smoothing": 0.0, "evaluate_every": 500, "patience": 0});
        let with = |more: Value| {
            let mut all = common.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let mut of_weights = adafactor(0.0);
        of_weights["multiply_by_parameter_scale"] = json!(true);
        let prompt = json!({"batch_size": 32, "learning_rate": 0.3, "optimizer": {"adafactor": adafactor(1e-5)}});
        let model = json!({"learning_rate": 0.001, "optimizer": {"adafactor": of_weights}});
        assert_eq!(to_value(from_str::<PromptTraining>("{}").unwrap()).unwrap(), with(prompt));
        assert_eq!(to_value(from_str::<ModelTraining>("{}").unwrap()).unwrap(), with(model));
    }

    #[test]
    fn each_kind_refuses_the_parameters_of_the_other() {
        assert!(from_str::<PromptTraining>(r#"{"batch_tokens": 9}"#).is_err());
        assert!(from_str::<ModelTraining>(r#"{"length_window": 9}"#).is_err());
    }

    #[test]
    fn a_batch_has_a_number_of_examples_or_of_tokens() {
        let read = |json: &str| from_str::<ModelTraining>(json).unwrap();
        let error = read(r#"{"batch_size": 8, "batch_tokens": 9}"#).check().unwrap_err().to_string();
        assert_eq!(error, "`batch_tokens` is 9 beside a `batch_size`, expected one of the two");
        assert!(read(r#"{"batch_tokens": 0}"#).check().is_err());
        let written = |json: &str| to_value(read(json)).unwrap();
        assert_eq!(written("{}"), written(r#"{"batch_tokens": 65536}"#), "one recipe, however it is written");
        assert_eq!(written(r#"{"batch_size": 8}"#)["batch_size"], 8);
    }
}
