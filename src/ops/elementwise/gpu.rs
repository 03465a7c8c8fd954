//! Sums, products and maxima of elements on an adapter.

use super::Pair;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `elementwise.wgsl`.
    struct ElementwiseParams {
        vectors: u32,
        alpha: f32,
    }
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/elementwise.wgsl"),
        entry,
        buffers,
        fields: ElementwiseParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

const ONE_RESULT: &[Access] = &[Access::Read, Access::Read, Access::ReadWrite];
const TWO_RESULTS: &[Access] =
    &[Access::Read, Access::Read, Access::ReadWrite, Access::Read, Access::ReadWrite];

static ADD: Kernel = kernel("add", ONE_RESULT);
static MUL: Kernel = kernel("mul", ONE_RESULT);
static SCALE: Kernel = kernel("scale", ONE_RESULT);
static AXPY: Kernel = kernel("axpy", ONE_RESULT);
static MAXOUT: Kernel = kernel("maxout", ONE_RESULT);
static MAXOUT_BACKWARD: Kernel = kernel("maxout_backward", TWO_RESULTS);

pub(super) fn shaders() -> Vec<Shader> {
    [&ADD, &MUL, &SCALE, &AXPY, &MAXOUT, &MAXOUT_BACKWARD]
        .map(|kernel| Shader { kernel, constants: Vec::new() })
        .into()
}

/// Records f(a, b); returns the result.
pub(super) fn pair(gpu: &Gpu, a: &Buffer, b: &Buffer, pair: Pair) -> Result<Buffer> {
    let kernel = match pair {
        Pair::Add => &ADD,
        Pair::Mul => &MUL,
        Pair::Maxout => &MAXOUT,
    };
    let out = gpu.alloc(a.len())?;
    launch(gpu, kernel, &[a, b, &out], 0.0, 12)?;
    Ok(out)
}

/// Records αx; returns it.
pub(super) fn scale(gpu: &Gpu, alpha: f32, x: &Buffer) -> Result<Buffer> {
    let out = gpu.alloc(x.len())?;
    launch(gpu, &SCALE, &[x, x, &out], alpha, 8)?;
    Ok(out)
}

/// Records y = y + αx.
pub(super) fn axpy(gpu: &Gpu, alpha: f32, x: &Buffer, y: &Buffer) -> Result<()> {
    launch(gpu, &AXPY, &[x, x, y], alpha, 12)
}

/// Records the gradients of max(a, b); returns them.
pub(super) fn maxout_backward(gpu: &Gpu, dout: &Buffer, a: &Buffer, b: &Buffer) -> Result<(Buffer, Buffer)> {
    let (da, db) = (gpu.alloc(a.len())?, gpu.alloc(a.len())?);
    launch(gpu, &MAXOUT_BACKWARD, &[a, b, &da, dout, &db], 0.0, 20)?;
    Ok((da, db))
}

/// An invocation for each vector of the first buffer; each element moves `bytes`.
fn launch(gpu: &Gpu, kernel: &'static Kernel, buffers: &[&Buffer], alpha: f32, bytes: usize) -> Result<()> {
    let n = buffers[0].len() as usize / 4;
    check_count(super::NAME, n)?;
    let vectors = n.div_ceil(4);
    let params = ElementwiseParams { vectors: vectors as u32, alpha };
    per_item(gpu, kernel, &[], buffers, &params, vectors, bytes * n)
}
