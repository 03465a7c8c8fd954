//! A layer on the CPU: the matrix product, then bias and nonlinearity in one sweep.

use super::activation;
use super::chunks::{CHUNK, map_in_place, pieces};
use super::columns;
use super::math;
use super::matmul::{MatmulShape, matmul};
use crate::recycled;
use crate::reference::activation::Activation;

/// f(x·w + bias) into `out`; `shape` is that of the product: one, or several side by side, whose biases lie so too. NaN stays NaN.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn affine(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    shape: MatmulShape,
    activation: Option<Activation>,
) {
    matmul(x, w, out, shape);
    let columns = shape.batch * shape.n;
    match activation {
        None if bias.is_none() => {}
        None => finish(out, columns, bias, |z| z),
        // Written so that a NaN, which is not at most 0, passes.
        Some(Activation::Relu) => finish(out, columns, bias, |z| if z <= 0.0 { 0.0 } else { z }),
        Some(Activation::LeakyRelu(slope)) => {
            finish(out, columns, bias, move |z| if z < 0.0 { slope * z } else { z })
        }
        Some(Activation::Sigmoid) => finish(out, columns, bias, math::sigmoid),
        Some(Activation::Tanh) => finish(out, columns, bias, math::tanh),
    }
}

/// z = f(z + bias) in place, whole rows at a time.
fn finish(z: &mut [f32], columns: usize, bias: Option<&[f32]>, f: impl Fn(f32) -> f32 + Copy + Sync) {
    let Some(bias) = bias else { return map_in_place(z, f) };
    assert_eq!(bias.len(), columns, "affine: a bias for each column");
    let rows = (CHUNK / columns.max(1)).max(1);
    pieces(
        z,
        rows * columns.max(1),
        #[inline(always)]
        move |_, z| {
            for row in z.chunks_exact_mut(bias.len().max(1)) {
                for (z, bias) in row.iter_mut().zip(bias) {
                    *z = f(*z + bias);
                }
            }
        },
    );
}

/// xᵀ·dz into `dw` and the sums of dz's columns into `db`; `shape` is that of the product. Neither depends on what else is beside a column.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn gradients(x: &[f32], dz: &[f32], dw: &mut [f32], db: &mut [f32], shape: MatmulShape) {
    matmul(x, dz, dw, shape);
    let [sums] = columns::sums(
        [dz],
        [],
        [shape.k, db.len()],
        #[inline(always)]
        |[dz], []| [dz],
    );
    db.copy_from_slice(&sums);
}

/// dz·wᵀ, times f′ in place where the input was `x` = f(u); `shape` is that of the product.
///
/// # Panics
/// When a slice's length differs from the shape's.
pub fn input_gradient(
    dz: &[f32],
    w: &[f32],
    below: Option<(&[f32], Activation)>,
    shape: MatmulShape,
) -> Vec<f32> {
    let mut dx = recycled::numbers(shape.batch * shape.m * shape.n);
    matmul(dz, w, &mut dx, shape);
    if let Some((x, f)) = below {
        activation::backward_in_place(&mut dx, x, f);
    }
    dx
}
