//! Recording and running kernels, on whatever adapter there is, a software one included.

mod common;

use common::affine::*;
use common::open;
use cs231n_gpu::gpu::{Access, Kernel, Launch, LimitsMode, Options, Params, limits};

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
            // It is compiled beside what the caller does next; whoever waits for it learns how that went.
            gpu.record(&launch).expect("recorded");
            let error = gpu.flush().expect_err("does not compile").to_string();
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
fn waits_of_many_threads_do_not_disturb_each_other() {
    let Some(gpu) = open(plain()) else { return };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                let y = upload(&gpu, &[0.0; 64]);
                for _ in 0..3000 {
                    step(&gpu, &y, 1.0, 1.0);
                    gpu.wait().expect("nobody lost the device");
                }
                assert_eq!(floats(&gpu, &y), [3000.0; 64]);
            });
        }
    });
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
