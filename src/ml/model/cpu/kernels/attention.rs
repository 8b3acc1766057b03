//! Attention without scaling, with a bias that depends on the offset of key and query, over packed examples.

use super::kept::{narrow, round, widen};
use super::{Matmul, Storage, Target, exp, largest, room, sum_by, vectorised};
use crate::ml::model::{Dropout, Sharing};
use half::bf16;
use rayon::prelude::*;

/// The rows of one example: `queries` rows from `query` on look at `keys` rows from `key` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First row of the queries.
    pub query: usize,
    /// Number of queries.
    pub queries: usize,
    /// First row of the keys and values.
    pub key: usize,
    /// Number of keys.
    pub keys: usize,
    /// Position of the first query among the keys: 0 but when decoding step by step.
    pub position: usize,
}

/// One attention: sizes, who looks at whom, and the bias.
///
/// Head `h` of row `r` stands at `r·stride + h·D` of its slice, so that queries, keys and values may share a matrix.
pub struct Attention<'a> {
    /// H.
    pub heads: usize,
    /// D.
    pub head_width: usize,
    /// Row stride of queries.
    pub query_stride: usize,
    /// Row stride of keys and of values.
    pub key_stride: usize,
    /// The examples.
    pub spans: &'a [Span],
    /// Bias by offset, `[H, 2·length - 1]`, and its `length` (see [`offset_bias`](crate::ml::model::position::offset_bias)).
    pub bias: Option<(&'a [f32], usize)>,
    /// A query sees no key after its own position.
    pub causal: bool,
    /// Dropout of the probabilities, and its site.
    pub dropout: Option<(&'a Dropout, u32)>,
}

/// The attention probabilities of a forward pass: for each span and head a matrix `[queries, keys]`.
#[derive(Debug, Default)]
pub struct Probabilities {
    /// In f32, unless they are kept in bf16: `[H, queries, keys]` of each span, one after the other.
    pub(super) values: Vec<f32>,
    narrow: Vec<bf16>,
    storage: Storage,
    pub(super) starts: Vec<usize>,
}

impl Probabilities {
    /// Says how the coming forward passes keep them.
    pub fn store(&mut self, storage: Storage) {
        self.storage = storage;
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<f32>() + self.narrow.capacity() * size_of::<bf16>()
    }

    pub(super) fn prepare(&mut self, spans: &[Span], heads: usize) {
        self.starts.clear();
        let mut at = 0;
        for span in spans {
            self.starts.push(at);
            at += heads * span.queries * span.keys;
        }
        match self.storage {
            Storage::Exact | Storage::Rounded => drop(room(&mut self.values, at)),
            Storage::Narrow => drop(room(&mut self.narrow, at)),
        }
    }

    /// Where each task finds its part, and where the parts of the spans begin.
    fn places(&mut self) -> (Places, &[usize]) {
        let Self { values, narrow, storage, starts } = self;
        let wide = Target(values.as_mut_ptr());
        (Places { wide, narrow: Target(narrow.as_mut_ptr()), storage: *storage }, starts)
    }
}

/// Where the tasks of an attention keep their probabilities.
struct Places {
    wide: Target,
    narrow: Target<bf16>,
    storage: Storage,
}

impl Places {
    /// Place for `len` probabilities that will be [kept](Self::keep) from `at` on; they may be in `buffer`.
    ///
    /// # Safety
    /// The probabilities must have been prepared for the spans, and this part belong to this task alone.
    unsafe fn fill<'b>(&self, at: usize, len: usize, buffer: &'b mut Vec<f32>) -> &'b mut [f32] {
        match self.storage {
            Storage::Narrow => room(buffer, len),
            // SAFETY: the caller's promise.
            Storage::Exact | Storage::Rounded => unsafe { self.wide.slice(at, len) },
        }
    }

    /// # Safety
    /// As for [`fill`](Self::fill).
    unsafe fn keep(&self, at: usize, p: &[f32]) {
        if self.storage == Storage::Narrow {
            // SAFETY: the caller's promise.
            narrow(unsafe { self.narrow.slice(at, p.len()) }, p);
        }
    }

    /// Probabilities of a forward pass, to be used up.
    ///
    /// # Safety
    /// As for [`fill`](Self::fill).
    unsafe fn read<'b>(&self, at: usize, len: usize, buffer: &'b mut Vec<f32>) -> &'b mut [f32] {
        // SAFETY: the caller's promise.
        let p = unsafe { self.fill(at, len, buffer) };
        match self.storage {
            Storage::Exact => {}
            Storage::Rounded => round(p),
            // SAFETY: the caller's promise.
            Storage::Narrow => widen(p, unsafe { self.narrow.slice(at, len) }),
        }
        p
    }
}

/// Queries, keys and values.
#[derive(Clone, Copy)]
pub struct Qkv<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

impl<'a> Qkv<'a> {
    /// Columns of one matrix, `[n, 3I]`: queries at 0, keys at I, values at 2I.
    pub fn joined(qkv: &'a [f32], inner: usize) -> Self {
        Self { queries: qkv, keys: from(qkv, inner), values: from(qkv, 2 * inner) }
    }

    /// A matrix of queries, `[m, I]`, and one with keys at 0 and values at I, `[n, 2I]` or some columns of a wider one.
    pub fn apart(queries: &'a [f32], keys_values: &'a [f32], inner: usize) -> Self {
        Self { queries, keys: keys_values, values: from(keys_values, inner) }
    }
}

fn from(slice: &[f32], at: usize) -> &[f32] {
    &slice[at.min(slice.len())..]
}

/// Where the gradients of queries, keys and values go; laid out as in [`Qkv`].
pub enum QkvGradient<'a> {
    /// See [`Qkv::joined`].
    Joined(&'a mut [f32]),
    /// See [`Qkv::apart`].
    Apart {
        /// Gradient of the queries.
        queries: &'a mut [f32],
        /// Gradients of keys and values.
        keys_values: &'a mut [f32],
    },
}

impl Attention<'_> {
    /// Makes sure that every row of every span lies in slices of these lengths.
    fn check(&self, queries: usize, values: usize, out: usize) {
        let inner = self.heads * self.head_width;
        let end = |first: usize, count: usize, stride: usize| match count {
            0 => 0,
            _ => (first + count - 1) * stride + inner,
        };
        for span in self.spans {
            assert!(queries >= end(span.query, span.queries, self.query_stride), "queries too short");
            assert!(values >= end(span.key, span.keys, self.key_stride), "keys or values too short");
            assert!(out >= end(span.query, span.queries, inner), "output too short");
            if let Some((bias, length)) = self.bias {
                assert!(span.keys.max(span.position + span.queries) <= length, "bias too short");
                assert_eq!(bias.len(), self.heads * (2 * length - 1));
            }
        }
    }

    /// Turns the scores of one head of one span into probabilities, row by row.
    #[inline(always)]
    fn softmax(&self, span: &Span, head: usize, scores: &mut [f32]) {
        vectorised(
            #[inline(always)]
            || {
                for (i, row) in scores.chunks_exact_mut(span.keys).enumerate() {
                    let position = span.position + i;
                    let visible = if self.causal { (position + 1).min(span.keys) } else { span.keys };
                    let (row, hidden) = row.split_at_mut(visible);
                    hidden.fill(0.0);
                    if let Some((bias, length)) = self.bias {
                        let start = head * (2 * length - 1) + length - 1 - position;
                        for (x, b) in row.iter_mut().zip(&bias[start..]) {
                            *x += b;
                        }
                    }
                    softmax(row);
                }
            },
        );
    }

    /// `left [rows, shared] · right [shared, columns]`, single-threaded, with the strides of this attention.
    fn product(
        size: (usize, usize, usize),
        left: (usize, usize, usize),
        right: (usize, usize, usize),
        stride: usize,
    ) -> Matmul {
        Matmul { size, left, right, out: (0, stride), add: false, parallel: false }
    }

    /// The values of a head, each row times its factor of the mask that all queries share.
    fn masked_values(&self, span: &Span, head: usize, values: &[f32], mask: &[f32], out: &mut Vec<f32>) {
        let width = self.head_width;
        out.clear();
        for (j, m) in mask.iter().enumerate() {
            let at = (span.key + j) * self.key_stride + head * width;
            out.extend(values[at..at + width].iter().map(|v| v * m));
        }
    }

    /// The mask of a head: a row of `keys` factors, or one for each query.
    fn mask(&self, example: usize, span: &Span, head: usize, out: &mut Vec<f32>) -> Option<Sharing> {
        let (dropout, site) = self.dropout?;
        let rows = if dropout.sharing == Sharing::Sequence { 1 } else { span.queries };
        out.resize(rows * span.keys, 0.0);
        for (row, mask) in out.chunks_exact_mut(span.keys).enumerate() {
            dropout.fill(mask, example, site, head * rows + row);
        }
        Some(dropout.sharing)
    }
}

/// The scores of a query, `[n]`, become probabilities.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32]) {
    let top = largest(row);
    for x in row.iter_mut() {
        *x = exp(*x - top);
    }
    let factor = 1.0 / sum_by(row, row, |x, _| x);
    for x in row.iter_mut() {
        *x *= factor;
    }
}

/// The probabilities of a query, `[n]`, become the gradient of the scores, given theirs: `p ∘ (d_p - sum(p ∘ d_p))`.
#[inline(always)]
pub(super) fn softmax_backward(p: &mut [f32], d_p: &[f32]) {
    let total = sum_by(p, d_p, |p, d| p * d);
    for (p, d) in p.iter_mut().zip(d_p) {
        *p *= d - total;
    }
}

/// Buffers of one task.
#[derive(Default)]
struct Scratch {
    mask: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    probabilities: Vec<f32>,
}

/// `out = softmax(queries · keysᵀ + bias) · values`, `out` `[n, I]`; keeps the probabilities.
pub fn attend(attention: &Attention<'_>, out: &mut [f32], probabilities: &mut Probabilities, qkv: Qkv<'_>) {
    let Qkv { queries, keys, values } = qkv;
    attention.check(queries.len(), values.len(), out.len());
    probabilities.prepare(attention.spans, attention.heads);
    let (heads, width) = (attention.heads, attention.head_width);
    let inner = heads * width;
    let out = Target(out.as_mut_ptr());
    let (places, starts) = probabilities.places();
    (0..attention.spans.len() * heads).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
        let (index, head) = (task / heads, task % heads);
        let span = &attention.spans[index];
        let size = span.queries * span.keys;
        if size == 0 {
            // SAFETY: as for the product below.
            unsafe { out.clear(span.query * inner + head * width, span.queries, inner, width) };
            return;
        }
        let at = starts[index] + head * size;
        // SAFETY: `prepare` made room for all spans and heads; this block belongs to this task alone.
        let scores = unsafe { places.fill(at, size, &mut scratch.probabilities) };
        let query = (span.query * attention.query_stride + head * width, attention.query_stride, 1);
        let key = (span.key * attention.key_stride + head * width, 1, attention.key_stride);
        Attention::product((span.queries, span.keys, width), query, key, span.keys).run(scores, queries, keys);
        attention.softmax(span, head, scores);
        // SAFETY: as above.
        unsafe { places.keep(at, scores) };
        let value = (span.key * attention.key_stride + head * width, attention.key_stride, 1);
        let size = (span.queries, width, span.keys);
        let rows = (0, span.keys, 1);
        let (left, right, value) = match attention.mask(index, span, head, &mut scratch.mask) {
            None => (&*scores, values, value),
            Some(Sharing::Sequence) => {
                attention.masked_values(span, head, values, &scratch.mask, &mut scratch.values);
                (&*scores, &scratch.values[..], (0, width, 1))
            }
            Some(Sharing::Element) => {
                scratch.scores.clear();
                scratch.scores.extend(scores.iter().zip(&scratch.mask).map(|(p, m)| p * m));
                (&scratch.scores[..], values, value)
            }
        };
        // SAFETY: `check` made sure that `out` holds the rows; this head's columns of them belong to this task alone.
        unsafe {
            let out = out.at(span.query * inner + head * width);
            Attention::product(size, rows, value, inner).run_at(out, left, right);
        }
    });
}

/// Writes (does not add) the gradients of [`attend`] with respect to queries, keys and values. `probabilities` are
/// used up; `d_bias`, `[H, 2·length - 1]`, is added to.
pub fn attend_backward(
    attention: &Attention<'_>,
    gradient: QkvGradient<'_>,
    d_bias: Option<&mut [f32]>,
    probabilities: &mut Probabilities,
    d_out: &[f32],
    qkv: Qkv<'_>,
) {
    let Qkv { queries, keys, values } = qkv;
    let (heads, width) = (attention.heads, attention.head_width);
    let inner = heads * width;
    attention.check(queries.len(), values.len(), d_out.len());
    let targets = match gradient {
        QkvGradient::Joined(d) => {
            attention.check(d.len(), d.len().saturating_sub(2 * inner), d_out.len());
            let start = d.as_mut_ptr();
            // The checks of the rows include these columns.
            [0, inner, 2 * inner].map(|column| Target(start.wrapping_add(column)))
        }
        QkvGradient::Apart { queries, keys_values } => {
            attention.check(queries.len(), keys_values.len().saturating_sub(inner), d_out.len());
            let start = keys_values.as_mut_ptr();
            [Target(queries.as_mut_ptr()), Target(start), Target(start.wrapping_add(inner))]
        }
    };
    let (places, starts) = probabilities.places();
    (0..attention.spans.len() * heads).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
        let [d_queries, d_keys, d_values] = targets;
        let (index, head) = (task / heads, task % heads);
        let span = &attention.spans[index];
        let size = span.queries * span.keys;
        let (n, m) = (span.queries, span.keys);
        let query_at = span.query * attention.query_stride + head * width;
        let key_at = span.key * attention.key_stride + head * width;
        if size == 0 {
            // SAFETY: as for the products below.
            unsafe {
                d_queries.clear(query_at, n, attention.query_stride, width);
                d_keys.clear(key_at, m, attention.key_stride, width);
                d_values.clear(key_at, m, attention.key_stride, width);
            }
            return;
        }
        // SAFETY: the forward pass made room; this block belongs to this task alone.
        let p = unsafe { places.read(starts[index] + head * size, size, &mut scratch.probabilities) };
        let d_out_view = (span.query * inner + head * width, inner, 1);
        let sharing = attention.mask(index, span, head, &mut scratch.mask);
        let transposed = (0, 1, m);

        // d_values = (mask ∘ P)ᵀ · d_out
        let product = Attention::product((m, width, n), transposed, d_out_view, attention.key_stride);
        let masked: &[f32] = if sharing == Some(Sharing::Element) {
            scratch.scores.clear();
            scratch.scores.extend(p.iter().zip(&scratch.mask).map(|(p, m)| p * m));
            &scratch.scores
        } else {
            p
        };
        // SAFETY: the extent of `d_values` was checked above; these rows and columns belong to this task alone.
        unsafe { product.run_at(d_values.at(key_at), masked, d_out) };
        if sharing == Some(Sharing::Sequence) {
            for (j, factor) in scratch.mask.iter().enumerate() {
                // SAFETY: as for the product.
                let row = unsafe { d_values.slice(key_at + j * attention.key_stride, width) };
                row.iter_mut().for_each(|d| *d *= factor);
            }
        }

        // d_P = mask ∘ (d_out · valuesᵀ), then d_scores = P ∘ (d_P - rowsum(P ∘ d_P))
        scratch.scores.resize(size, 0.0);
        if sharing == Some(Sharing::Sequence) {
            attention.masked_values(span, head, values, &scratch.mask, &mut scratch.values);
            Attention::product((n, m, width), d_out_view, (0, 1, width), m).run(
                &mut scratch.scores,
                d_out,
                &scratch.values,
            );
        } else {
            let view = (key_at, 1, attention.key_stride);
            Attention::product((n, m, width), d_out_view, view, m).run(&mut scratch.scores, d_out, values);
        }
        if sharing == Some(Sharing::Element) {
            scratch.scores.iter_mut().zip(&scratch.mask).for_each(|(d, m)| *d *= m);
        }
        vectorised(
            #[inline(always)]
            || {
                for (p, d) in p.chunks_exact_mut(m).zip(scratch.scores.chunks_exact(m)) {
                    softmax_backward(p, d);
                }
            },
        );

        let queries_view = (query_at, attention.query_stride, 1);
        let keys_view = (key_at, attention.key_stride, 1);
        // SAFETY: extents were checked above; these rows and columns belong to this task alone.
        unsafe {
            Attention::product((n, width, m), (0, m, 1), keys_view, attention.query_stride).run_at(
                d_queries.at(query_at),
                p,
                keys,
            );
            Attention::product((m, width, n), transposed, queries_view, attention.key_stride).run_at(
                d_keys.at(key_at),
                p,
                queries,
            );
        }
    });
    if let (Some(d_bias), Some((_, length))) = (d_bias, attention.bias) {
        assert_eq!(probabilities.storage, Storage::Exact, "weights do not learn from rounded activations");
        bias_gradient(attention, d_bias, probabilities, length);
    }
}

/// Sums the gradient of the scores along the diagonals, head by head and in the order of the examples.
fn bias_gradient(attention: &Attention<'_>, d_bias: &mut [f32], d_scores: &Probabilities, length: usize) {
    d_bias.par_chunks_exact_mut(2 * length - 1).enumerate().for_each(|(head, d_bias)| {
        for (span, start) in attention.spans.iter().zip(&d_scores.starts) {
            let size = span.queries * span.keys;
            let d = &d_scores.values[start + head * size..start + (head + 1) * size];
            for (i, row) in d.chunks_exact(span.keys.max(1)).enumerate() {
                let first = length - 1 - (span.position + i);
                for (d_bias, d) in d_bias[first..].iter_mut().zip(row) {
                    *d_bias += d;
                }
            }
        }
    });
}
