//! Matrix product.

use crate::tolerance::Real;

/// C = op(A)·op(B) for one matrix: cᵢⱼ = Σₚ aᵢₚ·bₚⱼ.
///
/// `a` is m×k row-major (k×m when `a_transposed`), `b` is k×n (n×k when `b_transposed`); returns m×n.
pub fn matmul<T: Real>(
    a: &[T],
    b: &[T],
    [m, n, k]: [usize; 3],
    a_transposed: bool,
    b_transposed: bool,
) -> Vec<T> {
    let a_at = |i: usize, p: usize| if a_transposed { a[p * m + i] } else { a[i * k + p] };
    let b_at = |p: usize, j: usize| if b_transposed { b[j * k + p] } else { b[p * n + j] };
    let mut c = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            c.push((0..k).map(|p| a_at(i, p) * b_at(p, j)).sum());
        }
    }
    c
}
