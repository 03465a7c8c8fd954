//! The class that the neighbours of one query elect.

/// The class with the largest weight sum; a tie goes to the smallest class id (as `np.bincount(y).argmax()` does in
/// assignment 1). `labels[i]` is the class of neighbour i, `weights[i]` its vote; weights of one are a head count.
/// Without neighbours the answer is class 0.
pub fn vote(labels: &[u32], weights: &[f64], classes: usize) -> u32 {
    let mut votes = vec![0.0; classes];
    for (&label, weight) in labels.iter().zip(weights) {
        votes[label as usize] += weight;
    }
    let mut best = 0;
    for class in 1..classes {
        if votes[class] > votes[best] {
            best = class;
        }
    }
    best as u32
}

/// Votes of `weights = distance`: 1/d each; when any distance is 0, those neighbours have one vote each and the
/// others none (scikit-learn's rule for `weights="distance"`).
pub fn inverse_distance_weights(distances: &[f64]) -> Vec<f64> {
    let exact = distances.contains(&0.0);
    distances.iter().map(|&d| if exact { f64::from(u8::from(d == 0.0)) } else { 1.0 / d }).collect()
}
