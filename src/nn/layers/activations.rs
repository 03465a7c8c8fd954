//! The nonlinearities.

use crate::error::Result;
use crate::ops::activation::{self, Activation, activation};
use crate::ops::elementwise;
use crate::tensor::Tensor;

/// What the backward pass of a nonlinearity needs: its output, from which its slope follows.
#[derive(Debug)]
pub struct ActivationCache {
    pub(in crate::nn) y: Tensor,
    pub(in crate::nn) activation: Activation,
}

impl ActivationCache {
    pub(super) fn new(y: &Tensor, activation: Activation) -> Self {
        Self { y: y.clone(), activation }
    }
}

/// y = f(x), in the shape of `x`.
///
/// # Errors
/// As [`activation::activation`].
pub fn activation_forward(x: &Tensor, f: Activation) -> Result<(Tensor, ActivationCache)> {
    let y = activation(x, f)?;
    let cache = ActivationCache::new(&y, f);
    Ok((y, cache))
}

/// dx = dout·f′(x).
///
/// # Errors
/// As [`activation::activation_backward`].
pub fn activation_backward(dout: &Tensor, cache: ActivationCache) -> Result<Tensor> {
    activation::activation_backward(dout, &cache.y, cache.activation)
}

/// max(0, x).
///
/// # Errors
/// As [`activation_forward`].
pub fn relu_forward(x: &Tensor) -> Result<(Tensor, ActivationCache)> {
    activation_forward(x, Activation::Relu)
}

/// dx = dout where x > 0, else 0.
///
/// # Errors
/// As [`activation_backward`].
pub fn relu_backward(dout: &Tensor, cache: ActivationCache) -> Result<Tensor> {
    activation_backward(dout, cache)
}

/// x where x ≥ 0, else slope·x; the notes' slope is 0.01.
///
/// # Errors
/// As [`activation_forward`].
pub fn leaky_relu_forward(x: &Tensor, slope: f32) -> Result<(Tensor, ActivationCache)> {
    activation_forward(x, Activation::LeakyRelu(slope))
}

/// dx = dout where x ≥ 0, else slope·dout.
///
/// # Errors
/// As [`activation_backward`].
pub fn leaky_relu_backward(dout: &Tensor, cache: ActivationCache) -> Result<Tensor> {
    activation_backward(dout, cache)
}

/// σ(x) = 1/(1 + e⁻ˣ).
///
/// # Errors
/// As [`activation_forward`].
pub fn sigmoid_forward(x: &Tensor) -> Result<(Tensor, ActivationCache)> {
    activation_forward(x, Activation::Sigmoid)
}

/// dx = dout·y·(1 − y).
///
/// # Errors
/// As [`activation_backward`].
pub fn sigmoid_backward(dout: &Tensor, cache: ActivationCache) -> Result<Tensor> {
    activation_backward(dout, cache)
}

/// tanh(x) = 2σ(2x) − 1.
///
/// # Errors
/// As [`activation_forward`].
pub fn tanh_forward(x: &Tensor) -> Result<(Tensor, ActivationCache)> {
    activation_forward(x, Activation::Tanh)
}

/// dx = dout·(1 − y²).
///
/// # Errors
/// As [`activation_backward`].
pub fn tanh_backward(dout: &Tensor, cache: ActivationCache) -> Result<Tensor> {
    activation_backward(dout, cache)
}

/// What [`maxout_backward`] needs.
#[derive(Debug)]
pub struct MaxoutCache {
    a: Tensor,
    b: Tensor,
}

/// max(a, b) of two affine outputs of one shape: the maxout neuron max(x·W₁ + b₁, x·W₂ + b₂).
///
/// # Errors
/// As [`elementwise::maxout`].
pub fn maxout_forward(a: &Tensor, b: &Tensor) -> Result<(Tensor, MaxoutCache)> {
    Ok((elementwise::maxout(a, b)?, MaxoutCache { a: a.clone(), b: b.clone() }))
}

/// (da, db): the gradient goes to the larger; a tie goes to a.
///
/// # Errors
/// As [`elementwise::maxout_backward`].
pub fn maxout_backward(dout: &Tensor, cache: MaxoutCache) -> Result<(Tensor, Tensor)> {
    elementwise::maxout_backward(dout, &cache.a, &cache.b)
}
