//! Column by column work on a row-major matrix: tasks take strips of neighbouring columns and go down all rows, several times while
//! the strip is in cache. Every column has sums of its own, so no result depends on how the strips fall or on the threads.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::chunks::{CHUNK, vectorized};
use crate::tolerance::block;

/// Work on a strip of `W` columns from `first` on. Must be inlined into the loop that is compiled for the machine's vectors.
pub(super) trait Strip: Sync {
    /// Does it.
    fn run<const W: usize>(&self, first: usize);
}

/// Runs over all columns in strips of 32 (two cache lines, and as many accumulators as stay in registers), and narrower ones at the end.
pub(super) fn over_strips(rows: usize, columns: usize, strip: &impl Strip) {
    let (wide, rest) = (columns / 32, columns % 32);
    let (middle, single) = (rest / 8, rest % 8);
    let least = CHUNK.div_ceil(32 * rows.max(1));
    (0..wide + middle + single).into_par_iter().with_min_len(least).for_each(|task| {
        vectorized(
            #[inline(always)]
            || match task.checked_sub(wide) {
                None => strip.run::<32>(32 * task),
                Some(task) if task < middle => strip.run::<8>(32 * wide + 8 * task),
                Some(task) => strip.run::<1>(32 * wide + 8 * middle + task - middle),
            },
        );
    });
}

/// `W` columns of a matrix from `first` on, row by row, in memory of their own: in place, rows whose width is a power of two would drive one
/// another out of the cache before they are read again.
#[inline(always)]
pub(super) fn copied<const W: usize>(matrix: &[f32], columns: usize, first: usize) -> Vec<[f32; W]> {
    let mut copy = vec![[0.0; W]; matrix.len() / columns];
    // A loop, not `collect`: what is not inlined here is compiled without the machine's vectors.
    for (copy, row) in copy.iter_mut().zip(matrix.chunks_exact(columns)) {
        copy.copy_from_slice(&row[first..first + W]);
    }
    copy
}

/// Σ of each column, in blocks whose error is within what a sum is allowed. A column's sum has the same bits whatever stands beside it.
///
/// # Panics
/// When `out` is not as wide as the matrix.
pub(super) fn sums(x: &[f32], rows: usize, out: &mut [f32]) {
    struct Sums<'a> {
        x: &'a [f32],
        columns: usize,
        block: usize,
        out: Columns<'a>,
    }
    impl Strip for Sums<'_> {
        #[inline(always)]
        fn run<const W: usize>(&self, first: usize) {
            let mut total = [0.0; W];
            for rows in self.x.chunks(self.block * self.columns) {
                let mut sum = [0.0; W];
                for row in rows.chunks_exact(self.columns) {
                    let row = part::<W>(row, first);
                    (0..W).for_each(|i| sum[i] += row[i]);
                }
                (0..W).for_each(|i| total[i] += sum[i]);
            }
            // SAFETY: strips share no columns.
            unsafe { self.out.set(0, first, total) };
        }
    }
    let columns = out.len();
    over_strips(
        rows,
        columns,
        &Sums { x, columns, block: block(rows, 1), out: Columns::new(out, 1, columns) },
    );
}

/// `W` values from `first` on.
#[inline(always)]
pub(super) fn part<const W: usize>(row: &[f32], first: usize) -> [f32; W] {
    let mut part = [0.0; W];
    part.copy_from_slice(&row[first..first + W]);
    part
}

/// A matrix that is written strip by strip from several tasks.
pub(super) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable borrow of plain numbers, and `set` is where its callers promise not to share any of them.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Borrows `rows` rows of `columns` values.
    ///
    /// # Panics
    /// When the slice is not that long.
    pub(super) fn new(matrix: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(matrix.len(), rows * columns, "a matrix of {rows} × {columns}");
        Self { start: matrix.as_mut_ptr(), rows, columns, borrowed: PhantomData }
    }

    /// Writes `values` into row `row` from column `first` on.
    ///
    /// # Safety
    /// No other task may write these columns at the same time.
    ///
    /// # Panics
    /// When they lie outside the matrix.
    #[inline(always)]
    pub(super) unsafe fn set<const W: usize>(&self, row: usize, first: usize, values: [f32; W]) {
        assert!(row < self.rows && first + W <= self.columns, "a strip inside the matrix");
        // SAFETY: inside the borrowed slice as asserted, and nobody else's as promised. Arrays of floats are aligned as floats.
        unsafe { self.start.add(row * self.columns + first).cast::<[f32; W]>().write(values) };
    }
}
