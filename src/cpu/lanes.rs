//! Loops along rows with an accumulator for every lane of a few vectors: a compiler may not reorder a sum of floats by itself.

use std::borrow::Cow;

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, vectorized};
use super::turned::{Tile, rows_at_once};
use crate::recycled;

/// Accumulators of a loop. Two of the widest vectors hide an addition's latency, and a row of ten classes wastes little.
pub(super) const LANES: usize = 32;

/// One step of a loop along a row.
pub(super) type Block = [f32; LANES];

/// Elements of a row whose lanes are added up before they join the total. A lane adds 64 of them in one chain, and 69 roundings with those
/// between lanes are fewer than the 6 + 2√n that a sum of n > 2,048 terms is allowed ([`crate::tolerance::block`]); so are n/32 + 5 for a
/// shorter one, and 69 + n/2,048 up to 16 million.
pub(super) const CHAIN: usize = 64 * LANES;

/// Calls `work` with each block of some rows of one length; what a last block lacks is `fill`. Loops over whole blocks alone become vector code.
#[inline(always)]
pub(super) fn each<const I: usize>(rows: [&[f32]; I], fill: f32, mut work: impl FnMut([&Block; I])) {
    let length = rows[0].len();
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        work(std::array::from_fn(
            #[inline(always)]
            |i| block(rows[i], start),
        ));
    }
    if whole < length {
        let mut last = [[fill; LANES]; I];
        for (last, row) in last.iter_mut().zip(rows) {
            *last = padded(&row[whole..], fill);
        }
        work(last.each_ref());
    }
}

/// Writes work(blocks) for each block of some rows to its place in `out`; what a last block lacks is `fill`, and is not written.
#[inline(always)]
pub(super) fn rewrite<const I: usize>(
    rows: [&[f32]; I],
    out: &mut [f32],
    fill: f32,
    mut work: impl FnMut([&Block; I]) -> Block,
) {
    let (out_blocks, out_rest) = out.as_chunks_mut::<LANES>();
    let mut outs = out_blocks.iter_mut();
    each(
        rows,
        fill,
        #[inline(always)]
        |blocks| {
            let values = work(blocks);
            match outs.next() {
                Some(out) => *out = values,
                None => out_rest.iter_mut().zip(values).for_each(|(out, value)| *out = value),
            }
        },
    );
}

/// The block of a row that begins at `start`.
#[inline(always)]
fn block(row: &[f32], start: usize) -> &Block {
    let (block, _) = row[start..].as_chunks();
    &block[0]
}

#[inline(always)]
fn padded(rest: &[f32], fill: f32) -> Block {
    let mut block = [fill; LANES];
    for (value, &x) in block.iter_mut().zip(rest) {
        *value = x;
    }
    block
}

/// Adds f(x) of each lane to its sum.
#[inline(always)]
pub(super) fn add(sums: &mut Block, block: &Block, f: impl Fn(f32) -> f32) {
    for (sum, &x) in sums.iter_mut().zip(block) {
        *sum += f(x);
    }
}

/// Folds the lanes in halves, always in the same order.
#[inline(always)]
pub(super) fn fold(mut lanes: Block, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ f(x) over a row; f of `fill` must be 0.
#[inline(always)]
pub(super) fn sum(row: &[f32], fill: f32, f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0;
    for part in row.chunks(CHAIN) {
        let mut sums = [0.0; LANES];
        each(
            [part],
            fill,
            #[inline(always)]
            |[block]| add(&mut sums, block, &f),
        );
        total += fold(sums, |a, b| a + b);
    }
    total
}

/// Σ xy over two rows of one length, in chains of a block's lanes.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    each(
        [x, y],
        0.0,
        #[inline(always)]
        |[x, y]| {
            for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
                *sum = x.mul_add(y, *sum);
            }
        },
    );
    fold(sums, |a, b| a + b)
}

/// The largest of two numbers, NaN where either is.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The largest of a row by `larger`, which decides what becomes of a NaN; −∞ for none.
#[inline(always)]
pub(super) fn largest(row: &[f32], larger: impl Fn(f32, f32) -> f32) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    each(
        [row],
        f32::NEG_INFINITY,
        #[inline(always)]
        |[block]| {
            for (best, &x) in best.iter_mut().zip(block) {
                *best = larger(*best, x);
            }
        },
    );
    fold(best, larger)
}

/// Rows that a task takes: enough to hide its start, and few enough to stay in a core's cache while they are read again. Of narrow rows it is a
/// whole number of tiles.
pub(super) fn rows_a_task(columns: usize) -> usize {
    let once = rows_at_once(columns);
    (CHUNK / columns.max(1) / once).max(1) * once
}

/// Each label as often as there are `groups`: a label for every row, where nets stand side by side.
pub(super) fn repeated(labels: &[u32], groups: usize) -> Cow<'_, [u32]> {
    match groups {
        1 => labels.into(),
        _ => labels.iter().flat_map(|&label| std::iter::repeat_n(label, groups)).collect(),
    }
}

/// The losses of rows and the gradients of all: by `turned(scores, truths, [losses, gradient], tiles)` for the rows of a tile where rows are narrow, by
/// `row(scores, truth, gradient) -> loss` for each where they are not. The truth of a row is what follows in `truths`, a label or as many targets
/// as there are columns.
pub(super) fn losses<T: Sync>(
    scores: &[f32],
    truths: &[T],
    columns: usize,
    turned: impl Fn(&[f32], &[T], [&mut [f32]; 2], &mut [Tile; 2]) + Sync,
    row: impl Fn(&[f32], &[T], &mut [f32]) -> f32 + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let rows = scores.len() / columns;
    if rows == 0 {
        return (Vec::new(), Vec::new());
    }
    let (of_row, task, once) = (truths.len() / rows, rows_a_task(columns), rows_at_once(columns));
    let mut losses = recycled::numbers(rows);
    let mut gradient = recycled::numbers(scores.len());
    let outputs = losses.par_chunks_mut(task).zip(gradient.par_chunks_mut(task * columns));
    let inputs = scores.par_chunks(task * columns).zip(truths.par_chunks(task * of_row));
    awake::keep(rows.div_ceil(task));
    outputs.zip(inputs).for_each(|((losses, gradient), (scores, truths))| {
        vectorized(
            #[inline(always)]
            || {
                let mut tiles = [(); 2].map(|()| Tile::new(columns));
                let outputs = losses.chunks_mut(once).zip(gradient.chunks_mut(once * columns));
                let inputs = scores.chunks(once * columns).zip(truths.chunks(once * of_row));
                for ((losses, gradient), (scores, truths)) in outputs.zip(inputs) {
                    if once > 1 {
                        turned(scores, truths, [losses, gradient], &mut tiles);
                    } else {
                        losses[0] = row(scores, truths, gradient);
                    }
                }
            },
        );
    });
    (losses, gradient)
}
