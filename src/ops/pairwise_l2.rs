//! Squared Euclidean distances between two sets of rows.

pub(crate) mod gpu;

use super::pairs::{self, Pairs, widen};
use super::{Op, same_device, variants_of, wrong_dtypes};
use crate::error::Result;
use crate::profile::span;
use crate::tensor::{DType, Storage, Tensor};
use crate::{cpu, reference};

const NAME: &str = "pairwise_l2";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "squared Euclidean distances between all pairs of two sets of rows, exact for pixels",
    dimensions: &["queries", "rows", "features"],
    tolerance: "exact (u8), bounded (f32)",
    shaders: gpu::shaders,
    flops: |_, s| 2.0 * (s[0] * s[1] * s[2]) as f64,
    bytes: pairs::bytes,
    variants: |device| variants_of(device, &["u8", "direct", "expanded"], gpu::families),
    shapes: pairs::shapes,
    fit: pairs::fit,
    timed: &[&[500, 5000, 784]],
    workload: |device, case| pairs::workload(&PAIRS, device, case),
    check: |device, case| pairs::check(&PAIRS, device, case),
};

static PAIRS: Pairs = Pairs {
    op: &OP,
    run: |x, y, form, family| {
        let form = if form == "expanded" { Form::Expanded } else { Form::Direct };
        run(x, y, form, family)
    },
    define: |x, y, features, form| match form {
        "expanded" => reference::pairwise_l2::pairwise_l2_expanded(x, y, features),
        _ => reference::pairwise_l2::pairwise_l2(x, y, features),
    },
};

/// How distances of real rows are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Σ(x − y)²: as exact as 32 bit allow whatever the data.
    #[default]
    Direct,
    /// ‖x‖² + ‖y‖² − 2x·y, at least 0: a matrix product, quicker, but it cancels where rows lie far from the origin
    /// and near each other.
    Expanded,
}

/// Squared distances dᵢⱼ = Σₚ (xᵢₚ − yⱼₚ)² between the rows of `queries` [Q, D] and of `rows` [T, D]: [Q, T].
///
/// Pixels give exact integers and ignore `form`; they need D ≤ 33,025, so that distances stay below 2³¹. Gradient (of
/// real rows): dx = 2(x·rowsum(dout) − dout·y). Source: course notes, "Nearest Neighbor Classifier"; assignment 1,
/// `compute_distances_no_loops`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when shapes or types do not fit or devices differ;
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn pairwise_l2(queries: &Tensor, rows: &Tensor, form: Form) -> Result<Tensor> {
    let _span = span("pairwise_l2");
    run(queries, rows, form, None)
}

/// Runs on the operands' device; `family` names the kernels, `None` leaves the choice to the device.
fn run(x: &Tensor, y: &Tensor, form: Form, family: Option<&str>) -> Result<Tensor> {
    let shape @ [queries, rows, features] = pairs::shape(NAME, x, y)?;
    same_device(NAME, x, y)?;
    let storage = match (x.storage(), y.storage()) {
        (Storage::F64(x), Storage::F64(y)) => {
            Storage::F64(reference::pairwise_l2::pairwise_l2(x, y, features).into())
        }
        (Storage::U8(x, true), Storage::U8(y, true)) => {
            let exact = reference::pairwise_l2::pairwise_l2(&widen(x), &widen(y), features);
            Storage::U32(exact.into_iter().map(|d| d as u32).collect(), true)
        }
        (Storage::U8(x, false), Storage::U8(y, false)) => {
            Storage::U32(cpu::pairwise_l2::bytes(x, y, features).into(), false)
        }
        (Storage::F32(x), Storage::F32(y)) => Storage::F32(match form {
            Form::Direct => cpu::pairwise_l2::direct(x, y, features).into(),
            Form::Expanded => cpu::pairwise_l2::expanded(x, y, features).into(),
        }),
        (Storage::Gpu(gpu, x, DType::U8), Storage::Gpu(_, y, DType::U8)) => {
            Storage::Gpu(gpu.clone(), gpu::record_u8(gpu, family, x, y, shape)?, DType::U32)
        }
        (Storage::Gpu(gpu, x, DType::Real), Storage::Gpu(_, y, DType::Real)) => {
            Storage::Gpu(gpu.clone(), gpu::record_f32(gpu, family, x, y, shape, form)?, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[x, y], "two tensors of pixels or two real ones")),
    };
    Ok(Tensor::from_storage(vec![queries, rows], storage))
}
