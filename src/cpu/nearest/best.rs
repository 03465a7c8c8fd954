//! The k smallest candidates of every query, kept while training rows stream past.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::cpu::topk::{Smallest, slack};

/// The k smallest candidates (see [`crate::order`]) of each of a number of queries.
///
/// The content depends on the set of candidates offered, never on their order, so scans may visit tiles in any order
/// and bests of disjoint tiles may be merged in any order. A candidate must not be offered twice.
#[derive(Debug, Clone)]
pub struct Best {
    k: usize,
    room: usize,
    lists: Vec<u64>,
    lens: Vec<u32>,
    bounds: Vec<u64>,
}

/// The candidates of all queries, each query's sorted from near to far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// All candidates, query after query.
    pub candidates: Vec<u64>,
    /// How many of them belong to each query: k, or all there were where fewer were offered.
    pub counts: Vec<usize>,
}

impl Best {
    /// Empty lists for `queries` queries, keeping `k` (at least 1) candidates of each.
    ///
    /// Memory: up to 8·(2k + 16) bytes a query, touched only as candidates arrive.
    pub fn new(queries: usize, k: usize) -> Self {
        Self::with_room(queries, k.max(1), k.max(1) + slack(k.max(1)))
    }

    /// [`Best::new`] whose bounds follow what is offered closely, for where a candidate costs more than to sort some out.
    pub fn close(queries: usize, k: usize) -> Self {
        Self::with_room(queries, k.max(1), k.max(1) + k.div_ceil(16).max(1))
    }

    fn with_room(queries: usize, k: usize, room: usize) -> Self {
        Self {
            k,
            room,
            lists: vec![0; queries * room],
            lens: vec![0; queries],
            bounds: vec![u64::MAX; queries],
        }
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.lens.len()
    }

    /// Candidates kept of each query.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Considers one candidate for one query.
    pub fn offer(&mut self, query: usize, candidate: u64) {
        self.view().offer(query, candidate);
    }

    /// Takes over what `other`, of the same number of queries, has found.
    pub fn merge(&mut self, other: &Self) {
        self.view().merge(other);
    }

    /// Sorts every query's candidates.
    pub fn finish(mut self) -> Sorted {
        let lists = self.lists.par_chunks_exact_mut(self.room);
        lists.zip(&mut self.lens).zip(&mut self.bounds).for_each(|((list, len), bound)| {
            let kept = Smallest { k: self.k, list, len, bound }.keep();
            list[..kept].sort_unstable();
        });
        let counts: Vec<usize> = self.lens.iter().map(|&len| len as usize).collect();
        let mut candidates = Vec::with_capacity(counts.iter().sum());
        for (list, &count) in self.lists.chunks_exact(self.room).zip(&counts) {
            candidates.extend_from_slice(&list[..count]);
        }
        Sorted { candidates, counts }
    }

    pub(super) fn view(&mut self) -> BestMut<'_> {
        let Self { k, room, lists, lens, bounds } = self;
        BestMut { k: *k, room: *room, lists, lens, bounds }
    }
}

/// The bounds of queries whose candidates several threads look for, each among rows of its own.
///
/// What a share keeps depends on who was first; the k smallest of all do not: whatever a bound refuses has k smaller candidates in one list.
pub(super) struct SharedBounds {
    k: usize,
    bounds: Vec<AtomicU64>,
}

impl SharedBounds {
    /// Those of the queries of `view`.
    pub(super) fn of(view: &BestMut<'_>) -> Self {
        Self { k: view.k, bounds: view.bounds.iter().map(|&bound| bound.into()).collect() }
    }

    /// An empty best for `rows` candidates, which refuses what cannot enter any more.
    pub(super) fn best(&self, rows: usize) -> Best {
        let mut best = Best::new(self.bounds.len(), self.k.min(rows));
        for (bound, shared) in best.bounds.iter_mut().zip(&self.bounds) {
            *bound = shared.load(Ordering::Relaxed);
        }
        best
    }

    /// Lowers the bounds to those of a share. One of less than k rows knows nothing of the k smallest of all.
    pub(super) fn lower(&self, found: &Best) {
        if found.k == self.k {
            for (shared, &bound) in self.bounds.iter().zip(&found.bounds) {
                shared.fetch_min(bound, Ordering::Relaxed);
            }
        }
    }
}

/// A contiguous range of a [`Best`]'s queries, which one thread may fill while others fill the rest.
pub(super) struct BestMut<'a> {
    k: usize,
    room: usize,
    lists: &'a mut [u64],
    lens: &'a mut [u32],
    bounds: &'a mut [u64],
}

impl BestMut<'_> {
    pub(super) fn queries(&self) -> usize {
        self.lens.len()
    }

    /// The first `queries` queries and the rest.
    pub(super) fn split_at(self, queries: usize) -> (Self, Self) {
        let Self { k, room, lists, lens, bounds } = self;
        let (lists, more_lists) = lists.split_at_mut(queries * room);
        let (lens, more_lens) = lens.split_at_mut(queries);
        let (bounds, more_bounds) = bounds.split_at_mut(queries);
        let rest = Self { k, room, lists: more_lists, lens: more_lens, bounds: more_bounds };
        (Self { k, room, lists, lens, bounds }, rest)
    }

    /// Candidates kept of each query.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Only candidates below this can still enter the list of `query`.
    pub(super) fn bound(&self, query: usize) -> u64 {
        self.bounds[query]
    }

    /// Considers one candidate; true where that lowered the bound of `query`.
    #[inline]
    pub(super) fn offer(&mut self, query: usize, candidate: u64) -> bool {
        Smallest {
            k: self.k,
            list: &mut self.lists[query * self.room..(query + 1) * self.room],
            len: &mut self.lens[query],
            bound: &mut self.bounds[query],
        }
        .offer(candidate)
    }

    /// Takes over what `other`, of the same queries, has found.
    pub(super) fn merge(&mut self, other: &Best) {
        debug_assert_eq!(self.queries(), other.queries());
        for (query, list) in other.lists.chunks_exact(other.room).enumerate() {
            for &candidate in &list[..other.lens[query] as usize] {
                self.offer(query, candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::candidate;

    /// 0..n in a fixed, thoroughly mixed order.
    fn mixed(n: u64) -> impl Iterator<Item = u64> {
        (0..n).map(move |i| (i * 7919 + 13) % n)
    }

    #[test]
    fn keeps_the_k_smallest_in_any_order_of_arrival() {
        let n = 10_007;
        for k in [1, 2, 10, 100, 2048, 4097, 10_007] {
            let expected = Sorted { candidates: (0..k as u64).collect(), counts: vec![k] };
            for order in [mixed(n).collect::<Vec<_>>(), (0..n).collect(), (0..n).rev().collect()] {
                let mut best = Best::new(1, k);
                order.iter().for_each(|&candidate| best.offer(0, candidate));
                assert_eq!(best.finish(), expected, "k = {k}");
            }
        }
    }

    #[test]
    fn merging_is_the_same_as_offering_everything() {
        for k in [1, 10, 300] {
            let (mut whole, mut parts) = (Best::new(3, k), vec![Best::new(3, k); 4]);
            for (i, candidate) in mixed(5003).enumerate() {
                for query in 0..3 {
                    whole.offer(query, candidate * (query as u64 + 1));
                    parts[i % 4].offer(query, candidate * (query as u64 + 1));
                }
            }
            let mut merged = Best::new(3, k);
            parts.iter().rev().for_each(|part| merged.merge(part));
            assert_eq!(merged.finish(), whole.finish());
        }
    }

    #[test]
    fn gives_what_there_is_when_that_is_less_than_k() {
        let mut best = Best::new(3, 5);
        best.offer(2, 9);
        best.offer(2, 4);
        best.offer(0, 1);
        assert_eq!(best.finish(), Sorted { candidates: vec![1, 4, 9], counts: vec![1, 0, 2] });
        assert_eq!(Best::new(0, 5).finish(), Sorted { candidates: vec![], counts: vec![] });
    }

    #[test]
    fn shares_that_know_each_others_bounds_find_what_one_scan_does() {
        // As many rows as a share has, shares of less than k rows among them; equal keys, so that indices decide.
        for shares in [&[40, 40, 40][..], &[3, 100, 2, 30], &[1; 9]] {
            let rows: u32 = shares.iter().sum();
            let candidates: Vec<u64> = (0..rows).map(|i| candidate(i * 7919 % 23, i)).collect();
            for turn in 0..shares.len() {
                let mut best = Best::new(1, 5);
                let bounds = SharedBounds::of(&best.view());
                let mut found = Vec::new();
                for share in (0..shares.len()).map(|i| (i + turn) % shares.len()) {
                    let start: u32 = shares[..share].iter().sum();
                    let mut of_share = bounds.best(shares[share] as usize);
                    for &candidate in &candidates[start as usize..(start + shares[share]) as usize] {
                        if candidate < of_share.bounds[0] {
                            of_share.offer(0, candidate);
                        }
                    }
                    bounds.lower(&of_share);
                    found.push(of_share);
                }
                found.iter().for_each(|found| best.merge(found));
                let mut sorted = candidates.clone();
                sorted.sort_unstable();
                sorted.truncate(5);
                assert_eq!(best.finish().candidates, sorted, "{shares:?} from {turn}");
            }
        }
    }
}
