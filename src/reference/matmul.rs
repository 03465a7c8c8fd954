//! Matrix product.

use crate::tolerance::Bounded;

/// C = op(A)·op(B) for one matrix: cᵢⱼ = Σₚ aᵢₚ·bₚⱼ, with magnitudes Σₚ |aᵢₚ||bₚⱼ|.
///
/// `a` is m×k row-major (k×m when `a_transposed`), `b` is k×n (n×k when `b_transposed`); returns m×n.
pub fn matmul(
    a: &[f64],
    b: &[f64],
    [m, n, k]: [usize; 3],
    a_transposed: bool,
    b_transposed: bool,
) -> Vec<Bounded> {
    let mut c = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let mut sum = Bounded::plain(0.0);
            for p in 0..k {
                let a_ip = if a_transposed { a[p * m + i] } else { a[i * k + p] };
                let b_pj = if b_transposed { b[j * k + p] } else { b[p * n + j] };
                sum.value += a_ip * b_pj;
                sum.magnitude += (a_ip * b_pj).abs();
            }
            c.push(sum);
        }
    }
    c
}
