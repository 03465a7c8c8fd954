//! Vectors that no device takes part in: the generator, circuits, numeric gradients.

use cs231n_gpu::classify::linear::{Samples, softmax_loss_vectorized, svm_loss_naive};
use cs231n_gpu::nn::gradcheck::{Evaluation, Scheme, differences};
use cs231n_gpu::nn::notes::{Neuron, sigmoid_neuron, staged, sum_times};
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::{Device, Tensor};

use crate::support::{Case, Outcome, numbers, text};

pub fn numpy_legacy_rng(case: &Case) -> Outcome {
    let expected = case.vector.expected.as_object().ok_or("no expected values")?;
    let exact = |key: &str, got: Vec<f64>| match numbers(&expected[key]) == got {
        true => Ok(()),
        false => Err(format!("{key}: got {got:?}, want {}", expected[key])),
    };
    let whole = |values: Vec<u32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    for key in expected.keys() {
        if key == "then_randn2" {
            // Part of the mixed draw below.
            continue;
        }
        let (seed, what) = key.strip_prefix("seed").and_then(|rest| rest.split_once('_')).ok_or("no seed")?;
        let mut random = RandomState::new(seed.parse().map_err(text)?);
        let got = match what {
            "first_u32_x5" => whole((0..5).map(|_| random.next_u32()).collect()),
            "rand5" => random.rand(5),
            "randn7" => random.randn(7),
            "randint10_size8" => whole(random.randint(10, 8).map_err(text)?),
            "choice100_size8_replace" => whole(random.choice(100, 8, true).map_err(text)?),
            "permutation8" => whole(random.permutation(8)),
            "randn3_then_randint10_size4" => {
                random.randn(3);
                let integers = random.randint(10, 4).map_err(text)?;
                // The second of a pair of Gaussians waits while integers are drawn.
                exact("then_randn2", random.randn(2))?;
                whole(integers)
            }
            _ => return Err(format!("nobody knows how {key} was drawn")),
        };
        exact(key, got)?;
    }
    Ok(())
}

pub fn backprop_xyz(case: &Case) -> Outcome {
    let [x, y, z] = ["x", "y", "z"].map(|key| case.number(key));
    let (f, [dx, dy, dz]) = sum_times(x, y, z);
    for (key, got) in [("q", x + y), ("f", f), ("dfdx", dx), ("dfdy", dy), ("dfdz", dz)] {
        case.near_absolutely(key, got, case.stated())?;
    }
    Ok(())
}

pub fn backprop_sigmoid_neuron(case: &Case) -> Outcome {
    let of = |key: &str| numbers(&case.vector.inputs[key]);
    let (w, x) = (of("w"), of("x"));
    let w: [f64; 3] = w.try_into().map_err(|_| "three weights")?;
    let x: [f64; 2] = x.try_into().map_err(|_| "two inputs")?;
    let (f, dw, dx) = sigmoid_neuron(w, x);
    let neuron = Neuron { weights: w[..2].to_vec(), bias: w[2] };
    case.near("dot", &[neuron.cell_body_sum(&x)], case.stated())?;
    case.near("f", &[f], case.stated())?;
    // The bias has the gradient of the sum itself.
    case.near("ddot", &[dw[2]], case.stated())?;
    case.near("dw", &dw, case.stated())?;
    case.near("dx", &dx, case.stated())
}

pub fn backprop_staged_xy(case: &Case) -> Outcome {
    let (f, [dx, dy]) = staged(case.number("x"), case.number("y"));
    case.near("f", &[f], case.stated())?;
    case.near("dx", &[dx], case.stated())?;
    case.near("dy", &[dy], case.stated())
}

pub fn neuron_forward(case: &Case) -> Outcome {
    let inputs = numbers(&case.vector.inputs["inputs"]);
    let neuron = Neuron { weights: numbers(&case.vector.inputs["weights"]), bias: case.number("bias") };
    case.near("cell_body_sum", &[neuron.cell_body_sum(&inputs)], case.stated())?;
    case.near("firing_rate", &[neuron.forward(&inputs)], case.stated())
}

/// W (6 × 4), X (8 × 6), y.
type Inputs = (Vec<f64>, Vec<f64>, Vec<u32>);

/// The inputs that the gradient checks call `linear_svm_random`. The file does not list them; drawn in this order they give its analytic
/// gradient to the last digit.
fn linear_svm_random() -> Result<Inputs, String> {
    let mut random = RandomState::new(231);
    let (w, x) = (random.randn(6 * 4), random.randn(8 * 6));
    Ok((w, x, random.randint(4, 8).map_err(text)?))
}

pub fn numerical_gradient_svm(case: &Case) -> Outcome {
    let (w, x, y) = linear_svm_random()?;
    let samples = Samples { x: &x, y: &y, classes: 4 };
    let f = |w: &[f64]| {
        let loss = svm_loss_naive(w, samples, 0.0).0;
        Ok(Evaluation { loss, decisions: Vec::new() })
    };
    let analytic = svm_loss_naive(&w, samples, 0.0).1;
    case.near("analytic", &analytic, cs231n_gpu::tolerance::DOUBLE)?;
    let h = case.number("h");
    for (key, scheme) in [("forward_difference", Scheme::Forward), ("centered", Scheme::Centered)] {
        let found = differences(scheme, h, &w, f).map_err(text)?;
        let values: Vec<_> = found.iter().map(|difference| difference.value).collect();
        case.near(key, &values, case.stated())?;
        case.near_to("centered vs analytic", &values, &analytic, case.stated())?;
    }
    Ok(())
}

/// Information in the file; what it shows holds for this library's 32 bit too: no h does what the official one does in 64 bit.
pub fn f32_gradient_check_by_h(case: &Case) -> Outcome {
    let (w, x, y) = linear_svm_random()?;
    let tensors = |device: &Device| -> cs231n_gpu::Result<_> {
        Ok((Tensor::from_f64(device, &[8, 6], &x)?, Tensor::from_u32(device, &[8], &y)?))
    };
    // ‖numeric − analytic‖ / (‖numeric‖ + ‖analytic‖).
    let error = |device: &Device, h: f64| -> cs231n_gpu::Result<f64> {
        let (x, y) = tensors(device)?;
        let loss = |w: &[f64]| softmax_loss_vectorized(&Tensor::from_f64(device, &[6, 4], w)?, &x, &y, 0.0);
        let f = |w: &[f64]| {
            let loss = loss(w)?.0.value()?;
            Ok(Evaluation { loss, decisions: Vec::new() })
        };
        let numeric = differences(Scheme::Centered, h, &w, f)?;
        let analytic = loss(&w)?.1.to_f64()?;
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let apart = norm(&mut numeric.iter().zip(&analytic).map(|(numeric, exact)| numeric.value - exact));
        Ok(apart / (norm(&mut numeric.iter().map(|d| d.value)) + norm(&mut analytic.iter().copied())))
    };
    let steps = case.vector.expected.as_object().ok_or("no steps")?;
    let best = steps.iter().filter_map(|(_, found)| found["norm_rel_error"].as_f64()).fold(1.0, f64::min);
    for h in steps.keys() {
        let h: f64 = h.parse().map_err(text)?;
        let (narrow, wide) =
            (error(&Device::Cpu, h).map_err(text)?, error(&Device::Reference, h).map_err(text)?);
        // In 32 bit, h = 1e-5 is worse than the best by orders of magnitude; in 64 bit it is the best.
        if h <= 1e-5 && !(narrow > 10.0 * best && wide < 1e-8) {
            return Err(format!("h = {h:e}: error {narrow:e} in 32 bit, {wide:e} in 64 bit"));
        }
        if (1e-2..1e-1).contains(&h) && narrow > 1e-3 {
            return Err(format!("h = {h:e}: error {narrow:e} in 32 bit"));
        }
    }
    Ok(())
}
