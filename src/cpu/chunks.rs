//! Elementwise loops: compiled for the widest vectors that the machine has, in fixed chunks over all cores.

use rayon::prelude::*;

use super::awake;
use super::simd::Isa;
use crate::recycled;

/// Elements of a task: long enough to hide its start, short enough that a few operands stay in a core's cache.
pub(crate) const CHUNK: usize = 1 << 14;

/// Runs a loop compiled for the machine's vectors: all that it calls must be inlined into it.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    Isa::arch().dispatch(work)
}

/// Runs `work` on each piece of `out` of `length` elements, given where the piece begins; on the caller's thread where there is one piece.
/// `work` is compiled for the machine's vectors: all that it calls must be inlined into it, and what it captures should be values. Behind a
/// reference the compiler must expect each store to change them, and often gives up on vector code.
pub(super) fn pieces(out: &mut [f32], length: usize, work: impl Fn(usize, &mut [f32]) + Copy + Sync) {
    let one = |(i, piece): (usize, &mut [f32])| {
        vectorized(
            #[inline(always)]
            move || work(i * length, piece),
        );
    };
    if out.len() <= length {
        one((0, out));
    } else {
        awake::keep(out.len().div_ceil(length));
        out.par_chunks_mut(length).enumerate().for_each(one);
    }
}

/// f(x) for every element.
pub(super) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Copy + Sync) -> Vec<f32> {
    let mut out = recycled::numbers(x.len());
    pieces(
        &mut out,
        CHUNK,
        #[inline(always)]
        move |start, out| {
            for (out, &x) in out.iter_mut().zip(&x[start..]) {
                *out = f(x);
            }
        },
    );
    out
}

/// f(x, y) for every pair of elements.
///
/// # Panics
/// When the lengths differ.
pub(super) fn zip(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) -> Vec<f32> {
    assert_eq!(x.len(), y.len(), "an elementwise operation needs operands of one length");
    let mut out = recycled::numbers(x.len());
    pieces(
        &mut out,
        CHUNK,
        #[inline(always)]
        move |start, out| {
            for ((out, &x), &y) in out.iter_mut().zip(&x[start..]).zip(&y[start..]) {
                *out = f(x, y);
            }
        },
    );
    out
}

/// y = f(y) for every element.
pub(super) fn map_in_place(y: &mut [f32], f: impl Fn(f32) -> f32 + Copy + Sync) {
    pieces(
        y,
        CHUNK,
        #[inline(always)]
        move |_, y| {
            for y in y {
                *y = f(*y);
            }
        },
    );
}

/// y = f(x, y) for every pair of elements.
///
/// # Panics
/// When the lengths differ.
pub(super) fn zip_in_place(x: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
    assert_eq!(x.len(), y.len(), "an elementwise operation needs operands of one length");
    pieces(
        y,
        CHUNK,
        #[inline(always)]
        move |start, y| {
            for (y, &x) in y.iter_mut().zip(&x[start..]) {
                *y = f(x, *y);
            }
        },
    );
}
