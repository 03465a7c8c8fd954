//! AVX2 with FMA: a group is two registers of eight queries, 6 rows of sums take 12 of the 16 registers.
//!
//! Bytes go through `vpmaddwd` on values widened to i16: `vpmaddubsw` would take them as they are but saturates, unless they are small: of values up to
//! 127, one side less 64, two sums of two products each fit its 16 bits, and five instructions do what eight do otherwise. Processors with AVX-VNNI (most
//! of Intel's for laptops since 2021) have `vpdpbusd`, four products a lane and instruction, of which one operand is signed: the queries are packed as
//! q − 128, and the row's term makes up for it.

#![expect(
    clippy::needless_range_loop,
    reason = "rows and halves are indices of registers, of several arrays at once"
)]

use std::arch::x86_64::*;

use super::{BLOCK, Hits, Kernel, Kernels, LANES, Pack, Tile};

const DOT_ROWS: usize = 6;
const L1_ROWS: usize = 2;

pub(super) const KERNELS: Kernels = Kernels {
    name: "AVX2",
    present: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    arch: || pulp::x86::V3::try_new().map_or(pulp::Arch::Scalar, pulp::Arch::V3),
    byte_dot: Kernel { pack: Pack::Pairs, groups: 1, rows: DOT_ROWS, run: byte_dot },
    small_dot: Kernel { pack: Pack::Quads { offset: 64 }, groups: 1, rows: DOT_ROWS, run: small_dot },
    small: 127,
    byte_l1: Kernel { pack: Pack::Octets, groups: 1, rows: L1_ROWS, run: byte_l1 },
    byte_squares,
    float_dot: Kernel { pack: Pack::Floats, groups: 1, rows: DOT_ROWS, run: float::<DOT> },
    float_l1: Kernel { pack: Pack::Floats, groups: 1, rows: DOT_ROWS, run: float::<L1> },
    float_squares: Kernel { pack: Pack::Floats, groups: 1, rows: DOT_ROWS, run: float::<SQUARES> },
};

const DOT_QUADS: Kernel<i32> =
    Kernel { pack: Pack::Quads { offset: 128 }, groups: 1, rows: DOT_ROWS, run: byte_dot_quads };

/// With the integer dot product, and nothing else that is wider.
pub(super) const VNNI: Kernels = Kernels {
    name: "AVX-VNNI",
    present: || (KERNELS.present)() && is_x86_feature_detected!("avxvnni"),
    byte_dot: DOT_QUADS,
    small_dot: DOT_QUADS,
    small: u8::MAX,
    ..KERNELS
};

#[target_feature(enable = "avx2,avxvnni")]
unsafe fn byte_dot_quads(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    byte_products(tile, hits, |sum, q, t| _mm256_dpbusd_avx_epi32(sum, t, q))
}

#[target_feature(enable = "avx2")]
unsafe fn byte_dot(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    byte_products(tile, hits, |sum, q, t| _mm256_add_epi32(sum, _mm256_madd_epi16(q, t)))
}

/// `add` puts the products of eight queries and a row, four bytes of each lane, on their sums. Inlined where it is called, which alone may have its
/// instructions.
#[inline]
#[target_feature(enable = "avx2")]
fn byte_products(
    tile: &Tile<'_, i32>,
    hits: &mut Hits<i32>,
    add: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> u32 {
    let queries = tile.queries[..tile.steps].as_ptr().cast::<__m256i>();
    let mut sums = [[_mm256_setzero_si256(); 2]; DOT_ROWS];
    for step in 0..tile.steps {
        // SAFETY: `queries` was cut to `steps` lines.
        let q = unsafe {
            [_mm256_load_si256(queries.add(2 * step)), _mm256_load_si256(queries.add(2 * step + 1))]
        };
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: a row has `steps` steps of four bytes.
            let t = _mm256_set1_epi32(unsafe { row.add(4 * step).cast::<i32>().read_unaligned() });
            for half in 0..2 {
                sums[half] = add(sums[half], q[half], t);
            }
        }
    }
    keys(tile, hits, sums)
}

/// 127 · 64 · 2 of a product of bytes with the next one's, twice, is below 2¹⁵.
#[target_feature(enable = "avx2")]
unsafe fn small_dot(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let queries = tile.queries[..tile.steps].as_ptr().cast::<__m256i>();
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; DOT_ROWS];
    let pairs = tile.steps / 2;
    for pair in 0..pairs {
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: a row has `steps` steps of four bytes.
            let t = [0, 4].map(|next| unsafe { row.add(8 * pair + next).cast::<i32>().read_unaligned() });
            let t = t.map(|t| _mm256_set1_epi32(t));
            for half in 0..2 {
                // SAFETY: `queries` was cut to `steps` lines.
                let q = [0, 2].map(|next| unsafe { _mm256_load_si256(queries.add(4 * pair + next + half)) });
                let products =
                    _mm256_add_epi16(_mm256_maddubs_epi16(t[0], q[0]), _mm256_maddubs_epi16(t[1], q[1]));
                sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(products, ones));
            }
        }
    }
    for step in 2 * pairs..tile.steps {
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: as above.
            let t = _mm256_set1_epi32(unsafe { row.add(4 * step).cast::<i32>().read_unaligned() });
            for half in 0..2 {
                // SAFETY: as above.
                let q = unsafe { _mm256_load_si256(queries.add(2 * step + half)) };
                let products = _mm256_madd_epi16(_mm256_maddubs_epi16(t, q), ones);
                sums[half] = _mm256_add_epi32(sums[half], products);
            }
        }
    }
    keys(tile, hits, sums)
}

/// Compares the keys of finished products with the thresholds.
#[inline]
#[target_feature(enable = "avx2")]
fn keys(tile: &Tile<'_, i32>, hits: &mut Hits<i32>, sums: [[__m256i; 2]; DOT_ROWS]) -> u32 {
    let shift = _mm_cvtsi32_si128(tile.shift.cast_signed());
    let mut passed = 0;
    for (r, sums) in sums.into_iter().enumerate() {
        let row = _mm256_set1_epi32(tile.row_terms[r]);
        let query = load(&tile.query_terms[0]);
        let mut keys = [row; 2];
        for half in 0..2 {
            let base = _mm256_add_epi32(row, query[half]);
            keys[half] = _mm256_sub_epi32(base, _mm256_sll_epi32(sums[half], shift));
        }
        passed |= note(hits, r, keys, &tile.thresholds[0]);
    }
    passed
}

/// Four sums, 16 bytes a step each: the compiler takes half of a register for them.
#[target_feature(enable = "avx2")]
fn byte_squares(x: &[u8], y: &[u8]) -> u32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<64>(), y.as_chunks::<64>());
    let mut sums = [_mm256_setzero_si256(); 4];
    for (x, y) in x.iter().zip(y) {
        for part in 0..4 {
            // SAFETY: 16 of 64 bytes.
            let [x, y] = [x, y].map(|row| unsafe { _mm_loadu_si128(row.as_ptr().add(16 * part).cast()) });
            let apart = _mm256_sub_epi16(_mm256_cvtepu8_epi16(x), _mm256_cvtepu8_epi16(y));
            sums[part] = _mm256_add_epi32(sums[part], _mm256_madd_epi16(apart, apart));
        }
    }
    let sums = [_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3])];
    let mut lanes = [0u32; 8];
    // SAFETY: 8 lanes are 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), _mm256_add_epi32(sums[0], sums[1])) };
    let rest = x_rest.iter().zip(y_rest).map(|(&x, &y)| u32::from(x.abs_diff(y)).pow(2));
    rest.chain(lanes).sum()
}

/// Sums of absolute differences come eight bytes to a 64-bit lane, so a group is four registers of four queries.
#[target_feature(enable = "avx2")]
unsafe fn byte_l1(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let queries = tile.queries[..2 * tile.steps].as_ptr().cast::<__m256i>();
    let mut sums = [[_mm256_setzero_si256(); 4]; L1_ROWS];
    for step in 0..tile.steps {
        let mut t = [_mm256_setzero_si256(); L1_ROWS];
        for r in 0..L1_ROWS {
            // SAFETY: a row has `steps` steps of eight bytes.
            t[r] = _mm256_set1_epi64x(unsafe { tile.rows[r].add(8 * step).cast::<i64>().read_unaligned() });
        }
        for quarter in 0..4 {
            // SAFETY: `queries` was cut to `steps` pairs of lines.
            let q = unsafe { _mm256_load_si256(queries.add(4 * step + quarter)) };
            for r in 0..L1_ROWS {
                sums[r][quarter] = _mm256_add_epi64(sums[r][quarter], _mm256_sad_epu8(q, t[r]));
            }
        }
    }
    let even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    let mut passed = 0;
    for (r, sums) in sums.into_iter().enumerate() {
        let mut keys = [even; 2];
        for half in 0..2 {
            let low = _mm256_permutevar8x32_epi32(sums[2 * half], even);
            let high = _mm256_permutevar8x32_epi32(sums[2 * half + 1], even);
            keys[half] = _mm256_blend_epi32::<0b1111_0000>(low, high);
        }
        passed |= note(hits, r, keys, &tile.thresholds[0]);
    }
    passed
}

#[target_feature(enable = "avx2")]
fn load(lanes: &[i32; LANES]) -> [__m256i; 2] {
    let lanes = lanes.as_ptr().cast::<__m256i>();
    // SAFETY: 16 lanes are 64 bytes.
    unsafe { [_mm256_loadu_si256(lanes), _mm256_loadu_si256(lanes.add(1))] }
}

/// Writes an entry down if any of its keys passed.
#[target_feature(enable = "avx2")]
fn note(hits: &mut Hits<i32>, entry: usize, keys: [__m256i; 2], thresholds: &[i32; LANES]) -> u32 {
    let threshold = load(thresholds);
    let low = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(threshold[0], keys[0])));
    let high = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(threshold[1], keys[1])));
    let mask = (high << 8 | low) as u16;
    if mask == 0 {
        return 0;
    }
    let out = hits.keys[entry].as_mut_ptr().cast::<__m256i>();
    // SAFETY: 16 keys are 64 bytes.
    unsafe {
        _mm256_storeu_si256(out, keys[0]);
        _mm256_storeu_si256(out.add(1), keys[1]);
    }
    hits.masks[entry] = mask;
    1 << entry
}

const DOT: u8 = 0;
const L1: u8 = 1;
const SQUARES: u8 = 2;

#[target_feature(enable = "avx2,fma")]
unsafe fn float<const OP: u8>(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    let queries = tile.queries[..tile.steps].as_ptr().cast::<f32>();
    let sign = _mm256_set1_ps(-0.0);
    let mut totals = [[_mm256_setzero_ps(); 2]; DOT_ROWS];
    for start in (0..tile.steps).step_by(BLOCK) {
        let mut sums = [[_mm256_setzero_ps(); 2]; DOT_ROWS];
        for step in start..tile.steps.min(start + BLOCK) {
            let q = queries.wrapping_add(step * LANES);
            // SAFETY: `queries` was cut to `steps` lines.
            let q = unsafe { [_mm256_load_ps(q), _mm256_load_ps(q.add(8))] };
            for (sums, row) in sums.iter_mut().zip(tile.rows) {
                // SAFETY: a row has `steps` values.
                let t = _mm256_set1_ps(unsafe { *row.cast::<f32>().add(step) });
                for half in 0..2 {
                    let sum = sums[half];
                    sums[half] = match OP {
                        DOT => _mm256_fmadd_ps(q[half], t, sum),
                        L1 => _mm256_add_ps(sum, _mm256_andnot_ps(sign, _mm256_sub_ps(q[half], t))),
                        _ => {
                            let difference = _mm256_sub_ps(q[half], t);
                            _mm256_fmadd_ps(difference, difference, sum)
                        }
                    };
                }
            }
        }
        for (totals, sums) in totals.iter_mut().zip(sums) {
            for half in 0..2 {
                totals[half] = _mm256_add_ps(totals[half], sums[half]);
            }
        }
    }
    let thresholds = tile.thresholds[0].as_ptr();
    // SAFETY: 16 lanes are 64 bytes.
    let threshold = unsafe { [_mm256_loadu_ps(thresholds), _mm256_loadu_ps(thresholds.add(8))] };
    let mut passed = 0;
    for (r, mut keys) in totals.into_iter().enumerate() {
        let mut mask = 0;
        for half in 0..2 {
            if OP == DOT {
                keys[half] = _mm256_sub_ps(_mm256_set1_ps(tile.row_terms[r]), keys[half]);
            }
            mask |=
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(keys[half], threshold[half])) << (8 * half);
        }
        if mask != 0 {
            let out = hits.keys[r].as_mut_ptr();
            // SAFETY: 16 keys are 64 bytes.
            unsafe {
                _mm256_storeu_ps(out, keys[0]);
                _mm256_storeu_ps(out.add(8), keys[1]);
            }
            hits.masks[r] = mask as u16;
            passed |= 1 << r;
        }
    }
    passed
}
