//! The probes behind the ceilings.

use std::hint::black_box;

use super::{Patience, Timing, time};
use crate::cpu::chunks::vectorized;
use crate::cpu::simd::Isa;
use crate::device::Device;
use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;
use rayon::prelude::*;

crate::params! {
    /// Parameters of `probe.wgsl`.
    struct ProbeParams {
        count: u32,
        rounds: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: "probe",
        source: include_str!("probe.wgsl"),
        entry,
        buffers: &[Access::Read, Access::ReadWrite],
        fields: ProbeParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static MULTIPLY_ADD: Kernel = kernel("multiply_add");
static COPY: Kernel = kernel("copy");
static COPY_WORDS: Kernel = kernel("copy_words");

/// The probes' kernels: tests validate them with those of the operations.
pub fn shaders() -> Vec<Shader> {
    [&MULTIPLY_ADD, &COPY, &COPY_WORDS].map(|kernel| Shader { kernel, constants: Vec::new() }).into()
}

/// Multiply-adds of a round of `multiply_add` in `probe.wgsl`: 12 chains, 8 steps each.
const ROUND: u64 = 96;
/// Rounds of a chain on the host.
const HOST_ROUNDS: usize = 1 << 14;
/// Numbers of a chain on the host: one or two registers.
const LANES: usize = 16;

fn launch_probe(
    gpu: &Gpu,
    kernel: &'static Kernel,
    buffers: [&Buffer; 2],
    count: u64,
    rounds: u32,
) -> Result<()> {
    gpu.record(&Launch {
        kernel,
        constants: &[],
        buffers: &buffers,
        params: ProbeParams { count: count as u32, rounds }.bytes(),
        groups: gpu.limits().grid(count.div_ceil(64))?,
        work: if rounds == 0 { 8 * count } else { 2 * ROUND * count * u64::from(rounds) },
    })
}

/// Fused multiply-adds in registers: how many operations, and how long they take.
pub(super) fn multiply_adds(device: &Device, patience: Patience) -> Result<(f64, Timing)> {
    if let Device::Gpu(gpu) = device {
        // Enough invocations for any GPU; a software adapter goes through them in turn.
        let (count, rounds) = if gpu.info().software() { (1 << 15, 64) } else { (1 << 18, 128) };
        let x = gpu.upload(bytemuck::cast_slice(&[0.999f32, 0.001, 0.0, 0.0]))?;
        let out = gpu.alloc(16 * count)?;
        let timing = time(device, patience, || launch_probe(gpu, &MULTIPLY_ADD, [&x, &out], count, rounds))?;
        return Ok(((2 * ROUND * count) as f64 * f64::from(rounds), timing));
    }
    // As many chains as keep two units of latency four busy, and fit the registers.
    let wide = Isa::best().name().starts_with("AVX-512");
    let fused = Isa::best().name() != "portable";
    let threads = rayon::current_num_threads();
    let timing = time(device, patience, || {
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            vectorized(
                #[inline(always)]
                || match (wide, fused) {
                    (true, _) => black_box(chains::<12, true>()),
                    (false, true) => black_box(chains::<6, true>()),
                    (false, false) => black_box(chains::<6, false>()),
                },
            );
        });
        Ok(())
    })?;
    let chains = if wide { 12 } else { 6 };
    Ok(((2 * chains * LANES * HOST_ROUNDS * threads) as f64, timing))
}

/// C chains of multiply-adds, [`HOST_ROUNDS`] long.
#[inline(always)]
fn chains<const C: usize, const FUSED: bool>() -> f32 {
    let (factor, summand) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [[1.0f32; LANES]; C];
    for _ in 0..HOST_ROUNDS {
        for sum in sums.as_flattened_mut() {
            *sum = if FUSED { sum.mul_add(factor, summand) } else { *sum * factor + summand };
        }
    }
    sums.as_flattened().iter().sum()
}

/// A copy that reads and writes `bytes` in all.
pub(super) fn copy(device: &Device, bytes: u64, patience: Patience) -> Result<Timing> {
    let half = bytes / 2;
    if let Device::Gpu(gpu) = device {
        let half = half.min(gpu.limits().binding_bytes) / 16 * 16;
        let (x, out) = (gpu.alloc(half)?, gpu.alloc(half)?);
        let by_quads = time(device, patience, || launch_probe(gpu, &COPY, [&x, &out], half / 16, 0))?;
        let by_words = time(device, patience, || launch_probe(gpu, &COPY_WORDS, [&x, &out], half / 4, 0))?;
        let timing = if by_words.median < by_quads.median { by_words } else { by_quads };
        let scale = bytes as f64 / (2 * half) as f64;
        return Ok(Timing { median: timing.median * scale, ..timing });
    }
    let (x, mut out) = (vec![1u8; half as usize], vec![0u8; half as usize]);
    time(device, patience, || {
        let piece = (half as usize).div_ceil(rayon::current_num_threads());
        out.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(out, x)| out.copy_from_slice(x));
        black_box(&mut out);
        Ok(())
    })
}

/// Runs the smallest kernel there is and reads its result.
pub(super) fn first_result(gpu: &Gpu) -> Result<()> {
    let (x, out) = (gpu.upload(&[1; 16])?, gpu.alloc(16)?);
    launch_probe(gpu, &COPY, [&x, &out], 1, 0)?;
    gpu.read(&out, 0..16).map(drop)
}

/// Seconds that a launch takes which does next to nothing, among others in a submission; 0 on the host.
pub(super) fn launch(device: &Device, patience: Patience) -> Result<f64> {
    const LAUNCHES: u32 = 64;
    let Device::Gpu(gpu) = device else { return Ok(0.0) };
    let (x, out) = (gpu.alloc(16)?, gpu.alloc(16)?);
    let timing = time(device, patience, || {
        (0..LAUNCHES).try_for_each(|_| launch_probe(gpu, &COPY, [&x, &out], 1, 0))
    })?;
    Ok(timing.median / f64::from(LAUNCHES))
}
