//! Buffers that a kernel binds as images: copies that follow what is recorded.

mod common;

use common::affine::*;
use common::open;
use cs231n_gpu::gpu::limits::{IMAGE_WIDTH, IMAGES_BYTES};
use cs231n_gpu::gpu::{Access, Buffer, Gpu, Kernel, Launch, Options, Params};

/// `y = factor * x + addend` for `n` vectors.
static OF_IMAGE: Kernel = kernel(
    "
struct Params { n: u32, factor: f32, addend: f32 }
@group(0) @binding(0) var x: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(64) fn of_image(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i < params.n { y[i] = params.factor * bitcast<vec4<f32>>(textureLoad(x, texel(i))) + params.addend; }
}
",
    "of_image",
    &[Access::Image, Access::ReadWrite],
);

/// A device that has images.
fn open_with_images(options: Options) -> Option<Gpu> {
    let gpu = open(options)?;
    if gpu.info().features.images {
        return Some(gpu);
    }
    eprintln!("skipped: the adapter loads no floats from storage textures");
    None
}

fn of_image(gpu: &Gpu, x: &Buffer, y: &Buffer, factor: f32) {
    let n = x.len().div_ceil(16) as u32;
    gpu.record(&Launch {
        kernel: &OF_IMAGE,
        constants: &[],
        buffers: &[x, y],
        params: Affine { n, factor, addend: 0.0 }.bytes(),
        groups: gpu.limits().grid(u64::from(n.div_ceil(64))).expect("grid"),
        work: x.len(),
    })
    .expect("record");
}

#[test]
fn an_image_shows_its_buffer_whatever_its_length() {
    let Some(gpu) = open_with_images(plain()) else { return };
    let line = 4 * IMAGE_WIDTH as usize;
    for n in [1, 4, 63, line - 4, line, line + 1, 3 * line, 3 * line + 9] {
        let x = upload(&gpu, &ramp(n));
        let y = gpu.alloc(x.len()).expect("alloc");
        of_image(&gpu, &x, &y, 2.0);
        let expected: Vec<f32> = ramp(n).iter().map(|x| 2.0 * x).collect();
        assert!(floats(&gpu, &y) == expected, "{n} floats");
    }
}

#[test]
fn an_image_of_a_slice_shows_that_part() {
    let Some(gpu) = open_with_images(plain()) else { return };
    let x = upload(&gpu, &ramp(50_000));
    let parts = [0, 1024, 131_072].map(|start| gpu.slice(&x, start, 65_600).expect("slice"));
    for (part, start) in parts.iter().zip([0, 256, 32_768]) {
        let y = gpu.alloc(part.len()).expect("alloc");
        of_image(&gpu, part, &y, 1.0);
        assert!(floats(&gpu, &y) == ramp(50_000)[start..][..16_400], "from {start}");
    }
    assert_eq!(gpu.counters().image_copies, 3);
}

#[test]
fn an_image_is_copied_again_when_its_buffer_was_written_and_only_then() {
    let Some(gpu) = open_with_images(plain()) else { return };
    let x = upload(&gpu, &[1.0; 100]);
    let other = upload(&gpu, &[5.0; 100]);
    let ys: Vec<_> = (0..6).map(|_| gpu.alloc(x.len()).expect("alloc")).collect();
    let copies = |expected: u64| {
        gpu.flush().expect("flush");
        assert_eq!(gpu.counters().image_copies, expected);
    };
    of_image(&gpu, &x, &ys[0], 1.0);
    of_image(&gpu, &x, &ys[1], 2.0);
    copies(1);
    // A kernel writes between two loads of one submission, and each sees what was there in its turn.
    of_image(&gpu, &x, &ys[2], 1.0);
    step(&gpu, &x, 1.0, 2.0);
    of_image(&gpu, &x, &ys[3], 1.0);
    copies(2);
    gpu.copy(&other, &x).expect("copy");
    of_image(&gpu, &x, &ys[4], 1.0);
    copies(3);
    of_image(&gpu, &x, &ys[5], 1.0);
    copies(3);
    gpu.expire_images();
    of_image(&gpu, &x, &ys[5], 3.0);
    copies(4);
    for (y, expected) in ys.iter().zip([1.0, 2.0, 1.0, 3.0, 5.0, 15.0]) {
        assert_eq!(floats(&gpu, y), vec![expected; 100]);
    }
}

#[test]
fn memory_that_another_buffer_gets_has_another_image() {
    let Some(gpu) = open_with_images(plain()) else { return };
    for value in 0..8 {
        // The pool hands out the same memory again and again.
        let x = upload(&gpu, &[value as f32; 1000]);
        let y = gpu.alloc(x.len()).expect("alloc");
        of_image(&gpu, &x, &y, 1.0);
        assert_eq!(floats(&gpu, &y), vec![value as f32; 1000]);
    }
    let counters = gpu.counters();
    of_image(&gpu, &upload(&gpu, &[9.0; 1000]), &gpu.alloc(4000).expect("alloc"), 1.0);
    gpu.wait().expect("wait");
    assert_eq!(gpu.counters().buffers, counters.buffers, "neither buffers nor images are made again");
}

#[test]
fn images_are_bounded_and_go_with_trim() {
    let Some(gpu) = open_with_images(Options { pool_bytes: 0, ..plain() }) else { return };
    let floats_of = |bytes: u64| vec![1.5; bytes as usize / 4];
    let third = IMAGES_BYTES / 3 + (1 << 20);
    let held: Vec<_> = (0..4).map(|_| upload(&gpu, &floats_of(third))).collect();
    let y = gpu.alloc(third).expect("alloc");
    gpu.wait().expect("wait");
    let before = gpu.counters().allocated_bytes;
    for x in &held {
        of_image(&gpu, x, &y, 1.0);
    }
    gpu.wait().expect("wait");
    let images = gpu.counters().allocated_bytes - before;
    assert!((third..=IMAGES_BYTES).contains(&images), "{images} bytes of images");
    gpu.trim(0).expect("trim");
    assert_eq!(gpu.counters().allocated_bytes, before);
}

#[test]
fn a_launch_whose_kernel_does_not_compile_leaves_no_image_unfilled() {
    let Some(gpu) = open_with_images(plain()) else { return };
    static BROKEN: Kernel = kernel("fn broken( {", "broken", &[Access::Image, Access::ReadWrite]);
    let x = upload(&gpu, &[4.0; 64]);
    let y = gpu.alloc(x.len()).expect("alloc");
    let broken = Launch {
        kernel: &BROKEN,
        constants: &[],
        buffers: &[&x, &y],
        params: Affine { n: 16, factor: 1.0, addend: 0.0 }.bytes(),
        groups: [1; 3],
        work: 1,
    };
    gpu.record(&broken).and_then(|()| gpu.flush()).expect_err("it does not compile");
    of_image(&gpu, &x, &y, 1.0);
    assert_eq!(floats(&gpu, &y), vec![4.0; 64]);
}

#[test]
fn an_image_may_not_be_of_what_its_kernel_writes() {
    let Some(gpu) = open_with_images(plain()) else { return };
    let x = upload(&gpu, &[1.0; 64]);
    let launch = Launch {
        kernel: &OF_IMAGE,
        constants: &[],
        buffers: &[&x, &x],
        params: Affine { n: 16, factor: 1.0, addend: 0.0 }.bytes(),
        groups: [1; 3],
        work: 1,
    };
    let error = gpu.record(&launch).expect_err("the same memory").to_string();
    assert!(error.contains("buffer 1 is written, but buffer 0 is the same memory"), "{error}");
}

#[test]
fn a_profile_counts_the_copies() {
    let Some(gpu) = open_with_images(Options { profile: true, ..plain() }) else { return };
    let x = upload(&gpu, &ramp(100_000));
    let y = gpu.alloc(x.len()).expect("alloc");
    for factor in [1.0, 2.0] {
        step(&gpu, &x, 1.0, 1.0);
        of_image(&gpu, &x, &y, factor);
    }
    let Some(time) = gpu.take_timestamps().expect("timestamps") else { return };
    let launches: Vec<_> = time.kernels.iter().map(|time| (time.kernel.as_str(), time.launches)).collect();
    assert_eq!(launches, [("test::in_place", 2), ("image::copy", 2), ("test::of_image", 2)]);
    assert!(time.kernels.iter().all(|time| time.seconds > 0.0), "{time:?}");
    assert_eq!(floats(&gpu, &y)[5], 2.0 * 7.0);
}
