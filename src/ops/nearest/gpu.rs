//! The scans on an adapter: training tiles come by, distances to a batch of queries are made and selected from, and only
//! the selection stays. Nothing on the device grows with the product of queries and training rows.

use std::ops::Range;

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
use super::cut::{Cut, Sizes};

/// Device memory for a search where the user sets no limit: little next to any GPU's, enough for tiles that keep one busy.
const DEFAULT_BYTES: u64 = 512 << 20;

/// Above every dot product of allowed rows: the CPU's keys are the same.
const DOT_TOP: u32 = i32::MAX as u32 - 1;

/// What brings a tile of training rows to the device and makes distances to it.
trait Form {
    /// Uploads training rows.
    fn tile(&mut self, rows: Range<usize>) -> Result<Tile>;
    /// Records keys between `queries` queries of a batch and a tile.
    fn keys(&self, queries: &[Buffer; 2], count: usize, tile: &Tile, out: &Buffer) -> Result<()>;
    /// Uploads a batch of queries: rows and terms.
    fn queries(&self, rows: Range<usize>) -> Result<[Buffer; 2]>;
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
    let sizes = byte_sizes(index, queries, k);
    let mut sink = Select { gpu, kept: k, floats: false, candidates: Vec::with_capacity(sizes.queries * k) };
    scan(gpu, &mut Bytes { gpu, index, queries }, &mut sink, &sizes, memory_limit)?;
    Ok(sink.candidates)
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
        // Distances are products, which load rows from images where the adapter is quicker with them: copies as large as the rows.
        row_bytes: 4 * features as u64 * if gpu.info().loads_images() { 2 } else { 1 },
        kept,
    };
    let mut form = Floats { gpu, frame, queries, train, scratch: Vec::new(), bias: Vec::new() };
    let mut sink = Select { gpu, kept, floats: true, candidates: Vec::with_capacity(sizes.queries * kept) };
    scan(gpu, &mut form, &mut sink, &sizes, memory_limit)?;
    Ok(sink.candidates)
}

/// The keys of all pairs of pixels, for `take`: the first query that they belong to, the number of training rows, the first of them,
/// and the keys, row-major.
pub(super) fn scan_keys(
    gpu: &Gpu,
    index: &ByteIndex<'_>,
    queries: &[u8],
    memory_limit: Option<u64>,
    take: impl FnMut(usize, usize, u32, &[u32]),
) -> Result<()> {
    let sizes = byte_sizes(index, queries, 0);
    let mut sink = Hand { gpu, keys: Vec::new(), take };
    scan(gpu, &mut Bytes { gpu, index, queries }, &mut sink, &sizes, memory_limit)
}

fn byte_sizes(index: &ByteIndex<'_>, queries: &[u8], kept: usize) -> Sizes {
    let features = index.features;
    Sizes {
        queries: queries.len() / features,
        rows: index.rows.len() / features,
        features,
        row_bytes: features.next_multiple_of(GPU_PIXEL_ROW) as u64,
        kept,
    }
}

fn scan<S: Sink>(
    gpu: &Gpu,
    form: &mut dyn Form,
    sink: &mut S,
    sizes: &Sizes,
    memory_limit: Option<u64>,
) -> Result<()> {
    let memory = memory_limit.unwrap_or(DEFAULT_BYTES);
    let cut = Cut::new(sizes, memory, gpu.limits().binding_bytes, gpu.work_budget());
    let out = gpu.alloc(4 * (cut.batch * cut.tile) as u64)?;
    for first in (0..sizes.queries).step_by(cut.resident) {
        let last = (first + cut.resident).min(sizes.queries);
        let mut batches = Vec::new();
        for start in (first..last).step_by(cut.batch) {
            let range = start..(start + cut.batch).min(last);
            batches.push((form.queries(range.clone())?, range.len(), sink.begin(range)?));
        }
        for start in (0..sizes.rows).step_by(cut.tile) {
            let tile = form.tile(start..(start + cut.tile).min(sizes.rows))?;
            for (queries, count, batch) in &mut batches {
                form.keys(queries, *count, &tile, &out)?;
                sink.tile(batch, &out, start..start + tile.count)?;
            }
        }
        for (_, _, batch) in batches {
            sink.end(batch)?;
        }
    }
    Ok(())
}

/// What becomes of the keys.
trait Sink {
    /// What it knows about a batch of queries.
    type Batch;
    fn begin(&mut self, queries: Range<usize>) -> Result<Self::Batch>;
    /// The keys of a batch and the training rows `rows`, row-major.
    fn tile(&mut self, batch: &mut Self::Batch, keys: &Buffer, rows: Range<usize>) -> Result<()>;
    fn end(&mut self, batch: Self::Batch) -> Result<()>;
}

/// Selects the smallest on the device.
struct Select<'a> {
    gpu: &'a Gpu,
    kept: usize,
    floats: bool,
    candidates: Vec<u64>,
}

impl Sink for Select<'_> {
    type Batch = Selection;

    fn begin(&mut self, queries: Range<usize>) -> Result<Selection> {
        Selection::new(self.gpu, queries.len(), self.kept)
    }

    fn tile(&mut self, batch: &mut Selection, keys: &Buffer, rows: Range<usize>) -> Result<()> {
        batch.merge(keys, self.floats, 0, rows.len(), rows.start as u32)
    }

    fn end(&mut self, batch: Selection) -> Result<()> {
        self.candidates.extend(batch.finish()?);
        Ok(())
    }
}

/// Hands them to the host.
struct Hand<'a, F> {
    gpu: &'a Gpu,
    keys: Vec<u32>,
    take: F,
}

impl<F: FnMut(usize, usize, u32, &[u32])> Sink for Hand<'_, F> {
    type Batch = Range<usize>;

    fn begin(&mut self, queries: Range<usize>) -> Result<Range<usize>> {
        Ok(queries)
    }

    fn tile(&mut self, batch: &mut Range<usize>, keys: &Buffer, rows: Range<usize>) -> Result<()> {
        self.keys.resize(batch.len() * rows.len(), 0);
        self.gpu.read_into(keys, 0, bytemuck::cast_slice_mut(&mut self.keys))?;
        (self.take)(batch.start, rows.len(), rows.start as u32, &self.keys);
        Ok(())
    }

    fn end(&mut self, _: Range<usize>) -> Result<()> {
        Ok(())
    }
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
    fn queries(&self, rows: Range<usize>) -> Result<[Buffer; 2]> {
        let features = self.index.features;
        let bytes = &self.queries[rows.start * features..rows.end * features];
        let terms: Vec<u32> = match self.index.form {
            ByteForm::SqEuclidean => byte_stats(bytes, features).iter().map(|stats| stats.squares).collect(),
            ByteForm::Dot | ByteForm::L1 => vec![0; rows.len()],
        };
        self.upload(bytes, &terms)
    }

    fn tile(&mut self, rows: Range<usize>) -> Result<Tile> {
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
    fn queries(&self, rows: Range<usize>) -> Result<[Buffer; 2]> {
        let features = self.train.features();
        let values = &self.queries[rows.start * features..rows.end * features];
        let zeros = vec![0f32; rows.len()];
        Ok([self.gpu.upload(bytemuck::cast_slice(values))?, self.gpu.upload(bytemuck::cast_slice(&zeros))?])
    }

    fn tile(&mut self, rows: Range<usize>) -> Result<Tile> {
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
