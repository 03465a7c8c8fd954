//! What the operations between all pairs of rows share: shapes, inputs and checks.

use super::{Case, Effort, Op, Workload, split_variant, wrong_case};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::rng;
use crate::tensor::{DType, Tensor};
use crate::tolerance::{Tracked, Worst, compare, compare_exact};

/// Widest rows of pixels whose squared distances (at most 255² a feature) stay below 2³¹.
pub const MAX_PIXEL_FEATURES: usize = (i32::MAX / (255 * 255)) as usize;

/// [Q, D] and [T, D] as [Q, T, D].
pub(super) fn shape(op: &'static str, x: &Tensor, y: &Tensor) -> Result<[usize; 3]> {
    let refuse = |problem: String, hint: &str| Err(Error::shape(op, problem, hint));
    let (&[queries, features], &[rows, y_features]) = (x.shape(), y.shape()) else {
        return refuse(format!("shapes {:?} and {:?}", x.shape(), y.shape()), "pass two matrices of rows");
    };
    if features != y_features || features == 0 {
        return refuse(
            format!("rows of {features} and of {y_features} features"),
            "both sets need the same, non-zero number of features",
        );
    }
    if x.dtype() == DType::U8 && features > MAX_PIXEL_FEATURES {
        return refuse(
            format!("{features} pixels a row overflow 32-bit distances (at most {MAX_PIXEL_FEATURES})"),
            "convert the rows to real numbers",
        );
    }
    Ok([queries, rows, features])
}

/// Shapes of the table: nothing, one, edges of tiles of 8 to 128, features that are no multiple of 4 or 16.
pub(super) fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 3, 5],
        vec![3, 0, 5],
        vec![1, 1, 1],
        vec![1, 129, 3],
        vec![63, 64, 65],
        vec![65, 63, 16],
        vec![17, 131, 97],
        vec![33, 257, 784],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![100, 513, 3072], vec![1, 5000, 784], vec![70_000, 3, 2]]);
    }
    shapes
}

/// Rows have at least one feature.
pub(super) fn fit(shape: &mut [usize]) {
    shape[2] = shape[2].max(1);
}

/// One operation between pairs, as its check needs it.
pub(super) struct Pairs {
    /// The row of the table, for messages.
    pub op: &'static Op,
    /// Runs a form (`direct`, `expanded`, …) with a family of kernels.
    pub run: fn(&Tensor, &Tensor, &str, Option<&str>) -> Result<Tensor>,
    /// The definition over all pairs of rows of so many features, in a form.
    pub define: fn(&[Tracked], &[Tracked], usize, &str) -> Vec<Tracked>,
}

/// Seeded rows on a device, with their 64-bit values.
fn operands(pairs: &Pairs, device: &Device, case: &Case) -> Result<[(Tensor, Vec<f64>); 2]> {
    let &[queries, rows, features] = case.shape.as_slice() else { return Err(wrong_case(pairs.op, case)) };
    let pixels = case.form() == "u8";
    let mut rng = rng::seeded(case.seed);
    let mut make = |rows: usize| {
        if pixels {
            let bytes = rng::pixels(&mut rng, rows * features);
            Ok((Tensor::from_u8(device, &[rows, features], &bytes)?, widen(&bytes)))
        } else {
            let values = rng::reals(&mut rng, rows * features);
            Ok((Tensor::from_f64(device, &[rows, features], &values)?, values))
        }
    };
    Ok([make(queries)?, make(rows)?])
}

/// Bytes of queries × rows × features: pixels or reals, and a real for each pair.
pub(super) fn bytes(form: &str, shape: &[usize]) -> f64 {
    let element = if form == "u8" { 1 } else { 4 };
    (element * (shape[0] + shape[1]) * shape[2] + 4 * shape[0] * shape[1]) as f64
}

/// The operation on seeded rows.
pub(super) fn workload(pairs: &'static Pairs, device: &Device, case: &Case) -> Result<Workload> {
    let [(x, _), (y, _)] = operands(pairs, device, case)?;
    let variant = case.variant.clone();
    Ok(Box::new(move || {
        let (form, family) = split_variant(&variant);
        (pairs.run)(&x, &y, form, family).map(drop)
    }))
}

/// Compares pixels exactly, other rows within their bound.
pub(super) fn check(pairs: &Pairs, device: &Device, case: &Case) -> Result<Worst> {
    let [(x, wide_x), (y, wide_y)] = operands(pairs, device, case)?;
    let (form, family) = split_variant(&case.variant);
    let got = (pairs.run)(&x, &y, form, family)?.to_f64()?;
    let want = (pairs.define)(&Tracked::inputs(&wide_x), &Tracked::inputs(&wide_y), case.shape[2], form);
    if form != "u8" {
        return Ok(compare(&got, &want));
    }
    let want: Vec<f64> = want.into_iter().map(Tracked::value).collect();
    Ok(compare_exact(&got, &want))
}

/// Pixels as the numbers they are.
pub(super) fn widen(pixels: &[u8]) -> Vec<f64> {
    pixels.iter().copied().map(f64::from).collect()
}
