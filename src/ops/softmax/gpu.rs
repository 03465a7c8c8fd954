//! The softmax of rows on an adapter.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::{Shader, rowwise};

crate::params! {
    /// Parameters of `softmax.wgsl`.
    struct SoftmaxParams {
        rows: u32,
        columns: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/softmax.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: SoftmaxParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static FORWARD: Kernel = kernel("forward");
static BACKWARD: Kernel = kernel("backward");

pub(super) fn shaders() -> Vec<Shader> {
    rowwise::shaders(&FORWARD).chain(rowwise::shaders(&BACKWARD)).collect()
}

/// Records the softmax of `x`, or its gradient for the output `x` where there is one; returns the result.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    x: &Buffer,
    dout: Option<&Buffer>,
    shape: [usize; 2],
) -> Result<Buffer> {
    let out = gpu.alloc(x.len())?;
    let params = SoftmaxParams { rows: shape[0] as u32, columns: shape[1] as u32 };
    let (kernel, first, sweeps) = dout.map_or((&FORWARD, x, 3), |dout| (&BACKWARD, dout, 2));
    rowwise::record(gpu, family, kernel, &[first, x, &out], &params, shape, sweeps)?;
    Ok(out)
}
