//! The softmax of rows on the CPU, each row while it is in cache.

use rayon::prelude::*;

use super::chunks::vectorized;
use super::lanes::{LANES, add, dot, fold, largest, rewrite, rows_a_task};
use super::math;
use crate::recycled;

/// Writes e^(s − max s) of a row to `out`; returns the maximum and the sum.
///
/// A NaN does not count as the maximum, but makes the sum NaN, as an infinite maximum does.
#[inline(always)]
pub(super) fn exponentials(scores: &[f32], out: &mut [f32]) -> [f32; 2] {
    let max = largest(scores, |a, b| if b > a { b } else { a });
    let mut sums = [0.0; LANES];
    rewrite(
        [scores],
        out,
        f32::NEG_INFINITY,
        #[inline(always)]
        |[scores]| {
            let mut exponentials = [0.0; LANES];
            for (exponential, &score) in exponentials.iter_mut().zip(scores) {
                // At most 0, or NaN.
                *exponential = math::exp_below_0(score - max);
            }
            add(&mut sums, &exponentials, |e| e);
            exponentials
        },
    );
    [max, fold(sums, |a, b| a + b)]
}

/// e^(s − max s) / Σ e^(s − max s) of each row of `columns` scores.
pub fn forward(scores: &[f32], columns: usize) -> Vec<f32> {
    by_row(
        scores,
        scores,
        columns,
        #[inline(always)]
        |scores, _, out| {
            let scale = 1.0 / exponentials(scores, out)[1];
            for p in out {
                *p *= scale;
            }
        },
    )
}

/// p·(dout − Σ dout·p) of each row of `columns`.
///
/// # Panics
/// When the lengths differ.
pub fn backward(dout: &[f32], probabilities: &[f32], columns: usize) -> Vec<f32> {
    assert_eq!(dout.len(), probabilities.len(), "the gradient of each probability");
    by_row(
        dout,
        probabilities,
        columns,
        #[inline(always)]
        |dout, probabilities, out| {
            let dot = dot(dout, probabilities);
            for ((out, &dout), &p) in out.iter_mut().zip(dout).zip(probabilities) {
                *out = p * (dout - dot);
            }
        },
    )
}

/// `row(x, y, out)` for each row of `columns`.
fn by_row(x: &[f32], y: &[f32], columns: usize, row: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = recycled::numbers(x.len());
    let (columns, task) = (columns.max(1), rows_a_task(columns) * columns.max(1));
    let chunks = out.par_chunks_mut(task).zip(x.par_chunks(task)).zip(y.par_chunks(task));
    chunks.for_each(|((out, x), y)| {
        vectorized(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(columns).zip(x.chunks_exact(columns));
                for ((out, x), y) in rows.zip(y.chunks_exact(columns)) {
                    row(x, y, out);
                }
            },
        );
    });
    out
}
