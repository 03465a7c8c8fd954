//! Dropout on an adapter.

use super::Dropout;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `dropout.wgsl`.
    struct DropoutParams {
        vectors: u32,
        threshold: u32,
        first_word: u32,
        second_word: u32,
        scale: f32,
    }
}

static DROPOUT: Kernel = Kernel {
    op: super::NAME,
    source: include_str!("../../../shaders/dropout.wgsl"),
    entry: "dropout",
    buffers: &[Access::Read, Access::ReadWrite],
    fields: DropoutParams::FIELDS,
    subgroup: false,
    native: false,
};

pub(super) fn shaders() -> Vec<Shader> {
    vec![Shader { kernel: &DROPOUT, constants: Vec::new() }]
}

/// Records mask times x; returns it.
pub(super) fn record(gpu: &Gpu, x: &Buffer, dropout: &Dropout) -> Result<Buffer> {
    let n = x.len() as usize / 4;
    check_count(super::NAME, n)?;
    let out = gpu.alloc(x.len())?;
    let vectors = n.div_ceil(4);
    let [first_word, second_word] = dropout.key.words();
    let params = DropoutParams {
        vectors: vectors as u32,
        threshold: dropout.threshold(),
        first_word,
        second_word,
        scale: dropout.scale(),
    };
    per_item(gpu, &DROPOUT, &[], &[x, &out], &params, vectors, 20 * n)?;
    Ok(out)
}
