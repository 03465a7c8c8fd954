//! Reductions on the CPU. Along rows, a row has an accumulator for every lane, or is a lane where rows are narrow. Along columns, wide sums and
//! moments are those of `columns.rs`; else a task takes a block of columns over a fixed chunk of rows and sweeps them in order, with an accumulator for
//! each column, and the chunks are combined in order. Nothing depends on the number of threads.

use rayon::prelude::*;

use super::awake;
use super::chunks::vectorized;
use super::columns;
use super::lanes::{LANES, larger, largest, rows_a_task, sum as sum_of};
use super::turned::{ROWS, Tile, rows_at_once};
use crate::order::Ordered;
use crate::reference::reduce::Axis;
use crate::tolerance::block;

/// Σ x of each line; 0 for none.
pub fn sum(x: &[f32], shape: [usize; 2], axis: Axis) -> Vec<f32> {
    if axis == Axis::Rows {
        return by_row(
            x,
            shape,
            sum_turned,
            #[inline(always)]
            |row| sum_of(row, 0.0, |x| x),
        );
    }
    let Some(plan) = Plan::of(shape) else { return vec![0.0; shape[1]] };
    if plan.fold == 1 {
        let [sums] = columns::sums(
            [x],
            [],
            shape,
            #[inline(always)]
            |[x], []| [x],
        );
        return sums;
    }
    let sums = plan.parts(
        x,
        #[inline(always)]
        |_, x, first, out: &mut [f32]| {
            let sums = plan.sums(x, first, plan.fold * out.len());
            plan.gather(&sums, out, |sum, other| sum + other);
        },
    );
    plan.combine(sums, |sum, other| sum + other)
}

/// The maximum of each line of at least one element; NaN where there is one.
pub fn max(x: &[f32], shape: [usize; 2], axis: Axis) -> Vec<f32> {
    if axis == Axis::Rows {
        return by_row(
            x,
            shape,
            #[inline(always)]
            |tile| {
                tile.fold(
                    f32::NEG_INFINITY,
                    #[inline(always)]
                    |max, x, _| larger(max, x),
                )
            },
            #[inline(always)]
            |row| largest(row, larger),
        );
    }
    let Some(plan) = Plan::of(shape) else { return Vec::new() };
    let maxima = plan.parts(
        x,
        #[inline(always)]
        |_, x, first, out: &mut [f32]| {
            let maxima = plan.sweep(x, first, plan.fold * out.len(), f32::NEG_INFINITY, larger);
            plan.gather(&maxima, out, larger);
        },
    );
    plan.combine(maxima, larger)
}

/// Where each line of at least one element has its first maximum; a NaN is the maximum, and the first one counts.
pub fn argmax(x: &[f32], shape: [usize; 2], axis: Axis) -> Vec<u32> {
    if axis == Axis::Rows {
        return by_row(x, shape, first_largest_turned, first_largest);
    }
    let Some(plan) = Plan::of(shape) else { return Vec::new() };
    let earlier_largest = |a: (f32, u32), b: (f32, u32)| {
        let (key, other) = (a.0.key(), b.0.key());
        if other > key || (other == key && b.1 < a.1) { b } else { a }
    };
    let best = plan.parts(
        x,
        #[inline(always)]
        |start, x, first, out: &mut [(f32, u32)]| {
            let wide = plan.fold * out.len();
            let (mut best, mut at) = (vec![f32::NEG_INFINITY; wide], vec![0u32; wide]);
            for (line, number) in plan.lines(x, first, wide).zip(0..) {
                for ((best, at), &x) in best.iter_mut().zip(&mut at).zip(line) {
                    let above = above(x, *best);
                    *best = if above { x } else { *best };
                    *at = if above { number } else { *at };
                }
            }
            // The number of a line, and the place in it, give the row.
            let row = |i: usize| start as u32 + at[i] * plan.fold as u32 + (i / out.len()) as u32;
            let found: Vec<_> = best.iter().enumerate().map(|(i, &best)| (best, row(i))).collect();
            plan.gather(&found, out, earlier_largest);
        },
    );
    plan.combine(best, earlier_largest).into_iter().map(|(_, at)| at).collect()
}

/// The mean and the biased variance of each line of at least one element: of rows in two passes, of columns in one.
pub fn moments(x: &[f32], shape: [usize; 2], axis: Axis) -> (Vec<f32>, Vec<f32>) {
    if axis == Axis::Rows {
        let n = shape[1] as f32;
        let each = by_row(
            x,
            shape,
            #[inline(always)]
            |tile| {
                let mean = sum_turned(tile).map(|sum| sum / n);
                let squares = tile.fold(
                    0.0,
                    #[inline(always)]
                    |sum, x, k| sum + (x - mean[k]) * (x - mean[k]),
                );
                std::array::from_fn(|k| (mean[k], squares[k] / n))
            },
            #[inline(always)]
            |row| {
                let mean = sum_of(row, 0.0, |x| x) / n;
                (mean, sum_of(row, mean, |x| (x - mean) * (x - mean)) / n)
            },
        );
        return each.into_iter().unzip();
    }
    let [rows, columns] = shape;
    let [mean, variance] = if columns >= SIDE || rows < SIDE * SIDE / 2 {
        columns::moments(x, shape)
    } else {
        // Of narrow rows as many side by side, and those that are left.
        let lines = rows / SIDE;
        let (whole, rest) = x.split_at(lines * SIDE * columns);
        let [means, mut squares] = columns::moments(whole, [lines, SIDE * columns]);
        squares.iter_mut().for_each(|variance| *variance *= lines as f32);
        let [rest_means, mut rest_squares] = columns::moments(rest, [rows % SIDE, columns]);
        rest_squares.iter_mut().for_each(|variance| *variance *= (rows % SIDE) as f32);
        let sides = means.chunks_exact(columns).zip(squares.chunks_exact(columns));
        let mut parts: Vec<_> = sides.map(|(means, squares)| (lines as f32, means, squares)).collect();
        parts.push(((rows % SIDE) as f32, &rest_means, &rest_squares));
        columns::pool(&parts, columns)
    };
    (mean, variance)
}

/// Rows side by side of which moments are taken where they are narrower than that: whole vectors. Their 33 parts make the chain of a column's
/// sum longer, which is within what a sum is allowed from half as many lines on.
const SIDE: usize = 32;

/// Σ x of the rows of a tile.
#[inline(always)]
fn sum_turned(tile: &Tile) -> [f32; ROWS] {
    tile.fold(
        0.0,
        #[inline(always)]
        |sum, x, _| sum + x,
    )
}

/// Whether x takes the place of a maximum: it is larger, or the first NaN.
#[inline(always)]
fn above(x: f32, max: f32) -> bool {
    x > max || (x.is_nan() && !max.is_nan())
}

/// Where a row has its first maximum.
#[inline(always)]
fn first_largest(row: &[f32]) -> u32 {
    let max = largest(row, larger);
    let found = |x: f32| x == max || (x.is_nan() && max.is_nan());
    // Whole blocks without a branch for each element, then the one that has it.
    let mut start = 0;
    for block in row.as_chunks::<LANES>().0 {
        if block.iter().fold(false, |any, &x| any | found(x)) {
            break;
        }
        start += LANES;
    }
    row[start..].iter().position(|&x| found(x)).map_or(0, |i| (start + i) as u32)
}

/// [`first_largest`] of the rows of a tile.
#[inline(always)]
fn first_largest_turned(tile: &Tile) -> [u32; ROWS] {
    let (mut max, mut at) = ([f32::NEG_INFINITY; ROWS], [0; ROWS]);
    for (number, column) in (0..).zip(tile.columns()) {
        for k in 0..ROWS {
            let above = above(column[k], max[k]);
            max[k] = if above { column[k] } else { max[k] };
            at[k] = if above { number } else { at[k] };
        }
    }
    at
}

/// What `turned` makes of the rows of a tile where rows are narrow, `row` of each where they are not.
fn by_row<T: Clone + Default + Send>(
    x: &[f32],
    [rows, columns]: [usize; 2],
    turned: impl Fn(&Tile) -> [T; ROWS] + Sync,
    row: impl Fn(&[f32]) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); rows];
    let (task, once) = (rows_a_task(columns), rows_at_once(columns));
    awake::keep(rows.div_ceil(task));
    out.par_chunks_mut(task).enumerate().for_each(|(i, out)| {
        vectorized(
            #[inline(always)]
            || {
                let mut tile = Tile::new(columns);
                for (out, first) in out.chunks_mut(once).zip((i * task..).step_by(once)) {
                    let x = &x[first * columns..][..out.len() * columns];
                    if once > 1 {
                        out.iter_mut().zip(turned(tile.turn(x))).for_each(|(out, of_row)| *out = of_row);
                    } else {
                        out[0] = row(x);
                    }
                }
            },
        );
    });
    out
}

/// Columns of a task: their accumulators stay in the first level of cache.
const BLOCK: usize = 1024;
/// Lines of a chunk at least: 256 KiB, which stay in a core's cache for a second sweep.
const LINES: usize = 64;
/// Chunks at most, so that combining them costs little, and that the chain of their sums is within what a sum is allowed: with a chunk's own
/// 20 roundings 148 of the 6 + 2√8192 = 187 of 128 chunks of 64 lines.
const CHUNKS: usize = 128;

/// How a matrix is cut for reductions along its columns. A line is one row, or several side by side where the matrix is narrow, so that
/// vectors are full: each column then has several accumulators.
struct Plan {
    rows: usize,
    columns: usize,
    /// Rows of a line.
    fold: usize,
    /// Rows of a chunk.
    chunk: usize,
}

impl Plan {
    /// None for a matrix without elements.
    fn of([rows, columns]: [usize; 2]) -> Option<Self> {
        if rows * columns == 0 {
            return None;
        }
        let fold = (BLOCK / columns).clamp(1, rows);
        let chunk = fold * rows.div_ceil(fold).div_ceil(CHUNKS).max(LINES);
        Some(Self { rows, columns, fold, chunk })
    }

    /// What `task(row, x, first, out)` makes of each block of columns, from `first`, of each chunk `x`, from `row`; chunks × columns.
    fn parts<T: Clone + Default + Send>(
        &self,
        x: &[f32],
        task: impl Fn(usize, &[f32], usize, &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut parts = vec![T::default(); self.rows.div_ceil(self.chunk) * self.columns];
        awake::keep(self.rows.div_ceil(self.chunk));
        let chunks = parts.par_chunks_mut(self.columns).zip(x.par_chunks(self.chunk * self.columns));
        chunks.enumerate().for_each(|(chunk, (parts, x))| {
            parts.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
                vectorized(
                    #[inline(always)]
                    || task(chunk * self.chunk, x, block * BLOCK, out),
                );
            });
        });
        parts
    }

    /// The lines of a chunk, `wide` accumulators each; the last one may be shorter.
    #[inline(always)]
    fn lines<'a>(&self, x: &'a [f32], first: usize, wide: usize) -> impl Iterator<Item = &'a [f32]> {
        let lines = x.chunks(self.fold * self.columns);
        lines.map(move |line| &line[first..(first + wide).min(line.len())])
    }

    /// f(accumulator, x) over the lines of a chunk, in order.
    #[inline(always)]
    fn sweep(
        &self,
        x: &[f32],
        first: usize,
        wide: usize,
        start: f32,
        f: impl Fn(f32, f32) -> f32,
    ) -> Vec<f32> {
        let mut accumulators = vec![start; wide];
        for line in self.lines(x, first, wide) {
            for (accumulator, &x) in accumulators.iter_mut().zip(line) {
                *accumulator = f(*accumulator, x);
            }
        }
        accumulators
    }

    /// Σ x over the lines of a chunk, in blocks whose error is within what a sum is allowed.
    #[inline(always)]
    fn sums(&self, x: &[f32], first: usize, wide: usize) -> Vec<f32> {
        let line = self.fold * self.columns;
        let mut totals = vec![0.0; wide];
        for part in x.chunks(line * block(x.len().div_ceil(line), 1)) {
            let sums = self.sweep(part, first, wide, 0.0, |sum, x| sum + x);
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        totals
    }

    /// The accumulators of each column as one, in halves.
    #[inline(always)]
    fn gather<T: Copy>(&self, wide: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
        let mut wide = wide.to_vec();
        while wide.len() > out.len() {
            let half = (wide.len() / out.len()).div_ceil(2) * out.len();
            let (left, right) = wide.split_at_mut(half);
            for (left, &right) in left.iter_mut().zip(right.iter()) {
                *left = f(*left, right);
            }
            wide.truncate(half);
        }
        out.copy_from_slice(&wide);
    }

    /// The chunks as one, in order.
    fn combine<T: Copy + Send + Sync>(&self, mut parts: Vec<T>, f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
        let (out, others) = parts.split_at_mut(self.columns);
        out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
            for other in others.chunks_exact(self.columns) {
                for (out, &other) in out.iter_mut().zip(&other[block * BLOCK..]) {
                    *out = f(*out, other);
                }
            }
        });
        parts.truncate(self.columns);
        parts
    }
}
