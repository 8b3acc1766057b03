//! Each kernel against a plain version in f64, and its gradients against central differences of that version.

use super::*;
use crate::ml::random::Stream;

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, "kernels");
    (0..len).map(|_| stream.normal() as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = wide(found).iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    assert!(apart < 2e-6 * length, "{what}: relative distance {:e}", apart / length);
}

/// Gradient of `weight · f(x)` by central differences.
fn differences(x: &[f32], weight: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x = wide(x);
    let value = |x: &[f64]| f(x).iter().zip(weight).map(|(y, w)| y * f64::from(*w)).sum::<f64>();
    (0..x.len())
        .map(|i| {
            let (before, step) = (x[i], 1e-5);
            x[i] = before + step;
            let above = value(&x);
            x[i] = before - step;
            let below = value(&x);
            x[i] = before;
            (above - below) / (2.0 * step)
        })
        .collect()
}

#[test]
fn norms() {
    const WIDTH: usize = 37;
    let plain = |x: &[f64], scale: &[f64]| -> Vec<f64> {
        let row = |x: &[f64]| {
            let root = (x.iter().map(|x| x * x).sum::<f64>() / WIDTH as f64 + 1e-3).sqrt();
            x.iter().zip(scale).map(|(x, s)| x / root * s).collect::<Vec<_>>()
        };
        x.chunks_exact(WIDTH).flat_map(row).collect()
    };
    let (x, scale, d_y) = (random(20 * WIDTH, 1), random(WIDTH, 2), random(20 * WIDTH, 3));
    let (mut y, mut inverse) = (vec![0.0; x.len()], vec![0.0; 20]);
    rms_norm(&mut y, &mut inverse, &x, &scale, 1e-3);
    close(&y, &plain(&wide(&x), &wide(&scale)), "norm");
    let (mut d_x, mut d_scale) = (vec![0.0; x.len()], vec![0.0; WIDTH]);
    rms_norm_backward(&mut d_x, &d_y, &x, &inverse, &scale);
    rms_norm_scale_gradient(&mut d_scale, &d_y, &x, &inverse);
    close(&d_x, &differences(&x, &d_y, |x| plain(x, &wide(&scale))), "norm, d_x");
    close(&d_scale, &differences(&scale, &d_y, |scale| plain(&wide(&x), scale)), "norm, d_scale");
}

#[test]
fn activations() {
    const FF: usize = 21;
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gated = |x: &[f64], activation: &dyn Fn(f64) -> f64| -> Vec<f64> {
        x.chunks_exact(2 * FF).flat_map(|x| (0..FF).map(|i| activation(x[i]) * x[FF + i]).collect::<Vec<_>>()).collect()
    };
    let relu = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x.max(0.0)).collect() };
    let check = |activation, columns: usize, plain: &dyn Fn(&[f64]) -> Vec<f64>| {
        // Far out tanh is 1 to the last bit; differences must not straddle the corner of ReLU at 0.
        let inner: Vec<f32> = random(18 * columns, 4).iter().map(|x| x * x * x + 0.01f32.copysign(*x)).collect();
        let d_y = random(18 * FF, 5);
        let (mut y, mut d_inner) = (vec![0.0; 18 * FF], inner.clone());
        activate(activation, &mut y, &inner, FF);
        activate_backward(activation, &mut d_inner, &d_y, FF);
        close(&y, &plain(&wide(&inner)), "activation");
        close(&d_inner, &differences(&inner, &d_y, plain), "activation, d_inner");
    };
    check(Activation::GatedGelu, 2 * FF, &|x| gated(x, &gelu));
    check(Activation::GatedSilu, 2 * FF, &|x| gated(x, &silu));
    check(Activation::Relu, FF, &relu);
}

#[test]
fn cross_entropies() {
    const VOCAB: usize = 43;
    let (logits, targets) = (random(3 * VOCAB, 6), [5u32, 0, 42]);
    for (z_loss, smoothing) in [(0.0, 0.0), (0.125, 0.0), (0.125, 0.25)] {
        let settings = CrossEntropy { z_loss, label_smoothing: smoothing };
        let (low, high) = (f64::from(smoothing) / (VOCAB - 1) as f64, 1.0 - f64::from(smoothing));
        // The divergence from the smoothed targets, as T5X defines it, and the z-loss.
        let plain = |x: &[f64]| -> Vec<f64> {
            let loss = |(x, target): (&[f64], &u32)| {
                let log_z = x.iter().map(|x| x.exp()).sum::<f64>().ln();
                let term = |(i, x): (usize, &f64)| {
                    let share = if i == *target as usize { high } else { low };
                    if share > 0.0 { share * (share.ln() - (x - log_z)) } else { 0.0 }
                };
                x.iter().enumerate().map(term).sum::<f64>() + f64::from(z_loss) * log_z * log_z
            };
            x.chunks_exact(VOCAB).zip(&targets).map(loss).collect()
        };
        let (mut losses, mut d_logits) = (vec![0.0; 3], logits.clone());
        cross_entropy(settings, &mut losses, &mut d_logits, &targets, VOCAB);
        close(&losses, &plain(&wide(&logits)), "losses");
        close(&d_logits, &differences(&logits, &[1.0; 3], plain), "losses, d_logits");
    }
}

#[test]
fn linear_layers() {
    let (inputs, outputs, rows) = (19, 11, 7);
    let plain = |x: &[f64], weight: &[f64]| -> Vec<f64> {
        let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let row = |x: &[f64]| weight.chunks_exact(inputs).map(|w| dot(x, w)).collect::<Vec<_>>();
        x.chunks_exact(inputs).flat_map(row).collect()
    };
    let (x, weight, d_y) = (random(rows * inputs, 7), random(outputs * inputs, 8), random(rows * outputs, 9));
    let mut y = vec![0.0; rows * outputs];
    linear(&mut y, &x, Matrix::F32(&weight), inputs);
    close(&y, &plain(&wide(&x), &wide(&weight)), "linear");
    linear_add(&mut y, &x, Matrix::F32(&weight), inputs);
    let twice: Vec<f64> = plain(&wide(&x), &wide(&weight)).iter().map(|y| 2.0 * y).collect();
    close(&y, &twice, "linear, added");
    let (mut d_x, mut d_weight) = (vec![f32::NAN; x.len()], vec![0.0; weight.len()]);
    linear_backward(&mut d_x, &d_y, Matrix::F32(&weight), inputs, false);
    linear_weight_gradient(&mut d_weight, &d_y, &x, inputs);
    close(&d_x, &differences(&x, &d_y, |x| plain(x, &wide(&weight))), "linear, d_x");
    close(&d_weight, &differences(&weight, &d_y, |weight| plain(&wide(&x), weight)), "linear, d_weight");
}

/// Self-attention of two packed examples, causal or not, with bias and with each kind of dropout.
#[test]
fn attentions() {
    const HEADS: usize = 2;
    const WIDTH: usize = 3;
    const INNER: usize = HEADS * WIDTH;
    const LENGTH: usize = 6;
    let spans: Vec<Span> =
        [(0, 4), (4, 6)].map(|(start, n)| Span { query: start, queries: n, key: start, keys: n, position: 0 }).to_vec();
    let (qkv, d_out) = (random(10 * 3 * INNER, 10), random(10 * INNER, 11));
    let bias = random(HEADS * (2 * LENGTH - 1), 12);
    for (causal, sharing) in
        [(false, None), (true, None), (false, Some(Sharing::Sequence)), (true, Some(Sharing::Element))]
    {
        let keys = vec![Key::new(1, 1, 0), Key::new(1, 1, 1)];
        let dropout = sharing.map(|sharing| Dropout { rate: 0.3, sharing, keys });
        let plain = |x: &[f64], bias: &[f64]| -> Vec<f64> {
            let mut out = vec![0.0; 10 * INNER];
            for (example, span) in spans.iter().enumerate() {
                for (head, i) in (0..HEADS).flat_map(|head| (0..span.queries).map(move |i| (head, i))) {
                    let at = |row: usize, part: usize| {
                        &x[(span.key + row) * 3 * INNER + part * INNER + head * WIDTH..][..WIDTH]
                    };
                    let visible = if causal { i + 1 } else { span.keys };
                    let score = |j: usize| {
                        let dot: f64 = at(i, 0).iter().zip(at(j, 1)).map(|(q, k)| q * k).sum();
                        (dot + bias[head * (2 * LENGTH - 1) + j + LENGTH - 1 - i]).exp()
                    };
                    let total: f64 = (0..visible).map(score).sum();
                    let mut mask = vec![1.0f32; span.keys];
                    if let Some(dropout) = &dropout {
                        let row = if dropout.sharing == Sharing::Sequence { head } else { head * span.queries + i };
                        dropout.fill(&mut mask, example, 4, row);
                    }
                    for (j, factor) in mask.iter().enumerate().take(visible) {
                        let p = score(j) / total * f64::from(*factor);
                        let out = &mut out[(span.query + i) * INNER + head * WIDTH..][..WIDTH];
                        out.iter_mut().zip(at(j, 2)).for_each(|(out, v)| *out += p * v);
                    }
                }
            }
            out
        };
        let attention = Attention {
            heads: HEADS,
            head_width: WIDTH,
            query_stride: 3 * INNER,
            key_stride: 3 * INNER,
            spans: &spans,
            bias: Some((&bias, LENGTH)),
            causal,
            dropout: dropout.as_ref().map(|dropout| (dropout, 4)),
        };
        let (mut out, mut probabilities) = (vec![f32::NAN; 10 * INNER], Probabilities::default());
        attend(&attention, &mut out, &mut probabilities, Qkv::joined(&qkv, INNER));
        close(&out, &plain(&wide(&qkv), &wide(&bias)), "attention");
        let (mut d_qkv, mut d_bias) = (vec![f32::NAN; qkv.len()], vec![0.0; bias.len()]);
        let (to, from) = (QkvGradient::Joined(&mut d_qkv), Qkv::joined(&qkv, INNER));
        attend_backward(&attention, to, Some(&mut d_bias), &mut probabilities, &d_out, from);
        close(&d_qkv, &differences(&qkv, &d_out, |x| plain(x, &wide(&bias))), "attention, d_qkv");
        close(&d_bias, &differences(&bias, &d_out, |bias| plain(&wide(&qkv), bias)), "attention, d_bias");
    }
}

#[test]
fn exp_is_within_two_ulp_of_the_library() {
    for i in -80_000..80_000 {
        let x = i as f32 * 1e-3;
        let (ours, theirs) = (exp(x), x.exp());
        assert!((ours - theirs).abs() <= theirs * 2.5e-7, "exp({x}) = {ours}, expected {theirs}");
    }
}

#[test]
fn sums_cover_the_rest_of_a_row() {
    let row: Vec<f32> = (0..37).map(|i| i as f32).collect();
    assert_eq!(sum_by(&row, &row, |x, _| x), 666.0);
    assert_eq!(largest(&row), 36.0);
}
