//! Layer normalisation on an adapter.

use super::NAME;
use crate::error::Result;
use crate::gpu::limits::LOOP_ROUNDS;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, check_rounds, per_group};
use crate::tolerance::block;

crate::params! {
    /// Parameters of `layernorm.wgsl`.
    struct LayernormParams {
        rows: u32,
        values: u32,
        chain: u32,
        n: f32,
        epsilon: f32,
    }
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: NAME,
        source: include_str!("../../../shaders/layernorm.wgsl"),
        entry,
        buffers,
        fields: LayernormParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

const READ: Access = Access::Read;
const WRITE: Access = Access::ReadWrite;

static FORWARD: Kernel = kernel("forward", &[READ, READ, READ, WRITE, WRITE]);
static ROWS: Kernel = kernel("backward_rows", &[READ, READ, READ, READ, WRITE]);
static COLUMNS: Kernel = kernel("backward_columns", &[READ, WRITE, READ, READ, WRITE]);

/// The two families of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Single,
    Tree,
}

impl Family {
    const ALL: [Self; 2] = [Self::Single, Self::Tree];

    fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Tree => "tree",
        }
    }

    /// Workgroup memory pays on a GPU and costs on a software adapter, unless a row or column is too long for one invocation there.
    fn choose(software: bool, rounds: usize) -> Self {
        if software && rounds <= LOOP_ROUNDS { Self::Single } else { Self::Tree }
    }
}

/// How a kernel covers a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    vector: bool,
    items: usize,
    lanes: usize,
}

impl Plan {
    /// Vectors where rows are whole ones. The sums down the columns of `tree` do without: four times as many workgroups are worth more.
    fn new(kernel: &Kernel, family: Family, columns: usize) -> Self {
        let down = kernel.entry == COLUMNS.entry;
        let vector = columns.is_multiple_of(4) && !(down && family == Family::Tree);
        let values = if vector { columns / 4 } else { columns };
        let (items, lanes) = match family {
            Family::Single => (8, 1),
            Family::Tree if down => (16, 16),
            Family::Tree if values <= 256 => (8, 32),
            Family::Tree => (1, 256),
        };
        Self { vector, items, lanes }
    }

    fn values(self, columns: usize) -> usize {
        if self.vector { columns / 4 } else { columns }
    }

    fn constants(self) -> [(&'static str, u32); 3] {
        let [items, lanes] = [self.items, self.lanes].map(|side| side as u32);
        [("VECTOR", u32::from(self.vector)), ("ITEMS", items), ("LANES", lanes)]
    }
}

/// Loop rounds that an invocation of `single` makes over `length` values or rows.
fn rounds(kernel: &Kernel, length: usize) -> usize {
    match kernel.entry {
        "forward" => 3 * length.div_ceil(4),
        "backward_rows" => 2 * length.div_ceil(2),
        _ => length.div_ceil(4),
    }
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for kernel in [&FORWARD, &ROWS, &COLUMNS] {
        for family in Family::ALL {
            let mut plans: Vec<Plan> = Vec::new();
            for columns in [4, 1, 1028, 1027] {
                let plan = Plan::new(kernel, family, columns);
                if !plans.contains(&plan) {
                    plans.push(plan);
                }
            }
            all.extend(plans.into_iter().map(|plan| Shader { kernel, constants: plan.constants().to_vec() }));
        }
    }
    all
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    Family::ALL.map(Family::name).to_vec()
}

fn launch(
    gpu: &Gpu,
    family: Option<&str>,
    kernel: &'static Kernel,
    buffers: &[&Buffer],
    [rows, columns]: [usize; 2],
    epsilon: f64,
) -> Result<()> {
    check_count(NAME, rows * columns)?;
    let down = kernel.entry == COLUMNS.entry;
    let single = Plan::new(kernel, Family::Single, columns).values(columns);
    let length = if down { rows } else { single };
    let software = gpu.info().software();
    let family = Family::ALL
        .into_iter()
        .find(|known| Some(known.name()) == family)
        .unwrap_or(Family::choose(software, rounds(kernel, length)));
    let plan = Plan::new(kernel, family, columns);
    let what = if down { "rows" } else { "features" };
    check_rounds(gpu, NAME, what, length, rounds(kernel, length).div_ceil(plan.lanes))?;
    let values = plan.values(columns);
    // An invocation adds four at a time.
    let round = 4 * plan.lanes;
    let chain = round * block(if down { rows } else { values }.div_ceil(round), 1);
    let params = LayernormParams {
        rows: rows as u32,
        values: values as u32,
        chain: chain as u32,
        n: columns.max(1) as f32,
        epsilon: epsilon as f32,
    };
    let items = if down { values } else { rows };
    let groups = items.div_ceil(plan.items);
    per_group(gpu, kernel, &plan.constants(), buffers, &params, groups, 20 * rows * columns)
}

/// Records the forward pass over [x, γ, β]; returns [out, statistics].
pub(super) fn forward(
    gpu: &Gpu,
    family: Option<&str>,
    [x, gamma, beta]: [&Buffer; 3],
    shape: [usize; 2],
    epsilon: f64,
) -> Result<[Buffer; 2]> {
    let out = gpu.alloc(x.len())?;
    let statistics = gpu.alloc(8 * shape[0] as u64)?;
    launch(gpu, family, &FORWARD, &[x, gamma, beta, &out, &statistics], shape, epsilon)?;
    Ok([out, statistics])
}

/// Records the gradients for [x, γ, dout, statistics], those of γ and β into the buffers given; returns dx.
pub(super) fn backward(
    gpu: &Gpu,
    family: Option<&str>,
    [x, gamma, dout, statistics]: [&Buffer; 4],
    [dgamma, dbeta]: [&Buffer; 2],
    shape: [usize; 2],
) -> Result<Buffer> {
    let dx = gpu.alloc(x.len())?;
    launch(gpu, family, &ROWS, &[x, gamma, dout, statistics, &dx], shape, 0.0)?;
    launch(gpu, family, &COLUMNS, &[x, dgamma, dout, statistics, dbeta], shape, 0.0)?;
    Ok(dx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_and_lengths_get_their_family() {
        assert_eq!(Family::choose(true, rounds(&FORWARD, 1024)), Family::Single);
        assert_eq!(Family::choose(true, rounds(&FORWARD, 80_001)), Family::Tree);
        assert_eq!(Family::choose(false, rounds(&FORWARD, 10)), Family::Tree);
    }

    #[test]
    fn long_rows_get_a_workgroup_and_short_ones_share_it() {
        let plan = |kernel, columns| {
            let Plan { vector, items, lanes } = Plan::new(kernel, Family::Tree, columns);
            (vector, items, lanes)
        };
        assert_eq!(plan(&FORWARD, 1024), (true, 8, 32));
        assert_eq!(plan(&FORWARD, 1028), (true, 1, 256));
        assert_eq!(plan(&ROWS, 257), (false, 1, 256));
        assert_eq!(plan(&COLUMNS, 1024), (false, 16, 16));
    }
}
