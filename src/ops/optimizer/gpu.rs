//! Steps of gradient descent on an adapter.

use super::{Rule, Step};
use crate::cpu::optimizer::Scalars;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `optimizer.wgsl`.
    struct OptimizerParams {
        vectors: u32,
        regularized: u32,
        rate: f32,
        l2: f32,
        keep: f32,
        first_decay: f32,
        first_share: f32,
        second_decay: f32,
        second_share: f32,
        correction: f32,
        epsilon: f32,
    }
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/optimizer.wgsl"),
        entry,
        buffers,
        fields: OptimizerParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static SGD: Kernel = kernel("sgd", &[Access::Read, Access::ReadWrite]);
const ONE_STATE: &[Access] = &[Access::Read, Access::ReadWrite, Access::ReadWrite];
static MOMENTUM: Kernel = kernel("momentum", ONE_STATE);
static NESTEROV: Kernel = kernel("nesterov", ONE_STATE);
static RMS: Kernel = kernel("rms", ONE_STATE);
static ADAM: Kernel =
    kernel("adam", &[Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite]);

pub(super) fn shaders() -> Vec<Shader> {
    [&SGD, &MOMENTUM, &NESTEROV, &RMS, &ADAM].map(|kernel| Shader { kernel, constants: Vec::new() }).into()
}

/// Records one step of the parameters `w` and their state, in place: in one launch, or in as few as the device's bindings allow.
pub(super) fn record(
    gpu: &Gpu,
    rule: &Rule,
    step: &Step,
    [w, gradient]: [&Buffer; 2],
    state: &[&Buffer],
) -> Result<()> {
    let n = w.len() as usize / 4;
    check_count(super::NAME, n)?;
    let kernel = match rule {
        Rule::Sgd => &SGD,
        Rule::Momentum { .. } => &MOMENTUM,
        Rule::Nesterov { .. } => &NESTEROV,
        Rule::Adagrad { .. } | Rule::RmsProp { .. } => &RMS,
        Rule::Adam { .. } | Rule::AdamW { .. } => &ADAM,
    };
    let Scalars { rate, l2, keep, first_decay, first_share, second_decay, second_share, correction, epsilon } =
        Scalars::new(rule, step);
    let chunk = gpu.limits().rows_per_chunk(super::NAME, 4, gpu.limits().binding_bytes)? as usize;
    for start in (0..n).step_by(chunk) {
        let count = chunk.min(n - start);
        let vectors = count.div_ceil(4);
        let params = OptimizerParams {
            vectors: vectors as u32,
            regularized: step.regularized.saturating_sub(start) as u32,
            rate,
            l2,
            keep,
            first_decay,
            first_share,
            second_decay,
            second_share,
            correction,
            epsilon,
        };
        let all = [gradient, w].into_iter().chain(state.iter().copied());
        let parts = all.map(|buffer| gpu.slice(buffer, 4 * start as u64, 4 * count as u64));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let buffers: Vec<&Buffer> = parts.iter().collect();
        per_item(gpu, kernel, &[], &buffers, &params, vectors, (12 + 8 * state.len()) * count)?;
    }
    Ok(())
}
