//! The definitions: naive loops in 64-bit floats, each with its formula. Clarity matters here, speed does not.
//!
//! Every other executor is tested against these functions. They take plain slices and dimensions, and know no device.

pub mod activation;
pub mod affine;
pub mod augment;
pub mod batchnorm;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod hinge_loss;
pub mod layernorm;
pub mod matmul;
pub mod nearest;
pub mod optimizer;
pub mod pairwise_l1;
pub mod pairwise_l2;
pub mod reduce;
pub mod softmax;
pub mod squared_error;
pub mod standardize;
pub mod take;
pub mod topk;
pub mod vote;
