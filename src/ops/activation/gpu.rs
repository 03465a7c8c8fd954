//! Elementwise nonlinearities on an adapter.

use super::Activation;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `activation.wgsl`.
    struct ActivationParams {
        vectors: u32,
        slope: f32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/activation.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: ActivationParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static FORWARD: Kernel = kernel("forward");
static BACKWARD: Kernel = kernel("backward");

/// The value of the constant KIND, and the parameter that goes with it.
pub(crate) fn kind(activation: Activation) -> (u32, f32) {
    match activation {
        Activation::Relu => (0, 0.0),
        Activation::LeakyRelu(slope) => (1, slope),
        Activation::Sigmoid => (2, 0.0),
        Activation::Tanh => (3, 0.0),
    }
}

pub(super) fn shaders() -> Vec<Shader> {
    let kinds = |kernel| (0..4).map(move |kind| Shader { kernel, constants: vec![("KIND", kind)] });
    kinds(&FORWARD).chain(kinds(&BACKWARD)).collect()
}

/// Records f(x), or dout·f′ for the output `x` where there is a gradient; returns the result.
pub(super) fn record(gpu: &Gpu, x: &Buffer, dout: Option<&Buffer>, activation: Activation) -> Result<Buffer> {
    let n = x.len() as usize / 4;
    check_count(super::NAME, n)?;
    let out = gpu.alloc(x.len())?;
    let (kind, slope) = kind(activation);
    let vectors = n.div_ceil(4);
    let params = ActivationParams { vectors: vectors as u32, slope };
    let (kernel, first) = dout.map_or((&FORWARD, x), |dout| (&BACKWARD, dout));
    per_item(gpu, kernel, &[("KIND", kind)], &[first, x, &out], &params, vectors, 12 * n)?;
    Ok(out)
}
