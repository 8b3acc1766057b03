//! What engines offer to whoever decodes: they read questions and make decoders of their answers.

use super::Dims;
use super::batch::Ragged;
use super::cpu::kernels::{CrossEntropy, cross_entropy};
use crate::ml::error::Result;
use std::ops::Range;

/// Examples to answer: a prompt for each run, and for each example its run and its text.
#[derive(Clone, Copy)]
pub(crate) struct Questions<'a> {
    /// `[P, E]` for each of R.
    pub(crate) prompts: &'a [&'a [f32]],
    /// `[B]`, each below R.
    pub(crate) run: &'a [usize],
    /// `[B]`, each `[T]`.
    pub(crate) inputs: &'a Ragged,
}

/// An engine that reads questions and makes decoders of their answers.
pub(crate) trait Reader {
    /// What decoders look at: the questions as keys and values.
    type Memory;

    /// Sizes of the model.
    fn dims(&self) -> &Dims;

    /// Reads the questions.
    ///
    /// # Errors
    /// If the device fails.
    fn read(&mut self, questions: &Questions<'_>) -> Result<Self::Memory>;

    /// A decoder of up to `slots` texts of up to `longest` tokens.
    ///
    /// # Errors
    /// If the device fails.
    fn decoder<'d>(&'d self, memory: &'d Self::Memory, slots: usize, longest: usize) -> Result<Box<dyn Decode + 'd>>;
}

/// A decoder in the middle of texts.
pub(crate) trait Decode {
    /// V.
    fn vocab(&self) -> usize;

    /// Reads `ids`, the tokens of all texts from `position` on, `[n]`, and gives their logits to `read`, some rows at a
    /// time: the first row, and `[rows, V]`, which `read` may overwrite.
    ///
    /// # Errors
    /// If the device fails.
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
    ///
    /// # Errors
    /// If the device fails.
    fn highest(&mut self, texts: &[Texts], ids: &[u32], position: usize) -> Result<Vec<u32>> {
        let (mut next, vocab) = (Vec::with_capacity(ids.len()), self.vocab());
        self.step(texts, ids, position, &mut |_, logits| next.extend(logits.chunks_exact(vocab).map(highest)))?;
        Ok(next)
    }

    /// As [`step`](Self::step), from the beginning: the negative log-likelihood of each of `targets`, `[n]`.
    ///
    /// # Errors
    /// If the device fails.
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
pub(crate) const LIKELIHOOD: CrossEntropy = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };

/// Texts of an example that grow together, and look at its input together.
pub(crate) struct Texts {
    /// Whose input they look at.
    pub(crate) example: usize,
    /// Where the decoder keeps the keys and values of each.
    pub(crate) slots: Vec<usize>,
    /// Tokens by which each grows.
    pub(crate) tokens: usize,
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

/// Numbers that the cache of keys and values holds at one time: 256 MiB of f32. Few in tests, so that batches are cut there
/// too.
const CACHE: usize = if cfg!(test) { 1 << 14 } else { 1 << 26 };

/// Examples whose texts, `each` of up to `longest` tokens an example, share a cache: as many as it holds, but at least one.
pub(crate) fn groups(
    dims: &Dims,
    examples: usize,
    each: usize,
    longest: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let size = each * longest * 2 * dims.inner() * dims.decoder_layers;
    let together = (CACHE / size.max(1)).max(1);
    (0..examples).step_by(together).map(move |first| first..(first + together).min(examples))
}
