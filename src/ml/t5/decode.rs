//! Greedy decoding, with the keys and values of earlier positions kept; examples leave as they end.

use super::fast::Engine;
use super::layout::Layer;
use super::position::offset_bias;
use super::{Dims, Weights};
use crate::ml::batch::Ragged;
use crate::ml::kernels::{
    Activation, Attention, Probabilities, Qkv, Span, activate, attend, gather, linear, linear_add, rms_norm,
};

impl Engine<'_> {
    /// The most probable continuation of each example, token by token, without the closing eos; at most `longest` ids.
    /// Of equal logits the lowest id wins.
    pub fn greedy(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, longest: usize) -> Vec<Vec<u32>> {
        let (cross, starts) = self.cross_keys_values(prompts, run, inputs);
        let weights = self.weights();
        let mut decoder = Decoder::new(weights, &cross, &starts, longest);
        let mut answers = vec![Vec::new(); run.len()];
        let mut active: Vec<usize> = (0..run.len()).collect();
        let mut last = vec![weights.dims.start; run.len()];
        for position in 0..longest {
            let next = decoder.step(&active, &last, position);
            (active, last) = active
                .into_iter()
                .zip(next)
                .filter(|(example, id)| {
                    let goes_on = *id != weights.dims.eos;
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
        answers
    }
}

/// A decoder in the middle of a text.
struct Decoder<'a> {
    weights: &'a Weights,
    /// Cross-attention keys and values of all layers, `[N, 2I·layers]`, and where each example's rows begin.
    cross: &'a [f32],
    starts: &'a [usize],
    longest: usize,
    /// Relative position bias by offset.
    bias: Vec<f32>,
    /// For each layer keys and values of the positions so far, `[B, longest, 2I]`.
    past: Vec<Vec<f32>>,
    probabilities: Probabilities,
}

impl<'a> Decoder<'a> {
    fn new(weights: &'a Weights, cross: &'a [f32], starts: &'a [usize], longest: usize) -> Self {
        let Weights { dims, layout, .. } = weights;
        let length = longest.max(1);
        let bias = offset_bias(weights.vector(&layout.decoder.bias), dims.heads, length, true, dims.max_distance);
        let size = (starts.len() - 1) * longest * 2 * dims.inner();
        let past = vec![vec![0.0; size]; dims.decoder_layers];
        Self { weights, cross, starts, longest, bias, past, probabilities: Probabilities::default() }
    }

    /// The next id of each active example, given its last one, which stands at `position`.
    fn step(&mut self, active: &[usize], last: &[u32], position: usize) -> Vec<u32> {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let mut x = vec![0.0; active.len() * width];
        gather(&mut x, self.weights.at(&layout.embedding), last, width);
        for (index, layer) in layout.decoder.layers.iter().enumerate() {
            self.self_attention(index, layer, &mut x, active, position);
            self.cross_attention(index, layer, &mut x, active);
            self.feed_forward(layer, &mut x);
        }
        let mut out = self.normed(&layout.decoder.norm, &x);
        if dims.tied {
            let scale = (width as f32).powf(-0.5);
            out.iter_mut().for_each(|x| *x *= scale);
        }
        let mut logits = vec![0.0; active.len() * dims.vocab];
        linear(&mut logits, &out, self.weights.at(&layout.head), width);
        logits.chunks_exact(dims.vocab).map(highest).collect()
    }

    fn normed(&self, scale: &std::ops::Range<usize>, x: &[f32]) -> Vec<f32> {
        let Dims { width, epsilon, .. } = self.weights.dims;
        let mut normed = vec![0.0; x.len()];
        rms_norm(&mut normed, &mut vec![0.0; x.len() / width], x, self.weights.vector(scale), epsilon);
        normed
    }

    fn self_attention(&mut self, index: usize, layer: &Layer, x: &mut [f32], active: &[usize], position: usize) {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        let mut qkv = vec![0.0; active.len() * 3 * inner];
        linear(&mut qkv, &self.normed(&layer.attention.norm, x), self.weights.at(&layer.attention.qkv), dims.width);
        let past = &mut self.past[index];
        for (example, row) in active.iter().zip(qkv.chunks_exact(3 * inner)) {
            let at = (example * self.longest + position) * 2 * inner;
            past[at..at + 2 * inner].copy_from_slice(&row[inner..]);
        }
        let spans: Vec<Span> = active
            .iter()
            .enumerate()
            .map(|(row, example)| Span {
                query: row,
                queries: 1,
                key: example * self.longest,
                keys: position + 1,
                position,
            })
            .collect();
        let attention = Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: 3 * inner,
            key_stride: 2 * inner,
            spans: &spans,
            bias: Some((&self.bias, self.longest)),
            causal: true,
            dropout: None,
        };
        let mut heads = vec![0.0; active.len() * inner];
        attend(&attention, &mut heads, &mut self.probabilities, Qkv::apart(&qkv, past, inner));
        linear_add(x, &heads, self.weights.at(&layer.attention.out), inner);
    }

    fn cross_attention(&mut self, index: usize, layer: &Layer, x: &mut [f32], active: &[usize]) {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        let part = layer.cross.as_ref().expect("every layer of a decoder looks at the encoder");
        let mut queries = vec![0.0; active.len() * inner];
        linear(&mut queries, &self.normed(&part.norm, x), self.weights.at(&part.query), dims.width);
        let spans: Vec<Span> = active
            .iter()
            .enumerate()
            .map(|(row, example)| {
                let (key, end) = (self.starts[*example], self.starts[example + 1]);
                Span { query: row, queries: 1, key, keys: end - key, position: 0 }
            })
            .collect();
        let attention = Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: inner,
            key_stride: 2 * inner * dims.decoder_layers,
            spans: &spans,
            bias: None,
            causal: false,
            dropout: None,
        };
        let mut heads = vec![0.0; active.len() * inner];
        let keys_values = &self.cross[2 * inner * index..];
        attend(&attention, &mut heads, &mut self.probabilities, Qkv::apart(&queries, keys_values, inner));
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
