//! Search from coarse to fine: every pair is compared by a sketch, few by all their values.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::floats::{most_distance, squares, squares_rounding};
use super::{Best, ByteForm, ByteQueries, ByteStats, Rule, Sketched, scan, scan_bytes};
use crate::cpu::chunks::vectorized;
use crate::cpu::simd::{Isa, Lane, prefetch};
use crate::cpu::topk::smallest;
use crate::order::{self, Ordered, candidate};

/// One in so many training rows is searched beforehand, for a first bound.
const SEED: usize = 8;
/// Queries and training rows that tell what a bound is worth.
const SHARE_QUERIES: usize = 8;
const SHARE_ROWS: Range<usize> = 1024..8192;
/// Bytes of a row that are asked for before they are read.
const FETCHED: usize = 1024;

/// Numbers of queries and training rows.
#[derive(Debug, Clone)]
enum Values<'a> {
    Bytes { queries: Cow<'a, [u8]>, train: &'a [u8] },
    Floats { queries: &'a [f32], train: &'a [f32] },
}

/// Rows of one size: as they are, or sketches of the level before.
#[derive(Debug, Clone)]
struct Level<'a> {
    values: Values<'a>,
    features: usize,
    /// The largest number that bytes may be.
    most: u8,
    /// What the distance of two rows of the level before may grow by.
    gain: f64,
    /// What rounding took of a query's sketch and of that of any training row, together.
    slack: Vec<f64>,
}

impl Level<'_> {
    /// Bytes of a row.
    fn bytes(&self) -> usize {
        match self.values {
            Values::Bytes { .. } => self.features,
            Values::Floats { .. } => self.features * size_of::<f32>(),
        }
    }
}

/// Queries and training rows at several sizes, from the finest on, and what is known of the k nearest.
#[derive(Debug, Clone)]
pub struct Refinement<'a> {
    form: ByteForm,
    isa: Isa,
    levels: Vec<Level<'a>>,
    /// [`squares_rounding`] of the finest level.
    rounding: (f64, f64),
    /// For each query, a candidate that at least k training rows do not exceed; the last of all where none is known.
    ceilings: Vec<u64>,
}

impl<'a> Refinement<'a> {
    /// Pixels of `features` values.
    pub fn new(form: ByteForm, queries: &'a [u8], train: &'a [u8], features: usize) -> Self {
        let count = queries.len() / features;
        Self::of(form, Values::Bytes { queries: queries.into(), train }, features, count)
    }

    /// Real rows of `features` values, whose keys are those of Σ(x − y)² in 32 bit: [`squares_bound`](super::squares_bound) tells what they prove.
    pub fn of_floats(queries: &'a [f32], train: &'a [f32], features: usize) -> Self {
        let count = queries.len() / features;
        Self::of(ByteForm::SqEuclidean, Values::Floats { queries, train }, features, count)
    }

    fn of(form: ByteForm, values: Values<'a>, features: usize, queries: usize) -> Self {
        let levels = vec![Level { values, features, most: u8::MAX, gain: 1.0, slack: Vec::new() }];
        let rounding = squares_rounding(features);
        Self { form, isa: Isa::best(), levels, rounding, ceilings: vec![u64::MAX; queries] }
    }

    /// With a level more: sketches of the last, `train` those of its training rows, whose errors are at most `error`, and whose distances are at most
    /// `gain` times as large.
    #[must_use]
    pub fn through(mut self, gain: f64, queries: Sketched, train: &'a [u8], error: f64) -> Self {
        let Sketched { rows, most, errors } = queries;
        let features = rows.len() / errors.len().max(1);
        let slack = errors.into_iter().map(|of_query| of_query + error).collect();
        let values = Values::Bytes { queries: rows.into(), train };
        self.levels.push(Level { values, features, most, gain, slack });
        self
    }

    /// Without the levels from `count` on.
    #[must_use]
    pub fn cut(mut self, count: usize) -> Self {
        self.levels.truncate(count.max(1));
        self
    }

    /// The queries of the coarsest level, where these are bytes.
    pub fn queries(&self) -> &[u8] {
        match self.levels.last() {
            Some(Level { values: Values::Bytes { queries, .. }, .. }) => queries,
            _ => &[],
        }
    }

    /// The key of a training row's distance at one level.
    fn key(&self, level: usize, query: usize, row: usize) -> u32 {
        let Level { values, features, .. } = &self.levels[level];
        let (query, row) = (query * features..(query + 1) * features, row * features..(row + 1) * features);
        match values {
            Values::Floats { queries, train } => Lane::key(squares(&queries[query], &train[row])),
            Values::Bytes { queries, train } if self.form == ByteForm::L1 => {
                absolute(&queries[query], &train[row])
            }
            // SAFETY: an instruction set that is present.
            Values::Bytes { queries, train } => unsafe {
                (self.isa.kernels().byte_squares)(&queries[query], &train[row])
            },
        }
    }

    /// A row whose distance at `level`, a coarse one, exceeds this is farther than `key`.
    fn limit(&self, level: usize, query: usize, key: u32) -> f64 {
        // Gains, slack and roots are computed with a few roundings.
        let up = 1.0 + 1e-12;
        let distance = match self.levels[0].values {
            Values::Floats { .. } => most_distance(f32::from_key(key), self.rounding),
            Values::Bytes { .. } if self.form == ByteForm::L1 => f64::from(key),
            Values::Bytes { .. } => f64::from(key).sqrt(),
        };
        let levels = self.levels[1..=level].iter();
        let distance = levels.fold(distance, |far, level| (far * level.gain + level.slack[query]) * up);
        if self.form == ByteForm::L1 { distance } else { distance * distance * up }
    }

    /// For each level but the finest the share of the training rows that its bound lets pass to the k nearest, on a sample of pairs. The training
    /// rows may be a sample themselves, of `rows`.
    pub fn shares(&self, k: usize, rows: usize) -> Vec<f64> {
        let Level { values, features, .. } = &self.levels[0];
        let (queries, given) = match values {
            Values::Bytes { queries, train } => (queries.len() / features, train.len() / features),
            Values::Floats { queries, train } => (queries.len() / features, train.len() / features),
        };
        let sampled = sampled(k, rows).min(given);
        let rank = (k * sampled).div_ceil(rows.max(1)).clamp(1, sampled.max(1));
        let asked = SHARE_QUERIES.min(queries);
        let counts = (0..asked).into_par_iter().map(|i| {
            let query = i * queries / asked;
            let rows = (0..sampled).map(|j| j * given / sampled);
            let mut keys: Vec<u32> = rows.clone().map(|row| self.key(0, query, row)).collect();
            let (_, &mut nearest, _) = keys.select_nth_unstable(rank - 1);
            let passing = |level: usize| {
                let limit = self.limit(level, query, nearest);
                rows.clone().filter(|&row| f64::from(self.key(level, query, row)) <= limit).count()
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
                if key < threshold && best.offer(0, self.closest(query, index, bound)) {
                    bound = best.bound(0).min(ceiling);
                    threshold = self.threshold(query, bound, index);
                }
            }
        });
    }

    /// The candidate of a row that the coarsest level lets pass.
    fn closest(&self, query: usize, index: u32, bound: u64) -> u64 {
        let mut looks =
            (0..=self.first_look()).rev().map(|look| self.candidate(query, index, 0, look, bound));
        looks.find_map(|found| found).unwrap_or(u64::MAX)
    }

    /// The last of `candidates` by their distance in full.
    fn ceiling(&self, query: usize, candidates: &[u64]) -> u64 {
        let each = candidates
            .iter()
            .map(|&found| candidate(self.key(0, query, order::index(found) as usize), order::index(found)));
        each.max().unwrap_or(u64::MAX)
    }
}

impl Rule<i32> for Refinement<'_> {
    // Rows that pass lie anywhere in memory, and one takes as long to arrive as four distances to compute.
    const WAITING: usize = 4;

    fn first_look(&self) -> usize {
        self.levels.len().saturating_sub(2)
    }

    fn fetch(&self, query: usize, index: u32, look: usize) {
        let level = &self.levels[look];
        let (queries, train): (*const u8, *const u8) = match &level.values {
            Values::Bytes { queries, train } => (queries.as_ptr(), train.as_ptr()),
            Values::Floats { queries, train } => (queries.as_ptr().cast(), train.as_ptr().cast()),
        };
        let width = level.bytes();
        let row = train.wrapping_add(index as usize * width);
        (0..width.min(FETCHED)).step_by(64).for_each(|at| prefetch(row.wrapping_add(at)));
        // Those of the first look are few enough for the second level of cache.
        if look < self.first_look() {
            let query = queries.wrapping_add(query * width);
            (0..width.min(FETCHED)).step_by(64).for_each(|at| prefetch(query.wrapping_add(at)));
        }
    }

    fn threshold(&self, query: usize, bound: u64, _: u32) -> i32 {
        let bound = bound.min(self.ceilings[query]);
        if bound == u64::MAX {
            return i32::OPEN;
        }
        // Saturates: keys are below.
        (self.limit(self.levels.len() - 1, query, order::key(bound)) as i32).saturating_add(1)
    }

    fn candidate(&self, query: usize, index: u32, _: i32, look: usize, bound: u64) -> Option<u64> {
        let bound = bound.min(self.ceilings[query]);
        let key = self.key(look, query, index as usize);
        if look == 0 {
            return Some(candidate(key, index));
        }
        let passes = bound == u64::MAX || f64::from(key) <= self.limit(look, query, order::key(bound));
        (!passes).then_some(u64::MAX)
    }
}

/// Searches `rows`, the training rows of the coarsest level with their [`byte_stats`](super::byte_stats), for the `k` nearest of every
/// query. `k` is at most the number of rows.
pub fn scan_coarse(mut refinement: Refinement<'_>, rows: &[u8], stats: &[ByteStats], k: usize) -> Vec<u64> {
    let features = rows.len() / stats.len().max(1);
    let most = refinement.levels.last().map_or(u8::MAX, |level| level.most);
    let queries = ByteQueries::up_to(most, refinement.isa, refinement.queries(), features, refinement.form);
    // The nearest of some rows at this level: few others will be nearer than the farthest of these.
    let some = (stats.len() / SEED).max(k).min(stats.len());
    let mut seed = Best::new(queries.len(), k);
    scan_bytes(&queries, &rows[..some * features], &stats[..some], 0, &mut seed);
    let seeds = seed.finish().candidates;
    let ceilings =
        seeds.par_chunks_exact(k).enumerate().map(|(query, seeds)| refinement.ceiling(query, seeds));
    refinement.ceilings = ceilings.collect();
    let mut best = Best::close(queries.len(), k);
    let beside = refinement.levels[refinement.first_look()].bytes();
    queries.over(rows, stats, beside, |operands| scan(operands, &refinement, 0, &mut best));
    best.finish().candidates
}

/// Training rows of `rows` that tell what a bound is worth to the k nearest: as many as hold a few of these.
pub fn sampled(k: usize, rows: usize) -> usize {
    (4 * rows / k.max(1)).clamp(SHARE_ROWS.start, SHARE_ROWS.end).min(rows)
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
    use super::super::Pooling;
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
            let queries = pooling.pool(levels.queries());
            levels.through(pooling.gain(), queries, means, error)
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
                        let distance = levels.key(0, query, row);
                        for level in 1..4 {
                            let key = f64::from(levels.key(level, query, row));
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
                let Some(Level { values: Values::Bytes { train: coarsest, .. }, .. }) = levels.levels.last()
                else {
                    panic!("means are bytes");
                };
                let stats = super::super::byte_stats(coarsest, coarsest.len() / 300);
                let found = scan_coarse(levels.clone(), coarsest, &stats, k);
                let keys: Vec<u32> = (0..300)
                    .flat_map(|query| (0..300).map(move |row| (query, row)))
                    .map(|(query, row)| levels.key(count - 1, query, row))
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
                        (0..300).map(|row| candidate(levels.key(0, query, row), row as u32)).collect();
                    want.sort_unstable();
                    assert_eq!(found[query * k..][..k], want[..k], "{form:?}, {count} levels");
                }
                for share in levels.shares(k, 300) {
                    assert!((0.0..=1.0).contains(&share) && share * 300.0 >= 1.0, "{share}");
                }
            }
        }
    }
}
