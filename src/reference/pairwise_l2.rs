//! Squared Euclidean distances between two sets of rows.

/// ‖x − y‖² = Σᵢ (xᵢ − yᵢ)², summed in order (course notes, "Nearest Neighbor Classifier").
pub fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (x, y) in x.iter().zip(y) {
        sum += (x - y) * (x - y);
    }
    sum
}

/// All squared distances between Q query rows and T training rows of `features` values: Q×T, row-major.
pub fn pairwise_l2(queries: &[f64], train: &[f64], features: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for query in queries.chunks_exact(features) {
        for row in train.chunks_exact(features) {
            out.push(squared_distance(query, row));
        }
    }
    out
}
