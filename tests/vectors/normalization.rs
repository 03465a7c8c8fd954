//! Batch and layer normalisation.

use cs231n_gpu::Tensor;
use cs231n_gpu::nn::layers::{self, BatchNormParam, Mode, batchnorm_forward, relu_forward};
use cs231n_gpu::ops::matmul::{Transposed, matmul};
use cs231n_gpu::ops::reduce::{Axis, moments};
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::tolerance::DOUBLE;

use crate::support::{Case, Outcome, host, text};

/// relu(X·W1)·W2.
fn hidden(x: &Tensor, w1: &Tensor, w2: &Tensor) -> Result<Tensor, String> {
    let product = |a: &Tensor, b: &Tensor| matmul(a, b, Transposed::default()).map_err(text);
    product(&relu_forward(&product(x, w1)?).map_err(text)?.0, w2)
}

/// Means and standard deviations.
fn means_and_stds(x: &Tensor, axis: Axis) -> Result<[Vec<f64>; 2], String> {
    let (means, variances) = moments(x, axis).map_err(text)?;
    Ok([host(&means)?, host(&variances)?.into_iter().map(f64::sqrt).collect()])
}

/// Means that are 0 but for rounding have no relative error: they are a share of the deviation, which is 1.
fn vanish(key: &str, means: &[f64], case: &Case) -> Outcome {
    // "means ~1e-16 (f32: 1e-6)": a few units of either precision.
    let allowed = if case.on_reference() { DOUBLE } else { 1e-6 };
    match means.iter().all(|mean| mean.abs() <= allowed) {
        true => Ok(()),
        false => Err(format!("{key}: {means:?}")),
    }
}

pub fn batchnorm_forward_train(case: &Case) -> Outcome {
    let mut random = RandomState::new(231);
    let x = case.real(&[200, 50], &random.randn(200 * 50))?;
    let w1 = case.real(&[50, 60], &random.randn(50 * 60))?;
    let w2 = case.real(&[60, 3], &random.randn(60 * 3))?;
    let a = hidden(&x, &w1, &w2)?;
    // "stds 1e-6", but an exact replay does much better.
    let [means, stds] = means_and_stds(&a, Axis::Columns)?;
    case.near("before_means", &means, DOUBLE)?;
    case.near("before_stds", &stds, DOUBLE)?;
    case.near("a_first3rows", &host(&a)?[..9], DOUBLE)?;

    let normalize = |gamma: &[f64], beta: &[f64]| {
        let (gamma, beta) = (case.real(&[3], gamma)?, case.real(&[3], beta)?);
        Ok::<_, String>(batchnorm_forward(&a, &gamma, &beta, &mut BatchNormParam::default()).map_err(text)?.0)
    };
    let out = normalize(&[1.0; 3], &[0.0; 3])?;
    case.near("out_first3rows", &host(&out)?[..9], DOUBLE)?;
    let [means, stds] = means_and_stds(&out, Axis::Columns)?;
    vanish("after_means_approx", &means, case)?;
    case.near("after_stds", &stds, DOUBLE)?;
    let [means, stds] = means_and_stds(&normalize(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0])?, Axis::Columns)?;
    case.near("affine_means", &means, DOUBLE)?;
    case.near("affine_stds", &stds, DOUBLE)
}

pub fn batchnorm_forward_test(case: &Case) -> Outcome {
    let mut random = RandomState::new(231);
    let w1 = case.real(&[50, 60], &random.randn(50 * 60))?;
    let w2 = case.real(&[60, 3], &random.randn(60 * 3))?;
    let (gamma, beta) = (case.real(&[3], &[1.0; 3])?, case.real(&[3], &[0.0; 3])?);
    let mut param = BatchNormParam::default();
    let mut pass = |random: &mut RandomState, mode| {
        param.mode = mode;
        let x = case.real(&[200, 50], &random.randn(200 * 50))?;
        let out = batchnorm_forward(&hidden(&x, &w1, &w2)?, &gamma, &beta, &mut param).map_err(text)?.0;
        Ok::<_, String>((out, param.moments.clone()))
    };
    for _ in 0..50 {
        pass(&mut random, Mode::Train)?;
    }
    let (out, running) = pass(&mut random, Mode::Test)?;
    let running = host(&running.ok_or("no running moments")?)?;
    // "exact replay rel 1e-9"
    let [means, stds] = means_and_stds(&out, Axis::Columns)?;
    match case.on_reference() {
        true => case.near("means", &means, case.stated())?,
        // Small means of numbers with deviation 1: a share of that.
        false => {
            let want = crate::support::numbers(&case.vector.expected["means"]);
            let apart: Vec<_> = means.iter().zip(want).map(|(got, want)| got - want).collect();
            vanish("means", &apart, case)?;
        }
    }
    case.near("stds", &stds, case.stated())?;
    case.near("running_mean", &running[..3], case.stated())?;
    case.near("running_var", &running[3..], case.stated())
}

pub fn layernorm_forward(case: &Case) -> Outcome {
    let mut random = RandomState::new(231);
    let x = case.real(&[4, 50], &random.randn(4 * 50))?;
    let w1 = case.real(&[50, 60], &random.randn(50 * 60))?;
    let w2 = case.real(&[60, 3], &random.randn(60 * 3))?;
    let a = hidden(&x, &w1, &w2)?;
    case.near_to("a", &host(&a)?, &host(&case.input("a")?)?, DOUBLE)?;
    let [means, stds] = means_and_stds(&a, Axis::Rows)?;
    case.near("before_means", &means, DOUBLE)?;
    case.near("before_stds", &stds, DOUBLE)?;
    for (gamma, beta, out, after) in
        [(1.0, 0.0, "out", "after_stds"), (3.0, 5.0, "out_gamma3_beta5", "affine_stds")]
    {
        let (gamma, beta) = (case.real(&[3], &[gamma; 3])?, case.real(&[3], &[beta; 3])?);
        let (normal, _) = layers::layernorm_forward(&a, &gamma, &beta, 1e-5).map_err(text)?;
        case.near(out, &host(&normal)?, DOUBLE)?;
        case.near(after, &means_and_stds(&normal, Axis::Rows)?[1], DOUBLE)?;
    }
    Ok(())
}
