//! Dropout (Srivastava et al. 2014) with masks that are a pure function of where they are used.
//!
//! A mask is hashed from the example's key and the place in the model, not drawn from a stream, so it does not depend on
//! what else is in the batch, on threads, or on the engine that applies it.

use super::vectorised;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names one example of one step of one run; its masks are a function of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of the example at place `slot` of the batch of step `step`, in the run with this seed.
    pub fn new(seed: u64, step: u64, slot: u64) -> Self {
        Self(mix(mix(mix(seed) ^ step) ^ slot))
    }

    /// The key as its lower and its upper half.
    pub(crate) fn halves(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// The key with these [`halves`](Self::halves).
    pub(crate) fn of_halves(halves: [u32; 2]) -> Self {
        Self(u64::from(halves[0]) | u64::from(halves[1]) << 32)
    }

    fn site(self, site: u32, row: usize) -> u64 {
        mix(mix(self.0 ^ u64::from(site)) ^ row as u64)
    }
}

/// Which elements share a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// All positions of a sequence share one, as in T5X (`broadcast_dims=(-2,)`).
    Sequence,
    /// Every element has its own, as in Hugging Face.
    Element,
}

/// Dropout of a batch.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability that an element becomes 0; the others are divided by `1 - rate`.
    pub rate: f32,
    /// Which elements share a mask.
    pub sharing: Sharing,
    /// A key for each example, `[B]`.
    pub keys: Vec<Key>,
}

impl Dropout {
    /// Writes the factors of row `row` of `example` at `site`, `[n]`: 0 or `1 / (1 - rate)`.
    pub fn fill(&self, mask: &mut [f32], example: usize, site: u32, row: usize) {
        let key = self.keys[example].site(site, row);
        let (low, high) = (key as u32, (key >> 32) as u32);
        let (threshold, kept) = self.law();
        vectorised(
            #[inline(always)]
            || {
                for (i, m) in mask.iter_mut().enumerate() {
                    let hash = mix32(mix32(i as u32 ^ low).wrapping_add(high));
                    *m = if hash >> 8 < threshold { 0.0 } else { kept };
                }
            },
        );
    }

    /// Hashes of 24 bits below the first number mean 0, all others the second one.
    pub(crate) fn law(&self) -> (u32, f32) {
        ((f64::from(self.rate) * f64::from(1u32 << 24)) as u32, 1.0 / (1.0 - self.rate))
    }

    /// `x = mask ∘ x` for `x` `[n, width]`, where example `i` owns the rows `starts[i]..starts[i + 1]`.
    pub fn apply(&self, x: &mut [f32], width: usize, starts: &[usize], site: u32) {
        let mut examples = Vec::with_capacity(starts.len());
        let mut rest = x;
        for (example, bounds) in starts.windows(2).enumerate() {
            let (mine, others) = rest.split_at_mut((bounds[1] - bounds[0]) * width);
            examples.push((example, mine));
            rest = others;
        }
        examples.into_par_iter().for_each_init(
            || vec![0.0; width],
            |mask, (example, x)| {
                for (row, x) in x.chunks_exact_mut(width).enumerate() {
                    if row == 0 || self.sharing == Sharing::Element {
                        self.fill(mask, example, site, row);
                    }
                    for (x, m) in x.iter_mut().zip(&*mask) {
                        *x *= m;
                    }
                }
            },
        );
    }
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The finaliser of MurmurHash3, which vectorises.
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropout(sharing: Sharing) -> Dropout {
        Dropout { rate: 0.1, sharing, keys: (0..40).map(|slot| Key::new(1, 2, slot)).collect() }
    }

    #[test]
    fn a_tenth_is_dropped_and_the_mean_is_kept() {
        let dropout = dropout(Sharing::Sequence);
        let mut masks = vec![0.0; 40 * 512];
        for (example, mask) in masks.chunks_mut(512).enumerate() {
            dropout.fill(mask, example, 3, 0);
        }
        let dropped = masks.iter().filter(|m| **m == 0.0).count() as f64 / masks.len() as f64;
        assert!((dropped - 0.1).abs() < 0.01, "{dropped}");
        let mean = masks.iter().sum::<f32>() / masks.len() as f32;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn sharing_decides_whether_rows_agree() {
        let rows = |sharing| {
            let mut x = vec![1.0; 2 * 64];
            let dropout = Dropout { keys: vec![Key::new(1, 1, 0)], rate: 0.5, sharing };
            dropout.apply(&mut x, 64, &[0, 2], 0);
            x[..64] == x[64..]
        };
        assert!(rows(Sharing::Sequence));
        assert!(!rows(Sharing::Element));
    }
}
