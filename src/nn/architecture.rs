//! What a fully connected net is, without its numbers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::activation::Activation;

/// What follows a hidden layer's affine part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalization {
    /// Nothing.
    #[default]
    None,
    /// Batch normalisation.
    Batch,
    /// Layer normalisation.
    Layer,
}

/// The two forms of the L2 penalty that the course uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegForm {
    /// ½·λ·ΣW², gradient λ·W.
    #[default]
    Half,
    /// λ·ΣW², gradient 2·λ·W.
    Full,
}

impl RegForm {
    /// What ΣW² is multiplied by, for a strength λ.
    pub fn factor(self, lambda: f64) -> f64 {
        match self {
            Self::Half => 0.5 * lambda,
            Self::Full => lambda,
        }
    }
}

/// What is minimised over the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The cross-entropy of their softmax.
    #[default]
    Softmax,
    /// The multiclass SVM loss with this margin Δ.
    Hinge(f64),
    /// The squared distance to the inputs, Σⱼ (fⱼ − xⱼ)²: an autoencoder, which needs no labels.
    Reconstruction,
}

impl Objective {
    /// Whether the outputs are scores of classes, whose truth is a label for each sample.
    pub fn of_labels(self) -> bool {
        self != Self::Reconstruction
    }
}

/// Dropout after every hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HiddenDropout {
    /// The probability to **drop** an element; `1 − p` of the course's `dropout_keep_ratio`.
    pub drop: f64,
    /// Seed of the masks, which also depend on the net's [`step`](super::model::FullyConnectedNet::step) and the layer.
    pub seed: u64,
}

/// A net without its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// D: features of a sample.
    pub inputs: usize,
    /// Neurons of each hidden layer; none makes a linear classifier.
    pub hidden: Vec<usize>,
    /// C: numbers that a sample is turned into: a score for each class, or the D features again. Files of older versions say `classes`.
    #[serde(alias = "classes")]
    pub outputs: usize,
    /// After every hidden layer; the output has none.
    pub activation: Activation,
    /// Before every activation.
    pub normalization: Normalization,
    /// After every activation.
    pub dropout: Option<HiddenDropout>,
    /// What is minimised.
    pub objective: Objective,
    /// What the loss of a row is multiplied by, for each class, where they do not count alike; the mean stays one over all rows.
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// λ of the L2 penalty on the weights; biases, γ and β bear none.
    pub reg: f64,
    /// What λ multiplies.
    pub reg_form: RegForm,
}

impl Architecture {
    /// λ of the penalty ½·λ·ΣW² that the strength and form of this one's make.
    pub(super) fn l2(&self) -> f64 {
        2.0 * self.reg_form.factor(self.reg)
    }

    /// ReLU layers under a softmax, without anything optional.
    pub fn new(inputs: usize, hidden: &[usize], outputs: usize) -> Self {
        Self {
            inputs,
            hidden: hidden.to_vec(),
            outputs,
            activation: Activation::Relu,
            normalization: Normalization::None,
            dropout: None,
            objective: Objective::Softmax,
            class_weights: None,
            reg: 0.0,
            reg_form: RegForm::Half,
        }
    }

    /// An autoencoder of ReLU layers: the encoder's widths, of which the last is the code, and the same backwards to the inputs.
    pub fn autoencoder(inputs: usize, encoder: &[usize]) -> Self {
        let decoder = encoder.iter().rev().skip(1);
        let hidden: Vec<_> = encoder.iter().chain(decoder).copied().collect();
        Self { objective: Objective::Reconstruction, ..Self::new(inputs, &hidden, inputs) }
    }

    /// The hidden layers that turn inputs into features: those up to the code of an autoencoder, all of a classifier.
    pub fn encoder(&self) -> &[usize] {
        match self.objective {
            Objective::Reconstruction => &self.hidden[..self.hidden.len().div_ceil(2)],
            Objective::Softmax | Objective::Hinge(_) => &self.hidden,
        }
    }

    /// Checks that an autoencoder has a code, mirrored layers and its inputs for outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] with the widths.
    pub(super) fn check(&self) -> Result<()> {
        if self.objective.of_labels() {
            return Ok(());
        }
        let mirrored = self.hidden.iter().eq(self.hidden.iter().rev());
        if self.hidden.len() % 2 == 1 && mirrored && self.outputs == self.inputs {
            return Ok(());
        }
        Err(Error::shape(
            "autoencoder",
            format!("{} inputs, hidden layers of {:?}, {} outputs", self.inputs, self.hidden, self.outputs),
            "give an odd number of hidden layers that read the same backwards, and as many outputs as inputs",
        ))
    }

    /// Numbers in all parameters.
    pub fn elements(&self) -> usize {
        self.parameters().0.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Names and shapes of all parameters in the order of [`Parameters`](super::parameters::Parameters), and how many of them are weights.
    pub fn parameters(&self) -> (Vec<(String, Vec<usize>)>, usize) {
        let widths: Vec<_> = [&[self.inputs][..], &self.hidden, &[self.outputs]].concat();
        let layers = widths.len() - 1;
        let mut all: Vec<_> =
            (0..layers).map(|i| (format!("W{}", i + 1), vec![widths[i], widths[i + 1]])).collect();
        for i in 0..layers {
            let width = vec![widths[i + 1]];
            all.push((format!("b{}", i + 1), width.clone()));
            if i + 1 < layers && self.normalization != Normalization::None {
                all.push((format!("gamma{}", i + 1), width.clone()));
                all.push((format!("beta{}", i + 1), width));
            }
        }
        (all, layers)
    }
}

/// How weights start. Biases and β start at 0, γ at 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation: the course's `weight_scale`.
    Normal(f64),
    /// √(2 / inputs), for ReLUs (He et al. 2015, arXiv:1502.01852).
    He,
    /// √(2 / (inputs + outputs)) (Glorot & Bengio 2010).
    Xavier,
}

impl Init {
    pub(super) fn deviation(self, inputs: usize, outputs: usize) -> f64 {
        match self {
            Self::Normal(deviation) => deviation,
            Self::He => (2.0 / inputs.max(1) as f64).sqrt(),
            Self::Xavier => (2.0 / (inputs + outputs).max(1) as f64).sqrt(),
        }
    }
}
