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

/// [`affine`] of `groups` layers side by side: group g has the g-th `depth` columns of x, the g-th `columns` of w, bias and y.
pub fn affine_grouped<T: Real>(
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    shape @ [rows, columns, depth]: [usize; 3],
    activation: Option<Activation>,
    groups: usize,
) -> Vec<T> {
    let one = |g: usize| {
        let (x, w) = (group(x, rows, groups, g), group(w, depth, groups, g));
        affine(&x, &w, bias.map(|bias| &bias[g * columns..][..columns]), shape, activation)
    };
    side_by_side(&(0..groups).map(one).collect::<Vec<_>>(), rows)
}

/// [`gradients`] of `groups` layers side by side.
pub fn gradients_grouped<T: Real>(
    x: &[T],
    dz: &[T],
    shape @ [rows, _, depth]: [usize; 3],
    groups: usize,
) -> (Vec<T>, Vec<T>) {
    let one = |g: usize| gradients(&group(x, rows, groups, g), &group(dz, rows, groups, g), shape);
    let (dw, db): (Vec<_>, Vec<_>) = (0..groups).map(one).unzip();
    (side_by_side(&dw, depth), db.concat())
}

/// [`input_gradient`] of `groups` layers side by side.
pub fn input_gradient_grouped<T: Real>(
    dz: &[T],
    w: &[T],
    below: Option<(&[T], Activation)>,
    shape @ [rows, _, depth]: [usize; 3],
    groups: usize,
) -> Vec<T> {
    let one = |g: usize| {
        let (dz, w) = (group(dz, rows, groups, g), group(w, depth, groups, g));
        let below = below.map(|(x, f)| (group(x, rows, groups, g), f));
        input_gradient(&dz, &w, below.as_ref().map(|(x, f)| (x.as_slice(), *f)), shape)
    };
    side_by_side(&(0..groups).map(one).collect::<Vec<_>>(), rows)
}

/// The columns of group `g` in a matrix of so many rows.
fn group<T: Real>(matrix: &[T], rows: usize, groups: usize, g: usize) -> Vec<T> {
    let width = matrix.len() / rows.max(1) / groups;
    (0..rows).flat_map(|row| &matrix[(row * groups + g) * width..][..width]).copied().collect()
}

/// Matrices of so many rows as the columns of one.
fn side_by_side<T: Real>(parts: &[Vec<T>], rows: usize) -> Vec<T> {
    let row = |part: &'_ Vec<T>, row: usize| {
        let width = part.len() / rows.max(1);
        part[row * width..][..width].to_vec()
    };
    (0..rows).flat_map(|i| parts.iter().flat_map(move |part| row(part, i))).collect()
}
