//! The L2 regression loss and gradient on the CPU, in one sweep.

use super::lanes::{self, LANES, fold, rewrite};
use super::turned::ROWS;

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
        |outputs, targets, [losses, gradient], [tile, other]| {
            let (outputs, targets) = (tile.turn(outputs), other.turn(targets));
            let mut sums = [0.0; ROWS];
            for (outputs, targets) in outputs.columns_mut().iter_mut().zip(targets.columns()) {
                for k in 0..ROWS {
                    let difference = outputs[k] - targets[k];
                    sums[k] = difference.mul_add(difference, sums[k]);
                    outputs[k] = difference * scale;
                }
            }
            outputs.write(gradient, |x, _| x);
            losses.iter_mut().zip(sums).for_each(|(loss, sum)| *loss = sum);
        },
        #[inline(always)]
        |outputs, targets, gradient| {
            let mut sums = [0.0; LANES];
            rewrite(
                [outputs, targets],
                gradient,
                0.0,
                #[inline(always)]
                |[outputs, targets]| {
                    let mut gradient = [0.0; LANES];
                    for k in 0..LANES {
                        let difference = outputs[k] - targets[k];
                        sums[k] = difference.mul_add(difference, sums[k]);
                        gradient[k] = difference * scale;
                    }
                    gradient
                },
            );
            fold(sums, |a, b| a + b)
        },
    )
}
