//! The answer of a search, and how answers over parts of a training set become the answer over the whole.

use crate::cpu::exact;
use crate::error::{Error, Result};
use crate::reference::nearest::Metric;

/// The k nearest training rows of every query, ordered by (rank, row).
///
/// The order is total, so the first j columns are the j nearest, whatever k was.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    metric: Metric,
    k: usize,
    rows: Vec<u32>,
    ranks: Vec<f64>,
}

impl Neighbors {
    /// Takes `queries` × `k` (rank, row) pairs, each query's ordered by (rank, row).
    pub(crate) fn from_pairs(metric: Metric, k: usize, pairs: Vec<(f64, u32)>) -> Self {
        let (ranks, rows) = pairs.into_iter().unzip();
        Self { metric, k, rows, ranks }
    }

    /// Rebuilds an answer from its parts, as a shard file stores them: `rows` and `ranks` are queries × `k`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ, are no multiple of `k`, or a query's pairs are not in order.
    pub fn from_parts(metric: Metric, k: usize, rows: Vec<u32>, ranks: Vec<f64>) -> Result<Self> {
        let refuse =
            |problem: String| Err(Error::shape("nearest", problem, "pass what a search returned, unchanged"));
        if rows.len() != ranks.len() || k == 0 || !rows.len().is_multiple_of(k) {
            return refuse(format!(
                "{} rows and {} ranks are not queries × k = {k}",
                rows.len(),
                ranks.len()
            ));
        }
        let answer = Self { metric, k, rows, ranks };
        for query in 0..answer.queries() {
            let mut pairs = answer.pairs(query);
            let mut last = pairs.next();
            for pair in pairs {
                if last.is_some_and(|last| exact::order(&last, &pair).is_ge()) || pair.0.is_nan() {
                    return refuse(format!("the neighbours of query {query} are not in ascending order"));
                }
                last = Some(pair);
            }
        }
        Ok(answer)
    }

    /// How distances were measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Neighbours of each query.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.rows.len() / self.k
    }

    /// Training rows, queries × k, nearest first.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The values that rows are ordered by, queries × k: distances, squared for [`Metric::L2`].
    pub fn ranks(&self) -> &[f64] {
        &self.ranks
    }

    /// Distances in the metric's own unit, queries × k, nearest first.
    pub fn distances(&self) -> Vec<f64> {
        self.ranks.iter().map(|&rank| self.metric.distance(rank)).collect()
    }

    /// The (rank, row) pairs of one query, nearest first.
    pub fn pairs(&self, query: usize) -> impl Iterator<Item = (f64, u32)> + '_ {
        let span = query * self.k..(query + 1) * self.k;
        self.ranks[span.clone()].iter().copied().zip(self.rows[span].iter().copied())
    }

    /// The first `k` neighbours of each query, which are its `k` nearest; all of them when there are no more.
    pub fn prefix(&self, k: usize) -> Self {
        let k = k.clamp(1, self.k);
        let pairs = (0..self.queries()).flat_map(|query| self.pairs(query).take(k)).collect();
        Self::from_pairs(self.metric, k, pairs)
    }

    /// The same neighbours with row numbers counted from `first` less: a part's rows become rows of the whole.
    ///
    /// Numbers beyond 2³²−1 do not occur: a training set has no more rows.
    pub fn shifted(mut self, first: u32) -> Self {
        self.rows.iter_mut().for_each(|row| *row = row.saturating_add(first));
        self
    }

    /// The nearest `k` of each query over several parts of one training set. `parts` holds for each part its answer
    /// and the number of its first row in the whole; parts hold distinct rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no part, when parts differ in metric or queries, when row numbers exceed 2³²−1,
    /// or when they hold fewer than `k` neighbours together.
    pub fn merge(parts: &[(Self, u32)], k: usize) -> Result<Self> {
        let refuse = |problem: String| Error::shape("nearest", problem, "merge the shards of one search");
        let (first, _) = parts.first().ok_or_else(|| refuse("no part to merge".into()))?;
        let queries = first.queries();
        if let Some((odd, _)) = parts.iter().find(|(p, _)| p.metric != first.metric || p.queries() != queries)
        {
            return Err(refuse(format!(
                "parts differ: {:?} with {queries} queries and {:?} with {}",
                first.metric,
                odd.metric,
                odd.queries()
            )));
        }
        let together: usize = parts.iter().map(|(part, _)| part.k).sum();
        if together < k || k == 0 {
            return Err(refuse(format!("the parts hold {together} neighbours of each query, k is {k}")));
        }
        let mut pairs = Vec::with_capacity(queries * k);
        for query in 0..queries {
            let mut all = Vec::with_capacity(together);
            for (part, offset) in parts {
                for (rank, row) in part.pairs(query) {
                    let row =
                        row.checked_add(*offset).ok_or_else(|| refuse("row numbers exceed 2³²−1".into()))?;
                    all.push((rank, row));
                }
            }
            all.sort_unstable_by(exact::order);
            pairs.extend_from_slice(&all[..k]);
        }
        Ok(Self::from_pairs(first.metric, k, pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(pairs: &[(f64, u32)]) -> Neighbors {
        Neighbors::from_pairs(Metric::L2, pairs.len(), pairs.to_vec())
    }

    #[test]
    fn merging_orders_by_rank_then_row_of_the_whole() {
        let parts = [(part(&[(1.0, 2), (4.0, 0)]), 10), (part(&[(1.0, 3), (2.0, 1)]), 0)];
        let merged = Neighbors::merge(&parts, 3).expect("three of four");
        assert_eq!(merged.rows(), [3, 12, 1]);
        assert_eq!(merged.distances(), [1.0, 1.0, 2f64.sqrt()]);
        assert!(Neighbors::merge(&parts, 5).is_err());
        assert!(Neighbors::merge(&[(part(&[(0.0, 9)]), u32::MAX)], 1).is_err());
    }

    #[test]
    fn parts_out_of_order_are_refused() {
        assert!(Neighbors::from_parts(Metric::L1, 2, vec![1, 2], vec![3.0, 2.0]).is_err());
        assert!(Neighbors::from_parts(Metric::L1, 2, vec![2, 2], vec![3.0, 3.0]).is_err());
        assert!(Neighbors::from_parts(Metric::L1, 2, vec![2, 1], vec![3.0, f64::NAN]).is_err());
        assert!(Neighbors::from_parts(Metric::L1, 2, vec![1, 2], vec![3.0, 3.0]).is_ok());
    }
}
