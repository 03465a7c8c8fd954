//! The GPU runtime on whatever adapter there is, a software one included.

mod common;

use std::sync::OnceLock;

use common::open;
use cs231n_gpu::gpu::{Access, Buffer, Gpu, Kernel, Launch, LimitsMode, Options, Params, limits};
use proptest::prelude::*;

cs231n_gpu::params! {
    /// Parameters of the kernels below.
    struct Affine {
        n: u32,
        factor: f32,
        addend: f32,
    }
}

/// `y = factor * x + addend`, over more groups than one dimension takes.
const AFFINE: &str = "
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
const IN_PLACE: &str = "
struct Params { n: u32, factor: f32, addend: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64) fn in_place(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n { y[id.x] = fma(params.factor, y[id.x], params.addend); }
}
";

const fn kernel(source: &'static str, entry: &'static str, buffers: &'static [Access]) -> Kernel {
    Kernel { op: "test", source, entry, buffers, fields: Affine::FIELDS, subgroup: false, native: false }
}

static COPY: Kernel = kernel(AFFINE, "affine", &[Access::Read, Access::ReadWrite]);
static STEP: Kernel = kernel(IN_PLACE, "in_place", &[Access::ReadWrite]);

/// Without poison, so that the counters show what a release build does.
fn plain() -> Options {
    Options { poison: false, ..Options::default() }
}

/// One device for the tests that need no counters of their own.
fn shared() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| open(plain())).clone()
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

fn upload(gpu: &Gpu, values: &[f32]) -> Buffer {
    gpu.upload(bytemuck::cast_slice(values)).expect("upload")
}

fn floats(gpu: &Gpu, buffer: &Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&gpu.read(buffer, 0..buffer.len()).expect("read"))
}

/// `y = factor * x + addend` over all of `x`, in groups of `group` invocations.
fn affine(gpu: &Gpu, x: &Buffer, y: &Buffer, group: u32, factor: f32, addend: f32) {
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
fn step(gpu: &Gpu, y: &Buffer, factor: f32, addend: f32) {
    step_of(gpu, y, factor, addend, y.len());
}

/// The same, with an estimate of its work.
fn step_of(gpu: &Gpu, y: &Buffer, factor: f32, addend: f32, work: u64) {
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

#[test]
fn written_computed_read() {
    let Some(gpu) = shared() else { return };
    for n in [1, 3, 4, 63, 64, 65, 1009] {
        let x = upload(&gpu, &ramp(n));
        let y = gpu.alloc(x.len()).expect("alloc");
        affine(&gpu, &x, &y, 64, 2.0, 1.0);
        let expected: Vec<f32> = ramp(n).iter().map(|x| 2.0 * x + 1.0).collect();
        assert_eq!(floats(&gpu, &y), expected, "n = {n}");
    }
}

#[test]
fn uploads_of_any_length_come_back() {
    let Some(gpu) = shared() else { return };
    for n in [0usize, 1, 2, 3, 5, 15, 16, 17, 1021] {
        let bytes: Vec<u8> = (0..n).map(|i| (i * 7 + 1) as u8).collect();
        let buffer = gpu.upload(&bytes).expect("upload");
        assert_eq!((buffer.len(), buffer.is_empty()), (n as u64, n == 0));
        assert_eq!(gpu.read(&buffer, 0..n as u64).expect("read"), bytes);
        for start in 0..n.min(6) {
            let end = n - (n - start) / 3;
            let range = start as u64..end as u64;
            assert_eq!(gpu.read(&buffer, range).expect("read"), &bytes[start..end], "{start}..{end} of {n}");
        }
    }
    let buffer = gpu.upload(&[1, 2, 3]).expect("upload");
    for (start, end) in [(1, 4), (0, u64::MAX), (4, 4), (2, 1)] {
        let error = gpu.read(&buffer, start..end).expect_err("outside").to_string();
        assert_eq!(error, format!("read of bytes {start} to {end} from a buffer of 3"));
    }
}

#[test]
fn a_launch_sees_what_the_ones_before_it_wrote() {
    let Some(gpu) = open(plain()) else { return };
    let y = upload(&gpu, &[0.0; 100]);
    // More than one submission holds. 0 → 1 → 3 → 7 … would not survive a swap, and stays exact below 2²⁴.
    for _ in 0..20 {
        for i in 0..23 {
            step(&gpu, &y, if i == 0 { 0.0 } else { 2.0 }, 1.0);
        }
    }
    assert_eq!(floats(&gpu, &y), vec![(1 << 23) as f32 - 1.0; 100]);
    let counters = gpu.counters();
    assert_eq!(counters.dispatches, 20 * 23);
    assert_eq!(counters.submissions, (20 * 23usize).div_ceil(limits::LAUNCHES_PER_SUBMISSION) as u64);
}

#[test]
fn more_than_65535_groups() {
    let Some(gpu) = shared() else { return };
    let n = 65_535 * 2 + 7;
    let x = upload(&gpu, &ramp(n));
    let y = gpu.alloc(x.len()).expect("alloc");
    affine(&gpu, &x, &y, 1, 1.0, 3.0);
    assert!(floats(&gpu, &y).iter().enumerate().all(|(i, y)| *y == i as f32 + 3.0));

    let params = Affine { n: 1, factor: 1.0, addend: 0.0 };
    let launch = Launch {
        kernel: &COPY,
        constants: &[("GROUP", 1)],
        buffers: &[&x, &y],
        params: params.bytes(),
        groups: [gpu.limits().groups + 1, 1, 1],
        work: 1,
    };
    let error = gpu.record(&launch).expect_err("too many groups").to_string();
    assert!(error.contains("kernel test::affine") && error.contains("workgroups"), "{error}");
}

#[test]
fn without_groups_nothing_runs() {
    let Some(gpu) = open(plain()) else { return };
    let x = gpu.upload(&[]).expect("upload");
    let y = gpu.alloc(0).expect("alloc");
    let params = Affine { n: 0, factor: 1.0, addend: 0.0 };
    let launch = Launch {
        kernel: &COPY,
        constants: &[("GROUP", 64)],
        buffers: &[&x, &y],
        params: params.bytes(),
        groups: [0, 1, 1],
        work: 0,
    };
    gpu.record(&launch).expect("nothing to do");
    gpu.wait().expect("idle");
    assert_eq!((gpu.counters().dispatches, gpu.counters().pipelines), (0, 0));
}

#[test]
fn one_submission_computes_and_reads() {
    let Some(gpu) = open(plain()) else { return };
    let x = upload(&gpu, &ramp(256));
    let y = gpu.alloc(1024).expect("alloc");
    affine(&gpu, &x, &y, 64, 2.0, 0.0);
    step(&gpu, &y, 1.0, 1.0);
    assert_eq!(gpu.counters().submissions, 0, "recording alone submits nothing");
    let both = gpu.read_all(&[&x, &y]).expect("read");
    assert_eq!(both[0], bytemuck::cast_slice::<f32, u8>(&ramp(256)));
    assert_eq!(both[1][4..8], 3.0f32.to_le_bytes());
    let counters = gpu.counters();
    assert_eq!((counters.submissions, counters.dispatches), (1, 2));
    assert_eq!((counters.upload_bytes, counters.readback_bytes), (1024, 2048));
    // An empty flush is no submission.
    gpu.flush().expect("flush");
    gpu.wait().expect("wait");
    assert_eq!(gpu.counters().submissions, 1);
}

#[test]
fn the_second_step_of_a_loop_builds_nothing() {
    let Some(gpu) = open(plain()) else { return };
    let weights = upload(&gpu, &ramp(5000));
    let run = || {
        // Temporaries of one class, dropped in another order than they were made.
        let a = gpu.alloc(weights.len()).expect("alloc");
        affine(&gpu, &weights, &a, 64, 0.5, 0.0);
        let b = gpu.alloc(weights.len()).expect("alloc");
        affine(&gpu, &a, &b, 64, 1.0, 1.0);
        drop(a);
        let c = gpu.alloc(weights.len()).expect("alloc");
        affine(&gpu, &b, &c, 32, 3.0, 0.0);
        let input = upload(&gpu, &ramp(5000));
        affine(&gpu, &input, &b, 64, 1.0, 0.0);
        floats(&gpu, &c)[4]
    };
    assert_eq!(run(), 9.0);
    let first = gpu.counters();
    assert_eq!(first.pipelines, 2, "GROUP = 32 and 64");
    for _ in 0..5 {
        assert_eq!(run(), 9.0);
    }
    let last = gpu.counters();
    assert_eq!((last.pipelines, last.bind_groups), (first.pipelines, first.bind_groups));
    assert_eq!((last.allocated_bytes, last.peak_bytes), (first.allocated_bytes, first.peak_bytes));
    assert!(last.submissions > first.submissions);
}

#[test]
fn memory_in_recorded_use_is_not_overwritten_by_an_upload() {
    let Some(gpu) = open(plain()) else { return };
    let y = gpu.alloc(4096).expect("alloc");
    let first = upload(&gpu, &[1.0; 1024]);
    affine(&gpu, &first, &y, 64, 1.0, 0.0);
    drop(first);
    // Takes the memory that the recorded launch has yet to read.
    let second = upload(&gpu, &[2.0; 1024]);
    assert_eq!(gpu.counters().allocated_bytes, 2 * 4096);
    assert_eq!(floats(&gpu, &y), [1.0; 1024]);
    assert_eq!(floats(&gpu, &second), [2.0; 1024]);
}

#[test]
fn the_pool_reuses_and_keeps_its_cap() {
    let Some(gpu) = open(Options { pool_bytes: 3 << 20, ..plain() }) else { return };
    let mebi = |n: u64| gpu.alloc(n << 20).expect("alloc");
    let allocated = || gpu.counters().allocated_bytes >> 20;
    drop(mebi(2));
    assert_eq!(allocated(), 2);
    let same = mebi(2);
    assert_eq!(allocated(), 2, "the idle buffer is taken");
    let (other, third) = (mebi(1), mebi(1));
    assert_eq!(allocated(), 4, "live buffers may exceed the cap of idle ones");
    drop((other, third));
    assert_eq!(allocated(), 4);
    // 2 MiB more idle: the longest idle go first.
    drop(same);
    assert_eq!(allocated(), 3);
    assert_eq!(gpu.counters().peak_bytes, 4 << 20);
    gpu.trim(0).expect("trim");
    assert_eq!(allocated(), 0);
    drop(mebi(1));
    assert_eq!(allocated(), 0);
}

#[test]
fn evicted_memory_leaves_no_stale_bind_group() {
    let Some(gpu) = open(Options { pool_bytes: 0, ..plain() }) else { return };
    for value in 0..5 {
        let x = upload(&gpu, &vec![value as f32; 300]);
        let y = gpu.alloc(x.len()).expect("alloc");
        affine(&gpu, &x, &y, 64, 1.0, 1.0);
        drop(x);
        assert_eq!(floats(&gpu, &y), vec![value as f32 + 1.0; 300]);
    }
    gpu.wait().expect("wait");
    assert_eq!(gpu.counters().allocated_bytes, 0);
    assert_eq!(gpu.counters().bind_groups, 5);
}

#[test]
fn big_buffers_are_read_in_pieces() {
    let Some(gpu) = open(plain()) else { return };
    let count = limits::STAGING_BYTES as u32 / 4 * 2 + 100_003;
    let words: Vec<u32> = (0..count).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&words);
    let buffer = gpu.upload(bytes).expect("upload");
    assert!(gpu.read(&buffer, 0..buffer.len()).expect("read") == bytes);
    assert_eq!(gpu.counters().readback_bytes, bytes.len() as u64);
    let range = 33..buffer.len() - 77;
    assert!(gpu.read(&buffer, range).expect("read") == bytes[33..bytes.len() - 77]);
    let again = gpu.read_all(&[&buffer, &gpu.upload(&[9; 40]).expect("upload")]).expect("read");
    assert!(again[0] == bytes && again[1] == [9; 40]);
}

#[test]
fn poisoned_memory_is_nan_until_written() {
    let Some(gpu) = open(Options { poison: true, ..plain() }) else { return };
    for _ in 0..2 {
        let y = gpu.alloc(4000).expect("alloc");
        assert!(floats(&gpu, &y).iter().all(|y| y.is_nan()));
        step(&gpu, &y, 0.0, 0.0);
        assert!(floats(&gpu, &y).iter().all(|y| y.is_nan()), "0 · NaN is NaN");
        let x = upload(&gpu, &[5.0; 1000]);
        affine(&gpu, &x, &y, 64, 1.0, 0.0);
        assert_eq!(floats(&gpu, &y), [5.0; 1000]);
    }
}

#[test]
fn slices_bind_parts_of_a_buffer() {
    let Some(gpu) = shared() else { return };
    let x = upload(&gpu, &ramp(1000));
    let y = gpu.alloc(4000).expect("alloc");
    let (low, high) = (gpu.slice(&x, 0, 1024).expect("slice"), gpu.slice(&x, 1024, 2976).expect("slice"));
    assert!(low.shares_memory_with(&high) && !low.shares_memory_with(&y));
    affine(&gpu, &high, &gpu.slice(&y, 1024, 2976).expect("slice"), 64, -1.0, 0.0);
    affine(&gpu, &low, &gpu.slice(&y, 0, 1024).expect("slice"), 64, 1.0, 0.0);
    let got = floats(&gpu, &y);
    assert!(got.iter().enumerate().all(|(i, y)| *y == if i < 256 { i as f32 } else { -(i as f32) }));
    assert_eq!(gpu.read(&high, 4..8).expect("read"), 257.0f32.to_le_bytes());
    for (start, bytes) in [(4, 4), (1024, 2977), (1 << 40, 0), (256, u64::MAX)] {
        let error = gpu.slice(&x, start, bytes).expect_err("outside or unaligned");
        assert!(error.to_string().contains("a buffer of 4000"), "{error}");
    }
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let Some(gpu) = shared() else { return };
    let x = gpu.upload(&[0; 512]).expect("upload");
    let y = gpu.alloc(512).expect("alloc");
    let params = Affine { n: 1, factor: 1.0, addend: 0.0 };
    let both = [&x, &y];
    let launch = Launch {
        kernel: &COPY,
        constants: &[("GROUP", 64)],
        buffers: &both,
        params: params.bytes(),
        groups: [1; 3],
        work: 1,
    };
    let refused = |launch: Launch, text: &str| {
        let error = gpu.record(&launch).expect_err(text).to_string();
        assert!(error.contains("kernel test::") && error.contains(text), "{error}");
    };
    refused(Launch { buffers: &[&x, &x], ..launch }, "buffer 1 is written, but buffer 0 is the same memory");
    let half = gpu.slice(&x, 256, 256).expect("slice");
    refused(Launch { buffers: &[&half, &x], ..launch }, "the same memory");
    refused(Launch { buffers: &[&x], ..launch }, "1 buffers given, 2 declared");
    refused(Launch { params: &[0; 8], ..launch }, "8 bytes of parameters given, 12 declared");
    gpu.record(&launch).expect("a launch that fits");
    if let Some(other) = open(plain()) {
        let foreign = other.alloc(512).expect("alloc");
        refused(Launch { buffers: &[&foreign, &y], ..launch }, "buffer 0 belongs to another device");
        assert!(gpu.read(&foreign, 0..4).is_err_and(|error| error.to_string().contains("another device")));
    }
    gpu.wait().expect("the device is still fine");
}

#[test]
fn too_large_is_an_error_with_a_way_out() {
    let Some(gpu) = open(Options { limits: LimitsMode::WebGpuDefault, ..plain() }) else { return };
    let error = gpu.alloc(u64::MAX).expect_err("too large");
    assert!(error.to_string().contains("at most 268435456") && error.hint().is_some(), "{error}");
    // Within the largest buffer, but beyond one binding.
    let wide = gpu.alloc((128 << 20) + 16).expect("alloc");
    let params = Affine { n: 1, factor: 1.0, addend: 0.0 };
    let launch = Launch {
        kernel: &STEP,
        constants: &[],
        buffers: &[&wide],
        params: params.bytes(),
        groups: [1; 3],
        work: 1,
    };
    let error = gpu.record(&launch).expect_err("too wide").to_string();
    assert!(error.contains("kernel test::in_place, buffer 0: 134217744 bytes"), "{error}");
}

#[test]
fn a_shader_that_does_not_compile_is_an_error_with_its_name() {
    static SYNTAX: Kernel = kernel("fn broken( {", "broken", &[Access::ReadWrite]);
    static ENTRY: Kernel = kernel(IN_PLACE, "missing", &[Access::ReadWrite]);
    static LAYOUT: Kernel = kernel(IN_PLACE, "in_place", &[Access::Read]);
    let Some(gpu) = open(plain()) else { return };
    let y = gpu.upload(&[0; 64]).expect("upload");
    let params = Affine { n: 1, factor: 1.0, addend: 1.0 };
    for kernel in [&SYNTAX, &ENTRY, &LAYOUT] {
        for _ in 0..2 {
            let launch = Launch {
                kernel,
                constants: &[],
                buffers: &[&y],
                params: params.bytes(),
                groups: [1; 3],
                work: 1,
            };
            let error = gpu.record(&launch).expect_err("does not compile").to_string();
            assert!(
                error.starts_with(&format!("kernel test::{} does not compile: ", kernel.entry)),
                "{error}"
            );
        }
    }
    assert_eq!(gpu.counters().pipelines, 0);
    // The device works on.
    step(&gpu, &y, 1.0, 1.0);
    assert_eq!(floats(&gpu, &y)[0], 1.0);
}

#[test]
fn webgpu_default_limits_and_all_checks_suffice() {
    static SUBGROUP: Kernel = Kernel { subgroup: true, ..kernel(IN_PLACE, "in_place", &[Access::ReadWrite]) };
    for checked in [false, true] {
        let Some(gpu) = open(Options { limits: LimitsMode::WebGpuDefault, checked, ..plain() }) else {
            return;
        };
        assert_eq!(gpu.limits().binding_bytes, 128 << 20);
        assert_eq!(gpu.info().subgroup_size(), None);
        assert!(gpu.supports(&STEP) && !gpu.supports(&SUBGROUP));
        let x = upload(&gpu, &ramp(3000));
        let y = gpu.alloc(x.len()).expect("alloc");
        affine(&gpu, &x, &y, limits::WORKGROUP_INVOCATIONS, 2.0, 0.0);
        assert_eq!(floats(&gpu, &y)[2999], 5998.0);
    }
}

#[test]
fn many_threads_share_a_device() {
    let Some(gpu) = open(plain()) else { return };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for round in 0..10 {
                    let value = (thread * 100 + round) as f32;
                    let x = upload(&gpu, &[value; 777]);
                    let y = gpu.alloc(x.len()).expect("alloc");
                    affine(&gpu, &x, &y, 64, 1.0, 0.5);
                    drop(x);
                    step(&gpu, &y, 2.0, 0.0);
                    assert_eq!(floats(&gpu, &y), vec![2.0 * value + 1.0; 777]);
                }
            });
        }
    });
    assert_eq!(gpu.counters().dispatches, 8 * 10 * 2);
    assert_eq!(gpu.counters().pipelines, 2);
}

#[test]
fn no_submission_holds_more_than_the_budget() {
    let Some(gpu) = open(plain()) else { return };
    let y = upload(&gpu, &[0.0; 64]);
    step(&gpu, &y, 1.0, 1.0);
    gpu.wait().expect("compiled and idle");
    assert_eq!(gpu.counters().submissions, 1);
    // A launch that fills the budget goes at once.
    for i in 0..5 {
        step_of(&gpu, &y, 1.0, 1.0, gpu.work_budget());
        assert_eq!(gpu.counters().submissions, 2 + i);
    }
    // One that would overfill it sends off what is there.
    step_of(&gpu, &y, 1.0, 1.0, 1);
    assert_eq!(gpu.counters().submissions, 6);
    step_of(&gpu, &y, 1.0, 1.0, u64::MAX);
    assert_eq!(gpu.counters().submissions, 8);
    assert_eq!(floats(&gpu, &y), [8.0; 64]);
}

#[test]
fn many_uploads_wait_for_no_read() {
    let Some(gpu) = open(plain()) else { return };
    let count = limits::UPLOAD_BYTES_PER_SUBMISSION / 100_000 * 3;
    let buffers: Vec<_> = (0..count).map(|i| upload(&gpu, &vec![i as f32; 25_000])).collect();
    assert_eq!(gpu.counters().submissions, 2, "two submissions full of uploads, a third being filled");
    for (i, buffer) in buffers.iter().enumerate() {
        assert!(floats(&gpu, buffer).iter().all(|value| *value == i as f32), "upload {i}");
    }
}

#[test]
fn buffers_outlive_their_device_handle() {
    let Some(gpu) = open(plain()) else { return };
    let y = gpu.alloc(64).expect("alloc");
    step(&gpu, &y, 0.0, 1.0);
    drop(gpu);
    assert_eq!(y.len(), 64);
}

/// One step of a random program over a list of buffers; numbers are taken modulo the length of the list.
#[derive(Clone, Debug)]
enum Step {
    Upload(usize, i8),
    Alloc(usize, usize),
    InPlace(usize, i8),
    Drop(usize),
    Read(usize),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Two size classes, so that dropped memory is soon taken again.
    let length = prop_oneof![Just(30usize), Just(64), 300usize..310];
    let step = prop_oneof![
        4 => (length, any::<i8>()).prop_map(|(n, value)| Step::Upload(n, value)),
        4 => (any::<usize>(), any::<usize>()).prop_map(|(from, group)| Step::Alloc(from, group)),
        4 => (any::<usize>(), any::<i8>()).prop_map(|(at, addend)| Step::InPlace(at, addend)),
        4 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Read),
        1 => Just(Step::Flush),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is recycled, evicted, flushed or reordered by the runtime: the values are those of running each step at once.
    #[test]
    fn random_programs_compute_what_they_say(steps in steps()) {
        static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
        // The pool keeps a few small buffers only: programs also meet eviction.
        let Some(gpu) = GPU.get_or_init(|| open(Options { pool_bytes: 4096, ..plain() })) else { return Ok(()) };
        let mut live: Vec<(Buffer, Vec<f32>)> = Vec::new();
        for step in steps {
            let count = live.len().max(1);
            match step {
                Step::Upload(n, value) => {
                    let values: Vec<f32> = (0..n).map(|i| f32::from(value) + i as f32).collect();
                    live.push((upload(gpu, &values), values));
                }
                Step::Flush => gpu.flush().expect("flush"),
                _ if live.is_empty() => {}
                Step::Alloc(from, group) => {
                    let (x, values) = &live[from % count];
                    let y = gpu.alloc(x.len()).expect("alloc");
                    affine(gpu, x, &y, [1, 32, 64][group % 3], -1.0, 3.0);
                    let values = values.iter().map(|x| 3.0 - x).collect();
                    live.push((y, values));
                }
                Step::InPlace(at, addend) => {
                    let (y, values) = &mut live[at % count];
                    self::step(gpu, y, 1.0, f32::from(addend));
                    values.iter_mut().for_each(|y| *y += f32::from(addend));
                }
                Step::Drop(at) => drop(live.swap_remove(at % count)),
                Step::Read(at) => {
                    let (x, values) = &live[at % count];
                    prop_assert_eq!(&floats(gpu, x), values);
                }
            }
        }
        for (buffer, values) in &live {
            prop_assert_eq!(&floats(gpu, buffer), values);
        }
    }
}

#[test]
fn parameter_structs_have_the_layout_of_the_shader() {
    for source in [AFFINE, IN_PLACE] {
        let text = cs231n_gpu::gpu::source::assemble(source, &[("GROUP", 64)]).expect("assembled");
        let declared: Vec<_> =
            Affine::FIELDS.iter().map(|field| (field.name, field.ty, field.offset)).collect();
        let layout = common::params_layout(&text);
        let laid_out: Vec<_> =
            layout.iter().map(|(name, ty, offset)| (name.as_str(), *ty, *offset)).collect();
        assert_eq!(declared, laid_out);
    }
}
