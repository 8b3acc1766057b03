//! The few operations a T5 is made of, on the CPU in f32: each forward, and backward with respect to what learning needs.
//!
//! Rows are independent of each other in every kernel and no sum is split by the number of rows or threads, so a batch
//! of examples of several runs gives, bit for bit, what separate batches give. Matrices are row-major slices; a
//! gradient has the name of its value with `d_` in front.

mod activation;
mod attention;
mod dropout;
mod embedding;
mod linear;
mod loss;
mod norm;

pub use activation::{Activation, activate, activate_backward};
pub use attention::{Attention, Probabilities, Qkv, QkvGradient, Span, attend, attend_backward};
pub use dropout::{Dropout, Key, Sharing};
pub use embedding::{gather, scatter};
pub use linear::{Matmul, Matrix, linear, linear_add, linear_backward, linear_weight_gradient};
pub use loss::{CrossEntropy, cross_entropy};
pub use norm::{rms_norm, rms_norm_backward, rms_norm_scale_gradient};

/// Rows that one task of a parallel loop takes: enough work to be worth the hand-over.
const ROWS: usize = 16;

/// Runs `body` compiled for the widest vectors of this CPU. `body` must be small enough to be inlined whole.
#[inline(always)]
fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Sum of `f` over pairs of two rows, in 16 running sums, so that it vectorises and has one order everywhere.
#[inline(always)]
fn sum_by(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += f(*x, *y);
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f(*x, *y);
    }
    sums.iter().sum()
}

/// Largest value of a row; negative infinity for an empty one.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for x in chunks {
        for (best, x) in best.iter_mut().zip(x) {
            *best = if *x > *best { *x } else { *best };
        }
    }
    for (best, x) in best.iter_mut().zip(rest) {
        *best = if *x > *best { *x } else { *best };
    }
    best.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// e^x to about 1 ulp: Cody-Waite reduction and a polynomial of degree 5 (Cephes `expf`), without branches.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32
        .mul_add(r, 1.398_2e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 1.666_666_5e-1)
        .mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    f32::from_bits((y.to_bits() as i32 + ((n as i32) << 23)) as u32)
}

#[cfg(test)]
mod tests;
