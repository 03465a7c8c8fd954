//! Sums of absolute differences of every query to every row, as a full matrix.

use super::nearest::{ByteForm, ByteQueries, FloatQueries};
use super::simd::Isa;

/// Σ|q − r| of u8 rows, exact; queries × rows, row-major.
///
/// Both sides hold rows of `features` values, from 1 to [`MAX_BYTE_FEATURES`](super::nearest::MAX_BYTE_FEATURES).
pub fn bytes(queries: &[u8], rows: &[u8], features: usize) -> Vec<u32> {
    bytes_with(Isa::best(), queries, rows, features)
}

/// [`bytes`] with the given instruction set.
pub fn bytes_with(isa: Isa, queries: &[u8], rows: &[u8], features: usize) -> Vec<u32> {
    let queries = ByteQueries::with_isa(isa, queries, features, ByteForm::L1);
    queries.over(rows, &[], 0, |operands| operands.matrix(i32::cast_unsigned))
}

/// Σ|q − r| of f32 rows; queries × rows, row-major.
///
/// Both sides hold rows of `features` (at least 1) values. Any term passes through at most
/// [`roundings`](super::nearest::roundings)`(features)` + 1 roundings.
pub fn floats(queries: &[f32], rows: &[f32], features: usize) -> Vec<f32> {
    floats_with(Isa::best(), queries, rows, features)
}

/// [`floats`] with the given instruction set.
pub fn floats_with(isa: Isa, queries: &[f32], rows: &[f32], features: usize) -> Vec<f32> {
    let queries = FloatQueries::with_isa(isa, queries, features);
    queries.over(rows, |isa| &isa.kernels().float_l1, |_| 0.0).matrix(|key| key)
}
