//! T5 forward and backward by hand: no tape, no padding, buffers that stay.
//!
//! Rows of all examples are packed for the linear layers; attention runs per example. The backward pass goes to the
//! prompts, and on request to all weights. Checked against [`reference`](super::reference) and Hugging Face.

use super::Weights;
use super::layout::{CrossAttention, FeedForward, SelfAttention, Stack};
use super::position::{offset_bias, offset_bias_backward};
use super::site::Site;
use crate::ml::batch::{Batch, Ragged};
use crate::ml::kernels::{
    Activation, Attention, CrossEntropy, Dropout, Probabilities, Qkv, QkvGradient, Span, activate, activate_backward,
    attend, attend_backward, cross_entropy, gather, linear, linear_add, linear_backward, linear_weight_gradient,
    rms_norm, rms_norm_backward, rms_norm_scale_gradient, scatter,
};
use std::ops::Range;

/// Loss of the examples of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum over target tokens, z-loss included.
    pub sum: f64,
    /// Number of target tokens.
    pub tokens: usize,
}

impl Loss {
    /// Mean loss of a token.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

/// Where [`Engine::gradients`] adds what it finds.
pub struct Gradients<'a> {
    /// For each run the gradient of its prompt, `[P, E]`.
    pub prompts: &'a mut [Vec<f32>],
    /// The gradient of all weights, in the layout of the weights.
    pub weights: Option<&'a mut [f32]>,
}

/// A T5 with room to compute in.
pub struct Engine<'w> {
    weights: &'w Weights,
    space: Space,
}

/// Buffers that keep their size from step to step.
#[derive(Default)]
struct Space {
    encoder: StackTape,
    decoder: StackTape,
    /// Output of the encoder, `[N, E]`.
    memory: Vec<f32>,
    /// Cross-attention keys and values of all decoder layers, `[N, 2I·layers]`.
    cross: Vec<f32>,
    d_cross: Vec<f32>,
    /// Output of the decoder, `[M, E]`.
    decoded: Vec<f32>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    scratch: Scratch,
}

/// What a stack keeps for its backward pass.
#[derive(Default)]
struct StackTape {
    layers: Vec<LayerTape>,
    /// Input of the last norm, and its inverse.
    x: Vec<f32>,
    inverse: Vec<f32>,
}

#[derive(Default)]
struct LayerTape {
    attention: AttentionTape,
    cross: AttentionTape,
    ff: FeedForwardTape,
}

#[derive(Default)]
struct AttentionTape {
    /// Input of the norm, and its inverse.
    x: Vec<f32>,
    inverse: Vec<f32>,
    /// Query, key and value, `[n, 3I]`; of cross-attention the query alone, `[n, I]`.
    projected: Vec<f32>,
    probabilities: Probabilities,
    /// Output of the heads, `[n, I]`.
    context: Vec<f32>,
}

#[derive(Default)]
struct FeedForwardTape {
    x: Vec<f32>,
    inverse: Vec<f32>,
    inner: Vec<f32>,
}

/// Buffers between two operations.
#[derive(Default)]
struct Scratch {
    normed: Vec<f32>,
    branch: Vec<f32>,
    inner: Vec<f32>,
    d_normed: Vec<f32>,
    d_branch: Vec<f32>,
    d_inner: Vec<f32>,
    d_projected: Vec<f32>,
}

/// A stack at work on one batch.
#[derive(Clone, Copy)]
struct Context<'a> {
    weights: &'a Weights,
    /// Rows of each example, as in [`Ragged::starts`].
    starts: &'a [usize],
    spans: &'a [Span],
    cross_spans: &'a [Span],
    /// Bias by offset, and its length.
    bias: (&'a [f32], usize),
    decoder: bool,
    dropout: Option<&'a Dropout>,
}

/// Logits in memory at one time.
const LOGITS: usize = 1 << 22;

fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

fn keep<'b>(buffer: &'b mut Vec<f32>, x: &[f32]) -> &'b mut [f32] {
    let buffer = room(buffer, x.len());
    buffer.copy_from_slice(x);
    buffer
}

impl<'w> Engine<'w> {
    /// An engine on these weights.
    pub fn new(weights: &'w Weights) -> Self {
        Self { weights, space: Space::default() }
    }

    /// The weights.
    pub fn weights(&self) -> &'w Weights {
        self.weights
    }

    /// Loss of each run, without gradients. `prompts`: for each run `[P, E]`, possibly with P = 0.
    pub fn losses(&mut self, prompts: &[&[f32]], batch: &Batch, settings: CrossEntropy) -> Vec<Loss> {
        self.forward(prompts, batch, None);
        let mut none = Vec::new();
        self.loss(batch, prompts.len(), settings, None, &mut none)
    }

    /// Loss of each run; adds the gradients of the sums of the losses.
    pub fn gradients(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        settings: CrossEntropy,
        dropout: Option<&Dropout>,
        gradients: Gradients<'_>,
    ) -> Vec<Loss> {
        let Gradients { prompts: d_prompts, weights: mut d_weights } = gradients;
        self.forward(prompts, batch, dropout);
        let mut d_decoded = Vec::new();
        let losses = self.loss(batch, prompts.len(), settings, d_weights.as_deref_mut(), &mut d_decoded);
        self.backward(prompts, batch, dropout, d_prompts, d_weights, d_decoded);
        losses
    }

    /// Output of the encoder for each example, `[P + T, E]`, and where each begins.
    pub fn encode(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged) -> (&[f32], Vec<usize>) {
        let starts = self.encoder(prompts, run, inputs, None);
        let rows = starts[run.len()];
        (&self.space.memory[..rows * self.weights.dims.width], starts)
    }

    /// Cross-attention keys and values of all decoder layers, `[N, 2I·layers]`, and where each example's rows begin.
    pub(super) fn cross_keys_values(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
    ) -> (Vec<f32>, Vec<usize>) {
        let weights = self.weights;
        let Weights { dims, layout, .. } = weights;
        let (memory, starts) = self.encode(prompts, run, inputs);
        let mut cross = vec![0.0; starts[run.len()] * 2 * dims.inner() * dims.decoder_layers];
        linear(&mut cross, memory, weights.at(&layout.cross), dims.width);
        (cross, starts)
    }

    fn encoder(&mut self, prompts: &[&[f32]], run: &[usize], inputs: &Ragged, dropout: Option<&Dropout>) -> Vec<usize> {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let starts = encoder_starts(prompts, run, inputs, width);
        let rows = starts[run.len()];
        let mut x = vec![0.0; rows * width];
        for ((run, ids), start) in run.iter().zip(inputs.rows()).zip(&starts) {
            let (prompt, text) = x[start * width..].split_at_mut(prompts[*run].len());
            prompt.copy_from_slice(prompts[*run]);
            gather(&mut text[..ids.len() * width], self.weights.at(&layout.embedding), ids, width);
        }
        let spans = self_spans(&starts);
        let length = longest(&starts);
        let bias = offset_bias(self.weights.at(&layout.encoder.bias), dims.heads, length, false, dims.max_distance);
        let context = Context {
            weights: self.weights,
            starts: &starts,
            spans: &spans,
            cross_spans: &[],
            bias: (&bias, length),
            decoder: false,
            dropout,
        };
        let Space { encoder, memory, scratch, .. } = &mut self.space;
        stack_forward(context, &layout.encoder, &mut x, encoder, memory, &[], scratch);
        starts
    }

    fn forward(&mut self, prompts: &[&[f32]], batch: &Batch, dropout: Option<&Dropout>) {
        let starts = self.encoder(prompts, &batch.run, &batch.inputs, dropout);
        let Weights { dims, layout, .. } = self.weights;
        let (width, rows) = (dims.width, starts[batch.len()]);
        let cross_width = 2 * dims.inner() * dims.decoder_layers;
        let Space { decoder, memory, cross, decoded, scratch, .. } = &mut self.space;
        linear(room(cross, rows * cross_width), &memory[..rows * width], self.weights.at(&layout.cross), width);
        let ids = shifted(&batch.targets, dims.start);
        let mut y = vec![0.0; ids.len() * width];
        gather(&mut y, self.weights.at(&layout.embedding), &ids, width);
        let target_starts = batch.targets.starts();
        let length = longest(target_starts);
        let bias = offset_bias(self.weights.at(&layout.decoder.bias), dims.heads, length, true, dims.max_distance);
        let context = Context {
            weights: self.weights,
            starts: target_starts,
            spans: &self_spans(target_starts),
            cross_spans: &cross_spans(target_starts, &starts),
            bias: (&bias, length),
            decoder: true,
            dropout,
        };
        let cross = &cross[..rows * cross_width];
        stack_forward(context, &layout.decoder, &mut y, decoder, decoded, cross, scratch);
        if dims.tied {
            let scale = (width as f32).powf(-0.5);
            decoded[..y.len()].iter_mut().for_each(|x| *x *= scale);
        }
    }

    /// Losses from the decoder's output, some rows of logits at a time; fills `d_decoded` unless the batch is only scored.
    fn loss(
        &mut self,
        batch: &Batch,
        runs: usize,
        settings: CrossEntropy,
        mut d_weights: Option<&mut [f32]>,
        d_decoded: &mut Vec<f32>,
    ) -> Vec<Loss> {
        let Weights { dims, layout, .. } = self.weights;
        let (width, vocab) = (dims.width, dims.vocab);
        let head = self.weights.at(&layout.head);
        let targets = batch.targets.ids();
        let Space { decoded, logits, losses, .. } = &mut self.space;
        let losses = room(losses, targets.len());
        d_decoded.resize(targets.len() * width, 0.0);
        let rows = (LOGITS / vocab).max(1);
        let chunks = targets.chunks(rows).zip(losses.chunks_mut(rows)).zip(decoded.chunks(rows * width));
        for (((targets, losses), decoded), d_decoded) in chunks.zip(d_decoded.chunks_mut(rows * width)) {
            let logits = room(logits, targets.len() * vocab);
            let decoded = &decoded[..targets.len() * width];
            linear(logits, decoded, head, width);
            cross_entropy(settings, losses, logits, targets, vocab);
            linear_backward(d_decoded, logits, head, width, false);
            if let Some(d_weights) = d_weights.as_deref_mut() {
                linear_weight_gradient(&mut d_weights[layout.head.clone()], logits, decoded, width);
            }
        }
        let mut sums = vec![Loss::default(); runs];
        for (run, bounds) in batch.run.iter().zip(batch.targets.starts().windows(2)) {
            sums[*run].sum += losses[bounds[0]..bounds[1]].iter().map(|x| f64::from(*x)).sum::<f64>();
            sums[*run].tokens += bounds[1] - bounds[0];
        }
        sums
    }

    fn backward(
        &mut self,
        prompts: &[&[f32]],
        batch: &Batch,
        dropout: Option<&Dropout>,
        d_prompts: &mut [Vec<f32>],
        mut d_weights: Option<&mut [f32]>,
        mut d_decoded: Vec<f32>,
    ) {
        let Weights { dims, layout, .. } = self.weights;
        let width = dims.width;
        let starts = encoder_starts(prompts, &batch.run, &batch.inputs, width);
        let rows = starts[batch.len()];
        let cross_width = 2 * dims.inner() * dims.decoder_layers;
        let Space { encoder, decoder, memory, cross, d_cross, scratch, .. } = &mut self.space;
        if dims.tied {
            let scale = (width as f32).powf(-0.5);
            d_decoded.iter_mut().for_each(|d| *d *= scale);
        }

        let target_starts = batch.targets.starts();
        let length = longest(target_starts);
        let bias = offset_bias(self.weights.at(&layout.decoder.bias), dims.heads, length, true, dims.max_distance);
        let context = Context {
            weights: self.weights,
            starts: target_starts,
            spans: &self_spans(target_starts),
            cross_spans: &cross_spans(target_starts, &starts),
            bias: (&bias, length),
            decoder: true,
            dropout,
        };
        let cross = &cross[..rows * cross_width];
        let d_cross = room(d_cross, rows * cross_width);
        let d_y = stack_backward(
            context,
            &layout.decoder,
            &d_decoded,
            decoder,
            d_weights.as_deref_mut(),
            (cross, &mut *d_cross),
            scratch,
        );
        if let Some(d_weights) = d_weights.as_deref_mut() {
            let ids = shifted(&batch.targets, dims.start);
            scatter(&mut d_weights[layout.embedding.clone()], &d_y, &ids, width);
            let memory = &memory[..rows * width];
            linear_weight_gradient(&mut d_weights[layout.cross.clone()], d_cross, memory, width);
        }

        let mut d_memory = vec![0.0; rows * width];
        linear_backward(&mut d_memory, d_cross, self.weights.at(&layout.cross), width, false);
        let length = longest(&starts);
        let bias = offset_bias(self.weights.at(&layout.encoder.bias), dims.heads, length, false, dims.max_distance);
        let context = Context {
            weights: self.weights,
            starts: &starts,
            spans: &self_spans(&starts),
            cross_spans: &[],
            bias: (&bias, length),
            decoder: false,
            dropout,
        };
        let d_x = stack_backward(
            context,
            &layout.encoder,
            &d_memory,
            encoder,
            d_weights.as_deref_mut(),
            (&[], &mut []),
            scratch,
        );
        for ((run, ids), start) in batch.run.iter().zip(batch.inputs.rows()).zip(&starts) {
            let (prompt, text) = d_x[start * width..].split_at(prompts[*run].len());
            for (d, x) in d_prompts[*run].iter_mut().zip(prompt) {
                *d += x;
            }
            if let Some(d_weights) = d_weights.as_deref_mut() {
                scatter(&mut d_weights[layout.embedding.clone()], &text[..ids.len() * width], ids, width);
            }
        }
    }
}

/// Where each example's prompt and text begin among the packed rows.
fn encoder_starts(prompts: &[&[f32]], run: &[usize], inputs: &Ragged, width: usize) -> Vec<usize> {
    let mut starts = vec![0];
    for (run, ids) in run.iter().zip(inputs.rows()) {
        starts.push(starts[starts.len() - 1] + prompts[*run].len() / width + ids.len());
    }
    starts
}

fn self_spans(starts: &[usize]) -> Vec<Span> {
    cross_spans(starts, starts)
}

fn cross_spans(queries: &[usize], keys: &[usize]) -> Vec<Span> {
    let bounds = queries.windows(2).zip(keys.windows(2));
    bounds.map(|(q, k)| Span { query: q[0], queries: q[1] - q[0], key: k[0], keys: k[1] - k[0], position: 0 }).collect()
}

fn longest(starts: &[usize]) -> usize {
    starts.windows(2).map(|bounds| bounds[1] - bounds[0]).max().unwrap_or(0).max(1)
}

/// The decoder's inputs: every target one place to the right, behind the start id.
fn shifted(targets: &Ragged, start: u32) -> Vec<u32> {
    targets.rows().flat_map(|row| std::iter::once(start).chain(row.iter().copied()).take(row.len())).collect()
}

fn stack_forward(
    context: Context<'_>,
    stack: &Stack,
    x: &mut [f32],
    tape: &mut StackTape,
    out: &mut Vec<f32>,
    cross: &[f32],
    scratch: &mut Scratch,
) {
    let Context { weights, starts, decoder, dropout, .. } = context;
    let width = weights.dims.width;
    if let Some(dropout) = dropout {
        dropout.apply(x, width, starts, Site::Embedding.number(decoder));
    }
    tape.layers.resize_with(stack.layers.len(), LayerTape::default);
    for (index, (layer, tape)) in stack.layers.iter().zip(&mut tape.layers).enumerate() {
        attention_forward(context, index, &layer.attention, x, &mut tape.attention, scratch);
        if let Some(part) = &layer.cross {
            cross_forward(context, index, part, x, &mut tape.cross, cross, scratch);
        }
        ff_forward(context, index, &layer.ff, x, &mut tape.ff, scratch);
    }
    keep(&mut tape.x, x);
    let inverse = room(&mut tape.inverse, x.len() / width);
    let out = room(out, x.len());
    rms_norm(out, inverse, x, weights.at(&stack.norm), weights.dims.epsilon);
    if let Some(dropout) = dropout {
        dropout.apply(out, width, starts, Site::Last.number(decoder));
    }
}

/// Gradient of the stack's input; `cross` holds the keys and values of the cross-attentions and takes their gradient.
fn stack_backward(
    context: Context<'_>,
    stack: &Stack,
    d_out: &[f32],
    tape: &mut StackTape,
    mut d_weights: Option<&mut [f32]>,
    (cross, d_cross): (&[f32], &mut [f32]),
    scratch: &mut Scratch,
) -> Vec<f32> {
    let Context { weights, starts, decoder, dropout, .. } = context;
    let width = weights.dims.width;
    let mut d_x = vec![0.0; d_out.len()];
    let (x, inverse) = (&tape.x[..d_out.len()], &tape.inverse[..d_out.len() / width]);
    let masked;
    let d_out = match dropout {
        Some(dropout) => {
            let d = keep(&mut scratch.d_branch, d_out);
            dropout.apply(d, width, starts, Site::Last.number(decoder));
            masked = &*d;
            masked
        }
        None => d_out,
    };
    rms_norm_backward(&mut d_x, d_out, x, inverse, weights.at(&stack.norm));
    if let Some(d_weights) = d_weights.as_deref_mut() {
        rms_norm_scale_gradient(&mut d_weights[stack.norm.clone()], d_out, x, inverse);
    }
    let mut d_bias = d_weights.is_some().then(|| vec![0.0; context.bias.0.len()]);
    for (index, (layer, tape)) in stack.layers.iter().zip(&mut tape.layers).enumerate().rev() {
        ff_backward(context, index, &layer.ff, &mut d_x, &mut tape.ff, d_weights.as_deref_mut(), scratch);
        if let Some(part) = &layer.cross {
            let cross = (cross, &mut *d_cross);
            cross_backward(context, index, part, &mut d_x, &mut tape.cross, d_weights.as_deref_mut(), cross, scratch);
        }
        let learn = d_weights.as_deref_mut().zip(d_bias.as_deref_mut());
        attention_backward(context, index, &layer.attention, &mut d_x, &mut tape.attention, learn, scratch);
    }
    if let (Some(d_weights), Some(d_bias)) = (d_weights, d_bias) {
        let dims = &weights.dims;
        let d_table = &mut d_weights[stack.bias.clone()];
        offset_bias_backward(d_table, &d_bias, dims.heads, context.bias.1, decoder, dims.max_distance);
    }
    if let Some(dropout) = dropout {
        dropout.apply(&mut d_x, width, starts, Site::Embedding.number(decoder));
    }
    d_x
}

impl<'a> Context<'a> {
    fn self_attention(&self, index: usize) -> Attention<'a> {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: 3 * inner,
            key_stride: 3 * inner,
            spans: self.spans,
            bias: Some(self.bias),
            causal: self.decoder,
            dropout: self.dropout.map(|d| (d, Site::Attention(index).number(self.decoder))),
        }
    }

    fn cross_attention(&self, index: usize) -> Attention<'a> {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: inner,
            key_stride: 2 * inner * dims.decoder_layers,
            spans: self.cross_spans,
            bias: None,
            causal: false,
            dropout: self.dropout.map(|d| (d, Site::Cross(index).number(self.decoder))),
        }
    }

    /// `x += dropout(branch · weightᵀ)`.
    fn residual(
        &self,
        x: &mut [f32],
        branch: &[f32],
        weight: &[f32],
        inputs: usize,
        site: Site,
        room_for: &mut Vec<f32>,
    ) {
        match self.dropout {
            None => linear_add(x, branch, weight, inputs),
            Some(dropout) => {
                let out = room(room_for, x.len());
                linear(out, branch, weight, inputs);
                dropout.apply(out, self.weights.dims.width, self.starts, site.number(self.decoder));
                x.iter_mut().zip(&*out).for_each(|(x, y)| *x += y);
            }
        }
    }

    /// Gradient of what a residual branch adds, given the gradient of the stream.
    fn branch_gradient<'b>(&self, d_x: &'b [f32], site: Site, room_for: &'b mut Vec<f32>) -> &'b [f32] {
        match self.dropout {
            None => d_x,
            Some(dropout) => {
                let d = keep(room_for, d_x);
                dropout.apply(d, self.weights.dims.width, self.starts, site.number(self.decoder));
                d
            }
        }
    }

    /// The normed input of a sublayer, from what the forward pass kept.
    fn norm_again<'b>(&self, norm: &Range<usize>, x: &[f32], normed: &'b mut Vec<f32>) -> &'b [f32] {
        let mut inverse = vec![0.0; x.len() / self.weights.dims.width];
        let normed = room(normed, x.len());
        rms_norm(normed, &mut inverse, x, self.weights.at(norm), self.weights.dims.epsilon);
        normed
    }

    /// Adds the gradient that came through the norm before a sublayer to `d_x`.
    fn norm_backward(
        &self,
        norm: &Range<usize>,
        d_x: &mut [f32],
        d_normed: &[f32],
        (x, inverse): (&[f32], &[f32]),
        d_weights: Option<&mut [f32]>,
    ) {
        let inverse = &inverse[..d_x.len() / self.weights.dims.width];
        let x = &x[..d_x.len()];
        rms_norm_backward(d_x, d_normed, x, inverse, self.weights.at(norm));
        if let Some(d_weights) = d_weights {
            rms_norm_scale_gradient(&mut d_weights[norm.clone()], d_normed, x, inverse);
        }
    }
}

fn attention_forward(
    context: Context<'_>,
    index: usize,
    part: &SelfAttention,
    x: &mut [f32],
    tape: &mut AttentionTape,
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, inner) = (weights.dims.width, weights.dims.inner());
    let rows = x.len() / width;
    keep(&mut tape.x, x);
    let normed = room(&mut scratch.normed, x.len());
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.at(&part.norm), weights.dims.epsilon);
    let qkv = room(&mut tape.projected, rows * 3 * inner);
    linear(qkv, normed, weights.at(&part.qkv), width);
    let heads = room(&mut tape.context, rows * inner);
    attend(&context.self_attention(index), heads, &mut tape.probabilities, Qkv::joined(qkv, inner));
    context.residual(x, heads, weights.at(&part.out), inner, Site::AttentionOut(index), &mut scratch.branch);
}

fn attention_backward(
    context: Context<'_>,
    index: usize,
    part: &SelfAttention,
    d_x: &mut [f32],
    tape: &mut AttentionTape,
    learn: Option<(&mut [f32], &mut [f32])>,
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, inner) = (weights.dims.width, weights.dims.inner());
    let rows = d_x.len() / width;
    let (mut d_weights, d_bias) = match learn {
        Some((d_weights, d_bias)) => (Some(d_weights), Some(d_bias)),
        None => (None, None),
    };
    let d_branch = context.branch_gradient(d_x, Site::AttentionOut(index), &mut scratch.d_branch);
    let d_heads = room(&mut scratch.d_inner, rows * inner);
    linear_backward(d_heads, d_branch, weights.at(&part.out), inner, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let heads = &tape.context[..rows * inner];
        linear_weight_gradient(&mut d_weights[part.out.clone()], d_branch, heads, inner);
    }
    let d_qkv = room(&mut scratch.d_projected, rows * 3 * inner);
    let qkv = &tape.projected[..rows * 3 * inner];
    attend_backward(
        &context.self_attention(index),
        QkvGradient::Joined(d_qkv),
        d_bias,
        &mut tape.probabilities,
        d_heads,
        Qkv::joined(qkv, inner),
    );
    let d_normed = room(&mut scratch.d_normed, d_x.len());
    linear_backward(d_normed, d_qkv, weights.at(&part.qkv), width, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let normed = context.norm_again(&part.norm, &tape.x[..d_x.len()], &mut scratch.normed);
        linear_weight_gradient(&mut d_weights[part.qkv.clone()], d_qkv, normed, width);
    }
    context.norm_backward(&part.norm, d_x, d_normed, (&tape.x, &tape.inverse), d_weights);
}

fn cross_forward(
    context: Context<'_>,
    index: usize,
    part: &CrossAttention,
    x: &mut [f32],
    tape: &mut AttentionTape,
    cross: &[f32],
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, inner) = (weights.dims.width, weights.dims.inner());
    let rows = x.len() / width;
    keep(&mut tape.x, x);
    let normed = room(&mut scratch.normed, x.len());
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.at(&part.norm), weights.dims.epsilon);
    let queries = room(&mut tape.projected, rows * inner);
    linear(queries, normed, weights.at(&part.query), width);
    let heads = room(&mut tape.context, rows * inner);
    let keys_values = &cross[2 * inner * index..];
    attend(&context.cross_attention(index), heads, &mut tape.probabilities, Qkv::apart(queries, keys_values, inner));
    context.residual(x, heads, weights.at(&part.out), inner, Site::CrossOut(index), &mut scratch.branch);
}

#[expect(clippy::too_many_arguments, reason = "the forward pass's arguments and their gradients")]
fn cross_backward(
    context: Context<'_>,
    index: usize,
    part: &CrossAttention,
    d_x: &mut [f32],
    tape: &mut AttentionTape,
    mut d_weights: Option<&mut [f32]>,
    (cross, d_cross): (&[f32], &mut [f32]),
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, inner) = (weights.dims.width, weights.dims.inner());
    let rows = d_x.len() / width;
    let d_branch = context.branch_gradient(d_x, Site::CrossOut(index), &mut scratch.d_branch);
    let d_heads = room(&mut scratch.d_inner, rows * inner);
    linear_backward(d_heads, d_branch, weights.at(&part.out), inner, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let heads = &tape.context[..rows * inner];
        linear_weight_gradient(&mut d_weights[part.out.clone()], d_branch, heads, inner);
    }
    let d_queries = room(&mut scratch.d_projected, rows * inner);
    let queries = &tape.projected[..rows * inner];
    attend_backward(
        &context.cross_attention(index),
        QkvGradient::Apart { queries: d_queries, keys_values: &mut d_cross[2 * inner * index..] },
        None,
        &mut tape.probabilities,
        d_heads,
        Qkv::apart(queries, &cross[2 * inner * index..], inner),
    );
    let d_normed = room(&mut scratch.d_normed, d_x.len());
    linear_backward(d_normed, d_queries, weights.at(&part.query), width, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let normed = context.norm_again(&part.norm, &tape.x[..d_x.len()], &mut scratch.normed);
        linear_weight_gradient(&mut d_weights[part.query.clone()], d_queries, normed, width);
    }
    context.norm_backward(&part.norm, d_x, d_normed, (&tape.x, &tape.inverse), d_weights);
}

impl Context<'_> {
    fn activation(&self) -> Activation {
        if self.weights.dims.gated { Activation::GatedGelu } else { Activation::Relu }
    }

    /// The activated inner layer, dropped out.
    fn activated<'b>(&self, index: usize, inner: &[f32], rows: usize, room_for: &'b mut Vec<f32>) -> &'b [f32] {
        let ff = self.weights.dims.ff;
        let activated = room(room_for, rows * ff);
        activate(self.activation(), activated, inner, ff);
        if let Some(dropout) = self.dropout {
            dropout.apply(activated, ff, self.starts, Site::Inner(index).number(self.decoder));
        }
        activated
    }
}

fn ff_forward(
    context: Context<'_>,
    index: usize,
    part: &FeedForward,
    x: &mut [f32],
    tape: &mut FeedForwardTape,
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, ff) = (weights.dims.width, weights.dims.ff);
    let rows = x.len() / width;
    keep(&mut tape.x, x);
    let normed = room(&mut scratch.normed, x.len());
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.at(&part.norm), weights.dims.epsilon);
    let inner = room(&mut tape.inner, rows * part.inner.len() / width);
    linear(inner, normed, weights.at(&part.inner), width);
    let activated = context.activated(index, inner, rows, &mut scratch.inner);
    context.residual(x, activated, weights.at(&part.out), ff, Site::InnerOut(index), &mut scratch.branch);
}

fn ff_backward(
    context: Context<'_>,
    index: usize,
    part: &FeedForward,
    d_x: &mut [f32],
    tape: &mut FeedForwardTape,
    mut d_weights: Option<&mut [f32]>,
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, ff) = (weights.dims.width, weights.dims.ff);
    let rows = d_x.len() / width;
    let inner = &mut tape.inner[..rows * part.inner.len() / width];
    let d_branch = context.branch_gradient(d_x, Site::InnerOut(index), &mut scratch.d_branch);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let activated = context.activated(index, inner, rows, &mut scratch.inner);
        linear_weight_gradient(&mut d_weights[part.out.clone()], d_branch, activated, ff);
    }
    let d_activated = room(&mut scratch.d_inner, rows * ff);
    linear_backward(d_activated, d_branch, weights.at(&part.out), ff, false);
    if let Some(dropout) = context.dropout {
        dropout.apply(d_activated, ff, context.starts, Site::Inner(index).number(context.decoder));
    }
    activate_backward(context.activation(), inner, d_activated, ff);
    let d_normed = room(&mut scratch.d_normed, d_x.len());
    linear_backward(d_normed, inner, weights.at(&part.inner), width, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let normed = context.norm_again(&part.norm, &tape.x[..d_x.len()], &mut scratch.normed);
        linear_weight_gradient(&mut d_weights[part.inner.clone()], inner, normed, width);
    }
    context.norm_backward(&part.norm, d_x, d_normed, (&tape.x, &tape.inverse), d_weights);
}
