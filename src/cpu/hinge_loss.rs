//! The multiclass support vector machine's loss and gradient on the CPU, in one sweep.

use super::lanes::{self, Block, LANES, fold};

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
    lanes::losses(
        scores,
        &lanes::repeated(labels, groups),
        classes,
        #[inline(always)]
        |scores, label, gradient| {
            let label = label[0] as usize;
            // Without weights a factor of 1, which changes no bit.
            let weight = weights.map_or(1.0, |weights| weights[label]);
            let scale = scale * weight;
            let mut row = Row { of_label: scores[label], delta, scale, ..Row::default() };
            // The label has no margin of its own: what is before it and what is after.
            row.add(&scores[..label], &mut gradient[..label]);
            row.add(&scores[label + 1..], &mut gradient[label + 1..]);
            let loss = fold(row.losses, |a, b| a + b);
            gradient[label] = -fold(row.violations, |a, b| a + b) * scale;
            if loss.is_nan() {
                gradient.fill(f32::NAN);
            }
            loss * weight
        },
    )
}

/// What a row has come to.
#[derive(Default)]
struct Row {
    of_label: f32,
    delta: f32,
    scale: f32,
    losses: Block,
    violations: Block,
}

impl Row {
    #[inline(always)]
    fn add(&mut self, scores: &[f32], gradient: &mut [f32]) {
        let (blocks, rest) = scores.as_chunks::<LANES>();
        let (out_blocks, out_rest) = gradient.as_chunks_mut::<LANES>();
        for (scores, gradient) in blocks.iter().zip(out_blocks) {
            self.step(scores, gradient);
        }
        self.step(rest, out_rest);
    }

    /// Up to a block.
    #[inline(always)]
    fn step(&mut self, scores: &[f32], gradient: &mut [f32]) {
        let lanes = self.losses.iter_mut().zip(&mut self.violations);
        for ((loss, violations), (&score, gradient)) in lanes.zip(scores.iter().zip(gradient)) {
            let margin = (score - self.of_label) + self.delta;
            // A NaN, which is not at most 0, passes.
            *loss += if margin <= 0.0 { 0.0 } else { margin };
            let violation = if margin > 0.0 { 1.0 } else { 0.0 };
            *violations += violation;
            *gradient = violation * self.scale;
        }
    }
}
