//! Batched matrix product.

pub(crate) mod gpu;
mod padded;
mod plan;

use super::inputs::{level_column, level_row};
use super::{BOUNDED, Case, Effort, Op, same_device, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::cpu::matmul::MatmulShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Real, Tracked, Worst, compare};
use crate::{cpu, recycled, reference};

const NAME: &str = "matmul";

pub use plan::CLASSES;

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "C = op(A)·op(B) for a batch of matrices, each operand possibly transposed",
    dimensions: &["batch", "m", "n", "k"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| 2.0 * (s[0] * s[1] * s[2] * s[3]) as f64,
    bytes: |_, s| 4.0 * (s[0] * (s[1] * s[3] + s[3] * s[2] + s[1] * s[2])) as f64,
    variants: |device| variants_of(device, &["nn", "nt", "tn", "tt"], gpu::families),
    shapes,
    fit: |_| {},
    timed: &[&[1, 512, 512, 512], &[1, 256, 512, 3072], &[1000, 8, 16, 8]],
    workload: |device, case| {
        let (a, b, shape, family, _) = operands(device, case)?;
        Ok(Box::new(move || run(&a, &b, shape, family.as_deref()).map(drop)))
    },
    check,
};

/// Whether an operand is stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transposed {
    /// A is stored k×m.
    pub a: bool,
    /// B is stored n×k.
    pub b: bool,
}

/// C = op(A)·op(B): cᵢⱼ = Σₚ aᵢₚ·bₚⱼ for every product of a batch.
///
/// `a` is [batch, m, k] and `b` is [batch, k, n], or [batch, k, m] and [batch, n, k] where `transposed` says so; two
/// dimensions mean a batch of one without the dimension in the result. Returns [batch, m, n]. With k = 0 the result is
/// zero. Gradients: dA = dC·Bᵀ, dB = Aᵀ·dC (course notes, "Backpropagation", vectorised operations).
///
/// # Errors
/// [`Error::Shape`] when shapes do not fit or devices differ; [`Error::Device`] when the device fails.
pub fn matmul(a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<Tensor> {
    let _span = span("matmul");
    let (shape, out) = shapes_of(a, b, transposed)?;
    same_device(NAME, a, b)?;
    run(a, b, shape, None).map(|storage| Tensor::from_storage(out, storage))
}

/// Runs on the operands' device; `family` names the kernels, `None` leaves the choice to the device.
fn run(a: &Tensor, b: &Tensor, shape: MatmulShape, family: Option<&str>) -> Result<Storage> {
    Ok(match (a.storage(), b.storage()) {
        (Storage::F64(a), Storage::F64(b)) => Storage::F64(define(a, b, shape).into()),
        (Storage::F32(a), Storage::F32(b)) => {
            let mut c = recycled::numbers(shape.batch * shape.m * shape.n);
            cpu::matmul::matmul(a, b, &mut c, shape);
            Storage::F32(c.into())
        }
        (Storage::Gpu(gpu, a, DType::Real), Storage::Gpu(_, b, DType::Real)) => {
            let c = gpu::record_with(gpu, family, a, b, shape, &gpu::Epilogue::NONE)?;
            Storage::Gpu(gpu.clone(), c, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[a, b], "two real tensors")),
    })
}

fn shapes_of(a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<(MatmulShape, Vec<usize>)> {
    let refuse = |problem: String| {
        Err(Error::shape(
            NAME,
            problem,
            "pass [batch, m, k] and [batch, k, n], or say which operand is transposed",
        ))
    };
    let (batch, [a_rows, a_columns], [b_rows, b_columns]) = match (a.shape(), b.shape()) {
        (&[a0, a1], &[b0, b1]) => (None, [a0, a1], [b0, b1]),
        (&[batch, a0, a1], &[b_batch, b0, b1]) if batch == b_batch => (Some(batch), [a0, a1], [b0, b1]),
        (a, b) => return refuse(format!("A is {a:?} and B is {b:?}")),
    };
    let (m, k) = if transposed.a { (a_columns, a_rows) } else { (a_rows, a_columns) };
    let (b_k, n) = if transposed.b { (b_columns, b_rows) } else { (b_rows, b_columns) };
    if k != b_k {
        return refuse(format!("op(A) has {k} columns and op(B) {b_k} rows"));
    }
    let shape = MatmulShape {
        batch: batch.unwrap_or(1),
        m,
        n,
        k,
        a_transposed: transposed.a,
        b_transposed: transposed.b,
        side_by_side: false,
    };
    Ok((shape, batch.into_iter().chain([m, n]).collect()))
}

fn define<T: Real>(a: &[T], b: &[T], shape: MatmulShape) -> Vec<T> {
    let MatmulShape { batch, m, n, k, a_transposed, b_transposed, .. } = shape;
    (0..batch)
        .flat_map(|i| {
            let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
            reference::matmul::matmul(a, b, [m, n, k], a_transposed, b_transposed)
        })
        .collect()
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![1, 1, 1, 1],
        vec![1, 1, 7, 0],
        vec![1, 40, 72, 0],
        vec![2, 0, 3, 5],
        vec![1, 1, 65, 63],
        vec![1, 63, 64, 65],
        vec![3, 17, 31, 13],
        vec![1, 127, 129, 67],
        // Copies of A, of B, and of both where rows do not start on vectors.
        vec![2, 68, 130, 40],
        vec![1, 66, 196, 40],
        vec![1, 66, 196, 35],
        vec![300, 3, 5, 4],
        vec![1, 256, 1, 97],
        vec![1, 5, 9, 500],
        vec![1, 9, 17, 5000],
    ];
    if effort == Effort::Full {
        shapes.extend([
            vec![1, 257, 257, 257],
            vec![1, 128, 512, 1031],
            vec![66_000, 1, 2, 3],
            vec![1000, 8, 16, 8],
            vec![1, 17, 5, 20_000],
        ]);
    }
    shapes
}

/// Seeded operands on a device with their 64-bit values.
type Operands = (Tensor, Tensor, MatmulShape, Option<String>, [Vec<f64>; 2]);

fn operands(device: &Device, case: &Case) -> Result<Operands> {
    let &[batch, m, n, k] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let (form, family) = split_variant(&case.variant);
    let transposed = Transposed { a: form.starts_with('t'), b: form.ends_with('t') };
    let mut rng = rng::seeded(case.seed);
    let (mut a, mut b) = (rng::reals(&mut rng, batch * m * k), rng::reals(&mut rng, batch * k * n));
    // The first element of every product is a sum of equal terms.
    if m * n * k > 0 {
        let a_level = if transposed.a { level_column } else { level_row };
        a.chunks_exact_mut(m * k).for_each(|a| a_level(a, if transposed.a { m } else { k }));
        let b_level = if transposed.b { level_row } else { level_column };
        b.chunks_exact_mut(k * n).for_each(|b| b_level(b, if transposed.b { k } else { n }));
    }
    let side = |rows: usize, columns: usize, t: bool| {
        if t { [batch, columns, rows] } else { [batch, rows, columns] }
    };
    let left = Tensor::from_f64(device, &side(m, k, transposed.a), &a)?;
    let right = Tensor::from_f64(device, &side(k, n, transposed.b), &b)?;
    let (shape, _) = shapes_of(&left, &right, transposed)?;
    Ok((left, right, shape, family.map(str::to_owned), [a, b]))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (left, right, shape, family, [a, b]) = operands(device, case)?;
    let out = vec![shape.batch, shape.m, shape.n];
    let got = Tensor::from_storage(out, run(&left, &right, shape, family.as_deref())?).to_f64()?;
    Ok(compare(&got, &define(&Tracked::inputs(&a), &Tracked::inputs(&b), shape)))
}
