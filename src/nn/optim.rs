//! Update rules under the course's names (`optim.py`), each in place: `rule(w, dw, config)` moves `w` and what `config` remembers of earlier
//! steps. [`Optimizer`] moves all parameters of a net by one rule.

use super::parameters::Parameters;
use crate::error::{Error, Result};
pub use crate::ops::optimizer::Rule;
use crate::ops::optimizer::{Step, update, update_all};
use crate::tensor::Tensor;

/// w −= lr·dw.
#[derive(Debug, Clone)]
pub struct SgdConfig {
    /// lr.
    pub learning_rate: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-2 }
    }
}

/// v = μ·v − lr·dw; w += v. [`nesterov`] looks ahead: w += μ·v − lr·dw with the new v.
#[derive(Debug, Clone)]
pub struct MomentumConfig {
    /// lr.
    pub learning_rate: f64,
    /// μ.
    pub momentum: f64,
    /// v; zero at first.
    pub velocity: Option<Tensor>,
}

impl Default for MomentumConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-2, momentum: 0.9, velocity: None }
    }
}

/// cache += dw²; w −= lr·dw/(√cache + ε).
#[derive(Debug, Clone)]
pub struct AdagradConfig {
    /// lr.
    pub learning_rate: f64,
    /// ε.
    pub epsilon: f64,
    /// The sum of the squared gradients; zero at first.
    pub cache: Option<Tensor>,
}

impl Default for AdagradConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-2, epsilon: 1e-8, cache: None }
    }
}

/// cache = decay·cache + (1 − decay)·dw²; w −= lr·dw/(√cache + ε).
#[derive(Debug, Clone)]
pub struct RmsPropConfig {
    /// lr.
    pub learning_rate: f64,
    /// What the cache keeps of itself.
    pub decay_rate: f64,
    /// ε.
    pub epsilon: f64,
    /// The leaky mean of the squared gradients; zero at first.
    pub cache: Option<Tensor>,
}

impl Default for RmsPropConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-2, decay_rate: 0.99, epsilon: 1e-8, cache: None }
    }
}

/// m = β₁·m + (1 − β₁)·dw; v = β₂·v + (1 − β₂)·dw²; w −= lr·m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ).
#[derive(Debug, Clone)]
pub struct AdamConfig {
    /// lr.
    pub learning_rate: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// Whether m and v are divided by 1 − βᵗ; the notes' first form does not, and starts with steps that are too large.
    pub corrected: bool,
    /// m; zero at first.
    pub m: Option<Tensor>,
    /// v; zero at first.
    pub v: Option<Tensor>,
    /// Steps made; counted up before it is used.
    pub t: u32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        let (m, v) = (None, None);
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true, m, v, t: 0 }
    }
}

/// Moves `w` against its gradient `dw`; see [`SgdConfig`].
///
/// # Errors
/// As [`update`].
pub fn sgd(w: &mut Tensor, dw: &Tensor, config: &SgdConfig) -> Result<()> {
    apply(&Rule::Sgd, config.learning_rate, 1, w, dw, [])
}

/// Moves `w` by its velocity; see [`MomentumConfig`].
///
/// # Errors
/// As [`update`].
pub fn sgd_momentum(w: &mut Tensor, dw: &Tensor, config: &mut MomentumConfig) -> Result<()> {
    let rule = Rule::Momentum { momentum: config.momentum };
    apply(&rule, config.learning_rate, 1, w, dw, [&mut config.velocity])
}

/// Moves `w` by the velocity that it is about to have; see [`MomentumConfig`].
///
/// # Errors
/// As [`update`].
pub fn nesterov(w: &mut Tensor, dw: &Tensor, config: &mut MomentumConfig) -> Result<()> {
    let rule = Rule::Nesterov { momentum: config.momentum };
    apply(&rule, config.learning_rate, 1, w, dw, [&mut config.velocity])
}

/// Moves `w` less where it has moved much; see [`AdagradConfig`].
///
/// # Errors
/// As [`update`].
pub fn adagrad(w: &mut Tensor, dw: &Tensor, config: &mut AdagradConfig) -> Result<()> {
    let rule = Rule::Adagrad { epsilon: config.epsilon };
    apply(&rule, config.learning_rate, 1, w, dw, [&mut config.cache])
}

/// Moves `w` less where it has moved much of late; see [`RmsPropConfig`].
///
/// # Errors
/// As [`update`].
pub fn rmsprop(w: &mut Tensor, dw: &Tensor, config: &mut RmsPropConfig) -> Result<()> {
    let rule = Rule::RmsProp { decay: config.decay_rate, epsilon: config.epsilon };
    apply(&rule, config.learning_rate, 1, w, dw, [&mut config.cache])
}

/// Moves `w` by momentum over the size of late gradients; see [`AdamConfig`].
///
/// # Errors
/// As [`update`].
pub fn adam(w: &mut Tensor, dw: &Tensor, config: &mut AdamConfig) -> Result<()> {
    let AdamConfig { beta1, beta2, epsilon, corrected, .. } = *config;
    config.t += 1;
    let rule = Rule::Adam { beta1, beta2, epsilon, corrected };
    apply(&rule, config.learning_rate, config.t, w, dw, [&mut config.m, &mut config.v])
}

/// One step of a rule without a penalty; what the rule remembers starts at zero.
fn apply<const STATES: usize>(
    rule: &Rule,
    learning_rate: f64,
    count: u32,
    w: &mut Tensor,
    dw: &Tensor,
    state: [&mut Option<Tensor>; STATES],
) -> Result<()> {
    let mut tensors = Vec::with_capacity(STATES);
    let mut places = Vec::with_capacity(STATES);
    for place in state {
        // Taken out, so that the update finds the tensor unshared and changes it in place.
        tensors.push(match place.take() {
            Some(tensor) => tensor,
            None => zeros_like(w)?,
        });
        places.push(place);
    }
    let step = Step { learning_rate, l2: 0.0, regularized: 0, count };
    let outcome = update(rule, &step, w, dw, &mut tensors);
    for (place, tensor) in places.into_iter().zip(tensors) {
        *place = Some(tensor);
    }
    outcome
}

fn zeros_like(w: &Tensor) -> Result<Tensor> {
    Tensor::from_f64(&w.device(), w.shape(), &vec![0.0; w.len()])
}

/// One rule for all parameters of a net, with what it remembers.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    states: Vec<Parameters>,
    count: u32,
}

impl Optimizer {
    /// Before the first step.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has no memory for what the rule remembers.
    pub fn new(rule: Rule, parameters: &Parameters) -> Result<Self> {
        let states = (0..rule.states()).map(|_| parameters.zeros_like()).collect::<Result<_>>()?;
        Ok(Self { rule, states, count: 0 })
    }

    /// After `count` steps that left `states`.
    pub(super) fn resume(rule: Rule, states: Vec<Parameters>, count: u32) -> Self {
        Self { rule, states, count }
    }

    /// What the rule remembers, each for all parameters.
    pub fn states(&self) -> &[Parameters] {
        &self.states
    }

    /// Moves all parameters, in place and in one sweep. `l2` is λ of the penalty ½·λ·ΣW² where `gradients` leave it out
    /// ([`FullyConnectedNet::data_loss`](super::model::FullyConnectedNet::data_loss)); only weights bear it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the gradients are not those of the parameters; [`Error::Device`] when the device fails.
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        gradients: &Parameters,
        learning_rate: f64,
        l2: f64,
    ) -> Result<()> {
        if !self.states.iter().chain([gradients]).all(|other| parameters.is_like(other)) {
            return Err(Error::shape(
                "optimizer",
                format!("{} gradients for {} parameters", gradients.len(), parameters.len()),
                "pass the gradients of the net that the optimizer was made for",
            ));
        }
        self.count += 1;
        let step = Step { learning_rate, l2, regularized: parameters.regularized(), count: self.count };
        let mut states: Vec<_> = self.states.iter_mut().map(Parameters::flat_mut).collect();
        update_all(&self.rule, &step, parameters.flat_mut(), gradients.flat(), &mut states)
    }
}
