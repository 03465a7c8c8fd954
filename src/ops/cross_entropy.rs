//! The softmax classifier's loss and its gradient.

use super::losses::{self, Labelled, Loss, Losses};
use super::{BOUNDED, Op, rowwise, variants_of};
use crate::error::Result;
use crate::gpu::Kernel;
use crate::profile::span;
use crate::tensor::Tensor;
use crate::{cpu, reference};

const NAME: &str = "cross_entropy";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "log Σ e^(s − max s) − (s_y − max s) of every row, and the gradient of the mean, in one pass",
    dimensions: &["rows", "classes"],
    tolerance: BOUNDED,
    shaders: || KERNELS.iter().flat_map(rowwise::shaders).collect(),
    flops: |_, s| 8.0 * (s[0] * s[1]) as f64,
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
    run,
    define: |given, layout| {
        let weights = given.weights.as_deref();
        reference::cross_entropy::losses(&given.scores, &given.labels, layout, weights)
    },
};

static KERNELS: [Kernel; 2] = losses::gpu::labelled(NAME, include_str!("../../shaders/cross_entropy.wgsl"));

/// Lᵢ = log Σⱼ e^(sⱼ − max s) − (s_y − max s), natural logarithm, for each row of `scores` [N, C] with its label y in `labels` \[N\]
/// (integers below C), and the gradient of their mean, (p − 1_y) / N.
///
/// A row with a NaN, or whose largest score is infinite, has a NaN loss and gradient. Labels on an adapter are not checked, since that
/// would mean to wait for them: a label that is no class gives its row a NaN loss and gradient, and nothing is addressed by it.
///
/// Source: course notes, "Softmax classifier".
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when shapes, types or devices do not fit, or a label on the host is no class;
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn cross_entropy(scores: &Tensor, labels: &Tensor) -> Result<Losses> {
    run(&Labelled { scores, labels, weights: None, groups: None }, None)
}

/// [`cross_entropy`] with `weights` of the classes \[C\], numbers from 0 up: w_y multiplies the loss and the gradient of a row with label y, in
/// the same pass. The mean is still one over N rows, not over the sum of their weights.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_weighted(scores: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Losses> {
    run(&Labelled { scores, labels, weights: Some(weights), groups: None }, None)
}

/// [`cross_entropy`] of `groups` nets that stand side by side, each as if alone: net g has columns g·C … (g+1)·C of `scores` [N, G·C], and all of them the
/// `labels` \[N\] and, where there are any, the `weights` of the classes \[C\]. Losses are [N, G], and the gradient [N, G·C] is that of
/// each net's own mean over N.
///
/// # Errors
/// As [`cross_entropy`]; also when the groups do not divide the columns.
pub fn cross_entropy_grouped(
    scores: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    groups: usize,
) -> Result<Losses> {
    run(&Labelled { scores, labels, weights, groups: Some(groups) }, None)
}

/// `family` names the kernels, `None` leaves the choice to the device.
fn run(given: &Labelled, family: Option<&str>) -> Result<Losses> {
    let _span = span("cross_entropy");
    losses::of_labels(NAME, given, reference::cross_entropy::losses, cpu::cross_entropy::losses, |operands| {
        losses::gpu::record(operands, family, operands.kernel(&KERNELS), 3, 0.0)
    })
}
