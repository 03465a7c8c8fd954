//! Data standardisation on an adapter.

use super::NAME;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};
use crate::tensor::GPU_PIXEL_ROW;

crate::params! {
    /// Parameters of `standardize.wgsl`.
    struct StandardizeParams {
        rows: u32,
        taken: u32,
        values: u32,
        stride: u32,
        items: u32,
        start: u32,
        nan: f32,
    }
}

/// Rows, shift, scale, picks and output; then the labels of all rows, and of those that are taken.
const BUFFERS: &[Access; 7] = &[
    Access::Read,
    Access::Read,
    Access::Read,
    Access::Read,
    Access::ReadWrite,
    Access::Read,
    Access::ReadWrite,
];

const fn kernel(labelled: bool) -> Kernel {
    Kernel {
        op: NAME,
        source: include_str!("../../../shaders/standardize.wgsl"),
        entry: "standardize",
        buffers: if labelled { BUFFERS } else { BUFFERS.split_at(5).0 },
        fields: StandardizeParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static ROWS: Kernel = kernel(false);
static BATCH: Kernel = kernel(true);

/// The families, by the rows that an invocation takes.
const FAMILIES: [(&str, usize); 2] = [("deep", 8), ("shallow", 2)];

/// Rows of an invocation: many where loads are dear, few where a device needs many invocations.
fn choose(software: bool) -> usize {
    if software { 8 } else { 2 }
}

fn constants(
    bytes: bool,
    gathers: bool,
    vector: bool,
    labels: bool,
    deep: usize,
) -> [(&'static str, u32); 5] {
    [
        ("LABELS", u32::from(labels)),
        ("BYTES", u32::from(bytes)),
        ("GATHER", u32::from(gathers)),
        ("VECTOR", u32::from(vector)),
        ("ROWS", deep as u32),
    ]
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for (_, deep) in FAMILIES {
        for flags in 0..8 {
            let (bytes, gathers, vector) = (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4);
            let mut push = |kernel, labels| {
                let constants = constants(bytes, gathers, vector, labels, deep).to_vec();
                all.push(Shader { kernel, constants });
            };
            push(&ROWS, false);
            if gathers {
                push(&BATCH, true);
            }
        }
    }
    all
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    FAMILIES.map(|(name, _)| name).to_vec()
}

/// Records the output for [x, shift, scale] and the numbers of the rows to take, from one of them on; x holds pixels or floats. The shape is
/// rows of x, columns, rows to take. A row that x does not have becomes NaN.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    bytes: bool,
    operands: [&Buffer; 3],
    picks: Option<(&Buffer, usize)>,
    shape: [usize; 3],
) -> Result<Buffer> {
    let out = gpu.alloc(4 * (shape[2] * shape[1]) as u64)?;
    launch(gpu, family, bytes, operands, picks, shape, &out, None)?;
    Ok(out)
}

/// [`record`] of some rows with those of their `labels`; a row that x does not have gets the largest integer. There must be a column.
pub(super) fn record_batch(
    gpu: &Gpu,
    family: Option<&str>,
    bytes: bool,
    operands: [&Buffer; 3],
    labels: &Buffer,
    picks: Option<(&Buffer, usize)>,
    shape: [usize; 3],
) -> Result<[Buffer; 2]> {
    let out = gpu.alloc(4 * (shape[2] * shape[1]) as u64)?;
    let taken = gpu.alloc(4 * shape[2] as u64)?;
    launch(gpu, family, bytes, operands, picks, shape, &out, Some([labels, &taken]))?;
    Ok([out, taken])
}

#[expect(clippy::too_many_arguments, reason = "what two functions share")]
fn launch(
    gpu: &Gpu,
    family: Option<&str>,
    bytes: bool,
    [x, shift, scale]: [&Buffer; 3],
    picks: Option<(&Buffer, usize)>,
    [rows, columns, taken]: [usize; 3],
    out: &Buffer,
    labels: Option<[&Buffer; 2]>,
) -> Result<()> {
    check_count(NAME, taken * columns)?;
    check_count(NAME, rows * columns)?;
    let named = FAMILIES.into_iter().find(|(name, _)| Some(*name) == family);
    let deep = named.map_or(choose(gpu.info().software()), |(_, deep)| deep);
    let vector = columns.is_multiple_of(4);
    let values = if vector { columns / 4 } else { columns };
    let stride = if bytes { columns.next_multiple_of(GPU_PIXEL_ROW) / 4 } else { values };
    let items = values * taken.div_ceil(deep);
    let params = StandardizeParams {
        rows: rows as u32,
        taken: taken as u32,
        values: values as u32,
        stride: stride as u32,
        items: items as u32,
        start: picks.map_or(0, |(_, start)| start as u32),
        nan: f32::NAN,
    };
    let buffers: Vec<_> = [x, shift, scale, picks.map_or(shift, |(picks, _)| picks), out]
        .into_iter()
        .chain(labels.into_iter().flatten())
        .collect();
    let kernel = if labels.is_some() { &BATCH } else { &ROWS };
    let constants = constants(bytes, picks.is_some(), vector, labels.is_some(), deep);
    per_item(gpu, kernel, &constants, &buffers, &params, items, 8 * taken * columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_adapter_has_its_depth() {
        assert_eq!((choose(true), choose(false)), (8, 2));
    }
}
