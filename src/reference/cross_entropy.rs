//! The softmax classifier's loss and its gradient in the scores (course notes, "Softmax classifier"; assignment 1, `softmax_loss`).

use super::softmax::exponentials;
use crate::tolerance::Real;

/// Lᵢ = log Σⱼ e^(sⱼ − m) − (s_y − m) with m = max s, natural logarithm, for each row of `classes` scores and its label y; and the
/// gradient of their mean, (p − 1_y) / N.
///
/// Never −log p_y: p underflows where the loss is large. A row with a NaN has a NaN loss and gradient.
///
/// With `weights` of the classes, w_y multiplies loss and gradient of a row; the mean stays one over N rows.
///
/// Where nets stand side by side, `groups` rows in succession have one label, and each net's mean is over its own N rows.
pub fn losses<T: Real>(
    scores: &[T],
    labels: &[u32],
    [classes, groups]: [usize; 2],
    weights: Option<&[T]>,
) -> (Vec<T>, Vec<T>) {
    let n = T::from(labels.len() as f64);
    let mut losses = Vec::with_capacity(labels.len() * groups);
    let mut gradient = Vec::with_capacity(scores.len());
    for (row, scores) in scores.chunks_exact(classes).enumerate() {
        let label = labels[row / groups] as usize;
        let largest = scores.iter().fold(scores[0], |max, &s| max.max(s));
        let (row, total) = exponentials(scores);
        let weighted = |value: T| weights.map_or(value, |weights| value * weights[label]);
        losses.push(weighted(total.ln() - (scores[label] - largest)));
        gradient.extend(row.into_iter().enumerate().map(|(class, e)| {
            let p = e / total;
            weighted(if class == label { p - T::from(1.0) } else { p }) / n
        }));
    }
    (losses, gradient)
}
