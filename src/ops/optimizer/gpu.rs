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

/// The kernels of a rule with so many states: for one group, and for several, whose owners and table of numbers come first.
const fn kernels(entry: &'static str, states: usize) -> [Kernel; 2] {
    const ALL: &[Access; 6] =
        &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite];
    let grouped = ALL.split_at(4 + states).0;
    [kernel(entry, grouped.split_at(2).1), kernel(entry, grouped)]
}

const fn kernel(entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/optimizer.wgsl"),
        entry,
        buffers,
        fields: OptimizerParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static SGD: [Kernel; 2] = kernels("sgd", 0);
static MOMENTUM: [Kernel; 2] = kernels("momentum", 1);
static NESTEROV: [Kernel; 2] = kernels("nesterov", 1);
static RMS: [Kernel; 2] = kernels("rms", 1);
static ADAM: [Kernel; 2] = kernels("adam", 2);

pub(super) fn shaders() -> Vec<Shader> {
    let both = [&SGD, &MOMENTUM, &NESTEROV, &RMS, &ADAM].into_iter().flat_map(|both| both.iter().zip(0..));
    both.map(|(kernel, grouped)| Shader { kernel, constants: constants(grouped).to_vec() }).collect()
}

fn constants(grouped: u32) -> [(&'static str, u32); 1] {
    [("GROUPED", grouped)]
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
    rules: &[Rule],
    steps: &[Step],
    owners: Option<&mut Owners>,
    [w, gradient]: [&Buffer; 2],
    state: &[&Buffer],
) -> Result<()> {
    let n = w.len() as usize / 4;
    check_count(super::NAME, n)?;
    let (Some(rule), Some(step)) = (rules.first(), steps.first()) else { return Ok(()) };
    let [one, grouped] = match rule {
        Rule::Sgd => &SGD,
        Rule::Momentum { .. } => &MOMENTUM,
        Rule::Nesterov { .. } => &NESTEROV,
        Rule::Adagrad { .. } | Rule::RmsProp { .. } => &RMS,
        Rule::Adam { .. } | Rule::AdamW { .. } => &ADAM,
    };
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
        per_item(gpu, kernel, &constants(u32::from(table.is_some())), &buffers, &params, vectors, bytes)?;
    }
    Ok(())
}
