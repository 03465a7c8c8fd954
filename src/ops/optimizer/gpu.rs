//! Steps of gradient descent on an adapter.

use super::{Rule, Step};
use crate::cpu::optimizer::Scalars;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::Shader;
use crate::ops::launch::{check_count, per_item};

crate::params! {
    /// Parameters of `optimizer.wgsl`.
    struct OptimizerParams {
        vectors: u32,
        regularized: u32,
        rate: f32,
        l2: f32,
        keep: f32,
        first_decay: f32,
        first_share: f32,
        second_decay: f32,
        second_share: f32,
        correction: f32,
        epsilon: f32,
    }
}

const SOURCE: &str = include_str!("../../../shaders/optimizer.wgsl");
const WORDS_SOURCE: &str = concat!(
    include_str!("../../../shaders/prelude.native.wgsl"),
    include_str!("../../../shaders/optimizer.wgsl")
);

/// The kernels of a rule: portable and by 64-bit words; each for one group, and for several.
type Kernels = [[Kernel; 2]; 2];

/// The kernels of a rule with so many states. Those for several groups have the owners and the table of numbers before the rest.
const fn kernels(entry: &'static str, states: usize) -> Kernels {
    const ALL: &[Access; 6] =
        &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];
    let grouped = ALL.split_at(4 + states).0;
    let one = grouped.split_at(2).1;
    [
        [kernel(entry, false, one), kernel(entry, false, grouped)],
        [kernel(entry, true, one), kernel(entry, true, grouped)],
    ]
}

const fn kernel(entry: &'static str, words: bool, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: super::NAME,
        source: if words { WORDS_SOURCE } else { SOURCE },
        entry,
        buffers,
        fields: OptimizerParams::FIELDS,
        subgroup: false,
        native: words,
    }
}

static SGD: Kernels = kernels("sgd", 0);
static MOMENTUM: Kernels = kernels("momentum", 1);
static NESTEROV: Kernels = kernels("nesterov", 1);
static RMS: Kernels = kernels("rms", 1);
static ADAM: Kernels = kernels("adam", 2);

fn kernels_of(rule: &Rule) -> &'static Kernels {
    match rule {
        Rule::Sgd => &SGD,
        Rule::Momentum { .. } => &MOMENTUM,
        Rule::Nesterov { .. } => &NESTEROV,
        Rule::Adagrad { .. } | Rule::RmsProp { .. } => &RMS,
        Rule::Adam { .. } | Rule::AdamW { .. } => &ADAM,
    }
}

pub(super) fn shaders() -> Vec<Shader> {
    let all = [&SGD, &MOMENTUM, &NESTEROV, &RMS, &ADAM].into_iter().flatten();
    let both = all.flat_map(|both| both.iter().zip([false, true]));
    both.map(|(kernel, grouped)| Shader { kernel, constants: constants(kernel, grouped).to_vec() }).collect()
}

fn constants(kernel: &Kernel, grouped: bool) -> [(&'static str, u32); 2] {
    [("GROUPED", u32::from(grouped)), ("NATIVE", u32::from(kernel.native))]
}

/// The families, by what is loaded and stored at once.
const VECTORS: &str = "vectors";
const WORDS: &str = "words";

pub(super) fn families(gpu: &Gpu, _: &str) -> Vec<&'static str> {
    let words = gpu.info().features.int64.then_some(WORDS);
    [VECTORS].into_iter().chain(words).collect()
}

/// Tables that wait for their launches: a submission takes as many steps before an upload must wait for it.
const TABLES: usize = 16;

/// The group of each element, and where each step's numbers go.
#[derive(Debug)]
pub(super) struct Owners {
    gpu: Gpu,
    elements: Buffer,
    /// Written in turn, so that recorded steps keep theirs and no step makes a buffer.
    tables: Vec<Buffer>,
    next: usize,
}

impl Owners {
    pub fn new(gpu: &Gpu, owners: &[u32], groups: usize) -> Result<Self> {
        let bytes = (groups * size_of::<Scalars>()) as u64;
        Ok(Self {
            gpu: gpu.clone(),
            elements: gpu.upload(bytemuck::cast_slice(owners))?,
            tables: (0..TABLES).map(|_| gpu.alloc(bytes)).collect::<Result<_>>()?,
            next: 0,
        })
    }

    pub fn on(&self, gpu: &Gpu) -> bool {
        self.gpu.same(gpu)
    }

    /// Owners and the numbers of a step.
    fn table(&mut self, numbers: &[Scalars]) -> Result<[&Buffer; 2]> {
        let table = &self.tables[self.next];
        self.next = (self.next + 1) % TABLES;
        self.gpu.write(table, bytemuck::cast_slice(numbers))?;
        Ok([&self.elements, table])
    }
}

/// Records one step of the parameters `w` and their state, in place: in one launch, or in as few as the device's bindings allow.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    rules: &[Rule],
    steps: &[Step],
    owners: Option<&mut Owners>,
    [w, gradient]: [&Buffer; 2],
    state: &[&Buffer],
) -> Result<()> {
    let n = w.len() as usize / 4;
    check_count(super::NAME, n)?;
    let (Some(rule), Some(step)) = (rules.first(), steps.first()) else { return Ok(()) };
    let usual = if gpu.info().software() { WORDS } else { VECTORS };
    let words = families(gpu, "").contains(&WORDS) && family.unwrap_or(usual) == WORDS;
    let [one, grouped] = &kernels_of(rule)[usize::from(words)];
    let numbers: Vec<_> = rules.iter().zip(steps).map(|(rule, step)| Scalars::new(rule, step)).collect();
    let table = owners.map(|owners| owners.table(&numbers)).transpose()?;
    let kernel = if table.is_some() { grouped } else { one };
    // Of several groups, the kernel takes the numbers from the table.
    let Scalars { rate, l2, keep, first_decay, first_share, second_decay, second_share, correction, epsilon } =
        numbers[0];
    let chunk = gpu.limits().rows_per_chunk(super::NAME, 4, gpu.limits().binding_bytes)? as usize;
    for start in (0..n).step_by(chunk) {
        let count = chunk.min(n - start);
        let vectors = count.div_ceil(4);
        let params = OptimizerParams {
            vectors: vectors as u32,
            regularized: step.regularized.saturating_sub(start) as u32,
            rate,
            l2,
            keep,
            first_decay,
            first_share,
            second_decay,
            second_share,
            correction,
            epsilon,
        };
        let part = |buffer: &Buffer| gpu.slice(buffer, 4 * start as u64, 4 * count as u64);
        let mut parts = Vec::with_capacity(kernel.buffers.len());
        if let Some([owners, table]) = table {
            parts.extend([part(owners)?, table.clone()]);
        }
        for buffer in [gradient, w].into_iter().chain(state.iter().copied()) {
            parts.push(part(buffer)?);
        }
        let buffers: Vec<&Buffer> = parts.iter().collect();
        let bytes = (12 + 8 * state.len() + if table.is_some() { 4 } else { 0 }) * count;
        per_item(gpu, kernel, &constants(kernel, table.is_some()), &buffers, &params, vectors, bytes)?;
    }
    Ok(())
}
