//! The k smallest values of each row of a matrix, and the list that collects the k smallest of any stream.

use rayon::prelude::*;

use crate::order::{self, Ordered, candidate};

/// Values that are looked at together: only a chunk with a value below the limit is taken apart.
const CHUNK: usize = 32;
/// Columns of a row below which sharing them out is not worth a thread.
const SLICE: usize = 1 << 15;

/// The k smallest values of each row of `values` (row-major, `columns` a row) by (value, column), as candidates whose
/// index is the column, sorted. The result has min(k, columns) candidates for each row. NaN comes last.
///
/// A row has fewer than 2³² columns.
pub fn topk<T: Ordered + Sync>(values: &[T], columns: usize, k: usize) -> Vec<u64> {
    let k = k.min(columns);
    if k == 0 {
        return Vec::new();
    }
    debug_assert!(values.len().is_multiple_of(columns) && u32::try_from(columns).is_ok());
    // Few long rows: their columns are shared out too.
    let slice =
        if values.len() / columns >= rayon::current_num_threads() { columns } else { SLICE.max(2 * k) };
    let rows = values.par_chunks_exact(columns).with_min_len((SLICE / columns).max(1));
    let mut found = vec![0; values.len() / columns * k];
    found.par_chunks_exact_mut(k).zip(rows).for_each(|(out, row)| {
        let mut best: Vec<u64> = if slice >= columns {
            smallest(row, 0, k)
        } else {
            let slices = row.par_chunks(slice).enumerate();
            slices.flat_map_iter(|(i, part)| smallest(part, i * slice, k)).collect()
        };
        best.sort_unstable();
        out.copy_from_slice(&best[..k]);
    });
    found
}

/// The candidates of the min(k, len) smallest values, in no order; the first value is column `first`.
pub(super) fn smallest<T: Ordered>(values: &[T], first: usize, k: usize) -> Vec<u64> {
    let k = k.min(values.len());
    let mut list = vec![0; k + slack(k)];
    let mut bound = u64::MAX;
    let mut collector = Smallest { k, list: &mut list, len: &mut 0, bound: &mut bound };
    for (chunk, values) in values.chunks(CHUNK).enumerate() {
        let limit = order::key(*collector.bound);
        if values.iter().fold(false, |any, value| any | (value.key() <= limit)) {
            for (i, value) in values.iter().enumerate() {
                collector.offer(candidate(value.key(), (first + chunk * CHUNK + i) as u32));
            }
        }
    }
    let len = collector.keep();
    list.truncate(len);
    list
}

/// Room that a list needs beyond k, so that candidates are appended cheaply and sorted out only now and then. At
/// least as many as k keeps the work for a candidate constant in any order of arrival; the upper limit bounds memory
/// when k is huge.
pub(super) fn slack(k: usize) -> usize {
    k.clamp(16, 4096)
}

/// The k smallest candidates of a stream, in borrowed storage.
pub(super) struct Smallest<'a> {
    /// At least 1.
    pub(super) k: usize,
    /// Room for at least k + 1 candidates.
    pub(super) list: &'a mut [u64],
    /// How many are in the list.
    pub(super) len: &'a mut u32,
    /// Only candidates below this can still be among the k smallest.
    pub(super) bound: &'a mut u64,
}

impl Smallest<'_> {
    /// Considers one candidate; true where that lowered the bound.
    #[inline]
    pub(super) fn offer(&mut self, candidate: u64) -> bool {
        if candidate >= *self.bound {
            return false;
        }
        self.list[*self.len as usize] = candidate;
        *self.len += 1;
        // Sorted out when full, and when k are there for the first time: that gives the first bound.
        if (*self.len as usize) < self.list.len() && *self.len as usize != self.k {
            return false;
        }
        let (_, &mut kth, _) = self.list[..*self.len as usize].select_nth_unstable(self.k - 1);
        *self.len = self.k as u32;
        *self.bound = kth;
        true
    }

    /// Moves the k smallest to the front and says how many there are.
    pub(super) fn keep(&mut self) -> usize {
        let len = *self.len as usize;
        if len > self.k {
            self.list[..len].select_nth_unstable(self.k - 1);
            *self.len = self.k as u32;
        }
        *self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn sorted<T: Ordered>(row: &[T], k: usize) -> Vec<u64> {
        let mut all: Vec<u64> = row.iter().enumerate().map(|(i, v)| candidate(v.key(), i as u32)).collect();
        all.sort_unstable();
        all.truncate(k);
        all
    }

    fn check<T: Ordered + Sync>(values: &[T], columns: usize) {
        for k in [1, 2, 10, 100, 2049, columns] {
            let expected: Vec<u64> = values.chunks(columns).flat_map(|row| sorted(row, k)).collect();
            assert_eq!(topk(values, columns, k), expected, "{columns} columns, k = {k}");
        }
    }

    #[test]
    fn finds_what_a_full_sort_finds() {
        let mut rng = ChaCha8Rng::seed_from_u64(231);
        for columns in [1, 2, 31, 63, 64, 65, 997, 5003] {
            let few: Vec<u32> = (0..7 * columns).map(|_| rng.random_range(0..50)).collect();
            check(&few, columns);
            let floats: Vec<f32> = (0..7 * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
            check(&floats, columns);
        }
        let long: Vec<u32> = (0..200_003).map(|_| rng.random_range(0..1000)).collect();
        check(&long, long.len());
    }

    #[test]
    fn orders_ties_falling_values_and_the_last_keys() {
        check(&[u32::MAX; 100], 50);
        check(&(0..3000).rev().collect::<Vec<u32>>(), 3000);
        check(&[f32::NAN, f32::INFINITY, -0.0, 0.0, f32::NEG_INFINITY, -f32::NAN], 6);
    }

    #[test]
    fn takes_nothing_from_nothing() {
        assert!(topk::<u32>(&[], 0, 3).is_empty());
        assert!(topk::<u32>(&[], 5, 3).is_empty());
        assert!(topk(&[1u32, 2], 2, 0).is_empty());
    }
}
