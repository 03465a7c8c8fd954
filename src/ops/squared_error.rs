//! The L2 regression loss and its gradient.

use super::losses::{self, Loss, Losses};
use super::{BOUNDED, Op, rowwise, same_device, variants_of, wrong_dtypes};
use crate::error::{Error, Result};
use crate::gpu::Kernel;
use crate::profile::span;
use crate::tensor::{DType, Storage, Tensor};
use crate::{cpu, reference};

const NAME: &str = "squared_error";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "Σⱼ (fⱼ − yⱼ)² of every row, and the gradient of the mean, in one pass",
    dimensions: &["rows", "outputs"],
    tolerance: BOUNDED,
    shaders: || rowwise::shaders(&KERNEL).collect(),
    flops: |_, s| 4.0 * (s[0] * s[1]) as f64,
    bytes: |_, s| 12.0 * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, &["targets"], rowwise::families),
    shapes: rowwise::shapes,
    fit: losses::fit,
    timed: &[&[4096, 1024]],
    workload: |device, case| losses::workload(&LOSS, device, case),
    check: |device, case| losses::check(&LOSS, device, case),
};

static LOSS: Loss = Loss {
    op: &OP,
    labelled: false,
    run: |given, family| run(given.scores, given.labels, family),
    define: |given, [columns, _]| reference::squared_error::losses(&given.scores, &given.targets, columns),
};

static KERNEL: Kernel = losses::gpu::kernel(NAME, include_str!("../../shaders/squared_error.wgsl"));

/// Lᵢ = Σⱼ (fⱼ − yⱼ)² for each row f of `outputs` [N, C] and y of `targets` [N, C], and the gradient of their mean, 2(f − y) / N.
///
/// Source: course notes, "Losses", regression.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices do not fit; [`Error::Device`] when the device fails.
pub fn squared_error(outputs: &Tensor, targets: &Tensor) -> Result<Losses> {
    let _span = span("squared_error");
    run(outputs, targets, None)
}

/// `family` names the kernels, `None` leaves the choice to the device.
fn run(outputs: &Tensor, targets: &Tensor, family: Option<&str>) -> Result<Losses> {
    let shape = losses::shape(NAME, outputs)?;
    if targets.shape() != shape {
        return Err(Error::shape(
            NAME,
            format!("outputs of shape {:?}, targets of shape {:?}", outputs.shape(), targets.shape()),
            "pass one target for each output",
        ));
    }
    same_device(NAME, outputs, targets)?;
    let made = match (outputs.storage(), targets.storage()) {
        (Storage::F64(outputs), Storage::F64(targets)) => {
            losses::f64(reference::squared_error::losses(outputs, targets, shape[1]))
        }
        (Storage::F32(outputs), Storage::F32(targets)) => {
            losses::f32(cpu::squared_error::losses(outputs, targets, shape[1]))
        }
        (Storage::Gpu(gpu, scores, DType::Real), Storage::Gpu(_, truth, DType::Real)) => {
            let operands = losses::gpu::Operands { gpu, scores, truth, weights: None, shape, groups: 1 };
            losses::gpu::record(&operands, family, &KERNEL, 1, 0.0)?
        }
        _ => return Err(wrong_dtypes(NAME, &[outputs, targets], "real tensors")),
    };
    Ok(Losses::of(&shape[..1], shape, made))
}
