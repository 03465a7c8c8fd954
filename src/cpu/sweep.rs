//! Walks the register tiles over packed queries and training rows, and cuts the walk into tasks for all cores.

use std::ops::Range;

use rayon::prelude::*;

use super::simd::{Hits, Kernel, LANES, Lane, Line, Pack, ROWS, Tile};

/// Queries that one task walks over again and again: they should stay in a core's second-level cache.
const BLOCK_BYTES: usize = 600 << 10;
/// Multiply-adds below which a task is not worth a thread.
const TASK_WORK: usize = 1 << 21;
/// Task boundaries in the training rows: a multiple of every kernel's number of rows.
const ROW_GRAIN: usize = 24;

/// Queries in the layout of a kernel, 16 to a group, with zeros for the missing lanes and features.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    lines: Vec<Line>,
    queries: usize,
    features: usize,
    steps: usize,
    pack: Pack,
}

impl Packed {
    /// Packs u8 rows.
    pub(super) fn bytes(queries: &[u8], features: usize, pack: Pack) -> Self {
        Self::new(queries, features, pack, |group, rows| match pack {
            Pack::Quads { offset } => {
                for (lane, row) in rows.chunks_exact(features).enumerate() {
                    for (step, quad) in row.chunks(4).enumerate() {
                        let to = &mut bytemuck::bytes_of_mut(&mut group[step])[4 * lane..];
                        for (to, &from) in to.iter_mut().zip(quad) {
                            *to = from.wrapping_sub(offset);
                        }
                    }
                }
            }
            Pack::Pairs => {
                let group: &mut [[[i16; 2]; LANES]] = bytemuck::cast_slice_mut(group);
                for (lane, row) in rows.chunks_exact(features).enumerate() {
                    for (step, pair) in row.chunks(2).enumerate() {
                        for (to, &from) in group[step][lane].iter_mut().zip(pair) {
                            *to = i16::from(from);
                        }
                    }
                }
            }
            Pack::Octets => {
                let group: &mut [[[u8; 8]; LANES]] = bytemuck::cast_slice_mut(group);
                for (lane, row) in rows.chunks_exact(features).enumerate() {
                    for (step, octet) in row.chunks(8).enumerate() {
                        group[step][lane][..octet.len()].copy_from_slice(octet);
                    }
                }
            }
            Pack::Floats => unreachable!("byte kernels take byte layouts"),
        })
    }

    /// Packs f32 rows.
    pub(super) fn floats(queries: &[f32], features: usize) -> Self {
        Self::new(queries, features, Pack::Floats, |group, rows| {
            let group: &mut [[f32; LANES]] = bytemuck::cast_slice_mut(group);
            for (lane, row) in rows.chunks_exact(features).enumerate() {
                for (step, &value) in row.iter().enumerate() {
                    group[step][lane] = value;
                }
            }
        })
    }

    fn new<T: Sync>(
        queries: &[T],
        features: usize,
        pack: Pack,
        fill: impl Fn(&mut [Line], &[T]) + Sync,
    ) -> Self {
        debug_assert!(features > 0 && queries.len().is_multiple_of(features));
        let count = queries.len() / features;
        let steps = features.div_ceil(pack.step());
        let group = steps * pack.lines();
        let mut lines = vec![bytemuck::Zeroable::zeroed(); count.div_ceil(LANES) * group];
        lines
            .par_chunks_exact_mut(group)
            .zip(queries.par_chunks(LANES * features))
            .for_each(|(group, rows)| fill(group, rows));
        Self { lines, queries: count, features, steps, pack }
    }

    /// Number of queries.
    pub(super) fn queries(&self) -> usize {
        self.queries
    }

    /// Number of features.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    fn groups(&self) -> usize {
        self.queries.div_ceil(LANES)
    }

    fn group_lines(&self) -> usize {
        self.steps * self.pack.lines()
    }
}

/// Everything that a walk reads: one kernel, the packed queries, the training rows, and both sides' parts of a key.
pub(super) struct Operands<'a, K, F> {
    pub(super) kernel: &'a Kernel<K>,
    pub(super) packed: &'a Packed,
    /// Per group of queries.
    pub(super) query_terms: &'a [[K; LANES]],
    /// The training rows, as bytes.
    pub(super) rows: &'a [u8],
    /// The part that a training row, by its number, has in the key.
    pub(super) row_term: F,
    /// See [`Tile::shift`].
    pub(super) shift: u32,
    /// Bytes of each query that are read beside the packed ones where a key passes.
    pub(super) beside: usize,
}

/// Queries (in groups) by training rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) groups: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl<K: Lane, F: Fn(usize) -> K + Sync> Operands<'_, K, F> {
    fn row_bytes(&self) -> usize {
        self.packed.features * if self.packed.pack == Pack::Floats { 4 } else { 1 }
    }

    /// Number of training rows.
    pub(super) fn row_count(&self) -> usize {
        self.rows.len() / self.row_bytes()
    }

    /// Cuts the walk into blocks of queries, each with the same slices of the training rows: one slice where the
    /// queries alone occupy all threads.
    pub(super) fn plan(&self) -> Vec<Vec<Task>> {
        let rows = self.row_count();
        let groups = self.packed.groups();
        if groups == 0 || rows == 0 {
            return Vec::new();
        }
        let threads = rayon::current_num_threads();
        // A block is a whole number of widest tiles.
        let width = self.kernel.groups;
        let panels = groups.div_ceil(width);
        let group = self.packed.group_lines() * size_of::<Line>() + LANES * self.beside;
        let per_block = (BLOCK_BYTES / (width * group)).max(1);
        let mut blocks = panels.div_ceil(per_block);
        if blocks >= threads {
            blocks = blocks.next_multiple_of(threads).min(panels);
        }
        let work = rows.saturating_mul(self.packed.features).saturating_mul(groups.div_ceil(blocks) * LANES);
        let wanted = if threads == 1 || blocks >= 4 * threads { 1 } else { (4 * threads).div_ceil(blocks) };
        let slices = wanted.min(work / TASK_WORK).max(1);
        let slice = rows.div_ceil(slices).next_multiple_of(ROW_GRAIN);
        (0..blocks)
            .map(|block| {
                let groups =
                    panels * block / blocks * width..(panels * (block + 1) / blocks * width).min(groups);
                let slices = (0..rows).step_by(slice);
                slices.map(|row| Task { groups: groups.clone(), rows: row..rows.min(row + slice) }).collect()
            })
            .collect()
    }

    /// Computes the tiles of a task, rows rising, and hands over every entry in which a key passed its threshold:
    /// the group (counted from the task's first) and the row, the 16 keys, which of them passed, and all
    /// thresholds, to be lowered at will. `thresholds` holds 16 for each of the task's groups.
    pub(super) fn walk(
        &self,
        task: &Task,
        thresholds: &mut [[K; LANES]],
        mut take: impl FnMut(usize, usize, &[K; LANES], u16, &mut [[K; LANES]]),
    ) {
        let height = self.kernel.rows;
        let group_lines = self.packed.group_lines();
        let lines = &self.packed.lines[task.groups.start * group_lines..task.groups.end * group_lines];
        let terms = &self.query_terms[task.groups.clone()];
        let mut reader = Reader::new(self.packed, self.rows, self.row_bytes(), height);
        let mut hits = Hits::default();
        for first in task.rows.clone().step_by(height) {
            let valid = height.min(task.rows.end - first);
            let rows = reader.rows(first, valid);
            let mut row_terms = [K::ZERO; ROWS];
            for (r, term) in row_terms[..valid].iter_mut().enumerate() {
                *term = (self.row_term)(first + r);
            }
            for start in (0..task.groups.len()).step_by(self.kernel.groups) {
                let groups = self.kernel.groups.min(task.groups.len() - start);
                let tile = Tile {
                    queries: &lines[start * group_lines..(start + groups) * group_lines],
                    steps: self.packed.steps,
                    rows,
                    ahead: height * self.row_bytes(),
                    row_terms,
                    query_terms: &terms[start..start + groups],
                    thresholds: &thresholds[start..start + groups],
                    shift: self.shift,
                };
                // SAFETY: a kernel is only reached through an `Isa`, which proves that its instructions are present.
                // The slices above hold `groups` groups each, and `rows` points at rows of `steps` steps.
                let passed = unsafe { (self.kernel.run)(&tile, &mut hits) };
                // Rows past the last are copies of it.
                let mut passed = passed & ((1 << (valid * groups)) - 1);
                while passed != 0 {
                    let entry = passed.trailing_zeros() as usize;
                    passed &= passed - 1;
                    let (row, group) = (first + entry / groups, start + entry % groups);
                    take(group, row, &hits.keys[entry], hits.masks[entry], thresholds);
                }
            }
        }
    }
}

impl<K: Lane, F: Fn(usize) -> K + Sync> Operands<'_, K, F> {
    /// All keys, as a row-major matrix of queries × training rows.
    pub(super) fn matrix<T: Copy + Default + Send + Sync>(&self, value: impl Fn(K) -> T + Sync) -> Vec<T> {
        let columns = self.row_count();
        let mut matrix = vec![T::default(); self.packed.queries * columns];
        let plan = self.plan();
        let mut blocks = Vec::with_capacity(plan.len());
        let mut rest = matrix.as_mut_slice();
        for tasks in &plan {
            let (block, more) = rest.split_at_mut((tasks[0].groups.len() * LANES * columns).min(rest.len()));
            blocks.push((block, tasks));
            rest = more;
        }
        blocks.into_par_iter().for_each(|(block, tasks)| {
            if let [task] = tasks.as_slice() {
                return self.fill(task, block, &value);
            }
            let parts: Vec<Vec<T>> = tasks
                .par_iter()
                .map(|task| {
                    let mut part = vec![T::default(); block.len() / columns * task.rows.len()];
                    self.fill(task, &mut part, &value);
                    part
                })
                .collect();
            for (task, part) in tasks.iter().zip(&parts) {
                for (row, part) in block.chunks_exact_mut(columns).zip(part.chunks_exact(task.rows.len())) {
                    row[task.rows.clone()].copy_from_slice(part);
                }
            }
        });
        matrix
    }

    /// The part of the matrix that belongs to `task`.
    fn fill<T>(&self, task: &Task, part: &mut [T], value: impl Fn(K) -> T) {
        let columns = task.rows.len();
        let queries = part.len() / columns;
        let mut open = vec![[K::OPEN; LANES]; task.groups.len()];
        self.walk(task, &mut open, |group, row, keys, _, _| {
            let query = group * LANES;
            for (lane, &key) in keys.iter().enumerate().take(queries - query) {
                part[(query + lane) * columns + row - task.rows.start] = value(key);
            }
        });
    }
}

/// Presents training rows as a kernel wants them: in place where their width is a whole number of steps, otherwise
/// as copies filled up with zeros, or widened.
struct Reader<'a> {
    pack: Pack,
    rows: &'a [u8],
    row_bytes: usize,
    steps: usize,
    /// Bytes of one copied row; 0 when rows are read in place.
    copy_bytes: usize,
    copies: Vec<Line>,
}

impl<'a> Reader<'a> {
    fn new(packed: &Packed, rows: &'a [u8], row_bytes: usize, height: usize) -> Self {
        let pack = packed.pack;
        let whole = packed.features.is_multiple_of(pack.step());
        let copy_bytes = match pack {
            Pack::Pairs => 4 * packed.steps,
            _ if whole => 0,
            _ => pack.step() * packed.steps,
        };
        let lines = (copy_bytes * height).div_ceil(size_of::<Line>());
        let copies = vec![bytemuck::Zeroable::zeroed(); lines];
        Self { pack, rows, row_bytes, steps: packed.steps, copy_bytes, copies }
    }

    /// Pointers to `count` (at least 1) rows from `first`, each readable for all steps; the last is repeated.
    fn rows(&mut self, first: usize, count: usize) -> [*const u8; ROWS] {
        let rows = &self.rows[first * self.row_bytes..(first + count) * self.row_bytes];
        let (base, stride) = if self.copy_bytes == 0 {
            (rows, self.row_bytes)
        } else {
            for (r, row) in rows.chunks_exact(self.row_bytes).enumerate() {
                let copy = r * self.copy_bytes..(r + 1) * self.copy_bytes;
                if self.pack == Pack::Pairs {
                    let copies: &mut [i16] = bytemuck::cast_slice_mut(&mut self.copies);
                    for (to, &from) in copies[copy.start / 2..copy.end / 2].iter_mut().zip(row) {
                        *to = i16::from(from);
                    }
                } else {
                    let copies: &mut [u8] = bytemuck::cast_slice_mut(&mut self.copies);
                    copies[copy][..row.len()].copy_from_slice(row);
                }
            }
            (bytemuck::cast_slice(&self.copies), self.copy_bytes)
        };
        debug_assert!(self.pack == Pack::Pairs || stride >= self.steps);
        std::array::from_fn(|r| base[r.min(count - 1) * stride..].as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Isa;
    use super::*;

    #[test]
    fn a_plan_covers_every_pair_once() {
        for (queries, rows, features) in
            [(1, 1, 1), (1, 5000, 300), (33, 777, 1000), (2000, 100, 784), (97, 3001, 8)]
        {
            for isa in Isa::available() {
                let kernel = &isa.kernels().byte_l1;
                let packed = Packed::bytes(&vec![0; queries * features], features, kernel.pack);
                let train = vec![0; rows * features];
                let terms = vec![[0; LANES]; queries.div_ceil(LANES)];
                let operands = Operands {
                    kernel,
                    packed: &packed,
                    query_terms: &terms,
                    rows: &train,
                    row_term: |_| 0,
                    shift: 0,
                    beside: 0,
                };
                let mut next_group = 0;
                for block in operands.plan() {
                    let mut next_row = 0;
                    for task in block.iter() {
                        assert_eq!((task.groups.start, task.rows.start), (next_group, next_row));
                        next_row = task.rows.end;
                    }
                    assert_eq!(next_row, rows);
                    next_group = block[0].groups.end;
                }
                assert_eq!(next_group, queries.div_ceil(LANES));
            }
        }
    }
}
