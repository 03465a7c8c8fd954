//! Device memory: uploads, reads, the pool and what recycles through it.

mod common;

use std::sync::OnceLock;

use common::affine::*;
use common::open;
use cs231n_gpu::gpu::{Buffer, Gpu, Launch, LimitsMode, Options, Params, limits};
use proptest::prelude::*;

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
