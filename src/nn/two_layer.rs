//! The two-layer net (assignment 1): affine – ReLU – affine – softmax.

use super::layers::Loss;
use super::model::{Architecture, FullyConnectedNet, Init, RegForm};
use super::parameters::Parameters;
use crate::device::Device;
use crate::error::Result;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;

/// A [`FullyConnectedNet`] with one hidden layer, with the conventions of both editions of the assignment.
#[derive(Debug, Clone)]
pub struct TwoLayerNet {
    /// The net.
    pub net: FullyConnectedNet,
}

impl TwoLayerNet {
    /// Since 2021: the penalty is ½·λ·ΣW². `widths` are features, hidden neurons, classes; weights are `weight_scale`·randn, drawn W1 first
    /// (the course's default is 1e-3).
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device cannot take the parameters.
    pub fn new(
        device: &Device,
        widths: [usize; 3],
        weight_scale: f64,
        reg: f64,
        random: &mut RandomState,
    ) -> Result<Self> {
        let architecture = architecture(widths, reg, RegForm::Half);
        Ok(Self { net: FullyConnectedNet::new(device, architecture, Init::Normal(weight_scale), random)? })
    }

    /// From 2018 to 2020 (`neural_net.py`): the penalty is λ·ΣW², without the ½. Weights are `std`·randn, drawn W1 first (the course's
    /// default is 1e-4, the toy net's 1e-1).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn toy(
        device: &Device,
        widths: [usize; 3],
        std: f64,
        reg: f64,
        random: &mut RandomState,
    ) -> Result<Self> {
        let Self { net } = Self::new(device, widths, std, 0.0, random)?;
        Ok(Self { net: net.with_reg(reg, RegForm::Full) })
    }

    /// A net with these parameters: W1, b1, W2, b2.
    ///
    /// # Errors
    /// As [`FullyConnectedNet::from_parameters`].
    pub fn from_parameters(
        widths: [usize; 3],
        named: Vec<(String, Tensor)>,
        reg: f64,
        form: RegForm,
    ) -> Result<Self> {
        Ok(Self { net: FullyConnectedNet::from_parameters(architecture(widths, reg, form), named)? })
    }

    /// W1, W2, b1, b2.
    pub fn parameters(&self) -> &Parameters {
        &self.net.parameters
    }

    /// As [`FullyConnectedNet::scores`].
    ///
    /// # Errors
    /// As [`FullyConnectedNet::scores`].
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        self.net.scores(x)
    }

    /// As [`FullyConnectedNet::predict`].
    ///
    /// # Errors
    /// As [`FullyConnectedNet::scores`].
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.net.predict(x)
    }

    /// As [`FullyConnectedNet::loss`].
    ///
    /// # Errors
    /// As [`FullyConnectedNet::loss`].
    pub fn loss(&mut self, x: &Tensor, y: &Tensor) -> Result<(Loss, Parameters)> {
        self.net.loss(x, y)
    }
}

fn architecture([inputs, hidden, classes]: [usize; 3], reg: f64, reg_form: RegForm) -> Architecture {
    Architecture { reg, reg_form, ..Architecture::new(inputs, &[hidden], classes) }
}
