//! Elementwise loops: compiled for the widest vectors that the machine has, in fixed chunks over all cores.

use rayon::prelude::*;

/// Elements of a task: long enough to hide its start, short enough that a few operands stay in a core's cache.
pub(crate) const CHUNK: usize = 1 << 14;

/// Runs a loop compiled for the machine's vectors: all that it calls must be inlined into it.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// f(x) for every element.
pub(super) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f(x);
                }
            },
        );
    });
    out
}

/// f(x, y) for every pair of elements.
///
/// # Panics
/// When the lengths differ.
pub(super) fn zip(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    assert_eq!(x.len(), y.len(), "an elementwise operation needs operands of one length");
    let mut out = vec![0.0; x.len()];
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK));
    chunks.for_each(|((out, x), y)| {
        vectorized(
            #[inline(always)]
            || {
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = f(x, y);
                }
            },
        );
    });
    out
}
