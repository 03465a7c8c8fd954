//! A tile of C, visit after visit of its register tiles.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::kernel::{self, Form, Lies, Visit};
use super::pack::{LINE, Lines};
use crate::cpu::simd::prefetch;

/// Rows of a tile up to which whole panels of B are read where they lie, if they lie side by side, and panels up to which rows of A are: packed,
/// they would be read once more for too little.
pub(super) const FEW_ROWS: usize = 64;
const FEW_PANELS: usize = 2;

/// Steps of a visit in which there is time to ask for other memory.
const LEAST_STEPS: usize = 32;
/// Values of a tile of C from which its rows are asked for ahead: smaller ones are in the second level of cache.
const FAR: usize = 1 << 17;

/// Computes a tile of C.
pub(super) struct Tile<'a> {
    /// Rows of A.
    pub(super) a: Lines<'a>,
    /// Columns of B.
    pub(super) b: Lines<'a>,
    /// What it is made of.
    pub(super) form: Form,
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
        let Tile { a, b, form, block, c: (c, c_step), rows, columns, scratch } = self;
        let (lanes, high) = (S::F32_LANES, form.rows::<S>());
        let (height, k) = (rows.len(), b.steps);
        let longest = ((form.visit() / block).max(1) * block).min(k);
        let vectors = columns.len().div_ceil(lanes);
        let panels = vectors.div_ceil(form.vectors());
        // Wide panels are of equal width, but for a vector.
        let (wide, at) = match form {
            Form::High => (const { 2 * S::F32_LANES }, None),
            Form::Wide => (vectors.div_ceil(panels) * lanes, Some(vectors)),
        };
        let panel_at = |panel: usize| {
            let start = at.map_or(panel * wide, |vectors| panel * vectors / panels * lanes);
            columns.start + columns.len().min(start)
        };
        let b_in_place = b.across && height <= FEW_ROWS;
        // Whole groups of A; the last one, if it has no kernel of its height, is packed with whatever stands for the rest.
        let a_in_place = form == Form::Wide || panels <= FEW_PANELS;
        let last = height % high;
        let groups_in_place = match a_in_place {
            true if last == 0 || kernel::is_height(last) => height.div_ceil(high),
            true => height / high,
            false => 0,
        };
        let packed_groups = height.div_ceil(high) - groups_in_place;
        let a_packed = if form == Form::High { Lies::Packed } else { Lies::Apart([1, high]) };
        // Many short rows of sums stay close together until they are whole: those of C whose distance is a power of two would compete for a part
        // of the cache, and what is fetched for them would hold up the blocks that follow.
        let apart = form == Form::High;
        let sizes =
            [packed_groups * high * longest, wide * longest, if apart { panels * wide * height } else { 0 }]
                .map(|size| size.next_multiple_of(LINE));
        let room = super::grown(scratch, sizes.iter().sum::<usize>() + LINE);
        // Vectors that begin with a cache line never reach into a second one.
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (groups, room) = room[start..].split_at_mut(sizes[0]);
        let (packed, sums) = room.split_at_mut(sizes[1]);
        let ranges = (0..k).step_by(longest).map(|step| step..k.min(step + longest));
        // While a panel of B is used, the next one is fetched.
        let mut next = ranges.clone().flat_map(|range| (0..panels).map(move |panel| (range.clone(), panel)));
        next.next();
        for range in ranges {
            let Range { start: step, end } = range;
            let steps = end - step;
            for panel in 0..panels {
                let column = panel_at(panel);
                let width = panel_at(panel + 1) - column;
                let mut ahead = None;
                let b_panel = if b_in_place && width % lanes == 0 {
                    (b.values[step * b.row + column..].as_ptr(), b.row)
                } else {
                    let wide = width.next_multiple_of(lanes);
                    b.pack(wide, column, step..end, &mut packed[..wide * steps]);
                    let next = next.next().filter(|_| steps >= LEAST_STEPS);
                    ahead = next.map(|(range, panel)| (range, panel_at(panel)..panel_at(panel + 1)));
                    (packed.as_ptr(), wide)
                };
                for (group, row) in (0..height).step_by(high).enumerate() {
                    if let Some((range, columns)) = &ahead {
                        b.fetch(columns.len(), columns.start, range.clone(), group, height.div_ceil(high));
                    }
                    let a = match group.checked_sub(groups_in_place) {
                        Some(group) => {
                            let packed = &mut groups[group * high * steps..][..high * steps];
                            // Just before it is used for the first time: that asks for the rows of the next group, and they arrive during
                            // this one's products.
                            if panel == 0 {
                                a.pack(high, rows.start + row, step..end, packed);
                            }
                            (packed.as_ptr(), a_packed)
                        }
                        None => {
                            let (start, distances) = a.in_place(rows.start + row, step);
                            let lies = match (form, distances) {
                                (Form::Wide, [down, 1]) => Lies::Along(down),
                                _ => Lies::Apart(distances),
                            };
                            (start, lies)
                        }
                    };
                    let to = c.wrapping_add(row * c_step + column - columns.start);
                    // Apart there is room for whole vectors.
                    let (sums, width) = match apart {
                        true => (
                            (sums[(panel * height + row) * wide..].as_mut_ptr(), wide),
                            width.next_multiple_of(lanes),
                        ),
                        false => ((to, c_step), width),
                    };
                    if !apart && height * columns.len() >= FAR {
                        for row in high..2 * high {
                            let row = to.wrapping_add(row * c_step);
                            (0..width).step_by(LINE).for_each(|at| prefetch(row.wrapping_add(at)));
                        }
                    }
                    let visit = Visit {
                        steps,
                        block,
                        a,
                        b: b_panel,
                        sums,
                        add: step > 0,
                        height: high.min(height - row),
                        width,
                    };
                    // SAFETY: A's group and B's panel were packed for this visit's steps, or are whole where they lie; the sums have room for
                    // `height` rows of each panel, or are this tile of C, the caller's own.
                    unsafe { kernel::run(simd, visit) };
                }
            }
        }
        if !apart {
            return;
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
                        c.copy_from_nonoverlapping(sums, const { 2 * S::F32_LANES });
                    } else {
                        c.copy_from_nonoverlapping(sums, columns.len() - panel * wide);
                    }
                }
            }
        }
    }
}
