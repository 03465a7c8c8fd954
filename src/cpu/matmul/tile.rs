//! A tile of C, visit after visit of its register tiles.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::kernel::{self, Visit};
use super::pack::{LINE, Lines};

/// Rows of a register tile of the machine.
pub(super) struct Rows;

impl WithSimd for Rows {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        kernel::rows::<S>()
    }
}

/// Packs a visit's steps of some rows of A, in groups of a register tile's.
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

/// Steps of a visit in which there is time to ask for other memory.
const LEAST_STEPS: usize = 32;

/// Computes a tile of C.
pub(super) struct Tile<'a> {
    /// Rows of A.
    pub(super) a: Lines<'a>,
    /// All of them packed, all groups of a visit's steps, then those of the next; without, the tile packs its own.
    pub(super) packed: Option<&'a [f32]>,
    /// Columns of B.
    pub(super) b: Lines<'a>,
    /// Steps of a block of k.
    pub(super) block: usize,
    /// Steps of a visit, whole blocks.
    pub(super) visit: usize,
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
        let Tile { a, packed: packed_a, b, block, visit, c: (c, c_step), rows, columns, scratch } = self;
        let (high, wide) = const { (kernel::rows::<S>(), kernel::columns::<S>()) };
        let (height, k) = (rows.len(), b.steps);
        let panels = columns.len().div_ceil(wide);
        let in_place = if b.across && height <= FEW_ROWS { columns.len() / wide } else { 0 };
        let longest = visit.min(k);
        // Whole groups of A; the last one, if it has no kernel of its height, is packed with whatever stands for the rest.
        let a_in_place = packed_a.is_none() && panels <= FEW_PANELS;
        let last = height % high;
        let groups_in_place = match a_in_place {
            true if last == 0 || kernel::is_height(last) => height.div_ceil(high),
            true => height / high,
            false => 0,
        };
        let own_rows = groups_in_place * high..height;
        // The sums of all visits stay close together: rows of C whose distance is a power of two would compete for a part of the cache.
        let sizes = [
            if packed_a.is_none() { own_rows.len().next_multiple_of(high) * longest } else { 0 },
            wide * longest,
            panels * wide * height,
        ]
        .map(|size| size.next_multiple_of(LINE));
        let room = super::grown(scratch, sizes.iter().sum::<usize>() + LINE);
        // Vectors that begin with a cache line never reach into a second one.
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (own, room) = room[start..].split_at_mut(sizes[0]);
        let (packed, sums) = room.split_at_mut(sizes[1]);
        let ranges = (0..k).step_by(longest).map(|step| step..k.min(step + longest));
        // While a panel of B is used, the next one is fetched.
        let mut next =
            ranges.clone().flat_map(|range| (in_place..panels).map(move |panel| (range.clone(), panel)));
        next.next();
        for range in ranges {
            let Range { start: step, end } = range;
            let steps = end - step;
            let groups: &[f32] = match packed_a {
                // The groups of this visit begin where those of all earlier steps end.
                Some(packed) => &packed[a.lines.next_multiple_of(high) * step + rows.start * steps..],
                None => {
                    let own = &mut own[..own_rows.len().next_multiple_of(high) * steps];
                    let rows = rows.start + own_rows.start..rows.end;
                    a.pack_groups(high, rows, step..end, own);
                    own
                }
            };
            for panel in 0..panels {
                let column = columns.start + panel * wide;
                let mut ahead = None;
                let b_panel = if panel < in_place {
                    (b.values[step * b.row + column..].as_ptr(), b.row)
                } else {
                    b.pack(wide, column, step..end, &mut packed[..wide * steps]);
                    ahead = next.next().filter(|_| steps >= LEAST_STEPS);
                    (packed.as_ptr(), wide)
                };
                for (group, row) in (0..height).step_by(high).enumerate() {
                    if let Some((range, panel)) = &ahead {
                        let first = columns.start + panel * wide;
                        b.fetch(wide, first, range.clone(), group, height.div_ceil(high));
                    }
                    let (start, a_in_place) = match group.checked_sub(groups_in_place) {
                        Some(group) => (&groups[group * high * steps..], None),
                        None => a.in_place(rows.start + row, step),
                    };
                    let visit = Visit {
                        steps,
                        block,
                        a: start.as_ptr(),
                        a_in_place,
                        b: b_panel,
                        sums: sums[(panel * height + row) * wide..].as_mut_ptr(),
                        add: step > 0,
                        height: high.min(height - row),
                        width: wide.min(columns.end - column),
                    };
                    // SAFETY: A's group and B's panel were packed for this visit's steps, or are whole where they lie; the sums have room for
                    // `height` rows of each panel.
                    unsafe { kernel::run(simd, visit) };
                }
            }
        }
        let whole = columns.len() / wide;
        for row in 0..height {
            for panel in 0..panels {
                // SAFETY: a row of a panel's sums and its part of the tile, which is the caller's own. A whole panel's length is known when this is
                // compiled, and its copy needs no call.
                unsafe {
                    let sums = sums.as_ptr().add((panel * height + row) * wide);
                    let c = c.add(row * c_step + panel * wide);
                    if panel < whole {
                        c.copy_from_nonoverlapping(sums, wide);
                    } else {
                        c.copy_from_nonoverlapping(sums, columns.len() - panel * wide);
                    }
                }
            }
        }
    }
}
