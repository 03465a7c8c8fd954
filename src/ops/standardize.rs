//! Data standardisation: (x − shift)·scale, feature by feature, for all rows or a choice of them.

mod gpu;

use std::ops::Range;

use super::features::{matrix, shaped};
use super::inputs::{Input, worst, worst_exact};
use super::take::{Positions, take};
use super::{BOUNDED, Case, Effort, Op, same_device, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Tracked, Worst};
use crate::{cpu, reference};

const NAME: &str = "standardize";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "(x − shift)·scale for each feature of real or u8 rows, all of them or those picked: a batch from resident data",
    dimensions: &["rows", "columns", "picked"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |form, s| 2.0 * (rows_of(form, s) * s[1]) as f64,
    bytes: |form, s| if form.starts_with("u8") { 5.0 } else { 8.0 } * (rows_of(form, s) * s[1]) as f64,
    variants: |device| variants_of(device, FORMS, gpu::families),
    shapes,
    // Without rows there is nothing to pick.
    fit: |shape| shape[2] *= shape[0].min(1),
    timed: &[&[10_000, 784, 256], &[2_000, 3_072, 2_000]],
    workload: |device, case| {
        let (operands, variant) = (operands(device, case)?, case.variant.clone());
        Ok(Box::new(move || operands.run(split_variant(&variant).1).map(drop)))
    },
    check,
};

/// outᵢⱼ = (xᵣⱼ − shiftⱼ)·scaleⱼ for `x` [N, D], real or u8, and `shift`, `scale` \[D\]; r is the i-th of the `rows` (M of them), or i without `rows`.
/// Returns real [M or N, D].
///
/// One sweep makes a training batch of resident u8 data. Gradient: dout·scale, where x is real and all rows are taken. Source: course
/// notes, "Data preprocessing".
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ, or a row number on the host is not below N; on an adapter such a row becomes NaN.
/// [`Error::Device`] when the device fails.
pub fn standardize(
    x: &Tensor,
    shift: &Tensor,
    scale: &Tensor,
    rows: Option<&Positions<'_>>,
) -> Result<Tensor> {
    let _span = span("standardize");
    run(x, shift, scale, rows, None)
}

/// A training batch of resident rows, in one launch: [`standardize`] of the `rows` picked, [M, D], and their `labels`, \[M\], of labels \[N\].
///
/// # Errors
/// As [`standardize`]; also when there is not one label for each row. On an adapter a row number not below N gives the largest label.
pub fn standardize_batch(
    x: &Tensor,
    labels: &Tensor,
    shift: &Tensor,
    scale: &Tensor,
    rows: &Positions<'_>,
) -> Result<(Tensor, Tensor)> {
    let _span = span("standardize");
    batch(x, labels, shift, scale, rows, None)
}

fn batch(
    x: &Tensor,
    labels: &Tensor,
    shift: &Tensor,
    scale: &Tensor,
    picks: &Positions<'_>,
    family: Option<&str>,
) -> Result<(Tensor, Tensor)> {
    let [rows, columns] = matrix(NAME, x)?;
    if labels.shape() != [rows] {
        let problem = format!("{rows} rows with labels of shape {:?}", labels.shape());
        return Err(Error::shape(NAME, problem, "pass one label for each row"));
    }
    same_device(NAME, x, labels)?;
    let (
        Storage::Gpu(gpu, rows_on_device, dtype @ (DType::Real | DType::U8)),
        Storage::Gpu(_, labels_on_device, DType::U32),
        Storage::Gpu(_, shift_on_device, DType::Real),
        Storage::Gpu(_, scale_on_device, DType::Real),
        Storage::Gpu(_, all, DType::U32),
        true,
    ) = (x.storage(), labels.storage(), shift.storage(), scale.storage(), picks.all.storage(), columns > 0)
    else {
        return Ok((run(x, shift, scale, Some(picks), family)?, take(labels, picks)?));
    };
    shaped(NAME, x, &[columns], &[("shift", shift), ("scale", scale)])?;
    same_device(NAME, x, picks.all)?;
    picks.check(NAME, rows)?;
    let taken = picks.range.len();
    let bytes = *dtype == DType::U8;
    let operands = [rows_on_device, shift_on_device, scale_on_device];
    let picks = Some((all, picks.range.start));
    let shape = [rows, columns, taken];
    let [out, labels] = gpu::record_batch(gpu, family, bytes, operands, labels_on_device, picks, shape)?;
    let of = |shape, buffer, dtype| Tensor::from_storage(shape, Storage::Gpu(gpu.clone(), buffer, dtype));
    Ok((of(vec![taken, columns], out, DType::Real), of(vec![taken], labels, DType::U32)))
}

fn run(
    x: &Tensor,
    shift: &Tensor,
    scale: &Tensor,
    picks: Option<&Positions<'_>>,
    family: Option<&str>,
) -> Result<Tensor> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[columns], &[("shift", shift), ("scale", scale)])?;
    if let Some(picks) = picks {
        same_device(NAME, x, picks.all)?;
        picks.check(NAME, rows)?;
    }
    let taken = picks.map_or(rows, |picks| picks.range.len());
    let wrong = || {
        let all = picks.map(|picks| picks.all);
        let operands: Vec<_> = [Some(x), Some(shift), Some(scale), all].into_iter().flatten().collect();
        wrong_dtypes(NAME, &operands, "real or u8 rows, a real shift and scale, and integer row numbers")
    };
    // On the host the numbers themselves, on an adapter their buffer.
    let (mut numbers, mut buffer) = (None, None);
    if let Some(picks) = picks {
        match picks.all.storage() {
            Storage::U32(all, _) => numbers = Some(&all[picks.range.clone()]),
            Storage::Gpu(_, all, DType::U32) => buffer = Some((all, picks.range.start)),
            _ => return Err(wrong()),
        }
    }
    let storage = match (x.storage(), shift.storage(), scale.storage()) {
        (Storage::F64(x), Storage::F64(shift), Storage::F64(scale)) => {
            Storage::F64(reference::standardize::standardize(x, shift, scale, numbers).into())
        }
        (Storage::U8(x, true), Storage::F64(shift), Storage::F64(scale)) => {
            let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
            Storage::F64(reference::standardize::standardize(&x, shift, scale, numbers).into())
        }
        (Storage::F32(x), Storage::F32(shift), Storage::F32(scale)) => {
            Storage::F32(cpu::standardize::standardize(x, shift, scale, numbers).into())
        }
        (Storage::U8(x, false), Storage::F32(shift), Storage::F32(scale)) => {
            Storage::F32(cpu::standardize::standardize(x, shift, scale, numbers).into())
        }
        (
            Storage::Gpu(gpu, x, dtype @ (DType::Real | DType::U8)),
            Storage::Gpu(_, shift, DType::Real),
            Storage::Gpu(_, scale, DType::Real),
        ) => {
            let bytes = *dtype == DType::U8;
            let shape = [rows, columns, taken];
            let out = gpu::record(gpu, family, bytes, [x, shift, scale], buffer, shape)?;
            Storage::Gpu(gpu.clone(), out, DType::Real)
        }
        _ => return Err(wrong()),
    };
    Ok(Tensor::from_storage(vec![taken, columns], storage))
}

/// The rows that a form makes: those that are picked, or all.
fn rows_of(form: &str, shape: &[usize]) -> usize {
    if form.contains('_') { shape[2] } else { shape[0] }
}

const FORMS: &[&str] = &["f32", "u8", "f32_gather", "u8_gather", "f32_batch", "u8_batch"];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5, 0],
        vec![5, 0, 3],
        vec![3, 4, 0],
        vec![1, 1, 1],
        vec![2, 3, 5],
        vec![63, 65, 20],
        vec![64, 64, 64],
        vec![65, 63, 129],
        vec![7, 16, 9],
        vec![17, 20, 33],
        vec![31, 784, 10],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![501, 300, 257], vec![200, 1031, 129]]);
    }
    shapes
}

/// Seeded rows, with the row numbers of the forms that gather.
struct Operands {
    x: Input,
    shift: Input,
    scale: Input,
    /// Twice as many as are picked, of which the middle counts.
    numbers: Option<(Tensor, Vec<u32>)>,
    range: Range<usize>,
    /// Of the rows, in the forms that make a batch.
    labels: Option<(Tensor, Vec<u32>)>,
}

fn operands(device: &Device, case: &Case) -> Result<Operands> {
    let wrong = || wrong_case(&OP, case);
    let &[rows, columns, picked] = case.shape.as_slice() else { return Err(wrong()) };
    let form = case.form();
    if !FORMS.contains(&form) {
        return Err(wrong());
    }
    let (bytes, batch) = (form.starts_with("u8"), form.ends_with("_batch"));
    let gathers = batch || form.ends_with("_gather");
    let mut rng = rng::seeded(case.seed);
    let x = match bytes {
        true => {
            let pixels = rng::pixels(&mut rng, rows * columns);
            let tensor = Tensor::from_u8(device, &[rows, columns], &pixels)?;
            let wide: Vec<f64> = pixels.into_iter().map(f64::from).collect();
            Input { tensor, tracked: Tracked::inputs(&wide) }
        }
        false => Input::reals(device, &mut rng, &[rows, columns])?,
    };
    let shift = Input::between(device, &mut rng, &[columns], 0.0, if bytes { 255.0 } else { 1.0 })?;
    let scale = Input::between(device, &mut rng, &[columns], 0.01, 1.0)?;
    let numbers = match gathers {
        true => {
            let numbers = rng::integers(&mut rng, 2 * picked, rows.max(1) as u32);
            Some((Tensor::from_u32(device, &[2 * picked], &numbers)?, numbers))
        }
        false => None,
    };
    let labels = match batch {
        true => {
            let labels = rng::integers(&mut rng, rows, u32::MAX);
            Some((Tensor::from_u32(device, &[rows], &labels)?, labels))
        }
        false => None,
    };
    Ok(Operands { x, shift, scale, numbers, range: picked / 2..picked / 2 + picked, labels })
}

impl Operands {
    /// The rows, and the labels of those where they are a batch.
    fn run(&self, family: Option<&str>) -> Result<(Tensor, Option<Tensor>)> {
        let picks = self.numbers.as_ref().map(|(all, _)| Positions { all, range: self.range.clone() });
        let (x, shift, scale) = (&self.x.tensor, &self.shift.tensor, &self.scale.tensor);
        match (&self.labels, &picks) {
            (Some((labels, _)), Some(picks)) => {
                batch(x, labels, shift, scale, picks, family).map(|(x, labels)| (x, Some(labels)))
            }
            _ => Ok((run(x, shift, scale, picks.as_ref(), family)?, None)),
        }
    }
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let operands = operands(device, case)?;
    let (got, got_labels) = operands.run(split_variant(&case.variant).1)?;
    let Operands { x, shift, scale, numbers, range, labels } = &operands;
    let numbers = numbers.as_ref().map(|(_, numbers)| &numbers[range.clone()]);
    let want = reference::standardize::standardize(&x.tracked, &shift.tracked, &scale.tracked, numbers);
    let worst = worst(&[(&got, want)])?;
    match (got_labels, labels, numbers) {
        (Some(got), Some((_, labels)), Some(numbers)) => {
            let want = reference::take::take(labels, numbers).into_iter().map(f64::from).collect::<Vec<_>>();
            Ok(worst.max(worst_exact(&got, &want)?))
        }
        _ => Ok(worst),
    }
}
