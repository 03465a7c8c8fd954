//! The k smallest values of every row.

mod gpu;

pub(crate) use self::gpu::Selection;
use super::{Case, EXACT, Effort, Op, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::order::{self, Ordered};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Worst, compare_exact};
use crate::{cpu, reference};

const NAME: &str = "topk";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "the k smallest of every row, ordered by (value, column), streaming over tiles of columns",
    dimensions: &["rows", "columns", "k"],
    tolerance: EXACT,
    shaders: gpu::shaders,
    flops: |_, s| (s[0] * s[1]) as f64,
    bytes: |_, s| 4.0 * (s[0] * (s[1] + 2 * s[2])) as f64,
    variants: |device| variants_of(device, &["f32", "u32"], gpu::families),
    shapes,
    fit,
    timed: &[&[500, 5000, 10], &[500, 5000, 100]],
    workload: |device, case| {
        let (matrix, _) = operand(device, case)?;
        let (variant, k) = (case.variant.clone(), case.shape[2]);
        Ok(Box::new(move || run(&matrix, k, split_variant(&variant).1).map(drop)))
    },
    check,
};

/// The k smallest of every row, on the host, where they are read.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    /// rows × k values, ascending within a row; integers are exact in 64-bit floats.
    pub values: Vec<f64>,
    /// rows × k columns, the position of each value in its row.
    pub columns: Vec<u32>,
}

/// The k smallest values of every row of `matrix` [R, C] (real or integer), ordered by (value, column): the order is
/// total, so a tie goes to the smaller column and the first j of k are the j smallest. Any k up to C.
///
/// # Errors
/// [`Error::Shape`] when k is 0 or exceeds C, or the tensor is no matrix of numbers; [`Error::Device`] when the device
/// fails.
pub fn topk(matrix: &Tensor, k: usize) -> Result<TopK> {
    let _span = span("topk");
    run(matrix, k, None)
}

/// Runs on the operand's device; `family` names the kernels, `None` leaves the choice to the device.
fn run(matrix: &Tensor, k: usize, family: Option<&str>) -> Result<TopK> {
    let &[rows, columns] = matrix.shape() else {
        return Err(Error::shape(NAME, format!("shape {:?}", matrix.shape()), "pass a matrix"));
    };
    if k == 0 || k > columns {
        return Err(Error::shape(
            NAME,
            format!("k is {k}, a row has {columns} columns"),
            "choose k between 1 and the number of columns",
        ));
    }
    let candidates = match matrix.storage() {
        Storage::F64(values) => return Ok(define(values, columns, k)),
        Storage::U32(values, true) => {
            let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
            return Ok(define(&values, columns, k));
        }
        Storage::F32(values) => cpu::topk::topk(values, columns, k),
        Storage::U32(values, false) => cpu::topk::topk(values, columns, k),
        Storage::Gpu(gpu, values, DType::Real | DType::U32) => {
            gpu::select(gpu, family, values, matrix.dtype(), [rows, columns], k)?
        }
        _ => return Err(wrong_dtypes(NAME, &[matrix], "real numbers or integers")),
    };
    let value = |key| match matrix.dtype() {
        DType::Real => f64::from(f32::from_key(key)),
        DType::U8 | DType::U32 => f64::from(key),
    };
    Ok(TopK {
        values: candidates.iter().map(|&candidate| value(order::key(candidate))).collect(),
        columns: candidates.iter().map(|&candidate| order::index(candidate)).collect(),
    })
}

fn define(values: &[f64], columns: usize, k: usize) -> TopK {
    let pairs = values.chunks_exact(columns).flat_map(|row| reference::topk::topk(row, k));
    let (values, columns) = pairs.map(|(value, column)| (value, column as u32)).unzip();
    TopK { values, columns }
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5, 2],
        vec![1, 1, 1],
        vec![3, 63, 63],
        vec![65, 64, 1],
        vec![31, 1031, 10],
        vec![5, 4097, 100],
        vec![2, 5000, 2500],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![3, 200_003, 16], vec![70_000, 5, 2], vec![1, 66_000, 66_000]]);
    }
    shapes
}

fn fit(shape: &mut [usize]) {
    shape[1] = shape[1].max(1);
    shape[2] = 1 + (shape[2].max(1) - 1) % shape[1];
}

/// A seeded matrix on a device with its 64-bit values. It has few distinct values: most comparisons are ties, which is
/// where a selection goes wrong.
fn operand(device: &Device, case: &Case) -> Result<(Tensor, Vec<f64>)> {
    let &[rows, columns, _] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    let integers = rng::integers(&mut rng, rows * columns, 1 + columns as u32 / 3);
    if case.form() == "u32" {
        let wide = integers.iter().copied().map(f64::from).collect();
        return Ok((Tensor::from_u32(device, &[rows, columns], &integers)?, wide));
    }
    let wide: Vec<f64> = integers.iter().map(|&i| f64::from(i) / 8.0 - 20.0).collect();
    Ok((Tensor::from_f64(device, &[rows, columns], &wide)?, wide))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (matrix, wide) = operand(device, case)?;
    let (columns, k) = (case.shape[1], case.shape[2]);
    let (got, want) = (run(&matrix, k, split_variant(&case.variant).1)?, define(&wide, columns, k));
    let columns = |top: &TopK| top.columns.iter().copied().map(f64::from).collect::<Vec<_>>();
    Ok(compare_exact(&got.values, &want.values).max(compare_exact(&columns(&got), &columns(&want))))
}
