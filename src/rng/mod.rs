//! Seeded choices. The generator is named (ChaCha with 8 rounds), so a seed means the same in every version.
//! [`numpy`] replays the notebooks' own.

pub mod numpy;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator of a seed.
pub fn seeded(seed: u64) -> impl Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The generator of one of many streams of a seed, told apart by three numbers.
pub fn stream(seed: u64, which: [u64; 3]) -> impl Rng {
    let words = [seed, which[0], which[1], which[2]];
    let mut key = [0; 32];
    for (bytes, word) in key.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

/// `n` numbers in [−1, 1), each exact in `f32`, so that every executor starts from the same values.
pub fn reals(rng: &mut impl Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| f64::from(rng.random_range(-1.0f32..1.0))).collect()
}

/// `n` pixels.
pub fn pixels(rng: &mut impl Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| rng.random()).collect()
}

/// `n` integers below `bound`.
pub fn integers(rng: &mut impl Rng, n: usize, bound: u32) -> Vec<u32> {
    (0..n).map(|_| rng.random_range(0..bound)).collect()
}
