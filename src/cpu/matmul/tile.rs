//! A tile of C, visit after visit of its register tiles.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::kernel::{self, Form, Lies, Visit};
use super::pack::{LINE, Lines};
use crate::cpu::simd::prefetch;

/// Panels of B up to which rows of A are read where they lie: packed, they would be read once more for too little.
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
    /// Rows of the tile.
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
        // Each form by itself, so that a compiler knows it: what the others ask about every visit takes 60 cycles of a thousand.
        match self.form {
            Form::High => self.compute(simd, Form::High),
            Form::Wide => self.compute(simd, Form::Wide),
            Form::Even => self.compute(simd, Form::Even),
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, form: Form) {
        let Tile { a, b, block, c: (c, c_step), rows, columns, scratch, .. } = self;
        let (lanes, high) = (S::F32_LANES, form.rows::<S>());
        let (height, k) = (rows.len(), b.steps);
        let visits = k.div_ceil(form.visit());
        let longest = k.div_ceil(visits).next_multiple_of(block).min(k);

        let vectors = columns.len().div_ceil(lanes);
        let panels = vectors.div_ceil(form.vectors::<S>());
        // Wide panels are of equal width, but for a vector.
        let (wide, equal) = match form {
            Form::High => (const { 2 * S::F32_LANES }, None),
            Form::Wide | Form::Even => {
                (vectors.div_ceil(panels) * lanes, Some((vectors / panels, vectors % panels)))
            }
        };
        let panel_at = |panel: usize| {
            let start = equal.map_or(panel * wide, |(few, more)| (panel * few + more.min(panel)) * lanes);
            columns.start + columns.len().min(start)
        };
        let width_of = |panel: usize| panel_at(panel + 1) - panel_at(panel);
        // A group of rows after the other, all panels of each, or a panel after the other, all groups of rows.
        let by_groups = form == Form::Even;
        let b_in_place = b.across && form.reads_b(height);

        // Many short rows of sums stay close together until they are whole: those of C whose distance is a power of two would compete for a part
        // of the cache, and what is fetched for them would hold up the blocks that follow.
        let apart = form == Form::High;
        let in_place = Groups::in_place(a, form, height, high, panels);
        let sizes = [
            Groups::room(form, height - height.min(in_place * high), high, longest),
            wide * longest * if by_groups { panels } else { 1 },
            if apart { panels * wide * height } else { 0 },
            wide * high,
        ]
        .map(|size| size.next_multiple_of(LINE));
        let room = super::grown(scratch, sizes.iter().sum::<usize>() + LINE);
        // Vectors that begin with a cache line never reach into a second one.
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (groups_room, room) = room[start..].split_at_mut(sizes[0]);
        let (packed, room) = room.split_at_mut(sizes[1]);
        let (sums, cut) = room.split_at_mut(sizes[2]);
        let mut a_groups = Groups { a, form, first: rows.start, high, in_place, packed: groups_room };
        let groups = height.div_ceil(high);

        let (outers, inners) = if by_groups { (groups, panels) } else { (panels, groups) };
        let ranges = (0..k).step_by(longest).map(|step| step..k.min(step + longest));
        // While a panel of B is used, the next one is fetched.
        let mut next = ranges.clone().flat_map(|range| (0..panels).map(move |panel| (range.clone(), panel)));
        next.next();
        for range in ranges {
            let steps = range.len();
            let b_lies_at = |panel| (b_in_place && width_of(panel) % lanes == 0).then(|| panel_at(panel));
            if by_groups {
                b.pack_panels(panels, panel_at, lanes, range.clone(), (packed, wide * longest));
            }
            for outer in 0..outers {
                let mut ahead = None;
                if !by_groups && b_lies_at(outer).is_none() {
                    let wide = width_of(outer).next_multiple_of(lanes);
                    b.pack(wide, panel_at(outer), range.clone(), &mut packed[..wide * steps]);
                    let next = next.next().filter(|_| steps >= LEAST_STEPS);
                    ahead = next.map(|(range, panel)| (range, panel_at(panel)..panel_at(panel + 1)));
                }
                for inner in 0..inners {
                    let (group, panel) = if by_groups { (outer, inner) } else { (inner, outer) };
                    let (row, column, width) = (group * high, panel_at(panel), width_of(panel));
                    let b_panel = match b_lies_at(panel) {
                        Some(column) => (b.values[range.start * b.row + column..].as_ptr(), b.row),
                        None => {
                            let start = if by_groups { panel * wide * longest } else { 0 };
                            (packed[start..].as_ptr(), width.next_multiple_of(lanes))
                        }
                    };
                    if let Some((range, columns)) = &ahead {
                        b.fetch(columns.len(), columns.start, range.clone(), group, groups);
                    }
                    let (sums, width) = if apart {
                        // There is room for whole vectors.
                        let sums = sums[(panel * height + row) * wide..].as_mut_ptr();
                        ((sums, wide), width.next_multiple_of(lanes))
                    } else {
                        let c = c.wrapping_add(row * c_step + column - columns.start);
                        if height * columns.len() >= FAR && !by_groups {
                            for row in high..2 * high {
                                let row = c.wrapping_add(row * c_step);
                                (0..width).step_by(LINE).for_each(|at| prefetch(row.wrapping_add(at)));
                            }
                        }
                        ((c, c_step), width)
                    };
                    let visit = Visit {
                        steps,
                        block,
                        a: a_groups.at(group, range.clone(), panel == 0),
                        b: b_panel,
                        sums,
                        add: range.start > 0,
                        height: high.min(height - row),
                        width,
                    };
                    // SAFETY: A's group and B's panel were packed for this visit's steps, or are whole where they lie; the sums have room for
                    // `height` rows of each panel, or are this tile of C, the caller's own. There is room for a whole register tile.
                    unsafe {
                        if width % lanes == 0 && (!apart || kernel::is_height(visit.height)) {
                            kernel::run(simd, visit);
                        } else {
                            kernel::run_cut(simd, visit, (cut.as_mut_ptr(), wide));
                        }
                    }
                }
            }
        }
        if !apart {
            return;
        }
        for row in 0..height {
            for panel in 0..panels {
                // SAFETY: a row of a panel's sums, which are whole vectors, and its part of the tile, which is the caller's own. A whole panel's
                // length is known when this is compiled, and its copy needs no call.
                unsafe {
                    let sums = sums.as_ptr().add((panel * height + row) * wide);
                    let c = c.add(row * c_step + panel * wide);
                    let width = width_of(panel);
                    if width == wide {
                        c.copy_from_nonoverlapping(sums, const { 2 * S::F32_LANES });
                        continue;
                    }
                    for at in (0..width).step_by(lanes) {
                        let there = std::slice::from_raw_parts_mut(c.add(at), lanes.min(width - at));
                        simd.partial_store_f32s(there, sums.add(at).cast::<S::f32s>().read_unaligned());
                    }
                }
            }
        }
    }
}

/// A tile's rows of A, in groups of a register tile's.
struct Groups<'a> {
    a: Lines<'a>,
    form: Form,
    /// The tile's first row.
    first: usize,
    /// Rows of a group.
    high: usize,
    /// Groups that are read where they lie, the first ones.
    in_place: usize,
    /// A visit's steps of the others.
    packed: &'a mut [f32],
}

impl Groups<'_> {
    /// How many groups are read where they lie: all or none, but for a last one of a height that has no kernel, which is packed with whatever
    /// stands for the rest.
    fn in_place(a: Lines<'_>, form: Form, height: usize, high: usize, panels: usize) -> usize {
        let last = height % high;
        match form {
            Form::Wide | Form::Even if a.across => 0,
            Form::Wide | Form::Even => height.div_ceil(high),
            Form::High if panels > FEW_PANELS => 0,
            Form::High if last == 0 || kernel::is_height(last) => height.div_ceil(high),
            Form::High => height / high,
        }
    }

    /// Numbers of so many rows and steps, packed.
    fn room(form: Form, rows: usize, high: usize, steps: usize) -> usize {
        match form {
            Form::High => rows.next_multiple_of(high) * steps,
            Form::Wide => rows.next_multiple_of(LINE) * steps.next_multiple_of(LINE),
            // Two groups, which are used up before the next ones come.
            Form::Even => rows.min(LINE).next_multiple_of(LINE) * steps.next_multiple_of(LINE),
        }
    }

    /// Where a group's values for a visit's steps are. Those that are packed are packed just before they are used for the first time, if they are
    /// `new`: that asks for the rows of the next group, which arrive during this one's products.
    #[inline(always)]
    fn at(&mut self, group: usize, range: Range<usize>, new: bool) -> (*const f32, Lies) {
        let Self { a, form, first, high, .. } = *self;
        let (row, steps) = (first + group * high, range.len());
        let Some(group) = group.checked_sub(self.in_place) else {
            let (start, distances) = a.in_place(row, range.start);
            return (start, if form == Form::High { Lies::Apart(distances) } else { Lies::Along(a.row) });
        };
        match form {
            Form::High => {
                let packed = &mut self.packed[group * high * steps..][..high * steps];
                if new {
                    a.pack(high, row, range, packed);
                }
                (packed.as_ptr(), Lies::Packed)
            }
            // Several groups at once: a line of the cache has values of them all.
            Form::Wide | Form::Even => {
                let stride = steps.next_multiple_of(LINE);
                let line = if form == Form::Even { group * high % LINE } else { group * high };
                let packed = &mut self.packed[line * stride..];
                if new && (group * high).is_multiple_of(LINE) {
                    a.pack_lines(row, range, packed, stride);
                }
                (packed.as_ptr(), Lies::Along(stride))
            }
        }
    }
}
