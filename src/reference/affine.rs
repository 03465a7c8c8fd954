//! A layer: an affine map and a nonlinearity (course notes, "Neural networks", forward pass in matrix form).

use super::activation::{self, Activation};
use super::matmul;
use super::reduce::{self, Axis};
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

/// (∂L/∂w, ∂L/∂b) from dz = ∂L/∂z of z = x·w + b: xᵀ·dz and the sums of dz's columns (course notes, "Backpropagation").
///
/// `x` is rows×depth and `dz` rows×columns; returns depth×columns and a value for each column.
pub fn gradients<T: Real>(x: &[T], dz: &[T], [rows, columns, depth]: [usize; 3]) -> (Vec<T>, Vec<T>) {
    let dw = matmul::matmul(x, dz, [depth, columns, rows], true, false);
    (dw, reduce::sum(dz, [rows, columns], Axis::Columns))
}

/// ∂L/∂x = dz·wᵀ, times f′ where x = f(u) for the pair in `below`, which makes it ∂L/∂u.
///
/// `dz` is rows×columns, `w` depth×columns and x rows×depth; returns rows×depth.
pub fn input_gradient<T: Real>(
    dz: &[T],
    w: &[T],
    below: Option<(&[T], Activation)>,
    [rows, columns, depth]: [usize; 3],
) -> Vec<T> {
    let dx = matmul::matmul(dz, w, [rows, depth, columns], false, true);
    match below {
        Some((x, f)) => activation::backward(&dx, x, f),
        None => dx,
    }
}
