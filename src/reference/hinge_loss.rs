//! The multiclass support vector machine's loss of Weston & Watkins and its gradient in the scores (course notes, "Multiclass Support
//! Vector Machine loss"; assignment 1, `svm_loss`).

use crate::tolerance::Real;

/// Lᵢ = Σ_{j≠y} max(0, mⱼ) with the margins mⱼ = sⱼ − s_y + Δ, for each row of `classes` scores and its label y; and the gradient of
/// their mean: 1/N where a margin is above 0, 0 where it is not, and at y minus the number of the former, over N.
///
/// A row whose loss is NaN has no sub-gradient: it is NaN too.
///
/// With `weights` of the classes, w_y multiplies loss and gradient of a row; the mean stays one over N rows.
///
/// Where nets stand side by side, `groups` rows in succession have one label, and each net's mean is over its own N rows.
pub fn losses<T: Real>(
    scores: &[T],
    labels: &[u32],
    [classes, groups]: [usize; 2],
    weights: Option<&[T]>,
    delta: f64,
) -> (Vec<T>, Vec<T>) {
    let n = T::from(labels.len() as f64);
    let zero = T::from(0.0);
    let mut losses = Vec::with_capacity(labels.len() * groups);
    let mut gradient = Vec::with_capacity(scores.len());
    for (row, scores) in scores.chunks_exact(classes).enumerate() {
        let label = labels[row / groups] as usize;
        let margin = |class: usize| scores[class] - scores[label] + T::from(delta);
        let others = || (0..classes).filter(|&class| class != label);
        let loss: T = others().map(|class| margin(class).max(zero)).sum();
        let violations: T = others().map(|class| margin(class).step()).sum();
        let weighted = |value: T| weights.map_or(value, |weights| value * weights[label]);
        losses.push(weighted(loss));
        gradient.extend((0..classes).map(|class| {
            let coefficient = match class {
                _ if loss.value().is_nan() => T::from(f64::NAN),
                _ if class == label => -violations,
                _ => margin(class).step(),
            };
            weighted(coefficient) / n
        }));
    }
    (losses, gradient)
}
