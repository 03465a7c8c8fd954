//! The scans that find candidates, on the CPU or an adapter: what differs between devices, and nothing else.

use super::bytes::ByteIndex;
use super::certified::{Frame, QueryFrame};
use super::lattice::{Lattice, Steps};
use super::{coarse, gpu, projected};
use crate::cpu;
use crate::cpu::nearest::{Best, ByteQueries, FloatQueries, squares_bound};
use crate::device::Device;
use crate::error::Result;
use crate::order::{self, Ordered};
use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};
use rayon::prelude::*;

/// Host memory for one tile of training rows in their frame: it is written and scanned while it is in the last-level
/// cache, and long enough to share among the threads.
const TILE_BYTES: u64 = 8 << 20;

/// Roundings that a term of a scan's sums passes through on `device`.
pub(super) fn roundings(device: &Device, features: usize) -> usize {
    match device {
        // Kernels may add in any order and fuse or not: each term meets at most every addition and its product.
        Device::Gpu(_) => features + 2,
        // Two more for the difference and the square of the direct forms.
        Device::Cpu | Device::Reference => cpu::nearest::roundings(features) + 2,
    }
}

/// A scan whose keys are lower bounds of the ranks.
pub(super) enum Bounding<'a> {
    /// 32-bit sums of the rows in a frame.
    Frame(&'a Frame),
    /// Integers, of rows on a lattice and queries on its steps.
    Lattice(&'a Lattice, &'a Steps),
    /// 32-bit sums of squared or absolute differences on the host: nothing is to be made before, every pair costs more.
    Differences(Metric, &'a [f32]),
}

/// The smallest rank behind a 32-bit sum of differences `key` over `features`.
///
/// Each term meets at most r roundings of 2⁻²⁴, and underflow takes 2⁻¹⁴⁹ of it at most: key ≤ rank·(1 + 2⁻²⁴)ʳ + features·2⁻¹⁴⁹.
/// A sum that overflowed is as large as any that did not.
fn differences_bound(key: f32, features: usize) -> f64 {
    let rounded = (1.0 + 0.5f64.powi(24)).powi(cpu::nearest::roundings(features) as i32 + 2);
    let lost = features as f64 * 0.5f64.powi(149);
    // And what the definition rounds in 64 bit.
    (f64::from(key.min(f32::MAX)) - lost) / rounded * (1.0 - (features + 8) as f64 * f64::EPSILON * 4.0)
}

/// What a scan knows about some queries.
pub(super) struct Found {
    /// The rows kept of each query, those of the next after it.
    pub(super) rows: Vec<u32>,
    /// A rank that no row outside stays below, for each query.
    pub(super) bounds: Vec<f64>,
}

impl Bounding<'_> {
    /// Whether the bounds say anything.
    pub(super) fn usable(&self) -> bool {
        match self {
            Self::Frame(frame) => frame.usable(),
            Self::Lattice(..) | Self::Differences(..) => true,
        }
    }

    /// The `kept` training rows with the smallest keys for each of the queries `which`.
    pub(super) fn scan(
        &self,
        device: &Device,
        queries: RowsRef<'_>,
        which: &[usize],
        train: RowsRef<'_>,
        kept: usize,
        memory_limit: Option<u64>,
    ) -> Result<Found> {
        let features = queries.features();
        let last = |candidates: &[u64]| order::key(candidates[kept - 1]);
        let (candidates, bounds): (_, Vec<f64>) = match self {
            Self::Differences(metric, train) => {
                let rows: Vec<f32> =
                    which.iter().flat_map(|&query| super::narrow(queries.range(query..query + 1))).collect();
                let asked = FloatQueries::new(&rows, features);
                let mut best = Best::new(which.len(), kept);
                if *metric == Metric::L1 {
                    cpu::nearest::scan_floats_l1(&asked, train, 0, &mut best);
                } else {
                    cpu::nearest::scan_floats_squares(&asked, train, 0, &mut best);
                }
                let found = best.finish().candidates;
                let bound = |found: &[u64]| differences_bound(f32::from_key(last(found)), features);
                let bounds = found.chunks_exact(kept).map(bound).collect();
                (found, bounds)
            }
            Self::Frame(frame) => {
                if let Some(found) = scan_projected(device, frame, queries, which, train, kept, memory_limit)?
                {
                    let bound = |found: &[u64]| squares_bound(f32::from_key(last(found)), features);
                    let bounds = found.chunks_exact(kept).map(bound).collect();
                    return Ok(Found { rows: found.into_iter().map(order::index).collect(), bounds });
                }
                let mut rows = vec![0.0; which.len() * features];
                let frames: Vec<QueryFrame> = rows
                    .par_chunks_exact_mut(features)
                    .zip(which)
                    .map(|(out, &query)| frame.query_row(queries, query, out))
                    .collect();
                let found = scan_floats(device, frame, &rows, train, kept, memory_limit)?;
                let each = found.chunks_exact(kept).zip(frames);
                let bounds =
                    each.map(|(found, query)| frame.lower_bound(query, f32::from_key(last(found)))).collect();
                (found, bounds)
            }
            Self::Lattice(lattice, steps) => {
                let rows: Vec<u8> = which
                    .iter()
                    .flat_map(|&query| &steps.rows[query * features..][..features])
                    .copied()
                    .collect();
                let found = scan_bytes(device, lattice.index(), &rows, kept, memory_limit)?;
                let bounds =
                    found.chunks_exact(kept).map(|found| lattice.lower_bound(steps, last(found))).collect();
                (found, bounds)
            }
        };
        Ok(Found { rows: candidates.into_iter().map(order::index).collect(), bounds })
    }
}

/// The `k` candidates of every query, nearest first, with exact keys. `k` is at most the number of training rows.
pub(super) fn scan_bytes(
    device: &Device,
    index: &ByteIndex<'_>,
    queries: &[u8],
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    if let Some(found) = coarse::search(device, index, queries, k, memory_limit)? {
        return Ok(found);
    }
    scan_all(device, index, queries, k, memory_limit)
}

/// [`scan_bytes`] by the distances of all pairs.
pub(super) fn scan_all(
    device: &Device,
    index: &ByteIndex<'_>,
    queries: &[u8],
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    match device {
        Device::Gpu(gpu) => gpu::scan_bytes(gpu, index, queries, k, memory_limit),
        Device::Cpu | Device::Reference => {
            let queries = ByteQueries::new(queries, index.features, index.form);
            let mut best = Best::new(queries.len(), k);
            cpu::nearest::scan_bytes(&queries, &index.rows, &index.stats, 0, &mut best);
            Ok(best.finish().candidates)
        }
    }
}

/// The `kept` candidates of the queries `which` with the smallest 32-bit sums of squared differences, nearest first; `None` where rows are not
/// such, or a scan of all their values is quicker.
fn scan_projected(
    device: &Device,
    frame: &Frame,
    queries: RowsRef<'_>,
    which: &[usize],
    train: RowsRef<'_>,
    kept: usize,
    memory_limit: Option<u64>,
) -> Result<Option<Vec<u64>>> {
    let (Metric::L2 | Metric::SqEuclidean, ValuesRef::F32(all), ValuesRef::F32(train)) =
        (frame.metric(), queries.values(), train.values())
    else {
        return Ok(None);
    };
    let features = queries.features();
    let some: Vec<f32>;
    let queries = if which.len() == queries.len() {
        all
    } else {
        some = which.iter().flat_map(|&query| &all[query * features..][..features]).copied().collect();
        &some
    };
    projected::search(device, &projected::Reals { frame, queries, train, features }, kept, memory_limit)
}

/// The `kept` candidates of every query with the smallest keys, nearest first. `queries` are in `frame`, training rows
/// are brought into it tile by tile.
fn scan_floats(
    device: &Device,
    frame: &Frame,
    queries: &[f32],
    train: RowsRef<'_>,
    kept: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    if let Device::Gpu(gpu) = device {
        return gpu::scan_floats(gpu, frame, queries, train, kept, memory_limit);
    }
    let features = train.features();
    let queries = FloatQueries::new(queries, features);
    let mut best = Best::new(queries.len(), kept);
    let bytes = TILE_BYTES.min(memory_limit.unwrap_or(u64::MAX));
    let tile = (bytes / (4 * features as u64 + 4)).max(1) as usize;
    let mut rows = vec![0.0; tile.min(train.len()) * features];
    let mut bias = vec![0.0; tile.min(train.len())];
    for start in (0..train.len()).step_by(tile) {
        let part = train.range(start..(start + tile).min(train.len()));
        let (rows, bias) = (&mut rows[..part.len() * features], &mut bias[..part.len()]);
        frame.train_rows(part, rows, bias);
        if frame.metric() == Metric::L1 {
            cpu::nearest::scan_floats_l1(&queries, rows, start as u32, &mut best);
        } else {
            cpu::nearest::scan_floats(&queries, rows, bias, start as u32, &mut best);
        }
    }
    Ok(best.finish().candidates)
}
