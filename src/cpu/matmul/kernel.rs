//! The register tile of the matrix product: a few rows of C by a few vectors, over a few blocks of k. One source for all vector widths.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::pack::LINE;
use crate::cpu::simd::prefetch;

/// Rows of a register tile of two vectors: as many as leave registers for those of B and one of A.
const fn rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}

/// What a tile of C is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Register tiles of two vectors and as many rows as there are registers for. A is packed, and sums are kept together until they are whole.
    High,
    /// Register tiles of six vectors and four rows, where there are 32 registers. They need four values of A for a step, so few that each row is
    /// read by itself: where it lies, if its steps lie side by side. And they write such long parts of C's rows that sums are kept there.
    Wide,
    /// Register tiles of three vectors and eight rows, or with 16 registers two and six. In 512 bits they are for machines with two multiply-adds a
    /// cycle: those of a wide tile would take 32 bytes of B in every cycle from the second level of cache, which gives about as much, and these take
    /// 16. A and C are as in the wide form, but a group of rows takes all panels of B before the next one comes: it stays in the first level, and C
    /// is written once in hundreds of steps.
    Even,
}

/// The form of tiles for a product, and the rows of its register tiles.
pub(super) struct FormOf {
    /// Of C.
    pub(super) rows: usize,
    /// Of C.
    pub(super) columns: usize,
    /// Of k.
    pub(super) steps: usize,
    /// Whether A lies across.
    pub(super) across: bool,
    /// Whether the machine is one of [`early_zen`](crate::cpu::simd::early_zen): the fourth takes 512 bits in halves, for which wide tiles are as
    /// good, and of those before it the third was measured with high tiles alone.
    pub(super) early_zen: bool,
}

/// Rows up to which B is used too seldom to be packed, and is read where it lies.
const FEW_ROWS: usize = 64;
/// Columns up to which tiles are high instead of wide: less than a wide register tile.
const FEW_COLUMNS: usize = 64;
/// Steps below which tiles are wide: C, written once, takes the longest then.
const FEW_STEPS: usize = 32;

impl WithSimd for FormOf {
    type Output = (Form, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (Form, usize) {
        let even = !self.early_zen && self.rows > FEW_ROWS && self.steps >= FEW_STEPS;
        let form = match (S::REGISTER_COUNT, S::F32_LANES) {
            // Rows that are read where they lie, twelve at a time, take an addition each to be found; the eight of an even tile have registers.
            _ if self.columns <= FEW_COLUMNS && (self.across || !even) => Form::High,
            (32.., 16) if even => Form::Even,
            (32.., _) => Form::Wide,
            // Lines that lie across are turned 16 at a time, which six do not divide.
            (_, 8) if even && !self.across => Form::Even,
            _ => Form::High,
        };
        (form, form.rows::<S>())
    }
}

impl Form {
    /// Rows of its register tile.
    pub(super) fn rows<S: Simd>(self) -> usize {
        match self {
            Self::High => rows::<S>(),
            Self::Wide => 4,
            Self::Even => const { if S::REGISTER_COUNT >= 32 { 8 } else { 6 } },
        }
    }

    /// Vectors across of its register tile, at most.
    pub(super) fn vectors<S: Simd>(self) -> usize {
        match self {
            Self::High => 2,
            Self::Wide => 6,
            Self::Even => const { if S::REGISTER_COUNT >= 32 { 3 } else { 2 } },
        }
    }

    /// Whether panels of B that lie across are read where they lie, for a tile of so many rows: packed, they would be read once more for too little.
    pub(super) fn reads_b(self, height: usize) -> bool {
        height <= FEW_ROWS && self != Self::Even
    }

    /// Steps of k at most in which a register tile is visited once, block after block, if blocks are not longer: as many as leave a panel of B in
    /// the first level of cache, or in the second; of the even form a group's rows of A in the first, and all panels of B in the second.
    pub(super) fn visit(self) -> usize {
        match self {
            Self::High => 160,
            Self::Wide | Self::Even => 560,
        }
    }
}

/// A register tile over a few blocks of k. From one to the next its sums are in the first level of cache.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    /// Of k.
    pub(super) steps: usize,
    /// Of a block.
    pub(super) block: usize,
    /// Values of A, and how they lie.
    pub(super) a: (*const f32, Lies),
    /// For each step the values of all vectors, and the distance from one step's to the next.
    pub(super) b: (*const f32, usize),
    /// The tile's sums, and the distance of their rows.
    pub(super) sums: (*mut f32, usize),
    /// Whether they are those of earlier visits, and not yet to be written.
    pub(super) add: bool,
    /// Rows, at most those of the form: of the high form as many are written as the next kernel has.
    pub(super) height: usize,
    /// Columns, at most those of the form: whole vectors are written.
    pub(super) width: usize,
}

/// How values of A lie.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lies {
    /// Packed for high register tiles.
    Packed,
    /// Steps side by side, and the distance of rows. For few rows: each takes a register that points into it.
    Along(usize),
    /// The distances of rows and of steps.
    Apart([usize; 2]),
}

/// [`Lies`] without its distances.
mod lies {
    pub(super) const PACKED: usize = 0;
    pub(super) const ALONG: usize = 1;
    pub(super) const APART: usize = 2;
}

/// sums += A·B.
///
/// # Safety
/// `a` and `b` must lead to what [`Visit`] says, packed values of A to as many rows as the next kernel has, `sums` to all that is written and, with
/// `add`, read; they are nobody else's.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(simd: S, visit: Visit) {
    // SAFETY: as promised; only the wide and the even form have more than two vectors, and their rows lie along.
    unsafe {
        match (visit.a.1, visit.width.div_ceil(S::F32_LANES)) {
            (Lies::Packed, 1) => high::<S, 1, { lies::PACKED }>(simd, visit),
            (Lies::Packed, _) => high::<S, 2, { lies::PACKED }>(simd, visit),
            (Lies::Apart(_), 1) => high::<S, 1, { lies::APART }>(simd, visit),
            (Lies::Apart(_), _) => high::<S, 2, { lies::APART }>(simd, visit),
            (Lies::Along(_), 1) => wide::<S, 1>(simd, visit),
            (Lies::Along(_), 2) => wide::<S, 2>(simd, visit),
            (Lies::Along(_), 3) => wide::<S, 3>(simd, visit),
            (Lies::Along(_), 4) => wide::<S, 4>(simd, visit),
            (Lies::Along(_), 5) => wide::<S, 5>(simd, visit),
            (Lies::Along(_), _) => wide::<S, 6>(simd, visit),
        }
    }
}

/// [`run`] by way of `room` for all that is written, and the distance of its rows: only the rows and columns that there are go from and to the sums,
/// once a visit. Parts of vectors after every block take as long as several whole ones.
///
/// # Safety
/// As for [`run`], but that `sums` leads to `height` rows of `width` values.
#[inline(always)]
pub(super) unsafe fn run_cut<S: Simd>(simd: S, visit: Visit, room: (*mut f32, usize)) {
    let Visit { sums, height, width, add, .. } = visit;
    let copy = |from: (*mut f32, usize), to: (*mut f32, usize)| {
        for row in 0..height {
            // SAFETY: as promised.
            unsafe { to.0.add(row * to.1).copy_from_nonoverlapping(from.0.add(row * from.1), width) };
        }
    };
    if add {
        copy(sums, room);
    }
    // SAFETY: as promised.
    unsafe { run(simd, Visit { sums: room, ..visit }) };
    copy(room, sums);
}

/// Whether there is a kernel of exactly so many rows of the high form.
pub(super) fn is_height(height: usize) -> bool {
    [4, 6, 8, 12].contains(&height)
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn high<S: Simd, const W: usize, const LIES: usize>(simd: S, visit: Visit) {
    // SAFETY: as promised; heights are rounded up to one that has a kernel.
    unsafe {
        match visit.height {
            0..=4 => tile::<S, 4, W, LIES>(simd, visit),
            5..=6 => tile::<S, 6, W, LIES>(simd, visit),
            7..=8 => tile::<S, 8, W, LIES>(simd, visit),
            _ => tile::<S, 12, W, LIES>(simd, visit),
        }
    }
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn wide<S: Simd, const W: usize>(simd: S, visit: Visit) {
    // SAFETY: as promised.
    unsafe {
        match visit.height {
            _ if const { S::REGISTER_COUNT < 32 && W > 2 } => unreachable!("such tiles take 32 registers"),
            1 => tile::<S, 1, W, { lies::ALONG }>(simd, visit),
            2 => tile::<S, 2, W, { lies::ALONG }>(simd, visit),
            3 => tile::<S, 3, W, { lies::ALONG }>(simd, visit),
            _ if const { W > 3 } => tile::<S, 4, W, { lies::ALONG }>(simd, visit),
            4 => tile::<S, 4, W, { lies::ALONG }>(simd, visit),
            5 => tile::<S, 5, W, { lies::ALONG }>(simd, visit),
            6 => tile::<S, 6, W, { lies::ALONG }>(simd, visit),
            _ if const { S::REGISTER_COUNT < 32 } => unreachable!("the even form has six rows"),
            7 => tile::<S, 7, W, { lies::ALONG }>(simd, visit),
            _ => tile::<S, 8, W, { lies::ALONG }>(simd, visit),
        }
    }
}

/// Sums between two blocks of a visit: in whole cache lines, where those of C may begin anywhere. A vector that reaches into a second line takes
/// twice the time, and blocks of 39 steps end so often that a product of 512³ takes a twelfth longer.
#[repr(align(64))]
struct Between<T>(MaybeUninit<T>);

/// Steps whose instructions are written one after the other: counting each is a fifth of the instructions of a narrow tile.
const UNROLLED: usize = 4;

/// A tile of `H` rows by `W` vectors.
///
/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn tile<S: Simd, const H: usize, const W: usize, const LIES: usize>(simd: S, visit: Visit) {
    let Visit {
        mut steps,
        block,
        a: (mut a, a_lies),
        b: (mut b, b_step),
        sums: (kept, kept_step),
        mut add,
        ..
    } = visit;
    let lanes = S::F32_LANES;
    let packed = const { LIES == lies::PACKED };
    let (down, along) = match a_lies {
        Lies::Along(down) if const { LIES == lies::ALONG } => (down, 1),
        Lies::Apart([down, along]) if const { LIES == lies::APART } => (down, along),
        _ => (1, rows::<S>()),
    };
    // Packed, the next group's values begin where this visit's end.
    let next = steps * along;
    let mut room = Between::<[[S::f32s; W]; H]>(MaybeUninit::uninit());
    let between = (room.0.as_mut_ptr().cast::<f32>(), W * lanes);
    // Forms that pack A keep their sums in whole lines of their own.
    let in_c = const { LIES == lies::ALONG };
    let mut first = true;
    while steps > 0 {
        let now = steps.min(block);
        steps -= now;
        let mut sums = [[simd.splat_f32s(0.0); W]; H];
        // SAFETY: the first of `now` steps, which are at least one.
        unsafe { step::<S, H, W, true>(simd, a, down, b, &mut sums) };
        (a, b) = (a.wrapping_add(along), b.wrapping_add(b_step));
        for _ in 0..(now - 1) / UNROLLED {
            if packed {
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
        let from = if first || !in_c { (kept, kept_step) } else { between };
        let to = if steps == 0 || !in_c { (kept, kept_step) } else { between };
        // All indices are known when this is compiled, so that the sums never leave their registers.
        for (h, sums) in sums.iter().enumerate() {
            for (w, &sum) in sums.iter().enumerate() {
                // SAFETY: row and columns lie in the tile, and in the room for sums between blocks, where those of the last block are.
                unsafe {
                    let before = match add {
                        true => from.0.add(h * from.1 + w * lanes).cast::<S::f32s>().read_unaligned(),
                        false => simd.splat_f32s(0.0),
                    };
                    let to = to.0.add(h * to.1 + w * lanes).cast::<S::f32s>();
                    to.write_unaligned(simd.add_f32s(before, sum));
                }
            }
        }
        (add, first) = (true, false);
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
