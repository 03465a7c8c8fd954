//! NEON with the dot product extension: a group is four registers of four queries.
//!
//! `udot` takes four byte products a lane. The intrinsic is not stable yet, the instruction is.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{BLOCK, Hits, Kernel, Kernels, LANES, Pack, Tile, portable};

const TILE: usize = 6;
const PARTS: usize = 4;

pub(super) const KERNELS: Kernels = Kernels {
    name: "NEON",
    present: || {
        std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("dotprod")
    },
    arch: pulp::Arch::new,
    byte_dot: Kernel { pack: Pack::Quads { offset: 0 }, groups: 1, rows: TILE, run: byte_dot },
    small_dot: Kernel { pack: Pack::Quads { offset: 0 }, groups: 1, rows: TILE, run: byte_dot },
    small: u8::MAX,
    byte_l1: Kernel { pack: Pack::Quads { offset: 0 }, groups: 1, rows: TILE, run: byte_l1 },
    byte_squares: portable::byte_squares,
    float_dot: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float::<DOT> },
    float_l1: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float::<L1> },
    float_squares: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float::<SQUARES> },
};

/// Adds to each lane of `sum` its four byte products.
#[target_feature(enable = "neon,dotprod")]
fn udot(mut sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    // SAFETY: one instruction of the dotprod extension, registers only.
    unsafe {
        asm!("udot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn byte_dot(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    // SAFETY: passed on from the caller.
    let sums = unsafe { bytes::<DOT>(tile) };
    let shift = vdupq_n_s32(tile.shift.cast_signed());
    let mut passed = 0;
    for (r, mut keys) in sums.into_iter().enumerate() {
        let row = vdupq_n_s32(tile.row_terms[r]);
        for (part, keys) in keys.iter_mut().enumerate() {
            // SAFETY: four of 16 lanes.
            let query = unsafe { vld1q_s32(tile.query_terms[0].as_ptr().add(4 * part)) };
            *keys = vsubq_s32(vaddq_s32(row, query), vshlq_s32(*keys, shift));
        }
        passed |= note(hits, r, keys, &tile.thresholds[0]);
    }
    passed
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn byte_l1(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    // SAFETY: passed on from the caller.
    let sums = unsafe { bytes::<L1>(tile) };
    let mut passed = 0;
    for (r, keys) in sums.into_iter().enumerate() {
        passed |= note(hits, r, keys, &tile.thresholds[0]);
    }
    passed
}

/// Σq·t or Σ|q − t| (as a dot product with ones) of 16 queries and the rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn bytes<const OP: u8>(tile: &Tile<'_, i32>) -> [[int32x4_t; PARTS]; TILE] {
    let queries = tile.queries[..tile.steps].as_ptr().cast::<u8>();
    let mut sums = [[vdupq_n_u32(0); PARTS]; TILE];
    for step in 0..tile.steps {
        let mut q = [vdupq_n_u8(0); PARTS];
        for (part, q) in q.iter_mut().enumerate() {
            // SAFETY: `queries` was cut to `steps` lines.
            *q = unsafe { vld1q_u8(queries.add(64 * step + 16 * part)) };
        }
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: a row has `steps` steps of four bytes.
            let t = unsafe { row.add(4 * step).cast::<u32>().read_unaligned() };
            let t = vreinterpretq_u8_u32(vdupq_n_u32(t));
            for (sum, q) in sums.iter_mut().zip(q) {
                *sum = if OP == DOT { udot(*sum, q, t) } else { udot(*sum, vabdq_u8(q, t), vdupq_n_u8(1)) };
            }
        }
    }
    let mut signed = [[vdupq_n_s32(0); PARTS]; TILE];
    for (signed, sums) in signed.iter_mut().flatten().zip(sums.into_iter().flatten()) {
        *signed = vreinterpretq_s32_u32(sums);
    }
    signed
}

/// Writes an entry down if any of its keys passed.
#[target_feature(enable = "neon")]
fn note(hits: &mut Hits<i32>, entry: usize, keys: [int32x4_t; PARTS], thresholds: &[i32; LANES]) -> u32 {
    let mut any = vdupq_n_u32(0);
    for (part, keys) in keys.into_iter().enumerate() {
        // SAFETY: four of 16 lanes.
        let threshold = unsafe { vld1q_s32(thresholds.as_ptr().add(4 * part)) };
        any = vorrq_u32(any, vcltq_s32(keys, threshold));
    }
    if vmaxvq_u32(any) == 0 {
        return 0;
    }
    let mut mask = 0;
    for (part, keys) in keys.into_iter().enumerate() {
        // SAFETY: four of 16 lanes.
        unsafe { vst1q_s32(hits.keys[entry].as_mut_ptr().add(4 * part), keys) };
    }
    for (lane, (key, threshold)) in hits.keys[entry].iter().zip(thresholds).enumerate() {
        mask |= u16::from(key < threshold) << lane;
    }
    hits.masks[entry] = mask;
    1 << entry
}

const DOT: u8 = 0;
const L1: u8 = 1;
const SQUARES: u8 = 2;

#[target_feature(enable = "neon")]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN threshold has to let everything pass")]
unsafe fn float<const OP: u8>(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    let queries = tile.queries[..tile.steps].as_ptr().cast::<f32>();
    let mut totals = [[vdupq_n_f32(0.0); PARTS]; TILE];
    for start in (0..tile.steps).step_by(BLOCK) {
        let mut sums = [[vdupq_n_f32(0.0); PARTS]; TILE];
        for step in start..tile.steps.min(start + BLOCK) {
            let mut q = [vdupq_n_f32(0.0); PARTS];
            for (part, q) in q.iter_mut().enumerate() {
                // SAFETY: `queries` was cut to `steps` lines.
                *q = unsafe { vld1q_f32(queries.add(LANES * step + 4 * part)) };
            }
            for (sums, row) in sums.iter_mut().zip(tile.rows) {
                // SAFETY: a row has `steps` values.
                let t = vdupq_n_f32(unsafe { *row.cast::<f32>().add(step) });
                for (sum, q) in sums.iter_mut().zip(q) {
                    let difference = vsubq_f32(q, t);
                    *sum = match OP {
                        DOT => vfmaq_f32(*sum, q, t),
                        L1 => vaddq_f32(*sum, vabsq_f32(difference)),
                        _ => vfmaq_f32(*sum, difference, difference),
                    };
                }
            }
        }
        for (total, sum) in totals.iter_mut().flatten().zip(sums.into_iter().flatten()) {
            *total = vaddq_f32(*total, sum);
        }
    }
    let mut passed = 0;
    for (r, totals) in totals.into_iter().enumerate() {
        let mut keys = [0.0; LANES];
        for (part, total) in totals.into_iter().enumerate() {
            let key = if OP == DOT { vsubq_f32(vdupq_n_f32(tile.row_terms[r]), total) } else { total };
            // SAFETY: four of 16 lanes.
            unsafe { vst1q_f32(keys.as_mut_ptr().add(4 * part), key) };
        }
        let mut mask = 0;
        for (lane, (key, threshold)) in keys.iter().zip(&tile.thresholds[0]).enumerate() {
            mask |= u16::from(!(key >= threshold)) << lane;
        }
        if mask != 0 {
            hits.keys[r] = keys;
            hits.masks[r] = mask;
            passed |= 1 << r;
        }
    }
    passed
}
