//! The backward half of a step, compiled while the forward half is.
//!
//! A software adapter compiles a kernel where it is first launched, on the one thread of the device's queue, and a large product takes half a
//! second. A second device has a thread of its own: it launches the products of the backward pass and the update on numbers that nobody has
//! set, and the driver's cache has their code when the first step gets there.

use std::thread::JoinHandle;

use super::model::Architecture;
use super::solver::{Solver, Training};
use crate::device::Device;
use crate::error::Result;
use crate::ops::affine::{affine_gradients, affine_input_gradient};
use crate::ops::optimizer::{Step, update};
use crate::tensor::Tensor;

/// Kernels that are being compiled. A program must not end meanwhile, so whoever drops this waits.
#[derive(Debug)]
pub struct Rehearsal {
    thread: Option<JoinHandle<()>>,
}

impl Rehearsal {
    /// Begins where it helps: on a software adapter.
    pub fn begin(solver: &Solver) -> Self {
        let gpu = match solver.net.device() {
            Device::Gpu(gpu) if gpu.info().software() => gpu,
            _ => return Self { thread: None },
        };
        let (architecture, training) = (solver.net.architecture().clone(), solver.training().clone());
        let parameters = solver.net.parameters.flat().len();
        let work = move || {
            // What fails here fails again in the step, which says so.
            let _ = gpu
                .twin()
                .and_then(|twin| rehearse(&Device::Gpu(twin), &architecture, &training, parameters));
        };
        // Without a thread the step compiles everything itself.
        Self { thread: std::thread::Builder::new().name("rehearsal".into()).spawn(work).ok() }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Nothing depends on it.
            let _ = thread.join();
        }
    }
}

/// Launches kernels of a step, those that it comes to last first: the gradients of the hidden layers, and the update of all parameters with
/// what lies between them ([`Parameters::flat`](super::parameters::Parameters::flat)). The last layer's the step compiles itself sooner.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn rehearse(
    device: &Device,
    architecture: &Architecture,
    training: &Training,
    parameters: usize,
) -> Result<()> {
    let unwritten = |shape: &[usize]| Tensor::unwritten(device, shape);
    let Architecture { inputs, hidden, outputs, .. } = architecture;
    let (batch, rule) = (training.batch_size, &training.rule);
    let mut depth = *inputs;
    for (layer, &columns) in hidden.iter().chain([outputs]).take(hidden.len().max(1)).enumerate() {
        let (x, dz) = (unwritten(&[batch, depth])?, unwritten(&[batch, columns])?);
        affine_gradients(&x, &dz)?;
        if layer > 0 {
            let below = architecture.dropout.is_none().then_some((&x, architecture.activation));
            affine_input_gradient(&dz, &unwritten(&[depth, columns])?, below)?;
        }
        depth = columns;
    }
    let (mut w, gradient) = (unwritten(&[parameters])?, unwritten(&[parameters])?);
    let mut state = (0..rule.states()).map(|_| unwritten(&[parameters])).collect::<Result<Vec<_>>>()?;
    let step = Step { learning_rate: 1.0, l2: 0.0, regularized: parameters, count: 1 };
    update(rule, &step, &mut w, &gradient, &mut state)?;
    match device {
        Device::Gpu(gpu) => gpu.wait(),
        _ => Ok(()),
    }
}
