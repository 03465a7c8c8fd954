//! The fully connected net: {affine – \[normalisation\] – activation – \[dropout\]} × (L − 1) – affine – loss.

pub use super::architecture::{Architecture, HiddenDropout, Init, Normalization, Objective, RegForm};
use super::layers::{BatchNormParam, Loss, Mode};
use super::parameters::{Named, Parameters};
use super::pass::Forward;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::cross_entropy::cross_entropy_grouped;
use crate::ops::dropout::Drops;
use crate::ops::elementwise::axpy_into;
use crate::ops::hinge_loss::hinge_loss_grouped;
use crate::ops::losses::Losses;
use crate::ops::reduce::{Axis, argmax};
use crate::ops::squared_error::squared_error;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;

const NAME: &str = "net";

/// ε of the normalisations.
pub(super) const EPSILON: f64 = 1e-5;

/// The net (assignment 2, `FullyConnectedNet`): any number of hidden layers on any device.
#[derive(Debug, Clone)]
pub struct FullyConnectedNet {
    architecture: Architecture,
    /// Of the classes, where they do not count alike.
    class_weights: Option<Tensor>,
    /// W1, W2, …, then b1, gamma1, beta1, b2, …
    pub parameters: Parameters,
    /// The running moments of each hidden layer, where batches are normalised.
    pub norms: Vec<BatchNormParam>,
    /// What the dropout masks depend on besides seed and layer; a trainer counts it up.
    pub step: u32,
    /// What each drops of the nets that stand side by side, where it is a [team](super::team) of them.
    pub(super) team: Option<Drops>,
}

/// What a forward pass in training computes.
#[derive(Debug, Clone)]
pub struct TrainingPass {
    /// N × C.
    pub scores: Tensor,
    /// The output of every hidden layer's activation, before dropout.
    pub activations: Vec<Tensor>,
}

impl FullyConnectedNet {
    /// A net with weights drawn from `random` in the order W1, W2, …, as the notebooks draw theirs.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot take them.
    pub fn new(
        device: &Device,
        architecture: Architecture,
        init: Init,
        random: &mut RandomState,
    ) -> Result<Self> {
        let mut named = Vec::new();
        for (name, shape) in architecture.parameters().0 {
            let values = match *shape.as_slice() {
                [inputs, outputs] => {
                    let deviation = init.deviation(inputs, outputs);
                    random.randn(inputs * outputs).into_iter().map(|x| deviation * x).collect()
                }
                _ => vec![if name.starts_with("gamma") { 1.0 } else { 0.0 }; shape.iter().product()],
            };
            named.push((name, shape, values));
        }
        Self::from_values(device, architecture, named)
    }

    /// A net with these parameters, in any order.
    ///
    /// # Errors
    /// [`Error::Shape`] naming a parameter that is missing, unknown or of a wrong shape, when there is not one weight for each class, or when
    /// an autoencoder's layers are not mirrored.
    pub fn from_parameters(architecture: Architecture, named: Vec<(String, Tensor)>) -> Result<Self> {
        let device = named.first().map_or(Device::Cpu, |(_, tensor)| tensor.device());
        let values = Tensor::read_all(&named.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>())?;
        let shaped =
            |((name, tensor), values): ((String, Tensor), _)| (name, tensor.shape().to_vec(), values);
        Self::from_values(&device, architecture, named.into_iter().zip(values).map(shaped).collect())
    }

    /// A net with parameters of these names, shapes and values, in any order.
    pub(super) fn from_values(
        device: &Device,
        architecture: Architecture,
        mut named: Vec<Named>,
    ) -> Result<Self> {
        architecture.check()?;
        if let Some(weights) = &architecture.class_weights
            && (weights.len() != architecture.outputs || !weights.iter().all(|&w| w >= 0.0 && w.is_finite()))
        {
            let problem = format!("weights {weights:?} of {} classes", architecture.outputs);
            return Err(Error::shape(NAME, problem, "give each class a number from 0 up, or none of them"));
        }
        let (wanted, weights) = architecture.parameters();
        let names = || wanted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let refuse = |problem: String| Err(Error::shape(NAME, problem, format!("give {}", names())));
        let mut tensors = Vec::with_capacity(wanted.len());
        for (name, shape) in &wanted {
            match named.iter().position(|(own, ..)| own == name) {
                Some(i) if named[i].1 == *shape => tensors.push(named.swap_remove(i)),
                Some(i) => return refuse(format!("{name} is {:?}, not {shape:?}", named[i].1)),
                None => return refuse(format!("{name} is missing")),
            }
        }
        if let Some((name, ..)) = named.first() {
            return refuse(format!("the net has no parameter {name}"));
        }
        let normalized = if architecture.normalization == Normalization::Batch { weights - 1 } else { 0 };
        let class_weights = architecture.class_weights.as_deref();
        let class_weights =
            class_weights.map(|weights| Tensor::from_f64(device, &[weights.len()], weights)).transpose()?;
        let norms = vec![BatchNormParam { eps: EPSILON, ..BatchNormParam::default() }; normalized];
        let parameters = Parameters::new(device, tensors, weights)?;
        Ok(Self { architecture, class_weights, parameters, norms, step: 0, team: None })
    }

    /// The net without its numbers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The same net with another L2 penalty.
    pub fn with_reg(mut self, reg: f64, form: RegForm) -> Self {
        (self.architecture.reg, self.architecture.reg_form) = (reg, form);
        self
    }

    /// The same net with other dropout.
    pub(super) fn with_dropout(mut self, dropout: Option<HiddenDropout>) -> Self {
        self.architecture.dropout = dropout;
        self
    }

    /// Nets that stand side by side in this one: more than one of a team.
    pub(super) fn nets(&self) -> usize {
        self.team.as_ref().map_or(1, Drops::nets)
    }

    /// The scores (N × C) of the samples `x` (N × D) in testing: running moments, no dropout.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` does not fit; [`Error::Device`] when the device fails.
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        let mut norms = self.norms.clone();
        norms.iter_mut().for_each(|norm| norm.mode = Mode::Test);
        Ok(self.forward(x, &mut norms, Mode::Test)?.scores)
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// The code (N × K) of the samples `x` (N × D) in testing: what the last layer of the [encoder](Architecture::encoder) puts out.
    ///
    /// # Errors
    /// As [`Self::scores`]; [`Error::Shape`] also where the net has no hidden layer.
    pub fn codes(&self, x: &Tensor) -> Result<Tensor> {
        let mut norms = self.norms.clone();
        norms.iter_mut().for_each(|norm| norm.mode = Mode::Test);
        let mut hidden = self.forward(x, &mut norms, Mode::Test)?.hidden;
        hidden.truncate(self.architecture.encoder().len());
        match hidden.pop() {
            Some(code) => Ok(code.activation.y),
            None => Err(Error::shape(NAME, "codes of a net without a hidden layer", "use its scores")),
        }
    }

    /// The loss (N) of each sample with `scores` (N × C) and truth `y`, without the penalty: labels (N), or where inputs are reconstructed the
    /// inputs themselves (N × D).
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit; [`Error::Device`] when the device fails.
    pub fn losses(&self, scores: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.objective(scores, y)?.losses)
    }

    /// The class (N) with the largest of the `scores` (N × C) of every sample, the smallest of equal ones.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn classes(&self, scores: &Tensor) -> Result<Tensor> {
        let outputs = self.architecture.outputs;
        argmax(&scores.reshape(&[scores.len() / outputs, outputs])?, Axis::Rows)
    }

    fn objective(&self, scores: &Tensor, y: &Tensor) -> Result<Losses> {
        let (weights, nets) = (self.class_weights.as_ref(), self.nets());
        match self.architecture.objective {
            Objective::Softmax => cross_entropy_grouped(scores, y, weights, nets),
            Objective::Hinge(delta) => hinge_loss_grouped(scores, y, weights, delta, nets),
            Objective::Reconstruction => squared_error(scores, y),
        }
    }

    /// The class with the largest score of every sample, the smallest of equal ones.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.classes(&self.scores(x)?)
    }

    /// The loss of the samples `x` (N × D) with truth `y` as of [`Self::losses`] in training, penalty included, and its gradient.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit; [`Error::Device`] when the device fails.
    pub fn loss(&mut self, x: &Tensor, y: &Tensor) -> Result<(Loss, Parameters)> {
        let (loss, mut gradients) = self.data_loss(x, y)?;
        let factor = self.architecture.reg_form.factor(self.architecture.reg);
        if factor == 0.0 {
            return Ok((loss, gradients));
        }
        axpy_into(2.0 * factor, &self.parameters.leading()?, gradients.leading_mut()?)?;
        Ok((loss.with_penalty(factor, self.parameters.weights()?), gradients))
    }

    /// [`Self::loss`] without the penalty: an optimizer that adds λ·W itself saves a sweep over the weights.
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn data_loss(&mut self, x: &Tensor, y: &Tensor) -> Result<(Loss, Parameters)> {
        let mut gradients = self.parameters.zeros_like()?;
        let loss = self.data_loss_into(x, y, &mut gradients)?;
        Ok((loss, gradients))
    }

    /// [`Self::data_loss`] over the `gradients` of an earlier step, whose memory takes the new ones.
    ///
    /// # Errors
    /// As [`Self::loss`]; [`Error::Shape`] also for gradients of another net.
    pub fn data_loss_into(&mut self, x: &Tensor, y: &Tensor, gradients: &mut Parameters) -> Result<Loss> {
        let mut norms = std::mem::take(&mut self.norms);
        let forward = self.forward(x, &mut norms, Mode::Train);
        self.norms = norms;
        let forward = forward?;
        let found = self.objective(&forward.scores, y)?;
        self.backward(found.gradient, forward, gradients)?;
        Ok(Loss::of(found.losses))
    }

    /// Takes over the numbers of `other`, a net of the same architecture, into memory of its own.
    ///
    /// # Errors
    /// [`Error::Shape`] when the nets differ; [`Error::Device`] when the device fails.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.parameters.copy_from(&other.parameters)?;
        for (own, other) in self.norms.iter_mut().zip(&other.norms) {
            match (&mut own.moments, &other.moments) {
                (Some(own), Some(other)) => own.copy_from(other)?,
                (own, other) => *own = other.clone(),
            }
        }
        self.step = other.step;
        Ok(())
    }

    /// The forward pass that [`Self::loss`] makes of `x` (N × D), for whoever wants to see the activations. Moves nothing.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn training_pass(&self, x: &Tensor) -> Result<TrainingPass> {
        let Forward { scores, hidden, .. } = self.forward(x, &mut self.norms.clone(), Mode::Train)?;
        let activations = hidden.into_iter().map(|hidden| hidden.activation.y).collect();
        Ok(TrainingPass { scores, activations })
    }
}
