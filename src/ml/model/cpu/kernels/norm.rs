//! T5's layer norm: no mean, no bias (Zhang and Sennrich 2019; `T5LayerNorm` in Hugging Face's `modeling_t5.py`).

use super::{ROWS, sum_by, vectorised};
use rayon::prelude::*;

/// `y = x / sqrt(mean(x²) + epsilon) · scale` for each row of E; `inverse`, `[n]`, keeps `1 / sqrt(…)` for the backward.
pub fn rms_norm(y: &mut [f32], inverse: &mut [f32], x: &[f32], scale: &[f32], epsilon: f32) {
    let width = scale.len();
    y.par_chunks_mut(width * ROWS).zip(inverse.par_chunks_mut(ROWS)).zip(x.par_chunks(width * ROWS)).for_each(
        |((y, inverse), x)| {
            vectorised(
                #[inline(always)]
                || {
                    for ((y, inverse), x) in
                        y.chunks_exact_mut(width).zip(inverse.iter_mut()).zip(x.chunks_exact(width))
                    {
                        let r = 1.0 / (sum_by(x, x, |a, _| a * a) / width as f32 + epsilon).sqrt();
                        *inverse = r;
                        for ((y, x), s) in y.iter_mut().zip(x).zip(scale) {
                            *y = x * r * s;
                        }
                    }
                },
            );
        },
    );
}

/// `d_x += ` the gradient of [`rms_norm`] with respect to `x`, given that of `y`: both `[n, E]`.
pub fn rms_norm_backward(d_x: &mut [f32], d_y: &[f32], x: &[f32], inverse: &[f32], scale: &[f32]) {
    let width = scale.len();
    d_x.par_chunks_mut(width * ROWS)
        .zip(d_y.par_chunks(width * ROWS))
        .zip(x.par_chunks(width * ROWS))
        .zip(inverse.par_chunks(ROWS))
        .for_each(|(((d_x, d_y), x), inverse)| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = d_x.chunks_exact_mut(width).zip(d_y.chunks_exact(width)).zip(x.chunks_exact(width));
                    for (((d_x, d_y), x), r) in rows.zip(inverse) {
                        let mut dot = 0.0;
                        for ((d_y, x), s) in d_y.chunks(64).zip(x.chunks(64)).zip(scale.chunks(64)) {
                            let mut scaled = [0.0f32; 64];
                            for ((t, d), s) in scaled.iter_mut().zip(d_y).zip(s) {
                                *t = d * s;
                            }
                            dot += sum_by(&scaled[..x.len()], x, |a, b| a * b);
                        }
                        let k = dot * r * r * r / width as f32;
                        for (((d_x, d_y), x), s) in d_x.iter_mut().zip(d_y).zip(x).zip(scale) {
                            *d_x += d_y * s * r - x * k;
                        }
                    }
                },
            );
        });
}

/// `d_scale += ` the gradient of [`rms_norm`] with respect to `scale`, `[E]`, given that of `y`, `[n, E]`.
pub fn rms_norm_scale_gradient(d_scale: &mut [f32], d_y: &[f32], x: &[f32], inverse: &[f32]) {
    let width = d_scale.len();
    vectorised(
        #[inline(always)]
        || {
            for ((d_y, x), r) in d_y.chunks_exact(width).zip(x.chunks_exact(width)).zip(inverse) {
                for ((d, d_y), x) in d_scale.iter_mut().zip(d_y).zip(x) {
                    *d += d_y * x * r;
                }
            }
        },
    );
}
