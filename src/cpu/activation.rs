//! Elementwise nonlinearities on the CPU, one sweep each.

use super::chunks::{map, zip, zip_in_place};
use super::math;
use crate::reference::activation::Activation;

/// f(x) for every element. NaN stays NaN.
pub fn forward(x: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        // Written so that a NaN, which is not at most 0, passes.
        Activation::Relu => map(x, |x| if x <= 0.0 { 0.0 } else { x }),
        Activation::LeakyRelu(slope) => map(x, move |x| if x < 0.0 { slope * x } else { x }),
        Activation::Sigmoid => map(x, math::sigmoid),
        Activation::Tanh => map(x, math::tanh),
    }
}

/// dout · f′(x), with y = f(x).
///
/// # Panics
/// When the lengths differ.
pub fn backward(dout: &[f32], y: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        Activation::Relu => zip(dout, y, |dout, y| if y <= 0.0 { 0.0 } else { dout }),
        Activation::LeakyRelu(slope) => {
            zip(dout, y, move |dout, y| if y < 0.0 { slope * dout } else { dout })
        }
        Activation::Sigmoid => zip(dout, y, |dout, y| dout * (y * (1.0 - y))),
        Activation::Tanh => zip(dout, y, |dout, y| dout * (1.0 - y * y)),
    }
}

/// [`backward`] into `dout`.
///
/// # Panics
/// When the lengths differ.
pub fn backward_in_place(dout: &mut [f32], y: &[f32], activation: Activation) {
    match activation {
        Activation::Relu => zip_in_place(y, dout, |y, dout| if y <= 0.0 { 0.0 } else { dout }),
        Activation::LeakyRelu(slope) => {
            zip_in_place(y, dout, move |y, dout| if y < 0.0 { slope * dout } else { dout });
        }
        Activation::Sigmoid => zip_in_place(y, dout, |y, dout| dout * (y * (1.0 - y))),
        Activation::Tanh => zip_in_place(y, dout, |y, dout| dout * (1.0 - y * y)),
    }
}
