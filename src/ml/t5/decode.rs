//! Decoding token by token: keys and values of earlier positions are kept, and examples leave as they end.

use super::beam::Beam;
use super::cross::{self, Cross, Memory};
use super::fast::Engine;
use super::layout::Layer;
use super::position::offset_bias;
use super::sample::Sample;
use super::{Dims, Weights};
use crate::ml::batch::Ragged;
use crate::ml::error::Result;
use crate::ml::kernels::{
    Activation, Attention, CrossEntropy, Probabilities, Qkv, Span, activate, attend, gather, linear, linear_add,
    rms_norm,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
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

impl Engine<'_> {
    /// An answer to each example, without the closing eos; at most `longest` ids. `streams` is what [`sample`](Self::sample)
    /// draws from, `[B]`.
    pub fn generate(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        streams: &[u64],
        longest: usize,
        generation: &Generation,
    ) -> Result<Vec<Vec<u32>>> {
        match generation {
            Generation::Greedy => Ok(self.greedy(prompts, run, inputs, longest)),
            Generation::Beam(settings) => {
                let answers = self.beam(prompts, run, inputs, longest, *settings)?;
                Ok(answers.into_iter().map(|answer| answer.ids).collect())
            }
            Generation::Sample(settings) => self.sample(prompts, run, inputs, streams, longest, *settings),
        }
    }

    /// The most probable continuation of each example, token by token, without the closing eos; at most `longest` ids.
    /// Of equal logits the lowest id wins.
    pub fn greedy(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, longest: usize) -> Vec<Vec<u32>> {
        let Ok(answers) =
            self.token_by_token(prompts, run, inputs, longest, |_, logits| Ok::<_, Infallible>(highest(logits)));
        answers
    }

    /// Answers that grow by what `choose` makes of an example and its logits, `[V]`, up to eos or to `longest` ids.
    pub(super) fn token_by_token<E>(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        longest: usize,
        mut choose: impl FnMut(usize, &[f32]) -> std::result::Result<u32, E>,
    ) -> std::result::Result<Vec<Vec<u32>>, E> {
        let (memory, starts) = self.memory(prompts, run, inputs);
        let weights = self.weights();
        let dims = &weights.dims;
        let mut answers = vec![Vec::new(); run.len()];
        for group in groups(dims, run.len(), 1, longest) {
            let mut decoder = Decoder::new(weights, memory.as_slice(), &starts, group.len(), longest);
            let mut active: Vec<usize> = group.clone().collect();
            let mut last = vec![dims.start; active.len()];
            for position in 0..longest {
                let texts = active.iter().map(|e| Texts { example: *e, slots: vec![e - group.start], tokens: 1 });
                let mut next = Vec::with_capacity(active.len());
                decoder.step(&texts.collect::<Vec<_>>(), &last, position, |first, logits| {
                    let rows = active[first..].iter().zip(logits.chunks_exact(dims.vocab));
                    next.extend(rows.map(|(example, logits)| choose(*example, logits)));
                });
                let next = next.into_iter().collect::<std::result::Result<Vec<u32>, E>>()?;
                (active, last) = active
                    .into_iter()
                    .zip(next)
                    .filter(|(example, id)| {
                        let goes_on = *id != dims.eos;
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
}

/// Numbers that the cache of keys and values holds at one time: 256 MiB. Few in tests, so that batches are cut there too.
const CACHE: usize = if cfg!(test) { 1 << 14 } else { 1 << 26 };

/// Logits in memory at one time.
const LOGITS: usize = if cfg!(test) { 1 << 9 } else { 1 << 22 };

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

/// The loss that is the negative log-likelihood.
pub(super) const LIKELIHOOD: CrossEntropy = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };

/// Texts of an example that grow together, and look at its input together.
pub(super) struct Texts {
    /// Whose input they look at.
    pub(super) example: usize,
    /// Where the cache keeps the keys and values of each.
    pub(super) slots: Vec<usize>,
    /// Tokens by which each grows.
    pub(super) tokens: usize,
}

/// A decoder in the middle of texts.
pub(super) struct Decoder<'a> {
    weights: &'a Weights,
    /// What it looks at, and where each example's rows begin.
    memory: Memory<&'a [f32]>,
    starts: &'a [usize],
    longest: usize,
    /// Relative position bias by offset.
    bias: Vec<f32>,
    /// For each layer keys and values of the positions so far, `[slots, longest, 2I]`.
    past: Vec<Vec<f32>>,
    probabilities: Probabilities,
    scratch: cross::Scratch,
}

/// Who looks at whom in one step: texts at their own past, examples at their inputs.
struct Spans {
    past: Vec<Span>,
    cross: Vec<Span>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        weights: &'a Weights,
        memory: Memory<&'a [f32]>,
        starts: &'a [usize],
        slots: usize,
        longest: usize,
    ) -> Self {
        let Weights { dims, layout, .. } = weights;
        let longest = longest.max(1);
        let bias = offset_bias(weights.vector(&layout.decoder.bias), dims.heads, longest, true, dims.max_distance);
        let past = vec![vec![0.0; slots * longest * 2 * dims.inner()]; dims.decoder_layers];
        let (probabilities, scratch) = Default::default();
        Self { weights, memory, starts, longest, bias, past, probabilities, scratch }
    }

    /// Reads `ids`, the tokens of all texts from `position` on, `[n]`, and gives their logits to `read`, some rows at a
    /// time: the first row, and `[rows, V]`.
    pub(super) fn step(
        &mut self,
        texts: &[Texts],
        ids: &[u32],
        position: usize,
        mut read: impl FnMut(usize, &mut [f32]),
    ) {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let spans = self.spans(texts, position);
        let mut x = vec![0.0; ids.len() * width];
        gather(&mut x, self.weights.at(&layout.embedding), ids, width);
        for (index, layer) in layout.decoder.layers.iter().enumerate() {
            self.self_attention(index, layer, &mut x, &spans.past);
            self.cross_attention(index, layer, &mut x, &spans.cross);
            self.feed_forward(layer, &mut x);
        }
        let mut out = self.normed(&layout.decoder.norm, &x);
        if dims.tied {
            let scale = (width as f32).powf(-0.5);
            out.iter_mut().for_each(|x| *x *= scale);
        }
        let together = (LOGITS / dims.vocab).max(1);
        let mut logits = vec![0.0; ids.len().min(together) * dims.vocab];
        for (index, out) in out.chunks(together * width).enumerate() {
            let logits = &mut logits[..out.len() / width * dims.vocab];
            linear(logits, out, self.weights.at(&layout.head), width);
            read(index * together, logits);
        }
    }

    /// Overwrites what slot `to` keeps of the first `positions` with what slot `from` keeps.
    pub(super) fn copy(&mut self, from: usize, to: usize, positions: usize) {
        let size = 2 * self.weights.dims.inner();
        let (from, to) = (from * self.longest * size, to * self.longest * size);
        for past in &mut self.past {
            past.copy_within(from..from + positions * size, to);
        }
    }

    fn spans(&self, texts: &[Texts], position: usize) -> Spans {
        let mut spans = Spans { past: Vec::new(), cross: Vec::new() };
        let mut query = 0;
        for Texts { example, slots, tokens } in texts {
            let (key, end) = (self.starts[*example], self.starts[example + 1]);
            spans.cross.push(Span { query, queries: slots.len() * tokens, key, keys: end - key, position: 0 });
            for slot in slots {
                let (key, keys) = (slot * self.longest, position + tokens);
                spans.past.push(Span { query, queries: *tokens, key, keys, position });
                query += tokens;
            }
        }
        spans
    }

    fn normed(&self, scale: &Range<usize>, x: &[f32]) -> Vec<f32> {
        let Dims { width, epsilon, .. } = self.weights.dims;
        let mut normed = vec![0.0; x.len()];
        rms_norm(&mut normed, &mut vec![0.0; x.len() / width], x, self.weights.vector(scale), epsilon);
        normed
    }

    fn self_attention(&mut self, index: usize, layer: &Layer, x: &mut [f32], spans: &[Span]) {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        let mut qkv = vec![0.0; x.len() / dims.width * 3 * inner];
        linear(&mut qkv, &self.normed(&layer.attention.norm, x), self.weights.at(&layer.attention.qkv), dims.width);
        let past = &mut self.past[index];
        for span in spans {
            let rows = &qkv[span.query * 3 * inner..][..span.queries * 3 * inner];
            for (i, row) in rows.chunks_exact(3 * inner).enumerate() {
                let at = (span.key + span.position + i) * 2 * inner;
                past[at..at + 2 * inner].copy_from_slice(&row[inner..]);
            }
        }
        let attention = Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: 3 * inner,
            key_stride: 2 * inner,
            spans,
            bias: Some((&self.bias, self.longest)),
            causal: true,
            dropout: None,
        };
        let mut heads = vec![0.0; x.len() / dims.width * inner];
        attend(&attention, &mut heads, &mut self.probabilities, Qkv::apart(&qkv, past, inner));
        linear_add(x, &heads, self.weights.at(&layer.attention.out), inner);
    }

    fn cross_attention(&mut self, index: usize, layer: &Layer, x: &mut [f32], spans: &[Span]) {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        let part = layer.cross.as_ref().expect("every layer of a decoder looks at the encoder");
        let mut queries = vec![0.0; x.len() / dims.width * inner];
        linear(&mut queries, &self.normed(&part.norm, x), self.weights.at(&part.query), dims.width);
        let mut heads = vec![0.0; queries.len()];
        let attention = Cross { weights: self.weights, index, spans, dropout: None };
        attention.forward(&mut heads, &mut self.probabilities, &queries, self.memory, &mut self.scratch);
        linear_add(x, &heads, self.weights.at(&part.out), inner);
    }

    fn feed_forward(&self, layer: &Layer, x: &mut [f32]) {
        let dims = &self.weights.dims;
        let rows = x.len() / dims.width;
        let mut inner = vec![0.0; rows * layer.ff.inner.len() / dims.width];
        linear(&mut inner, &self.normed(&layer.ff.norm, x), self.weights.at(&layer.ff.inner), dims.width);
        let mut activated = vec![0.0; rows * dims.ff];
        let activation = if dims.gated { Activation::GatedGelu } else { Activation::Relu };
        activate(activation, &mut activated, &inner, dims.ff);
        linear_add(x, &activated, self.weights.at(&layer.ff.out), dims.ff);
    }
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
