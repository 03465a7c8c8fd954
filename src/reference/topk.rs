//! The k smallest values of a row.

/// The k smallest of `row` in ascending order of (value, position), as (value, position) pairs: a stable sort, so a
/// tie goes to the smaller position and the first j of k are the j smallest. Returns fewer when the row is shorter.
/// Values must not be NaN.
pub fn topk(row: &[f64], k: usize) -> Vec<(f64, usize)> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&i, &j| row[i].partial_cmp(&row[j]).unwrap_or(std::cmp::Ordering::Equal));
    order.into_iter().take(k).map(|i| (row[i], i)).collect()
}
