//! Dropout on an adapter.

use super::{Dropout, MaskKey};
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
        nets: u32,
        columns: u32,
    }
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/dropout.wgsl"),
        entry,
        buffers,
        fields: DropoutParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static DROPOUT: Kernel = kernel("dropout", &[Access::Read, Access::ReadWrite]);
static GROUPED: Kernel = kernel("grouped", &[Access::Read, Access::ReadWrite, Access::Read]);

pub(super) fn shaders() -> Vec<Shader> {
    [&DROPOUT, &GROUPED].map(|kernel| Shader { kernel, constants: Vec::new() }).into()
}

/// Records mask times x; returns it.
pub(super) fn record(gpu: &Gpu, x: &Buffer, dropout: &Dropout) -> Result<Buffer> {
    let [first_word, second_word] = dropout.key.words();
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    let params = DropoutParams { vectors: 0, threshold, first_word, second_word, scale, nets: 1, columns: 0 };
    launch(gpu, &DROPOUT, x, &[], params)
}

/// Thresholds and scales of the layers, which [`record_grouped`] takes: uploaded once.
pub(super) fn table(gpu: &Gpu, layers: &[Dropout]) -> Result<Buffer> {
    let words = layers.iter().flat_map(|layer| [layer.threshold(), layer.scale().to_bits()]);
    gpu.upload(bytemuck::cast_slice(&words.collect::<Vec<_>>()))
}

/// Records mask times x for so many nets of so many columns each; returns it.
pub(super) fn record_grouped(
    gpu: &Gpu,
    x: &Buffer,
    table: &Buffer,
    [nets, columns]: [usize; 2],
    key: MaskKey,
) -> Result<Buffer> {
    let [first_word, second_word] = key.words();
    let (nets, columns) = (nets as u32, columns as u32);
    let params =
        DropoutParams { vectors: 0, threshold: 0, first_word, second_word, scale: 0.0, nets, columns };
    launch(gpu, &GROUPED, x, &[table], params)
}

fn launch(
    gpu: &Gpu,
    kernel: &'static Kernel,
    x: &Buffer,
    more: &[&Buffer],
    params: DropoutParams,
) -> Result<Buffer> {
    let n = x.len() as usize / 4;
    check_count(super::NAME, n)?;
    let out = gpu.alloc(x.len())?;
    let vectors = n.div_ceil(4);
    let params = DropoutParams { vectors: vectors as u32, ..params };
    let buffers = [&[x, &out], more].concat();
    per_item(gpu, kernel, &[], &buffers, &params, vectors, 20 * n)?;
    Ok(out)
}
