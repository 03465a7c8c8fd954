//! Squared Euclidean distances of every query to every row, as a full matrix.

use rayon::prelude::*;

use super::matmul::{MatmulShape, matmul};
use super::nearest::{ByteForm, ByteQueries, FloatQueries, byte_stats};
use super::simd::Isa;

/// Σ(q − r)² of u8 rows, exact; queries × rows, row-major.
///
/// Both sides hold rows of `features` values, from 1 to [`MAX_BYTE_FEATURES`](super::nearest::MAX_BYTE_FEATURES).
pub fn bytes(queries: &[u8], rows: &[u8], features: usize) -> Vec<u32> {
    bytes_with(Isa::best(), queries, rows, features)
}

/// [`bytes`] with the given instruction set.
pub fn bytes_with(isa: Isa, queries: &[u8], rows: &[u8], features: usize) -> Vec<u32> {
    let queries = ByteQueries::with_isa(isa, queries, features, ByteForm::SqEuclidean);
    queries.over(rows, &byte_stats(rows, features), 0, |operands| operands.matrix(i32::cast_unsigned))
}

/// Σ(q − r)² of f32 rows, summed as it is written: no cancellation, however close the rows; queries × rows,
/// row-major.
///
/// Both sides hold rows of `features` (at least 1) values. Any term passes through at most
/// [`roundings`](super::nearest::roundings)`(features) + 2` roundings.
pub fn direct(queries: &[f32], rows: &[f32], features: usize) -> Vec<f32> {
    direct_with(Isa::best(), queries, rows, features)
}

/// [`direct`] with the given instruction set.
pub fn direct_with(isa: Isa, queries: &[f32], rows: &[f32], features: usize) -> Vec<f32> {
    let queries = FloatQueries::with_isa(isa, queries, features);
    queries.over(rows, |isa| &isa.kernels().float_squares, |_| 0.0).matrix(|key| key)
}

/// |q|² + |r|² − 2·q·r of f32 rows, by one matrix product; queries × rows, row-major, never below 0.
///
/// About twice as fast as [`direct`], with an error relative to the norms rather than to the distance: close pairs
/// lose all digits. Both sides hold rows of `features` (at least 1) values.
pub fn expanded(queries: &[f32], rows: &[f32], features: usize) -> Vec<f32> {
    debug_assert!(queries.len().is_multiple_of(features) && rows.len().is_multiple_of(features));
    let (m, n) = (queries.len() / features, rows.len() / features);
    let (query_norms, row_norms) = (norms(queries, features), norms(rows, features));
    let mut matrix = vec![0.0f32; m * n];
    let shape = MatmulShape { b_transposed: true, ..MatmulShape::of([m, n, features]) };
    matmul(queries, rows, &mut matrix, shape);
    if n > 0 {
        matrix.par_chunks_exact_mut(n).zip(query_norms).for_each(|(row, query)| {
            for (value, norm) in row.iter_mut().zip(&row_norms) {
                *value = (query + norm - 2.0 * *value).max(0.0);
            }
        });
    }
    matrix
}

/// |r|² of each row, rounded once.
fn norms(rows: &[f32], features: usize) -> Vec<f32> {
    let square = |&x: &f32| f64::from(x) * f64::from(x);
    rows.par_chunks_exact(features)
        .with_min_len(16)
        .map(|row| row.iter().map(square).sum::<f64>() as f32)
        .collect()
}
