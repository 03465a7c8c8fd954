//! Layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450; assignment 2).

use crate::error::Result;
use crate::ops::batchnorm::Gradients;
use crate::ops::layernorm as op;
use crate::tensor::{RealsMut, Tensor};

/// What [`layernorm_backward`] needs.
#[derive(Debug)]
pub struct LayerNormCache {
    x: Tensor,
    gamma: Tensor,
    statistics: Tensor,
}

/// out = γ·(x − μ)/√(σ² + ε) + β for `x` (N × D), `gamma` and `beta` (D), with the moments of each row; the course's ε is 1e-5. The same in
/// training and in testing.
///
/// # Errors
/// [`crate::Error::Shape`] when shapes, types or devices do not fit; [`crate::Error::Device`] when the device fails.
pub fn layernorm_forward(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<(Tensor, LayerNormCache)> {
    let normalized = op::layernorm(x, gamma, beta, eps)?;
    let cache = LayerNormCache { x: x.clone(), gamma: gamma.clone(), statistics: normalized.statistics };
    Ok((normalized.out, cache))
}

/// (dx, dγ, dβ).
///
/// # Errors
/// As [`layernorm_forward`].
pub fn layernorm_backward(dout: &Tensor, cache: LayerNormCache) -> Result<(Tensor, Tensor, Tensor)> {
    let LayerNormCache { x, gamma, statistics } = cache;
    let Gradients { dx, dgamma, dbeta } = op::layernorm_backward(dout, &x, &statistics, &gamma)?;
    Ok((dx, dgamma, dbeta))
}

/// [`layernorm_backward`] with dγ and dβ to where there is room for them; returns dx.
pub(in crate::nn) fn layernorm_backward_into(
    dout: &Tensor,
    cache: &LayerNormCache,
    into: [RealsMut<'_>; 2],
) -> Result<Tensor> {
    let LayerNormCache { x, gamma, statistics } = cache;
    op::layernorm_backward_into(dout, x, statistics, gamma, into)
}
