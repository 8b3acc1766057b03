//! The non-linearities of the feed-forward layers.

use super::{ROWS, exp, vectorised};
use rayon::prelude::*;

/// What stands between the two linear layers of a feed-forward sublayer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu(a)·b` of an inner layer `[a | b]` of width 2F (T5 v1.1), with GELU in the tanh form.
    GatedGelu,
    /// `max(a, 0)` of an inner layer of width F (T5 v1.0).
    Relu,
}

/// sqrt(2/π), and the cubic coefficient of the tanh form (Hendrycks and Gimpel 2016).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `y` `[n, F]` from the inner layer `inner`, `[n, 2F]` or `[n, F]`.
pub fn activate(activation: Activation, y: &mut [f32], inner: &[f32], ff: usize) {
    match activation {
        Activation::GatedGelu => {
            y.par_chunks_mut(ff * ROWS).zip(inner.par_chunks(2 * ff * ROWS)).for_each(|(y, inner)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (y, inner) in y.chunks_exact_mut(ff).zip(inner.chunks_exact(2 * ff)) {
                            let (a, b) = inner.split_at(ff);
                            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                                *y = 0.5 * a * (1.0 + tanh(ROOT * a * (1.0 + CUBIC * a * a))) * b;
                            }
                        }
                    },
                );
            });
        }
        Activation::Relu => {
            y.par_chunks_mut(ff * ROWS).zip(inner.par_chunks(ff * ROWS)).for_each(|(y, inner)| {
                for (y, a) in y.iter_mut().zip(inner) {
                    *y = a.max(0.0);
                }
            });
        }
    }
}

/// Replaces `inner` by its gradient, given that of `y`.
pub fn activate_backward(activation: Activation, inner: &mut [f32], d_y: &[f32], ff: usize) {
    match activation {
        Activation::GatedGelu => {
            inner.par_chunks_mut(2 * ff * ROWS).zip(d_y.par_chunks(ff * ROWS)).for_each(|(inner, d_y)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (inner, d_y) in inner.chunks_exact_mut(2 * ff).zip(d_y.chunks_exact(ff)) {
                            let (a, b) = inner.split_at_mut(ff);
                            for ((a, b), d) in a.iter_mut().zip(b).zip(d_y) {
                                let x = *a;
                                let t = tanh(ROOT * x * (1.0 + CUBIC * x * x));
                                let gelu = 0.5 * x * (1.0 + t);
                                let slope =
                                    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBIC * x * x);
                                *a = d * *b * slope;
                                *b = d * gelu;
                            }
                        }
                    },
                );
            });
        }
        Activation::Relu => {
            inner.par_chunks_mut(ff * ROWS).zip(d_y.par_chunks(ff * ROWS)).for_each(|(inner, d_y)| {
                for (a, d) in inner.iter_mut().zip(d_y) {
                    *a = if *a > 0.0 { *d } else { 0.0 };
                }
            });
        }
    }
}
