//! Sums, products and maxima of elements on the CPU, one sweep each.

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, map, vectorized, zip, zip_in_place};
use crate::recycled;
use crate::reference::elementwise::Pair;

/// f(a, b) for every pair of elements; NaN where either is.
///
/// # Panics
/// When the lengths differ.
pub fn pair(a: &[f32], b: &[f32], pair: Pair) -> Vec<f32> {
    match pair {
        Pair::Add => zip(a, b, |a, b| a + b),
        Pair::Mul => zip(a, b, |a, b| a * b),
        Pair::Maxout => zip(a, b, |a, b| if b > a || b.is_nan() { b } else { a }),
    }
}

/// αx for every element.
pub fn scale(alpha: f32, x: &[f32]) -> Vec<f32> {
    map(x, move |x| alpha * x)
}

/// y = y + αx for every element.
///
/// # Panics
/// When the lengths differ.
pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    zip_in_place(x, y, move |x, y| y + alpha * x);
}

/// The gradients of max(a, b) with respect to a and to b: `dout` where that operand was taken, else 0.
///
/// # Panics
/// When the lengths differ.
pub fn maxout_backward(dout: &[f32], a: &[f32], b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(dout.len() == a.len() && a.len() == b.len(), "maxout_backward: lengths");
    let [mut da, mut db] = [(); 2].map(|()| recycled::numbers(a.len()));
    awake::keep(a.len().div_ceil(CHUNK));
    let outputs = da.par_chunks_mut(CHUNK).zip(db.par_chunks_mut(CHUNK));
    let inputs = dout.par_chunks(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
    outputs.zip(inputs).for_each(|((da, db), ((dout, a), b))| {
        vectorized(
            #[inline(always)]
            || {
                let outputs = da.iter_mut().zip(db);
                for ((da, db), ((&dout, &a), &b)) in outputs.zip(dout.iter().zip(a).zip(b)) {
                    (*da, *db) = if b > a { (0.0, dout) } else { (dout, 0.0) };
                }
            },
        );
    });
    (da, db)
}
