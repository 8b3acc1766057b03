//! The softmax of attention scores with a bias by offset, over the keys that a query sees.

use super::{Launch, Operand, Operation, Output, Values, require, run};
use crate::ml::model::cpu::kernels::{exp, largest, sum_by, vectorised};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// Which keys queries see, and with which bias.
#[derive(Clone, Copy)]
pub(crate) struct Visible<'a> {
    /// Keys of each example, `[B]`; those after them are padding.
    pub(crate) keys: &'a Tensor,
    /// Bias by offset, `[H, 2·length - 1]` in f32: that of the key at `j` for the query at `i` stands at
    /// `j - i + length - 1`.
    pub(crate) bias: Option<&'a Tensor>,
    /// Position of the first query among the keys.
    pub(crate) position: usize,
    /// A query sees no key after its own position.
    pub(crate) causal: bool,
}

/// Probabilities from `scores`, `[B, H, Q, K]`; 0 for what is not seen.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn softmax(scores: &Tensor, visible: Visible<'_>) -> Result<Tensor> {
    let Visible { keys, bias, position, causal } = visible;
    let softmax = Softmax { position, causal, biased: bias.is_some() };
    // A kernel without a bias does not look at this argument.
    match bias {
        Some(bias) => run(&softmax, &[scores, keys, bias]),
        None => run(&softmax, &[scores, keys, &Tensor::zeros((1, 1), DType::F32, scores.device())?]),
    }
}

/// The gradient of the scores, given that of the probabilities: all `[B, H, Q, K]`.
///
/// # Errors
/// If a tensor has another shape or type, or the device fails.
pub(crate) fn softmax_backward(probabilities: &Tensor, d_probabilities: &Tensor) -> Result<Tensor> {
    run(&SoftmaxBackward, &[probabilities, d_probabilities])
}

pub(super) struct Softmax {
    pub(super) position: usize,
    pub(super) causal: bool,
    pub(super) biased: bool,
}

pub(super) struct SoftmaxBackward;

impl Operation for Softmax {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "softmax";
        let [scores, lengths, bias] = operands else { panic!("three operands") };
        let [batch, heads, queries, keys] = scores.floats(kernel)?;
        require(kernel, lengths.ids(kernel)? == [batch], "a length for each example is missing")?;
        let length = if self.biased {
            let [bias_heads, span] = bias.floats(kernel)?;
            let fits = bias.dtype == DType::F32 && bias_heads == heads && span % 2 == 1;
            let long = keys.max(self.position + queries) <= span.div_ceil(2);
            require(kernel, fits && long, "a bias that does not fit the scores")?;
            span.div_ceil(2)
        } else {
            0
        };
        let launch = Launch::by_warps(kernel, batch * heads * queries, scores.dtype, scores.dims);
        Ok(launch.sizes(&[batch, heads, queries, keys, length, self.position])?.int(u32::from(self.causal)))
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let [scores, lengths, bias] = operands else { panic!("three operands") };
        let (lengths, bias) = (lengths.ids(), bias.floats());
        let &[_, heads, queries, keys] = &out.dims[..] else { panic!("four sizes") };
        let span = bias.len() / heads.max(1);
        let mut p = scores.floats().to_vec();
        p.par_chunks_exact_mut(keys).enumerate().for_each(|(row, p)| {
            let (example, head, query) =
                (row / (heads * queries), row / queries % heads, self.position + row % queries);
            let length = (lengths[example] as usize).min(keys);
            let seen = if self.causal { length.min(query + 1) } else { length };
            let (p, hidden) = p.split_at_mut(seen);
            hidden.fill(0.0);
            if self.biased {
                let bias = &bias[head * span + span.div_ceil(2) - 1 - query..];
                p.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            }
            vectorised(
                #[inline(always)]
                || {
                    let top = largest(p);
                    for x in p.iter_mut() {
                        *x = exp(*x - top);
                    }
                    let factor = 1.0 / sum_by(p, p, |x, _| x);
                    for x in p.iter_mut() {
                        *x *= factor;
                    }
                },
            );
        });
        Output::Floats(p)
    }
}

impl Operation for SoftmaxBackward {
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch> {
        let kernel = "softmax_backward";
        let [p, d_p] = operands else { panic!("two operands") };
        let [batch, heads, queries, keys] = p.floats(kernel)?;
        d_p.is_like(p, kernel)?;
        let rows = batch * heads * queries;
        Launch::by_warps(kernel, rows, p.dtype, p.dims).sizes(&[rows, keys])
    }

    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output {
        let (p, keys) = (operands[0].floats(), out.dims[3]);
        let mut d = operands[1].floats().to_vec();
        d.par_chunks_exact_mut(keys).zip(p.par_chunks_exact(keys)).for_each(|(d, p)| {
            vectorised(
                #[inline(always)]
                || {
                    let total = sum_by(p, d, |p, d| p * d);
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = p * (*d - total);
                    }
                },
            );
        });
        Output::Floats(d)
    }
}
