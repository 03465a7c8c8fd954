//! Parts of a matrix in the order in which a register tile reads them.

use std::ops::Range;

use crate::cpu::simd::prefetch;

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
    /// The value of a line and a step, and the distances of lines and of steps.
    pub(super) fn in_place(&self, line: usize, step: usize) -> (*const f32, [usize; 2]) {
        match self.across {
            true => (self.values[step * self.row + line..].as_ptr(), [1, self.row]),
            false => (self.values[line * self.row + step..].as_ptr(), [self.row, 1]),
        }
    }

    /// Asks for one of `parts` of what [`Self::pack`] will read: its runs are too short for the machine to foresee them.
    #[inline(always)]
    pub(super) fn fetch(self, width: usize, first: usize, range: Range<usize>, part: usize, parts: usize) {
        let width = width.min(self.lines - first);
        let (start, rows, length) = match self.across {
            true => (range.start * self.row + first, range.len(), width),
            false => (first * self.row + range.start, width, range.len()),
        };
        let start = self.values.as_ptr().wrapping_add(start);
        let few = rows.div_ceil(parts);
        for row in rows.min(part * few)..rows.min((part + 1) * few) {
            let row = start.wrapping_add(row * self.row);
            (0..length).step_by(LINE).chain([length - 1]).for_each(|at| prefetch(row.wrapping_add(at)));
        }
    }

    /// Packs `width` lines from `first` on: for each of the steps in `range` a value of each, any number for lines that are not there.
    #[inline(always)]
    pub(super) fn pack(self, width: usize, first: usize, range: Range<usize>, packed: &mut [f32]) {
        match width {
            4 => self.pack_by::<4>(first, range, packed, 4),
            6 => self.pack_by::<6>(first, range, packed, 6),
            8 => self.pack_by::<8>(first, range, packed, 8),
            12 => self.pack_by::<12>(first, range, packed, 12),
            16 => self.pack_by::<16>(first, range, packed, 16),
            32 => self.pack_by::<32>(first, range, packed, 32),
            _ if width.is_multiple_of(LINE) => {
                for part in (0..width).step_by(LINE) {
                    self.pack_by::<LINE>(first + part, range.clone(), &mut packed[part..], width);
                }
            }
            // Short vectors.
            _ if width.is_multiple_of(SIDE) => {
                for part in (0..width).step_by(SIDE) {
                    self.pack_by::<SIDE>(first + part, range.clone(), &mut packed[part..], width);
                }
            }
            _ => {
                for line in 0..width {
                    self.pack_by::<1>(first + line, range.clone(), &mut packed[line..], width);
                }
            }
        }
    }

    /// Packs `W` lines, those of a step `stride` numbers after those of the one before.
    #[inline(always)]
    fn pack_by<const W: usize>(self, first: usize, range: Range<usize>, packed: &mut [f32], stride: usize) {
        let Self { values, lines, across, row, .. } = self;
        let (steps, there) = (range.len(), W.min(lines.saturating_sub(first)));
        assert!(packed.len() >= (steps - 1) * stride + W, "pack: room");
        if across && there > 0 {
            let mut to = packed.as_mut_ptr();
            for step in range {
                let from = &values[step * row + first..];
                // For the lines after the next ones.
                prefetch(from.as_ptr().wrapping_add(2 * W));
                // What follows lines that are not there does no harm, and a copy of a known length needs no call.
                // SAFETY: so many are there, and there is room for all steps, as asserted.
                unsafe {
                    match from.len() >= W {
                        true => to.copy_from_nonoverlapping(from.as_ptr(), W),
                        false => to.copy_from_nonoverlapping(from[..there].as_ptr(), there),
                    }
                }
                to = to.wrapping_add(stride);
            }
            return;
        }
        if there < W || W == 1 || steps < SIDE {
            return self.pack_few::<W>(first, range, packed, stride);
        }
        // In squares: lines whose distance is a power of two would drive one another out of the cache before they are read on, and the
        // compiler turns squares in registers.
        assert!(values.len() >= (first + W - 1) * row + range.end, "pack: lines");
        let (from, to) = (values[first * row + range.start..].as_ptr(), packed.as_mut_ptr());
        // For the lines after these.
        for line in W..2 * W {
            (0..steps).step_by(LINE).for_each(|step| prefetch(from.wrapping_add(line * row + step)));
        }
        // The last square begins where it ends with the last step.
        for step in (0..steps).step_by(SIDE).map(|step| step.min(steps - SIDE)) {
            for line in (0..W / SIDE * SIDE).step_by(SIDE) {
                // SAFETY: lines and steps are there, as asserted.
                unsafe { turn((from.add(line * row + step), row), (to.add(step * stride + line), stride)) };
            }
            // Of two lines that no square has, pairs.
            for line in (W / SIDE * SIDE..W).step_by(2) {
                // SAFETY: as above.
                unsafe {
                    let from = from.add(line * row + step);
                    let [even, odd] = [from, from.add(row)].map(|from| from.cast::<[f32; SIDE]>().read());
                    for (i, pair) in even.into_iter().zip(odd).enumerate() {
                        to.add((step + i) * stride + line).cast::<[f32; 2]>().write(pair.into());
                    }
                }
            }
        }
    }

    /// Packs panels of lines, `columns(i)..columns(i + 1)` the i-th, which starts `size` numbers after the one before and has whole vectors of
    /// `lanes`; any number for lines that are not there. Where lines lie across, rows of all panels at once: the machine foresees what follows, but
    /// not the next row of a panel.
    #[inline(always)]
    pub(super) fn pack_panels(
        self,
        panels: usize,
        columns: impl Fn(usize) -> usize,
        lanes: usize,
        range: Range<usize>,
        (packed, size): (&mut [f32], usize),
    ) {
        let widths = |panel| (columns(panel + 1) - columns(panel)).next_multiple_of(lanes);
        if !self.across {
            for panel in 0..panels {
                self.pack(widths(panel), columns(panel), range.clone(), &mut packed[panel * size..]);
            }
            return;
        }
        for (i, step) in range.enumerate() {
            let row = &self.values[step * self.row..];
            for panel in 0..panels {
                let (first, wide) = (columns(panel), widths(panel));
                let to = &mut packed[panel * size + i * wide..][..wide];
                for (part, to) in to.chunks_mut(LINE).enumerate() {
                    let from = &row[first + part * LINE..];
                    // For a step soon.
                    prefetch(from.as_ptr().wrapping_add(4 * self.row));
                    // A copy of a known length needs no call.
                    match (to.as_chunks_mut::<LINE>().0, from.as_chunks::<LINE>().0) {
                        ([to], [from, ..]) => *to = *from,
                        _ => {
                            let there = to.len().min(from.len());
                            to[..there].copy_from_slice(&from[..there]);
                        }
                    }
                }
            }
        }
    }

    /// [`Self::pack_by`] where not all of `W` lines are there, or few steps. A function of its own: what a compiler computes ahead of such
    /// loops would stand before every register tile.
    #[inline(never)]
    fn pack_few<const W: usize>(self, first: usize, range: Range<usize>, packed: &mut [f32], stride: usize) {
        let there = W.min(self.lines.saturating_sub(first));
        for (packed, step) in packed.chunks_mut(stride).zip(range) {
            packed[..W].fill(0.0);
            for (line, packed) in packed[..there].iter_mut().enumerate() {
                *packed = self.values[(first + line) * self.row + step];
            }
        }
    }

    /// Packs [`LINE`] lines that lie across from `first` on, each by itself with its steps side by side, `stride` numbers from one to the next;
    /// any number for lines that are not there.
    #[inline(always)]
    pub(super) fn pack_lines(self, first: usize, range: Range<usize>, packed: &mut [f32], stride: usize) {
        let Self { values, lines, row, .. } = self;
        let steps = range.len();
        if lines < first + LINE || steps < SIDE {
            return self.pack_few_lines(first, range, packed, stride);
        }
        assert!(values.len() >= (range.end - 1) * row + first + LINE, "pack: lines");
        assert!(packed.len() >= (LINE - 1) * stride + steps, "pack: room");
        let (from, to) = (values[range.start * row + first..].as_ptr(), packed.as_mut_ptr());
        for step in (0..steps).step_by(SIDE).map(|step| step.min(steps - SIDE)) {
            for i in 0..SIDE {
                prefetch(from.wrapping_add((step + i + 4 * SIDE) * row));
            }
            for line in (0..LINE).step_by(SIDE) {
                // SAFETY: lines and steps are there, as asserted.
                unsafe { turn((from.add(step * row + line), row), (to.add(line * stride + step), stride)) };
            }
        }
    }

    /// [`Self::pack_lines`] where not all of them are there, or few steps: a function of its own like [`Self::pack_few`].
    #[inline(never)]
    fn pack_few_lines(self, first: usize, range: Range<usize>, packed: &mut [f32], stride: usize) {
        let there = LINE.min(self.lines - first);
        for (i, step) in range.enumerate() {
            for (line, &x) in self.values[step * self.row + first..][..there].iter().enumerate() {
                packed[line * stride + i] = x;
            }
        }
    }
}

/// Numbers of a cache line.
pub(super) const LINE: usize = 16;

/// Writes a square's columns as rows; both with the distance of their rows.
///
/// # Safety
/// Both squares must be there.
#[inline(always)]
unsafe fn turn((from, row): (*const f32, usize), (to, stride): (*mut f32, usize)) {
    // SAFETY: as promised.
    unsafe {
        let square = [0, 1, 2, 3].map(
            #[inline(always)]
            |i| from.add(i * row).cast::<[f32; SIDE]>().read(),
        );
        for (i, turned) in turned(square).into_iter().enumerate() {
            to.add(i * stride).cast::<[f32; SIDE]>().write(turned);
        }
    }
}

/// Writes a matrix's columns as rows; both with the distance of their rows.
///
/// # Safety
/// Both must be there: `rows` × `columns`, and the other way round.
pub(super) unsafe fn turn_all(
    (from, row): (*const f32, usize),
    (to, stride): (*mut f32, usize),
    [rows, columns]: [usize; 2],
) {
    if rows < SIDE || columns < SIDE {
        for (i, j) in (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j))) {
            // SAFETY: as promised.
            unsafe { to.add(j * stride + i).write(from.add(i * row + j).read()) };
        }
        return;
    }
    // The last squares end with the matrix.
    for j in (0..columns).step_by(SIDE).map(|j| j.min(columns - SIDE)) {
        for i in (0..rows).step_by(SIDE).map(|i| i.min(rows - SIDE)) {
            // SAFETY: as promised.
            unsafe { turn((from.add(i * row + j), row), (to.add(j * stride + i), stride)) };
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
