//! The L2 regression loss and gradient on the CPU, in one sweep.

use super::lanes::{self, LANES, fold};

/// Σ (f − y)² of each row of `columns` outputs, and the gradient of their mean.
///
/// # Panics
/// When the lengths differ.
pub fn losses(outputs: &[f32], targets: &[f32], columns: usize) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(outputs.len(), targets.len(), "one target for each output");
    let scale = 2.0 / (outputs.len() / columns) as f32;
    lanes::losses(
        outputs,
        targets,
        columns,
        #[inline(always)]
        |outputs, targets, gradient| {
            let mut sums = [0.0; LANES];
            let blocks = outputs.chunks(LANES).zip(targets.chunks(LANES));
            for (gradient, (outputs, targets)) in gradient.chunks_mut(LANES).zip(blocks) {
                let lanes = sums.iter_mut().zip(gradient);
                for ((sum, gradient), (&output, &target)) in lanes.zip(outputs.iter().zip(targets)) {
                    let difference = output - target;
                    *sum = difference.mul_add(difference, *sum);
                    *gradient = difference * scale;
                }
            }
            fold(sums, |a, b| a + b)
        },
    )
}
