//! Nets as problems: their loss in all their parameters.

use super::layers::{margins, passes};
use super::{Evaluation, Input, Problem, normals};
use crate::device::Device;
use crate::error::Result;
use crate::nn::model::{Architecture, FullyConnectedNet, HiddenDropout, Normalization, Objective, RegForm};
use crate::ops::activation::Activation;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;
use crate::tolerance::Chain;

const SAMPLES: usize = 8;
const FEATURES: usize = 7;
const CLASSES: usize = 4;
const REG: f64 = 0.7;
/// Of the classes, where the loss is a hinge: its derivatives are counts, which would cancel to nothing but rounding here and there.
const WEIGHTS: [f64; CLASSES] = [1.0, 0.8313, 1.2717, 0.9391];

fn architecture(name: &str) -> Option<(&'static str, Architecture)> {
    let net = |hidden: &[usize]| Architecture { reg: REG, ..Architecture::new(FEATURES, hidden, CLASSES) };
    let dropout = Some(HiddenDropout { drop: 0.25, seed: 123 });
    Some(match name {
        "softmax_classifier" => ("softmax_classifier", Architecture { reg_form: RegForm::Full, ..net(&[]) }),
        "svm_classifier" => {
            let objective = Objective::Hinge(1.0);
            let class_weights = Some(WEIGHTS.to_vec());
            ("svm_classifier", Architecture { objective, class_weights, reg_form: RegForm::Full, ..net(&[]) })
        }
        "two_layer_net" => ("two_layer_net", net(&[6])),
        "two_layer_net_toy" => ("two_layer_net_toy", Architecture { reg_form: RegForm::Full, ..net(&[6]) }),
        "fully_connected_net" => {
            let normalization = Normalization::Batch;
            ("fully_connected_net", Architecture { normalization, dropout, ..net(&[6, 5, 6]) })
        }
        "fully_connected_net_layernorm" => {
            let (normalization, activation) = (Normalization::Layer, Activation::LeakyRelu(0.01));
            let objective = Objective::Hinge(1.0);
            let class_weights = Some(WEIGHTS.to_vec());
            let net = Architecture {
                normalization,
                activation,
                objective,
                class_weights,
                dropout,
                ..net(&[6, 5, 6])
            };
            ("fully_connected_net_layernorm", net)
        }
        "fully_connected_net_tanh" => {
            ("fully_connected_net_tanh", Architecture { activation: Activation::Tanh, ..net(&[6, 5, 6]) })
        }
        "autoencoder" => {
            let net = Architecture::autoencoder(FEATURES, &[6, 3]);
            ("autoencoder", Architecture { reg: REG, activation: Activation::Tanh, ..net })
        }
        _ => return None,
    })
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [
        "softmax_classifier",
        "svm_classifier",
        "two_layer_net",
        "two_layer_net_toy",
        "fully_connected_net",
        "fully_connected_net_layernorm",
        "fully_connected_net_tanh",
        "autoencoder",
    ]
    .into_iter()
}

pub(super) fn problem(name: &str, seed: u64) -> Option<Result<Problem>> {
    let (name, architecture) = architecture(name)?;
    Some(Ok(of(name, architecture.clone(), architecture, seed)))
}

/// A net like this one with few neurons, whose every derivative can be checked, and with a penalty that shows.
pub(super) fn small(architecture: &Architecture, seed: u64) -> Problem {
    let inputs = architecture.inputs.min(FEATURES);
    let labelled = architecture.objective.of_labels();
    let outputs = if labelled { architecture.outputs.min(CLASSES) } else { inputs };
    let weights = architecture.class_weights.as_ref();
    let small = Architecture {
        inputs,
        hidden: architecture.hidden.iter().map(|&width| width.min(6)).collect(),
        outputs,
        class_weights: weights.map(|weights| weights.iter().copied().take(outputs).collect()),
        reg: REG,
        ..architecture.clone()
    };
    of("fully_connected_net", small.clone(), small, seed)
}

/// The mistake that the course's two conventions invite: the loss has the penalty of one form, the gradient that of the other.
#[cfg(test)]
pub(super) fn with_the_penalty_of_the_other_form(seed: u64) -> Result<Problem> {
    let half = Architecture { reg: REG, ..Architecture::new(FEATURES, &[6], CLASSES) };
    let full = Architecture { reg_form: RegForm::Full, ..half.clone() };
    Ok(of("two_layer_net", half, full, seed))
}

/// The loss of one architecture and the gradient of another, which is the same unless a test plants a mistake.
fn of(name: &'static str, evaluated: Architecture, differentiated: Architecture, seed: u64) -> Problem {
    let mut random = RandomState::new(seed as u32);
    let (parameters, _) = evaluated.parameters();
    let inputs = parameters.into_iter().map(|(name, shape)| {
        let mut values = normals(&mut random, shape.iter().product());
        // Of the size that trained parameters have, none at its special starting value.
        let (center, scale) = match (name.as_bytes()[0], shape.first()) {
            (b'W', Some(&inputs)) => (0.0, (2.0 / inputs as f64).sqrt()),
            (b'g', _) => (1.0, 0.2),
            _ => (0.0, 0.2),
        };
        values.iter_mut().for_each(|value| *value = f64::from((center + scale * *value) as f32));
        Input { name, shape, values }
    });
    let inputs: Vec<_> = inputs.collect();
    let names: Vec<_> = inputs.iter().map(|input| input.name.clone()).collect();
    let (features, outputs) = (evaluated.inputs, evaluated.outputs);
    let labelled = evaluated.objective.of_labels();
    let x = normals(&mut random, SAMPLES * features);
    let y: Vec<_> = (0..SAMPLES).map(|i| (i * 7 % outputs) as u32).collect();
    let chain = match evaluated.normalization {
        Normalization::None => Chain::Plain,
        _ => Chain::Normalized,
    };
    let net = move |architecture: &Architecture, tensors: &[Tensor]| {
        let device = tensors.first().map_or(Device::Reference, Tensor::device);
        let named = names.iter().cloned().zip(tensors.iter().cloned()).collect();
        let net = FullyConnectedNet::from_parameters(architecture.clone(), named)?;
        let x = Tensor::from_f64(&device, &[SAMPLES, features], &x)?;
        let y = if labelled { Tensor::from_u32(&device, &[SAMPLES], &y)? } else { x.clone() };
        Ok::<_, crate::Error>((net, x, y))
    };
    let same = net.clone();
    Problem {
        name,
        inputs,
        chain,
        evaluate: Box::new(move |tensors| {
            let (mut net, x, y) = net(&evaluated, tensors)?;
            let decisions = decisions(&net, &x, &y)?;
            let loss = net.loss(&x, &y)?.0.value()?;
            Ok(Evaluation { loss, decisions })
        }),
        gradients: Box::new(move |tensors| {
            let (mut net, x, y) = same(&differentiated, tensors)?;
            let gradients = net.loss(&x, &y)?.1;
            Ok(gradients.tensors()?.into_iter().map(|(_, gradient)| gradient).collect())
        }),
    }
}

/// What every ReLU and every margin decides in a forward pass.
fn decisions(net: &FullyConnectedNet, x: &Tensor, y: &Tensor) -> Result<Vec<bool>> {
    let forward = net.training_pass(x)?;
    let mut all = Vec::new();
    for activation in &forward.activations {
        if matches!(net.architecture().activation, Activation::Relu | Activation::LeakyRelu(_)) {
            all.extend(passes(activation)?);
        }
    }
    if let Objective::Hinge(delta) = net.architecture().objective {
        all.extend(margins(&forward.scores, y, delta)?);
    }
    Ok(all)
}
