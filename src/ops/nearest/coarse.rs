//! Searching pixels coarse to fine: means of blocks for every pair, and all values for the few that the bound lets pass.
//!
//! The bound and its proof are in [`crate::cpu::nearest`] (`pooled.rs`). Here is when it pays, and what it shares with long searches, for which
//! `projected.rs` has a better one.

use super::bytes::ByteIndex;
use super::gpu;
use super::projected;
use crate::cpu;
use crate::cpu::nearest::{Best, ByteForm, Pooling, Refinement, Sketched};
use crate::device::Device;
use crate::error::Result;
use crate::ops::pairwise_l2;
use crate::profile::span;

/// Queries that pay for pooling every training row.
const LEAST_QUERIES: usize = 64;

/// The cost that a search must stay below to be tried, in plain scans: the sample may be wrong.
pub(super) const WORTH: f64 = 0.8;

/// Host memory that the sketches of training rows may take where the user sets no limit.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// Training rows at a quarter of their size.
pub(super) struct Coarse {
    pooling: Pooling,
    means: ByteIndex<'static>,
    /// The most that rounding took of a training row.
    error: f64,
}

impl Coarse {
    /// One pass over the rows, where their blocks bound anything.
    pub(super) fn new(fine: &ByteIndex<'_>) -> Option<Self> {
        let pooling = Pooling::fit(fine.form, &fine.rows, fine.features)?;
        let Sketched { rows, errors, .. } = pooling.pool(&fine.rows);
        let means = ByteIndex::new(fine.form, rows, pooling.blocks());
        Some(Self { pooling, means, error: largest(&errors) })
    }
}

pub(super) fn largest(errors: &[f64]) -> f64 {
    errors.iter().copied().fold(0.0, f64::max)
}

/// What makes the search pay on a device.
pub(super) struct Terms {
    /// Pairs times features below which a plain scan is over before the rows are pooled.
    pooling: usize,
    /// And before directions are found.
    pub(super) projection: usize,
    /// What a look at all features of one pair costs, in pairs of a plain scan.
    pub(super) look: f64,
}

/// The terms of a device; `None` where the search never pays. The host's register tiles use each value many times, a look once. A software
/// adapter takes longer for a pair than the host for a look. A GPU is through before the host has looked at anything.
pub(super) fn terms(device: &Device) -> Option<Terms> {
    match device {
        Device::Reference => None,
        Device::Cpu => Some(Terms { pooling: 1 << 33, projection: 1 << 35, look: 20.0 }),
        Device::Gpu(gpu) => {
            gpu.info().software().then_some(Terms { pooling: 1 << 28, projection: 1 << 33, look: 0.5 })
        }
    }
}

/// The `k` candidates of every query, nearest first, with exact keys, as [`super::scan::scan_bytes`] gives; `None` where a plain scan
/// is quicker.
pub(super) fn search(
    device: &Device,
    fine: &ByteIndex<'_>,
    queries: &[u8],
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Option<Vec<u64>>> {
    let count = queries.len() / fine.features;
    let memory = memory_limit.unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let Some(Terms { pooling, look, .. }) = terms(device) else { return Ok(None) };
    if count < LEAST_QUERIES
        || count.saturating_mul(fine.rows.len()) < pooling
        || fine.rows.len() as u64 / 3 > memory
    {
        return Ok(None);
    }
    if fine.form == ByteForm::SqEuclidean
        && let Some(found) = projected::search(device, &projected::Pixels { fine, queries }, k, memory_limit)?
    {
        return Ok(Some(found));
    }
    // The kernel is compiled meanwhile.
    let pooling = span("nearest pool");
    let prepare = || prepare(device, [count, fine.stats.len(), fine.features / 16]);
    let (prepared, (levels, refinement, shares)) = rayon::join(prepare, || {
        let mut levels = Vec::new();
        let mut refinement = Refinement::new(fine.form, queries, &fine.rows, fine.features);
        let mut last = fine;
        while levels.len() < 2
            && let Some(Coarse { pooling, means, error }) = last.coarse()
        {
            let queries = pooling.pool(refinement.queries());
            refinement = refinement.through(pooling.gain(), queries, &means.rows, *error);
            last = means;
            levels.push(last);
        }
        let shares = refinement.shares(k, fine.stats.len());
        (levels, refinement, shares)
    });
    drop(pooling);
    prepared?;
    // A scan of all pairs at one level, and a look at the next finer one for those that pass.
    let cost = |level: usize| {
        let scan = levels[level].features as f64 / fine.features as f64;
        let looks = (0..=level).map(|level| shares[level] * look / f64::from(1 << level));
        scan + looks.sum::<f64>()
    };
    let cheapest = (0..levels.len()).map(|level| (cost(level), level)).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, level)) = cheapest.filter(|(cost, _)| *cost < WORTH) else { return Ok(None) };
    descend(device, refinement.cut(level + 2), levels[level], k, memory_limit).map(Some)
}

/// Compiles the kernel for distances of `[queries, rows, features]` bytes where the device has one.
pub(super) fn prepare(device: &Device, shape: [usize; 3]) -> Result<()> {
    match device {
        Device::Gpu(gpu) => pairwise_l2::gpu::prepare_bytes(gpu, shape),
        Device::Cpu | Device::Reference => Ok(()),
    }
}

/// The search itself, `coarsest` being the training rows of the last level.
pub(super) fn descend(
    device: &Device,
    refinement: Refinement<'_>,
    coarsest: &ByteIndex<'_>,
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Vec<u64>> {
    match device {
        Device::Gpu(gpu) => {
            let mut best = Best::close(refinement.queries().len() / coarsest.features, k);
            gpu::scan_keys(gpu, coarsest, refinement.queries(), memory_limit, |query, rows, first, keys| {
                let _span = span("nearest refine");
                refinement.refine(query, keys, rows, first, &mut best);
            })?;
            Ok(best.finish().candidates)
        }
        Device::Cpu | Device::Reference => {
            Ok(cpu::nearest::scan_coarse(refinement, &coarsest.rows, &coarsest.stats, k))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan_all;
    use super::*;
    use crate::rng;

    #[test]
    fn images_are_searched_coarse_to_fine_and_noise_is_not() {
        let (rows, queries, features, k) = (4200, 1100, 2048, 10);
        let mut rng = rng::seeded(8);
        let noise = rng::pixels(&mut rng, (rows + queries) * features);
        let images: Vec<u8> =
            noise.iter().enumerate().map(|(i, &v)| noise[i / 16 * 16] / 2 + v / 64).collect();
        for (pixels, pays) in [(images, true), (noise, false)] {
            let (train, asked) = pixels.split_at(rows * features);
            for form in [ByteForm::SqEuclidean, ByteForm::L1] {
                let index = ByteIndex::new(form, train, features);
                let found = search(&Device::Cpu, &index, asked, k, None).expect("a search");
                assert_eq!(found.is_some(), pays, "{form:?}");
                if let Some(found) = found {
                    let all = scan_all(&Device::Cpu, &index, asked, k, None).expect("a search");
                    assert_eq!(found, all, "{form:?}");
                }
                // Too few queries, and too little memory for the means.
                let few = search(&Device::Cpu, &index, &asked[..8 * features], k, None).expect("a search");
                assert_eq!(few, None);
                assert_eq!(search(&Device::Cpu, &index, asked, k, Some(1 << 20)).expect("a search"), None);
            }
            let index = ByteIndex::new(ByteForm::Dot, train, features);
            assert_eq!(search(&Device::Cpu, &index, asked, k, None).expect("a search"), None);
        }
    }
}
