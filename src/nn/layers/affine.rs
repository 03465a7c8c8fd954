//! The affine layer, alone and with a nonlinearity.

use super::activations::{ActivationCache, activation_backward};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::affine::{affine_gradients, affine_gradients_into, affine_grouped, grouped_input_gradient};
use crate::tensor::{RealsMut, Tensor};

/// What [`affine_backward`] needs.
#[derive(Debug)]
pub struct AffineCache {
    /// The input as rows, N × D.
    x: Tensor,
    /// The input's own shape.
    shape: Vec<usize>,
    w: Tensor,
    /// Layers side by side.
    groups: usize,
}

impl AffineCache {
    /// Of the input `x`, taken as N rows of D numbers.
    fn new(x: &Tensor, w: &Tensor, groups: usize) -> Result<Self> {
        let &[samples, ..] = x.shape() else {
            return Err(Error::shape(
                "affine",
                "an input without dimensions",
                "pass one row for each sample",
            ));
        };
        let features = x.shape()[1..].iter().product();
        Ok(Self { x: x.reshape(&[samples, features])?, shape: x.shape().to_vec(), w: w.clone(), groups })
    }

    /// Writes (dW, db) to where there is room for them.
    pub(in crate::nn) fn write_gradients(&self, dout: &Tensor, into: [RealsMut<'_>; 2]) -> Result<()> {
        affine_gradients_into(&self.x, dout, into, self.groups)
    }

    /// The gradient of the input's own input, where the input is the output of `below`, in the shape of rows.
    pub(in crate::nn) fn gradient_below(&self, dout: &Tensor, below: &ActivationCache) -> Result<Tensor> {
        grouped_input_gradient(dout, &self.w, Some((&below.y, below.activation)), self.groups)
    }

    /// dx.
    pub(in crate::nn) fn input_gradient(&self, dout: &Tensor) -> Result<Tensor> {
        grouped_input_gradient(dout, &self.w, None, self.groups)?.reshape(&self.shape)
    }
}

/// out = x·W + b for `x` of N samples of any shape (N × d₁ × … × dₖ, D = d₁·…·dₖ), `w` (D × C) and `b` (C). Returns N × C.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices do not fit; [`Error::Device`] when the device fails.
pub fn affine_forward(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<(Tensor, AffineCache)> {
    affine_forward_grouped(x, w, b, 1)
}

/// [`affine_forward`] of `groups` layers side by side, `w` being (D × groups·C), `b` (groups·C) and each sample of `x` groups·D numbers.
pub(in crate::nn) fn affine_forward_grouped(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    groups: usize,
) -> Result<(Tensor, AffineCache)> {
    let cache = AffineCache::new(x, w, groups)?;
    Ok((affine_grouped(&cache.x, w, Some(b), None, groups)?, cache))
}

/// (dx, dW, db): dx = dout·Wᵀ in the shape of x, dW = xᵀ·dout, db = Σ of the rows of dout.
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_backward(dout: &Tensor, cache: AffineCache) -> Result<(Tensor, Tensor, Tensor)> {
    let dx = cache.input_gradient(dout)?;
    let (dw, db) = affine_backward_parameters(dout, cache)?;
    Ok((dx, dw, db))
}

/// (dW, db) alone: a net's first layer needs no gradient of the data, and a third of its products is saved.
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_backward_parameters(dout: &Tensor, cache: AffineCache) -> Result<(Tensor, Tensor)> {
    affine_gradients(&cache.x, dout)
}

/// What [`affine_activation_backward`] needs.
#[derive(Debug)]
pub struct AffineActivationCache {
    pub(in crate::nn) affine: AffineCache,
    pub(in crate::nn) activation: ActivationCache,
}

/// f(x·W + b) without the sum's own trip through memory; arguments as of [`affine_forward`].
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_activation_forward(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    activation: Activation,
) -> Result<(Tensor, AffineActivationCache)> {
    affine_activation_forward_grouped(x, w, b, activation, 1)
}

/// [`affine_activation_forward`] of layers side by side, as [`affine_forward_grouped`] takes them.
pub(in crate::nn) fn affine_activation_forward_grouped(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    activation: Activation,
    groups: usize,
) -> Result<(Tensor, AffineActivationCache)> {
    let cache = AffineCache::new(x, w, groups)?;
    let y = affine_grouped(&cache.x, w, Some(b), Some(activation), groups)?;
    let activation = ActivationCache::new(&y, activation);
    Ok((y, AffineActivationCache { affine: cache, activation }))
}

/// (dx, dW, db) of [`affine_activation_forward`].
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_activation_backward(
    dout: &Tensor,
    cache: AffineActivationCache,
) -> Result<(Tensor, Tensor, Tensor)> {
    affine_backward(&activation_backward(dout, cache.activation)?, cache.affine)
}

/// max(0, x·W + b); arguments as of [`affine_forward`].
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_relu_forward(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<(Tensor, AffineActivationCache)> {
    affine_activation_forward(x, w, b, Activation::Relu)
}

/// (dx, dW, db) of [`affine_relu_forward`].
///
/// # Errors
/// As [`affine_forward`].
pub fn affine_relu_backward(dout: &Tensor, cache: AffineActivationCache) -> Result<(Tensor, Tensor, Tensor)> {
    affine_activation_backward(dout, cache)
}
