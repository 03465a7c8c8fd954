//! Learned features for another net: its first layers start as the hidden layers of a trained one (course notes, "Transfer Learning";
//! generative models, where an encoder trained without labels is the start of a classifier).

use super::model::{FullyConnectedNet, Normalization};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::tensor::Tensor;

const NAME: &str = "transfer";

/// `net` with its first hidden layers as those of the [encoder](super::model::Architecture::encoder) of `from`: weights, biases, γ, β and
/// running moments, of as many layers as both have. Its other layers stay as they are. Returns also the number of layers taken over.
///
/// # Errors
/// [`Error::Shape`] when `from` has no hidden layer, or when inputs, widths, activation or normalisation of the shared layers differ;
/// [`Error::Device`] when a device fails.
pub fn transfer(net: &FullyConnectedNet, from: &FullyConnectedNet) -> Result<(FullyConnectedNet, usize)> {
    let (to, own) = (net.architecture(), from.architecture());
    let refuse = |problem: String, hint: String| Err(Error::shape(NAME, problem, hint));
    let widths = own.encoder();
    if widths.is_empty() {
        return refuse(
            "a net without a hidden layer has no features to take over".into(),
            "name an autoencoder, or a net with hidden layers".into(),
        );
    }
    if to.inputs != own.inputs {
        return refuse(
            format!("rows of {} features, the trained net takes {}", to.inputs, own.inputs),
            "give rows like those that it was trained on".into(),
        );
    }
    if let Some(i) = widths.iter().zip(&to.hidden).position(|(own, to)| own != to) {
        let (wanted, found) = (listed(widths), listed(&to.hidden));
        return refuse(
            format!(
                "hidden layer {} has {} neurons, that of the trained net {}",
                i + 1,
                to.hidden[i],
                widths[i]
            ),
            format!("begin --hidden like the trained net's {wanted}; {found} does not"),
        );
    }
    if to.activation != own.activation {
        let [to, own] = [to.activation, own.activation].map(named);
        return refuse(
            format!("hidden layers with {to}, those of the trained net have {own}"),
            format!("give --activation {own}"),
        );
    }
    if to.normalization != own.normalization {
        let [to, own] = [to.normalization, own.normalization].map(normalized);
        return refuse(
            format!("hidden layers with {to}, those of the trained net have {own}"),
            format!("use {own}, or train an encoder with {to}"),
        );
    }
    let layers = widths.len().min(to.hidden.len());
    let device = net.device();
    let mut named = Vec::new();
    for (name, tensor) in net.parameters.tensors()? {
        let layer: usize =
            name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX);
        let tensor = if layer <= layers { from.parameters.get(name)? } else { tensor };
        named.push((name.to_owned(), tensor.shape().to_vec(), tensor.to_f64()?));
    }
    let mut made = FullyConnectedNet::from_values(&device, to.clone(), named)?;
    for (norm, trained) in made.norms.iter_mut().zip(&from.norms).take(layers) {
        if let Some(moments) = &trained.moments {
            norm.moments = Some(Tensor::from_f64(&device, moments.shape(), &moments.to_f64()?)?);
        }
    }
    Ok((made, layers))
}

fn listed(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn named(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::LeakyRelu(_) => "leaky-relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
    }
}

fn normalized(normalization: Normalization) -> &'static str {
    match normalization {
        Normalization::None => "no normalisation",
        Normalization::Batch => "batch normalisation",
        Normalization::Layer => "layer normalisation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::nn::model::{Architecture, Init};
    use crate::rng::numpy::RandomState;

    fn net(architecture: Architecture, seed: u32) -> FullyConnectedNet {
        FullyConnectedNet::new(&Device::Cpu, architecture, Init::He, &mut RandomState::new(seed))
            .expect("a net")
    }

    fn values(net: &FullyConnectedNet, name: &str) -> Vec<f64> {
        net.parameters.get(name).and_then(|tensor| tensor.to_f64()).expect("a parameter")
    }

    #[test]
    fn the_encoder_is_taken_over_and_nothing_else() {
        let encoder = net(Architecture::autoencoder(5, &[4, 3]), 1);
        let fresh = net(Architecture::new(5, &[4, 3, 6], 2), 2);
        let (made, layers) = transfer(&fresh, &encoder).expect("nets that fit");
        assert_eq!(layers, 2);
        for name in ["W1", "b1", "W2", "b2"] {
            assert_eq!(values(&made, name), values(&encoder, name), "{name}");
        }
        for name in ["W3", "b3", "W4", "b4"] {
            assert_eq!(values(&made, name), values(&fresh, name), "{name}");
        }
        assert_ne!(values(&made, "W1"), values(&fresh, "W1"));
        // An mlp lends all its hidden layers; a shorter net takes what it has.
        let (made, layers) = transfer(&net(Architecture::new(5, &[4], 2), 3), &fresh).expect("nets that fit");
        assert_eq!((layers, values(&made, "W1")), (1, values(&fresh, "W1")));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let encoder = net(Architecture::autoencoder(5, &[4, 3]), 1);
        let other = |change: &dyn Fn(Architecture) -> Architecture| {
            let fresh = net(change(Architecture::new(5, &[4, 3], 2)), 2);
            transfer(&fresh, &encoder).expect_err("nets that do not fit").to_string()
        };
        assert!(
            other(&|net| Architecture { inputs: 6, ..net })
                .contains("rows of 6 features, the trained net takes 5")
        );
        assert!(other(&|net| Architecture { hidden: vec![4, 7], ..net }).contains("layer 2 has 7 neurons"));
        assert!(other(&|net| Architecture { activation: Activation::Tanh, ..net }).contains("with tanh"));
        assert!(other(&|net| Architecture { normalization: Normalization::Batch, ..net }).contains("batch"));
        let linear = net(Architecture::new(5, &[], 2), 1);
        assert!(transfer(&linear, &linear).is_err());
    }
}
