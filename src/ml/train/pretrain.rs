//! Pretraining of a small T5 v1.1 from text: span corruption (Raffel et al. 2020, section 3.1.4), then prefix language
//! modelling (the "LM adaptation" of Lester et al. 2021), beside supervised text-to-text rows.

use super::optim::{self, AdamWSettings, Schedule, Shape};
use super::weight_optimizer::WeightOptimizer;
use crate::ml::error::{Error, Result};
use crate::ml::model::CrossEntropy;
use crate::ml::model::Weights;
use crate::ml::model::batch::Batch;
use crate::ml::model::cpu::{Engine, Gradients};
use crate::ml::random::Stream;
use crate::ml::text::tokens::Tokens;
use crate::ml::world;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model is pretrained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the weights.
    pub steps: u64,
    /// Of these, the last ones that learn prefix language modelling instead of span corruption.
    pub adaptation_steps: u64,
    /// Windows of text in an update.
    pub texts: usize,
    /// Of the windows, the share that comes from the generator of the built-in world, not from the corpus.
    pub generated_share: f64,
    /// Supervised rows of the built-in world in an update.
    pub rows: usize,
    /// Weight of the loss of the text windows beside that of the rows (both are means over tokens).
    pub text_weight: f64,
    /// Ids of a window of text.
    pub window: usize,
    /// Share of a window's ids that span corruption hides.
    pub noise_density: f64,
    /// Mean length of a hidden span.
    pub mean_span: f64,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Steps in which it rises.
    pub warmup_steps: u64,
    /// Course of the learning rate after the warm-up.
    pub schedule: Shape,
    /// AdamW.
    pub optimizer: AdamWSettings,
    /// Gradients longer than this (Euclidean norm over all weights) are shortened to it.
    pub clip_norm: f64,
    /// Factor of log(Z)² in the loss.
    pub z_loss: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 20_000,
            adaptation_steps: 4_000,
            texts: 8,
            generated_share: 0.5,
            rows: 56,
            text_weight: 0.5,
            window: 48,
            noise_density: 0.15,
            mean_span: 3.0,
            learning_rate: 4e-4,
            warmup_steps: 500,
            schedule: Shape::Linear,
            optimizer: AdamWSettings { beta2: 0.98, ..AdamWSettings::default() },
            clip_norm: 1.0,
            z_loss: 1e-4,
        }
    }
}

impl Settings {
    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |field, found: String, expected: &str| Err(Error::Setting { field, found, expected: expected.to_owned() });
        if self.steps == 0 {
            return wrong("steps", "0".to_owned(), "at least 1");
        }
        if self.adaptation_steps > self.steps {
            return wrong("adaptation_steps", self.adaptation_steps.to_string(), "at most `steps`");
        }
        if self.texts + self.rows == 0 {
            return wrong("rows", "0 beside `texts` 0".to_owned(), "something to learn from");
        }
        if !(8..=4096).contains(&self.window) {
            return wrong("window", self.window.to_string(), "8 to 4096");
        }
        if !(self.noise_density > 0.0 && self.noise_density < 1.0) {
            return wrong("noise_density", self.noise_density.to_string(), "between 0 and 1");
        }
        if !(0.0..=1.0).contains(&self.generated_share) {
            return wrong("generated_share", self.generated_share.to_string(), "0 to 1");
        }
        if !(self.mean_span >= 1.0 && self.mean_span.is_finite()) {
            return wrong("mean_span", self.mean_span.to_string(), "at least 1");
        }
        for (field, value) in [("learning_rate", self.learning_rate), ("clip_norm", self.clip_norm)] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(field, value.to_string(), "above 0");
            }
        }
        optim::Settings::AdamW(self.optimizer.clone()).check()
    }
}

/// Ids of the shortest text that is worth learning from.
pub const SHORTEST: usize = 4;

/// A corpus as ids.
pub struct Corpus {
    ids: Vec<u32>,
}

impl Corpus {
    /// Paragraphs one after the other, each closed by eos.
    pub fn new<'t>(paragraphs: impl Iterator<Item = &'t str>, tokens: &Tokens) -> Result<Self> {
        let mut ids = Vec::new();
        for paragraph in paragraphs {
            ids.extend(tokens.encode(paragraph, usize::MAX)?);
        }
        Ok(Self { ids })
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// `length` neighbouring ids.
    fn window(&self, length: usize, stream: &mut Stream) -> &[u32] {
        let length = length.min(self.ids.len());
        let start = stream.below(self.ids.len() - length + 1);
        &self.ids[start..start + length]
    }
}

/// A model in the middle of pretraining.
pub struct Pretrainer<'a> {
    learning: WeightOptimizer,
    tokens: &'a Tokens,
    sentinels: Vec<u32>,
    corpus: &'a Corpus,
    settings: Settings,
    seed: u64,
    step: u64,
}

/// Mean losses of a token in one step.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Of the windows of text.
    pub text: f64,
    /// Of the supervised rows.
    pub rows: f64,
}

impl<'a> Pretrainer<'a> {
    /// A model that has learned nothing yet.
    pub fn new(
        weights: Weights,
        tokens: &'a Tokens,
        corpus: &'a Corpus,
        settings: Settings,
        seed: u64,
    ) -> Result<Self> {
        settings.check()?;
        let sentinels = tokens.sentinels();
        let wanted = (settings.window as f64 * settings.noise_density / settings.mean_span).ceil() as usize + 1;
        if sentinels.len() < wanted {
            return Err(Error::Tokenizer(format!("has {} sentinels, span corruption needs {wanted}", sentinels.len())));
        }
        if settings.texts > 0 && settings.generated_share < 1.0 && corpus.is_empty() {
            return Err(Error::Setting {
                field: "corpus",
                found: "empty".to_owned(),
                expected: "text, or `generated_share: 1`".to_owned(),
            });
        }
        let learning = WeightOptimizer::joint(weights, optim::Settings::AdamW(settings.optimizer.clone()));
        Ok(Self { learning, tokens, sentinels, corpus, settings, seed, step: 0 })
    }

    /// Updates done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Weights {
        self.learning.weights()
    }

    /// The optimiser's moments, for a checkpoint.
    pub fn moments(&self) -> Vec<&[f32]> {
        self.learning.moments()
    }

    /// Goes on where a run was after `step` updates.
    pub fn restore(&mut self, step: u64, weights: &[f32], moments: Vec<Vec<f32>>) -> Result<()> {
        self.learning.restore_moments(step, moments)?;
        self.learning.restore_weights(weights)?;
        self.step = step;
        Ok(())
    }

    /// One update; the losses before it.
    pub fn step(&mut self) -> Result<Losses> {
        let mut stream = Stream::new(self.seed, &format!("pretraining step {}", self.step));
        let (texts, rows) = (self.texts(&mut stream)?, self.rows(&mut stream)?);
        self.learning.gradient.fill(0.0);
        let losses =
            Losses { text: self.accumulate(&texts, self.settings.text_weight)?, rows: self.accumulate(&rows, 1.0)? };
        let schedule = Schedule {
            peak: self.settings.learning_rate,
            shape: self.settings.schedule,
            warmup: self.settings.warmup_steps,
            steps: self.settings.steps,
        };
        let rate = schedule.rate(self.step + 1);
        let gradient = &mut self.learning.gradient;
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::Diverged { step: self.step + 1, loss: losses.text + losses.rows, rate });
        }
        if norm > self.settings.clip_norm {
            let factor = (self.settings.clip_norm / norm) as f32;
            gradient.iter_mut().for_each(|g| *g *= factor);
        }
        self.learning.step(rate);
        self.step += 1;
        Ok(losses)
    }

    /// Adds `weight` times the gradient of the mean loss of a token; that loss.
    fn accumulate(&mut self, batch: &Batch, weight: f64) -> Result<f64> {
        if batch.is_empty() {
            return Ok(0.0);
        }
        let tokens = batch.targets.ids().len() as f64;
        // The engine adds gradients of sums: what is there already is brought to its scale, and everything back after.
        let scale = (weight / tokens) as f32;
        let (weights, gradient) = self.learning.parts();
        gradient.iter_mut().for_each(|g| *g /= scale);
        let settings = CrossEntropy { z_loss: self.settings.z_loss as f32, label_smoothing: 0.0 };
        let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&mut *gradient) };
        let losses = Engine::new(weights).gradients(&[&[]], batch, settings, None, gradients);
        gradient.iter_mut().for_each(|g| *g *= scale);
        Ok(losses[0].mean())
    }

    fn texts(&self, stream: &mut Stream) -> Result<Batch> {
        let mut batch = Batch::default();
        let adapts = self.step >= self.settings.steps - self.settings.adaptation_steps;
        for _ in 0..self.settings.texts {
            let generated;
            let ids = if stream.chance(self.settings.generated_share) {
                let mut ids = self.tokens.pieces(&world::plain(stream))?;
                ids.truncate(self.settings.window);
                generated = ids;
                &generated[..]
            } else {
                self.corpus.window(self.settings.window, stream)
            };
            if ids.len() < SHORTEST {
                continue;
            }
            let (input, target) = if adapts { self.prefix(ids, stream) } else { self.corrupt(ids, stream) };
            batch.push(0, &input, &target);
        }
        Ok(batch)
    }

    fn rows(&self, stream: &mut Stream) -> Result<Batch> {
        let mut batch = Batch::default();
        for _ in 0..self.settings.rows {
            let row = world::rows(stream);
            batch.push(0, &self.tokens.encode(&row.input, 128)?, &self.tokens.encode(&row.target, 32)?);
        }
        Ok(batch)
    }

    /// A text cut in two at a random place: the model continues it.
    fn prefix(&self, ids: &[u32], stream: &mut Stream) -> (Vec<u32>, Vec<u32>) {
        let cut = prefix_length(ids.len(), stream);
        let close = |part: &[u32]| part.iter().copied().chain([self.weights().dims.eos]).collect();
        (close(&ids[..cut]), close(&ids[cut..]))
    }

    /// Random spans become sentinels in the input; the target lists the sentinels with what they hide
    /// (`random_spans_noise_mask` in T5's `preprocessors.py`).
    fn corrupt(&self, ids: &[u32], stream: &mut Stream) -> (Vec<u32>, Vec<u32>) {
        let length = ids.len();
        let noise = ((length as f64 * self.settings.noise_density).round() as usize).clamp(1, length - 1);
        let spans = ((noise as f64 / self.settings.mean_span).round() as usize).clamp(1, noise.min(length - noise));
        let hidden = partition(noise, spans, stream);
        let shown = partition(length - noise, spans, stream);
        let (mut input, mut target) = (Vec::with_capacity(length), Vec::with_capacity(noise + spans + 1));
        let mut at = 0;
        for ((hidden, shown), sentinel) in hidden.into_iter().zip(shown).zip(&self.sentinels) {
            input.extend(&ids[at..at + shown]);
            input.push(*sentinel);
            target.push(*sentinel);
            target.extend(&ids[at + shown..at + shown + hidden]);
            at += shown + hidden;
        }
        input.push(self.weights().dims.eos);
        target.push(self.weights().dims.eos);
        (input, target)
    }
}

/// Where a text of `length` ids is cut in two for prefix language modelling: anywhere with equal probability, so that half
/// of the ids are predicted on average (`random_prefix_noise_mask` in T5's `preprocessors.py`, noise density 0.5).
///
/// # Panics
/// If there are fewer than two ids.
pub fn prefix_length(length: usize, stream: &mut Stream) -> usize {
    1 + stream.below(length - 1)
}

/// `total` as a sum of `parts` positive numbers, every composition equally likely.
fn partition(total: usize, parts: usize, stream: &mut Stream) -> Vec<usize> {
    let mut cuts = stream.sample(total - 1, parts - 1);
    cuts.sort_unstable();
    let mut sizes = Vec::with_capacity(parts);
    let mut last = 0;
    for cut in cuts {
        sizes.push(cut + 1 - last);
        last = cut + 1;
    }
    sizes.push(total - last);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_anywhere_but_at_its_ends() {
        let mut stream = Stream::new(0, "cuts");
        let mut seen = [0; 6];
        (0..5000).for_each(|_| seen[prefix_length(6, &mut stream)] += 1);
        assert!(seen[0] == 0 && seen[1..].iter().all(|count| (900..1100).contains(count)), "{seen:?}");
        assert_eq!(prefix_length(2, &mut stream), 1);
    }

    #[test]
    fn a_partition_has_positive_parts_and_the_right_sum() {
        let mut stream = Stream::new(0, "partition");
        for total in 1..30 {
            for parts in 1..=total {
                let sizes = partition(total, parts, &mut stream);
                assert_eq!(sizes.len(), parts);
                assert_eq!(sizes.iter().sum::<usize>(), total);
                assert!(sizes.iter().all(|size| *size > 0));
            }
        }
    }
}
