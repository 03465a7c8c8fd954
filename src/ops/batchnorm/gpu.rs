//! Batch normalisation on an adapter.

use super::{Backward, NAME};
use crate::error::Result;
use crate::gpu::limits::LOOP_ROUNDS;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, check_rounds, per_group};
use crate::tolerance::block;

crate::params! {
    /// Parameters of `batchnorm.wgsl`.
    struct BatchnormParams {
        rows: u32,
        values: u32,
        block: u32,
        chain: u32,
        n: f32,
        epsilon: f32,
        keep: f32,
        take: f32,
    }
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: NAME,
        source: include_str!("../../../shaders/batchnorm.wgsl"),
        entry,
        buffers,
        fields: BatchnormParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

const READ: Access = Access::Read;
const WRITE: Access = Access::ReadWrite;

static TRAIN: Kernel = kernel("train", &[READ, READ, READ, WRITE, WRITE]);
static TRAIN_RUNNING: Kernel = kernel("train_running", &[READ, READ, READ, WRITE, WRITE, WRITE]);
static TEST: Kernel = kernel("test", &[READ, READ, READ, WRITE, READ]);
const BACKWARD: &[Access] = &[READ, READ, READ, READ, WRITE, WRITE, WRITE];
static FORMULA: Kernel = kernel("backward_formula", BACKWARD);
static GRAPH: Kernel = kernel("backward_graph", BACKWARD);

/// The two families of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Columns,
    Tree,
}

impl Family {
    const ALL: [Self; 2] = [Self::Columns, Self::Tree];

    fn name(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::Tree => "tree",
        }
    }

    /// Workgroup memory pays on a GPU and costs on a software adapter, unless a column is too long for one invocation there.
    fn choose(software: bool, rounds: usize) -> Self {
        if software && rounds <= LOOP_ROUNDS { Self::Columns } else { Self::Tree }
    }
}

/// How a kernel covers a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    vector: bool,
    /// Values of a workgroup.
    side: usize,
    /// Rows at a time.
    lanes: usize,
    /// Rows of a workgroup of `test`.
    block: usize,
}

impl Plan {
    /// Vectors where rows are whole ones. The sums of `tree` do without: four times as many workgroups are worth more than wider loads.
    fn new(kernel: &Kernel, family: Family, columns: usize) -> Self {
        let test = kernel.entry == TEST.entry;
        let whole = columns.is_multiple_of(4);
        match family {
            // Without sums nothing keeps an invocation in its columns: a workgroup sweeps along rows.
            Family::Columns if test => Self { vector: whole, side: 64, lanes: 1, block: 8 },
            Family::Columns => Self { vector: whole, side: 8, lanes: 1, block: 0 },
            Family::Tree => Self { vector: whole && test, side: 16, lanes: 16, block: 64 },
        }
    }

    fn values(self, columns: usize) -> usize {
        if self.vector { columns / 4 } else { columns }
    }

    /// Rows of a block of a sum: an invocation adds four at a time.
    fn chain(self, rows: usize) -> usize {
        let round = 4 * self.lanes;
        round * block(rows.div_ceil(round), 1)
    }

    fn constants(self) -> [(&'static str, u32); 3] {
        [("VECTOR", u32::from(self.vector)), ("COLUMNS", self.side as u32), ("LANES", self.lanes as u32)]
    }
}

/// Loop rounds that an invocation of `columns` makes: rows come four at a time, but two in the graph's second sweep.
fn rounds(kernel: &Kernel, rows: usize) -> usize {
    match kernel.entry {
        "backward_formula" => 2 * rows.div_ceil(4),
        "backward_graph" => 2 * rows.div_ceil(4) + rows.div_ceil(2),
        "test" => 0,
        _ => 3 * rows.div_ceil(4),
    }
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for kernel in [&TRAIN, &TRAIN_RUNNING, &TEST, &FORMULA, &GRAPH] {
        for family in Family::ALL {
            let mut plans = vec![Plan::new(kernel, family, 4), Plan::new(kernel, family, 1)];
            plans.dedup();
            all.extend(plans.into_iter().map(|plan| Shader { kernel, constants: plan.constants().to_vec() }));
        }
    }
    all
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    Family::ALL.map(Family::name).to_vec()
}

/// What the forward passes take besides tensors.
struct Settings {
    epsilon: f64,
    momentum: f64,
}

fn launch(
    gpu: &Gpu,
    family: Option<&str>,
    kernel: &'static Kernel,
    buffers: &[&Buffer],
    [rows, columns]: [usize; 2],
    settings: &Settings,
) -> Result<()> {
    check_count(NAME, rows * columns)?;
    let software = gpu.info().software();
    let family = Family::ALL
        .into_iter()
        .find(|known| Some(known.name()) == family)
        .unwrap_or(Family::choose(software, rounds(kernel, rows)));
    let plan = Plan::new(kernel, family, columns);
    check_rounds(gpu, NAME, "rows", rows, rounds(kernel, rows).div_ceil(plan.lanes))?;
    let values = plan.values(columns);
    let down = if kernel.entry == TEST.entry { rows.div_ceil(plan.block) } else { 1 };
    let params = BatchnormParams {
        rows: rows as u32,
        values: values as u32,
        block: plan.block as u32,
        chain: plan.chain(rows) as u32,
        n: rows.max(1) as f32,
        epsilon: settings.epsilon as f32,
        keep: settings.momentum as f32,
        take: (1.0 - settings.momentum) as f32,
    };
    let groups = values.div_ceil(plan.side) * down;
    per_group(gpu, kernel, &plan.constants(), buffers, &params, groups, 20 * rows * columns)
}

/// Records the forward pass of training over [x, γ, β]; returns [out, statistics].
pub(super) fn train(
    gpu: &Gpu,
    family: Option<&str>,
    [x, gamma, beta]: [&Buffer; 3],
    shape: [usize; 2],
    epsilon: f64,
    running: Option<(&Buffer, f64)>,
) -> Result<[Buffer; 2]> {
    let out = gpu.alloc(x.len())?;
    let statistics = gpu.alloc(2 * gamma.len())?;
    let buffers = [x, gamma, beta, &out, &statistics];
    match running {
        Some((moments, momentum)) => {
            let buffers = [&buffers[..], &[moments]].concat();
            launch(gpu, family, &TRAIN_RUNNING, &buffers, shape, &Settings { epsilon, momentum })?;
        }
        None => launch(gpu, family, &TRAIN, &buffers, shape, &Settings { epsilon, momentum: 1.0 })?,
    }
    Ok([out, statistics])
}

/// Records the output for [x, γ, β, moments].
pub(super) fn test(
    gpu: &Gpu,
    family: Option<&str>,
    [x, gamma, beta, moments]: [&Buffer; 4],
    shape: [usize; 2],
    epsilon: f64,
) -> Result<Buffer> {
    let out = gpu.alloc(x.len())?;
    let settings = Settings { epsilon, momentum: 1.0 };
    launch(gpu, family, &TEST, &[x, gamma, beta, &out, moments], shape, &settings)?;
    Ok(out)
}

/// Records the gradients for [x, γ, dout, statistics], those of γ and β into the buffers given; returns dx.
pub(super) fn backward(
    gpu: &Gpu,
    family: Option<&str>,
    [x, gamma, dout, statistics]: [&Buffer; 4],
    [dgamma, dbeta]: [&Buffer; 2],
    shape: [usize; 2],
    form: Backward,
) -> Result<Buffer> {
    let dx = gpu.alloc(x.len())?;
    let kernel = match form {
        Backward::Formula => &FORMULA,
        Backward::Graph => &GRAPH,
    };
    let buffers = [x, gamma, dout, statistics, &dx, dgamma, dbeta];
    launch(gpu, family, kernel, &buffers, shape, &Settings { epsilon: 0.0, momentum: 1.0 })?;
    Ok(dx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_and_lengths_get_their_family() {
        assert_eq!(Family::choose(true, rounds(&TRAIN, 256)), Family::Columns);
        assert_eq!(Family::choose(true, rounds(&TRAIN, 79_997)), Family::Columns);
        assert_eq!(Family::choose(true, rounds(&TRAIN, 80_001)), Family::Tree);
        assert_eq!(Family::choose(true, rounds(&TEST, 1 << 20)), Family::Columns);
        assert_eq!(Family::choose(false, rounds(&FORMULA, 256)), Family::Tree);
    }

    #[test]
    fn rows_of_whole_vectors_are_taken_as_vectors_where_that_leaves_enough_workgroups() {
        assert!(Plan::new(&TRAIN, Family::Columns, 12).vector);
        assert!(!Plan::new(&TRAIN, Family::Columns, 13).vector);
        assert!(!Plan::new(&FORMULA, Family::Tree, 12).vector);
        assert!(Plan::new(&TEST, Family::Tree, 12).vector);
    }
}
