//! Losses of rows on an adapter: one launch each, on kernels of one shape.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::rowwise;

crate::params! {
    /// Parameters of the shaders of losses.
    struct LossParams {
        rows: u32,
        columns: u32,
        scale: f32,
        delta: f32,
        weighted: u32,
    }
}

/// Scores, truth, losses, gradient, and the weights of classes.
const BUFFERS: &[Access; 5] =
    &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::Read];

/// The kernel of the loss `op`, whose shader is `source`; where rows have labels, their classes may have weights.
pub(in crate::ops) const fn kernel(op: &'static str, source: &'static str, labelled: bool) -> Kernel {
    Kernel {
        op,
        source,
        entry: "losses",
        buffers: if labelled { BUFFERS } else { BUFFERS.split_at(4).0 },
        fields: LossParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

/// Scores, and labels or targets; the former may have weights.
pub(in crate::ops) struct Operands<'a> {
    pub gpu: &'a Gpu,
    pub scores: &'a Buffer,
    pub truth: &'a Buffer,
    pub weights: Option<&'a Buffer>,
    pub shape: [usize; 2],
}

/// Losses and gradient.
pub(in crate::ops) type Results = [Buffer; 2];

/// Records `kernel`, which reads the scores `sweeps` times; returns losses and gradient.
pub(in crate::ops) fn record(
    operands: &Operands,
    family: Option<&str>,
    kernel: &'static Kernel,
    sweeps: usize,
    delta: f32,
) -> Result<Results> {
    let &Operands { gpu, scores, truth, weights, shape: [rows, columns] } = operands;
    let losses = gpu.alloc(4 * rows as u64)?;
    let gradient = gpu.alloc(4 * (rows * columns) as u64)?;
    let params = LossParams {
        rows: rows as u32,
        columns: columns as u32,
        scale: 1.0 / rows as f32,
        delta,
        weighted: u32::from(weights.is_some()),
    };
    // Without weights, something stands in for them, and is not read.
    let buffers = [scores, truth, &losses, &gradient, weights.unwrap_or(scores)];
    let buffers = &buffers[..kernel.buffers.len()];
    rowwise::record(gpu, family, kernel, buffers, &params, [rows, columns], sweeps)?;
    Ok([losses, gradient])
}
