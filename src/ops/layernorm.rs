//! Layer normalisation and its gradients.

mod gpu;
mod table;

pub use self::table::OP;
pub use super::batchnorm::{Gradients, Normalized};
use super::features::{matrix, positive_epsilon, room, shaped};
use super::wrong_dtypes;
use crate::error::Result;
use crate::profile::span;
use crate::tensor::{DType, RealsMut, Storage, Tensor};
use crate::{cpu, reference};

const NAME: &str = "layernorm";
const REALS: &str = "real tensors";

/// out = γ·(x − μ)/√(σ² + ε) + β with the mean μ and the biased variance σ² of every row of `x` [N, D]; γ and β are \[D\].
///
/// The statistics are [2, N]. A row of one feature has σ² = 0, so that out = β. NaN in a row spoils that row alone. Source: Ba, Kiros &
/// Hinton (2016); assignment 2. Gradient: [`layernorm_backward`].
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when shapes, types or devices differ or ε is not above 0;
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn layernorm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Normalized> {
    let _span = span("layernorm");
    forward(x, gamma, beta, epsilon, None)
}

fn forward(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    family: Option<&str>,
) -> Result<Normalized> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[columns], &[("γ", gamma), ("β", beta)])?;
    positive_epsilon(NAME, epsilon)?;
    let [out, statistics] = match (x.storage(), gamma.storage(), beta.storage()) {
        (Storage::F64(x), Storage::F64(gamma), Storage::F64(beta)) => {
            let normalized = reference::layernorm::forward(x, gamma, beta, epsilon, rows);
            [normalized.out, normalized.statistics].map(|values| Storage::F64(values.into()))
        }
        (Storage::F32(x), Storage::F32(gamma), Storage::F32(beta)) => {
            let normalized = cpu::layernorm::forward(x, gamma, beta, epsilon as f32, rows);
            [normalized.out, normalized.statistics].map(|values| Storage::F32(values.into()))
        }
        (
            Storage::Gpu(gpu, x, DType::Real),
            Storage::Gpu(_, gamma, DType::Real),
            Storage::Gpu(_, beta, DType::Real),
        ) => gpu::forward(gpu, family, [x, gamma, beta], [rows, columns], epsilon)?
            .map(|buffer| Storage::Gpu(gpu.clone(), buffer, DType::Real)),
        _ => return Err(wrong_dtypes(NAME, &[x, gamma, beta], REALS)),
    };
    Ok(Normalized {
        out: Tensor::from_storage(vec![rows, columns], out),
        statistics: Tensor::from_storage(vec![2, rows], statistics),
    })
}

/// The gradients of [`layernorm`] from the gradient `dout` [N, D] of its output, its input `x` and its `statistics` [2, N].
///
/// With g = dout·γ: dx = (D·g − Σg − x̂·Σ(g·x̂))/(D·√(σ²+ε)) with sums along the row, dγ = Σdout·x̂ and dβ = Σdout down the columns.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when shapes, types or devices differ; [`Error::Device`](crate::Error::Device) when the device
/// fails.
pub fn layernorm_backward(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
) -> Result<Gradients> {
    let _span = span("layernorm_backward");
    backward(dout, x, statistics, gamma, None)
}

/// [`layernorm_backward`] with the gradients of γ and β to where there is room for them; returns dx.
pub(crate) fn layernorm_backward_into(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    into: [RealsMut<'_>; 2],
) -> Result<Tensor> {
    let _span = span("layernorm_backward");
    write(dout, x, statistics, gamma, into, None)
}

fn backward(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    family: Option<&str>,
) -> Result<Gradients> {
    let mut dgamma = Tensor::unwritten(&x.device(), gamma.shape())?;
    let mut dbeta = Tensor::unwritten(&x.device(), gamma.shape())?;
    let into = [dgamma.reals_mut(NAME)?, dbeta.reals_mut(NAME)?];
    let dx = write(dout, x, statistics, gamma, into, family)?;
    Ok(Gradients { dx, dgamma, dbeta })
}

fn write(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    into: [RealsMut<'_>; 2],
    family: Option<&str>,
) -> Result<Tensor> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[rows, columns], &[("dout", dout)])?;
    shaped(NAME, x, &[2, rows], &[("the statistics", statistics)])?;
    shaped(NAME, x, &[columns], &[("γ", gamma)])?;
    room(NAME, &into, columns)?;
    let storage = match (dout.storage(), x.storage(), statistics.storage(), gamma.storage(), into) {
        (
            Storage::F64(dout),
            Storage::F64(x),
            Storage::F64(statistics),
            Storage::F64(gamma),
            [RealsMut::F64(dgamma), RealsMut::F64(dbeta)],
        ) => {
            let gradients = reference::layernorm::backward(dout, x, statistics, gamma, rows);
            dgamma.copy_from_slice(&gradients.dgamma);
            dbeta.copy_from_slice(&gradients.dbeta);
            Storage::F64(gradients.dx.into())
        }
        (
            Storage::F32(dout),
            Storage::F32(x),
            Storage::F32(statistics),
            Storage::F32(gamma),
            [RealsMut::F32(dgamma), RealsMut::F32(dbeta)],
        ) => {
            let gradients = cpu::layernorm::backward(dout, x, statistics, gamma, rows);
            dgamma.copy_from_slice(&gradients.dgamma);
            dbeta.copy_from_slice(&gradients.dbeta);
            Storage::F32(gradients.dx.into())
        }
        (
            Storage::Gpu(gpu, dout, DType::Real),
            Storage::Gpu(_, x, DType::Real),
            Storage::Gpu(_, statistics, DType::Real),
            Storage::Gpu(_, gamma, DType::Real),
            [RealsMut::Gpu(_, dgamma), RealsMut::Gpu(_, dbeta)],
        ) => {
            let operands = [x, gamma, dout, statistics];
            let dx = gpu::backward(gpu, family, operands, [&dgamma, &dbeta], [rows, columns])?;
            Storage::Gpu(gpu.clone(), dx, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[dout, x, statistics, gamma], REALS)),
    };
    Ok(Tensor::from_storage(vec![rows, columns], storage))
}
