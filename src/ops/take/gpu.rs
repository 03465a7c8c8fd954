//! Elements at given positions on an adapter.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::per_item;

crate::params! {
    /// Parameters of `take.wgsl`.
    struct TakeParams {
        start: u32,
        count: u32,
        elements: u32,
    }
}

static TAKE: Kernel = Kernel {
    op: super::NAME,
    source: include_str!("../../../shaders/take.wgsl"),
    entry: "take",
    buffers: &[Access::Read, Access::Read, Access::ReadWrite],
    fields: TakeParams::FIELDS,
    subgroup: false,
    native: false,
};

pub(super) fn shaders() -> Vec<Shader> {
    vec![Shader { kernel: &TAKE, constants: Vec::new() }]
}

/// Records the copy; returns the elements.
pub(super) fn record(gpu: &Gpu, x: &Buffer, all: &Buffer, range: Range<usize>) -> Result<Buffer> {
    let out = gpu.alloc(4 * range.len() as u64)?;
    let params =
        TakeParams { start: range.start as u32, count: range.len() as u32, elements: (x.len() / 4) as u32 };
    per_item(gpu, &TAKE, &[], &[x, all, &out], &params, range.len(), 12 * range.len())?;
    Ok(out)
}
