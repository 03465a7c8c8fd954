//! The softmax of every row of a matrix, and its gradient (course notes, "Softmax classifier", "Practical issues: Numeric stability").

use crate::tolerance::Real;

/// e^(sⱼ − max s) for each score of a row, and their sum.
pub fn exponentials<T: Real>(scores: &[T]) -> (Vec<T>, T) {
    let largest = scores.iter().fold(scores[0], |max, &s| max.max(s));
    let exponentials: Vec<T> = scores.iter().map(|&s| (s - largest).exp()).collect();
    let total = exponentials.iter().copied().sum();
    (exponentials, total)
}

/// pⱼ = e^(sⱼ − max s) / Σₖ e^(sₖ − max s) in each row of `columns` scores. A row with a NaN is NaN.
pub fn forward<T: Real>(scores: &[T], columns: usize) -> Vec<T> {
    let rows = scores.chunks_exact(columns.max(1)).map(exponentials);
    rows.flat_map(|(row, total)| row.into_iter().map(move |e| e / total)).collect()
}

/// ∂L/∂sⱼ = pⱼ·(∂L/∂pⱼ − Σₖ ∂L/∂pₖ·pₖ) in each row, from the output p.
pub fn backward<T: Real>(dout: &[T], probabilities: &[T], columns: usize) -> Vec<T> {
    let columns = columns.max(1);
    let rows = dout.chunks_exact(columns).zip(probabilities.chunks_exact(columns));
    rows.flat_map(|(dout, p)| {
        let dot: T = dout.iter().zip(p).map(|(&dout, &p)| dout * p).sum();
        dout.iter().zip(p).map(move |(&dout, &p)| p * (dout - dot))
    })
    .collect()
}
