//! The softmax classifier's loss and gradient on the CPU, each row while it is in cache.

use super::lanes;
use super::math;
use super::softmax::{exponentials, exponentials_turned};
use super::turned::ROWS;

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
    // Without weights a factor of 1, which changes no bit.
    let weight_of = |label: usize| weights.map_or(1.0, |weights| weights[label]);
    let loss = |log_total: f32, score: f32, max: f32, label| (log_total - (score - max)) * weight_of(label);
    lanes::losses(
        scores,
        &lanes::repeated(labels, groups),
        classes,
        #[inline(always)]
        |scores, labels, [losses, gradient], [tile, _]| {
            let tile = tile.turn(scores);
            let [max, total] = exponentials_turned(tile);
            let [mut log_total, mut inverse] = [[0.0; ROWS]; 2];
            for k in 0..ROWS {
                log_total[k] = math::ln(total[k]);
                inverse[k] = 1.0 / total[k];
            }
            let [mut factor, mut of_label] = [[0.0; ROWS]; 2];
            let rows = losses.iter_mut().zip(labels).zip(scores.chunks_exact(classes));
            for (r, ((of_row, &label), scores)) in rows.enumerate() {
                let label = label as usize;
                let scale = scale * weight_of(label);
                factor[r] = inverse[r] * scale;
                of_label[r] = (tile.columns()[label][r] * inverse[r] - 1.0) * scale;
                *of_row = loss(log_total[r], scores[label], max[r], label);
            }
            tile.write(gradient, |e, r| e * factor[r]);
            for ((gradient, of_label), &label) in gradient.chunks_exact_mut(classes).zip(of_label).zip(labels)
            {
                gradient[label as usize] = of_label;
            }
        },
        #[inline(always)]
        |scores, label, gradient| {
            let label = label[0] as usize;
            let [max, total] = exponentials(scores, gradient);
            let (inverse, scale) = (1.0 / total, scale * weight_of(label));
            let of_label = (gradient[label] * inverse - 1.0) * scale;
            for e in gradient.iter_mut() {
                *e *= inverse * scale;
            }
            gradient[label] = of_label;
            loss(math::ln(total), scores[label], max, label)
        },
    )
}
