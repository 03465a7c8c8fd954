//! The register tile of the matrix product: a few rows of C by two vectors, over a few blocks of k. One source for all vector widths.

use pulp::Simd;

use super::pack::LINE;
use crate::cpu::simd::prefetch;

/// Rows of a register tile: with two vectors across, as many as leave registers for those of B and one of A.
pub(super) const fn rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}

/// Columns of a register tile: two vectors.
pub(super) const fn columns<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// A register tile over a few blocks of k. From one to the next its sums are in the first level of cache.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    /// Of k.
    pub(super) steps: usize,
    /// Of a block.
    pub(super) block: usize,
    /// For each step [`rows`] values, packed, or only `height` where they lie.
    pub(super) a: *const f32,
    /// Distances in `a` from one row to the next, and from one step to the next, of a whole height in place.
    pub(super) a_in_place: Option<[usize; 2]>,
    /// For each step [`columns`] values, and the distance from one step's to the next.
    pub(super) b: (*const f32, usize),
    /// The tile's sums, rows of [`columns`]. C itself would be written 64 bytes here and there, and what the cache has to fetch for them holds up
    /// the blocks that follow.
    pub(super) sums: *mut f32,
    /// Whether they are those of earlier visits, and not yet to be written.
    pub(super) add: bool,
    /// Of the tile that is written, at most [`rows`].
    pub(super) height: usize,
    /// Of the tile that is written, at most [`columns`].
    pub(super) width: usize,
}

/// sums += A·B.
///
/// # Safety
/// `a` and `b` must lead to what [`Visit`] says, `sums` to `height` rows of [`columns`] values, which are nobody else's.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(simd: S, visit: Visit) {
    // SAFETY: as promised.
    unsafe {
        match (visit.a_in_place.is_some(), visit.width <= S::F32_LANES) {
            (false, false) => of_height::<S, 2, false>(simd, visit),
            (false, true) => of_height::<S, 1, false>(simd, visit),
            (true, false) => of_height::<S, 2, true>(simd, visit),
            (true, true) => of_height::<S, 1, true>(simd, visit),
        }
    }
}

/// Whether there is a kernel of exactly so many rows.
pub(super) fn is_height(height: usize) -> bool {
    [4, 6, 8, 12].contains(&height)
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn of_height<S: Simd, const W: usize, const IN_PLACE: bool>(simd: S, visit: Visit) {
    // SAFETY: as promised; heights are rounded up to one that has a kernel, and no further than the packed rows.
    unsafe {
        match visit.height {
            0..=4 => tile::<S, 4, W, IN_PLACE>(simd, visit),
            5..=6 => tile::<S, 6, W, IN_PLACE>(simd, visit),
            7..=8 => tile::<S, 8, W, IN_PLACE>(simd, visit),
            _ => tile::<S, 12, W, IN_PLACE>(simd, visit),
        }
    }
}

/// Steps whose instructions are written one after the other: counting each is a fifth of the instructions of a narrow tile.
const UNROLLED: usize = 4;

/// A tile of `H` rows by `W` vectors.
///
/// # Safety
/// As for [`run`]; `H` is at most [`rows`].
#[inline(always)]
unsafe fn tile<S: Simd, const H: usize, const W: usize, const IN_PLACE: bool>(simd: S, visit: Visit) {
    let Visit { mut steps, block, mut a, a_in_place, b: (mut b, b_step), sums: kept, mut add, height, width } =
        visit;
    let lanes = S::F32_LANES;
    let packed = [1, rows::<S>()];
    let [down, along] = if IN_PLACE { a_in_place.unwrap_or(packed) } else { packed };
    let whole = height == H && width == W * lanes;
    // Packed, the next group's values begin where this visit's end.
    let next = steps * along;
    while steps > 0 {
        let now = steps.min(block);
        steps -= now;
        let mut sums = [[simd.splat_f32s(0.0); W]; H];
        // SAFETY: the first of `now` steps, which are at least one.
        unsafe { step::<S, H, W, true>(simd, a, down, b, &mut sums) };
        (a, b) = (a.wrapping_add(along), b.wrapping_add(b_step));
        for _ in 0..(now - 1) / UNROLLED {
            if !IN_PLACE {
                let lines = const { (UNROLLED * rows::<S>()).div_ceil(LINE) };
                (0..lines).for_each(|line| prefetch(a.wrapping_add(next + line * LINE)));
            }
            for i in 0..UNROLLED {
                let (a, b) = (a.wrapping_add(i * along), b.wrapping_add(i * b_step));
                // SAFETY: there are as many.
                unsafe { step::<S, H, W, false>(simd, a, down, b, &mut sums) };
            }
            (a, b) = (a.wrapping_add(UNROLLED * along), b.wrapping_add(UNROLLED * b_step));
        }
        for _ in 0..(now - 1) % UNROLLED {
            // SAFETY: as above.
            unsafe { step::<S, H, W, false>(simd, a, down, b, &mut sums) };
            (a, b) = (a.wrapping_add(along), b.wrapping_add(b_step));
        }
        let zero = simd.splat_f32s(0.0);
        if whole {
            // All indices are known when this is compiled, so that the sums never leave their registers.
            for (h, sums) in sums.iter().enumerate() {
                for (w, &sum) in sums.iter().enumerate() {
                    // SAFETY: row and columns lie in the tile.
                    unsafe {
                        let kept = kept.add(h * 2 * lanes + w * lanes).cast::<S::f32s>();
                        let before = if add { kept.read_unaligned() } else { zero };
                        kept.write_unaligned(simd.add_f32s(before, sum));
                    }
                }
            }
        } else {
            // A copy of the sums in memory, for what is not a whole tile.
            let sums = sums;
            for (h, sums) in sums.iter().enumerate().take(height) {
                for (w, &sum) in sums.iter().enumerate() {
                    let there = lanes.min(width - w * lanes);
                    // SAFETY: `there` values of a row of the tile.
                    let kept =
                        unsafe { std::slice::from_raw_parts_mut(kept.add(h * 2 * lanes + w * lanes), there) };
                    let before = if add { simd.partial_load_f32s(kept) } else { zero };
                    simd.partial_store_f32s(kept, simd.add_f32s(before, sum));
                }
            }
        }
        add = true;
    }
}

/// A step of k: the products of `H` values of A, `down` from one to the next, and `W` vectors of B, added to the sums or, of the first step,
/// being them.
///
/// # Safety
/// The values must be there.
#[inline(always)]
unsafe fn step<S: Simd, const H: usize, const W: usize, const FIRST: bool>(
    simd: S,
    a: *const f32,
    down: usize,
    b: *const f32,
    sums: &mut [[S::f32s; W]; H],
) {
    // SAFETY: as promised.
    unsafe {
        let across: [S::f32s; W] = std::array::from_fn(
            #[inline(always)]
            |w| b.add(w * S::F32_LANES).cast::<S::f32s>().read_unaligned(),
        );
        for (h, sums) in sums.iter_mut().enumerate() {
            let value = simd.splat_f32s(*a.add(h * down));
            for (sum, &across) in sums.iter_mut().zip(&across) {
                *sum = match FIRST {
                    true => simd.mul_f32s(value, across),
                    false => simd.mul_add_e_f32s(value, across, *sum),
                };
            }
        }
    }
}
