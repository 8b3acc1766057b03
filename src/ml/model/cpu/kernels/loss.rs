//! Cross-entropy with z-loss and label smoothing (`cross_entropy_with_logits`, `compute_weighted_cross_entropy` in T5X).

use super::{exp, largest, sum_by, vectorised};
use rayon::prelude::*;

/// Settings of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Factor of `log(Z)²`, which keeps logits near 0; T5 uses 1e-4.
    pub z_loss: f32,
    /// Probability mass that is spread over the other words; T5 uses 0.
    pub label_smoothing: f32,
}

impl CrossEntropy {
    /// The share of the target and of each other word, and what is subtracted from a loss so that it is 0 at best.
    pub(crate) fn shares(&self, vocab: usize) -> (f32, f32, f32) {
        let smoothing = self.label_smoothing;
        let low = if vocab > 1 { smoothing / (vocab - 1) as f32 } else { 0.0 };
        let high = 1.0 - smoothing;
        let constant =
            if smoothing > 0.0 { -(high * high.ln() + (vocab - 1) as f32 * low * (low + 1e-20).ln()) } else { 0.0 };
        (high, low, constant)
    }
}

/// Writes the loss of each row of `logits`, `[n, V]` for n target tokens, and replaces the logits by their gradient. `losses` and
/// `targets` are `[n]`.
pub fn cross_entropy(settings: CrossEntropy, losses: &mut [f32], logits: &mut [f32], targets: &[u32], vocab: usize) {
    let smoothing = settings.label_smoothing;
    let (high, low, constant) = settings.shares(vocab);
    logits.par_chunks_exact_mut(vocab).zip(targets).zip(losses).for_each(|((logits, target), loss)| {
        let target = *target as usize;
        let wanted = logits[target];
        let log_z = vectorised(
            #[inline(always)]
            || {
                let all = if smoothing > 0.0 { sum_by(logits, logits, |x, _| x) } else { 0.0 };
                let top = largest(logits);
                for x in logits.iter_mut() {
                    *x = exp(*x - top);
                }
                let total = sum_by(logits, logits, |x, _| x);
                let log_z = top + total.ln();
                let factor = (1.0 + 2.0 * settings.z_loss * log_z) / total;
                for x in logits.iter_mut() {
                    *x = *x * factor - low;
                }
                *loss = log_z - high * wanted - low * (all - wanted) - constant;
                log_z
            },
        );
        logits[target] += low - high;
        // With smoothing the targets sum to 1, so log Z stands alone.
        *loss += settings.z_loss * log_z * log_z;
    });
}
