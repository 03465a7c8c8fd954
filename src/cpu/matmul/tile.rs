//! A tile of C, block after block of k.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::kernel::{self, Block};
use super::pack::Lines;

/// Rows of a register tile of the machine.
pub(super) struct Rows;

impl WithSimd for Rows {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        kernel::rows::<S>()
    }
}

/// Packs a block of k of some rows of A, in groups of a register tile's.
pub(super) struct PackRows<'a> {
    pub(super) a: Lines<'a>,
    /// The first one begins a group.
    pub(super) rows: Range<usize>,
    pub(super) range: Range<usize>,
    pub(super) packed: &'a mut [f32],
}

impl WithSimd for PackRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let high = const { kernel::rows::<S>() };
        self.a.pack_groups(high, self.rows, self.range, self.packed);
    }
}

/// Rows of a tile up to which whole panels of B are read where they lie, if they lie side by side, and panels up to which rows of A are: packed,
/// they would be read once more for too little.
const FEW_ROWS: usize = 64;
const FEW_PANELS: usize = 2;

/// Computes a tile of C.
pub(super) struct Tile<'a> {
    /// Rows of A.
    pub(super) a: Lines<'a>,
    /// All of them packed, all groups of a block of k, then those of the next; without, the tile packs its own.
    pub(super) packed: Option<&'a [f32]>,
    /// Columns of B.
    pub(super) b: Lines<'a>,
    /// Steps of a block of k.
    pub(super) block: usize,
    /// The tile's first element, and the distance of C's rows.
    pub(super) c: (*mut f32, usize),
    /// Rows of the tile; the first begins a group.
    pub(super) rows: Range<usize>,
    /// Columns of the tile.
    pub(super) columns: Range<usize>,
    /// Room that is kept from tile to tile.
    pub(super) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { a, packed: packed_a, b, block, c: (c, c_step), rows, columns, scratch } = self;
        let (high, wide) = const { (kernel::rows::<S>(), kernel::columns::<S>()) };
        let (height, k) = (rows.len(), b.steps);
        let panels = columns.len().div_ceil(wide);
        let in_place = if b.across && height <= FEW_ROWS { columns.len() / wide } else { 0 };
        let longest = block.min(k);
        // Whole groups of A; the last one, if it has no kernel of its height, is packed with whatever stands for the rest.
        let a_in_place = packed_a.is_none() && panels <= FEW_PANELS;
        let last = height % high;
        let groups_in_place = match a_in_place {
            true if last == 0 || kernel::is_height(last) => height.div_ceil(high),
            true => height / high,
            false => 0,
        };
        let own_rows = groups_in_place * high..height;
        // The sums of all blocks but the last stay close together: rows of C whose distance is a power of two would compete for a part of the
        // cache.
        let sizes = [
            if packed_a.is_none() { own_rows.len().next_multiple_of(high) * longest } else { 0 },
            (panels - in_place) * wide * longest,
            panels * wide * height,
        ];
        let (own, room) = super::grown(scratch, sizes.iter().sum()).split_at_mut(sizes[0]);
        let (packed, sums) = room.split_at_mut(sizes[1]);
        let sums = sums.as_mut_ptr();
        for step in (0..k).step_by(block) {
            let steps = block.min(k - step);
            let groups: &[f32] = match packed_a {
                // The groups of this block begin where those of all earlier steps end.
                Some(packed) => &packed[a.lines.next_multiple_of(high) * step + rows.start * steps..],
                None => {
                    let own = &mut own[..own_rows.len().next_multiple_of(high) * steps];
                    let rows = rows.start + own_rows.start..rows.end;
                    a.pack_groups(high, rows, step..step + steps, own);
                    own
                }
            };
            let packed = &mut packed[..(panels - in_place) * wide * steps];
            b.pack_panels(wide, columns.start + in_place * wide..columns.end, step..step + steps, packed);
            for panel in 0..panels {
                let column = columns.start + panel * wide;
                let b = match panel.checked_sub(in_place) {
                    Some(panel) => (packed[panel * wide * steps..].as_ptr(), wide),
                    None => (b.values[step * b.row + column..].as_ptr(), b.row),
                };
                for (group, row) in (0..height).step_by(high).enumerate() {
                    let (start, a_in_place) = match group.checked_sub(groups_in_place) {
                        Some(group) => (&groups[group * high * steps..], None),
                        None => a.in_place(rows.start + row, step),
                    };
                    // SAFETY: the sums have room for `height` rows of each panel; row and column lie in the tile, which is the caller's
                    // own; A's group and B's panel were packed for `steps` steps, or are whole where they lie.
                    unsafe {
                        let sums = (sums.add((panel * height + row) * wide), wide);
                        let last = (c.add(row * c_step + panel * wide), c_step);
                        kernel::run(
                            simd,
                            Block {
                                steps,
                                a: start.as_ptr(),
                                a_in_place,
                                b,
                                before: if step > 0 {
                                    (sums.0.cast_const(), wide)
                                } else {
                                    (std::ptr::null(), 0)
                                },
                                after: if step + steps == k { last } else { sums },
                                height: high.min(height - row),
                                width: wide.min(columns.end - column),
                            },
                        );
                    }
                }
            }
        }
    }
}
