//! What a net makes of rows that it is not trained on.

use super::feed::{Feed, Order};
use super::model::FullyConnectedNet;
use crate::error::Result;
use crate::tensor::Tensor;

/// Rows that are evaluated together.
pub(crate) const EVALUATED: usize = 1024;

/// What a net makes of some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss, without the penalty; 0 without rows.
    pub loss: f64,
    /// Share of right predictions; absent where nothing is classified.
    pub accuracy: Option<f64>,
}

/// Mean loss and share of right predictions over all rows of a feed, which has labels where the net wants them.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn evaluate(net: &FullyConnectedNet, feed: &mut Feed<'_>) -> Result<Evaluation> {
    // A net is at least one.
    Ok(evaluate_each(net, feed)?.swap_remove(0))
}

/// [`evaluate`] for each of the nets that stand side by side in `net`.
pub(super) fn evaluate_each(net: &FullyConnectedNet, feed: &mut Feed<'_>) -> Result<Vec<Evaluation>> {
    let (mut found, rows, nets) = (Vec::new(), feed.len(), net.nets());
    let labelled = net.architecture().objective.of_labels();
    feed.each_batch(Order::Given, EVALUATED, |x, y| {
        let scores = net.scores(x)?;
        found.push(net.losses(&scores, y)?);
        if labelled {
            found.extend([net.classes(&scores)?, y.clone()]);
        }
        Ok(true)
    })?;
    let read = Tensor::read_all(&found.iter().collect::<Vec<_>>())?;
    let (mut loss, mut right) = (vec![0.0; nets], vec![0; nets]);
    for batch in read.chunks_exact(if labelled { 3 } else { 1 }) {
        for net in 0..nets {
            loss[net] += batch[0].iter().skip(net).step_by(nets).sum::<f64>();
            if let [_, predicted, truth] = batch {
                let predicted = predicted.iter().skip(net).step_by(nets);
                right[net] += predicted.zip(truth).filter(|(predicted, truth)| predicted == truth).count();
            }
        }
    }
    let count = rows.max(1) as f64;
    let of = |(loss, right): (f64, usize)| Evaluation {
        loss: loss / count,
        accuracy: labelled.then_some(right as f64 / count),
    };
    Ok(loss.into_iter().zip(right).map(of).collect())
}
