//! Column by column work on a row-major matrix: tasks take some rows each and go down all columns. Every column has sums of its own, so no
//! result depends on the threads or on what else the matrix holds.

use std::ops::Range;

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, vectorized};
use crate::tolerance::block;

/// `W` values from `first` on.
#[inline(always)]
pub(super) fn part<const W: usize>(row: &[f32], first: usize) -> [f32; W] {
    let mut part = [0.0; W];
    part.copy_from_slice(&row[first..first + W]);
    part
}

/// Rows that are swept side by side where they are long. At a distance of a power of two their lines share a set of the first level of cache,
/// which has room for 8 in some processors.
const GROUP: usize = 4;

/// Rows of a task that goes down all columns: as many tasks as groups of a task at most, and 128 while that is more, so that chains of the sums
/// of both are within what a sum is allowed.
fn rows_a_task(rows: usize) -> usize {
    rows.div_ceil(128).min((GROUP * rows).isqrt()).max(64)
}

/// `work(rows)` for each task's rows, in order. How they are cut depends on their number alone.
fn by_task<T: Send>(rows: usize, columns: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let height = rows_a_task(rows);
    let least = CHUNK.div_ceil(height * columns.max(1));
    let tasks = rows.div_ceil(height);
    awake::keep(tasks / least);
    let tasks = (0..tasks).into_par_iter().with_min_len(least);
    tasks
        .map(|task| {
            vectorized(
                #[inline(always)]
                || work(task * height..rows.min((task + 1) * height)),
            )
        })
        .collect()
}

/// S sums over the rows for each column, of what `terms([x of each input], [number of the column, …])` makes; `terms` must be inlined. Tasks add
/// in blocks whose error is within what a sum is allowed, and their sums are added in order: a column's have the same bits whatever stands
/// beside it, and for any number of threads.
///
/// # Panics
/// When lengths differ.
pub(super) fn sums<const I: usize, const C: usize, const S: usize>(
    inputs: [&[f32]; I],
    of_column: [&[f32]; C],
    [rows, columns]: [usize; 2],
    terms: impl Fn([f32; I], [f32; C]) -> [f32; S] + Copy + Sync,
) -> [Vec<f32>; S] {
    let parts = by_task(
        rows,
        columns,
        #[inline(always)]
        |rows| sums_of(inputs, of_column, columns, rows, terms),
    );
    let mut totals = std::array::from_fn(|_| vec![0.0; columns]);
    for (i, part) in parts.into_iter().enumerate() {
        for (total, part) in totals.iter_mut().zip(part) {
            if i == 0 {
                *total = part;
            } else {
                total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
            }
        }
    }
    totals
}

/// Columns up to which rows are short.
const LONG: usize = 512;

/// [`sums`] over some of the rows.
#[inline(always)]
fn sums_of<const I: usize, const C: usize, const S: usize>(
    inputs: [&[f32]; I],
    of_column: [&[f32]; C],
    columns: usize,
    rows: Range<usize>,
    terms: impl Fn([f32; I], [f32; C]) -> [f32; S] + Copy,
) -> [Vec<f32>; S] {
    let [mut totals, mut sums] = std::array::from_fn(
        #[inline(always)]
        |_| {
            std::array::from_fn(
                #[inline(always)]
                |_| vec![0.0; columns],
            )
        },
    );
    let block = block(rows.len(), 1);
    let [wide, middle] = [columns / 32 * 32, columns / 8 * 8];
    // Sums stay in registers for a whole block of short rows.
    let span = if columns > LONG { GROUP } else { block };
    for start in rows.clone().step_by(block) {
        let stop = rows.end.min(start + block);
        for row in (start..stop).step_by(span) {
            let rows = Rows { inputs, of_column, columns, rows: row..stop.min(row + span) };
            for first in (0..wide).step_by(32) {
                rows.add::<32, S>(first, &mut sums, terms);
            }
            for first in (wide..middle).step_by(8) {
                rows.add::<8, S>(first, &mut sums, terms);
            }
            for first in middle..columns {
                rows.add::<1, S>(first, &mut sums, terms);
            }
        }
        for (totals, sums) in totals.iter_mut().zip(&mut sums) {
            totals.iter_mut().zip(sums).for_each(
                #[inline(always)]
                |(total, sum)| *total += std::mem::take(sum),
            );
        }
    }
    totals
}

/// Rows of matrices, with numbers of their columns.
struct Rows<'a, const I: usize, const C: usize> {
    inputs: [&'a [f32]; I],
    of_column: [&'a [f32]; C],
    columns: usize,
    rows: Range<usize>,
}

impl<const I: usize, const C: usize> Rows<'_, I, C> {
    /// Adds the terms of `W` columns from `first` on. By arrays: of slices the compiler must expect that one is written through another.
    #[inline(always)]
    fn add<const W: usize, const S: usize>(
        &self,
        first: usize,
        sums: &mut [Vec<f32>; S],
        terms: impl Fn([f32; I], [f32; C]) -> [f32; S],
    ) {
        let (mut of_column, mut added) = ([[0.0; W]; C], [[0.0; W]; S]);
        for (to, from) in of_column.iter_mut().zip(self.of_column) {
            *to = part(from, first);
        }
        for (to, from) in added.iter_mut().zip(sums.iter()) {
            *to = part(from, first);
        }
        for row in self.rows.clone() {
            let mut inputs = [[0.0; W]; I];
            for (to, from) in inputs.iter_mut().zip(self.inputs) {
                *to = part(from, row * self.columns + first);
            }
            for k in 0..W {
                let (mut x, mut numbers) = ([0.0; I], [0.0; C]);
                (0..I).for_each(|i| x[i] = inputs[i][k]);
                (0..C).for_each(|c| numbers[c] = of_column[c][k]);
                let terms = terms(x, numbers);
                (0..S).for_each(|s| added[s][k] += terms[s]);
            }
        }
        for (sums, added) in sums.iter_mut().zip(&added) {
            sums[first..first + W].copy_from_slice(added);
        }
    }
}

/// How a group of rows joins those before it.
#[derive(Clone, Copy)]
struct Joining {
    /// 1 / rows of the group.
    mean: f32,
    /// 1 / rows before it; 0 for none.
    before: f32,
    /// √(n·b / (n + b)), of n rows after b.
    apart: f32,
}

impl Joining {
    fn of(rows: usize, before: usize) -> Self {
        let [n, b] = [rows, before].map(|rows| rows as f32);
        Self {
            mean: 1.0 / n,
            before: if before == 0 { 0.0 } else { 1.0 / b },
            apart: (n * b / (n + b)).sqrt(),
        }
    }
}

/// Σ x of each column over some of the rows, and Σ (x − μ)² around the mean μ of these rows.
#[inline(always)]
fn moments_of(x: &[f32], columns: usize, rows: Range<usize>) -> [Vec<f32>; 2] {
    let mut totals = [(); 2].map(|()| vec![0.0; columns]);
    let groups = rows.len() / GROUP * GROUP;
    for before in (0..groups).step_by(GROUP) {
        let group = &x[(rows.start + before) * columns..][..GROUP * columns];
        join::<GROUP>(group, columns, Joining::of(GROUP, before), &mut totals);
    }
    for before in groups..rows.len() {
        let row = &x[(rows.start + before) * columns..][..columns];
        join::<1>(row, columns, Joining::of(1, before), &mut totals);
    }
    totals
}

/// Adds `N` rows to the sums and squares of those before.
#[inline(always)]
fn join<const N: usize>(x: &[f32], columns: usize, joining: Joining, totals: &mut [Vec<f32>; 2]) {
    let [wide, middle] = [columns / 32 * 32, columns / 8 * 8];
    for first in (0..wide).step_by(32) {
        join_columns::<N, 32>(x, columns, first, joining, totals);
    }
    for first in (wide..middle).step_by(8) {
        join_columns::<N, 8>(x, columns, first, joining, totals);
    }
    for first in middle..columns {
        join_columns::<N, 1>(x, columns, first, joining, totals);
    }
}

/// [`join`] for `W` columns from `first` on.
#[inline(always)]
fn join_columns<const N: usize, const W: usize>(
    x: &[f32],
    columns: usize,
    first: usize,
    joining: Joining,
    [sums, squares]: &mut [Vec<f32>; 2],
) {
    let mut rows = [[0.0; W]; N];
    for (row, from) in rows.iter_mut().zip(x.chunks_exact(columns)) {
        *row = part(from, first);
    }
    let (mut sum, mut square) = (part::<W>(sums, first), part::<W>(squares, first));
    for k in 0..W {
        let mut group = rows[0][k];
        for row in &rows[1..] {
            group += row[k];
        }
        let mean = group * joining.mean;
        let mut around = 0.0f32;
        for row in &rows {
            let centred = row[k] - mean;
            around = centred.mul_add(centred, around);
        }
        // Scaled before it is squared: what is 0 times too much stays 0.
        let apart = (mean - sum[k] * joining.before) * joining.apart;
        square[k] += apart.mul_add(apart, around);
        sum[k] += group;
    }
    sums[first..first + W].copy_from_slice(&sum);
    squares[first..first + W].copy_from_slice(&square);
}

/// Mean and biased variance of each column, 0 for no rows, in one sweep. A group's squares are those around its own mean, in registers, and are
/// pooled: with n rows of mean μₙ after b of mean μ_b they are S_b + Sₙ + n·b/(n + b)·(μₙ − μ_b)², those of all tasks Σ (S꜀ + n (μ꜀ − μ)²) (Chan,
/// Golub & LeVeque 1983). A column's have the same bits whatever stands beside it.
///
/// # Panics
/// When lengths differ.
pub(super) fn moments(x: &[f32], [rows, columns]: [usize; 2]) -> [Vec<f32>; 2] {
    let parts = by_task(
        rows,
        columns,
        #[inline(always)]
        |rows| {
            let n = rows.len() as f32;
            let [mut mean, squares] = moments_of(x, columns, rows);
            mean.iter_mut().for_each(|sum| *sum /= n);
            (n, mean, squares)
        },
    );
    let parts: Vec<_> = parts.iter().map(|(n, means, squares)| (*n, &means[..], &squares[..])).collect();
    pool(&parts, columns)
}

/// Mean and biased variance of each column of matrices one above the other: of each its rows, and for each column its mean and Σ (x − mean)².
pub(super) fn pool(parts: &[(f32, &[f32], &[f32])], columns: usize) -> [Vec<f32>; 2] {
    let rows = parts.iter().map(|(n, ..)| n).sum::<f32>().max(1.0);
    let [mut mean, mut variance] = [(); 2].map(|()| vec![0.0; columns]);
    for (n, means, _) in parts {
        let weight = n / rows;
        mean.iter_mut().zip(*means).for_each(|(mean, part)| *mean += weight * part);
    }
    for (n, means, squares) in parts {
        let parts = means.iter().zip(*squares);
        for ((variance, &mean), (part, squares)) in variance.iter_mut().zip(&mean).zip(parts) {
            let apart = part - mean;
            *variance += squares + n * apart * apart;
        }
    }
    variance.iter_mut().for_each(|variance| *variance /= rows);
    [mean, variance]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chains_of_sums_are_within_what_a_sum_is_allowed() {
        for rows in (1..70_000).chain([1 << 20, 1 << 24]) {
            let task = rows_a_task(rows).min(rows);
            let block = block(task, 1).min(task);
            let tasks = rows.div_ceil(task) - 1;
            let sums = block + task.div_ceil(block) - 1 + tasks;
            let moments = GROUP.min(task) + task / GROUP + task % GROUP - 1 + tasks;
            let most = 2.0 * (3.0 + (rows as f64).sqrt()).min(rows as f64);
            assert!(sums.max(moments) as f64 <= most, "{rows}: {sums}, {moments}");
        }
    }

    #[test]
    fn a_column_has_the_same_bits_whatever_stands_beside_it() {
        const COLUMNS: usize = LONG + 32 + 8 + 3;
        for rows in [0, 1, 63, 65, 700] {
            let x: Vec<f32> = (0..rows * COLUMNS).map(|i| (i * 7919 % 997) as f32 / 131.0).collect();
            let sums_of = |x: &[f32], columns: usize| {
                let [mean, variance] = moments(x, [rows, columns]);
                let [sum, squares] = sums([x, x], [&mean], [rows, columns], |[x, y], [m]| [x, (x - m) * y]);
                [mean, variance, sum, squares]
            };
            let all = sums_of(&x, COLUMNS);
            for column in 0..COLUMNS {
                let alone: Vec<f32> = x.chunks_exact(COLUMNS).map(|row| row[column]).collect();
                let bits = sums_of(&alone, 1).map(|of| of[0].to_bits());
                assert_eq!(all.each_ref().map(|of| of[column].to_bits()), bits, "{rows}: {column}");
            }
        }
    }
}
