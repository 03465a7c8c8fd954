//! The multiclass support vector machine's loss and its gradient.

use super::losses::{self, Labelled, Loss, Losses};
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
    shaders: || KERNELS.iter().flat_map(rowwise::shaders).collect(),
    flops: |_, s| 5.0 * (s[0] * s[1]) as f64,
    bytes: |_, s| 8.0 * (s[0] * s[1]) as f64,
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
    run: |given, family| run(given, DELTA, family),
    define: |given, layout| {
        let weights = given.weights.as_deref();
        reference::hinge_loss::losses(&given.scores, &given.labels, layout, weights, DELTA)
    },
};

static KERNELS: [Kernel; 2] = losses::gpu::labelled(NAME, include_str!("../../shaders/hinge_loss.wgsl"));

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
    run(&Labelled { scores, labels, weights: None, groups: None }, delta, None)
}

/// [`hinge_loss`] with `weights` of the classes \[C\], numbers from 0 up: w_y multiplies the loss and the gradient of a row with label y, in
/// the same pass. The mean is still one over N rows, not over the sum of their weights.
///
/// # Errors
/// As [`hinge_loss`].
pub fn hinge_loss_weighted(scores: &Tensor, labels: &Tensor, weights: &Tensor, delta: f64) -> Result<Losses> {
    run(&Labelled { scores, labels, weights: Some(weights), groups: None }, delta, None)
}

/// [`hinge_loss`] of `groups` nets that stand side by side, each as if alone: net g has columns g·C … (g+1)·C of `scores` [N, G·C], and all of them the
/// `labels` \[N\] and, where there are any, the `weights` of the classes \[C\]. Losses are [N, G], and the gradient [N, G·C] is that of
/// each net's own mean over N.
///
/// # Errors
/// As [`hinge_loss`]; also when the groups do not divide the columns.
pub fn hinge_loss_grouped(
    scores: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    delta: f64,
    groups: usize,
) -> Result<Losses> {
    run(&Labelled { scores, labels, weights, groups: Some(groups) }, delta, None)
}

/// `family` names the kernels, `None` leaves the choice to the device.
fn run(given: &Labelled, delta: f64, family: Option<&str>) -> Result<Losses> {
    let _span = span("hinge_loss");
    let narrow = delta as f32;
    if !narrow.is_finite() {
        return Err(Error::shape(NAME, format!("a margin Δ of {delta}"), "pass a finite number, such as 1"));
    }
    losses::of_labels(
        NAME,
        given,
        |scores, labels, layout, weights| {
            reference::hinge_loss::losses(scores, labels, layout, weights, delta)
        },
        |scores, labels, layout, weights| cpu::hinge_loss::losses(scores, labels, layout, weights, narrow),
        |operands| losses::gpu::record(operands, family, operands.kernel(&KERNELS), 1, narrow),
    )
}
