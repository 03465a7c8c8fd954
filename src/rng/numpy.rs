//! numpy's legacy generator, `np.random.seed` and its functions, bit for bit: every seeded cell of the notebooks can be replayed.
//!
//! The stream is frozen (NEP 19): MT19937 (Matsumoto & Nishimura 1998) seeded by `init_genrand`, doubles of 53 bits, Gaussians by
//! Marsaglia's polar method, bounded integers by masked rejection.
//!
//! ```
//! use cs231n_gpu::rng::numpy::RandomState;
//!
//! let mut random = RandomState::new(0); // np.random.seed(0)
//! assert_eq!(random.rand(2), [0.5488135039273248, 0.7151893663724195]);
//! ```

use crate::error::{Error, Result};

/// Words of the state.
const WORDS: usize = 624;
/// Distance of the word that each word is mixed with.
const SHIFT: usize = 397;

/// The state behind `np.random.seed`.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; WORDS],
    next: usize,
    /// Gaussians come in pairs; the second waits here, over draws of other kinds too.
    gaussian: Option<f64>,
}

impl RandomState {
    /// `np.random.seed(seed)`: `init_genrand`.
    pub fn new(seed: u32) -> Self {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Self { words, next: WORDS, gaussian: None }
    }

    /// [`Self::new`] of the 64 bits of a seed, folded: the legacy generator takes 32.
    pub fn folded(seed: u64) -> Self {
        Self::new((seed ^ (seed >> 32)) as u32)
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut y = self.words[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + SHIFT) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// One number in [0, 1), of 53 bits.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// One number of the standard normal distribution.
    fn gaussian(&mut self) -> f64 {
        if let Some(waiting) = self.gaussian.take() {
            return waiting;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.gaussian = Some(factor * x);
                return factor * y;
            }
        }
    }

    /// An integer up to `largest`, included: masked words until one is small enough. Nothing is drawn where there is no choice.
    fn up_to(&mut self, largest: u32) -> u32 {
        if largest == 0 {
            return 0;
        }
        let mask = u32::MAX >> largest.leading_zeros();
        loop {
            let word = self.next_u32() & mask;
            if word <= largest {
                return word;
            }
        }
    }

    /// `np.random.rand(n)`: numbers in [0, 1).
    pub fn rand(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.uniform()).collect()
    }

    /// `np.random.randn(n)`: the standard normal distribution.
    pub fn randn(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.gaussian()).collect()
    }

    /// `np.random.randint(bound, size=n)`: integers below `bound`.
    ///
    /// # Errors
    /// [`Error::Shape`] when integers are wanted and `bound` is 0.
    pub fn randint(&mut self, bound: u32, n: usize) -> Result<Vec<u32>> {
        if bound == 0 && n > 0 {
            return Err(Error::shape("randint", "no integer lies below 0", "give a bound of at least 1"));
        }
        Ok((0..n).map(|_| self.up_to(bound - 1)).collect())
    }

    /// `np.random.choice(population, n, replace)`: integers below `population`, drawn with or without putting them back.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many as are drawn.
    pub fn choice(&mut self, population: u32, n: usize, replace: bool) -> Result<Vec<u32>> {
        if replace {
            return self.randint(population, n);
        }
        if n > population as usize {
            let problem = format!("{n} of {population} without putting back");
            return Err(Error::shape("choice", problem, "draw fewer, or with replacement"));
        }
        let mut drawn = self.permutation(population);
        drawn.truncate(n);
        Ok(drawn)
    }

    /// `np.random.permutation(n)`: the integers below `n` in a random order.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<_> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// `np.random.shuffle(values)`: Fisher and Yates, from the end. At most 2³² values change places.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.up_to(u32::try_from(i).unwrap_or(u32::MAX)) as usize;
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RandomState;

    // The vector `numpy_legacy_rng` of tests/vectors has the values; here is what it does not reach.

    #[test]
    fn impossible_draws_are_refused_and_forced_ones_draw_nothing() {
        let mut random = RandomState::new(231);
        assert!(random.randint(0, 1).is_err() && random.choice(3, 4, false).is_err());
        let mut same = random.clone();
        assert_eq!(same.randint(1, 5).expect("zeros"), [0; 5]);
        assert_eq!(same.next_u32(), random.next_u32());
    }

    #[test]
    fn without_putting_back_the_permutation_is_cut() {
        let drawn = RandomState::new(1).choice(8, 3, false).expect("three of eight");
        assert_eq!(drawn, RandomState::new(1).permutation(8)[..3]);
    }
}
