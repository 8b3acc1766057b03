//! Pretraining of a small T5 v1.1 from text: span corruption (Raffel et al. 2020, section 3.1.4), then prefix language
//! modelling (the "LM adaptation" of Lester et al. 2021), beside supervised text-to-text rows.

use super::optim::in_range;
use super::settings::Settings;
use super::weight_optimizer::WeightOptimizer;
use super::{Learner, Moments, Step, tokens};
use crate::ml::error::{Error, Result};
use crate::ml::model::Weights;
use crate::ml::model::batch::Batch;
use crate::ml::model::cpu::{Engine, Gradients, Loss};
use crate::ml::random::Stream;
use crate::ml::text::tokens::Tokens;
use crate::ml::world;

/// What a model is pretrained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The last steps, which learn prefix language modelling instead of span corruption.
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
    /// Gradients longer than this (Euclidean norm over all weights) are shortened to it.
    pub clip_norm: f64,
}

impl Objective {
    /// Checks the ranges, in a run of `steps` steps.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self, steps: u64) -> Result<()> {
        if self.adaptation_steps > steps {
            return Err(Error::setting("adaptation_steps", self.adaptation_steps, "at most `steps`"));
        }
        if self.texts + self.rows == 0 {
            return Err(Error::setting("rows", "0 beside `texts` 0", "something to learn from"));
        }
        if !(8..=4096).contains(&self.window) {
            return Err(Error::setting("window", self.window, "8 to 4096"));
        }
        let Self { noise_density, generated_share, mean_span, clip_norm, .. } = *self;
        in_range("noise_density", noise_density, noise_density > 0.0 && noise_density < 1.0, "between 0 and 1")?;
        in_range("generated_share", generated_share, (0.0..=1.0).contains(&generated_share), "0 to 1")?;
        in_range("mean_span", mean_span, mean_span >= 1.0 && mean_span.is_finite(), "at least 1")?;
        in_range("clip_norm", clip_norm, clip_norm > 0.0 && clip_norm.is_finite(), "above 0")
    }

    /// The most sentinels that a window needs, and one more.
    fn sentinels(&self) -> usize {
        (self.window as f64 * self.noise_density / self.mean_span).ceil() as usize + 1
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
    ///
    /// # Errors
    /// If the tokenizer cannot take a text.
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

/// A model that is pretrained.
pub struct Pretrainer<'a> {
    host: WeightOptimizer,
    tokens: &'a Tokens,
    sentinels: Vec<u32>,
    corpus: &'a Corpus,
    objective: Objective,
    settings: Settings,
    seed: u64,
}

impl<'a> Pretrainer<'a> {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// If a setting is out of range, the tokenizer has too few sentinels, or there is no text to learn from.
    pub fn new(
        weights: Weights,
        tokens: &'a Tokens,
        corpus: &'a Corpus,
        objective: Objective,
        settings: Settings,
        seed: u64,
    ) -> Result<Self> {
        objective.check(settings.steps)?;
        let (sentinels, wanted) = (tokens.sentinels(), objective.sentinels());
        if sentinels.len() < wanted {
            return Err(Error::Tokenizer(format!("has {} sentinels, span corruption needs {wanted}", sentinels.len())));
        }
        if objective.texts > 0 && objective.generated_share < 1.0 && corpus.is_empty() {
            return Err(Error::setting("corpus", "empty", "text, or `generated_share: 1`"));
        }
        let host = WeightOptimizer::new(weights, &settings.optimizer);
        Ok(Self { host, tokens, sentinels, corpus, objective, settings, seed })
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Weights {
        self.host.weights()
    }

    /// Adds `weight` times the gradient of the mean loss of a token; the loss.
    fn accumulate(&mut self, batch: &Batch, weight: f64) -> Loss {
        if batch.is_empty() {
            return Loss::default();
        }
        let tokens = batch.targets.ids().len() as f64;
        // The engine adds gradients of sums: what is there already is brought to its scale, and everything back after.
        let scale = (weight / tokens) as f32;
        let (weights, gradient) = self.host.parts();
        gradient.iter_mut().for_each(|g| *g /= scale);
        let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&mut *gradient) };
        let losses = Engine::new(weights).gradients(&[&[]], batch, self.settings.loss(), None, gradients);
        gradient.iter_mut().for_each(|g| *g *= scale);
        losses[0]
    }

    /// Shortens the gradient of all weights to the longest that is allowed.
    fn clip(&mut self) {
        let gradient = &mut self.host.gradient;
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        if norm > self.objective.clip_norm {
            let factor = (self.objective.clip_norm / norm) as f32;
            gradient.iter_mut().for_each(|g| *g *= factor);
        }
    }

    /// Windows of text for a step, corrupted or cut in two.
    fn texts(&self, step: u64, stream: &mut Stream) -> Result<Batch> {
        let mut batch = Batch::default();
        let adapts = step >= self.settings.steps - self.objective.adaptation_steps;
        for _ in 0..self.objective.texts {
            let generated;
            let ids = if stream.chance(self.objective.generated_share) {
                let mut ids = self.tokens.pieces(&world::plain(stream))?;
                ids.truncate(self.objective.window);
                generated = ids;
                &generated[..]
            } else {
                self.corpus.window(self.objective.window, stream)
            };
            if ids.len() < SHORTEST {
                continue;
            }
            let (input, target) = if adapts { self.prefix(ids, stream) } else { self.corrupt(ids, stream) };
            batch.push(0, &input, &target);
        }
        Ok(batch)
    }

    /// Supervised rows.
    fn rows(&self, stream: &mut Stream) -> Result<Batch> {
        let mut batch = Batch::default();
        for _ in 0..self.objective.rows {
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
        let noise = ((length as f64 * self.objective.noise_density).round() as usize).clamp(1, length - 1);
        let spans = ((noise as f64 / self.objective.mean_span).round() as usize).clamp(1, noise.min(length - noise));
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

impl Learner for Pretrainer<'_> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gradients(&mut self, step: u64) -> Result<Step> {
        let mut stream = Stream::new(self.seed, &format!("pretraining step {step}"));
        let (texts, rows) = (self.texts(step, &mut stream)?, self.rows(&mut stream)?);
        self.host.gradient.fill(0.0);
        let losses = vec![self.accumulate(&texts, self.objective.text_weight), self.accumulate(&rows, 1.0)];
        self.clip();
        Ok(Step { losses, tokens: tokens(&texts) + tokens(&rows) })
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(self.host.gradient.iter().all(|g| g.is_finite()))
    }

    fn update(&mut self, rate: f64) -> Result<()> {
        self.host.update(rate);
        Ok(())
    }

    fn parameters(&self) -> &[f32] {
        self.weights().data()
    }

    fn moments(&self) -> Moments<'_> {
        self.host.moments()
    }

    fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        self.host.restore(parameters, seen, moments)
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
    use crate::ml::model::Dims;
    use crate::ml::train::optim;

    #[test]
    fn a_text_is_cut_anywhere_but_at_its_ends() {
        let mut stream = Stream::new(0, "cuts");
        let mut seen = [0; 6];
        (0..5000).for_each(|_| seen[prefix_length(6, &mut stream)] += 1);
        assert!(seen[0] == 0 && seen[1..].iter().all(|count| (900..1100).contains(count)), "{seen:?}");
        assert_eq!(prefix_length(2, &mut stream), 1);
    }

    /// Two windows of generated text and two rows in a step.
    fn objective() -> Objective {
        Objective {
            adaptation_steps: 3,
            texts: 2,
            generated_share: 1.0,
            rows: 2,
            text_weight: 0.5,
            window: 16,
            noise_density: 0.15,
            mean_span: 3.0,
            clip_norm: 1.0,
        }
    }

    fn tokens_of_nano() -> Tokens {
        Tokens::from_json(include_bytes!("../../stages/nano/tokenizer.json"), 1).unwrap()
    }

    fn pretrainer<'a>(tokens: &'a Tokens, corpus: &'a Corpus, objective: Objective) -> Result<Pretrainer<'a>> {
        let dims = Dims::v1_1(tokens.size(), 16, (2, 8), 16, (1, 1));
        let weights = Weights::random(dims, &mut Stream::new(0, "weights"));
        let optimizer = optim::Settings::AdamW(optim::AdamWSettings::default());
        let settings = Settings { steps: 6, optimizer, learning_rate: 0.01, ..Settings::default() };
        Pretrainer::new(weights, tokens, corpus, objective, settings, 5)
    }

    #[test]
    fn a_model_that_goes_on_gives_the_bits_of_one_that_never_stopped() {
        let (tokens, corpus) = (tokens_of_nano(), Corpus { ids: Vec::new() });
        let start = || pretrainer(&tokens, &corpus, objective()).unwrap();
        let learn = |learner: &mut Pretrainer<'_>, steps: std::ops::Range<u64>| {
            steps.for_each(|step| assert_eq!(learner.step(step).unwrap().losses.len(), 2, "of texts and of rows"));
        };
        let (mut whole, mut first, mut second) = (start(), start(), start());
        learn(&mut whole, 0..6);
        learn(&mut first, 0..4);
        let Moments { seen, values } = first.moments();
        second.restore(first.parameters(), seen, values.into_iter().map(<[f32]>::to_vec).collect()).unwrap();
        learn(&mut second, 4..6);
        assert!(second.parameters() == whole.parameters() && second.moments().values == whole.moments().values);
    }

    #[test]
    fn a_long_gradient_is_shortened() {
        let (tokens, corpus) = (tokens_of_nano(), Corpus { ids: Vec::new() });
        let norm = |clip_norm| {
            let mut learner = pretrainer(&tokens, &corpus, Objective { clip_norm, ..objective() }).unwrap();
            learner.gradients(0).unwrap();
            learner.host.gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
        };
        let whole = norm(1e9);
        assert!(whole > 0.1, "{whole}");
        assert!((norm(0.01) - 0.01).abs() < 1e-6 && norm(2.0 * whole) == whole);
    }

    #[test]
    fn what_there_is_nothing_to_learn_from_is_refused() {
        let (tokens, corpus) = (tokens_of_nano(), Corpus { ids: Vec::new() });
        let refused = |objective| pretrainer(&tokens, &corpus, objective).err().unwrap().to_string();
        let error = refused(Objective { generated_share: 0.5, ..objective() });
        assert_eq!(error, "`corpus` is empty, expected text, or `generated_share: 1`");
        let error = refused(Objective { adaptation_steps: 7, ..objective() });
        assert_eq!(error, "`adaptation_steps` is 7, expected at most `steps`");
        let error = refused(Objective { window: 4096, noise_density: 0.5, mean_span: 1.0, ..objective() });
        assert_eq!(error, "tokenizer: has 16 sentinels, span corruption needs 2049");
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
