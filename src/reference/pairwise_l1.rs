//! Manhattan distances between two sets of rows.

use super::pairwise_l2::all_pairs;
use crate::tolerance::Real;

/// ‖x − y‖₁ = Σᵢ |xᵢ − yᵢ|, summed in order (course notes, "Nearest Neighbor Classifier").
pub fn l1_distance<T: Real>(x: &[T], y: &[T]) -> T {
    x.iter().zip(y).map(|(&x, &y)| (x - y).abs()).sum()
}

/// All L1 distances between Q query rows and T training rows of `features` values: Q×T, row-major.
pub fn pairwise_l1<T: Real>(queries: &[T], train: &[T], features: usize) -> Vec<T> {
    all_pairs(queries, train, features, l1_distance)
}
