//! Search from coarse to fine: every pair is compared by its means, few by their pixels.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::{Best, ByteForm, ByteQueries, ByteStats, Pooled, Pooling, Rule, scan, scan_bytes};
use crate::cpu::chunks::vectorized;
use crate::cpu::simd::{Isa, Lane, prefetch};
use crate::cpu::topk::smallest;
use crate::order::{self, candidate};

/// One in so many training rows is searched beforehand, for a first bound.
const SEED: usize = 8;
/// Queries and training rows that tell what a bound is worth.
const SHARE_QUERIES: usize = 8;
const SHARE_ROWS: Range<usize> = 1024..8192;

/// Rows of one size: the pixels, or means of the level before.
#[derive(Debug, Clone)]
struct Level<'a> {
    queries: Cow<'a, [u8]>,
    train: &'a [u8],
    features: usize,
    /// What rounding the means took of a query and of any training row, together.
    slack: Vec<f64>,
}

/// Queries and training rows at several sizes, from the finest on, and what is known of the k nearest.
#[derive(Debug, Clone)]
pub struct Refinement<'a> {
    form: ByteForm,
    isa: Isa,
    levels: Vec<Level<'a>>,
    /// For each query, a candidate that at least k training rows do not exceed; the last of all where none is known.
    ceilings: Vec<u64>,
}

impl<'a> Refinement<'a> {
    /// Pixels of `features` values.
    pub fn new(form: ByteForm, queries: &'a [u8], train: &'a [u8], features: usize) -> Self {
        let ceilings = vec![u64::MAX; queries.len() / features];
        Self {
            form,
            isa: Isa::best(),
            levels: vec![Level { queries: queries.into(), train, features, slack: Vec::new() }],
            ceilings,
        }
    }

    /// With a level more: the means by `pooling` of the last, `train` those of its training rows, whose errors are at most `error`.
    #[must_use]
    pub fn through(mut self, pooling: &Pooling, train: &'a [u8], error: f64) -> Self {
        let Pooled { rows, errors } = pooling.pool(self.queries());
        let slack = errors.into_iter().map(|of_query| of_query + error).collect();
        self.levels.push(Level { queries: rows.into(), train, features: pooling.blocks(), slack });
        self
    }

    /// Without the levels from `count` on.
    #[must_use]
    pub fn cut(mut self, count: usize) -> Self {
        self.levels.truncate(count.max(1));
        self
    }

    /// The queries of the coarsest level.
    pub fn queries(&self) -> &[u8] {
        self.levels.last().map_or(&[], |level| &level.queries)
    }

    /// The distance of a training row at one level.
    fn distance(&self, level: usize, query: usize, row: usize) -> u32 {
        let Level { queries, train, features, .. } = &self.levels[level];
        let query = &queries[query * features..][..*features];
        let row = &train[row * features..][..*features];
        match self.form {
            ByteForm::L1 => absolute(query, row),
            // SAFETY: an instruction set that is present.
            _ => unsafe { (self.isa.kernels().byte_squares)(query, row) },
        }
    }

    /// A row whose distance at `level` exceeds this is farther than `distance`.
    fn limit(&self, level: usize, query: usize, distance: u32) -> f64 {
        // The slack and the roots are computed with a few roundings.
        let up = 1.0 + 1e-12;
        let slack = self.levels[1..=level].iter().map(|level| level.slack[query]);
        if self.form == ByteForm::L1 {
            return slack.fold(f64::from(distance), |distance, slack| (distance / 4.0 + slack) * up);
        }
        let root = slack.fold(f64::from(distance).sqrt(), |root, slack| (root / 2.0 + slack) * up);
        root * root * up
    }

    /// For each level but the finest the share of the training rows that its bound lets pass to the k nearest, on a sample of pairs.
    pub fn shares(&self, k: usize) -> Vec<f64> {
        let Level { queries, train, features, .. } = &self.levels[0];
        let (queries, rows) = (queries.len() / features, train.len() / features);
        // As many rows as hold a few of the k nearest.
        let sampled = (4 * rows / k.max(1)).clamp(SHARE_ROWS.start, SHARE_ROWS.end).min(rows);
        let rank = (k * sampled).div_ceil(rows.max(1)).clamp(1, sampled);
        let asked = SHARE_QUERIES.min(queries);
        let counts = (0..asked).into_par_iter().map(|i| {
            let query = i * queries / asked;
            let rows = (0..sampled).map(|j| j * rows / sampled);
            let mut distances: Vec<u32> = rows.clone().map(|row| self.distance(0, query, row)).collect();
            let (_, &mut nearest, _) = distances.select_nth_unstable(rank - 1);
            let passing = |level: usize| {
                let limit = self.limit(level, query, nearest);
                rows.clone().filter(|&row| f64::from(self.distance(level, query, row)) <= limit).count()
            };
            (1..self.levels.len()).map(passing).collect::<Vec<_>>()
        });
        let sums = counts.reduce(
            || vec![0; self.levels.len() - 1],
            |a, b| a.into_iter().zip(b).map(|(a, b)| a + b).collect(),
        );
        sums.into_iter().map(|count| count as f64 / (asked * sampled) as f64).collect()
    }

    /// Offers the `columns` training rows from `first_index` on to the `best` of some queries, the first of them `first_query`: `keys`,
    /// row-major, are the distances at the coarsest level.
    pub fn refine(
        &self,
        first_query: usize,
        keys: &[u32],
        columns: usize,
        first_index: u32,
        best: &mut Best,
    ) {
        let (_, mut rest) = best.view().split_at(first_query);
        let mut lists = Vec::with_capacity(keys.len() / columns);
        for _ in 0..keys.len() / columns {
            let (one, more) = rest.split_at(1);
            lists.push(one);
            rest = more;
        }
        let each = lists.par_iter_mut().zip(keys.par_chunks_exact(columns)).enumerate();
        each.for_each(|(query, (best, keys))| {
            let query = first_query + query;
            let mut ceiling = u64::MAX;
            if best.bound(0) == u64::MAX && best.k() <= columns {
                ceiling = self.ceiling(query, &smallest(keys, first_index as usize, best.k()));
            }
            let mut bound = best.bound(0).min(ceiling);
            let mut threshold = self.threshold(query, bound, first_index);
            for (index, &key) in (first_index..).zip(keys) {
                let key = key.cast_signed();
                if key < threshold && best.offer(0, self.candidate(query, index, key, bound)) {
                    bound = best.bound(0).min(ceiling);
                    threshold = self.threshold(query, bound, index);
                }
            }
        });
    }

    /// The last of `candidates` by their distance in full.
    fn ceiling(&self, query: usize, candidates: &[u64]) -> u64 {
        let each = candidates.iter().map(|&found| self.candidate(query, order::index(found), 0, u64::MAX));
        each.max().unwrap_or(u64::MAX)
    }
}

impl Rule<i32> for Refinement<'_> {
    // Rows that pass lie anywhere in memory, and one takes as long to arrive as four distances to compute.
    const WAITING: usize = 4;

    fn fetch(&self, index: u32) {
        // Of the level that is read first.
        let Level { train, features, .. } = &self.levels[self.levels.len().saturating_sub(2)];
        let row = train.as_ptr().wrapping_add(index as usize * features);
        (0..*features).step_by(64).for_each(|at| prefetch(row.wrapping_add(at)));
    }

    fn threshold(&self, query: usize, bound: u64, _: u32) -> i32 {
        let bound = bound.min(self.ceilings[query]);
        if bound == u64::MAX {
            return i32::OPEN;
        }
        // Saturates: keys are below.
        (self.limit(self.levels.len() - 1, query, order::key(bound)) as i32).saturating_add(1)
    }

    fn candidate(&self, query: usize, index: u32, _: i32, bound: u64) -> u64 {
        let bound = bound.min(self.ceilings[query]);
        let passes = |level: &usize| {
            bound == u64::MAX
                || f64::from(self.distance(*level, query, index as usize))
                    <= self.limit(*level, query, order::key(bound))
        };
        // The coarsest level has let it pass.
        if (1..self.levels.len() - 1).rev().all(|level| passes(&level)) {
            candidate(self.distance(0, query, index as usize), index)
        } else {
            u64::MAX
        }
    }
}

/// Searches `rows`, the training rows of the coarsest level with their [`byte_stats`](super::byte_stats), for the `k` nearest of every
/// query. `k` is at most the number of rows.
pub fn scan_coarse(mut refinement: Refinement<'_>, rows: &[u8], stats: &[ByteStats], k: usize) -> Vec<u64> {
    let features = rows.len() / stats.len().max(1);
    let queries = ByteQueries::new(refinement.queries(), features, refinement.form);
    // The nearest of some rows at this level: few others will be nearer than the farthest of these.
    let some = (stats.len() / SEED).max(k).min(stats.len());
    let mut seed = Best::new(queries.len(), k);
    scan_bytes(&queries, &rows[..some * features], &stats[..some], 0, &mut seed);
    let seeds = seed.finish().candidates;
    let ceilings =
        seeds.par_chunks_exact(k).enumerate().map(|(query, seeds)| refinement.ceiling(query, seeds));
    refinement.ceilings = ceilings.collect();
    let mut best = Best::close(queries.len(), k);
    let beside = refinement.levels[0].features;
    queries.over(rows, stats, beside, |operands| scan(operands, &refinement, 0, &mut best));
    best.finish().candidates
}

/// Σ|x − y|.
fn absolute(x: &[u8], y: &[u8]) -> u32 {
    vectorized(
        #[inline(always)]
        || x.iter().zip(y).fold(0, |sum, (&x, &y)| sum + u32::from(x.abs_diff(y))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// All levels over the same rows as queries and training rows.
    fn refinement<'a>(
        form: ByteForm,
        rows: &'a [u8],
        features: usize,
        means: &'a mut Vec<Vec<u8>>,
    ) -> Refinement<'a> {
        let (mut poolings, mut errors) = (Vec::new(), Vec::new());
        let (mut last, mut width) = (rows.to_vec(), features);
        while let Some(pooling) = Pooling::fit(form, &last, width) {
            let pooled = pooling.pool(&last);
            errors.push(pooled.errors.iter().copied().fold(0.0, f64::max));
            (last, width) = (pooled.rows.clone(), pooling.blocks());
            poolings.push(pooling);
            means.push(pooled.rows);
        }
        let each = poolings.iter().zip(&*means).zip(errors);
        each.fold(Refinement::new(form, rows, rows, features), |levels, ((pooling, means), error)| {
            levels.through(pooling, means, error)
        })
    }

    #[test]
    fn no_row_is_nearer_than_its_bound() {
        let features = 512;
        let mut rng = rng::seeded(3);
        let noise = rng::pixels(&mut rng, 40 * features);
        let smooth: Vec<u8> =
            noise.iter().enumerate().map(|(i, &v)| noise[i / 64 * 64] / 2 + v / 32).collect();
        let extremes: Vec<u8> = noise.iter().map(|&v| if v < 128 { 0 } else { 255 }).collect();
        let edges: Vec<u8> =
            (0..40 * features).map(|i| if i % features < i / features * 12 { 255 } else { 0 }).collect();
        // Every mean of every other row is rounded by a half.
        let halves: Vec<u8> = (0..40 * features)
            .map(|i| noise[i / features * features] / 2 + u8::from(i / features % 2 == 0 && i % 4 > 1))
            .collect();
        for (name, rows) in [
            ("halves", halves),
            ("noise", noise),
            ("smooth", smooth),
            ("extremes", extremes),
            ("edges", edges),
        ] {
            for form in [ByteForm::SqEuclidean, ByteForm::L1] {
                let mut means = Vec::new();
                let levels = refinement(form, &rows, features, &mut means);
                assert_eq!(levels.levels.len(), 4, "512, 128, 32 and 8 features");
                for query in 0..40 {
                    for row in 0..40 {
                        let distance = levels.distance(0, query, row);
                        for level in 1..4 {
                            let key = f64::from(levels.distance(level, query, row));
                            let limit = levels.limit(level, query, distance);
                            assert!(key <= limit, "{name} {form:?}, level {level}: {key} over {limit}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_pass_finds_what_all_distances_tell() {
        let (features, k) = (128, 7);
        let mut rng = rng::seeded(4);
        let shades = rng::pixels(&mut rng, 300 * 8);
        // Every third row is there twice.
        let row = |i: usize| if i.is_multiple_of(3) { i % 150 } else { i };
        let rows: Vec<u8> =
            (0..300 * features).map(|i| shades[row(i / features) * 8 + i % features / 16]).collect();
        for form in [ByteForm::SqEuclidean, ByteForm::L1] {
            let mut means = Vec::new();
            let all = refinement(form, &rows, features, &mut means);
            for count in 2..=all.levels.len() {
                let levels = all.clone().cut(count);
                let coarsest = levels.levels.last().expect("levels").train;
                let stats = super::super::byte_stats(coarsest, coarsest.len() / 300);
                let found = scan_coarse(levels.clone(), coarsest, &stats, k);
                let keys: Vec<u32> = (0..300)
                    .flat_map(|query| (0..300).map(move |row| (query, row)))
                    .map(|(query, row)| levels.distance(count - 1, query, row))
                    .collect();
                // Tiles of 100 rows, queries in two batches.
                let mut best = Best::close(300, k);
                for (first_query, first) in [(0, 0), (0, 100), (200, 0), (0, 200), (200, 100), (200, 200)] {
                    let queries = if first_query == 0 { 0..200 } else { 200..300 };
                    let tile: Vec<u32> =
                        queries.flat_map(|query| &keys[query * 300 + first..][..100]).copied().collect();
                    levels.refine(first_query, &tile, 100, first as u32, &mut best);
                }
                assert_eq!(best.finish().candidates, found, "{form:?}, {count} levels");
                for query in 0..300 {
                    let mut want: Vec<u64> =
                        (0..300).map(|row| candidate(levels.distance(0, query, row), row as u32)).collect();
                    want.sort_unstable();
                    assert_eq!(found[query * k..][..k], want[..k], "{form:?}, {count} levels");
                }
                for share in levels.shares(k) {
                    assert!((0.0..=1.0).contains(&share) && share * 300.0 >= 1.0, "{share}");
                }
            }
        }
    }
}
