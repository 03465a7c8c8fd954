//! Parts of a matrix in the order in which a register tile reads them.

use std::ops::Range;

/// Sides of the squares in which lines are turned.
const SIDE: usize = 4;

/// A matrix of `lines` × `steps`, stored steps × lines where `across`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) values: &'a [f32],
    pub(super) lines: usize,
    pub(super) steps: usize,
    pub(super) across: bool,
    /// The distance of rows as stored.
    pub(super) row: usize,
}

impl Lines<'_> {
    /// From a line and a step on, and the distances from one line and from one step to the next.
    pub(super) fn in_place(&self, line: usize, step: usize) -> (&[f32], Option<[usize; 2]>) {
        match self.across {
            true => (&self.values[step * self.row + line..], Some([1, self.row])),
            false => (&self.values[line * self.row + step..], Some([self.row, 1])),
        }
    }

    /// Packs `lines` in panels of `width`, one after the other: see [`Self::pack`].
    #[inline(always)]
    pub(super) fn pack_panels(
        self,
        width: usize,
        lines: Range<usize>,
        range: Range<usize>,
        packed: &mut [f32],
    ) {
        let panel = width * range.len();
        let whole = if self.across { lines.len() / width } else { 0 };
        if whole > 0 {
            // Lines that lie side by side are read as they lie in memory, through all panels.
            for (s, step) in range.clone().enumerate() {
                let from = &self.values[step * self.row + lines.start..][..whole * width];
                for (i, from) in from.chunks_exact(width).enumerate() {
                    packed[i * panel + s * width..][..width].copy_from_slice(from);
                }
            }
        }
        for (first, packed) in lines.step_by(width).zip(packed.chunks_exact_mut(panel)).skip(whole) {
            self.pack(width, first, range.clone(), packed);
        }
    }

    /// Packs `lines` in groups of `high`, one after the other.
    #[inline(always)]
    pub(super) fn pack_groups(
        self,
        high: usize,
        lines: Range<usize>,
        range: Range<usize>,
        packed: &mut [f32],
    ) {
        let groups = packed.chunks_exact_mut(high * range.len());
        for (first, packed) in lines.step_by(high).zip(groups) {
            self.pack(high, first, range.clone(), packed);
        }
    }

    /// Packs `width` lines from `first` on, a multiple of 2: for each of the steps in `range` a value of each, any number for lines that are
    /// not there. Widths of register tiles are compiled by themselves.
    #[inline(always)]
    pub(super) fn pack(self, width: usize, first: usize, range: Range<usize>, packed: &mut [f32]) {
        match width {
            6 => self.pack_by::<6>(first, range, packed),
            8 => self.pack_by::<8>(first, range, packed),
            12 => self.pack_by::<12>(first, range, packed),
            16 => self.pack_by::<16>(first, range, packed),
            32 => self.pack_by::<32>(first, range, packed),
            // Two portable numbers.
            _ => {
                for (pair, packed) in packed.chunks_exact_mut(2 * range.len()).enumerate() {
                    self.pack_by::<2>(first + 2 * pair, range.clone(), packed);
                }
            }
        }
    }

    #[inline(always)]
    fn pack_by<const W: usize>(self, first: usize, range: Range<usize>, packed: &mut [f32]) {
        let Self { values, lines, across, row, .. } = self;
        let there = W.min(lines - first);
        let (packed, _) = packed.as_chunks_mut::<W>();
        if across {
            for (packed, step) in packed.iter_mut().zip(range) {
                let from = &values[step * row + first..];
                // What follows lines that are not there does no harm, and a copy of a known length needs no call.
                if let Some(from) = from.first_chunk() {
                    *packed = *from;
                } else {
                    *packed = [0.0; W];
                    packed[..there].copy_from_slice(&from[..there]);
                }
            }
            return;
        }
        if there < W {
            packed.fill([0.0; W]);
            for line in 0..there {
                let from = &values[(first + line) * row..][range.clone()];
                packed.iter_mut().zip(from).for_each(|(packed, &x)| packed[line] = x);
            }
            return;
        }
        // In squares: lines whose distance is a power of two would drive one another out of the cache before they are read on, and the
        // compiler turns squares in registers.
        let (squares, rest) = packed.as_chunks_mut::<SIDE>();
        let mut step = range.start;
        for square in squares {
            for line in (0..W / SIDE * SIDE).step_by(SIDE) {
                let mut from = [[0.0; SIDE]; SIDE];
                for (i, from) in from.iter_mut().enumerate() {
                    from.copy_from_slice(&values[(first + line + i) * row + step..][..SIDE]);
                }
                for (packed, turned) in square.iter_mut().zip(turned(from)) {
                    packed[line..line + SIDE].copy_from_slice(&turned);
                }
            }
            for line in W / SIDE * SIDE..W {
                for (s, packed) in square.iter_mut().enumerate() {
                    packed[line] = values[(first + line) * row + step + s];
                }
            }
            step += SIDE;
        }
        for packed in rest {
            for (line, packed) in packed.iter_mut().enumerate() {
                *packed = values[(first + line) * row + step];
            }
            step += 1;
        }
    }
}

/// Columns of a square as rows. Compilers turn it number by number.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn turned(rows: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    use std::arch::x86_64::{__m128, _MM_TRANSPOSE4_PS};
    // SAFETY: four floats are a vector, whatever their bits, and x86-64 has SSE.
    unsafe {
        let [mut a, mut b, mut c, mut d] = std::mem::transmute::<[[f32; SIDE]; SIDE], [__m128; SIDE]>(rows);
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        std::mem::transmute([a, b, c, d])
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn turned(rows: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    let mut turned = [[0.0; SIDE]; SIDE];
    for (i, row) in rows.iter().enumerate() {
        (0..SIDE).for_each(|j| turned[j][i] = row[j]);
    }
    turned
}
