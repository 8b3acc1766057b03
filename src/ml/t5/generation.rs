//! Answers token by token, whatever engine reads the inputs and whatever decoder gives the logits.

use super::Dims;
use super::beam::{self, Beam};
use super::rank::{self, LabelScore};
use super::sample::{self, Sample};
use crate::ml::batch::Ragged;
use crate::ml::error::Result;
use crate::ml::kernels::{CrossEntropy, cross_entropy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How an answer is made of the probabilities of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Generation {
    /// The most probable token at each step.
    #[default]
    Greedy,
    /// The most probable answer that a beam search finds.
    Beam(Beam),
    /// Tokens drawn at random.
    Sample(Sample),
}

impl Generation {
    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Greedy => Ok(()),
            Self::Beam(settings) => settings.check(),
            Self::Sample(settings) => settings.check(),
        }
    }
}

/// Examples to answer: a prompt for each run, and for each example its run and its text.
#[derive(Clone, Copy)]
pub(super) struct Questions<'a> {
    pub(super) prompts: &'a [&'a [f32]],
    pub(super) run: &'a [usize],
    pub(super) inputs: &'a Ragged,
}

/// An engine that reads questions and makes decoders of their answers.
pub(super) trait Reader {
    /// What decoders look at: the questions as keys and values.
    type Memory;

    /// Sizes of the model.
    fn dims(&self) -> &Dims;

    /// Reads the questions.
    fn read(&mut self, questions: &Questions<'_>) -> Result<Self::Memory>;

    /// A decoder of up to `slots` texts of up to `longest` tokens.
    fn decoder<'d>(&'d self, memory: &'d Self::Memory, slots: usize, longest: usize) -> Result<Box<dyn Decode + 'd>>;
}

/// A decoder in the middle of texts.
pub(super) trait Decode {
    /// V.
    fn vocab(&self) -> usize;

    /// Reads `ids`, the tokens of all texts from `position` on, `[n]`, and gives their logits to `read`, some rows at a
    /// time: the first row, and `[rows, V]`, which `read` may overwrite.
    fn step(
        &mut self,
        texts: &[Texts],
        ids: &[u32],
        position: usize,
        read: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<()>;

    /// Overwrites what slot `to` keeps of the first `positions` with what slot `from` keeps.
    fn copy(&mut self, from: usize, to: usize, positions: usize);

    /// As [`step`](Self::step): the most probable next token of each text; of equal logits the lowest id wins.
    fn highest(&mut self, texts: &[Texts], ids: &[u32], position: usize) -> Result<Vec<u32>> {
        let (mut next, vocab) = (Vec::with_capacity(ids.len()), self.vocab());
        self.step(texts, ids, position, &mut |_, logits| next.extend(logits.chunks_exact(vocab).map(highest)))?;
        Ok(next)
    }

    /// As [`step`](Self::step), from the beginning: the negative log-likelihood of each of `targets`.
    fn losses(&mut self, texts: &[Texts], ids: &[u32], targets: &[u32]) -> Result<Vec<f32>> {
        let (mut losses, vocab) = (vec![0.0; targets.len()], self.vocab());
        self.step(texts, ids, 0, &mut |first, logits| {
            let rows = first..first + logits.len() / vocab;
            cross_entropy(LIKELIHOOD, &mut losses[rows.clone()], logits, &targets[rows], vocab);
        })?;
        Ok(losses)
    }
}

/// The loss that is the negative log-likelihood.
pub(super) const LIKELIHOOD: CrossEntropy = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };

/// Texts of an example that grow together, and look at its input together.
pub(super) struct Texts {
    /// Whose input they look at.
    pub(super) example: usize,
    /// Where the decoder keeps the keys and values of each.
    pub(super) slots: Vec<usize>,
    /// Tokens by which each grows.
    pub(super) tokens: usize,
}

/// Numbers that the cache of keys and values holds at one time: 256 MiB of f32. Few in tests, so that batches are cut there
/// too.
const CACHE: usize = if cfg!(test) { 1 << 14 } else { 1 << 26 };

/// Examples whose texts, `each` of up to `longest` tokens an example, share a cache: as many as it holds, but at least one.
pub(super) fn groups(
    dims: &Dims,
    examples: usize,
    each: usize,
    longest: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let size = each * longest * 2 * dims.inner() * dims.decoder_layers;
    let together = (CACHE / size.max(1)).max(1);
    (0..examples).step_by(together).map(move |first| first..(first + together).min(examples))
}

/// An answer to each question, without the closing eos; at most `longest` ids. `streams` is what samples are drawn from,
/// `[B]`.
pub(super) fn generate(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    streams: &[u64],
    longest: usize,
    generation: &Generation,
) -> Result<Vec<Vec<u32>>> {
    match generation {
        Generation::Greedy => greedy(reader, questions, longest),
        Generation::Beam(settings) => {
            let answers = beam::search(reader, questions, longest, *settings)?;
            Ok(answers.into_iter().map(|answer| answer.ids).collect())
        }
        Generation::Sample(settings) => sample::sample(reader, questions, streams, longest, *settings),
    }
}

/// The likelihood of every label for every question, `[B][L]`.
pub(super) fn label_scores(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    labels: &Ragged,
) -> Result<Vec<Vec<LabelScore>>> {
    rank::label_scores(reader, questions, labels)
}

/// The most probable continuation of each question, token by token.
pub(super) fn greedy(reader: &mut impl Reader, questions: &Questions<'_>, longest: usize) -> Result<Vec<Vec<u32>>> {
    token_by_token(reader, questions, longest, |step| step.decoder.highest(step.texts, step.last, step.position))
}

/// One step of texts, each an example's only one.
pub(super) struct Step<'a> {
    pub(super) decoder: &'a mut dyn Decode,
    /// The example of each text.
    pub(super) examples: &'a [usize],
    pub(super) texts: &'a [Texts],
    /// The last token of each.
    pub(super) last: &'a [u32],
    pub(super) position: usize,
}

/// Answers that grow by what `choose` makes of a step, an id for each text, up to eos or to `longest` ids.
pub(super) fn token_by_token(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    longest: usize,
    mut choose: impl FnMut(Step<'_>) -> Result<Vec<u32>>,
) -> Result<Vec<Vec<u32>>> {
    let mut answers = vec![Vec::new(); questions.run.len()];
    let memory = reader.read(questions)?;
    let (start, eos) = (reader.dims().start, reader.dims().eos);
    for group in groups(reader.dims(), answers.len(), 1, longest) {
        let mut decoder = reader.decoder(&memory, group.len(), longest)?;
        let mut active: Vec<usize> = group.clone().collect();
        let mut last = vec![start; active.len()];
        for position in 0..longest {
            let texts = active.iter().map(|e| Texts { example: *e, slots: vec![e - group.start], tokens: 1 });
            let texts: Vec<Texts> = texts.collect();
            let step = Step { decoder: &mut *decoder, examples: &active, texts: &texts, last: &last, position };
            let next = choose(step)?;
            (active, last) = active
                .into_iter()
                .zip(next)
                .filter(|(example, id)| {
                    let goes_on = *id != eos;
                    if goes_on {
                        answers[*example].push(*id);
                    }
                    goes_on
                })
                .unzip();
            if active.is_empty() {
                break;
            }
        }
    }
    Ok(answers)
}

/// Where a row of logits is highest; the first such place.
fn highest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0 as u32
}
