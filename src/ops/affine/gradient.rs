//! The gradients of a layer: of its input, and of its weights and bias in one launch.

use super::{NAME, columns_of_groups, product};
use crate::cpu::matmul::MatmulShape;
use crate::error::{Error, Result};
use crate::ops::matmul::gpu::{Epilogue, Finish, Terms, record_into, record_with};
use crate::ops::{same_device, wrong_dtypes};
use crate::profile::span;
use crate::reference::activation::Activation;
use crate::tensor::{DType, RealsMut, Storage, Tensor};
use crate::{cpu, reference};

/// (∂L/∂w, ∂L/∂b) of z = x·w + b from dz = ∂L/∂z: dw = xᵀ·dz and db = the sums of dz's columns, with `x` [N, D] and `dz` [N, C]; returns [D, C] and
/// \[C\]. Source: course notes, "Backpropagation", vectorised operations.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn affine_gradients(x: &Tensor, dz: &Tensor) -> Result<(Tensor, Tensor)> {
    gradients(x, dz, 1, None)
}

/// [`affine_gradients`] by a family of kernels.
pub(super) fn gradients(
    x: &Tensor,
    dz: &Tensor,
    groups: usize,
    family: Option<&str>,
) -> Result<(Tensor, Tensor)> {
    let [_, columns, depth] = shape_of(x, dz, groups)?;
    let device = x.device();
    let mut dw = Tensor::unwritten(&device, &[depth, groups * columns])?;
    let mut db = Tensor::unwritten(&device, &[groups * columns])?;
    write(x, dz, [dw.reals_mut(NAME)?, db.reals_mut(NAME)?], groups, family)?;
    Ok((dw, db))
}

/// [`affine_gradients`] to where there is room for them; of the layers of `groups` nets side by side, with `x` [N, groups·D], `dz`
/// [N, groups·C] and room for [D, groups·C] and [groups·C].
pub(crate) fn affine_gradients_into(
    x: &Tensor,
    dz: &Tensor,
    into: [RealsMut<'_>; 2],
    groups: usize,
) -> Result<()> {
    write(x, dz, into, groups, None)
}

fn write(
    x: &Tensor,
    dz: &Tensor,
    [dw, db]: [RealsMut<'_>; 2],
    groups: usize,
    family: Option<&str>,
) -> Result<()> {
    let _span = span("affine_gradients");
    let [rows, columns, depth] = shape_of(x, dz, groups)?;
    if [dw.len(), db.len()] != [depth * groups * columns, groups * columns] {
        let problem = format!(
            "room for {} and {} gradients of {depth} × {} weights",
            dw.len(),
            db.len(),
            groups * columns
        );
        return Err(Error::shape(NAME, problem, "pass room for a gradient of each weight and bias"));
    }
    let shape = MatmulShape { a_transposed: true, ..product([depth, columns, rows], groups) };
    match (x.storage(), dz.storage(), dw, db) {
        (Storage::F64(x), Storage::F64(dz), RealsMut::F64(dw), RealsMut::F64(db)) => {
            let (weights, bias) = reference::affine::gradients_grouped(x, dz, [rows, columns, depth], groups);
            dw.copy_from_slice(&weights);
            db.copy_from_slice(&bias);
        }
        (Storage::F32(x), Storage::F32(dz), RealsMut::F32(dw), RealsMut::F32(db)) => {
            cpu::affine::gradients(x, dz, dw, db, shape);
        }
        (
            Storage::Gpu(gpu, x, DType::Real),
            Storage::Gpu(_, dz, DType::Real),
            RealsMut::Gpu(_, dw),
            RealsMut::Gpu(_, db),
        ) => {
            let epilogue = Epilogue { side: Some(&db), ..Epilogue::NONE };
            record_into(gpu, family, x, dz, &dw, shape, &epilogue)?;
        }
        _ => return Err(wrong_dtypes(NAME, &[x, dz], "real tensors")),
    }
    Ok(())
}

/// ∂L/∂x of z = x·w + b from dz = ∂L/∂z: dx = dz·wᵀ, with `dz` [N, C] and `w` [D, C]; returns [N, D]. Where `x` = f(u), with f the nonlinearity in
/// `below`, it is ∂L/∂u = dx·f′(u) in the same pass, from x itself. Source: as [`affine_gradients`].
///
/// # Errors
/// As [`affine_gradients`].
pub fn affine_input_gradient(
    dz: &Tensor,
    w: &Tensor,
    below: Option<(&Tensor, Activation)>,
) -> Result<Tensor> {
    input_gradient(dz, w, below, 1, None)
}

/// [`affine_input_gradient`] of the layers of `groups` nets side by side, with `dz` [N, groups·C], `w` [D, groups·C] and x [N, groups·D].
///
/// # Errors
/// As [`affine_gradients`].
pub(crate) fn grouped_input_gradient(
    dz: &Tensor,
    w: &Tensor,
    below: Option<(&Tensor, Activation)>,
    groups: usize,
) -> Result<Tensor> {
    input_gradient(dz, w, below, groups, None)
}

/// [`affine_input_gradient`] by a family of kernels.
pub(super) fn input_gradient(
    dz: &Tensor,
    w: &Tensor,
    below: Option<(&Tensor, Activation)>,
    groups: usize,
    family: Option<&str>,
) -> Result<Tensor> {
    let _span = span("affine_input_gradient");
    let refuse =
        |problem: String| Err(Error::shape(NAME, problem, "pass dz as [N, C], w as [D, C] and x as [N, D]"));
    let (&[rows, columns], &[depth, w_columns]) = (dz.shape(), w.shape()) else {
        return refuse(format!("dz is {:?} and w is {:?}", dz.shape(), w.shape()));
    };
    if columns != w_columns || below.is_some_and(|(x, _)| x.shape() != [rows, groups * depth]) {
        let x = below.map(|(x, _)| x.shape());
        return refuse(format!("dz is {:?}, w is {:?} and x is {x:?}", dz.shape(), w.shape()));
    }
    same_device(NAME, dz, w)?;
    if let Some((x, _)) = below {
        same_device(NAME, dz, x)?;
    }
    let columns = columns_of_groups(columns, groups)?;
    let (size, shape) = ([rows, columns, depth], product([rows, depth, columns], groups));
    let shape = MatmulShape { b_transposed: true, ..shape };
    let below = below.map(|(x, f)| (x.storage(), f));
    let storage = match (dz.storage(), w.storage(), below) {
        (Storage::F64(dz), Storage::F64(w), None) => {
            Storage::F64(reference::affine::input_gradient_grouped(dz, w, None, size, groups).into())
        }
        (Storage::F64(dz), Storage::F64(w), Some((Storage::F64(x), f))) => {
            let below = Some((&x[..], f));
            Storage::F64(reference::affine::input_gradient_grouped(dz, w, below, size, groups).into())
        }
        (Storage::F32(dz), Storage::F32(w), None) => {
            Storage::F32(cpu::affine::input_gradient(dz, w, None, shape).into())
        }
        (Storage::F32(dz), Storage::F32(w), Some((Storage::F32(x), f))) => {
            Storage::F32(cpu::affine::input_gradient(dz, w, Some((x, f)), shape).into())
        }
        (
            Storage::Gpu(gpu, dz, DType::Real),
            Storage::Gpu(_, w, DType::Real),
            below @ (None | Some((Storage::Gpu(_, _, DType::Real), _))),
        ) => {
            let terms = match below {
                Some((Storage::Gpu(_, y, _), activation)) => Terms::Slopes { y, activation },
                _ => Terms::None,
            };
            let epilogue = Epilogue { alpha: 1.0, terms, finish: Finish::Plain, side: None };
            let out = record_with(gpu, family, dz, w, shape, &epilogue)?;
            Storage::Gpu(gpu.clone(), out, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[dz, w], "real tensors")),
    };
    Ok(Tensor::from_storage(vec![rows, groups * depth], storage))
}

/// Rows, and of each group columns and depth, of operands that fit and share a device.
fn shape_of(x: &Tensor, dz: &Tensor, groups: usize) -> Result<[usize; 3]> {
    match (x.shape(), dz.shape()) {
        (&[rows, depth], &[dz_rows, columns]) if rows == dz_rows => {
            same_device(NAME, x, dz)?;
            Ok([rows, columns_of_groups(columns, groups)?, columns_of_groups(depth, groups)?])
        }
        (x, dz) => {
            let problem = format!("x is {x:?} and dz is {dz:?}");
            Err(Error::shape(NAME, problem, "pass x as [N, D] and dz as [N, C]"))
        }
    }
}
