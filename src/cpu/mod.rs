//! The CPU's kernels: SIMD chosen at run time, all cores, plain slices and dimensions.

pub mod activation;
pub mod affine;
pub mod batchnorm;
pub(crate) mod chunks;
mod columns;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod exact;
pub mod hinge_loss;
mod lanes;
pub mod layernorm;
pub mod math;
pub mod matmul;
pub mod nearest;
pub mod optimizer;
pub mod pairwise_l1;
pub mod pairwise_l2;
pub mod reduce;
pub mod simd;
pub mod softmax;
pub mod squared_error;
pub mod standardize;
mod sweep;
pub mod take;
pub mod topk;
pub mod vote;
