//! The layers, as pairs of functions with the course's names: `NAME_forward` returns the output and a cache, `NAME_backward` consumes the
//! cache and turns ∂L/∂output into the gradient of every input.
//!
//! | functions | compute |
//! |---|---|
//! | [`affine_forward`], [`affine_backward`] | x·W + b |
//! | [`relu_forward`], [`leaky_relu_forward`], [`sigmoid_forward`], [`tanh_forward`] and their backwards | f(x) |
//! | [`maxout_forward`], [`maxout_backward`] | max(a, b) |
//! | [`affine_relu_forward`], [`affine_relu_backward`] | max(0, x·W + b), in one pass |
//! | [`batchnorm_forward`], [`batchnorm_backward`], [`batchnorm_backward_alt`] | γ·(x − μ)/σ + β with the moments of each column |
//! | [`layernorm_forward`], [`layernorm_backward`] | the same with the moments of each row |
//! | [`dropout_forward`], [`dropout_backward`] | a random part of x |
//! | [`svm_loss`], [`softmax_loss`] | the mean loss and its gradient |
//!
//! They run on whatever device their tensors live on. A cache shares its tensors, copies nothing, and is gone after its backward pass.

mod activations;
mod affine;
mod batchnorm;
mod dropout;
mod layernorm;
mod loss;

pub use activations::{
    ActivationCache, MaxoutCache, activation_backward, activation_forward, leaky_relu_backward,
    leaky_relu_forward, maxout_backward, maxout_forward, relu_backward, relu_forward, sigmoid_backward,
    sigmoid_forward, tanh_backward, tanh_forward,
};
pub use affine::{
    AffineActivationCache, AffineCache, affine_activation_backward, affine_activation_forward,
    affine_backward, affine_backward_parameters, affine_forward, affine_relu_backward, affine_relu_forward,
};
pub(super) use affine::{affine_activation_forward_grouped, affine_forward_grouped};
pub(super) use batchnorm::batchnorm_backward_into;
pub use batchnorm::{
    BatchNormCache, BatchNormParam, batchnorm_backward, batchnorm_backward_alt, batchnorm_forward,
};
pub use dropout::{DropoutCache, DropoutParam, Mask, dropout_backward, dropout_forward};
pub(super) use layernorm::layernorm_backward_into;
pub use layernorm::{LayerNormCache, layernorm_backward, layernorm_forward};
pub use loss::{Loss, softmax_loss, svm_loss};

/// What a layer that differs between the two is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Learning: batch statistics, random masks.
    #[default]
    Train,
    /// Predicting: running statistics, no mask.
    Test,
}
