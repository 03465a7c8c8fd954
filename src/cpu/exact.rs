//! Exact ranks: the 64-bit definition for many rows at once.
//!
//! Every row's sum runs in the definition's order, so the bits are the definition's; the speed comes from eight rows
//! abreast, whose additions do not wait for one another, and from threads.

use rayon::prelude::*;

use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};

/// Rows summed side by side: enough independent additions to fill two pipelines of latency four.
const ABREAST: usize = 8;

/// Ranks of the rows `ids` of `train` against `query`, bit-equal to [`Metric::rank`], in the order of `ids`.
pub fn ranks(metric: Metric, query: &[f64], train: RowsRef<'_>, ids: &[u32], out: &mut Vec<f64>) {
    match train.values() {
        ValuesRef::U8(values) => ranks_of(metric, query, values, ids, out),
        ValuesRef::F32(values) => ranks_of(metric, query, values, ids, out),
    }
}

/// The k nearest rows of all of `train`, ordered by (rank, row): every rank is computed, on all threads.
///
/// The answer does not depend on the number of threads: (rank, row) is a total order.
pub fn nearest(metric: Metric, query: &[f64], train: RowsRef<'_>, k: usize) -> Vec<(f64, u32)> {
    // A few hundred rows: long enough to spread the cost of a task, short enough to share the work evenly.
    const BLOCK: usize = 256;
    let mut best = (0..train.len().div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let ids: Vec<u32> =
                (block * BLOCK..((block + 1) * BLOCK).min(train.len())).map(|id| id as u32).collect();
            let mut values = Vec::with_capacity(ids.len());
            ranks(metric, query, train, &ids, &mut values);
            smallest(values.into_iter().zip(ids).collect(), k)
        })
        .reduce(Vec::new, |mut a, b| {
            a.extend(b);
            smallest(a, k)
        });
    best.sort_unstable_by(order);
    best
}

/// The order of neighbours: by rank, then by row. Ranks are never NaN, because rows are finite.
pub fn order(a: &(f64, u32), b: &(f64, u32)) -> std::cmp::Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1))
}

fn smallest(mut found: Vec<(f64, u32)>, k: usize) -> Vec<(f64, u32)> {
    if k < found.len() {
        found.select_nth_unstable_by(k, order);
        found.truncate(k);
    }
    found
}

fn ranks_of<T: Copy + Into<f64>>(
    metric: Metric,
    query: &[f64],
    train: &[T],
    ids: &[u32],
    out: &mut Vec<f64>,
) {
    let features = query.len();
    let row = |id: u32| &train[id as usize * features..][..features];
    let query_norm = sums(query, [query], |x, y| x * y)[0].sqrt();
    for group in ids.chunks(ABREAST) {
        // A short last group repeats its first row; the surplus sums are dropped.
        let rows: [&[T]; ABREAST] = std::array::from_fn(|lane| row(*group.get(lane).unwrap_or(&group[0])));
        let values = match metric {
            Metric::L2 | Metric::SqEuclidean => sums(query, rows, |x, y| (x - y) * (x - y)),
            Metric::L1 => sums(query, rows, |x, y| (x - y).abs()),
            Metric::Dot => sums(query, rows, |x, y| x * y).map(|dot| 0.0 - dot),
            Metric::Cosine => {
                let dots = sums(query, rows, |x, y| x * y);
                let squares = sums(query, rows, |_, y| y * y);
                std::array::from_fn(|lane| {
                    let norms = query_norm * squares[lane].sqrt();
                    if norms == 0.0 { 1.0 } else { 1.0 - dots[lane] / norms }
                })
            }
        };
        out.extend_from_slice(&values[..group.len()]);
    }
}

/// Σᵢ term(queryᵢ, rowᵢ) for N rows, each sum in the order of i.
fn sums<T: Copy + Into<f64>, const N: usize>(
    query: &[f64],
    rows: [&[T]; N],
    term: impl Fn(f64, f64) -> f64,
) -> [f64; N] {
    let rows = rows.map(|row| &row[..query.len()]);
    let mut sums = [0.0; N];
    for (i, &x) in query.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum += term(x, row[i].into());
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    const METRICS: [Metric; 5] = [Metric::L2, Metric::SqEuclidean, Metric::L1, Metric::Cosine, Metric::Dot];

    #[test]
    fn bit_equal_to_the_definition() {
        for (len, features) in [(1, 1), (7, 3), (8, 5), (300, 17), (513, 64)] {
            let noise = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 7.0 - 60.0;
            let values: Vec<f32> = (0..len * features).map(noise).collect();
            let query: Vec<f64> = (0..features).map(|i| f64::from(noise(i + 99))).collect();
            let wide: Vec<f64> = values.iter().copied().map(f64::from).collect();
            let train = RowsRef::new(ValuesRef::F32(&values), features).expect("whole rows");
            for metric in METRICS {
                let got = nearest(metric, &query, train, 5);
                let want = reference::nearest::nearest(metric, &query, &wide, 5);
                let got: Vec<(u64, usize)> = got.iter().map(|&(r, i)| (r.to_bits(), i as usize)).collect();
                let want: Vec<(u64, usize)> = want.iter().map(|&(r, i)| (r.to_bits(), i)).collect();
                assert_eq!(got, want, "{metric:?} {len}×{features}");
            }
        }
    }
}
