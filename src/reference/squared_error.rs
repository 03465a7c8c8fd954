//! The L2 regression loss and its gradient in the outputs (course notes, "Losses": regression).

use crate::tolerance::Real;

/// Lᵢ = Σⱼ (fⱼ − yⱼ)² for each row of `columns` outputs f and targets y; and the gradient of their mean, 2(f − y) / N.
pub fn losses<T: Real>(outputs: &[T], targets: &[T], columns: usize) -> (Vec<T>, Vec<T>) {
    let n = T::from((outputs.len() / columns) as f64);
    let differences: Vec<T> = outputs.iter().zip(targets).map(|(&f, &y)| f - y).collect();
    let losses = differences.chunks_exact(columns).map(|row| row.iter().map(|&d| d * d).sum());
    (losses.collect(), differences.iter().map(|&d| T::from(2.0) * d / n).collect())
}
