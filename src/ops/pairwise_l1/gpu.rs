//! Manhattan distances on an adapter.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use crate::tensor::GPU_PIXEL_ROW;

crate::params! {
    /// Parameters of `pairwise_l1.wgsl`.
    struct L1Params {
        queries: u32,
        rows: u32,
        words: u32,
        across: u32,
        tiles: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/pairwise_l1.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: L1Params::FIELDS,
        subgroup: false,
        native: false,
    }
}

static TILES: Kernel = kernel("tiles");
static REGISTERS: Kernel = kernel("registers");

fn constants(bytes: bool) -> [(&'static str, u32); 2] {
    [("BYTES", u32::from(bytes)), ("DEPTH", 16)]
}

/// Workgroup memory pays on a GPU and costs on a software adapter.
fn choose(software: bool) -> &'static Kernel {
    if software { &REGISTERS } else { &TILES }
}

pub(super) fn shaders() -> Vec<Shader> {
    let all = [&TILES, &REGISTERS].into_iter().flat_map(|kernel| [false, true].map(|bytes| (kernel, bytes)));
    all.map(|(kernel, bytes)| Shader { kernel, constants: constants(bytes).to_vec() }).collect()
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    vec![TILES.entry, REGISTERS.entry]
}

/// Records out[i][j] = Σ|xᵢ − yⱼ| between `queries` and `rows` rows of `features` values: exact u32 for `bytes`
/// (rows padded to [`GPU_PIXEL_ROW`]), else f32. `out` is queries × rows.
pub(crate) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    bytes: bool,
    [x, y, out]: [&Buffer; 3],
    [queries, rows, features]: [usize; 3],
) -> Result<()> {
    if queries == 0 || rows == 0 {
        return Ok(());
    }
    let named = |name| [&TILES, &REGISTERS].into_iter().find(|kernel| kernel.entry == name);
    let kernel = family.and_then(named).unwrap_or(choose(gpu.info().software()));
    let (side, tiles_a_group) = if kernel.entry == TILES.entry { (64, 1) } else { (4, 8) };
    let across = rows.div_ceil(side);
    let tiles = across * queries.div_ceil(side);
    let params = L1Params {
        queries: queries as u32,
        rows: rows as u32,
        words: if bytes { features.next_multiple_of(GPU_PIXEL_ROW) / 4 } else { features } as u32,
        across: across as u32,
        tiles: tiles as u32,
    };
    gpu.record(&Launch {
        kernel,
        constants: &constants(bytes),
        buffers: &[x, y, out],
        params: params.bytes(),
        groups: gpu.limits().grid(tiles.div_ceil(tiles_a_group) as u64)?,
        work: 2 * (queries * rows * features) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_adapter_has_its_family() {
        assert_eq!(choose(true).entry, "registers");
        assert_eq!(choose(false).entry, "tiles");
    }
}
