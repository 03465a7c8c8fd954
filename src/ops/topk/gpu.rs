//! Selection on an adapter.

use crate::error::Result;
use crate::gpu::limits::LOOP_ROUNDS;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use crate::order;
use crate::tensor::DType;

crate::params! {
    /// Parameters of `topk.wgsl`.
    struct TopkParams {
        start: u32,
        stride: u32,
        rows: u32,
        columns: u32,
        k: u32,
        seen: u32,
        index: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/topk.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: TopkParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static WORKGROUP: Kernel = kernel("workgroup_select");
static REGISTERS: Kernel = kernel("registers_select");

/// Largest k whose state an invocation keeps in registers.
const REGISTERS_K: usize = 64;

/// Columns of one launch: `registers` makes a loop round for each ([`LOOP_ROUNDS`]), and a longer tile is no quicker.
const MOST_COLUMNS: usize = LOOP_ROUNDS / 2;

/// Bytes of one (key, index) pair.
const PAIR: u64 = 8;

/// The two ways to select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Workgroup,
    Registers,
}

impl Family {
    fn named(name: &str) -> Option<Self> {
        [Self::Workgroup, Self::Registers].into_iter().find(|family| family.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Workgroup => "workgroup",
            Self::Registers => "registers",
        }
    }

    /// Barriers are slow on a software adapter, where a row an invocation also fills all lanes; a GPU needs the many
    /// invocations of a workgroup a row.
    fn choose(software: bool, k: usize) -> Self {
        if software && k <= REGISTERS_K { Self::Registers } else { Self::Workgroup }
    }

    fn shader(self, floats: bool, k: usize) -> (&'static Kernel, [(&'static str, u32); 3]) {
        let (kernel, size) = match self {
            Self::Workgroup => (&WORKGROUP, 1),
            Self::Registers => (&REGISTERS, k as u32),
        };
        (kernel, [("FLOATS", u32::from(floats)), ("K", size), ("LAST", size - 1)])
    }
}

/// The shaders, the registers' at the ends of their range.
pub(super) fn shaders() -> Vec<Shader> {
    let ways = [
        (Family::Workgroup, 1),
        (Family::Registers, 1),
        (Family::Registers, 10),
        (Family::Registers, REGISTERS_K),
    ];
    let all = ways.iter().flat_map(|&(family, k)| [false, true].map(|floats| family.shader(floats, k)));
    all.map(|(kernel, constants)| Shader { kernel, constants: constants.to_vec() }).collect()
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    vec![Family::Workgroup.name(), Family::Registers.name()]
}

/// The k smallest of each of a number of rows, on the device, while tiles of columns stream past.
#[derive(Debug)]
pub(crate) struct Selection {
    gpu: Gpu,
    family: Family,
    rows: usize,
    k: usize,
    seen: usize,
    state: Buffer,
    next: Buffer,
}

impl Selection {
    /// Nothing selected yet of `rows` rows. Takes 16·rows·k bytes of device memory.
    pub(crate) fn new(gpu: &Gpu, rows: usize, k: usize) -> Result<Self> {
        Self::with_family(gpu, Family::choose(gpu.info().software(), k), rows, k)
    }

    fn with_family(gpu: &Gpu, family: Family, rows: usize, k: usize) -> Result<Self> {
        // What was asked for does not fit the registers: the general way serves any k.
        let family = if k > REGISTERS_K { Family::Workgroup } else { family };
        let bytes = PAIR * rows as u64 * k as u64;
        gpu.limits().check_binding("the selected neighbours", bytes)?;
        let (state, next) = (gpu.alloc(bytes)?, gpu.alloc(bytes)?);
        Ok(Self { gpu: gpu.clone(), family, rows, k, seen: 0, state, next })
    }

    /// Considers `columns` columns of every row: keys (or, with `floats`, f32 values), row-major. `row` is the tile's
    /// row that belongs to the first row of the selection; `index` is the number of the tile's first column, which
    /// must not be below those of earlier tiles.
    pub(crate) fn merge(
        &mut self,
        tile: &Buffer,
        floats: bool,
        row: usize,
        columns: usize,
        index: u32,
    ) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        for first in (0..columns).step_by(MOST_COLUMNS) {
            let part = MOST_COLUMNS.min(columns - first);
            let params = TopkParams {
                start: (row * columns + first) as u32,
                stride: columns as u32,
                rows: self.rows as u32,
                columns: part as u32,
                k: self.k as u32,
                seen: self.seen as u32,
                index: index + first as u32,
            };
            let (kernel, constants) = self.family.shader(floats, self.k);
            let groups = match self.family {
                Family::Workgroup => self.rows,
                Family::Registers => self.rows.div_ceil(64),
            };
            self.gpu.record(&Launch {
                kernel,
                constants: &constants,
                buffers: &[tile, &self.state, &self.next],
                params: params.bytes(),
                groups: self.gpu.limits().grid(groups as u64)?,
                work: 4 * (self.rows * part) as u64,
            })?;
            std::mem::swap(&mut self.state, &mut self.next);
            self.seen = (self.seen + part).min(self.k);
        }
        Ok(())
    }

    /// The selected candidates (see [`crate::order`]) of every row, ascending: rows × min(k, columns seen).
    pub(crate) fn finish(self) -> Result<Vec<u64>> {
        let mut pairs = vec![[0u32; 2]; self.rows * self.k];
        if !pairs.is_empty() && self.seen > 0 {
            self.gpu.read_into(&self.state, 0, bytemuck::cast_slice_mut(&mut pairs))?;
        }
        let mut candidates = Vec::with_capacity(self.rows * self.seen);
        for row in pairs.chunks_exact(self.k) {
            let start = candidates.len();
            candidates.extend(row[..self.seen].iter().map(|&[key, index]| order::candidate(key, index)));
            candidates[start..].sort_unstable();
        }
        Ok(candidates)
    }
}

/// The k smallest of every row of a matrix on the device, as candidates with columns for indices.
pub(super) fn select(
    gpu: &Gpu,
    family: Option<&str>,
    values: &Buffer,
    dtype: DType,
    [rows, columns]: [usize; 2],
    k: usize,
) -> Result<Vec<u64>> {
    let family = family.and_then(Family::named).unwrap_or(Family::choose(gpu.info().software(), k));
    let chunk = gpu.limits().rows_per_chunk("the selected values", PAIR * k as u64, u64::MAX)? as usize;
    let mut candidates = Vec::with_capacity(rows * k);
    for row in (0..rows).step_by(chunk) {
        let mut selection = Selection::with_family(gpu, family, chunk.min(rows - row), k)?;
        selection.merge(values, dtype == DType::Real, row, columns, 0)?;
        candidates.extend(selection.finish()?);
    }
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_adapters_select_in_registers_while_they_last() {
        assert_eq!(Family::choose(true, 10), Family::Registers);
        assert_eq!(Family::choose(true, REGISTERS_K + 1), Family::Workgroup);
        assert_eq!(Family::choose(false, 10), Family::Workgroup);
    }
}
