//! A kernel small enough to check by eye, in two forms, and the calls around it.

use std::sync::OnceLock;

use cs231n_gpu::gpu::{Access, Buffer, Gpu, Kernel, Launch, Options, Params};

use super::open;

cs231n_gpu::params! {
    /// Parameters of the kernels below.
    pub struct Affine {
        pub n: u32,
        pub factor: f32,
        pub addend: f32,
    }
}

/// `y = factor * x + addend`, over more groups than one dimension takes.
pub const AFFINE: &str = "
struct Params { n: u32, factor: f32, addend: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(GROUP) fn affine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * GROUP + lane;
    if i < params.n { y[i] = fma(params.factor, x[i], params.addend); }
}
";

/// The same in place.
pub const IN_PLACE: &str = "
struct Params { n: u32, factor: f32, addend: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64) fn in_place(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n { y[id.x] = fma(params.factor, y[id.x], params.addend); }
}
";

pub const fn kernel(source: &'static str, entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel { op: "test", source, entry, buffers, fields: Affine::FIELDS, subgroup: false, native: false }
}

pub static COPY: Kernel = kernel(AFFINE, "affine", &[Access::Read, Access::ReadWrite]);
pub static STEP: Kernel = kernel(IN_PLACE, "in_place", &[Access::ReadWrite]);

/// Without poison, so that the counters show what a release build does.
pub fn plain() -> Options {
    Options { poison: false, ..Options::default() }
}

/// One device for the tests that need no counters of their own.
pub fn shared() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| open(plain())).clone()
}

pub fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

pub fn upload(gpu: &Gpu, values: &[f32]) -> Buffer {
    gpu.upload(bytemuck::cast_slice(values)).expect("upload")
}

pub fn floats(gpu: &Gpu, buffer: &Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&gpu.read(buffer, 0..buffer.len()).expect("read"))
}

/// `y = factor * x + addend` over all of `x`, in groups of `group` invocations.
pub fn affine(gpu: &Gpu, x: &Buffer, y: &Buffer, group: u32, factor: f32, addend: f32) {
    let n = (x.len() / 4) as u32;
    gpu.record(&Launch {
        kernel: &COPY,
        constants: &[("GROUP", group)],
        buffers: &[x, y],
        params: Affine { n, factor, addend }.bytes(),
        groups: gpu.limits().grid(u64::from(n.div_ceil(group))).expect("grid"),
        work: u64::from(n) * 2,
    })
    .expect("record");
}

/// `y = factor * y + addend`.
pub fn step(gpu: &Gpu, y: &Buffer, factor: f32, addend: f32) {
    step_of(gpu, y, factor, addend, y.len());
}

/// The same, with an estimate of its work.
pub fn step_of(gpu: &Gpu, y: &Buffer, factor: f32, addend: f32, work: u64) {
    let n = (y.len() / 4) as u32;
    gpu.record(&Launch {
        kernel: &STEP,
        constants: &[],
        buffers: &[y],
        params: Affine { n, factor, addend }.bytes(),
        groups: [n.div_ceil(64), 1, 1],
        work,
    })
    .expect("record");
}
