//! A layer: an affine map and a nonlinearity (course notes, "Neural networks", forward pass in matrix form).

use super::activation::{self, Activation};
use super::matmul;
use crate::tolerance::Real;

/// yᵢⱼ = f(Σₚ xᵢₚ·wₚⱼ + bⱼ), without `bias` the plain product, without `activation` f(z) = z.
///
/// `x` is rows×depth, `w` depth×columns, `bias` has a value for each column; returns rows×columns.
pub fn affine<T: Real>(
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    [rows, columns, depth]: [usize; 3],
    activation: Option<Activation>,
) -> Vec<T> {
    let mut z = matmul::matmul(x, w, [rows, columns, depth], false, false);
    if let Some(bias) = bias {
        for (i, z) in z.iter_mut().enumerate() {
            *z = *z + bias[i % columns];
        }
    }
    match activation {
        Some(f) => activation::forward(&z, f),
        None => z,
    }
}
