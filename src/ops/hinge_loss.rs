//! The multiclass support vector machine's loss and its gradient.

use super::losses::{self, Loss, Losses};
use super::{BOUNDED, Op, rowwise, variants_of};
use crate::error::{Error, Result};
use crate::gpu::Kernel;
use crate::profile::span;
use crate::tensor::Tensor;
use crate::{cpu, reference};

const NAME: &str = "hinge_loss";

/// The Δ of the notes.
const DELTA: f64 = 1.0;

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "Σ_{j≠y} max(0, sⱼ − s_y + Δ) of every row, and the gradient of the mean, in one pass",
    dimensions: &["rows", "classes"],
    tolerance: BOUNDED,
    shaders: || rowwise::shaders(&KERNEL).collect(),
    flops: |s| 5.0 * (s[0] * s[1]) as f64,
    bytes: |s| 8.0 * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, losses::LABELLED, rowwise::families),
    shapes: rowwise::shapes,
    fit: losses::fit,
    timed: &[&[4096, 1024], &[50_000, 10]],
    workload: |device, case| losses::workload(&LOSS, device, case),
    check: |device, case| losses::check(&LOSS, device, case),
};

static LOSS: Loss = Loss {
    op: &OP,
    labelled: true,
    run: |scores, labels, weights, family| run(scores, labels, weights, DELTA, family),
    define: |given, classes| {
        let weights = given.weights.as_deref();
        reference::hinge_loss::losses(&given.scores, &given.labels, classes, weights, DELTA)
    },
};

static KERNEL: Kernel = losses::gpu::kernel(NAME, include_str!("../../shaders/hinge_loss.wgsl"), true);

/// Lᵢ = Σ_{j≠y} max(0, sⱼ − s_y + Δ), after Weston & Watkins, for each row of `scores` [N, C] with its label y in `labels` \[N\] (integers
/// below C), and a sub-gradient of their mean: 1/N where a margin is above 0 (not where it is 0), and at y minus their number over N.
///
/// A row with a NaN, or with an undefined margin of infinite scores, has a NaN loss and gradient. Labels on an adapter are not checked,
/// since that would mean to wait for them: a label that is no class gives its row a NaN loss and gradient, and nothing is addressed by it.
///
/// Source: course notes, "Multiclass Support Vector Machine loss".
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices do not fit, a label on the host is no class, or Δ is not finite;
/// [`Error::Device`] when the device fails.
pub fn hinge_loss(scores: &Tensor, labels: &Tensor, delta: f64) -> Result<Losses> {
    let _span = span("hinge_loss");
    run(scores, labels, None, delta, None)
}

/// [`hinge_loss`] with `weights` of the classes \[C\], numbers from 0 up: w_y multiplies the loss and the gradient of a row with label y, in
/// the same pass. The mean is still one over N rows, not over the sum of their weights.
///
/// # Errors
/// As [`hinge_loss`].
pub fn hinge_loss_weighted(scores: &Tensor, labels: &Tensor, weights: &Tensor, delta: f64) -> Result<Losses> {
    let _span = span("hinge_loss");
    run(scores, labels, Some(weights), delta, None)
}

/// `family` names the kernels, `None` leaves the choice to the device.
fn run(
    scores: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    delta: f64,
    family: Option<&str>,
) -> Result<Losses> {
    let narrow = delta as f32;
    if !narrow.is_finite() {
        return Err(Error::shape(NAME, format!("a margin Δ of {delta}"), "pass a finite number, such as 1"));
    }
    losses::of_labels(
        NAME,
        scores,
        labels,
        weights,
        |scores, labels, classes, weights| {
            reference::hinge_loss::losses(scores, labels, classes, weights, delta)
        },
        |scores, labels, classes, weights| cpu::hinge_loss::losses(scores, labels, classes, weights, narrow),
        |operands| losses::gpu::record(operands, family, &KERNEL, 1, narrow),
    )
}
