//! Reductions on an adapter.

use super::{Axis, Kind};
use crate::error::Result;
use crate::gpu::limits::WORKGROUP_INVOCATIONS;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{GROUP, check_count, per_group, per_item};
use crate::ops::rowwise::Family;
use crate::tolerance::block;

crate::params! {
    /// Parameters of `reduce.wgsl`.
    #[derive(Default)]
    struct ReduceParams {
        rows: u32,
        columns: u32,
        lines: u32,
        vectors: u32,
        length: u32,
        chunk: u32,
        chunks: u32,
        block: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/reduce.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite],
        fields: ReduceParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static ROWS: Kernel = kernel("rows");
static COLUMNS: Kernel = kernel("columns");
static COMBINE: Kernel = kernel("combine");

/// Rows of 16 invocations each, with a vector of columns to an invocation.
const COLUMN_TEAM: usize = 16;

/// How a matrix is reduced: by which kernel, and in which chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    axis: Axis,
    shape: [usize; 2],
    /// Invocations of a workgroup, and those that share a line.
    group: usize,
    team: usize,
    /// Elements of a line that go together.
    chunk: usize,
}

impl Plan {
    /// Lines whole where there are many of them, else in as many chunks as occupy a device.
    fn choose(shape: [usize; 2], axis: Axis, software: bool, family: Option<&str>) -> Self {
        let [lines, length] = axis.lines(shape);
        let [group, team] = match axis {
            Axis::Rows => Family::choose(length, 0, software, family).teams(length),
            // Columns are read in order: there is no short one.
            Axis::Columns => match Family::choose(usize::MAX, 0, software, family) {
                Family::Invocation => [GROUP, 1],
                Family::Workgroup => [WORKGROUP_INVOCATIONS as usize, COLUMN_TEAM],
            },
        };
        let items = if axis == Axis::Rows { lines } else { lines.div_ceil(4) };
        let chunks = (if team == 1 { 1 << 12 } else { 1 << 17 }) / (items * team).max(1);
        // A chunk is worth a second launch, and its loops end on software adapters (see `LOOP_ROUNDS`): of 16 columns, or 4 rows, a round,
        // twice for moments.
        let (least, most) = match axis {
            Axis::Rows => (4096 * team.min(16), 1 << 18),
            Axis::Columns => (256 * team.min(4), 1 << 16),
        };
        let chunk = length.div_ceil(chunks.max(1)).clamp(least, most).next_multiple_of(4);
        Self { axis, shape, group, team, chunk }
    }

    fn chunks(self) -> usize {
        self.axis.lines(self.shape)[1].div_ceil(self.chunk).max(1)
    }

    /// Elements that an accumulator adds in one chain.
    fn block(self) -> usize {
        let side_by_side = if self.axis == Axis::Rows { 4 * self.team } else { self.team };
        block(self.chunk.min(self.axis.lines(self.shape)[1]).div_ceil(side_by_side), 4)
    }

    fn kernel(self) -> &'static Kernel {
        if self.axis == Axis::Rows { &ROWS } else { &COLUMNS }
    }

    fn groups(self) -> usize {
        let [rows, columns] = self.shape;
        let items = self.group / self.team;
        match self.axis {
            Axis::Rows => (rows * self.chunks()).div_ceil(items),
            Axis::Columns => columns.div_ceil(4).div_ceil(items) * self.chunks(),
        }
    }

    fn constants(self, kind: Kind) -> [(&'static str, u32); 4] {
        let aligned = self.shape[1].is_multiple_of(4);
        constants(kind, aligned, self.group, self.team)
    }
}

fn constants(kind: Kind, aligned: bool, group: usize, team: usize) -> [(&'static str, u32); 4] {
    let kind = match kind {
        Kind::Sum => 0,
        Kind::Moments => 1,
        Kind::Max => 2,
        Kind::Argmax => 3,
    };
    [("KIND", kind), ("ALIGNED", u32::from(aligned)), ("GROUP", group as u32), ("TEAM", team as u32)]
}

/// Every kernel with the constants it meets.
pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for kind in [Kind::Sum, Kind::Moments, Kind::Max, Kind::Argmax] {
        for columns in [4, 5] {
            let plans = [
                Plan::choose([1, columns], Axis::Rows, true, None),
                Plan::choose([1, 100 * columns], Axis::Rows, false, None),
                Plan::choose([1, 1000 * columns], Axis::Rows, false, None),
                Plan::choose([1, columns], Axis::Columns, true, None),
                Plan::choose([1, columns], Axis::Columns, false, None),
            ];
            all.extend(
                plans.map(|plan| Shader { kernel: plan.kernel(), constants: plan.constants(kind).to_vec() }),
            );
        }
        all.push(Shader { kernel: &COMBINE, constants: constants(kind, false, GROUP, 1).to_vec() });
    }
    all
}

/// Records a reduction; returns its result, and for moments the second.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    x: &Buffer,
    shape: [usize; 2],
    axis: Axis,
    kind: Kind,
) -> Result<[Buffer; 2]> {
    let [rows, columns] = shape;
    let [lines, length] = axis.lines(shape);
    check_count(super::NAME, rows * columns)?;
    let plan = Plan::choose(shape, axis, gpu.info().software(), family);
    let chunks = plan.chunks();
    let params = |block: usize| ReduceParams {
        rows: rows as u32,
        columns: columns as u32,
        lines: lines as u32,
        vectors: columns.div_ceil(4) as u32,
        length: length as u32,
        chunk: plan.chunk as u32,
        chunks: chunks as u32,
        block: block as u32,
    };
    // Whole lines give what is asked for; chunks also what joins them.
    let alloc = |chunks: usize| {
        let two = kind == Kind::Moments || (kind == Kind::Argmax && chunks > 1);
        let bytes = 4 * (lines * chunks) as u64;
        Ok([gpu.alloc(bytes)?, gpu.alloc(if two { bytes } else { 0 })?])
    };
    let [first, second] = alloc(chunks)?;
    let buffers = [x, x, &first, &second];
    let sweeps = if kind == Kind::Moments { 2 } else { 1 };
    let work = 4 * sweeps * rows * columns;
    per_group(
        gpu,
        plan.kernel(),
        &plan.constants(kind),
        &buffers,
        &params(plan.block()),
        plan.groups(),
        work,
    )?;
    if chunks == 1 {
        return Ok([first, second]);
    }
    let joined = alloc(1)?;
    let buffers = [&first, &second, &joined[0], &joined[1]];
    let params = params(block(chunks, 1));
    per_item(gpu, &COMBINE, &constants(kind, false, GROUP, 1), &buffers, &params, lines, 8 * lines * chunks)?;
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_there_are_few_and_they_are_long() {
        let chunks = |shape, axis, software| Plan::choose(shape, axis, software, None).chunks();
        assert_eq!(chunks([256, 512], Axis::Columns, false), 1);
        assert_eq!(chunks([256, 512], Axis::Columns, true), 1);
        assert_eq!(chunks([4096, 1024], Axis::Rows, false), 1);
        assert!(chunks([50_000, 10], Axis::Columns, false) > 40);
        assert!(chunks([50_000, 10], Axis::Columns, true) > 40);
        assert!(chunks([1, 1_000_000], Axis::Rows, true) > 40);
    }

    #[test]
    fn loops_end_on_software_adapters() {
        for (shape, axis) in [([1, 1 << 29], Axis::Rows), ([1 << 29, 1], Axis::Columns)] {
            let plan = Plan::choose(shape, axis, true, Some("invocation"));
            let a_round = if axis == Axis::Rows { 16 } else { 4 };
            assert!(2 * (plan.chunk / a_round + 8) < crate::gpu::limits::LOOP_ROUNDS);
            assert!(2 * plan.chunks() < crate::gpu::limits::LOOP_ROUNDS);
        }
    }
}
