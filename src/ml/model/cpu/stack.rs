//! The layers of an encoder or a decoder, forward and backward.

use super::cross::{self, Cross, Memory};
use super::keep;
use super::kernels::{
    Activation, Attention, Dropout, Kept, Matrix, Probabilities, Qkv, QkvGradient, Span, Storage, activate,
    activate_backward, attend, attend_backward, linear, linear_add, linear_backward, linear_weight_gradient, rms_norm,
    rms_norm_backward, rms_norm_scale_gradient, room,
};
use crate::ml::model::layout::{CrossAttention, FeedForward, Layer, SelfAttention, Stack};
use crate::ml::model::position::offset_bias_backward;
use crate::ml::model::site::Site;
use crate::ml::model::{Place, Precision, Weights};
use std::ops::Range;

/// What a forward pass leaves for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: there will be none.
    Nothing,
    /// The input of each layer; the rest is computed again, layer by layer.
    Inputs,
    /// All activations.
    Everything,
}

/// Which rows of a stack's input need a gradient. All do when the weights learn.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// None: the embeddings of the decoder's input are frozen.
    None,
    /// These: the prompts.
    Rows(&'a [Range<usize>]),
}

/// What a stack keeps for its backward pass.
#[derive(Default)]
pub(super) struct Tape {
    /// One for each layer, or one that all layers use in turn.
    layers: Vec<LayerTape>,
    /// The inputs of the layers, if the layers have one tape.
    inputs: Vec<Vec<f32>>,
    /// Input of the last norm, and its inverse.
    x: Vec<f32>,
    inverse: Vec<f32>,
    /// Gradient of the input, once the backward pass is done.
    pub(super) d_x: Vec<f32>,
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
    projected: Kept,
    probabilities: Probabilities,
    /// Output of the heads, `[n, I]`; only the gradients of weights need it.
    context: Vec<f32>,
}

#[derive(Default)]
struct FeedForwardTape {
    x: Vec<f32>,
    inverse: Vec<f32>,
    inner: Kept,
}

/// Buffers between two operations.
#[derive(Default)]
pub(super) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    /// Activations that are kept in bf16, while they are worked with.
    wide: Vec<f32>,
    heads: Vec<f32>,
    branch: Vec<f32>,
    inner: Vec<f32>,
    d_normed: Vec<f32>,
    d_branch: Vec<f32>,
    d_inner: Vec<f32>,
    d_projected: Vec<f32>,
    cross: cross::Scratch,
}

fn bytes_of<'a>(buffers: impl IntoIterator<Item = &'a Vec<f32>>) -> usize {
    buffers.into_iter().map(|buffer| buffer.capacity() * size_of::<f32>()).sum()
}

impl Tape {
    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        let attention = |tape: &AttentionTape| {
            bytes_of([&tape.x, &tape.inverse, &tape.context]) + tape.projected.bytes() + tape.probabilities.bytes()
        };
        let layer = |tape: &LayerTape| {
            attention(&tape.attention)
                + attention(&tape.cross)
                + bytes_of([&tape.ff.x, &tape.ff.inverse])
                + tape.ff.inner.bytes()
        };
        self.layers.iter().map(layer).sum::<usize>()
            + bytes_of(&self.inputs)
            + bytes_of([&self.x, &self.inverse, &self.d_x])
    }
}

impl Scratch {
    /// Exchanges buffers of forward passes with those of gradients; done twice, all is as it was.
    fn lend_to_gradients(&mut self) {
        std::mem::swap(&mut self.normed, &mut self.d_normed);
        std::mem::swap(&mut self.inner, &mut self.d_inner);
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        let Self { x, normed, wide, heads, branch, inner, d_normed, d_branch, d_inner, d_projected, cross } = self;
        bytes_of([x, normed, wide, heads, branch, inner, d_normed, d_branch, d_inner, d_projected]) + cross.bytes()
    }
}

/// A stack at work on one batch.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) weights: &'a Weights,
    pub(super) stack: &'a Stack,
    /// Rows of each example, as in [`Ragged::starts`](crate::ml::model::batch::Ragged::starts).
    pub(super) starts: &'a [usize],
    pub(super) spans: &'a [Span],
    pub(super) cross_spans: &'a [Span],
    /// Bias by offset, `[H, 2·longest - 1]`, for each table of the stack.
    pub(super) biases: &'a [Vec<f32>],
    /// Rows of the longest example.
    pub(super) longest: usize,
    pub(super) decoder: bool,
    pub(super) dropout: Option<&'a Dropout>,
    pub(super) keep: Keep,
    /// Whether the weights will get a gradient.
    pub(super) learns: bool,
    /// Rows that equal earlier rows, as they come in the input of the first layer: where, and which earlier ones.
    pub(super) repeated: &'a [(Range<usize>, usize)],
}

/// Runs the stack on `x`, `[n, E]`, which it uses up; `out` takes its output. `memory` is what a decoder looks at.
pub(super) fn forward(
    context: Context<'_>,
    x: &mut [f32],
    tape: &mut Tape,
    out: &mut Vec<f32>,
    memory: Option<Memory<&[f32]>>,
    scratch: &mut Scratch,
) {
    let Context { weights, stack, starts, decoder, dropout, .. } = context;
    let width = weights.dims.width;
    if let Some(dropout) = dropout {
        dropout.apply(x, width, starts, Site::Embedding.number(decoder));
    }
    let layers = stack.layers.len();
    tape.layers.resize_with(if context.keep == Keep::Everything { layers } else { 1 }, LayerTape::default);
    tape.inputs.resize_with(if context.keep == Keep::Inputs { layers } else { 0 }, Vec::new);
    for (index, layer) in stack.layers.iter().enumerate() {
        if let Some(input) = tape.inputs.get_mut(index) {
            keep(input, x);
        }
        let at = index.min(tape.layers.len() - 1);
        layer_forward(context, index, layer, x, &mut tape.layers[at], memory, scratch);
    }
    keep(&mut tape.x, x);
    let inverse = room(&mut tape.inverse, x.len() / width);
    let out = room(out, x.len());
    rms_norm(out, inverse, x, weights.vector(&stack.norm), weights.dims.epsilon);
    if let Some(dropout) = dropout {
        dropout.apply(out, width, starts, Site::Last.number(decoder));
    }
}

fn layer_forward(
    context: Context<'_>,
    index: usize,
    layer: &Layer,
    x: &mut [f32],
    tape: &mut LayerTape,
    memory: Option<Memory<&[f32]>>,
    scratch: &mut Scratch,
) {
    attention_forward(context, index, &layer.attention, x, &mut tape.attention, scratch);
    if let Some((part, memory)) = layer.cross.as_ref().zip(memory) {
        cross_forward(context, index, part, x, &mut tape.cross, memory, scratch);
    }
    ff_forward(context, index, &layer.ff, x, &mut tape.ff, scratch);
}

/// Leaves the gradient of the stack's input in the tape, at the rows that are wanted. `d_memory` takes the gradient of what a
/// decoder looks at: see [`Cross::backward`].
pub(super) fn backward(
    context: Context<'_>,
    d_out: &mut [f32],
    tape: &mut Tape,
    mut d_weights: Option<&mut [f32]>,
    mut memory: Option<(Memory<&[f32]>, &mut [f32])>,
    wanted: Wanted<'_>,
    scratch: &mut Scratch,
) {
    let Context { weights, stack, starts, decoder, dropout, .. } = context;
    let width = weights.dims.width;
    let Tape { layers, inputs, x, inverse, d_x } = tape;
    let (x, inverse) = (&x[..d_out.len()], &inverse[..d_out.len() / width]);
    // What only forward passes use, gradients can use if there is no forward pass in between.
    let shares = !context.learns && context.keep == Keep::Everything;
    if shares {
        scratch.lend_to_gradients();
    }
    if let Some(dropout) = dropout {
        dropout.apply(d_out, width, starts, Site::Last.number(decoder));
    }
    let d_x = room(d_x, d_out.len());
    d_x.fill(0.0);
    rms_norm_backward(d_x, d_out, x, inverse, weights.vector(&stack.norm));
    if let Some(d_weights) = d_weights.as_deref_mut() {
        rms_norm_scale_gradient(&mut d_weights[stack.norm.clone()], d_out, x, inverse);
    }
    let mut d_biases = d_weights.is_some().then(|| vec![vec![0.0; context.biases[0].len()]; context.biases.len()]);
    for (index, layer) in stack.layers.iter().enumerate().rev() {
        let at = index.min(layers.len() - 1);
        // The last layer's activations are still there.
        if let (Some(input), true) = (inputs.get(index), index + 1 < stack.layers.len()) {
            let mut x = std::mem::take(&mut scratch.x);
            let seen = memory.as_ref().map(|(memory, _)| *memory);
            layer_forward(context, index, layer, keep(&mut x, &input[..d_x.len()]), &mut layers[at], seen, scratch);
            scratch.x = x;
        }
        let tape = &mut layers[at];
        ff_backward(context, index, &layer.ff, d_x, &mut tape.ff, d_weights.as_deref_mut(), scratch);
        if let Some((part, (memory, d_memory))) = layer.cross.as_ref().zip(memory.as_mut()) {
            let memory = (*memory, &mut **d_memory);
            cross_backward(context, index, part, d_x, &mut tape.cross, d_weights.as_deref_mut(), memory, scratch);
        }
        let rows = match wanted {
            _ if index > 0 || d_weights.is_some() => None,
            Wanted::None => break,
            Wanted::Rows(rows) => Some(rows),
        };
        let d_bias = d_biases.as_mut().map(|d_biases| &mut *d_biases[stack.bias_of(index)]);
        let learn = d_weights.as_deref_mut().zip(d_bias);
        attention_backward(context, index, &layer.attention, d_x, &mut tape.attention, learn, rows, scratch);
    }
    if let (Some(d_weights), Some(d_biases)) = (d_weights, d_biases) {
        let dims = &weights.dims;
        for (table, d_bias) in stack.biases.iter().zip(d_biases) {
            let d_table = &mut d_weights[table.clone()];
            offset_bias_backward(d_table, &d_bias, dims.heads, context.longest, decoder, dims.max_distance);
        }
    }
    if let Some(dropout) = dropout {
        dropout.apply(d_x, width, starts, Site::Embedding.number(decoder));
    }
    if shares {
        scratch.lend_to_gradients();
    }
}

impl<'a> Context<'a> {
    /// How a layer keeps its activations. If the weights are bf16, what a backward pass sees of activations is too, but for
    /// the inputs of norms.
    fn storage(&self) -> Storage {
        match (self.weights.precision(), self.keep) {
            (Precision::F32, _) => Storage::Exact,
            (Precision::Bf16, Keep::Everything) => Storage::Narrow,
            (Precision::Bf16, Keep::Nothing | Keep::Inputs) => Storage::Rounded,
        }
    }

    fn self_attention(&self, index: usize) -> Attention<'a> {
        let dims = &self.weights.dims;
        let inner = dims.inner();
        Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: 3 * inner,
            key_stride: 3 * inner,
            spans: self.spans,
            bias: Some((&self.biases[self.stack.bias_of(index)], self.longest)),
            causal: self.decoder,
            dropout: self.dropout.map(|d| (d, Site::Attention(index).number(self.decoder))),
        }
    }

    fn cross_attention(&self, index: usize) -> Cross<'a> {
        let dropout = self.dropout.map(|d| (d, Site::Cross(index).number(self.decoder)));
        Cross { weights: self.weights, index, spans: self.cross_spans, dropout }
    }

    /// `x += dropout(branch · weightᵀ)`.
    fn residual(
        &self,
        x: &mut [f32],
        branch: &[f32],
        weight: Matrix<'_>,
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
    fn norm_again<'b>(&self, norm: &Place, x: &[f32], normed: &'b mut Vec<f32>) -> &'b [f32] {
        let mut inverse = vec![0.0; x.len() / self.weights.dims.width];
        let normed = room(normed, x.len());
        rms_norm(normed, &mut inverse, x, self.weights.vector(norm), self.weights.dims.epsilon);
        normed
    }

    /// Adds the gradient that came through the norm before a sublayer to `d_x`.
    fn norm_backward(
        &self,
        norm: &Place,
        d_x: &mut [f32],
        d_normed: &[f32],
        (x, inverse): (&[f32], &[f32]),
        d_weights: Option<&mut [f32]>,
    ) {
        let inverse = &inverse[..d_x.len() / self.weights.dims.width];
        let x = &x[..d_x.len()];
        rms_norm_backward(d_x, d_normed, x, inverse, self.weights.vector(norm));
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
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.vector(&part.norm), weights.dims.epsilon);
    let heads = room(if context.learns { &mut tape.context } else { &mut scratch.heads }, rows * inner);
    let storage = context.storage();
    tape.probabilities.store(storage);
    tape.projected.fill(rows * 3 * inner, storage, &mut scratch.wide, |qkv| {
        if index == 0 && !context.repeated.is_empty() {
            let some = room(&mut scratch.d_projected, rows * 3 * inner);
            project_once(context.repeated, qkv, normed, weights.at(&part.qkv), width, some);
        } else {
            linear(qkv, normed, weights.at(&part.qkv), width);
        }
        attend(&context.self_attention(index), heads, &mut tape.probabilities, Qkv::joined(qkv, inner));
    });
    context.residual(x, heads, weights.at(&part.out), inner, Site::AttentionOut(index), &mut scratch.branch);
}

/// `y = x · weightᵀ`, where the rows `repeated` equal earlier ones, whose results they take. Uses `x` up.
fn project_once(
    repeated: &[(Range<usize>, usize)],
    y: &mut [f32],
    x: &mut [f32],
    weight: Matrix<'_>,
    width: usize,
    some: &mut [f32],
) {
    let (rows, outputs) = (x.len() / width, weight.len() / width);
    // Where the rows lie that are like no earlier one, and after compaction.
    let mut own: Vec<(Range<usize>, usize)> = Vec::with_capacity(repeated.len() + 1);
    let (mut next, mut count) = (0, 0);
    for end in repeated.iter().map(|(range, _)| range.start).chain([rows]) {
        own.push((next..end, count));
        count += end - next;
        next = repeated.get(own.len() - 1).map_or(rows, |(range, _)| range.end);
    }
    for (range, at) in &own {
        x.copy_within(range.start * width..range.end * width, at * width);
    }
    let some = &mut some[..count * outputs];
    linear(some, &x[..count * width], weight, width);
    for (range, at) in own {
        let len = range.len() * outputs;
        y[range.start * outputs..][..len].copy_from_slice(&some[at * outputs..][..len]);
    }
    for (range, first) in repeated {
        y.copy_within(first * outputs..(first + range.len()) * outputs, range.start * outputs);
    }
}

#[expect(clippy::too_many_arguments, reason = "the forward pass's arguments and their gradients")]
fn attention_backward(
    context: Context<'_>,
    index: usize,
    part: &SelfAttention,
    d_x: &mut [f32],
    tape: &mut AttentionTape,
    learn: Option<(&mut [f32], &mut [f32])>,
    wanted: Option<&[Range<usize>]>,
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
    let qkv = tape.projected.read(rows * 3 * inner, context.storage(), &mut scratch.wide);
    attend_backward(
        &context.self_attention(index),
        QkvGradient::Joined(d_qkv),
        d_bias,
        &mut tape.probabilities,
        d_heads,
        Qkv::joined(qkv, inner),
    );
    if let Some(wanted) = wanted {
        return rows_backward(context, part, d_x, tape, d_qkv, wanted, &mut scratch.d_normed);
    }
    let d_normed = room(&mut scratch.d_normed, d_x.len());
    linear_backward(d_normed, d_qkv, weights.at(&part.qkv), width, false);
    if let Some(d_weights) = d_weights.as_deref_mut() {
        let normed = context.norm_again(&part.norm, &tape.x[..d_x.len()], &mut scratch.normed);
        linear_weight_gradient(&mut d_weights[part.qkv.clone()], d_qkv, normed, width);
    }
    context.norm_backward(&part.norm, d_x, d_normed, (&tape.x, &tape.inverse), d_weights);
}

/// The last steps of [`attention_backward`] for some rows only. Uses `d_qkv` up.
fn rows_backward(
    context: Context<'_>,
    part: &SelfAttention,
    d_x: &mut [f32],
    tape: &AttentionTape,
    d_qkv: &mut [f32],
    wanted: &[Range<usize>],
    d_normed: &mut Vec<f32>,
) {
    let weights = context.weights;
    let width = weights.dims.width;
    let projected = 3 * weights.dims.inner();
    let mut count = 0;
    for range in wanted {
        d_qkv.copy_within(range.start * projected..range.end * projected, count * projected);
        count += range.len();
    }
    let d_normed = room(d_normed, count * width);
    linear_backward(d_normed, &d_qkv[..count * projected], weights.at(&part.qkv), width, false);
    let mut rest = &*d_normed;
    for range in wanted {
        let (mine, others) = rest.split_at(range.len() * width);
        rest = others;
        let at = range.start * width..range.end * width;
        let (x, inverse) = (&tape.x[at.clone()], &tape.inverse[range.clone()]);
        rms_norm_backward(&mut d_x[at], mine, x, inverse, weights.vector(&part.norm));
    }
}

fn cross_forward(
    context: Context<'_>,
    index: usize,
    part: &CrossAttention,
    x: &mut [f32],
    tape: &mut AttentionTape,
    memory: Memory<&[f32]>,
    scratch: &mut Scratch,
) {
    let weights = context.weights;
    let (width, inner) = (weights.dims.width, weights.dims.inner());
    let rows = x.len() / width;
    keep(&mut tape.x, x);
    let normed = room(&mut scratch.normed, x.len());
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.vector(&part.norm), weights.dims.epsilon);
    let heads = room(if context.learns { &mut tape.context } else { &mut scratch.heads }, rows * inner);
    let attention = context.cross_attention(index);
    let storage = context.storage();
    // Those of absorbed attention are few.
    tape.probabilities.store(if let Memory::Absorbed(_) = memory { Storage::Exact } else { storage });
    tape.projected.fill(rows * inner, storage, &mut scratch.wide, |queries| {
        linear(queries, normed, weights.at(&part.query), width);
        attention.forward(heads, &mut tape.probabilities, queries, memory, &mut scratch.cross);
    });
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
    (memory, d_memory): (Memory<&[f32]>, &mut [f32]),
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
    let queries = tape.projected.read(rows * inner, context.storage(), &mut scratch.wide);
    let attention = context.cross_attention(index);
    let given = (&*queries, memory);
    attention.backward(d_queries, d_memory, &mut tape.probabilities, d_heads, given, &mut scratch.cross);
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
        self.weights.dims.activation
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
    rms_norm(normed, room(&mut tape.inverse, rows), x, weights.vector(&part.norm), weights.dims.epsilon);
    let activated = tape.inner.fill(rows * part.inner.len() / width, context.storage(), &mut scratch.wide, |inner| {
        linear(inner, normed, weights.at(&part.inner), width);
        context.activated(index, inner, rows, &mut scratch.inner)
    });
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
    let inner = tape.inner.read(rows * part.inner.len() / width, context.storage(), &mut scratch.wide);
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
