//! Losses of rows on an adapter: one launch each, on kernels of one shape.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::rowwise;
use crate::tensor::{DType, Storage};

crate::params! {
    /// Parameters of the shaders of losses.
    struct LossParams {
        rows: u32,
        columns: u32,
        scale: f32,
        delta: f32,
        weighted: u32,
        nets: u32,
    }
}

/// Scores, truth, losses, gradient, and the weights of classes.
const BUFFERS: &[Access; 5] =
    &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::Read];

/// The kernel of a loss whose rows have targets.
pub(in crate::ops) const fn kernel(op: &'static str, source: &'static str) -> Kernel {
    entry(op, source, "losses", BUFFERS.split_at(4).0)
}

/// The kernels of a loss whose rows have labels, and the classes perhaps weights: for one net, and for nets side by side.
pub(in crate::ops) const fn labelled(op: &'static str, source: &'static str) -> [Kernel; 2] {
    [entry(op, source, "losses", BUFFERS), entry(op, source, "grouped", BUFFERS)]
}

const fn entry(
    op: &'static str,
    source: &'static str,
    entry: &'static str,
    buffers: &'static [Access],
) -> Kernel {
    Kernel { op, source, entry, buffers, fields: LossParams::FIELDS, subgroup: false, native: false }
}

/// Scores, and labels or targets; the former may have weights.
pub(in crate::ops) struct Operands<'a> {
    pub gpu: &'a Gpu,
    pub scores: &'a Buffer,
    pub truth: &'a Buffer,
    pub weights: Option<&'a Buffer>,
    /// Rows of all nets, and columns of each.
    pub shape: [usize; 2],
    /// Nets side by side.
    pub groups: usize,
}

impl Operands<'_> {
    /// The one of a loss's [`labelled`] kernels that this needs.
    pub fn kernel(&self, [one, grouped]: &'static [Kernel; 2]) -> &'static Kernel {
        if self.groups == 1 { one } else { grouped }
    }
}

/// Losses and gradient.
pub(in crate::ops) type Results = [Storage; 2];

/// Records `kernel`, which reads the scores `sweeps` times; returns losses and gradient.
pub(in crate::ops) fn record(
    operands: &Operands,
    family: Option<&str>,
    kernel: &'static Kernel,
    sweeps: usize,
    delta: f32,
) -> Result<Results> {
    let &Operands { gpu, scores, truth, weights, shape: [rows, columns], groups } = operands;
    let losses = gpu.alloc(4 * rows as u64)?;
    let gradient = gpu.alloc(4 * (rows * columns) as u64)?;
    let params = LossParams {
        rows: rows as u32,
        columns: columns as u32,
        scale: 1.0 / (rows / groups) as f32,
        delta,
        weighted: u32::from(weights.is_some()),
        nets: groups as u32,
    };
    // Without weights, something stands in for them, and is not read.
    let buffers = [scores, truth, &losses, &gradient, weights.unwrap_or(scores)];
    let buffers = &buffers[..kernel.buffers.len()];
    rowwise::record(gpu, family, kernel, buffers, &params, [rows, columns], sweeps)?;
    Ok([losses, gradient].map(|it| Storage::Gpu(gpu.clone(), it, DType::Real)))
}
