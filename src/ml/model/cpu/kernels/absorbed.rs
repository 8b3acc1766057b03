//! Attention in which all heads look at the same rows, which are keys and values at once.
//!
//! Cross-attention scores are `(x Wqᵀ)(m Wkᵀ)ᵀ`, for each head. Projecting the rows `m` of the encoder costs as much as they
//! are many; but `x Wqᵀ Wk mᵀ` is the same, and then it is the queries that are projected once more, by
//! [`head_linear_backward`]: the few tokens of a target. In the same way what is found, `P m`, is projected after the
//! look instead of `m` before, by [`head_linear`]. (DeepSeek-AI 2024, section 2.1.2, absorb their projections like this.)
//! One product serves the queries of all heads of an example, so these matrices have a row for each query and head.

use super::attention::{softmax, softmax_backward};
use super::{Matmul, Matrix, Probabilities, Span, Target, linear, linear_backward, vectorised};
use crate::ml::model::{Dropout, Sharing};
use rayon::prelude::*;

/// One such attention: sizes, and who looks at whom.
pub struct Absorbed<'a> {
    /// H.
    pub heads: usize,
    /// E, the width of a row and of a head's query.
    pub width: usize,
    /// The examples.
    pub spans: &'a [Span],
    /// Dropout of the probabilities, and its site; the masks are those of [`attend`](super::attend).
    pub dropout: Option<(&'a Dropout, u32)>,
}

/// `y = x · weightᵀ` for each head: `x` `[n, H, E]`, `weight` `[I, E]`, `y` `[n, I]`; head `h` has its own `I / H` rows of the
/// weight and columns of the result.
pub fn head_linear(y: &mut [f32], x: &[f32], weight: Matrix<'_>, heads: usize, width: usize) {
    by_head(heads, width, weight, |head, inner, weight| {
        let x = gather_head(x, head, heads, width);
        let mut own = vec![0.0; x.len() / width * inner];
        linear(&mut own, &x, weight, width);
        scatter_head(y, &own, head, heads, inner);
    });
}

/// `d_x = d_y · weight` for each head: `d_y` `[n, I]`, `d_x` `[n, H, E]`.
pub fn head_linear_backward(d_x: &mut [f32], d_y: &[f32], weight: Matrix<'_>, heads: usize, width: usize) {
    by_head(heads, width, weight, |head, inner, weight| {
        let d_y = gather_head(d_y, head, heads, inner);
        let mut own = vec![0.0; d_y.len() / inner * width];
        linear_backward(&mut own, &d_y, weight, width, false);
        scatter_head(d_x, &own, head, heads, width);
    });
}

/// A head's part of each row, `[n, width]`.
fn gather_head(x: &[f32], head: usize, heads: usize, width: usize) -> Vec<f32> {
    let mut own = Vec::with_capacity(x.len() / heads);
    for row in x.chunks_exact(heads * width) {
        own.extend_from_slice(&row[head * width..][..width]);
    }
    own
}

fn scatter_head(x: &mut [f32], own: &[f32], head: usize, heads: usize, width: usize) {
    for (row, own) in x.chunks_exact_mut(heads * width).zip(own.chunks_exact(width)) {
        row[head * width..][..width].copy_from_slice(own);
    }
}

/// Calls `body` with each head, its width I / H, and its rows of the weight.
fn by_head<'w>(heads: usize, width: usize, weight: Matrix<'w>, mut body: impl FnMut(usize, usize, Matrix<'w>)) {
    let size = weight.len() / heads;
    (0..heads).for_each(|head| body(head, size / width, weight.part(head * size..(head + 1) * size)));
}

impl Absorbed<'_> {
    /// Makes sure that every row of every span lies in matrices of these lengths.
    fn check(&self, queries: &[f32], out: &[f32], memory: &[f32], probabilities: &Probabilities) {
        for (span, start) in self.spans.iter().zip(&probabilities.starts) {
            let end = (span.query + span.queries) * self.heads * self.width;
            assert!(queries.len() >= end && out.len() >= end, "queries or output too short");
            assert!(memory.len() >= (span.key + span.keys) * self.width, "memory too short");
            assert!(probabilities.values.len() >= start + self.heads * span.queries * span.keys, "no probabilities");
        }
        assert_eq!(self.spans.len(), probabilities.starts.len());
    }

    /// Multiplies a matrix of one row for each query and head of a span, and key, by its mask.
    fn mask(&self, example: usize, span: &Span, values: &mut [f32], mask: &mut Vec<f32>) {
        let Some((dropout, site)) = self.dropout else { return };
        mask.resize(span.keys, 0.0);
        for head in 0..self.heads {
            for (query, row) in values.chunks_exact_mut(span.keys).skip(head).step_by(self.heads).enumerate() {
                match dropout.sharing {
                    Sharing::Sequence if query == 0 => dropout.fill(mask, example, site, head),
                    Sharing::Sequence => {}
                    Sharing::Element => dropout.fill(mask, example, site, head * span.queries + query),
                }
                row.iter_mut().zip(&*mask).for_each(|(x, m)| *x *= m);
            }
        }
    }

    /// The probabilities of a span times their mask.
    fn dropped<'p>(&self, index: usize, p: &'p [f32], scratch: &'p mut Scratch) -> &'p [f32] {
        if self.dropout.is_none() {
            return p;
        }
        scratch.dropped.clear();
        scratch.dropped.extend_from_slice(p);
        self.mask(index, &self.spans[index], &mut scratch.dropped, &mut scratch.mask);
        &scratch.dropped
    }

    /// `out = [out +] left · right`, row by row of an example.
    fn product(size: (usize, usize, usize), left: (usize, usize, usize), right: (usize, usize, usize)) -> Matmul {
        Matmul { size, left, right, out: (0, size.1), add: false, parallel: false }
    }
}

/// Buffers of one task.
#[derive(Default)]
struct Scratch {
    mask: Vec<f32>,
    dropped: Vec<f32>,
    d_scores: Vec<f32>,
}

/// `out = softmax(queries · memoryᵀ) · memory`; `queries` and `out` `[n, H, E]`, `memory` `[N, E]`. Keeps the probabilities.
pub fn attend_absorbed(
    attention: &Absorbed<'_>,
    out: &mut [f32],
    probabilities: &mut Probabilities,
    queries: &[f32],
    memory: &[f32],
) {
    let Absorbed { heads, width, spans, .. } = *attention;
    probabilities.prepare(spans, heads);
    attention.check(queries, out, memory, probabilities);
    let (out, kept) = (Target(out.as_mut_ptr()), Target(probabilities.values.as_mut_ptr()));
    let starts = &probabilities.starts;
    (0..spans.len()).into_par_iter().for_each_init(Scratch::default, |scratch, index| {
        let span = &spans[index];
        let (rows, keys, first) = (heads * span.queries, span.keys, span.query * heads * width);
        // SAFETY: `check` saw that these rows exist, and they belong to this task alone.
        let (out, p) = unsafe { (out.slice(first, rows * width), kept.slice(starts[index], rows * keys)) };
        if keys == 0 {
            return out.fill(0.0);
        }
        let memory = &memory[span.key * width..][..keys * width];
        let queries = &queries[first..][..rows * width];
        Absorbed::product((rows, keys, width), (0, width, 1), (0, 1, width)).run(p, queries, memory);
        vectorised(
            #[inline(always)]
            || {
                // Not `for_each`, which would not be inlined and so not be compiled for wide vectors.
                for row in p.chunks_exact_mut(keys) {
                    softmax(row);
                }
            },
        );
        let p = attention.dropped(index, p, scratch);
        Absorbed::product((rows, width, keys), (0, keys, 1), (0, width, 1)).run(out, p, memory);
    });
}

/// The gradients of [`attend_absorbed`], given that of `out`: writes those of the queries, `[m, H, E]`, and adds those of the
/// memory, `[n, E]`. `probabilities` is replaced by the gradient of the scores. No two spans may share rows of the memory.
pub fn attend_absorbed_backward(
    attention: &Absorbed<'_>,
    d_queries: &mut [f32],
    d_memory: &mut [f32],
    probabilities: &mut Probabilities,
    d_out: &[f32],
    (queries, memory): (&[f32], &[f32]),
) {
    let Absorbed { heads, width, spans, .. } = *attention;
    attention.check(queries, d_queries, d_memory, probabilities);
    attention.check(d_out, d_queries, memory, probabilities);
    let end = spans.iter().fold(0, |end, span| {
        assert!(span.key >= end, "two examples share rows, or are out of order");
        span.key + span.keys
    });
    assert!(memory.len() >= end * width);
    let (d_queries, d_memory) = (Target(d_queries.as_mut_ptr()), Target(d_memory.as_mut_ptr()));
    let kept = Target(probabilities.values.as_mut_ptr());
    let starts = &probabilities.starts;
    (0..spans.len()).into_par_iter().for_each_init(Scratch::default, |scratch, index| {
        let span = &spans[index];
        let (rows, keys, first) = (heads * span.queries, span.keys, span.query * heads * width);
        // SAFETY: `check` saw that these rows exist; no two spans share any.
        let (d_queries, d_memory, p) = unsafe {
            (
                d_queries.slice(first, rows * width),
                d_memory.slice(span.key * width, keys * width),
                kept.slice(starts[index], rows * keys),
            )
        };
        if keys == 0 {
            return d_queries.fill(0.0);
        }
        let memory = &memory[span.key * width..][..keys * width];
        let (queries, d_out) = (&queries[first..][..rows * width], &d_out[first..][..rows * width]);
        let (to_memory, by_row) = ((0, 1, keys), (0, width, 1));
        // As values: d_memory += (mask ∘ P)ᵀ · d_out.
        let add = Matmul { add: true, ..Absorbed::product((keys, width, rows), to_memory, by_row) };
        add.run(d_memory, attention.dropped(index, p, scratch), d_out);
        // d_P = mask ∘ (d_out · memoryᵀ), and from there to the scores.
        scratch.d_scores.resize(rows * keys, 0.0);
        Absorbed::product((rows, keys, width), by_row, (0, 1, width)).run(&mut scratch.d_scores, d_out, memory);
        attention.mask(index, span, &mut scratch.d_scores, &mut scratch.mask);
        vectorised(
            #[inline(always)]
            || {
                for (p, d) in p.chunks_exact_mut(keys).zip(scratch.d_scores.chunks_exact(keys)) {
                    softmax_backward(p, d);
                }
            },
        );
        Absorbed::product((rows, width, keys), (0, keys, 1), by_row).run(d_queries, p, memory);
        // As keys: d_memory += d_scoresᵀ · queries.
        add.run(d_memory, p, queries);
    });
}
