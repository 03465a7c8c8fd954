//! How a search is cut for an adapter: memory, bindings and work of a launch all have their limits.

/// Queries of one batch: enough to use a training tile many times, few enough for small tiles of distances.
const MOST_QUERIES: usize = 1024;

/// How a search is cut for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Queries that are on the device together, with their selections.
    pub(super) resident: usize,
    /// Queries whose distances are made by one launch.
    pub(super) batch: usize,
    /// Training rows that are on the device together.
    pub(super) tile: usize,
}

impl Cut {
    /// A quarter of `memory` each for queries with their selections (16 bytes a candidate), a tile of training rows, and a
    /// tile of distances; the last quarter is for terms, parameters and staging. `budget` operations are one launch.
    pub(super) fn new(sizes: &Sizes, memory: u64, binding: u64, budget: u64) -> Self {
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
pub(super) struct Sizes {
    pub(super) queries: usize,
    pub(super) rows: usize,
    pub(super) features: usize,
    /// Bytes of a row on the device.
    pub(super) row_bytes: u64,
    /// Candidates to keep of each query.
    pub(super) kept: usize,
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
                let sizes = Sizes { queries, rows, features, row_bytes, kept };
                let cut = Cut::new(&sizes, memory, binding, budget);
                assert!(cut.resident >= 1 && cut.batch >= 1 && cut.tile >= 1, "{cut:?}");
                assert!(cut.batch <= cut.resident.max(16) && cut.tile <= rows.max(256), "{cut:?}");
                let distances = 4 * (cut.batch * cut.tile) as u64;
                assert!(distances <= (memory / 4).max(4 * 16 * 256), "{cut:?}");
            }
        }
    }
}
