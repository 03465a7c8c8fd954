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
        let groups = self.packed.chunks_exact_mut(high * self.range.len());
        for (first, packed) in self.rows.step_by(high).zip(groups) {
            self.a.pack(high, first, self.range.clone(), packed);
        }
    }
}

/// Computes a tile of C.
pub(super) struct Tile<'a> {
    /// Rows of A, packed: all groups of a block of k, then those of the next.
    pub(super) a: &'a [f32],
    /// Groups of a block of k in `a`.
    pub(super) groups: usize,
    /// The tile's first row in `a`; it begins a group.
    pub(super) place: usize,
    /// Columns of B.
    pub(super) b: Lines<'a>,
    /// Steps of a block of k.
    pub(super) block: usize,
    /// The tile's first element, and the distance of C's rows.
    pub(super) c: (*mut f32, usize),
    /// Rows of the tile.
    pub(super) height: usize,
    /// Columns of the tile.
    pub(super) columns: Range<usize>,
    /// Room that is kept from tile to tile.
    pub(super) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { a, groups, place, b, block, c: (c, c_step), height, columns, scratch } = self;
        let (high, wide) = const { (kernel::rows::<S>(), kernel::columns::<S>()) };
        let (panels, k) = (columns.len().div_ceil(wide), b.steps);
        // The sums of all blocks but the last stay close together: rows of C whose distance is a power of two would compete for a part of the
        // cache.
        let room = super::grown(scratch, panels * wide * (block.min(k) + height));
        let (packed, sums) = room.split_at_mut(panels * wide * block.min(k));
        let sums = sums.as_mut_ptr();
        for step in (0..k).step_by(block) {
            let steps = block.min(k - step);
            // The groups of this block begin where those of all earlier steps end.
            let a = &a[groups * high * step + place * steps..][..height.div_ceil(high) * high * steps];
            let packed = &mut packed[..panels * wide * steps];
            b.pack_panels(wide, columns.clone(), step..step + steps, packed);
            for (panel, packed) in packed.chunks_exact(wide * steps).enumerate() {
                let column = columns.start + panel * wide;
                for (row, a) in (0..height).step_by(high).zip(a.chunks_exact(high * steps)) {
                    // SAFETY: the sums have room for `height` rows of each panel; row and column lie in the tile, which is the caller's
                    // own; A's group and B's panel were packed for `steps` steps.
                    unsafe {
                        let sums = (sums.add((panel * height + row) * wide), wide);
                        let last = (c.add(row * c_step + panel * wide), c_step);
                        kernel::run(
                            simd,
                            Block {
                                steps,
                                a: a.as_ptr(),
                                b: packed.as_ptr(),
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
