//! Manhattan distances between two sets of rows.

pub(crate) mod gpu;

use super::pairs::{self, Pairs, widen};
use super::{Op, same_device, variants_of, wrong_dtypes};
use crate::error::Result;
use crate::profile::span;
use crate::tensor::{DType, Storage, Tensor};
use crate::{cpu, reference};

const NAME: &str = "pairwise_l1";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "Manhattan distances between all pairs of two sets of rows, exact for pixels",
    dimensions: &["queries", "rows", "features"],
    tolerance: "exact (u8), bounded (f32)",
    shaders: gpu::shaders,
    flops: |_, s| 2.0 * (s[0] * s[1] * s[2]) as f64,
    bytes: pairs::bytes,
    variants: |device| variants_of(device, &["u8", "f32"], gpu::families),
    shapes: pairs::shapes,
    fit: pairs::fit,
    timed: &[&[500, 5000, 784]],
    workload: |device, case| pairs::workload(&PAIRS, device, case),
    check: |device, case| pairs::check(&PAIRS, device, case),
};

static PAIRS: Pairs = Pairs {
    op: &OP,
    run: |x, y, _, family| run(x, y, family),
    define: |x, y, features, _| reference::pairwise_l1::pairwise_l1(x, y, features),
};

/// Distances dᵢⱼ = Σₚ |xᵢₚ − yⱼₚ| between the rows of `queries` [Q, D] and of `rows` [T, D]: [Q, T].
///
/// Pixels give exact integers; they need D ≤ 33,025. Gradient (of real rows): dxᵢ = Σⱼ doutᵢⱼ·sign(xᵢ − yⱼ), 0 where
/// equal. Source: course notes, "Nearest Neighbor Classifier".
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when shapes or types do not fit or devices differ;
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn pairwise_l1(queries: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let _span = span("pairwise_l1");
    run(queries, rows, None)
}

/// Runs on the operands' device; `family` names the kernels, `None` leaves the choice to the device.
fn run(x: &Tensor, y: &Tensor, family: Option<&str>) -> Result<Tensor> {
    let shape @ [queries, rows, features] = pairs::shape(NAME, x, y)?;
    same_device(NAME, x, y)?;
    let storage = match (x.storage(), y.storage()) {
        (Storage::F64(x), Storage::F64(y)) => {
            Storage::F64(reference::pairwise_l1::pairwise_l1(x, y, features).into())
        }
        (Storage::U8(x, true), Storage::U8(y, true)) => {
            let exact = reference::pairwise_l1::pairwise_l1(&widen(x), &widen(y), features);
            Storage::U32(exact.into_iter().map(|d| d as u32).collect(), true)
        }
        (Storage::U8(x, false), Storage::U8(y, false)) => {
            Storage::U32(cpu::pairwise_l1::bytes(x, y, features).into(), false)
        }
        (Storage::F32(x), Storage::F32(y)) => Storage::F32(cpu::pairwise_l1::floats(x, y, features).into()),
        (Storage::Gpu(gpu, x, dtype @ (DType::U8 | DType::Real)), Storage::Gpu(_, y, y_dtype))
            if dtype == y_dtype =>
        {
            let bytes = *dtype == DType::U8;
            let out = gpu.alloc(4 * (queries * rows) as u64)?;
            gpu::record(gpu, family, bytes, [x, y, &out], shape)?;
            Storage::Gpu(gpu.clone(), out, if bytes { DType::U32 } else { DType::Real })
        }
        _ => return Err(wrong_dtypes(NAME, &[x, y], "two tensors of pixels or two real ones")),
    };
    Ok(Tensor::from_storage(vec![queries, rows], storage))
}
