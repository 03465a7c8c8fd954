//! Nets: layers with the course's names, models made of them, update rules, and the check of their gradients.
//!
//! | module | what is in it |
//! |---|---|
//! | [`layers`] | `affine_forward`, `affine_backward` and their like |
//! | [`model`], [`two_layer`] | nets of any depth, with their loss and gradients; the two-layer net of assignment 1 |
//! | [`parameters`] | named tensors, weights first |
//! | [`optim`] | `sgd_momentum`, `adam` and their like, in place |
//! | [`feed`], [`schedule`], [`solver`] | batches, learning rates, training |
//! | [`team`] | nets of one architecture, trained side by side |
//! | [`checkpoint`] | models and interrupted runs as files |
//! | [`transfer`] | first layers from a trained net |
//! | [`shadow`] | steps repeated by their definitions while they are made |
//! | [`gradcheck`] | centred differences that know kinks |
//! | [`sanity`] | what to look at before a long training |
//! | [`notes`] | the worked examples of the course notes |
//!
//! There is no tape: a layer's forward pass returns what its backward pass consumes. Everything runs on whatever [`Device`](crate::Device) its
//! tensors live on, in 64 bit on the reference, where gradients are checked numerically.
//!
//! ```
//! use cs231n_gpu::nn::model::{Architecture, FullyConnectedNet, Init, Normalization};
//! use cs231n_gpu::nn::optim::{Optimizer, Rule};
//! use cs231n_gpu::rng::numpy::RandomState;
//! use cs231n_gpu::{Device, Tensor};
//!
//! // Two classes that no straight line divides.
//! let x = Tensor::from_f32(&Device::Cpu, &[4, 2], &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
//! let y = Tensor::from_u32(&Device::Cpu, &[4], &[0, 1, 1, 0])?;
//! let architecture = Architecture { normalization: Normalization::Layer, ..Architecture::new(2, &[16], 2) };
//! let mut net = FullyConnectedNet::new(&Device::Cpu, architecture, Init::He, &mut RandomState::new(231))?;
//! let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true };
//! let mut optimizer = Optimizer::new(rule, &net.parameters)?;
//! for _ in 0..100 {
//!     let (_, gradients) = net.loss(&x, &y)?; // the loss is not read, so nothing waits for it
//!     optimizer.step(&mut net.parameters, &gradients, 1e-2, 0.0)?;
//! }
//! assert_eq!(net.predict(&x)?.to_f64()?, [0.0, 1.0, 1.0, 0.0]);
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```

mod architecture;
pub mod checkpoint;
mod definition;
mod evaluation;
pub mod feed;
pub mod gradcheck;
mod history;
pub mod layers;
pub mod model;
pub mod notes;
pub mod optim;
pub mod parameters;
mod pass;
pub mod rehearsal;
pub mod sanity;
pub mod schedule;
pub mod shadow;
pub mod solver;
pub mod team;
pub mod transfer;
pub mod two_layer;
