//! Activations between a forward and a backward pass, in f32 or in half the memory.

use super::vectorised;
use half::bf16;

/// How activations are kept for the backward pass. The forward pass itself goes on with what it computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    #[default]
    Exact,
    /// As they are, and rounded to bf16 when they are read: what [`Narrow`](Self::Narrow) gives, for what is kept so shortly
    /// that half the memory would be no gain.
    Rounded,
    /// In bf16.
    Narrow,
}

/// A buffer of activations.
#[derive(Debug, Default)]
pub struct Kept {
    wide: Vec<f32>,
    narrow: Vec<bf16>,
}

impl Kept {
    /// Where numbers are computed that will be [saved](Self::save); `room` is for those that are kept in bf16.
    pub fn fill<'b>(&'b mut self, storage: Storage, room: &'b mut Vec<f32>) -> &'b mut Vec<f32> {
        if storage == Storage::Narrow { room } else { &mut self.wide }
    }

    /// Keeps the first `len` numbers that were computed [there](Self::fill).
    pub fn save(&mut self, len: usize, storage: Storage, room: &[f32]) {
        if storage == Storage::Narrow {
            narrow(super::room(&mut self.narrow, len), &room[..len]);
        }
    }

    /// The first `len` numbers, `[n]`, to be used up.
    pub fn read<'b>(&'b mut self, len: usize, storage: Storage, room: &'b mut Vec<f32>) -> &'b mut [f32] {
        match storage {
            Storage::Exact => &mut self.wide[..len],
            Storage::Rounded => {
                let values = &mut self.wide[..len];
                round(values);
                values
            }
            Storage::Narrow => {
                let room = super::room(room, len);
                widen(room, &self.narrow[..len]);
                room
            }
        }
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.wide.capacity() * size_of::<f32>() + self.narrow.capacity() * size_of::<bf16>()
    }
}

/// The bits of a number rounded to bf16: the nearest, of two the even one. NaN stays NaN.
#[inline(always)]
fn bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    (if x.is_nan() { bits | 0x40_0000 } else { nearest }) >> 16
}

/// Rounds to bf16; both are `[n]`.
pub(super) fn narrow(out: &mut [bf16], x: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (out, x) in out.iter_mut().zip(x) {
                *out = bf16::from_bits(bits(*x) as u16);
            }
        },
    );
}

/// Rounds to bf16 in place, `[n]`.
pub(super) fn round(x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for x in x {
                *x = f32::from_bits(bits(*x) << 16);
            }
        },
    );
}

/// The same numbers in f32; both are `[n]`.
pub(super) fn widen(out: &mut [f32], x: &[bf16]) {
    vectorised(
        #[inline(always)]
        || {
            for (out, x) in out.iter_mut().zip(x) {
                *out = f32::from_bits(u32::from(x.to_bits()) << 16);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    fn values() -> Vec<f32> {
        let mut stream = Stream::new(0, "kept");
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-40, -1e-45];
        let halves = (0..64).map(|i| f32::from_bits(0x3f80_8000 + (i << 16)));
        special.into_iter().chain(halves).chain((0..1000).map(|_| stream.normal() as f32)).collect()
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let values = values();
        let mut narrowed = vec![bf16::ZERO; values.len()];
        narrow(&mut narrowed, &values);
        for (x, found) in values.iter().zip(&narrowed) {
            assert_eq!(found.to_bits(), bf16::from_f32(*x).to_bits(), "{x}");
        }
        let (mut rounded, mut wide) = (values.clone(), vec![0.0; values.len()]);
        round(&mut rounded);
        widen(&mut wide, &narrowed);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&rounded), bits(&wide));
    }

    #[test]
    fn both_ways_of_keeping_bf16_give_the_same() {
        let values = &values()[9..];
        let (mut exact, mut rounded, mut narrow) = (Kept::default(), Kept::default(), Kept::default());
        let mut room = Vec::new();
        let mut kept = |kept: &mut Kept, storage| {
            super::super::room(kept.fill(storage, &mut room), values.len()).copy_from_slice(values);
            kept.save(values.len(), storage, &room);
            kept.read(values.len(), storage, &mut room).to_vec()
        };
        assert_eq!(kept(&mut exact, Storage::Exact), values);
        let found = kept(&mut narrow, Storage::Narrow);
        assert!(found == kept(&mut rounded, Storage::Rounded) && found != values);
        assert_eq!((narrow.bytes(), rounded.bytes()), (values.len() * 2, values.len() * 4));
    }
}
