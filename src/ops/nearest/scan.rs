//! The scans that find candidates, on the CPU or an adapter: what differs between devices, and nothing else.

use super::bytes::ByteIndex;
use super::certified::Frame;
use super::gpu;
use crate::cpu;
use crate::cpu::nearest::{Best, ByteQueries, FloatQueries};
use crate::device::Device;
use crate::error::Result;
use crate::reference::nearest::Metric;
use crate::rows::RowsRef;

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

/// The `k` candidates of every query, nearest first, with exact keys. `k` is at most the number of training rows.
pub(super) fn scan_bytes(
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
            cpu::nearest::scan_bytes(&queries, index.rows, &index.stats, 0, &mut best);
            Ok(best.finish().candidates)
        }
    }
}

/// The `kept` candidates of every query with the smallest keys, nearest first. `queries` are in `frame`, training rows
/// are brought into it tile by tile.
pub(super) fn scan_floats(
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
