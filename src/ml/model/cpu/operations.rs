//! The operations of a stack, by the kernels, on buffers that keep their size.

use super::Side;
use super::cross::{self, Cross, Memory};
use super::kernels::{
    Attention, Dropout, Kept, Matrix, Probabilities, Qkv, QkvGradient, Storage, activate, activate_backward, attend,
    attend_backward, linear, linear_add, linear_backward, linear_weight_gradient, rms_norm, rms_norm_backward,
    rms_norm_scale_gradient, room,
};
use crate::ml::model::position::offset_bias_backward;
use crate::ml::model::site::Site;
use crate::ml::model::stack::{Bytes, Input, Keep, Linear, Operations, Part, Seen, Slots};
use crate::ml::model::{Dims, Place, Precision, Weights};
use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;

/// Slots that may be longer than the rows of a batch.
#[derive(Default)]
pub(super) struct Buffers;

type Rows = Vec<f32>;
type Done = Result<(), Infallible>;

impl Slots for Buffers {
    type Rows = Rows;
    type Saved = Kept;
    type Probabilities = Probabilities;
}

/// Buffers within an operation.
#[derive(Default)]
pub(super) struct Scratch {
    /// Activations that are kept in bf16, while they are worked with.
    wide: Vec<f32>,
    cross: cross::Scratch,
}

impl Bytes for Scratch {
    fn bytes(&self) -> usize {
        self.wide.bytes() + self.cross.bytes()
    }
}

impl Bytes for Vec<f32> {
    fn bytes(&self) -> usize {
        self.capacity() * size_of::<f32>()
    }
}

impl Bytes for Kept {
    fn bytes(&self) -> usize {
        Kept::bytes(self)
    }
}

impl Bytes for Probabilities {
    fn bytes(&self) -> usize {
        Probabilities::bytes(self)
    }
}

/// What a stack works with on one batch.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) weights: &'a Weights,
    pub(super) side: &'a Side<'a>,
    pub(super) dropout: Option<&'a Dropout>,
    /// Rows that equal earlier rows, as they come in the input of the first layer: where, and which earlier ones.
    pub(super) repeated: &'a [(Range<usize>, usize)],
    /// Rows of each example's input that need a gradient, its first ones.
    pub(super) wanted: &'a [Range<usize>],
    /// What a decoder looks at.
    pub(super) memory: Option<Memory<&'a [f32]>>,
}

/// A stack at work on one batch.
pub(super) struct Context<'a> {
    given: Given<'a>,
    /// How activations are kept. If the weights are bf16, what a backward pass sees of activations is too, but for the inputs
    /// of norms.
    storage: Storage,
    /// Rows of each example, as in [`Ragged::starts`](crate::ml::model::batch::Ragged::starts).
    starts: Cow<'a, [usize]>,
    pub(super) learned: Option<Learned<'a>>,
    /// Takes the gradient of the memory: see [`Cross::backward`].
    pub(super) d_memory: &'a mut [f32],
    scratch: &'a mut Scratch,
}

/// Where gradients of weights go.
pub(super) struct Learned<'a> {
    /// In the layout of the weights.
    d_weights: &'a mut [f32],
    /// Of the biases by offset, for each table of the stack.
    d_biases: Vec<Vec<f32>>,
}

impl<'a> Learned<'a> {
    pub(super) fn new(d_weights: &'a mut [f32], side: &Side<'_>) -> Self {
        Self { d_weights, d_biases: side.biases.iter().map(|bias| vec![0.0; bias.len()]).collect() }
    }
}

impl<'a> Given<'a> {
    /// The product before an attention. Uses `x` up.
    fn project(&self, part: Part<'_>, out: &mut [f32], x: &mut [f32], spare: &mut Rows) {
        let Linear { place, inputs } = part.projection;
        if part.layer > 0 || self.repeated.is_empty() {
            return linear(out, x, self.weights.at(place), inputs);
        }
        project_once(self.repeated, out, x, self.weights.at(place), inputs, room(spare, out.len()));
    }

    fn self_attention(&self, part: Part<'_>) -> Attention<'a> {
        let Side { stack, spans, biases, longest, decoder, .. } = self.side;
        let dims = &self.weights.dims;
        let inner = dims.inner();
        Attention {
            heads: dims.heads,
            head_width: dims.head_width,
            query_stride: 3 * inner,
            key_stride: 3 * inner,
            spans,
            bias: Some((&biases[stack.bias_of(part.layer)], *longest)),
            causal: *decoder,
            dropout: self.dropout_at(part.site()),
        }
    }

    fn cross_attention(&self, part: Part<'_>) -> (Cross<'a>, Memory<&'a [f32]>) {
        let Self { weights, side, memory, .. } = *self;
        let dropout = self.dropout_at(part.site());
        let cross = Cross { weights, index: part.layer, spans: &side.cross_spans, dropout };
        (cross, memory.expect("what has cross-attentions has a memory"))
    }

    fn dropout_at(&self, site: Site) -> Option<(&'a Dropout, u32)> {
        self.dropout.map(|dropout| (dropout, site.number(self.side.decoder)))
    }
}

impl<'a> Context<'a> {
    pub(super) fn new(given: Given<'a>, keep: Keep, scratch: &'a mut Scratch) -> Self {
        let storage = match (given.weights.precision(), keep) {
            (Precision::F32, _) => Storage::Exact,
            (Precision::Bf16, Keep::Everything) => Storage::Narrow,
            (Precision::Bf16, Keep::Nothing | Keep::Inputs) => Storage::Rounded,
        };
        let starts = Cow::Borrowed(given.side.starts);
        Self { given, storage, starts, learned: None, d_memory: &mut [], scratch }
    }

    /// Adds the gradients of the tables of biases to that of the weights, if they learn.
    pub(super) fn learn_biases(self) {
        let Given { weights, side, .. } = self.given;
        let Some(Learned { d_weights, d_biases }) = self.learned else { return };
        for (table, d_bias) in side.stack.biases.iter().zip(d_biases) {
            let d_table = &mut d_weights[table.clone()];
            let Dims { heads, max_distance, .. } = weights.dims;
            offset_bias_backward(d_table, &d_bias, heads, side.longest, side.decoder, max_distance);
        }
    }

    fn dims(&self) -> &'a Dims {
        &self.given.weights.dims
    }

    fn at(&self, weight: Linear<'_>) -> Matrix<'a> {
        self.given.weights.at(weight.place)
    }

    /// Rows of all examples.
    fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The rows of a buffer.
    fn of<'b>(&self, x: &'b [f32], width: usize) -> &'b [f32] {
        &x[..self.rows() * width]
    }
}

impl Operations for Context<'_> {
    type Error = Infallible;
    type Slots = Buffers;

    const STAYS: bool = true;

    fn release<S: Default>(&self, _slot: &mut S) {}

    fn copy(&self, out: &mut Rows, x: &Rows) {
        let x = self.of(x, self.dims().width);
        room(out, x.len()).copy_from_slice(x);
    }

    fn zeros(&self, out: &mut Rows, _like: &Rows) -> Done {
        room(out, self.rows() * self.dims().width).fill(0.0);
        Ok(())
    }

    fn drop_rows(&self, x: &mut Rows, site: Site) -> Done {
        if let Some((dropout, number)) = self.given.dropout_at(site) {
            let dims = self.dims();
            let width = if let Site::Inner(_) = site { dims.ff } else { dims.width };
            dropout.apply(&mut x[..self.rows() * width], width, &self.starts, number);
        }
        Ok(())
    }

    fn norm(&self, out: &mut Rows, input: &mut Input<Buffers>, scale: &Place) -> Done {
        let x = self.of(&input.x, scale.len());
        let (out, inverse) = (room(out, x.len()), room(&mut input.inverse, self.rows()));
        rms_norm(out, inverse, x, self.given.weights.vector(scale), self.dims().epsilon);
        Ok(())
    }

    fn norm_backward(&mut self, d_x: &mut Rows, d_out: &Rows, input: &Input<Buffers>, scale: &Place) -> Done {
        let width = scale.len();
        let (d_out, x, inverse) = (self.of(d_out, width), self.of(&input.x, width), self.of(&input.inverse, 1));
        rms_norm_backward(&mut d_x[..d_out.len()], d_out, x, inverse, self.given.weights.vector(scale));
        if let Some(learned) = &mut self.learned {
            rms_norm_scale_gradient(&mut learned.d_weights[scale.clone()], d_out, x, inverse);
        }
        Ok(())
    }

    fn residual(&self, x: &mut Rows, branch: &Rows, weight: Linear<'_>, site: Site, summand: &mut Rows) -> Done {
        let x = &mut x[..self.rows() * weight.outputs()];
        let (branch, matrix) = (self.of(branch, weight.inputs), self.at(weight));
        if self.given.dropout.is_none() {
            linear_add(x, branch, matrix, weight.inputs);
            return Ok(());
        }
        linear(room(summand, x.len()), branch, matrix, weight.inputs);
        self.drop_rows(summand, site)?;
        x.iter_mut().zip(&*summand).for_each(|(x, y)| *x += y);
        Ok(())
    }

    fn linear_backward(&self, d_x: &mut Rows, d_out: &Rows, weight: Linear<'_>) -> Done {
        let (d_x, d_out) = (room(d_x, self.rows() * weight.inputs), self.of(d_out, weight.outputs()));
        linear_backward(d_x, d_out, self.at(weight), weight.inputs, false);
        Ok(())
    }

    fn learn(&mut self, weight: Linear<'_>, d_out: &Rows, x: &Rows) -> Done {
        let (d_out, x) = (self.of(d_out, weight.outputs()), self.of(x, weight.inputs));
        if let Some(learned) = &mut self.learned {
            linear_weight_gradient(&mut learned.d_weights[weight.place.clone()], d_out, x, weight.inputs);
        }
        Ok(())
    }

    fn attend(
        &mut self,
        part: Part<'_>,
        heads: &mut Rows,
        seen: &mut Seen<Buffers>,
        normed: &mut Rows,
        spare: &mut Rows,
    ) -> Done {
        let given = self.given;
        let (rows, inner, columns) = (self.rows(), self.dims().inner(), part.projection.outputs());
        let heads = room(heads, rows * inner);
        let projected = room(seen.projected.fill(self.storage, &mut self.scratch.wide), rows * columns);
        given.project(part, projected, &mut normed[..rows * part.projection.inputs], spare);
        if part.crosses {
            let (attention, memory) = given.cross_attention(part);
            // Those of absorbed attention are few.
            seen.probabilities.store(if let Memory::Absorbed(_) = memory { Storage::Exact } else { self.storage });
            attention.forward(heads, &mut seen.probabilities, projected, memory, &mut self.scratch.cross);
        } else {
            seen.probabilities.store(self.storage);
            attend(&given.self_attention(part), heads, &mut seen.probabilities, Qkv::joined(projected, inner));
        }
        seen.projected.save(rows * columns, self.storage, &self.scratch.wide);
        Ok(())
    }

    fn attend_backward(
        &mut self,
        part: Part<'_>,
        d_projected: &mut Rows,
        d_heads: &Rows,
        seen: &mut Seen<Buffers>,
    ) -> Done {
        let given = self.given;
        let (rows, inner, columns) = (given.side.rows(), self.dims().inner(), part.projection.outputs());
        let (d_heads, d_projected) = (&d_heads[..rows * inner], room(d_projected, rows * columns));
        let projected = seen.projected.read(rows * columns, self.storage, &mut self.scratch.wide);
        if part.crosses {
            let (attention, memory) = given.cross_attention(part);
            let scratch = &mut self.scratch.cross;
            let given = (&*projected, memory);
            attention.backward(d_projected, self.d_memory, &mut seen.probabilities, d_heads, given, scratch);
            return Ok(());
        }
        let attention = given.self_attention(part);
        let table = given.side.stack.bias_of(part.layer);
        let d_bias = self.learned.as_mut().map(|learned| &mut *learned.d_biases[table]);
        let (gradient, qkv) = (QkvGradient::Joined(d_projected), Qkv::joined(projected, inner));
        attend_backward(&attention, gradient, d_bias, &mut seen.probabilities, d_heads, qkv);
        if let Cow::Owned(_) = self.starts {
            gather_rows(d_projected, self.given.wanted, columns);
        }
        Ok(())
    }

    fn select(&mut self, d_x: &mut Rows, input: &mut Input<Buffers>) -> Done {
        let width = self.dims().width;
        for (rows, width) in [(d_x, width), (&mut input.x, width), (&mut input.inverse, 1)] {
            gather_rows(rows, self.given.wanted, width);
        }
        let mut starts = vec![0];
        for range in self.given.wanted {
            starts.push(starts[starts.len() - 1] + range.len());
        }
        self.starts = Cow::Owned(starts);
        Ok(())
    }

    fn feed(&mut self, activated: &mut Rows, inner: &mut Kept, normed: &mut Rows, weight: Linear<'_>) -> Done {
        let (rows, columns, matrix) = (self.rows(), weight.outputs(), self.at(weight));
        let Dims { activation, ff, .. } = *self.dims();
        let wide = room(inner.fill(self.storage, &mut self.scratch.wide), rows * columns);
        linear(wide, &normed[..rows * weight.inputs], matrix, weight.inputs);
        activate(activation, room(activated, rows * ff), wide, ff);
        inner.save(rows * columns, self.storage, &self.scratch.wide);
        Ok(())
    }

    fn activate(&mut self, activated: &mut Rows, inner: &mut Kept) -> Done {
        let Dims { activation, ff, .. } = *self.dims();
        let (rows, columns) = (self.rows(), activation.inner(ff));
        let inner = inner.read(rows * columns, self.storage, &mut self.scratch.wide);
        activate(activation, room(activated, rows * ff), inner, ff);
        Ok(())
    }

    fn feed_backward(
        &mut self,
        d_normed: &mut Rows,
        d_activated: &Rows,
        inner: &mut Kept,
        normed: &mut Rows,
        weight: Linear<'_>,
    ) -> Done {
        let Dims { activation, ff, .. } = *self.dims();
        let (rows, matrix) = (self.rows(), self.at(weight));
        let inner = inner.read(rows * weight.outputs(), self.storage, &mut self.scratch.wide);
        activate_backward(activation, inner, &d_activated[..rows * ff], ff);
        let d_normed = room(d_normed, rows * weight.inputs);
        linear_backward(d_normed, inner, matrix, weight.inputs, false);
        if let Some(learned) = &mut self.learned {
            let normed = &normed[..rows * weight.inputs];
            linear_weight_gradient(&mut learned.d_weights[weight.place.clone()], inner, normed, weight.inputs);
        }
        Ok(())
    }
}

/// Moves some rows to the front.
fn gather_rows(x: &mut [f32], rows: &[Range<usize>], width: usize) {
    let mut count = 0;
    for range in rows {
        x.copy_within(range.start * width..range.end * width, count * width);
        count += range.len();
    }
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
