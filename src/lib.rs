//! The classic classifiers of CS231n on any GPU and on plain CPUs.
//!
//! | module | what is in it |
//! |---|---|
//! | [`classify`] | the classifiers: what to call first |
//! | [`nn`] | layers, nets, update rules, gradient checks |
//! | [`ops`] | the operations on [`Tensor`]s, and the table of them all |
//! | [`mod@reference`] | every operation's definition, in 64 bit |
//! | [`cpu`] | every operation on all cores, in 32 bit |
//! | [`gpu`] | the runtime of the kernels in `shaders/` |
//! | [`data`] | readers and writers of data sets |
//! | [`report`] | tables and pictures |
//! | [`cli`] | the command line |
//! | [`cache`] | what is kept between runs |
//! | [`profile`] | where the time goes |
//! | [`huge_pages`] | an allocator for programs that work on large arrays |
//! | [`tolerance`] | how far a 32-bit result may lie from its definition |
//!
//! On the CPU, small operations are quickest on a thread of a rayon pool (`rayon::scope(|_| …)`, as the command line does): from any other each
//! parallel loop first wakes one up.
//!
//! Dependencies point one way: cli → classify → nn → ops → tensor → device → gpu. `reference` and `cpu` take plain slices,
//! `data` and `report` know no device.
//!
//! ```
//! use cs231n_gpu::ops::matmul::{Transposed, matmul};
//! use cs231n_gpu::{Device, Tensor};
//!
//! let a = Tensor::from_f32(&Device::Cpu, &[1, 2], &[1.0, 2.0])?;
//! let b = Tensor::from_f32(&Device::Cpu, &[2, 1], &[3.0, 4.0])?;
//! assert_eq!(matmul(&a, &b, Transposed::default())?.to_f64()?, [11.0]);
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```

pub mod bench;
pub mod cache;
pub mod classify;
pub mod cli;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod gpu;
pub mod huge_pages;
pub mod nn;
pub mod ops;
pub mod order;
pub mod profile;
mod recycled;
pub mod reference;
pub mod report;
pub mod rng;
pub mod rows;
pub mod tensor;
pub mod tolerance;
mod values;

pub use device::Device;
pub use error::{Error, Result};
pub use tensor::Tensor;
