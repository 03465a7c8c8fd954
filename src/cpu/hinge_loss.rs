//! The multiclass support vector machine's loss and gradient on the CPU, in one sweep.

use super::lanes::{self, LANES, fold, rewrite};
use super::turned::{Lanes, ROWS, Tile};

/// Σ_{j≠y} max(0, sⱼ − s_y + Δ) of each row of `classes` scores, times the weight of y where there are `weights`, and the gradient of
/// their mean; `groups` rows in succession have one label, and belong to as many means.
///
/// # Panics
/// When a label is not below `classes`.
pub fn losses(
    scores: &[f32],
    labels: &[u32],
    [classes, groups]: [usize; 2],
    weights: Option<&[f32]>,
    delta: f32,
) -> (Vec<f32>, Vec<f32>) {
    let scale = 1.0 / labels.len() as f32;
    // Without weights a factor of 1, which changes no bit.
    let weight_of = |label: u32| weights.map_or(1.0, |weights| weights[label as usize]);
    lanes::losses(
        scores,
        &lanes::repeated(labels, groups),
        classes,
        #[inline(always)]
        |scores, labels, [losses, gradient], [tile, _]| {
            let scale_of = |label| scale * weight_of(label);
            let [sums, violations] = margins_turned(tile.turn(scores), labels, delta, scale_of);
            tile.write(gradient, |x, _| x);
            let rows = gradient.chunks_exact_mut(classes).zip(losses).zip(labels);
            for (((gradient, loss), &label), (sum, violations)) in rows.zip(sums.into_iter().zip(violations))
            {
                finish(gradient, label as usize, [sum, violations], scale_of(label));
                *loss = sum * weight_of(label);
            }
        },
        #[inline(always)]
        |scores, label, gradient| {
            let scale = scale * weight_of(label[0]);
            let sums = margins(scores, label[0] as usize, delta, scale, gradient);
            finish(gradient, label[0] as usize, sums, scale);
            sums[0] * weight_of(label[0])
        },
    )
}

/// The gradient in the label's score; NaN in all where the loss is.
#[inline(always)]
fn finish(gradient: &mut [f32], label: usize, [loss, violations]: [f32; 2], scale: f32) {
    gradient[label] = -violations * scale;
    if loss.is_nan() {
        gradient.fill(f32::NAN);
    }
}

/// [`margins`] of the rows of a tile in the place of their scores, with a scale for the label of each.
#[inline(always)]
fn margins_turned(tile: &mut Tile, labels: &[u32], delta: f32, scale_of: impl Fn(u32) -> f32) -> [Lanes; 2] {
    let ([mut of_label, mut scale], mut place) = ([[0.0; ROWS]; 2], [0; ROWS]);
    for (r, &label) in labels.iter().enumerate() {
        (of_label[r], scale[r], place[r]) = (tile.columns()[label as usize][r], scale_of(label), label);
    }
    let [mut losses, mut violations] = [[0.0; ROWS]; 2];
    for (number, column) in (0..).zip(tile.columns_mut()) {
        for k in 0..ROWS {
            let margin = (column[k] - of_label[k]) + delta;
            let margin = if place[k] == number { 0.0 } else { margin };
            // A NaN, which is not at most 0, passes.
            losses[k] += if margin <= 0.0 { 0.0 } else { margin };
            let violation = if margin > 0.0 { 1.0 } else { 0.0 };
            violations[k] += violation;
            column[k] = violation * scale[k];
        }
    }
    [losses, violations]
}

/// Writes `scale` where a margin is violated and 0 where not; returns the sum of the violated margins and their number.
#[inline(always)]
fn margins(scores: &[f32], label: usize, delta: f32, scale: f32, gradient: &mut [f32]) -> [f32; 2] {
    let of_label = scores[label];
    let (mut losses, mut violations) = ([0.0; LANES], [0.0; LANES]);
    // The label has no margin of its own, nor has what fills up the last block, which no number can say: less an infinite score, each is NaN or
    // a margin. Both are counted from the block on.
    let (mut place, mut left) = (label as u32, scores.len() as u32);
    rewrite(
        [scores],
        gradient,
        0.0,
        #[inline(always)]
        |[scores]| {
            let mut gradient = [0.0; LANES];
            for (k, &score) in (0..).zip(scores) {
                let margin = (score - of_label) + delta;
                let margin = if k as u32 == place || k as u32 >= left { 0.0 } else { margin };
                // A NaN, which is not at most 0, passes.
                losses[k] += if margin <= 0.0 { 0.0 } else { margin };
                let violation = if margin > 0.0 { 1.0 } else { 0.0 };
                violations[k] += violation;
                gradient[k] = violation * scale;
            }
            place = place.wrapping_sub(LANES as u32);
            left = left.wrapping_sub(LANES as u32);
            gradient
        },
    );
    [losses, violations].map(|lanes| fold(lanes, |a, b| a + b))
}
