//! Decoding token by token: keys and values of earlier positions are kept, and examples leave as they end.

use super::Engine;
use super::cross::{self, Cross, Memory};
use super::kernels::{Attention, Probabilities, Qkv, Span, activate, attend, gather, linear, linear_add, rms_norm};
use crate::ml::error::Result;
use crate::ml::model::decoder::{Decode, Questions, Reader, Texts};
use crate::ml::model::layout::Layer;
use crate::ml::model::position::offset_bias;
use crate::ml::model::{Dims, Weights};
use std::ops::Range;

impl Reader for Engine<'_> {
    /// What a decoder looks at, and where each example's rows begin.
    type Memory = (Memory<Vec<f32>>, Vec<usize>);

    fn dims(&self) -> &Dims {
        &self.weights().dims
    }

    fn read(&mut self, questions: &Questions<'_>) -> Result<Self::Memory> {
        Ok(self.memory(questions.prompts, questions.run, questions.inputs))
    }

    fn decoder<'d>(&'d self, memory: &'d Self::Memory, slots: usize, longest: usize) -> Result<Box<dyn Decode + 'd>> {
        Ok(Box::new(Decoder::new(self.weights(), memory.0.as_slice(), &memory.1, slots, longest)))
    }
}

/// Logits in memory at one time.
const LOGITS: usize = if cfg!(test) { 1 << 9 } else { 1 << 22 };

/// A decoder in the middle of texts.
struct Decoder<'a> {
    weights: &'a Weights,
    /// What it looks at, and where each example's rows begin.
    memory: Memory<&'a [f32]>,
    starts: &'a [usize],
    longest: usize,
    /// Bias by offset, `[H, 2·longest - 1]`, for each table of the decoder.
    biases: Vec<Vec<f32>>,
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

impl Decode for Decoder<'_> {
    fn vocab(&self) -> usize {
        self.weights.dims.vocab
    }

    fn step(
        &mut self,
        texts: &[Texts],
        ids: &[u32],
        position: usize,
        read: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<()> {
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
        if dims.scaled {
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
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) {
        let size = 2 * self.weights.dims.inner();
        let (from, to) = (from * self.longest * size, to * self.longest * size);
        for past in &mut self.past {
            past.copy_within(from..from + positions * size, to);
        }
    }
}

impl<'a> Decoder<'a> {
    fn new(weights: &'a Weights, memory: Memory<&'a [f32]>, starts: &'a [usize], slots: usize, longest: usize) -> Self {
        let Weights { dims, layout, .. } = weights;
        let longest = longest.max(1);
        let bias = |table| offset_bias(weights.vector(table), dims.heads, longest, true, dims.max_distance);
        let biases = layout.decoder.biases.iter().map(bias).collect();
        let past = vec![vec![0.0; slots * longest * 2 * dims.inner()]; dims.decoder_layers];
        let (probabilities, scratch) = Default::default();
        Self { weights, memory, starts, longest, biases, past, probabilities, scratch }
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
            bias: Some((&self.biases[self.weights.layout.decoder.bias_of(index)], self.longest)),
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
        activate(dims.activation, &mut activated, &inner, dims.ff);
        linear_add(x, &activated, self.weights.at(&layer.ff.out), dims.ff);
    }
}
