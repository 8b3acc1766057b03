//! Random streams that give the same numbers on every machine and in every version of the program.
//!
//! ChaCha8 is fixed by its specification; the mappings to ranges and normals are written here, with the logarithm and the
//! cosine of the libm crate, so that neither an upgrade of a dependency nor another C library can move a result.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers, named by a seed and a purpose.
///
/// Streams of different purposes are independent although they share a seed: the key is
/// `blake3(purpose, seed as little-endian u64)`. A stream can be left and taken up again at its [`position`](Self::position).
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

/// A seed that depends on `about` as well as on `seed`: `blake3(seed as little-endian u64, about)`, its first 8 bytes.
pub fn seed_about(seed: u64, about: &[u8]) -> u64 {
    let mut seed = SeedAbout::new(seed);
    seed.push(about);
    seed.finish()
}

/// A [`seed_about`] something that is too long to be in memory at once.
pub struct SeedAbout(blake3::Hasher);

impl SeedAbout {
    /// About nothing yet.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("spot seed about something v1");
        hasher.update(&seed.to_le_bytes());
        Self(hasher)
    }

    /// Adds a part.
    pub fn push(&mut self, about: &[u8]) {
        self.0.update(about);
    }

    /// The seed.
    pub fn finish(&self) -> u64 {
        let mut seed = [0; 8];
        self.0.finalize_xof().fill(&mut seed);
        u64::from_le_bytes(seed)
    }
}

impl Stream {
    /// The stream of `purpose` under `seed`, at its beginning.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("spot random stream v1");
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// How many 32-bit words have been drawn.
    pub fn position(&self) -> u64 {
        u64::try_from(self.0.get_word_pos()).expect("no run draws 2^64 words")
    }

    /// Moves to a [`position`](Self::position) seen earlier.
    pub fn seek(&mut self, position: u64) {
        self.0.set_word_pos(u128::from(position));
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A whole number in `0..n`, without bias (Lemire 2019, rejection in the low half).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "cannot draw from an empty range");
        let n = n as u64;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A number in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A standard normal number (Box and Muller 1958; one of the pair is dropped so that a draw has no memory).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// One element of `items`.
    ///
    /// # Panics
    /// If `items` is empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Brings `items` into random order (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `count` different numbers of `0..n`, in random order.
    ///
    /// # Panics
    /// If `count` exceeds `n`, or `n` 2<sup>32</sup>.
    pub fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        assert!(count <= n, "cannot draw {count} different numbers below {n}");
        // Half the memory of addresses: there may be millions.
        let mut numbers: Vec<u32> = (0..u32::try_from(n).expect("fewer than 2^32 numbers")).collect();
        for i in 0..count {
            let j = i + self.below(n - i);
            numbers.swap(i, j);
        }
        numbers.truncate(count);
        numbers.into_iter().map(|number| number as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_pinned() {
        let mut stream = Stream::new(7, "test");
        let first: Vec<usize> = (0..8).map(|_| stream.below(100)).collect();
        assert_eq!(first, PINNED, "a change here changes every result of the program");
    }

    #[test]
    fn a_stream_continues_where_it_was_left() {
        let mut stream = Stream::new(1, "order");
        stream.below(10);
        let position = stream.position();
        let expected: Vec<u64> = (0..5).map(|_| stream.bits()).collect();
        let mut again = Stream::new(1, "order");
        again.seek(position);
        assert_eq!((0..5).map(|_| again.bits()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn purposes_are_independent() {
        assert_ne!(Stream::new(1, "a").bits(), Stream::new(1, "b").bits());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Stream::new(3, "normal");
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
    }

    #[test]
    fn a_sample_has_no_repetition() {
        let mut sample = Stream::new(5, "sample").sample(50, 50);
        sample.sort_unstable();
        assert_eq!(sample, (0..50).collect::<Vec<_>>());
    }

    const PINNED: [usize; 8] = [18, 62, 67, 72, 37, 95, 16, 94];
}
