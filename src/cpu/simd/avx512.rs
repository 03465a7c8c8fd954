//! AVX-512: 16 queries to a register, 3 groups × 8 rows of sums in 24 of the 32 registers.
//!
//! Bytes go through `vpdpbusd`, four products a lane and instruction; it wants one unsigned and one signed operand,
//! so the queries are packed as q − 128 and the row's term makes up for it.

#![expect(
    clippy::needless_range_loop,
    reason = "rows and groups are indices of registers, of several arrays at once"
)]

use std::arch::x86_64::*;

use super::{BLOCK, Hits, Kernel, Kernels, LANES, Pack, ROWS, Tile, avx2, portable, prefetch};

/// Foundation, byte and word operations, and the integer dot product.
pub(super) static VNNI: Kernels = Kernels {
    name: "AVX-512 VNNI",
    present: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    },
    arch: pulp::Arch::new,
    byte_dot: DOT_QUADS,
    small_dot: DOT_QUADS,
    small: u8::MAX,
    ..PLAIN
};

const DOT_QUADS: Kernel<i32> =
    Kernel { pack: Pack::Quads { offset: 128 }, groups: 3, rows: ROWS, run: byte_dot };

/// Without the integer dot product, AVX2's byte products are as good.
pub(super) static PLAIN: Kernels = Kernels {
    name: "AVX-512",
    present: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
    },
    arch: pulp::Arch::new,
    byte_dot: avx2::KERNELS.byte_dot,
    small_dot: avx2::KERNELS.small_dot,
    small: avx2::KERNELS.small,
    byte_l1: Kernel { pack: Pack::Octets, groups: 1, rows: ROWS, run: byte_l1 },
    byte_squares: portable::byte_squares,
    float_dot: Kernel { pack: Pack::Floats, groups: 3, rows: ROWS, run: float_dot },
    float_l1: Kernel { pack: Pack::Floats, groups: 3, rows: ROWS, run: float_l1 },
    float_squares: Kernel { pack: Pack::Floats, groups: 3, rows: ROWS, run: float_squares },
};

/// Asks for the next tile's part of the rows at `step`, 16 steps of four bytes to a cache line. Narrow tiles are done
/// before the hardware has noticed where each row goes on; wide ones have the time.
#[inline]
fn fetch_ahead<K>(tile: &Tile<'_, K>, step: usize) {
    for row in tile.rows {
        prefetch(row.wrapping_add(tile.ahead + 4 * step));
    }
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn byte_dot(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    // SAFETY: passed on from the caller.
    unsafe {
        match tile.query_terms.len() {
            1 => byte_dot_tile::<1>(tile, hits),
            2 => byte_dot_tile::<2>(tile, hits),
            _ => byte_dot_tile::<3>(tile, hits),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn byte_dot_tile<const G: usize>(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let queries = tile.queries[..G * tile.steps].as_ptr().cast::<__m512i>();
    let mut sums = [[_mm512_setzero_si512(); G]; ROWS];
    for step in 0..tile.steps {
        let mut q = [_mm512_setzero_si512(); G];
        for g in 0..G {
            // SAFETY: `queries` was cut to G groups of `steps` lines.
            q[g] = unsafe { _mm512_load_si512(queries.add(g * tile.steps + step)) };
        }
        if G < 3 && step % 16 == 0 {
            fetch_ahead(tile, step);
        }
        for r in 0..ROWS {
            // SAFETY: a row has `steps` steps of four bytes.
            let t = unsafe { tile.rows[r].add(4 * step).cast::<i32>().read_unaligned() };
            let t = _mm512_set1_epi32(t);
            for g in 0..G {
                sums[r][g] = _mm512_dpbusd_epi32(sums[r][g], t, q[g]);
            }
        }
    }
    let shift = _mm_cvtsi32_si128(tile.shift.cast_signed());
    let mut passed = 0;
    for g in 0..G {
        let term = load(&tile.query_terms[g]);
        let threshold = load(&tile.thresholds[g]);
        for r in 0..ROWS {
            let base = _mm512_add_epi32(term, _mm512_set1_epi32(tile.row_terms[r]));
            let keys = _mm512_sub_epi32(base, _mm512_sll_epi32(sums[r][g], shift));
            let mask = _mm512_cmplt_epi32_mask(keys, threshold);
            passed |= note(hits, r * G + g, keys, mask);
        }
    }
    passed
}

/// Sums of absolute differences come eight bytes to a 64-bit lane, so a group is two registers of eight queries.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn byte_l1(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let queries = tile.queries[..2 * tile.steps].as_ptr().cast::<__m512i>();
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    for step in 0..tile.steps {
        // SAFETY: `queries` was cut to `steps` pairs of lines.
        let q = unsafe {
            [_mm512_load_si512(queries.add(2 * step)), _mm512_load_si512(queries.add(2 * step + 1))]
        };
        for r in 0..ROWS {
            // SAFETY: a row has `steps` steps of eight bytes.
            let t = unsafe { tile.rows[r].add(8 * step).cast::<i64>().read_unaligned() };
            let t = _mm512_set1_epi64(t);
            for half in 0..2 {
                sums[r][half] = _mm512_add_epi64(sums[r][half], _mm512_sad_epu8(q[half], t));
            }
        }
    }
    let threshold = load(&tile.thresholds[0]);
    let mut passed = 0;
    for r in 0..ROWS {
        let low = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(sums[r][0]));
        let keys = _mm512_inserti64x4::<1>(low, _mm512_cvtepi64_epi32(sums[r][1]));
        let mask = _mm512_cmplt_epi32_mask(keys, threshold);
        passed |= note(hits, r, keys, mask);
    }
    passed
}

#[target_feature(enable = "avx512f")]
fn load(lanes: &[i32; LANES]) -> __m512i {
    // SAFETY: 16 lanes are 64 bytes.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

/// Writes an entry down if any of its keys passed.
#[target_feature(enable = "avx512f")]
fn note(hits: &mut Hits<i32>, entry: usize, keys: __m512i, mask: u16) -> u32 {
    if mask == 0 {
        return 0;
    }
    // SAFETY: 16 keys are 64 bytes.
    unsafe { _mm512_storeu_si512(hits.keys[entry].as_mut_ptr().cast(), keys) };
    hits.masks[entry] = mask;
    1 << entry
}

const DOT: u8 = 0;
const L1: u8 = 1;
const SQUARES: u8 = 2;

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_dot(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    unsafe { float::<DOT>(tile, hits) }
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_l1(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    unsafe { float::<L1>(tile, hits) }
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_squares(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    unsafe { float::<SQUARES>(tile, hits) }
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float<const OP: u8>(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    unsafe {
        match tile.query_terms.len() {
            1 => float_tile::<OP, 1>(tile, hits),
            2 => float_tile::<OP, 2>(tile, hits),
            _ => float_tile::<OP, 3>(tile, hits),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn float_tile<const OP: u8, const G: usize>(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    let queries = tile.queries[..G * tile.steps].as_ptr().cast::<f32>();
    let mut totals = [[_mm512_setzero_ps(); G]; ROWS];
    for start in (0..tile.steps).step_by(BLOCK) {
        let mut sums = [[_mm512_setzero_ps(); G]; ROWS];
        for step in start..tile.steps.min(start + BLOCK) {
            let mut q = [_mm512_setzero_ps(); G];
            for g in 0..G {
                // SAFETY: `queries` was cut to G groups of `steps` lines.
                q[g] = unsafe { _mm512_load_ps(queries.add((g * tile.steps + step) * LANES)) };
            }
            if G < 3 && step % 16 == 0 {
                fetch_ahead(tile, step);
            }
            for r in 0..ROWS {
                // SAFETY: a row has `steps` values.
                let t = _mm512_set1_ps(unsafe { *tile.rows[r].cast::<f32>().add(step) });
                for g in 0..G {
                    let sum = &mut sums[r][g];
                    *sum = match OP {
                        DOT => _mm512_fmadd_ps(q[g], t, *sum),
                        L1 => _mm512_add_ps(*sum, _mm512_abs_ps(_mm512_sub_ps(q[g], t))),
                        _ => {
                            let difference = _mm512_sub_ps(q[g], t);
                            _mm512_fmadd_ps(difference, difference, *sum)
                        }
                    };
                }
            }
        }
        for r in 0..ROWS {
            for g in 0..G {
                totals[r][g] = _mm512_add_ps(totals[r][g], sums[r][g]);
            }
        }
    }
    let mut passed = 0;
    for g in 0..G {
        // SAFETY: 16 lanes are 64 bytes.
        let threshold = unsafe { _mm512_loadu_ps(tile.thresholds[g].as_ptr()) };
        for r in 0..ROWS {
            let total = totals[r][g];
            let keys =
                if OP == DOT { _mm512_sub_ps(_mm512_set1_ps(tile.row_terms[r]), total) } else { total };
            let mask = _mm512_cmp_ps_mask::<_CMP_NGE_UQ>(keys, threshold);
            if mask != 0 {
                let entry = r * G + g;
                // SAFETY: 16 keys are 64 bytes.
                unsafe { _mm512_storeu_ps(hits.keys[entry].as_mut_ptr(), keys) };
                hits.masks[entry] = mask;
                passed |= 1 << entry;
            }
        }
    }
    passed
}
