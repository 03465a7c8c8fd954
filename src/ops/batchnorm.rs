//! Batch normalisation and its gradients.

mod gpu;
mod table;

pub use self::table::OP;
use super::features::{matrix, positive_epsilon, room, shaped};
use super::wrong_dtypes;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::tensor::{DType, RealsMut, Storage, Tensor};
use crate::{cpu, reference};

const NAME: &str = "batchnorm";
const REALS: &str = "real tensors";

/// What the forward pass of a normalisation returns.
#[derive(Debug, Clone)]
pub struct Normalized {
    /// γ·x̂ + β, in the shape of x.
    pub out: Tensor,
    /// [2, D], for a layer [2, N]: the means, then 1/√(variance + ε). The backward pass takes them.
    pub statistics: Tensor,
}

/// Running moments, which a training pass moves towards those of its batch.
#[derive(Debug)]
pub struct Running<'a> {
    /// [2, D]: means, then biased variances; changed in place.
    pub moments: &'a mut Tensor,
    /// The share of the old moments that stays, 0.9 in the course.
    pub momentum: f64,
}

/// How the backward pass computes the same gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backward {
    /// By one formula for dx: fewer sums.
    Formula,
    /// Node by node, as [`reference::batchnorm::graph`] shows.
    Graph,
}

/// The gradients of a normalisation.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// In the shape of x.
    pub dx: Tensor,
    /// \[D\].
    pub dgamma: Tensor,
    /// \[D\].
    pub dbeta: Tensor,
}

/// out = γ·(x − μ)/√(σ² + ε) + β with the mean μ and the biased variance σ² of every column of `x` [N, D]; γ and β are \[D\].
///
/// With `running`, those moments become momentum·old + (1 − momentum)·batch in the same launch. A single row has σ² = 0, so that out = β. No
/// rows have mean and variance 0, and leave the running moments alone. NaN in a column spoils that column alone. Source: Ioffe & Szegedy
/// (2015), algorithm 1; assignment 2. Gradient: [`batchnorm_backward`].
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ, ε is not above 0 or momentum not within 0..=1; [`Error::Device`] when the device
/// fails.
pub fn batchnorm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    running: Option<Running<'_>>,
) -> Result<Normalized> {
    let _span = span("batchnorm_train");
    train(x, gamma, beta, epsilon, running, None)
}

fn train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    running: Option<Running<'_>>,
    family: Option<&str>,
) -> Result<Normalized> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[columns], &[("γ", gamma), ("β", beta)])?;
    positive_epsilon(NAME, epsilon)?;
    if let Some(Running { moments, momentum }) = &running {
        shaped(NAME, x, &[2, columns], &[("the running moments", moments)])?;
        if !(0.0..=1.0).contains(momentum) {
            let problem = format!("a momentum of {momentum}");
            return Err(Error::shape(NAME, problem, "pass the share of the old moments that stays, 0 to 1"));
        }
    }
    // Nothing is copied for, or written from, a batch that is not there.
    let running = match running.filter(|_| rows > 0) {
        Some(Running { moments, momentum }) => Some((moments.reals_mut(NAME)?, momentum)),
        None => None,
    };
    let (out, statistics) = match (x.storage(), gamma.storage(), beta.storage()) {
        (Storage::F64(x), Storage::F64(gamma), Storage::F64(beta)) => {
            let normalized = reference::batchnorm::train(x, gamma, beta, epsilon);
            if let Some((RealsMut::F64(old), momentum)) = running {
                let batch = reference::batchnorm::moments(x, columns);
                old.copy_from_slice(&reference::batchnorm::running(old, &batch, momentum));
            }
            (Storage::F64(normalized.out.into()), Storage::F64(normalized.statistics.into()))
        }
        (Storage::F32(x), Storage::F32(gamma), Storage::F32(beta)) => {
            let running = match running {
                Some((RealsMut::F32(moments), momentum)) => {
                    Some(cpu::batchnorm::Running { moments, momentum })
                }
                _ => None,
            };
            let normalized = cpu::batchnorm::train(x, gamma, beta, epsilon as f32, running);
            (Storage::F32(normalized.out.into()), Storage::F32(normalized.statistics.into()))
        }
        (
            Storage::Gpu(gpu, x, DType::Real),
            Storage::Gpu(_, gamma, DType::Real),
            Storage::Gpu(_, beta, DType::Real),
        ) => {
            let running = match &running {
                Some((RealsMut::Gpu(_, moments), momentum)) => Some((moments, *momentum)),
                _ => None,
            };
            let [out, statistics] =
                gpu::train(gpu, family, [x, gamma, beta], [rows, columns], epsilon, running)?;
            (Storage::Gpu(gpu.clone(), out, DType::Real), Storage::Gpu(gpu.clone(), statistics, DType::Real))
        }
        _ => return Err(wrong_dtypes(NAME, &[x, gamma, beta], REALS)),
    };
    Ok(Normalized {
        out: Tensor::from_storage(vec![rows, columns], out),
        statistics: Tensor::from_storage(vec![2, columns], statistics),
    })
}

/// out = γ·(x − μ)/√(σ² + ε) + β with given `moments` [2, D]: means, then biased variances, the running ones of a training.
///
/// Gradient: dx = dout·γ/√(σ² + ε). NaN stays NaN.
///
/// # Errors
/// As [`batchnorm_train`].
pub fn batchnorm_test(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    moments: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let _span = span("batchnorm_test");
    test(x, gamma, beta, moments, epsilon, None)
}

fn test(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    moments: &Tensor,
    epsilon: f64,
    family: Option<&str>,
) -> Result<Tensor> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[columns], &[("γ", gamma), ("β", beta)])?;
    shaped(NAME, x, &[2, columns], &[("the moments", moments)])?;
    positive_epsilon(NAME, epsilon)?;
    let storage = match (x.storage(), gamma.storage(), beta.storage(), moments.storage()) {
        (Storage::F64(x), Storage::F64(gamma), Storage::F64(beta), Storage::F64(moments)) => {
            Storage::F64(reference::batchnorm::test(x, gamma, beta, moments, epsilon).into())
        }
        (Storage::F32(x), Storage::F32(gamma), Storage::F32(beta), Storage::F32(moments)) => {
            Storage::F32(cpu::batchnorm::test(x, gamma, beta, moments, epsilon as f32).into())
        }
        (
            Storage::Gpu(gpu, x, DType::Real),
            Storage::Gpu(_, gamma, DType::Real),
            Storage::Gpu(_, beta, DType::Real),
            Storage::Gpu(_, moments, DType::Real),
        ) => {
            let operands = [x, gamma, beta, moments];
            let out = gpu::test(gpu, family, operands, [rows, columns], epsilon)?;
            Storage::Gpu(gpu.clone(), out, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[x, gamma, beta, moments], REALS)),
    };
    Ok(Tensor::from_storage(vec![rows, columns], storage))
}

/// The gradients of [`batchnorm_train`] from the gradient `dout` [N, D] of its output, its input `x` and its `statistics` [2, D].
///
/// dx = (γ/(N·√(σ²+ε)))·(N·dout − Σdout − x̂·Σ(dout·x̂)), dγ = Σdout·x̂, dβ = Σdout, with x̂ made again from x. Source: assignment 2,
/// `batchnorm_backward` and `batchnorm_backward_alt`; the two forms agree but for rounding.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn batchnorm_backward(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    form: Backward,
) -> Result<Gradients> {
    let _span = span("batchnorm_backward");
    backward(dout, x, statistics, gamma, form, None)
}

/// [`batchnorm_backward`] with the gradients of γ and β to where there is room for them; returns dx.
pub(crate) fn batchnorm_backward_into(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    form: Backward,
    into: [RealsMut<'_>; 2],
) -> Result<Tensor> {
    let _span = span("batchnorm_backward");
    write(dout, x, statistics, gamma, form, into, None)
}

fn backward(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    form: Backward,
    family: Option<&str>,
) -> Result<Gradients> {
    let mut dgamma = Tensor::unwritten(&x.device(), gamma.shape())?;
    let mut dbeta = Tensor::unwritten(&x.device(), gamma.shape())?;
    let into = [dgamma.reals_mut(NAME)?, dbeta.reals_mut(NAME)?];
    let dx = write(dout, x, statistics, gamma, form, into, family)?;
    Ok(Gradients { dx, dgamma, dbeta })
}

fn write(
    dout: &Tensor,
    x: &Tensor,
    statistics: &Tensor,
    gamma: &Tensor,
    form: Backward,
    into: [RealsMut<'_>; 2],
    family: Option<&str>,
) -> Result<Tensor> {
    let [rows, columns] = matrix(NAME, x)?;
    shaped(NAME, x, &[rows, columns], &[("dout", dout)])?;
    shaped(NAME, x, &[2, columns], &[("the statistics", statistics)])?;
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
            let gradients = match form {
                Backward::Formula => reference::batchnorm::backward_formula(dout, x, statistics, gamma),
                Backward::Graph => reference::batchnorm::backward_graph(dout, x, statistics, gamma),
            };
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
            let gradients = match form {
                Backward::Formula => cpu::batchnorm::backward_formula(dout, x, statistics, gamma),
                Backward::Graph => cpu::batchnorm::backward_graph(dout, x, statistics, gamma),
            };
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
            let dx = gpu::backward(gpu, family, operands, [&dgamma, &dbeta], [rows, columns], form)?;
            Storage::Gpu(gpu.clone(), dx, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[dout, x, statistics, gamma], REALS)),
    };
    Ok(Tensor::from_storage(vec![rows, columns], storage))
}
