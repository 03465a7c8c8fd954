//! Two-layer and fully connected nets.

use cs231n_gpu::nn::gradcheck::{Evaluation, Scheme, differences};
use cs231n_gpu::nn::model::{Architecture, FullyConnectedNet, Normalization, RegForm};
use cs231n_gpu::nn::parameters::Parameters;
use cs231n_gpu::nn::two_layer::TwoLayerNet;
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::tolerance::{DOUBLE, largest_error, relative_error};
use cs231n_gpu::{Device, Tensor};

use crate::support::{Case, Outcome, host, integers, linspace, numbers, text};

type Named = Vec<(String, Tensor)>;

fn named(case: &Case, values: &[(&str, &[usize], Vec<f64>)]) -> Result<Named, String> {
    values.iter().map(|(name, shape, values)| Ok(((*name).to_owned(), case.real(shape, values)?))).collect()
}

/// Σ|got − want|, the notebooks' check of scores; elsewhere than on the reference the policy of 32 bit.
fn scores(case: &Case, got: &Tensor, stated: f64) -> Outcome {
    let (got, want) = (host(got)?, numbers(&case.vector.expected["correct_scores"]));
    if !case.on_reference() {
        return case.near("correct_scores", &got, stated);
    }
    let apart: f64 = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).sum();
    if got.len() == want.len() && apart < stated { Ok(()) } else { Err(format!("scores are {apart:e} off")) }
}

/// The analytic gradient of every parameter against centred differences, on the reference alone.
fn gradcheck(case: &Case, net: &TwoLayerNet, x: &Tensor, y: &Tensor, stated: f64) -> Outcome {
    if !case.on_reference() {
        return Ok(());
    }
    let (_, gradients) = net.clone().loss(x, y).map_err(text)?;
    for (name, w) in net.parameters().tensors().map_err(text)? {
        let mut moved = net.clone();
        let numeric = differences(Scheme::Centered, 1e-5, &host(&w)?, |values| {
            let tensor = Tensor::from_f64(&Device::Reference, w.shape(), values)?;
            moved.net.parameters.set(name, &tensor)?;
            let loss = moved.loss(x, y)?.0.value()?;
            Ok(Evaluation { loss, decisions: Vec::new() })
        })
        .map_err(text)?;
        let analytic = host(&gradients.get(name).map_err(text)?)?;
        let errors = analytic.iter().zip(&numeric).map(|(a, n)| relative_error(*a, n.value));
        let worst = errors.fold(0.0, f64::max);
        if worst > stated {
            return Err(format!("gradient check of {name}: {worst:e} above {stated:e}"));
        }
    }
    Ok(())
}

fn toy(case: &Case) -> Result<(TwoLayerNet, Tensor, Tensor), String> {
    let inputs = case.inputs_of("two_layer_net_toy");
    let reg = inputs["reg"].as_f64().ok_or("no reg")?;
    // The notebook's own initialisation.
    let mut random = RandomState::new(0);
    let net = TwoLayerNet::toy(&case.device, [4, 10, 3], 1e-1, reg, &mut random).map_err(text)?;
    let x: Vec<_> = RandomState::new(1).randn(20).into_iter().map(|x| 10.0 * x).collect();
    for (name, tensor) in net.parameters().tensors().map_err(text)? {
        case.near_to(name, &host(&tensor)?, &numbers(&inputs[name]), 0.0)?;
    }
    case.near_to("X", &x, &numbers(&inputs["X"]), 0.0)?;
    Ok((net, case.real(&[5, 4], &x)?, case.labels(&integers(&inputs["y"]))?))
}

pub fn two_layer_net_toy(case: &Case) -> Outcome {
    // "sum|scores-correct|<1e-7; |loss-correct|<1e-12; gradcheck rel err <1e-8 each (f64)"
    let [scores_error, loss_error, gradient_error] = case.vector.stated()[..] else {
        return Err("three tolerances".into());
    };
    let (mut net, x, y) = toy(case)?;
    scores(case, &net.scores(&x).map_err(text)?, scores_error)?;
    let loss = net.loss(&x, &y).map_err(text)?.0.value().map_err(text)?;
    case.near_absolutely("correct_loss", loss, loss_error)?;
    gradcheck(case, &net, &x, &y, gradient_error)
}

pub fn two_layer_net_toy_grads(case: &Case) -> Outcome {
    let (mut net, x, y) = toy(case)?;
    let (_, gradients) = net.loss(&x, &y).map_err(text)?;
    for (name, gradient) in gradients.tensors().map_err(text)? {
        case.near(&format!("d{name}"), &host(&gradient)?, case.stated())?;
    }
    Ok(())
}

pub fn two_layer_net_linspace(case: &Case) -> Outcome {
    let [n, d, h, c] = ["N", "D", "H", "C"].map(|key| case.number(key) as usize);
    let parameters = named(
        case,
        &[
            ("W1", &[d, h], linspace(-0.7, 0.3, d * h)),
            ("b1", &[h], linspace(-0.1, 0.9, h)),
            ("W2", &[h, c], linspace(-0.3, 0.4, h * c)),
            ("b2", &[c], linspace(-0.9, 0.1, c)),
        ],
    )?;
    // .reshape(D, N).T
    let columns = linspace(-5.5, 4.5, n * d);
    let rows: Vec<_> = (0..n * d).map(|i| columns[i % d * n + i / d]).collect();
    let (x, y) = (case.real(&[n, d], &rows)?, case.input_labels("y")?);
    // "sum|diff|<1e-6; loss <1e-10 (f64); gradcheck ~1e-7 at reg 0 and 0.7"
    let [scores_error, loss_error, gradient_error] = case.vector.stated()[..3] else {
        return Err("three tolerances".into());
    };
    let net = TwoLayerNet::from_parameters([d, h, c], parameters, 0.0, RegForm::Half).map_err(text)?;
    let with = |reg| TwoLayerNet { net: net.net.clone().with_reg(reg, RegForm::Half) };
    scores(case, &net.scores(&x).map_err(text)?, scores_error)?;
    for (key, reg) in [("loss_reg0", 0.0), ("loss_reg1", 1.0)] {
        let loss = with(reg).loss(&x, &y).map_err(text)?.0.value().map_err(text)?;
        case.near_absolutely(key, loss, loss_error)?;
    }
    for reg in [0.0, 0.7] {
        gradcheck(case, &with(reg), &x, &y, gradient_error)?;
    }
    Ok(())
}

/// {affine – [norm] – relu} × 2 – affine – softmax on 15 → 20 → 30 → 10, twice: without a penalty and with a large one.
pub fn fc_net(case: &Case) -> Outcome {
    let inputs = &case.vector.inputs;
    let normalization = match inputs["case0"]["norm"].as_str() {
        None => Normalization::None,
        Some("batchnorm") => Normalization::Batch,
        Some("layernorm") => Normalization::Layer,
        Some(other) => return Err(format!("no normalisation {other}")),
    };
    let mut random = RandomState::new(231);
    let x = random.randn(2 * 15);
    let y = random.randint(10, 2).map_err(text)?;
    case.near_to("X", &x, &numbers(&inputs["X"]), 0.0)?;
    let (x, y) = (case.real(&[2, 15], &x)?, case.labels(&y)?);
    for index in 0..2 {
        let reg = inputs[format!("case{index}")]["reg"].as_f64().ok_or("no reg")?;
        let architecture = Architecture { normalization, reg, ..Architecture::new(15, &[20, 30], 10) };
        let init = cs231n_gpu::nn::model::Init::Normal(5e-2);
        let mut net = FullyConnectedNet::new(&case.device, architecture, init, &mut random).map_err(text)?;
        for (name, tensor) in net.parameters.tensors().map_err(text)? {
            let listed = &inputs[format!("case{index}_{name}")];
            if listed.is_object() {
                case.near_to(name, &host(&tensor)?, &numbers(listed), 0.0)?;
            }
        }
        let (loss, gradients) = net.loss(&x, &y).map_err(text)?;
        let loss = loss.value().map_err(text)?;
        case.near(&format!("case{index}_loss"), &[loss], DOUBLE)?;
        check_gradients(case, index, &gradients)?;
    }
    Ok(())
}

/// Gradients that the vector lists, and the norms of all. The gradient of a bias before a batch normalisation is 0 but for rounding:
/// it has no relative error, so errors are shares of the largest norm.
fn check_gradients(case: &Case, index: usize, gradients: &Parameters) -> Outcome {
    let expected = &case.vector.expected;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (name, gradient) in gradients.tensors().map_err(text)? {
        let values = host(&gradient)?;
        let listed = &expected[format!("case{index}_d{name}")];
        if listed.is_object() {
            case.near_to(name, &values, &numbers(listed), 1e-8)?;
        }
        got.push(values.iter().map(|x| x * x).sum::<f64>().sqrt());
        want.push(expected[format!("case{index}_gradnorm_{name}")].as_f64().ok_or("a norm is not listed")?);
    }
    if !case.on_reference() {
        return case.near_to("norms of gradients", &got, &want, DOUBLE);
    }
    let error = largest_error(&got, &want, &want);
    if error <= DOUBLE { Ok(()) } else { Err(format!("norms of gradients: {error:e}")) }
}
