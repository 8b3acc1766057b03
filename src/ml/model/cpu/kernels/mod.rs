//! The few operations a T5 is made of, on the CPU in f32: each forward, and backward with respect to what learning needs.
//!
//! Rows are independent of each other in every kernel and no sum is split by the number of rows or threads, so a batch
//! of examples of several runs gives, bit for bit, what separate batches give. Matrices are row-major slices; a
//! gradient has the name of its value with `d_` in front.

mod absorbed;
mod activation;
mod attention;
mod dropout;
mod embedding;
mod kept;
mod linear;
mod loss;
mod norm;
#[cfg(target_arch = "x86_64")]
mod panels;

pub use absorbed::{Absorbed, attend_absorbed, attend_absorbed_backward, head_linear, head_linear_backward};
pub use activation::{Activation, activate, activate_backward};
pub use attention::{Attention, Probabilities, Qkv, QkvGradient, Span, attend, attend_backward};
pub use dropout::{Dropout, Key, Sharing};
pub use embedding::{gather, scatter};
pub use kept::{Kept, Storage};
pub use linear::{Matmul, Matrix, linear, linear_add, linear_backward, linear_weight_gradient};
pub use loss::{CrossEntropy, cross_entropy};
pub use norm::{rms_norm, rms_norm_backward, rms_norm_scale_gradient};

/// Rows that one task of a parallel loop takes: enough work to be worth the hand-over.
const ROWS: usize = 16;

/// Where a task writes; each writes other elements.
struct Target<T = f32>(*mut T);

// SAFETY: tasks write disjoint elements; whoever makes a target sees to it.
unsafe impl<T: Send> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Clone for Target<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Target<T> {}

impl<T> Target<T> {
    /// # Safety
    /// `offset` must lie in the slice that the target was made of.
    unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }

    /// # Safety
    /// The range must lie in the slice that the target was made of, and no other task may touch it.
    unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), len) }
    }
}

impl Target {
    /// Sets `rows` rows of `width`, `stride` apart, to 0.
    ///
    /// # Safety
    /// As for [`slice`](Self::slice), of each row.
    unsafe fn clear(self, offset: usize, rows: usize, stride: usize, width: usize) {
        for row in 0..rows {
            // SAFETY: the caller's promise.
            unsafe { self.slice(offset + row * stride, width) }.fill(0.0);
        }
    }
}

/// `len` elements of a buffer, whatever they are. One that is too short is given up before a longer one is made, of that
/// length and no more: a growing vector would copy, and take up to three times the memory.
pub(crate) fn room<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        *buffer = Vec::new();
        *buffer = vec![T::default(); len];
    }
    &mut buffer[..len]
}

/// Runs `body` compiled for the widest vectors of this CPU. `body` must be small enough to be inlined whole.
#[inline(always)]
pub(in crate::ml::model) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Sum of `f` over pairs of two rows, `[n]`, in 16 running sums, so that it vectorises and has one order everywhere.
#[inline(always)]
pub(in crate::ml::model) fn sum_by(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
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

/// Largest value of a row, `[n]`; negative infinity for an empty one.
#[inline(always)]
pub(in crate::ml::model) fn largest(row: &[f32]) -> f32 {
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
pub(in crate::ml::model) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32
        .mul_add(r, 1.398_2e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 1.666_666_5e-1)
        .mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    // A sum that is checked for overflow would not be vectorised.
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests;
