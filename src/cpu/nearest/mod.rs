//! Exact k-nearest-neighbour search: training tiles stream past, the queries × rows matrix never exists.
//!
//! Pack the queries once ([`ByteQueries`], [`FloatQueries`]), scan the training rows in as many tiles as is
//! convenient, and [`Best`] keeps each query's k smallest candidates. All keys of one query are computed by the same
//! operations in the same order whatever the tile, the task or the thread, so the outcome has the same bits however
//! the work was cut.

mod best;
mod bytes;
mod floats;
mod pooled;
mod projected;
mod refine;

use std::collections::VecDeque;

use rayon::prelude::*;

pub use best::{Best, Sorted};
pub use bytes::{ByteForm, ByteQueries, ByteStats, MAX_BYTE_FEATURES, byte_stats, dot_of_key, scan_bytes};
pub use floats::{FloatQueries, roundings, scan_floats, scan_floats_l1, scan_floats_squares, squares_bound};
pub use pooled::{Pooling, Sketched};
pub use projected::{Projection, SAMPLE};
pub use refine::{Refinement, sampled, scan_coarse};

use self::best::{BestMut, SharedBounds};
use super::simd::{LANES, Lane};
use super::sweep::{Operands, Task};
use crate::order::candidate;

/// What a scan makes of the keys that its kernels compute.
trait Rule<K>: Sync {
    /// The threshold that lets pass every key of `query` that may still stand for a candidate below `bound`, of rows with
    /// indices above `index`.
    fn threshold(&self, query: usize, bound: u64, index: u32) -> K;

    /// The candidate behind a key that passed; anything from `bound` on where it is not below. `None` where the next look at the row, which there is but
    /// at `look` 0, has to tell.
    fn candidate(&self, query: usize, index: u32, key: K, look: usize, bound: u64) -> Option<u64>;

    /// The first look at a row; the last one is 0.
    fn first_look(&self) -> usize {
        0
    }

    /// Keys that wait for what [`Self::fetch`] has asked for. Thresholds must not depend on the index where any do.
    const WAITING: usize = 0;

    /// Asks for what a look will read of a query and a training row.
    fn fetch(&self, _query: usize, _index: u32, _look: usize) {}
}

/// A query, counted from the task's first, a training row, their key and the next look.
type Passed<K> = (usize, u32, K, usize);

/// The keys themselves are the distances.
struct AsTheyAre;

impl<K: Lane> Rule<K> for AsTheyAre {
    fn threshold(&self, _: usize, bound: u64, index: u32) -> K {
        K::threshold(bound, index)
    }

    fn candidate(&self, _: usize, index: u32, key: K, _: usize, _: u64) -> Option<u64> {
        Some(candidate(key.key(), index))
    }
}

/// Offers every candidate of the operands to `best`; row 0 has the index `first_index`.
fn scan<K: Lane, F: Fn(usize) -> K + Sync>(
    operands: &Operands<'_, K, F>,
    rule: &impl Rule<K>,
    first_index: u32,
    best: &mut Best,
) {
    debug_assert_eq!(operands.packed.queries(), best.queries());
    debug_assert!(
        u32::try_from(operands.row_count()).is_ok_and(|rows| first_index.checked_add(rows).is_some())
    );
    let plan = operands.plan();
    let mut blocks = Vec::with_capacity(plan.len());
    let mut rest = best.view();
    for tasks in &plan {
        let queries = (tasks[0].groups.len() * LANES).min(rest.queries());
        let (block, more) = rest.split_at(queries);
        blocks.push((block, tasks));
        rest = more;
    }
    blocks.into_par_iter().for_each(|(mut block, tasks)| {
        if let [task] = tasks.as_slice() {
            return scan_task(operands, rule, task, first_index, &mut block);
        }
        // Few queries: the training rows are shared out instead, and what each share found is put together. A share begins with the bounds of
        // those that have ended: without any, the first thousands of its rows would pass.
        let bounds = SharedBounds::of(&block);
        let found: Vec<Best> = tasks
            .par_iter()
            .map(|task| {
                let mut found = bounds.best(task.rows.len());
                scan_task(operands, rule, task, first_index, &mut found.view());
                bounds.lower(&found);
                found
            })
            .collect();
        for found in &found {
            block.merge(found);
        }
    });
}

fn scan_task<K: Lane, F: Fn(usize) -> K + Sync, R: Rule<K>>(
    operands: &Operands<'_, K, F>,
    rule: &R,
    task: &Task,
    first_index: u32,
    best: &mut BestMut<'_>,
) {
    let queries = best.queries();
    let first_query = task.groups.start * LANES;
    let mut thresholds = vec![[K::CLOSED; LANES]; task.groups.len()];
    for (query, threshold) in thresholds.as_flattened_mut()[..queries].iter_mut().enumerate() {
        *threshold = rule.threshold(first_query + query, best.bound(query), first_index);
    }
    // What is not told yet comes back, to look closer.
    let mut offer = |(query, index, key, look): Passed<K>, thresholds: &mut [[K; LANES]]| match rule
        .candidate(first_query + query, index, key, look, best.bound(query))
    {
        Some(candidate) => {
            if best.offer(query, candidate) {
                let threshold = rule.threshold(first_query + query, best.bound(query), index);
                thresholds.as_flattened_mut()[query] = threshold;
            }
            None
        }
        None => Some((query, index, key, look - 1)),
    };
    let first_look = rule.first_look();
    let mut waiting = VecDeque::with_capacity(R::WAITING + 1);
    let wait = |passed: Passed<K>, waiting: &mut VecDeque<Passed<K>>| {
        let (query, index, _, look) = passed;
        rule.fetch(first_query + query, index, look);
        waiting.push_back(passed);
    };
    operands.walk(task, &mut thresholds, |group, row, keys, mut mask, thresholds| {
        let index = first_index + row as u32;
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let query = group * LANES + lane;
            // Lanes past the last query only pass where a key is NaN.
            if query >= queries {
                continue;
            }
            let passed = (query, index, keys[lane], first_look);
            if R::WAITING == 0 {
                let mut looked_at = Some(passed);
                while let Some(passed) = looked_at {
                    looked_at = offer(passed, thresholds);
                }
                continue;
            }
            wait(passed, &mut waiting);
            while waiting.len() > R::WAITING
                && let Some(passed) = waiting.pop_front()
            {
                if let Some(closer) = offer(passed, thresholds) {
                    wait(closer, &mut waiting);
                }
            }
        }
    });
    while let Some(passed) = waiting.pop_front() {
        if let Some(closer) = offer(passed, &mut thresholds) {
            wait(closer, &mut waiting);
        }
    }
}
