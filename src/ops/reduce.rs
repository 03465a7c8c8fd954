//! Sums, maxima, positions of maxima and moments along the rows or the columns of a matrix.

mod gpu;

use super::inputs::{Input, level_column, level_row, worst, worst_exact};
use super::{Case, Effort, Op, rowwise, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

pub use crate::reference::reduce::Axis;

const NAME: &str = "reduce";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "sum, maximum, its position, mean and variance along the rows or the columns",
    dimensions: &["rows", "columns"],
    tolerance: "exact, sums and moments bounded",
    shaders: gpu::shaders,
    flops: |_, s| (s[0] * s[1]) as f64,
    bytes: |_, s| 4.0 * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, FORMS, rowwise::families),
    shapes,
    fit: |shape| shape.iter_mut().for_each(|n| *n = (*n).max(1)),
    timed: &[&[4096, 1024], &[50_000, 10]],
    workload: |device, case| {
        let (x, variant, (axis, kind)) = (operand(device, case)?, case.variant.clone(), form(case)?);
        Ok(Box::new(move || run(&x.tensor, axis, kind, split_variant(&variant).1).map(drop)))
    },
    check,
};

/// What is made of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Moments,
    Max,
    Argmax,
}

/// Σ x along the rows or the columns of `x` [N, D]: \[N\] or \[D\]. A sum of nothing is 0. Gradient: dout of its line for every element.
///
/// # Errors
/// [`Error::Shape`] when `x` is no real matrix; [`Error::Device`] when the device fails.
pub fn sum(x: &Tensor, axis: Axis) -> Result<Tensor> {
    let _span = span("reduce sum");
    run(x, axis, Kind::Sum, None).map(|(sum, _)| sum)
}

/// The maximum of each row or column of `x` [N, D]: \[N\] or \[D\]. NaN where there is one, as `np.max`. Gradient: dout of its line for the
/// element at [`argmax`], 0 for others.
///
/// # Errors
/// [`Error::Shape`] when `x` is no real matrix, or a line is empty; [`Error::Device`] when the device fails.
pub fn max(x: &Tensor, axis: Axis) -> Result<Tensor> {
    let _span = span("reduce max");
    run(x, axis, Kind::Max, None).map(|(max, _)| max)
}

/// Where each row or column of `x` [N, D] has its first maximum: integers, \[N\] or \[D\]. A NaN is the maximum, and the first one counts, as
/// in `np.argmax`.
///
/// # Errors
/// [`Error::Shape`] when `x` is no real matrix, or a line is empty; [`Error::Device`] when the device fails.
pub fn argmax(x: &Tensor, axis: Axis) -> Result<Tensor> {
    let _span = span("reduce argmax");
    run(x, axis, Kind::Argmax, None).map(|(at, _)| at)
}

/// The mean μ and the biased variance Σ(x − μ)²/n of each row or column of `x` [N, D]: \[N\] or \[D\] each. In two passes, because
/// E\[x²\] − μ² cancels. Gradient: ∂μ/∂x = 1/n, ∂σ²/∂x = 2(x − μ)/n.
///
/// # Errors
/// [`Error::Shape`] when `x` is no real matrix, or a line is empty; [`Error::Device`] when the device fails.
pub fn moments(x: &Tensor, axis: Axis) -> Result<(Tensor, Tensor)> {
    let _span = span("reduce moments");
    let (mean, Some(variance)) = run(x, axis, Kind::Moments, None)? else { unreachable!("moments are two") };
    Ok((mean, variance))
}

/// The result, and for moments the second; `family` names the kernels, `None` leaves the choice to the device.
fn run(x: &Tensor, axis: Axis, kind: Kind, family: Option<&str>) -> Result<(Tensor, Option<Tensor>)> {
    let &[rows, columns] = x.shape() else {
        return Err(Error::shape(NAME, format!("shape {:?}", x.shape()), "pass a matrix"));
    };
    let shape = [rows, columns];
    let [lines, length] = axis.lines(shape);
    if length == 0 && kind != Kind::Sum {
        let what = if axis == Axis::Rows { "rows without columns" } else { "columns without rows" };
        return Err(Error::shape(
            NAME,
            format!("{what} have no maximum and no mean"),
            "only their sum is defined, 0",
        ));
    }
    let (first, second) = match (x.storage(), kind) {
        (Storage::F64(x), Kind::Sum) => (Storage::F64(reference::reduce::sum(x, shape, axis).into()), None),
        (Storage::F64(x), Kind::Max) => (Storage::F64(reference::reduce::max(x, shape, axis).into()), None),
        (Storage::F64(x), Kind::Argmax) => {
            (Storage::U32(reference::reduce::argmax(x, shape, axis).into(), true), None)
        }
        (Storage::F64(x), Kind::Moments) => {
            let (mean, variance) = reference::reduce::moments(x, shape, axis);
            (Storage::F64(mean.into()), Some(Storage::F64(variance.into())))
        }
        (Storage::F32(x), Kind::Sum) => (Storage::F32(cpu::reduce::sum(x, shape, axis).into()), None),
        (Storage::F32(x), Kind::Max) => (Storage::F32(cpu::reduce::max(x, shape, axis).into()), None),
        (Storage::F32(x), Kind::Argmax) => {
            (Storage::U32(cpu::reduce::argmax(x, shape, axis).into(), false), None)
        }
        (Storage::F32(x), Kind::Moments) => {
            let (mean, variance) = cpu::reduce::moments(x, shape, axis);
            (Storage::F32(mean.into()), Some(Storage::F32(variance.into())))
        }
        (Storage::Gpu(gpu, x, DType::Real), _) => {
            let [first, second] = gpu::record(gpu, family, x, shape, axis, kind)?;
            let dtype = if kind == Kind::Argmax { DType::U32 } else { DType::Real };
            let second = (kind == Kind::Moments).then(|| Storage::Gpu(gpu.clone(), second, DType::Real));
            (Storage::Gpu(gpu.clone(), first, dtype), second)
        }
        _ => return Err(wrong_dtypes(NAME, &[x], "a real tensor")),
    };
    let tensor = |storage| Tensor::from_storage(vec![lines], storage);
    Ok((tensor(first), second.map(tensor)))
}

const FORMS: &[&str] = &[
    "rows_sum",
    "rows_max",
    "rows_argmax",
    "rows_moments",
    "columns_sum",
    "columns_max",
    "columns_argmax",
    "columns_moments",
];

fn form(case: &Case) -> Result<(Axis, Kind)> {
    let (axis, kind) = case.form().split_once('_').ok_or_else(|| wrong_case(&OP, case))?;
    let axis = if axis == "rows" { Axis::Rows } else { Axis::Columns };
    let kind = match kind {
        "sum" => Kind::Sum,
        "max" => Kind::Max,
        "argmax" => Kind::Argmax,
        "moments" => Kind::Moments,
        _ => return Err(wrong_case(&OP, case)),
    };
    Ok((axis, kind))
}

/// Beside the shapes of rows, matrices so tall or wide that lines are cut into chunks.
fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = rowwise::shapes(Effort::Quick);
    shapes.extend([vec![5, 0], vec![257, 65], vec![1031, 7], vec![1025, 4], vec![5000, 3]]);
    if effort == Effort::Full {
        shapes.extend([vec![5003, 12], vec![20_000, 1], vec![1, 66_001], vec![130, 1101]]);
    }
    shapes
}

/// Numbers off the middle, the first row and column level; in steps of an eighth for maxima, so that there are ties.
fn operand(device: &Device, case: &Case) -> Result<Input> {
    let shape = rowwise::shape_of(&OP, case)?;
    let mut values = rng::reals(&mut rng::seeded(case.seed), shape[0] * shape[1]);
    for value in &mut values {
        *value = match form(case)?.1 {
            Kind::Max | Kind::Argmax => (*value * 8.0).round() / 8.0,
            Kind::Sum | Kind::Moments => f64::from((*value * 3.0 + 1.0) as f32),
        };
    }
    if matches!(form(case)?.1, Kind::Sum | Kind::Moments) {
        level_row(&mut values, shape[1]);
        level_column(&mut values, shape[1]);
    }
    Input::of(device, &shape, &values)
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (x, shape) = (operand(device, case)?, rowwise::shape_of(&OP, case)?);
    let (axis, kind) = form(case)?;
    let got = run(&x.tensor, axis, kind, split_variant(&case.variant).1);
    if axis.lines(shape)[1] == 0 && kind != Kind::Sum {
        // Refused: there is nothing to compare.
        return got.err().map_or_else(|| Err(wrong_case(&OP, case)), |_| Ok(Worst::NONE));
    }
    let (first, second) = got?;
    match (kind, second) {
        (Kind::Argmax, _) => {
            let want = reference::reduce::argmax(&x.tracked, shape, axis);
            worst_exact(&first, &want.into_iter().map(f64::from).collect::<Vec<_>>())
        }
        (_, Some(second)) => {
            let (mean, variance) = reference::reduce::moments(&x.tracked, shape, axis);
            worst(&[(&first, mean), (&second, variance)])
        }
        (Kind::Sum, _) => worst(&[(&first, reference::reduce::sum(&x.tracked, shape, axis))]),
        _ => worst(&[(&first, reference::reduce::max(&x.tracked, shape, axis))]),
    }
}
