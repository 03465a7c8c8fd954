//! Data standardisation: each feature minus a shift, times a scale (course notes, "Data preprocessing").

use crate::tolerance::Real;

/// outᵢⱼ = (xᵣⱼ − shiftⱼ)·scaleⱼ with r = rowsᵢ, or r = i without `rows`.
///
/// With the mean of the training set for shift, and 1 or 1/standard deviation for scale.
///
/// # Panics
/// When x has no row of that number.
pub fn standardize<T: Real>(x: &[T], shift: &[T], scale: &[T], rows: Option<&[u32]>) -> Vec<T> {
    let columns = shift.len();
    let standardized = |r: usize| {
        let x = &x[r * columns..][..columns];
        (0..columns).map(move |j| (x[j] - shift[j]) * scale[j])
    };
    match rows {
        Some(rows) => rows.iter().flat_map(|&r| standardized(r as usize)).collect(),
        None => (0..x.len().checked_div(columns).unwrap_or(0)).flat_map(standardized).collect(),
    }
}
