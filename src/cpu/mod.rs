//! The CPU's kernels: SIMD chosen at run time, all cores, plain slices and dimensions.

pub mod activation;
pub mod batchnorm;
mod chunks;
mod columns;
pub mod exact;
pub mod layernorm;
pub mod math;
pub mod matmul;
pub mod nearest;
pub mod pairwise_l1;
pub mod pairwise_l2;
pub mod simd;
pub mod standardize;
mod sweep;
pub mod topk;
pub mod vote;
