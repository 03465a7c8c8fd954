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

const fn block_kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel { source: include_str!("../../../shaders/batchnorm.blocks.wgsl"), ..kernel(entry, buffers) }
}

static SUMS: Kernel = block_kernel("sums", &[READ, WRITE]);
static SQUARES: Kernel = block_kernel("squares", &[READ, WRITE]);
static APPLY: Kernel = block_kernel("apply", &[READ, WRITE, READ, READ, WRITE, WRITE]);
static APPLY_RUNNING: Kernel = block_kernel("apply_running", &[READ, WRITE, READ, READ, WRITE, WRITE, WRITE]);
static PAIRS: Kernel = block_kernel("pairs", &[READ, WRITE, READ, READ]);
static TOTALS: Kernel = block_kernel("totals", &[READ, WRITE, WRITE, WRITE]);
static GRADIENT: Kernel = block_kernel("gradient", &[READ, WRITE, READ, READ, READ, READ, READ]);

/// The families of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Columns,
    /// `Columns` in blocks of rows, and more launches; of training and the formula's gradient alone.
    Blocks,
    Tree,
}

/// Elements of a matrix from which on a software adapter takes it in blocks: less stays in a cache between its sweeps.
const LARGE: usize = 1 << 19;

impl Family {
    const ALL: [Self; 3] = [Self::Columns, Self::Blocks, Self::Tree];

    fn name(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::Blocks => "blocks",
            Self::Tree => "tree",
        }
    }

    /// Workgroup memory pays on a GPU and costs on a software adapter, unless a column is too long for one invocation there.
    fn choose(software: bool, kernel: &Kernel, [rows, columns]: [usize; 2]) -> Self {
        match software {
            true if Self::Blocks.has(kernel) && rows * columns >= LARGE => Self::Blocks,
            true if rounds(kernel, rows) <= LOOP_ROUNDS => Self::Columns,
            _ => Self::Tree,
        }
    }

    /// Whether it does what a kernel of one launch does.
    fn has(self, kernel: &Kernel) -> bool {
        self != Self::Blocks || ![TEST.entry, GRAPH.entry].contains(&kernel.entry)
    }

    /// The family of a name where it does what the kernel does, else the one for an adapter and a matrix.
    fn named(name: Option<&str>, gpu: &Gpu, kernel: &Kernel, shape: [usize; 2]) -> Self {
        let named = Self::ALL.into_iter().find(|family| Some(family.name()) == name && family.has(kernel));
        // Without rows there is no block, but statistics all the same.
        let named = named.filter(|family| *family != Self::Blocks || shape[0] > 0);
        named.unwrap_or_else(|| Self::choose(gpu.info().software(), kernel, shape))
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
            Family::Columns | Family::Blocks => Self { vector: whole, side: 8, lanes: 1, block: 0 },
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

    fn params(self, [rows, columns]: [usize; 2], settings: &Settings) -> BatchnormParams {
        BatchnormParams {
            rows: rows as u32,
            values: self.values(columns) as u32,
            block: self.block as u32,
            chain: self.chain(rows) as u32,
            n: rows.max(1) as f32,
            epsilon: settings.epsilon as f32,
            keep: settings.momentum as f32,
            take: (1.0 - settings.momentum) as f32,
        }
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
        for family in [Family::Columns, Family::Tree] {
            let mut plans = vec![Plan::new(kernel, family, 4), Plan::new(kernel, family, 1)];
            plans.dedup();
            all.extend(plans.into_iter().map(|plan| Shader { kernel, constants: plan.constants().to_vec() }));
        }
    }
    for kernel in [&SUMS, &SQUARES, &APPLY, &APPLY_RUNNING, &PAIRS, &TOTALS, &GRADIENT] {
        all.extend(
            [true, false].map(|vector| Shader { kernel, constants: block_constants(vector).to_vec() }),
        );
    }
    all
}

pub(super) fn families(_: &Gpu, form: &str) -> Vec<&'static str> {
    let blocks = ["train", "backward_formula"].contains(&form);
    let all = Family::ALL.into_iter().filter(|family| blocks || *family != Family::Blocks);
    all.map(Family::name).collect()
}

/// Values of an invocation of `blocks`: with 8 invocations and vectors, rows of 512 bytes.
const WIDTH: usize = 4;

fn block_constants(vector: bool) -> [(&'static str, u32); 3] {
    [("VECTOR", u32::from(vector)), ("COLUMNS", 8), ("WIDTH", WIDTH as u32)]
}

/// The launches of `blocks` over one matrix.
struct Blocks<'a> {
    gpu: &'a Gpu,
    params: BatchnormParams,
    /// Of the sums, two rows for each block.
    partials: Buffer,
    vector: bool,
    elements: usize,
}

impl<'a> Blocks<'a> {
    fn new(gpu: &'a Gpu, [rows, columns]: [usize; 2], settings: &Settings) -> Result<Self> {
        check_count(NAME, rows * columns)?;
        let plan = Plan::new(&TRAIN, Family::Blocks, columns);
        let params = plan.params([rows, columns], settings);
        let partials = gpu.alloc(8 * (columns * rows.div_ceil(plan.chain(rows))) as u64)?;
        Ok(Self { gpu, params, partials, vector: plan.vector, elements: rows * columns })
    }

    /// Records `kernel` over all blocks.
    fn launch(&self, kernel: &'static Kernel, buffers: &[&Buffer]) -> Result<()> {
        let down = self.params.rows.div_ceil(self.params.chain) as usize;
        self.groups(kernel, buffers, down * (self.params.values as usize).div_ceil(8 * WIDTH))
    }

    fn groups(&self, kernel: &'static Kernel, buffers: &[&Buffer], groups: usize) -> Result<()> {
        let constants = block_constants(self.vector);
        per_group(self.gpu, kernel, &constants, buffers, &self.params, groups, 8 * self.elements)
    }
}

/// What the forward passes take besides tensors.
struct Settings {
    epsilon: f64,
    momentum: f64,
}

fn launch(
    gpu: &Gpu,
    family: Family,
    kernel: &'static Kernel,
    buffers: &[&Buffer],
    [rows, columns]: [usize; 2],
    settings: &Settings,
) -> Result<()> {
    check_count(NAME, rows * columns)?;
    let plan = Plan::new(kernel, family, columns);
    check_rounds(gpu, NAME, "rows", rows, rounds(kernel, rows).div_ceil(plan.lanes))?;
    let values = plan.values(columns);
    let down = if kernel.entry == TEST.entry { rows.div_ceil(plan.block) } else { 1 };
    let params = plan.params([rows, columns], settings);
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
    let kernel = if running.is_some() { &TRAIN_RUNNING } else { &TRAIN };
    let settings = Settings { epsilon, momentum: running.map_or(1.0, |(_, momentum)| momentum) };
    let moments = running.map(|(moments, _)| moments);
    match Family::named(family, gpu, kernel, shape) {
        Family::Blocks => {
            let blocks = Blocks::new(gpu, shape, &settings)?;
            blocks.launch(&SUMS, &[x, &blocks.partials])?;
            blocks.launch(&SQUARES, &[x, &blocks.partials])?;
            let buffers = [x, &blocks.partials, gamma, beta, &out, &statistics].into_iter().chain(moments);
            let apply = if running.is_some() { &APPLY_RUNNING } else { &APPLY };
            blocks.launch(apply, &buffers.collect::<Vec<_>>())?;
        }
        family => {
            let buffers = [x, gamma, beta, &out, &statistics].into_iter().chain(moments);
            launch(gpu, family, kernel, &buffers.collect::<Vec<_>>(), shape, &settings)?;
        }
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
    let family = Family::named(family, gpu, &TEST, shape);
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
    let settings = Settings { epsilon: 0.0, momentum: 1.0 };
    match Family::named(family, gpu, kernel, shape) {
        Family::Blocks => {
            let blocks = Blocks::new(gpu, shape, &settings)?;
            blocks.launch(&PAIRS, &[x, &blocks.partials, dout, statistics])?;
            let columns = (blocks.params.values as usize).div_ceil(8);
            blocks.groups(&TOTALS, &[x, &blocks.partials, dgamma, dbeta], columns)?;
            blocks.launch(&GRADIENT, &[x, &dx, dout, statistics, gamma, dgamma, dbeta])?;
        }
        family => {
            let buffers = [x, gamma, dout, statistics, &dx, dgamma, dbeta];
            launch(gpu, family, kernel, &buffers, shape, &settings)?;
        }
    }
    Ok(dx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_and_lengths_get_their_family() {
        let choose = |software, kernel, rows, columns| Family::choose(software, kernel, [rows, columns]);
        assert_eq!(choose(true, &TRAIN, 256, 512), Family::Columns);
        assert_eq!(choose(true, &TRAIN, 256, 4096), Family::Blocks);
        assert_eq!(choose(true, &FORMULA, 1 << 20, 1), Family::Blocks);
        assert_eq!(choose(true, &TEST, 1 << 20, 1), Family::Columns);
        assert_eq!(choose(true, &GRAPH, 50_000, 10), Family::Columns);
        assert_eq!(choose(true, &GRAPH, 60_001, 10), Family::Tree);
        assert_eq!(choose(false, &FORMULA, 256, 4096), Family::Tree);
    }

    #[test]
    fn rows_of_whole_vectors_are_taken_as_vectors_where_that_leaves_enough_workgroups() {
        assert!(Plan::new(&TRAIN, Family::Columns, 12).vector);
        assert!(!Plan::new(&TRAIN, Family::Columns, 13).vector);
        assert!(!Plan::new(&FORMULA, Family::Tree, 12).vector);
        assert!(Plan::new(&TEST, Family::Tree, 12).vector);
    }
}
