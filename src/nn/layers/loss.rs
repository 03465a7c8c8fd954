//! The losses at the end of a net.

use crate::error::Result;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::elementwise::mul;
use crate::ops::hinge_loss::hinge_loss;
use crate::ops::reduce::{Axis, sum};
use crate::tensor::Tensor;

/// A loss that is read only when asked for: until then it costs no trip to the device.
///
/// It shares the tensors of its penalty. Read or drop it before the weights are updated in place, or the update must copy them first.
#[derive(Debug, Clone)]
pub struct Loss {
    losses: Tensor,
    penalty: Option<(f64, Vec<Tensor>)>,
}

impl Loss {
    /// The mean of the losses of the samples (N).
    pub fn of(losses: Tensor) -> Self {
        Self { losses, penalty: None }
    }

    /// With factor·ΣW² over all of `weights` besides.
    pub fn with_penalty(self, factor: f64, weights: Vec<Tensor>) -> Self {
        Self { penalty: Some((factor, weights)), ..self }
    }

    /// The loss of every sample, on the device.
    pub fn losses(&self) -> &Tensor {
        &self.losses
    }

    /// The mean loss of the data, without the penalty; 0 without data. Waits for the device.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub fn data(&self) -> Result<f64> {
        Ok(mean(&self.losses.to_f64()?))
    }

    /// The whole loss, in one trip to the device. Waits for it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub fn value(&self) -> Result<f64> {
        let Some((factor, weights)) = &self.penalty else { return self.data() };
        // ΣW²: the columns on the device, their sums in 64 bit on the host.
        let squares: Vec<_> =
            weights.iter().map(|w| sum(&mul(w, w)?, Axis::Columns)).collect::<Result<_>>()?;
        let read = Tensor::read_all(&squares.iter().chain([&self.losses]).collect::<Vec<_>>())?;
        let Some((losses, squares)) = read.split_last() else { return self.data() };
        Ok(mean(losses) + factor * squares.iter().flatten().sum::<f64>())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The multiclass SVM loss with Δ = 1 of scores `x` (N × C) for labels `y` (N), and its gradient dx.
///
/// # Errors
/// As [`hinge_loss`].
pub fn svm_loss(x: &Tensor, y: &Tensor) -> Result<(Loss, Tensor)> {
    let found = hinge_loss(x, y, 1.0)?;
    Ok((Loss::of(found.losses), found.gradient))
}

/// The cross-entropy of the softmax of scores `x` (N × C) for labels `y` (N), and its gradient dx.
///
/// # Errors
/// As [`cross_entropy`].
pub fn softmax_loss(x: &Tensor, y: &Tensor) -> Result<(Loss, Tensor)> {
    let found = cross_entropy(x, y)?;
    Ok((Loss::of(found.losses), found.gradient))
}
