//! Elementwise nonlinearities and their gradients.

pub(crate) mod gpu;

use super::inputs::{Input, worst};
use super::{BOUNDED, Case, Effort, Op, same_device, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Tracked, Worst};
use crate::{cpu, reference};

pub use crate::reference::activation::Activation;

const NAME: &str = "activation";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "y = f(x) for ReLU, leaky ReLU, sigmoid and tanh, and its gradient in terms of y",
    dimensions: &["elements"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| s[0] as f64,
    bytes: |form, s| if form.ends_with("_backward") { 12.0 } else { 8.0 } * s[0] as f64,
    variants: |device| variants_of(device, FORMS, |_, _| vec!["vec4"]),
    shapes,
    fit: |_| {},
    timed: &[&[4096 * 1024]],
    workload: |device, case| {
        let (x, dout) = operands(device, case)?;
        let (activation, backward) = form(case)?;
        Ok(Box::new(move || run(&x.tensor, backward.then_some(&dout.tensor), activation).map(drop)))
    },
    check,
};

/// yᵢ = f(xᵢ), in the shape of `x`. Gradient: [`activation_backward`]. NaN stays NaN.
///
/// # Errors
/// [`Error::Shape`] when `x` is not real; [`Error::Device`] when the device fails.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let _span = span("activation");
    run(x, None, activation)
}

/// dxᵢ = doutᵢ·f′(xᵢ), from the output `y` = f(x), so that the input need not be kept.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn activation_backward(dout: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    let _span = span("activation_backward");
    if dout.shape() != y.shape() {
        return Err(Error::shape(
            NAME,
            format!("a gradient of shape {:?} for an output of shape {:?}", dout.shape(), y.shape()),
            "pass the gradient of each output",
        ));
    }
    same_device(NAME, dout, y)?;
    run(y, Some(dout), activation)
}

/// The forward pass, or the backward pass where there is a gradient.
fn run(x: &Tensor, dout: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let storage = match (x.storage(), dout.map(Tensor::storage)) {
        (Storage::F64(x), None) => Storage::F64(reference::activation::forward(x, activation).into()),
        (Storage::F64(y), Some(Storage::F64(dout))) => {
            Storage::F64(reference::activation::backward(dout, y, activation).into())
        }
        (Storage::F32(x), None) => Storage::F32(cpu::activation::forward(x, activation).into()),
        (Storage::F32(y), Some(Storage::F32(dout))) => {
            Storage::F32(cpu::activation::backward(dout, y, activation).into())
        }
        (Storage::Gpu(gpu, x, DType::Real), None) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, x, None, activation)?, DType::Real)
        }
        (Storage::Gpu(gpu, y, DType::Real), Some(Storage::Gpu(_, dout, DType::Real))) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, y, Some(dout), activation)?, DType::Real)
        }
        _ => {
            let operands: Vec<_> = [Some(x), dout].into_iter().flatten().collect();
            return Err(wrong_dtypes(NAME, &operands, "real tensors"));
        }
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage))
}

const FORMS: &[&str] = &[
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "relu_backward",
    "leaky_relu_backward",
    "sigmoid_backward",
    "tanh_backward",
];

/// The nonlinearity of a case, and whether its gradient is meant.
fn form(case: &Case) -> Result<(Activation, bool)> {
    let form = case.form();
    let (name, backward) = form.strip_suffix("_backward").map_or((form, false), |name| (name, true));
    let activation = match name {
        "relu" => Activation::Relu,
        "leaky_relu" => Activation::LeakyRelu(0.01),
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        _ => return Err(wrong_case(&OP, case)),
    };
    Ok((activation, backward))
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Inputs that saturate, cross zero and include it, and gradients.
fn operands(device: &Device, case: &Case) -> Result<(Input, Input)> {
    let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    let (activation, backward) = form(case)?;
    let mut values = rng::reals(&mut rng, n);
    for (i, value) in values.iter_mut().enumerate() {
        *value = match i % 16 {
            0 => 0.0,
            1 => f64::from((*value * 100.0) as f32),
            _ => f64::from((*value * 4.0) as f32),
        };
        if backward {
            *value = f64::from(activation.value(*value) as f32);
        }
    }
    Ok((Input::of(device, &[n], &values)?, Input::reals(device, &mut rng, &[n])?))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (x, dout) = operands(device, case)?;
    let (activation, backward) = form(case)?;
    let got = run(&x.tensor, backward.then_some(&dout.tensor), activation)?;
    let want: Vec<Tracked> = match backward {
        true => reference::activation::backward(&dout.tracked, &x.tracked, activation),
        false => reference::activation::forward(&x.tracked, activation),
    };
    worst(&[(&got, want)])
}
