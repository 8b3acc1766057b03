//! The non-linearities of the feed-forward layers.

use super::{ROWS, exp, vectorised};
use rayon::prelude::*;

/// What stands between the two linear layers of a feed-forward sublayer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu(a)·b` of an inner layer `[a | b]` of width 2F (T5 v1.1), with GELU in the tanh form.
    GatedGelu,
    /// `silu(a)·b` of such an inner layer (UL2), with SiLU `x·sigmoid(x)`.
    GatedSilu,
    /// `max(a, 0)` of an inner layer of width F (T5 v1.0).
    Relu,
}

impl Activation {
    /// Whether the inner layer has two halves, one of which gates the other.
    pub fn is_gated(self) -> bool {
        match self {
            Self::GatedGelu | Self::GatedSilu => true,
            Self::Relu => false,
        }
    }

    /// Columns of the inner layer for `ff` of the result.
    pub fn inner(self, ff: usize) -> usize {
        if self.is_gated() { 2 * ff } else { ff }
    }
}

/// sqrt(2/π), and the cubic coefficient of the tanh form (Hendrycks and Gimpel 2016).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(ROOT * x * (1.0 + CUBIC * x * x)))
}

/// GELU and its slope.
#[inline(always)]
fn gelu_backward(x: f32) -> (f32, f32) {
    let t = tanh(ROOT * x * (1.0 + CUBIC * x * x));
    let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBIC * x * x);
    (0.5 * x * (1.0 + t), slope)
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// SiLU and its slope.
#[inline(always)]
fn silu_backward(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-x));
    (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
}

// The loops below take 16 elements at a time, as copies: only then does the compiler see that they are independent.

#[inline(always)]
fn gate_row(y: &mut [f32], inner: &[f32], activation: impl Fn(f32) -> f32) {
    let (a, b) = inner.split_at(y.len());
    let ((y, y_rest), (a, a_rest), (b, b_rest)) = (y.as_chunks_mut::<16>(), a.as_chunks::<16>(), b.as_chunks::<16>());
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        let (a, b) = (*a, *b);
        for i in 0..16 {
            y[i] = activation(a[i]) * b[i];
        }
    }
    for ((y, a), b) in y_rest.iter_mut().zip(a_rest).zip(b_rest) {
        *y = activation(*a) * b;
    }
}

#[inline(always)]
fn gate_row_backward(inner: &mut [f32], d_y: &[f32], backward: impl Fn(f32) -> (f32, f32)) {
    let (a, b) = inner.split_at_mut(d_y.len());
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks_mut::<16>(), b.as_chunks_mut::<16>());
    let (d_y, d_rest) = d_y.as_chunks::<16>();
    for ((a, b), d) in a.iter_mut().zip(b).zip(d_y) {
        let (x, gate, d) = (*a, *b, *d);
        for i in 0..16 {
            let (value, slope) = backward(x[i]);
            a[i] = d[i] * gate[i] * slope;
            b[i] = d[i] * value;
        }
    }
    for ((a, b), d) in a_rest.iter_mut().zip(b_rest).zip(d_rest) {
        let (value, slope) = backward(*a);
        *a = d * *b * slope;
        *b = d * value;
    }
}

/// `y` `[n, F]` from the inner layer `inner`, `[n, 2F]` or `[n, F]`.
pub fn activate(activation: Activation, y: &mut [f32], inner: &[f32], ff: usize) {
    match activation {
        Activation::GatedGelu => gate(y, inner, ff, gelu),
        Activation::GatedSilu => gate(y, inner, ff, silu),
        Activation::Relu => {
            y.par_chunks_mut(ff * ROWS).zip(inner.par_chunks(ff * ROWS)).for_each(|(y, inner)| {
                for (y, a) in y.iter_mut().zip(inner) {
                    *y = a.max(0.0);
                }
            });
        }
    }
}

#[inline(always)]
fn gate(y: &mut [f32], inner: &[f32], ff: usize, activation: impl Fn(f32) -> f32 + Copy + Sync) {
    y.par_chunks_mut(ff * ROWS).zip(inner.par_chunks(2 * ff * ROWS)).for_each(|(y, inner)| {
        for (y, inner) in y.chunks_exact_mut(ff).zip(inner.chunks_exact(2 * ff)) {
            vectorised(
                #[inline(always)]
                || gate_row(y, inner, activation),
            );
        }
    });
}

/// Replaces `inner`, `[n, 2F]` or `[n, F]`, by its gradient, given that of `y`, `[n, F]`.
pub fn activate_backward(activation: Activation, inner: &mut [f32], d_y: &[f32], ff: usize) {
    match activation {
        Activation::GatedGelu => gate_backward(inner, d_y, ff, gelu_backward),
        Activation::GatedSilu => gate_backward(inner, d_y, ff, silu_backward),
        Activation::Relu => {
            inner.par_chunks_mut(ff * ROWS).zip(d_y.par_chunks(ff * ROWS)).for_each(|(inner, d_y)| {
                for (a, d) in inner.iter_mut().zip(d_y) {
                    *a = if *a > 0.0 { *d } else { 0.0 };
                }
            });
        }
    }
}

#[inline(always)]
fn gate_backward(inner: &mut [f32], d_y: &[f32], ff: usize, backward: impl Fn(f32) -> (f32, f32) + Copy + Sync) {
    inner.par_chunks_mut(2 * ff * ROWS).zip(d_y.par_chunks(ff * ROWS)).for_each(|(inner, d_y)| {
        for (inner, d_y) in inner.chunks_exact_mut(2 * ff).zip(d_y.chunks_exact(ff)) {
            vectorised(
                #[inline(always)]
                || gate_row_backward(inner, d_y, backward),
            );
        }
    });
}
