//! Dropout on the CPU, in one sweep.

use super::chunks::{CHUNK, pieces};
use crate::recycled;
use crate::reference::dropout::{Dropout, bits};

/// Mask times x: dropped elements are 0 (NaN where x is not finite), the others scaled.
pub fn dropout(x: &[f32], dropout: &Dropout) -> Vec<f32> {
    let (words, threshold, scale) = (dropout.key.words(), dropout.threshold(), dropout.scale());
    let mut out = recycled::numbers(x.len());
    pieces(
        &mut out,
        CHUNK,
        #[inline(always)]
        move |start, out| {
            let mut index = start as u32;
            for (out, &x) in out.iter_mut().zip(&x[start..]) {
                let mask = if bits(words, index) >= threshold { scale } else { 0.0 };
                *out = x * mask;
                index = index.wrapping_add(1);
            }
        },
    );
    out
}
