//! Layers without a normalisation.

use cs231n_gpu::nn::layers::{self, DropoutParam, Mask, Mode};
use cs231n_gpu::ops::elementwise::{mul, scale};
use cs231n_gpu::ops::matmul::{Transposed, matmul};
use cs231n_gpu::ops::reduce::{Axis, sum};
use cs231n_gpu::rng::numpy::RandomState;

use crate::support::{Case, Outcome, host, linspace, numbers, text};

pub fn affine_forward(case: &Case) -> Outcome {
    let x = case.real(&[2, 4, 5, 6], &linspace(-0.1, 0.5, 240))?;
    let w = case.real(&[120, 3], &linspace(-0.2, 0.3, 360))?;
    let b = case.real(&[3], &linspace(-0.3, 0.1, 3))?;
    let (out, _) = layers::affine_forward(&x, &w, &b).map_err(text)?;
    case.near("out", &host(&out)?, case.stated())?;
    case.near("out_full_precision", &host(&out)?, cs231n_gpu::tolerance::DOUBLE)
}

pub fn affine_backward(case: &Case) -> Outcome {
    let (_, cache) =
        layers::affine_forward(&case.input("x")?, &case.input("w")?, &case.input("b")?).map_err(text)?;
    let (dx, dw, db) = layers::affine_backward(&case.input("dout")?, cache).map_err(text)?;
    if dx.shape() != [10, 2, 3] {
        return Err(format!("dx is {:?}", dx.shape()));
    }
    case.near("dx", &host(&dx)?, case.stated())?;
    case.near("dw", &host(&dw)?, case.stated())?;
    case.near("db", &host(&db)?, case.stated())
}

pub fn relu_forward(case: &Case) -> Outcome {
    let x = case.real(&[3, 4], &linspace(-0.5, 0.5, 12))?;
    let (out, _) = layers::relu_forward(&x).map_err(text)?;
    case.near("out", &host(&out)?, case.stated())
}

pub fn relu_backward(case: &Case) -> Outcome {
    let (_, cache) = layers::relu_forward(&case.input("x")?).map_err(text)?;
    let dx = layers::relu_backward(&case.input("dout")?, cache).map_err(text)?;
    case.near("dx", &host(&dx)?, case.stated())
}

pub fn affine_relu(case: &Case) -> Outcome {
    let (out, cache) =
        layers::affine_relu_forward(&case.input("x")?, &case.input("w")?, &case.input("b")?).map_err(text)?;
    let (dx, dw, db) = layers::affine_relu_backward(&case.input("dout")?, cache).map_err(text)?;
    for (key, tensor) in [("out", out), ("dx", dx), ("dw", dw), ("db", db)] {
        case.near(key, &host(&tensor)?, case.stated())?;
    }
    Ok(())
}

pub fn losses(case: &Case) -> Outcome {
    let (x, y) = (case.input("x")?, case.input_labels("y")?);
    // "rel 1e-12 f64; dx error ~1e-9 (svm), ~1e-8 (softmax)"
    let [loss_error, svm_error, softmax_error] = case.vector.stated()[..] else {
        return Err("three tolerances".into());
    };
    let svm = layers::svm_loss(&x, &y).map_err(text)?;
    let softmax = layers::softmax_loss(&x, &y).map_err(text)?;
    for (name, (loss, dx), error) in [("svm", svm, svm_error), ("softmax", softmax, softmax_error)] {
        case.near(&format!("{name}_loss"), &[loss.value().map_err(text)?], loss_error)?;
        let dx = host(&dx)?;
        case.near(&format!("{name}_dx_row0"), &dx[..10], error)?;
        let sum = dx.iter().map(|dx| dx.abs()).sum();
        case.near(&format!("{name}_dx_sumabs"), &[sum], error)?;
    }
    Ok(())
}

pub fn backprop_vectorized_norm2(case: &Case) -> Outcome {
    let w = case.input("W")?;
    let x = numbers(&case.vector.inputs["x"]);
    let x = case.real(&[x.len(), 1], &x)?;
    let q = matmul(&w, &x, Transposed::default()).map_err(text)?;
    let f = sum(&mul(&q, &q).map_err(text)?, Axis::Columns).map_err(text)?;
    let dq = scale(2.0, &q).map_err(text)?;
    let dw = matmul(&dq, &x, Transposed { a: false, b: true }).map_err(text)?;
    let dx = matmul(&w, &dq, Transposed { a: true, b: false }).map_err(text)?;
    for (key, tensor) in [("q", q), ("f", f), ("dq", dq), ("dW", dw), ("dx", dx)] {
        case.near(key, &host(&tensor)?, case.stated())?;
    }
    Ok(())
}

/// A notebook's mask: 1 where `rand(n) < p`.
fn mask(random: &mut RandomState, n: usize, p: f64) -> Vec<f64> {
    random.rand(n).into_iter().map(|u| f64::from(u8::from(u < p))).collect()
}

pub fn dropout_forward_stats(case: &Case) -> Outcome {
    let mut random = RandomState::new(231);
    let n = 500 * 500;
    let values: Vec<_> = random.randn(n).into_iter().map(|x| x + 10.0).collect();
    let x = case.real(&[500, 500], &values)?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let zeros = |values: &[f64]| values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
    let expected = &case.vector.expected;
    let double = cs231n_gpu::tolerance::DOUBLE;
    case.near("mean_input", &[mean(&host(&x)?)], double)?;
    for p in [0.25, 0.4, 0.7] {
        let want = &expected[format!("p{p}")];
        let given = Mask::Given(case.real(&[500, 500], &mask(&mut random, n, p))?);
        let mut param = DropoutParam { p, mode: Mode::Train, inverted: true, mask: given };
        let train = host(&layers::dropout_forward(&x, &param).map_err(text)?.0)?;
        param.mode = Mode::Test;
        let test = host(&layers::dropout_forward(&x, &param).map_err(text)?.0)?;
        for (key, got) in
            [("train_mean", mean(&train)), ("frac_zero_train", zeros(&train)), ("test_mean", mean(&test))]
        {
            case.near_to(key, &[got], &numbers(&want[key]), double)?;
        }
        if zeros(&test) != 0.0 || want["frac_zero_test"].as_f64() != Some(0.0) {
            return Err("testing drops elements".into());
        }
    }
    Ok(())
}

pub fn dropout_backward(case: &Case) -> Outcome {
    let p = case.number("p");
    let kept = mask(&mut RandomState::new(case.number("seed") as u32), 100, p);
    let scaled: Vec<_> = kept.iter().map(|kept| kept / p).collect();
    case.near("mask", &scaled, case.stated())?;
    let given = Mask::Given(case.real(&[10, 10], &kept)?);
    let param = DropoutParam { p, mode: Mode::Train, inverted: true, mask: given };
    let (out, cache) = layers::dropout_forward(&case.input("x")?, &param).map_err(text)?;
    let dx = layers::dropout_backward(&case.input("dout")?, cache).map_err(text)?;
    case.near("out", &host(&out)?, case.stated())?;
    case.near("dx", &host(&dx)?, case.stated())
}

pub fn dropout_vanilla_test_scaling(case: &Case) -> Outcome {
    let (h, p) = (case.input("h")?, case.number("p"));
    for inverted in [false, true] {
        for (mode, name) in [(Mode::Train, "train"), (Mode::Test, "test")] {
            let param = DropoutParam { p, mode, inverted, mask: Mask::Given(case.input("mask")?) };
            let (out, _) = layers::dropout_forward(&h, &param).map_err(text)?;
            let form = if inverted { "inverted" } else { "vanilla" };
            case.near(&format!("{name}_{form}"), &host(&out)?, case.stated())?;
        }
    }
    Ok(())
}
