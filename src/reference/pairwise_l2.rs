//! Squared Euclidean distances between two sets of rows.

use crate::tolerance::Real;

/// ‖x − y‖² = Σᵢ (xᵢ − yᵢ)², summed in order (course notes, "Nearest Neighbor Classifier").
pub fn squared_distance<T: Real>(x: &[T], y: &[T]) -> T {
    x.iter().zip(y).map(|(&x, &y)| (x - y) * (x - y)).sum()
}

/// The same by ‖x‖² + ‖y‖² − 2x·y, at least 0 (assignment 1, `compute_distances_no_loops`). In 32 bit its three sums
/// keep their rounding errors where they cancel.
pub fn expanded_distance<T: Real>(x: &[T], y: &[T]) -> T {
    let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(&x, &y)| x * y).sum::<T>();
    (dot(x, x) + dot(y, y) - T::from(2.0) * dot(x, y)).max(T::from(0.0))
}

/// All squared distances between Q query rows and T training rows of `features` values: Q×T, row-major.
pub fn pairwise_l2<T: Real>(queries: &[T], train: &[T], features: usize) -> Vec<T> {
    all_pairs(queries, train, features, squared_distance)
}

/// All squared distances in the expanded form: Q×T, row-major.
pub fn pairwise_l2_expanded<T: Real>(queries: &[T], train: &[T], features: usize) -> Vec<T> {
    all_pairs(queries, train, features, expanded_distance)
}

/// `distance` of every row of `x` to every row of `y`.
pub(super) fn all_pairs<T: Real>(x: &[T], y: &[T], features: usize, distance: fn(&[T], &[T]) -> T) -> Vec<T> {
    let mut out = Vec::new();
    for x in x.chunks_exact(features) {
        for y in y.chunks_exact(features) {
            out.push(distance(x, y));
        }
    }
    out
}
