//! Random flips and shifts of images on an adapter.

use super::Augment;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `augment.wgsl`.
    struct AugmentParams {
        items: u32,
        values: u32,
        channels: u32,
        height: u32,
        width: u32,
        flip: u32,
        shift: u32,
        first_word: u32,
        second_word: u32,
    }
}

static AUGMENT: Kernel = Kernel {
    op: super::NAME,
    source: include_str!("../../../shaders/augment.wgsl"),
    entry: "augment",
    buffers: &[Access::Read, Access::ReadWrite],
    fields: AugmentParams::FIELDS,
    subgroup: false,
    native: false,
};

pub(super) fn shaders() -> Vec<Shader> {
    [0, 1].map(|vector| Shader { kernel: &AUGMENT, constants: vec![("VECTOR", vector)] }).into()
}

/// Records the moves of `rows` images; returns them.
pub(super) fn record(gpu: &Gpu, x: &Buffer, augment: &Augment, rows: usize) -> Result<Buffer> {
    let [channels, height, width] = augment.image;
    let count = rows * channels * height * width;
    check_count(super::NAME, count)?;
    let out = gpu.alloc(4 * count as u64)?;
    let vector = width.is_multiple_of(4);
    let deep = if vector { 4 } else { 1 };
    let [first_word, second_word] = augment.key.words();
    let params = AugmentParams {
        items: (count / deep) as u32,
        values: (width / deep) as u32,
        channels: channels as u32,
        height: height as u32,
        width: width as u32,
        flip: u32::from(augment.flip),
        shift: augment.shift,
        first_word,
        second_word,
    };
    let constants = [("VECTOR", u32::from(vector))];
    per_item(gpu, &AUGMENT, &constants, &[x, &out], &params, count / deep, 8 * count)?;
    Ok(out)
}
