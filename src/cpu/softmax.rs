//! The softmax of rows on the CPU, each row while it is in cache.

use rayon::prelude::*;

use super::awake;
use super::chunks::vectorized;
use super::lanes::{LANES, add, dot, fold, largest, rewrite, rows_a_task};
use super::math;
use super::turned::{Lanes, ROWS, Tile, rows_at_once};
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

/// [`exponentials`] of the rows of a tile, in its place.
#[inline(always)]
pub(super) fn exponentials_turned(scores: &mut Tile) -> [Lanes; 2] {
    let max = scores.fold(
        f32::NEG_INFINITY,
        #[inline(always)]
        |a, b, _| if b > a { b } else { a },
    );
    scores.update(
        #[inline(always)]
        |score, k| math::exp_below_0(score - max[k]),
    );
    let sum = scores.fold(
        0.0,
        #[inline(always)]
        |sum, e, _| sum + e,
    );
    [max, sum]
}

/// e^(s − max s) / Σ e^(s − max s) of each row of `columns` scores.
pub fn forward(scores: &[f32], columns: usize) -> Vec<f32> {
    by_row(
        [scores, scores],
        columns,
        #[inline(always)]
        |scores, _, out, [tile, _]| {
            let scores = tile.turn(scores);
            let scale = exponentials_turned(scores)[1].map(|sum| 1.0 / sum);
            scores.write(out, |e, r| e * scale[r]);
        },
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
        [dout, probabilities],
        columns,
        #[inline(always)]
        |dout, probabilities, out, [tile, other]| {
            let (dout, probabilities) = (tile.turn(dout), other.turn(probabilities));
            let mut dot = [0.0; ROWS];
            for (dout, p) in dout.columns().iter().zip(probabilities.columns()) {
                for k in 0..ROWS {
                    dot[k] = dout[k].mul_add(p[k], dot[k]);
                }
            }
            for (dout, p) in dout.columns().iter().zip(probabilities.columns_mut()) {
                for k in 0..ROWS {
                    p[k] *= dout[k] - dot[k];
                }
            }
            probabilities.write(out, |x, _| x);
        },
        #[inline(always)]
        |dout, probabilities, out| {
            let dot = dot(dout, probabilities);
            for ((out, &dout), &p) in out.iter_mut().zip(dout).zip(probabilities) {
                *out = p * (dout - dot);
            }
        },
    )
}

/// `turned(x, y, out, tiles)` for the rows of each tile where rows of `columns` are narrow, `row(x, y, out)` for each where they are not.
fn by_row(
    [x, y]: [&[f32]; 2],
    columns: usize,
    turned: impl Fn(&[f32], &[f32], &mut [f32], &mut [Tile; 2]) + Sync,
    row: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = recycled::numbers(x.len());
    let columns = columns.max(1);
    let (task, once) = (rows_a_task(columns) * columns, rows_at_once(columns));
    let chunks = out.par_chunks_mut(task).zip(x.par_chunks(task)).zip(y.par_chunks(task));
    awake::keep(x.len().div_ceil(task));
    chunks.for_each(|((out, x), y)| {
        vectorized(
            #[inline(always)]
            || {
                let mut tiles = [(); 2].map(|()| Tile::new(columns));
                let inputs = x.chunks(once * columns).zip(y.chunks(once * columns));
                for (out, (x, y)) in out.chunks_mut(once * columns).zip(inputs) {
                    if once > 1 { turned(x, y, out, &mut tiles) } else { row(x, y, out) }
                }
            },
        );
    });
    out
}
