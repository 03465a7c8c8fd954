//! Random flips and shifts of images, which a classifier should not see (Krizhevsky et al. 2012, section 4.1; He et al. 2015, "Deep residual
//! learning", section 4.2: mirrored, and cropped out of a frame of zeros).
//!
//! What becomes of an image is a pure function of its row in the batch and a key, in the integers that [`super::dropout`] draws its masks
//! from: the same on every device, in any order, and again after an interruption.

use super::dropout::{MaskKey, bits};
use crate::tolerance::Real;

/// What is done to the images of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augment {
    /// Channels, height and width of an image, which lies as planes, row-major (CHW).
    pub image: [usize; 3],
    /// Mirror an image with probability ½.
    pub flip: bool,
    /// Move an image by up to so many pixels up or down, and left or right: at most [`MOST_SHIFT`].
    pub shift: u32,
    /// What is drawn from.
    pub key: MaskKey,
}

/// The largest shift: 2·shift + 1 fits 15 bits, those that are drawn of each direction at least.
pub const MOST_SHIFT: u32 = (1 << 14) - 1;

/// What is done to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Whether left becomes right, before it is moved.
    pub flip: bool,
    /// Pixels that it moves down.
    pub down: i32,
    /// Pixels that it moves right.
    pub right: i32,
}

impl Augment {
    /// What is done to the image `row` of a batch, under the words of the key. One number of 32 bits decides: the highest bit flips, the
    /// next 15 and the lowest 16 choose among the 2·shift + 1 moves of a direction.
    #[inline(always)]
    pub fn decide(&self, words: [u32; 2], row: u32) -> Move {
        let drawn = bits(words, row);
        let moves = 2 * self.shift + 1;
        let [down, right] = [(((drawn >> 16) & 0x7fff) * moves) >> 15, ((drawn & 0xffff) * moves) >> 16]
            .map(u32::cast_signed);
        let most = self.shift.cast_signed();
        Move { flip: self.flip && drawn >> 31 == 1, down: down - most, right: right - most }
    }
}

/// Images x [M, D] after their moves: out(c, i, j) = f(c, i − down, j − right) with f = x, or x(c, i, W − 1 − j) where it is flipped, and 0
/// where f has no such pixel.
pub fn augment<T: Real>(x: &[T], augment: &Augment) -> Vec<T> {
    let [channels, height, width] = augment.image;
    let (words, features) = (augment.key.words(), channels * height * width);
    let pixel = |m: usize, c: usize, i: usize, j: usize| {
        let Move { flip, down, right } = augment.decide(words, m as u32);
        let i = i.checked_add_signed(-(down as isize)).filter(|&i| i < height)?;
        let j = j.checked_add_signed(-(right as isize)).filter(|&j| j < width)?;
        let j = if flip { width - 1 - j } else { j };
        Some(x[((m * channels + c) * height + i) * width + j])
    };
    let mut out = Vec::with_capacity(x.len());
    for m in 0..x.len().checked_div(features).unwrap_or(0) {
        for c in 0..channels {
            for i in 0..height {
                out.extend((0..width).map(|j| pixel(m, c, i, j).unwrap_or(T::from(0.0))));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_as_frequent_as_they_should_be() {
        let key = MaskKey { seed: 231, step: 7, layer: 0 };
        let augment = Augment { image: [1, 8, 8], flip: true, shift: 2, key };
        let (words, n) = (key.words(), 20_000);
        let mut counts = [[[0u32; 5]; 5]; 2];
        for row in 0..n {
            let Move { flip, down, right } = augment.decide(words, row);
            counts[usize::from(flip)][(down + 2) as usize][(right + 2) as usize] += 1;
        }
        // χ² of 49 degrees of freedom: 85.4 is passed once in a thousand.
        let expected = f64::from(n) / 50.0;
        let chi: f64 =
            counts.as_flattened().as_flattened().iter().map(|&c| (f64::from(c) - expected).powi(2)).sum();
        assert!(chi / expected < 85.4, "{}", chi / expected);
    }

    #[test]
    fn an_image_is_flipped_and_then_moved() {
        let key = |step| MaskKey { seed: 1, step, layer: 0 };
        let x: Vec<f64> = (1..=6).map(f64::from).collect();
        for step in 0..200 {
            let given = Augment { image: [1, 2, 3], flip: true, shift: 1, key: key(step) };
            let Move { flip, down, right } = given.decide(given.key.words(), 0);
            if (flip, down, right) == (true, 1, -1) {
                // 3 2 1 over 6 5 4, one down, one left.
                assert_eq!(augment(&x, &given), [0.0, 0.0, 0.0, 2.0, 1.0, 0.0]);
                return;
            }
        }
        panic!("no such move in 200");
    }
}
