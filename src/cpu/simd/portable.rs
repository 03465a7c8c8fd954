//! Plain Rust in the shape of the other instruction sets, for compilers to vectorise as they can.

use crate::cpu::chunks::vectorized;

use super::{BLOCK, Hits, Kernel, Kernels, LANES, Lane, Line, Pack, Tile};

const TILE: usize = 2;

pub(super) const KERNELS: Kernels = Kernels {
    name: "portable",
    present: || true,
    arch: || pulp::Arch::Scalar,
    byte_dot: Kernel { pack: Pack::Pairs, groups: 1, rows: TILE, run: byte_dot },
    small_dot: Kernel { pack: Pack::Pairs, groups: 1, rows: TILE, run: byte_dot },
    small: u8::MAX,
    byte_l1: Kernel { pack: Pack::Octets, groups: 1, rows: TILE, run: byte_l1 },
    byte_squares,
    float_dot: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float_dot },
    float_l1: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float_l1 },
    float_squares: Kernel { pack: Pack::Floats, groups: 1, rows: TILE, run: float_squares },
};

/// # Safety
/// See [`Kernel::run`].
unsafe fn byte_dot(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let mut sums = [[0i32; LANES]; TILE];
    for (step, line) in tile.queries[..tile.steps].iter().enumerate() {
        let q: &[[i16; 2]; LANES] = bytemuck::cast_ref(line);
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: a row has `steps` pairs of i16.
            let t: [i16; 2] = unsafe { row.cast::<[i16; 2]>().add(step).read_unaligned() };
            for (sum, q) in sums.iter_mut().zip(q) {
                *sum += i32::from(q[0]) * i32::from(t[0]) + i32::from(q[1]) * i32::from(t[1]);
            }
        }
    }
    let mut passed = 0;
    for (r, sums) in sums.iter_mut().enumerate() {
        for (sum, query) in sums.iter_mut().zip(tile.query_terms[0]) {
            *sum = tile.row_terms[r].wrapping_add(query).wrapping_sub(*sum << tile.shift);
        }
        passed |= note(hits, r, *sums, &tile.thresholds[0]);
    }
    passed
}

/// Σ(x − y)² for the widest vectors that the compiler may use.
pub(super) fn byte_squares(x: &[u8], y: &[u8]) -> u32 {
    vectorized(
        #[inline(always)]
        || {
            let pairs = x.iter().zip(y);
            pairs.fold(0i32, |sum, (&x, &y)| {
                let apart = i16::from(x) - i16::from(y);
                sum.wrapping_add(i32::from(apart) * i32::from(apart))
            })
        },
    )
    .cast_unsigned()
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn byte_l1(tile: &Tile<'_, i32>, hits: &mut Hits<i32>) -> u32 {
    let mut sums = [[0i32; LANES]; TILE];
    for (step, lines) in tile.queries[..2 * tile.steps].chunks_exact(2).enumerate() {
        let q: &[[u8; 8]] = bytemuck::cast_slice(lines);
        for (sums, row) in sums.iter_mut().zip(tile.rows) {
            // SAFETY: a row has `steps` steps of eight bytes.
            let t: [u8; 8] = unsafe { row.cast::<[u8; 8]>().add(step).read_unaligned() };
            for (sum, q) in sums.iter_mut().zip(q) {
                *sum += q.iter().zip(t).map(|(&q, t)| i32::from(q.abs_diff(t))).sum::<i32>();
            }
        }
    }
    (0..TILE).map(|r| note(hits, r, sums[r], &tile.thresholds[0])).fold(0, |all, bit| all | bit)
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_dot(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    let sums = unsafe { float(tile, |q, t| q * t) };
    let keys = |r: usize| sums[r].map(|sum| tile.row_terms[r] - sum);
    (0..TILE).map(|r| note(hits, r, keys(r), &tile.thresholds[0])).fold(0, |all, bit| all | bit)
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_l1(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    let sums = unsafe { float(tile, |q, t| (q - t).abs()) };
    (0..TILE).map(|r| note(hits, r, sums[r], &tile.thresholds[0])).fold(0, |all, bit| all | bit)
}

/// # Safety
/// See [`Kernel::run`].
unsafe fn float_squares(tile: &Tile<'_, f32>, hits: &mut Hits<f32>) -> u32 {
    // SAFETY: passed on from the caller.
    let sums = unsafe { float(tile, |q, t| (q - t) * (q - t)) };
    (0..TILE).map(|r| note(hits, r, sums[r], &tile.thresholds[0])).fold(0, |all, bit| all | bit)
}

/// Sums `term` over all features, in blocks.
///
/// # Safety
/// See [`Kernel::run`].
#[inline(always)]
unsafe fn float(tile: &Tile<'_, f32>, term: impl Fn(f32, f32) -> f32) -> [[f32; LANES]; TILE] {
    let mut totals = [[0.0; LANES]; TILE];
    for (block, lines) in tile.queries[..tile.steps].chunks(BLOCK).enumerate() {
        let mut sums = [[0.0; LANES]; TILE];
        for (step, line) in lines.iter().enumerate() {
            let q: &[f32; LANES] = bytemuck::cast_ref::<Line, _>(line);
            for (sums, row) in sums.iter_mut().zip(tile.rows) {
                // SAFETY: a row has `steps` values.
                let t = unsafe { *row.cast::<f32>().add(block * BLOCK + step) };
                for (sum, &q) in sums.iter_mut().zip(q) {
                    *sum += term(q, t);
                }
            }
        }
        for (total, sum) in totals.iter_mut().flatten().zip(sums.into_iter().flatten()) {
            *total += sum;
        }
    }
    totals
}

/// Writes an entry down if any of its keys passed.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN threshold has to let everything pass")]
fn note<K: Lane + PartialOrd>(
    hits: &mut Hits<K>,
    entry: usize,
    keys: [K; LANES],
    thresholds: &[K; LANES],
) -> u32 {
    let mut mask = 0;
    for lane in 0..LANES {
        mask |= u16::from(!(keys[lane] >= thresholds[lane])) << lane;
    }
    if mask == 0 {
        return 0;
    }
    hits.keys[entry] = keys;
    hits.masks[entry] = mask;
    1 << entry
}
