//! Steps of gradient descent (course notes, "Parameter updates").

use serde::{Deserialize, Serialize};

use crate::tolerance::Real;

/// How a gradient g moves a parameter w, with learning rate η. Squares and roots are of single elements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// w −= ηg.
    Sgd,
    /// v = μv − ηg; w += v.
    Momentum {
        /// μ, 0.9 in the notes.
        momentum: f64,
    },
    /// v′ = μv − ηg; w += (1 + μ)v′ − μv: momentum with the gradient where the step leads, in the form of the notes.
    Nesterov {
        /// μ.
        momentum: f64,
    },
    /// c += g²; w −= ηg/(√c + ε) (Duchi, Hazan & Singer 2011).
    Adagrad {
        /// ε, 1e-8 to 1e-4 in the notes.
        epsilon: f64,
    },
    /// c = ρc + (1 − ρ)g²; w −= ηg/(√c + ε) (Tieleman & Hinton 2012).
    RmsProp {
        /// ρ, 0.99 in the assignments.
        decay: f64,
        /// ε.
        epsilon: f64,
    },
    /// m = β₁m + (1 − β₁)g; c = β₂c + (1 − β₂)g²; w −= ηm̂/(√ĉ + ε) (Kingma & Ba 2015).
    Adam {
        /// β₁, 0.9.
        beta1: f64,
        /// β₂, 0.999.
        beta2: f64,
        /// ε, 1e-8.
        epsilon: f64,
        /// m̂ = m/(1 − β₁ᵗ) and ĉ = c/(1 − β₂ᵗ), else m and c as they are: the notes show both.
        corrected: bool,
    },
    /// w −= ηλw, then [`Rule::Adam`], corrected (Loshchilov & Hutter 2019).
    AdamW {
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// ε.
        epsilon: f64,
        /// λ.
        weight_decay: f64,
    },
}

impl Rule {
    /// Tensors that the rule keeps from step to step, zero at first: none, one (v or c), or two (m and c).
    pub fn states(&self) -> usize {
        match self {
            Self::Sgd => 0,
            Self::Momentum { .. } | Self::Nesterov { .. } | Self::Adagrad { .. } | Self::RmsProp { .. } => 1,
            Self::Adam { .. } | Self::AdamW { .. } => 2,
        }
    }
}

/// What a step is besides its rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// η.
    pub learning_rate: f64,
    /// λ of the penalty ½λΣw², whose gradient λw is added to g.
    pub l2: f64,
    /// The leading elements that the penalty and the decay of [`Rule::AdamW`] apply to: the weights, not the biases behind them.
    pub regularized: usize,
    /// t: 1 in the first step.
    pub count: u32,
}

/// Moves `w` by one step, and its state.
pub fn update<T: Real>(rule: &Rule, step: &Step, w: &mut [T], gradient: &[T], state: &mut [&mut [T]]) {
    update_grouped(&[*rule], &[*step], &vec![0; w.len()], w, gradient, state);
}

/// Moves the elements of several groups, each by its own rule and step: element i belongs to the group `owners[i]`.
pub fn update_grouped<T: Real>(
    rules: &[Rule],
    steps: &[Step],
    owners: &[u32],
    w: &mut [T],
    gradient: &[T],
    state: &mut [&mut [T]],
) {
    let (one, square) = (T::from(1.0), |x: T| x * x);
    for (i, (w, &g)) in w.iter_mut().zip(gradient).enumerate() {
        let (rule, step) = (&rules[owners[i] as usize], &steps[owners[i] as usize]);
        let rate = T::from(step.learning_rate);
        let regularized = i < step.regularized;
        let g = if regularized { g + T::from(step.l2) * *w } else { g };
        match (*rule, &mut *state) {
            (Rule::Momentum { momentum }, [v]) => {
                v[i] = T::from(momentum) * v[i] - rate * g;
                *w = *w + v[i];
            }
            (Rule::Nesterov { momentum }, [v]) => {
                let before = v[i];
                v[i] = T::from(momentum) * before - rate * g;
                *w = *w - T::from(momentum) * before + (one + T::from(momentum)) * v[i];
            }
            (Rule::Adagrad { epsilon }, [c]) => {
                c[i] = c[i] + square(g);
                *w = *w - rate * g / (c[i].sqrt() + T::from(epsilon));
            }
            (Rule::RmsProp { decay, epsilon }, [c]) => {
                c[i] = T::from(decay) * c[i] + T::from(1.0 - decay) * square(g);
                *w = *w - rate * g / (c[i].sqrt() + T::from(epsilon));
            }
            (
                Rule::Adam { beta1, beta2, epsilon, .. } | Rule::AdamW { beta1, beta2, epsilon, .. },
                [m, c],
            ) => {
                m[i] = T::from(beta1) * m[i] + T::from(1.0 - beta1) * g;
                c[i] = T::from(beta2) * c[i] + T::from(1.0 - beta2) * square(g);
                let missing = |beta: f64| T::from(1.0 - beta.powf(f64::from(step.count)));
                let (m, c) = match rule {
                    Rule::Adam { corrected: false, .. } => (m[i], c[i]),
                    _ => (m[i] / missing(beta1), c[i] / missing(beta2)),
                };
                if let (Rule::AdamW { weight_decay, .. }, true) = (rule, regularized) {
                    *w = *w - T::from(step.learning_rate * weight_decay) * *w;
                }
                *w = *w - rate * m / (c.sqrt() + T::from(epsilon));
            }
            // `Rule::Sgd`; the caller gives every rule its states.
            _ => *w = *w - rate * g,
        }
    }
}
