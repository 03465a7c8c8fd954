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

    /// Packs `width` lines from `first` on, a multiple of 2: for each of the steps in `range` a value of each, zeros for lines that are not
    /// there. Widths of register tiles are compiled by themselves.
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
                let from = &values[step * row + first..][..there];
                if let Some(from) = from.first_chunk() {
                    *packed = *from;
                } else {
                    *packed = [0.0; W];
                    packed[..there].copy_from_slice(from);
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
                let from: [[f32; SIDE]; SIDE] = std::array::from_fn(
                    #[inline(always)]
                    |i| {
                        let from = &values[(first + line + i) * row + step..];
                        [from[0], from[1], from[2], from[3]]
                    },
                );
                for (s, packed) in square.iter_mut().enumerate() {
                    let turned = [from[0][s], from[1][s], from[2][s], from[3][s]];
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
