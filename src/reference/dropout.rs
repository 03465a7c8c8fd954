//! Dropout (Srivastava et al. 2014; course notes, "Regularization"): a random part of the units is set to 0.
//!
//! Whether a unit is kept is a pure function of its number and a key, in 32-bit integers: the same on every device, in any order, and
//! again in the backward pass, so that no mask is ever stored.

use crate::tolerance::Real;

/// What a mask is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskKey {
    /// The run's seed.
    pub seed: u64,
    /// The step of training.
    pub step: u32,
    /// The layer.
    pub layer: u32,
}

/// A dropout layer in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The probability with which a unit is dropped, in [0, 1).
    pub drop: f64,
    /// Divide what is kept by 1 − drop, so that expected outputs are those of the test pass; without, the test pass must be scaled.
    pub inverted: bool,
    /// What the mask is drawn from.
    pub key: MaskKey,
}

/// Spreads every bit of x over all bits: `lowbias32`, the multiplications and shifts that Wellons' search (2018, "Prospecting for hash
/// functions", public domain) found to be least biased, in the form of MurmurHash3's finaliser. A bijection.
#[inline(always)]
pub fn spread(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl MaskKey {
    /// Two words of the whole key, from two chains that begin differently: masks are alike only where both chains meet.
    pub fn words(&self) -> [u32; 2] {
        let parts = [self.seed as u32, (self.seed >> 32) as u32, self.step, self.layer];
        // The golden ratio and √2 − 1 in 32 bit: numbers with nothing up their sleeve.
        [0x9e37_79b9, 0x6a09_e667].map(|start| parts.iter().fold(start, |word, part| spread(word ^ part)))
    }
}

/// A number of 32 random bits for the unit `index` under a key's words.
#[inline(always)]
pub fn bits(words: [u32; 2], index: u32) -> u32 {
    spread(spread(index ^ words[0]).wrapping_add(words[1]))
}

impl Dropout {
    /// The smallest [`bits`] of a unit that is kept: drop·2³², rounded.
    pub fn threshold(&self) -> u32 {
        // Casts saturate.
        (self.drop * 2f64.powi(32)).round() as u32
    }

    /// What is kept is multiplied by this: 1/(1 − drop) or 1, rounded to 32 bit, so that every device has the same.
    pub fn scale(&self) -> f32 {
        if self.inverted { (1.0 / (1.0 - self.drop)) as f32 } else { 1.0 }
    }
}

/// yᵢ = mᵢ·xᵢ with a mask mᵢ of 0 or the scale.
pub fn dropout<T: Real>(x: &[T], dropout: &Dropout) -> Vec<T> {
    let (words, threshold, scale) = (dropout.key.words(), dropout.threshold(), f64::from(dropout.scale()));
    let each = x.iter().enumerate();
    each.map(|(i, &x)| x * T::from(if bits(words, i as u32) >= threshold { scale } else { 0.0 })).collect()
}

/// [`dropout`] of nets side by side, each net's as if alone: rows of `columns` numbers belong to the nets in turn, which have a layer each,
/// and the unit in row r and column c of a net is its unit r·columns + c.
pub fn dropout_grouped<T: Real>(x: &[T], columns: usize, layers: &[Dropout]) -> Vec<T> {
    let each = x.iter().enumerate().map(|(i, &x)| {
        let (row, column) = (i / columns, i % columns);
        let layer = layers[row % layers.len()];
        let unit = row / layers.len() * columns + column;
        let kept = bits(layer.key.words(), unit as u32) >= layer.threshold();
        x * T::from(if kept { f64::from(layer.scale()) } else { 0.0 })
    });
    each.collect()
}
