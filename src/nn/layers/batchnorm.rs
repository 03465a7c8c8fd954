//! Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167; assignment 2).

use super::Mode;
use crate::error::{Error, Result};
use crate::ops::batchnorm::{self as op, Backward, Gradients, Running, batchnorm_test, batchnorm_train};
use crate::tensor::{RealsMut, Tensor};

/// The course's `bn_param`.
#[derive(Debug, Clone)]
pub struct BatchNormParam {
    /// Batch statistics, or running ones.
    pub mode: Mode,
    /// ε of √(σ² + ε).
    pub eps: f64,
    /// What the running moments keep of themselves at each step.
    pub momentum: f64,
    /// The running mean and the running biased variance, 2 × D; zero before the first step, where this is `None`.
    pub moments: Option<Tensor>,
}

impl Default for BatchNormParam {
    /// The course's values.
    fn default() -> Self {
        Self { mode: Mode::Train, eps: 1e-5, momentum: 0.9, moments: None }
    }
}

/// What the two backward passes need.
#[derive(Debug)]
pub struct BatchNormCache {
    x: Tensor,
    gamma: Tensor,
    /// Mean and 1/σ of every column; `None` in test mode, which has no backward pass.
    statistics: Option<Tensor>,
}

/// out = γ·(x − μ)/√(σ² + ε) + β for `x` (N × D), `gamma` and `beta` (D), with the moments of the batch, which move the running ones in
/// `param`, or in test mode with the running ones.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices do not fit; [`Error::Device`] when the device fails.
pub fn batchnorm_forward(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    param: &mut BatchNormParam,
) -> Result<(Tensor, BatchNormCache)> {
    let columns = x.shape().last().copied().unwrap_or(0);
    if param.moments.is_none() {
        param.moments = Some(Tensor::from_f64(&x.device(), &[2, columns], &vec![0.0; 2 * columns])?);
    }
    let (out, statistics) = match (param.mode, &mut param.moments) {
        (Mode::Test, Some(moments)) => (batchnorm_test(x, gamma, beta, moments, param.eps)?, None),
        (_, moments) => {
            let running = moments.as_mut().map(|moments| Running { moments, momentum: param.momentum });
            let normalized = batchnorm_train(x, gamma, beta, param.eps, running)?;
            (normalized.out, Some(normalized.statistics))
        }
    };
    Ok((out, BatchNormCache { x: x.clone(), gamma: gamma.clone(), statistics }))
}

/// (dx, dγ, dβ) by the computational graph, node after node.
///
/// # Errors
/// As [`batchnorm_forward`]; also after a forward pass in test mode.
pub fn batchnorm_backward(dout: &Tensor, cache: BatchNormCache) -> Result<(Tensor, Tensor, Tensor)> {
    backward(dout, &cache, Backward::Graph)
}

/// (dx, dγ, dβ) by the formula that the graph simplifies to; it agrees with [`batchnorm_backward`] and moves less memory.
///
/// # Errors
/// As [`batchnorm_backward`].
pub fn batchnorm_backward_alt(dout: &Tensor, cache: BatchNormCache) -> Result<(Tensor, Tensor, Tensor)> {
    backward(dout, &cache, Backward::Formula)
}

/// [`batchnorm_backward_alt`] with dγ and dβ to where there is room for them; returns dx.
pub(in crate::nn) fn batchnorm_backward_into(
    dout: &Tensor,
    cache: &BatchNormCache,
    into: [RealsMut<'_>; 2],
) -> Result<Tensor> {
    op::batchnorm_backward_into(dout, &cache.x, cache.statistics()?, &cache.gamma, Backward::Formula, into)
}

impl BatchNormCache {
    fn statistics(&self) -> Result<&Tensor> {
        self.statistics.as_ref().ok_or_else(|| {
            Error::shape(
                "batchnorm",
                "a gradient of a forward pass in test mode",
                "run the forward pass in train mode",
            )
        })
    }
}

fn backward(dout: &Tensor, cache: &BatchNormCache, form: Backward) -> Result<(Tensor, Tensor, Tensor)> {
    let Gradients { dx, dgamma, dbeta } =
        op::batchnorm_backward(dout, &cache.x, cache.statistics()?, &cache.gamma, form)?;
    Ok((dx, dgamma, dbeta))
}
