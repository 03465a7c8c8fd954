//! Data standardisation on the CPU: one sweep that also gathers and widens.

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, vectorized};
use crate::recycled;

/// (x − shift)·scale for the rows of x [N, D] that `rows` names, or for all; pixels or floats.
///
/// # Panics
/// When x has no row of that number, or the lengths do not fit.
pub fn standardize<X: Copy + Into<f32> + Sync>(
    x: &[X],
    shift: &[f32],
    scale: &[f32],
    rows: Option<&[u32]>,
) -> Vec<f32> {
    let columns = shift.len();
    let Some(all) = x.len().checked_div(columns) else { return Vec::new() };
    let mut out = recycled::numbers(rows.map_or(all, <[u32]>::len) * columns);
    let task = CHUNK.div_ceil(columns);
    awake::keep(out.len().div_ceil(task * columns));
    out.par_chunks_mut(task * columns).enumerate().for_each(|(i, out)| {
        vectorized(
            #[inline(always)]
            || {
                for (row, out) in (i * task..).zip(out.chunks_exact_mut(columns)) {
                    let row = rows.map_or(row, |rows| rows[row] as usize);
                    let features = shift.iter().zip(scale);
                    for ((out, &x), (&shift, &scale)) in out.iter_mut().zip(&x[row * columns..]).zip(features)
                    {
                        *out = (x.into() - shift) * scale;
                    }
                }
            },
        );
    });
    out
}
