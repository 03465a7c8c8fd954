//! The scans on an adapter: training tiles come by, distances to a batch of queries are made and selected from, and only
//! the selection stays. Nothing on the device grows with the product of queries and training rows.

use crate::cpu::nearest::{ByteForm, byte_stats};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::ops::topk::Selection;
use crate::ops::{pairwise_l1, pairwise_l2};
use crate::reference::nearest::Metric;
use crate::rows::RowsRef;
use crate::tensor::{GPU_PIXEL_ROW, pad_pixel_rows};

use super::bytes::ByteIndex;
use super::certified::Frame;

/// Device memory for a search where the user sets no limit: little next to any GPU's, enough for tiles that keep one busy.
const DEFAULT_BYTES: u64 = 512 << 20;

/// Queries of one batch: enough to use a training tile many times, few enough for small tiles of distances.
const MOST_QUERIES: usize = 1024;

/// Above every dot product of allowed rows: the CPU's keys are the same.
const DOT_TOP: u32 = i32::MAX as u32 - 1;

/// How a search is cut for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// Queries that are on the device together, with their selections.
    resident: usize,
    /// Queries whose distances are made by one launch.
    batch: usize,
    /// Training rows that are on the device together.
    tile: usize,
}

impl Cut {
    /// A quarter of `memory` each for queries with their selections (16 bytes a candidate), a tile of training rows, and a
    /// tile of distances; the last quarter is for terms, parameters and staging. `budget` operations are one launch.
    fn new(sizes: &Sizes, memory: u64, binding: u64, budget: u64) -> Self {
        let &Sizes { queries, rows, features, row_bytes, kept, .. } = sizes;
        let quarter = (memory / 4).min(binding).max(1);
        let fit = |bytes: u64, most: usize| ((quarter / bytes.max(1)) as usize).clamp(1, most.max(1));
        let resident = fit(row_bytes + 16 * kept as u64, queries);
        let mut tile = fit(row_bytes + 4, rows);
        let pairs = (budget / (2 * features as u64)).max(1);
        let mut batch = resident.min(MOST_QUERIES).min(fit(4, usize::MAX));
        // A launch within the budget: tiles shrink first, because a batch shares what it reads of them.
        tile = tile.min(fit(4 * batch as u64, rows)).min(((pairs / batch as u64) as usize).max(256));
        // Whole tiles of the kernels, where there is more than one.
        tile = if tile > 128 { tile / 128 * 128 } else { tile };
        batch = batch.min(((pairs / tile as u64) as usize).max(16));
        Self { resident, batch, tile }
    }
}

/// A search in numbers.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    queries: usize,
    rows: usize,
    features: usize,
    /// Bytes of a row on the device.
    row_bytes: u64,
    /// Candidates to keep of each query.
    kept: usize,
    /// Whether keys are f32.
    floats: bool,
}

/// What brings a tile of training rows to the device and makes distances to it.
trait Form {
    /// Uploads training rows.
    fn tile(&mut self, rows: std::ops::Range<usize>) -> Result<Tile>;
    /// Records keys between `queries` queries of a batch and a tile.
    fn keys(&self, queries: &[Buffer; 2], count: usize, tile: &Tile, out: &Buffer) -> Result<()>;
    /// Uploads a batch of queries: rows and terms.
    fn queries(&self, rows: std::ops::Range<usize>) -> Result<[Buffer; 2]>;
}

struct Tile {
    rows: Buffer,
    terms: Buffer,
    count: usize,
}

/// The `k` candidates of every query, nearest first, with exact keys.
pub(super) fn scan_bytes(
    gpu: &Gpu,
    index: &ByteIndex<'_>,
    queries: &[u8],
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    let features = index.features;
    let sizes = Sizes {
        queries: queries.len() / features,
        rows: index.rows.len() / features,
        features,
        row_bytes: features.next_multiple_of(GPU_PIXEL_ROW) as u64,
        kept: k,
        floats: false,
    };
    scan(gpu, &mut Bytes { gpu, index, queries }, sizes, memory_limit)
}

/// The `kept` candidates of every query with the smallest keys, nearest first.
pub(super) fn scan_floats(
    gpu: &Gpu,
    frame: &Frame,
    queries: &[f32],
    train: RowsRef<'_>,
    kept: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    let features = train.features();
    let sizes = Sizes {
        queries: queries.len() / features,
        rows: train.len(),
        features,
        row_bytes: 4 * features as u64,
        kept,
        floats: true,
    };
    let mut form = Floats { gpu, frame, queries, train, scratch: Vec::new(), bias: Vec::new() };
    scan(gpu, &mut form, sizes, memory_limit)
}

fn scan(gpu: &Gpu, form: &mut dyn Form, sizes: Sizes, memory_limit: Option<u64>) -> Result<Vec<u64>> {
    let Sizes { queries, rows, kept, floats, .. } = sizes;
    let memory = memory_limit.unwrap_or(DEFAULT_BYTES);
    let (binding, budget) = (gpu.limits().binding_bytes, gpu.work_budget());
    let cut = Cut::new(&sizes, memory, binding, budget);
    let out = gpu.alloc(4 * (cut.batch * cut.tile) as u64)?;
    let mut candidates = Vec::with_capacity(queries * kept);
    for first in (0..queries).step_by(cut.resident) {
        let last = (first + cut.resident).min(queries);
        let mut batches = Vec::new();
        for start in (first..last).step_by(cut.batch) {
            let range = start..(start + cut.batch).min(last);
            let count = range.len();
            batches.push((form.queries(range)?, count, Selection::new(gpu, count, kept)?));
        }
        for start in (0..rows).step_by(cut.tile) {
            let tile = form.tile(start..(start + cut.tile).min(rows))?;
            for (queries, count, selection) in &mut batches {
                form.keys(queries, *count, &tile, &out)?;
                selection.merge(&out, floats, 0, tile.count, start as u32)?;
            }
        }
        for (_, _, selection) in batches {
            candidates.extend(selection.finish()?);
        }
    }
    Ok(candidates)
}

struct Bytes<'a> {
    gpu: &'a Gpu,
    index: &'a ByteIndex<'a>,
    queries: &'a [u8],
}

impl Bytes<'_> {
    fn upload(&self, bytes: &[u8], terms: &[u32]) -> Result<[Buffer; 2]> {
        let padded = pad_pixel_rows(bytes, self.index.features);
        Ok([self.gpu.upload(&padded)?, self.gpu.upload(bytemuck::cast_slice(terms))?])
    }
}

impl Form for Bytes<'_> {
    fn queries(&self, rows: std::ops::Range<usize>) -> Result<[Buffer; 2]> {
        let features = self.index.features;
        let bytes = &self.queries[rows.start * features..rows.end * features];
        let terms: Vec<u32> = match self.index.form {
            ByteForm::SqEuclidean => byte_stats(bytes, features).iter().map(|stats| stats.squares).collect(),
            ByteForm::Dot | ByteForm::L1 => vec![0; rows.len()],
        };
        self.upload(bytes, &terms)
    }

    fn tile(&mut self, rows: std::ops::Range<usize>) -> Result<Tile> {
        let features = self.index.features;
        let bytes = &self.index.rows[rows.start * features..rows.end * features];
        let terms: Vec<u32> = match self.index.form {
            ByteForm::SqEuclidean => {
                self.index.stats[rows.clone()].iter().map(|stats| stats.squares).collect()
            }
            ByteForm::Dot => vec![DOT_TOP; rows.len()],
            ByteForm::L1 => vec![0; rows.len()],
        };
        let [bytes, terms] = self.upload(bytes, &terms)?;
        Ok(Tile { rows: bytes, terms, count: rows.len() })
    }

    fn keys(&self, [x, x_terms]: &[Buffer; 2], count: usize, tile: &Tile, out: &Buffer) -> Result<()> {
        let shape = [count, tile.count, self.index.features];
        let scale = match self.index.form {
            ByteForm::L1 => {
                return pairwise_l1::gpu::record(self.gpu, None, true, [x, &tile.rows, out], shape);
            }
            ByteForm::SqEuclidean => 2,
            ByteForm::Dot => 1,
        };
        pairwise_l2::gpu::record_bytes(
            self.gpu,
            None,
            [x, &tile.rows, out],
            shape,
            [x_terms, &tile.terms],
            scale,
        )
    }
}

struct Floats<'a> {
    gpu: &'a Gpu,
    frame: &'a Frame,
    queries: &'a [f32],
    train: RowsRef<'a>,
    scratch: Vec<f32>,
    bias: Vec<f32>,
}

impl Form for Floats<'_> {
    fn queries(&self, rows: std::ops::Range<usize>) -> Result<[Buffer; 2]> {
        let features = self.train.features();
        let values = &self.queries[rows.start * features..rows.end * features];
        let zeros = vec![0f32; rows.len()];
        Ok([self.gpu.upload(bytemuck::cast_slice(values))?, self.gpu.upload(bytemuck::cast_slice(&zeros))?])
    }

    fn tile(&mut self, rows: std::ops::Range<usize>) -> Result<Tile> {
        let count = rows.len();
        self.scratch.resize(count * self.train.features(), 0.0);
        self.bias.resize(count, 0.0);
        self.frame.train_rows(self.train.range(rows), &mut self.scratch, &mut self.bias);
        let rows = self.gpu.upload(bytemuck::cast_slice(&self.scratch))?;
        Ok(Tile { rows, terms: self.gpu.upload(bytemuck::cast_slice(&self.bias))?, count })
    }

    fn keys(&self, [x, zeros]: &[Buffer; 2], count: usize, tile: &Tile, out: &Buffer) -> Result<()> {
        let shape = [count, tile.count, self.train.features()];
        if self.frame.metric() == Metric::L1 {
            return pairwise_l1::gpu::record(self.gpu, None, false, [x, &tile.rows, out], shape);
        }
        pairwise_l2::gpu::record_products(self.gpu, [x, &tile.rows, out], shape, [zeros, &tile.terms])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_stays_within_memory_bindings_and_the_budget() {
        let (binding, budget) = (128 << 20, 5_000_000_000);
        for (queries, rows, features, kept) in [
            (1, 1, 1, 1),
            (10_000, 60_000, 784, 10),
            (500, 5000, 3072, 16),
            (3, 2_000_000, 16, 5000),
            (70_000, 10, 33_025, 1),
        ] {
            for memory in [1 << 20, 64 << 20, 512 << 20] {
                let row_bytes = features as u64;
                let sizes = Sizes { queries, rows, features, row_bytes, kept, floats: false };
                let cut = Cut::new(&sizes, memory, binding, budget);
                assert!(cut.resident >= 1 && cut.batch >= 1 && cut.tile >= 1, "{cut:?}");
                assert!(cut.batch <= cut.resident.max(16) && cut.tile <= rows.max(256), "{cut:?}");
                let distances = 4 * (cut.batch * cut.tile) as u64;
                assert!(distances <= (memory / 4).max(4 * 16 * 256), "{cut:?}");
            }
        }
    }
}
