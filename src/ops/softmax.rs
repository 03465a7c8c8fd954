//! The softmax of rows and its gradient.

mod gpu;

use super::inputs::{Input, worst};
use super::{BOUNDED, Case, Op, rowwise, same_device, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

const NAME: &str = "softmax";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "p = e^(s − max s) / Σ e^(s − max s) of every row, and its gradient",
    dimensions: &["rows", "columns"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| 5.0 * (s[0] * s[1]) as f64,
    bytes: |form, s| if form.starts_with("backward") { 12.0 } else { 8.0 } * (s[0] * s[1]) as f64,
    variants: |device| variants_of(device, &["forward", "backward"], gpu::families),
    shapes: rowwise::shapes,
    fit: |_| {},
    timed: &[&[4096, 1024], &[50_000, 10]],
    workload: |device, case| {
        let (x, dout) = operands(device, case)?;
        let (variant, backward) = (case.variant.clone(), is_backward(case)?);
        Ok(Box::new(move || {
            run(&x.tensor, backward.then_some(&dout.tensor), split_variant(&variant).1).map(drop)
        }))
    },
    check,
};

/// pⱼ = e^(sⱼ − max s) / Σₖ e^(sₖ − max s) in each row of `scores` [N, C]. Gradient: [`softmax_backward`].
///
/// A row with a NaN, or whose largest score is infinite, is NaN.
///
/// # Errors
/// [`Error::Shape`] when `scores` is no real matrix; [`Error::Device`] when the device fails.
pub fn softmax(scores: &Tensor) -> Result<Tensor> {
    let _span = span("softmax");
    run(scores, None, None)
}

/// ∂L/∂sⱼ = pⱼ·(doutⱼ − Σₖ doutₖ·pₖ) in each row, from the output p of [`softmax`], so that the scores need not be kept.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn softmax_backward(dout: &Tensor, probabilities: &Tensor) -> Result<Tensor> {
    let _span = span("softmax_backward");
    if dout.shape() != probabilities.shape() {
        return Err(Error::shape(
            NAME,
            format!(
                "a gradient of shape {:?} for an output of shape {:?}",
                dout.shape(),
                probabilities.shape()
            ),
            "pass the gradient of each output",
        ));
    }
    same_device(NAME, dout, probabilities)?;
    run(probabilities, Some(dout), None)
}

/// The forward pass, or the backward pass where there is a gradient; `family` names the kernels, `None` leaves the choice to the device.
fn run(x: &Tensor, dout: Option<&Tensor>, family: Option<&str>) -> Result<Tensor> {
    let &[rows, columns] = x.shape() else {
        return Err(Error::shape(NAME, format!("shape {:?}", x.shape()), "pass a matrix, one row a sample"));
    };
    let storage = match (x.storage(), dout.map(Tensor::storage)) {
        (Storage::F64(x), None) => Storage::F64(reference::softmax::forward(x, columns).into()),
        (Storage::F64(p), Some(Storage::F64(dout))) => {
            Storage::F64(reference::softmax::backward(dout, p, columns).into())
        }
        (Storage::F32(x), None) => Storage::F32(cpu::softmax::forward(x, columns).into()),
        (Storage::F32(p), Some(Storage::F32(dout))) => {
            Storage::F32(cpu::softmax::backward(dout, p, columns).into())
        }
        (Storage::Gpu(gpu, x, DType::Real), None) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, family, x, None, [rows, columns])?, DType::Real)
        }
        (Storage::Gpu(gpu, p, DType::Real), Some(Storage::Gpu(_, dout, DType::Real))) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, family, p, Some(dout), [rows, columns])?, DType::Real)
        }
        _ => {
            let operands: Vec<_> = [Some(x), dout].into_iter().flatten().collect();
            return Err(wrong_dtypes(NAME, &operands, "real tensors"));
        }
    };
    Ok(Tensor::from_storage(vec![rows, columns], storage))
}

fn is_backward(case: &Case) -> Result<bool> {
    match case.form() {
        "forward" => Ok(false),
        "backward" => Ok(true),
        _ => Err(wrong_case(&OP, case)),
    }
}

/// Scores, or the probabilities that they give, and gradients.
fn operands(device: &Device, case: &Case) -> Result<(Input, Input)> {
    let shape = rowwise::shape_of(&OP, case)?;
    let mut rng = rng::seeded(case.seed);
    let mut values = rowwise::scores(&mut rng, shape);
    if is_backward(case)? {
        let probabilities = reference::softmax::forward(&values, shape[1]);
        values = probabilities.into_iter().map(|p| f64::from(p as f32)).collect();
    }
    Ok((Input::of(device, &shape, &values)?, Input::reals(device, &mut rng, &shape)?))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (x, dout) = operands(device, case)?;
    let backward = is_backward(case)?;
    let got = run(&x.tensor, backward.then_some(&dout.tensor), split_variant(&case.variant).1)?;
    let want = match backward {
        true => reference::softmax::backward(&dout.tracked, &x.tracked, case.shape[1]),
        false => reference::softmax::forward(&x.tracked, case.shape[1]),
    };
    worst(&[(&got, want)])
}
