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
        move |start, out| masked(&x[start..], out, words, start as u32, threshold, scale),
    );
    out
}

/// [`dropout`] of nets side by side: rows of `columns` numbers belong to the nets in turn, which have a layer each, all of one key.
pub fn dropout_grouped(x: &[f32], columns: usize, layers: &[Dropout]) -> Vec<f32> {
    let (Some(layer), false) = (layers.first(), x.is_empty()) else { return vec![0.0; x.len()] };
    let mut out = recycled::numbers(x.len());
    let (nets, words) = (layers.len(), layer.key.words());
    pieces(
        &mut out,
        (CHUNK / columns).max(1) * columns,
        #[inline(always)]
        move |start, out| {
            let rows = out.chunks_exact_mut(columns).zip(x[start..].chunks_exact(columns));
            for (row, (out, x)) in (start / columns..).zip(rows) {
                let layer = &layers[row % nets];
                let first = (row / nets * columns) as u32;
                masked(x, out, words, first, layer.threshold(), layer.scale());
            }
        },
    );
    out
}

/// Mask times x of units in succession from `unit` on.
#[inline(always)]
fn masked(x: &[f32], out: &mut [f32], words: [u32; 2], mut unit: u32, threshold: u32, scale: f32) {
    for (out, &x) in out.iter_mut().zip(x) {
        let mask = if bits(words, unit) >= threshold { scale } else { 0.0 };
        *out = x * mask;
        unit = unit.wrapping_add(1);
    }
}
