//! Squared distances on an adapter.

use super::Form;
use crate::cpu::matmul::MatmulShape;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use crate::ops::matmul::{
    self,
    gpu::{Epilogue, Finish, Terms},
};
use crate::tensor::GPU_PIXEL_ROW;

crate::params! {
    /// Parameters of `pairwise_l2.wgsl`.
    struct L2Params {
        queries: u32,
        rows: u32,
        words: u32,
        across: u32,
        tiles: u32,
        scale: u32,
    }
}

const fn kernel(entry: &'static str, subgroup: bool) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/pairwise_l2.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite],
        fields: L2Params::FIELDS,
        subgroup,
        native: false,
    }
}

static TILES: Kernel = kernel("tiles", false);
static REGISTERS: Kernel = kernel("registers", false);
static SUBGROUP: Kernel = kernel("subgroup", true);
static NORMS: Kernel = kernel("norms", false);

/// The lanes of a subgroup share the tile's rows of x evenly.
fn fits(subgroup: Option<u32>) -> Option<u32> {
    subgroup.filter(|lanes| [4, 8, 16].contains(lanes))
}

/// Workgroup memory pays on a GPU and costs on a software adapter; there subgroups share what they load.
fn choose(bytes: bool, software: bool, subgroup: Option<u32>) -> &'static Kernel {
    match software {
        true if bytes && fits(subgroup).is_some() => &SUBGROUP,
        true => &REGISTERS,
        false => &TILES,
    }
}

/// The subgroup's tile: rows of x, and rows of y for each lane. Of 15 tiles from 8 × 8 to 32 × 8 this one was the quickest on
/// the software adapter, and compiles in a tenth of the time of 16 × 16.
const SUBGROUP_ROWS: u32 = 16;

/// Rows of the subgroup tile in launches below so many operations: a kernel half as long is made in half the time, about 20 ms on a software
/// adapter, which the better use of what is loaded only wins back in large ones.
const SUBGROUP_FEW_ROWS: u32 = 8;
const SMALL_WORK: u64 = 1 << 31;

/// Rows of the tile of a subgroup of `lanes`: a multiple of them.
fn subgroup_rows(lanes: u32, work: u64) -> u32 {
    if work < SMALL_WORK { SUBGROUP_FEW_ROWS.max(lanes) } else { SUBGROUP_ROWS }
}
const SUBGROUP_COLUMNS: u32 = 4;

fn constants(kernel: &Kernel, bytes: bool, lanes: u32, rows: u32) -> [(&'static str, u32); 6] {
    [
        ("BYTES", u32::from(bytes)),
        ("DEPTH", 16),
        ("SHARED", u32::from(kernel.subgroup)),
        ("LANES", lanes),
        ("ROWS", rows),
        ("COLUMNS", SUBGROUP_COLUMNS),
    ]
}

pub(super) fn shaders() -> Vec<Shader> {
    let of = |kernel, bytes, lanes, rows| Shader {
        kernel,
        constants: constants(kernel, bytes, lanes, rows).to_vec(),
    };
    let plain = [&TILES, &REGISTERS, &NORMS]
        .into_iter()
        .flat_map(|kernel| [false, true].map(|bytes| of(kernel, bytes, 8, SUBGROUP_ROWS)));
    let shared = [(4, 8), (4, 16), (8, 8), (8, 16), (16, 16)];
    plain.chain(shared.map(|(lanes, rows)| of(&SUBGROUP, true, lanes, rows))).collect()
}

pub(super) fn families(gpu: &Gpu, form: &str) -> Vec<&'static str> {
    match form {
        // A matrix product with an epilogue.
        "expanded" => matmul::gpu::families(gpu, "nt"),
        "u8" if fits(gpu.info().subgroup_size()).is_some() => vec!["tiles", "registers", "subgroup"],
        _ => vec!["tiles", "registers"],
    }
}

/// Records distances of pixels; returns queries × rows integers.
pub(super) fn record_u8(
    gpu: &Gpu,
    family: Option<&str>,
    x: &Buffer,
    y: &Buffer,
    shape: [usize; 3],
) -> Result<Buffer> {
    let [queries, rows, features] = shape;
    let out = gpu.alloc(4 * (queries * rows) as u64)?;
    let (x_terms, y_terms) = (norms(gpu, true, x, queries, features)?, norms(gpu, true, y, rows, features)?);
    record_bytes(gpu, family, [x, y, &out], shape, [&x_terms, &y_terms], 2)?;
    Ok(out)
}

/// Records distances of real rows; returns queries × rows of them.
pub(super) fn record_f32(
    gpu: &Gpu,
    family: Option<&str>,
    x: &Buffer,
    y: &Buffer,
    shape: [usize; 3],
    form: Form,
) -> Result<Buffer> {
    let [queries, rows, features] = shape;
    let out = gpu.alloc(4 * (queries * rows) as u64)?;
    match form {
        Form::Direct => launch(gpu, family, false, [x, y, x, y, &out], shape, 0)?,
        Form::Expanded => {
            let (x_norms, y_norms) =
                (norms(gpu, false, x, queries, features)?, norms(gpu, false, y, rows, features)?);
            let terms = Terms::Both { rows: &x_norms, columns: &y_norms };
            let epilogue = Epilogue { alpha: -2.0, terms, finish: Finish::AtLeast(0.0), side: None };
            matmul::gpu::record_into(gpu, family, x, y, &out, product(shape), &epilogue)?;
        }
    }
    Ok(out)
}

/// Records out[i][j] = x_terms[i] + y_terms[j] − scale·(xᵢ·yⱼ) in wrapping integers between rows of pixels padded to
/// [`GPU_PIXEL_ROW`].
pub(crate) fn record_bytes(
    gpu: &Gpu,
    family: Option<&str>,
    [x, y, out]: [&Buffer; 3],
    shape: [usize; 3],
    [x_terms, y_terms]: [&Buffer; 2],
    scale: u32,
) -> Result<()> {
    launch(gpu, family, true, [x, y, x_terms, y_terms, out], shape, scale)
}

/// Compiles what [`record_bytes`] will launch for this shape.
pub(crate) fn prepare_bytes(gpu: &Gpu, [queries, rows, features]: [usize; 3]) -> Result<()> {
    let subgroup = gpu.info().subgroup_size();
    let lanes = fits(subgroup).unwrap_or(8);
    let shared = subgroup_rows(lanes, 2 * (queries * rows * features) as u64);
    let kernel = choose(true, gpu.info().software(), subgroup);
    gpu.prepare(kernel, &constants(kernel, true, lanes, shared))
}

/// Records out[i][j] = rows[i] + bias[j] − xᵢ·yⱼ between real rows.
pub(crate) fn record_products(
    gpu: &Gpu,
    [x, y, out]: [&Buffer; 3],
    shape: [usize; 3],
    [rows, bias]: [&Buffer; 2],
) -> Result<()> {
    let terms = Terms::Both { rows, columns: bias };
    let epilogue = Epilogue { alpha: -1.0, terms, finish: Finish::AtLeast(f32::MIN), side: None };
    matmul::gpu::record_into(gpu, None, x, y, out, product(shape), &epilogue)
}

/// Records the sums of squares of `count` rows of pixels (`bytes`) or real numbers.
pub(crate) fn norms(gpu: &Gpu, bytes: bool, rows: &Buffer, count: usize, features: usize) -> Result<Buffer> {
    let out = gpu.alloc(4 * count as u64)?;
    let params = params(bytes, [count, 1, features], 1, 1, 0);
    gpu.record(&Launch {
        kernel: &NORMS,
        constants: &constants(&NORMS, bytes, 8, SUBGROUP_ROWS),
        buffers: &[rows, rows, rows, rows, &out],
        params: params.bytes(),
        groups: gpu.limits().grid(count.div_ceil(64) as u64)?.map(|n| if count == 0 { 0 } else { n }),
        work: (count * features) as u64,
    })?;
    Ok(out)
}

fn product([m, n, k]: [usize; 3]) -> MatmulShape {
    MatmulShape { b_transposed: true, ..MatmulShape::of([m, n, k]) }
}

fn params(
    bytes: bool,
    [queries, rows, features]: [usize; 3],
    across: usize,
    tiles: usize,
    scale: u32,
) -> L2Params {
    let words = if bytes { features.next_multiple_of(GPU_PIXEL_ROW) / 4 } else { features };
    let [queries, rows, words, across, tiles] = [queries, rows, words, across, tiles].map(|n| n as u32);
    L2Params { queries, rows, words, across, tiles, scale }
}

fn launch(
    gpu: &Gpu,
    family: Option<&str>,
    bytes: bool,
    buffers: [&Buffer; 5],
    shape @ [queries, rows, features]: [usize; 3],
    scale: u32,
) -> Result<()> {
    if queries == 0 || rows == 0 {
        return Ok(());
    }
    let subgroup = gpu.info().subgroup_size();
    let named = |name| [&TILES, &REGISTERS, &SUBGROUP].into_iter().find(|kernel| kernel.entry == name);
    let kernel = family.and_then(named).unwrap_or(choose(bytes, gpu.info().software(), subgroup));
    let lanes = fits(subgroup).unwrap_or(8);
    let work = 2 * (queries * rows * features) as u64;
    let shared = subgroup_rows(lanes, work);
    let ([down, across], tiles_a_group) = match kernel.entry {
        "tiles" => ([64, 64], 1),
        "subgroup" => ([shared as usize, (SUBGROUP_COLUMNS * lanes) as usize], 1),
        _ => ([4, 4], 8),
    };
    let across = rows.div_ceil(across);
    let tiles = across * queries.div_ceil(down);
    gpu.record(&Launch {
        kernel,
        constants: &constants(kernel, bytes, lanes, shared),
        buffers: &buffers,
        params: params(bytes, shape, across, tiles, scale).bytes(),
        groups: gpu.limits().grid(tiles.div_ceil(tiles_a_group) as u64)?,
        work,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_adapter_has_its_family() {
        assert_eq!(choose(true, true, Some(8)).entry, "subgroup");
        assert_eq!(choose(true, true, Some(32)).entry, "registers");
        assert_eq!(choose(false, true, Some(8)).entry, "registers");
        assert_eq!(choose(true, false, Some(32)).entry, "tiles");
        for (lanes, work, rows) in [(4, 0, 8), (8, 0, 8), (8, 1 << 40, 16), (16, 0, 16)] {
            assert_eq!(subgroup_rows(lanes, work), rows);
        }
    }
}
