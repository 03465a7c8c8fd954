//! Copies of operands whose rows do not start on vectors.

use crate::cpu::matmul::Strides;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_group};

crate::params! {
    /// Parameters of `matmul.padded.wgsl`.
    struct PaddedParams {
        rows: u32,
        columns: u32,
        batch: u32,
        row: u32,
        padded_rows: u32,
        vectors: u32,
        lines: u32,
    }
}

static PADDED: Kernel = Kernel {
    op: super::NAME,
    source: concat!(
        include_str!("../../../shaders/prelude.native.wgsl"),
        include_str!("../../../shaders/matmul.padded.wgsl")
    ),
    entry: "padded",
    buffers: &[Access::Read, Access::ReadWrite],
    fields: PaddedParams::FIELDS,
    subgroup: false,
    native: true,
};

pub(super) fn shader() -> Shader {
    Shader { kernel: &PADDED, constants: Vec::new() }
}

/// Records a copy of `batch` matrices, each [rows, columns] as stored with `strides`: zeros follow each row up to a whole vector, and each matrix's
/// rows up to `padded_rows`. Returns the copy with its strides.
pub(super) fn record(
    gpu: &Gpu,
    operand: &Buffer,
    batch: usize,
    [rows, columns]: [usize; 2],
    strides: Strides,
    padded_rows: usize,
) -> Result<(Buffer, Strides)> {
    let row = columns.next_multiple_of(4);
    let elements = batch * padded_rows * row;
    check_count(super::NAME, elements)?;
    let copy = gpu.alloc(4 * elements as u64)?;
    let params = PaddedParams {
        rows: rows as u32,
        columns: columns as u32,
        batch: strides.batch as u32,
        row: strides.row as u32,
        padded_rows: padded_rows as u32,
        vectors: (row / 4) as u32,
        lines: (batch * padded_rows) as u32,
    };
    per_group(gpu, &PADDED, &[], &[operand, &copy], &params, batch * padded_rows, 8 * elements)?;
    Ok((copy, Strides { batch: padded_rows * row, row }))
}
