//! The softmax classifier's loss and gradient on the CPU, each row while it is in cache.

use super::lanes;
use super::softmax::exponentials;

/// log Σ e^(s − max s) − (s_y − max s) of each row of `classes` scores, times the weight of y where there are `weights`, and the gradient
/// of their mean; `groups` rows in succession have one label, and belong to as many means.
///
/// # Panics
/// When a label is not below `classes`.
pub fn losses(
    scores: &[f32],
    labels: &[u32],
    [classes, groups]: [usize; 2],
    weights: Option<&[f32]>,
) -> (Vec<f32>, Vec<f32>) {
    let scale = 1.0 / labels.len() as f32;
    lanes::losses(
        scores,
        &lanes::repeated(labels, groups),
        classes,
        #[inline(always)]
        |scores, label, gradient| {
            let label = label[0] as usize;
            let [max, total] = exponentials(scores, gradient);
            let inverse = 1.0 / total;
            // Without weights a factor of 1, which changes no bit.
            let weight = weights.map_or(1.0, |weights| weights[label]);
            let scale = scale * weight;
            let of_label = (gradient[label] * inverse - 1.0) * scale;
            for e in gradient.iter_mut() {
                *e *= inverse * scale;
            }
            gradient[label] = of_label;
            (total.ln() - (scores[label] - max)) * weight
        },
    )
}
