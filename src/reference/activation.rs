//! Elementwise nonlinearities and their gradients (course notes, "Commonly used activation functions").

use serde::{Deserialize, Serialize};

use crate::tolerance::Real;

/// A nonlinearity f.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// max(αx, x) with a slope α in [0, 1], 0.01 in the notes: x ≥ 0 passes.
    LeakyRelu(f32),
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ) = 2σ(2x) − 1.
    Tanh,
}

impl Activation {
    /// f(x).
    pub fn value<T: Real>(self, x: T) -> T {
        let [zero, one] = [0.0, 1.0].map(T::from);
        match self {
            Self::Relu => x.max(zero),
            Self::LeakyRelu(slope) => x.max(T::from(f64::from(slope)) * x),
            Self::Sigmoid => one / (one + (-x).exp()),
            Self::Tanh => x.tanh(),
        }
    }

    /// f′(x) in terms of y = f(x): the input need not be kept. 0 at the kink of a ReLU, 1 at that of a leaky one.
    pub fn slope<T: Real>(self, y: T) -> T {
        let one = T::from(1.0);
        match self {
            Self::Relu => y.step(),
            // 1 where y ≥ 0, which is where −y is not above 0.
            Self::LeakyRelu(slope) => one + (T::from(f64::from(slope)) - one) * (-y).step(),
            Self::Sigmoid => y * (one - y),
            Self::Tanh => one - y * y,
        }
    }
}

/// yᵢ = f(xᵢ).
pub fn forward<T: Real>(x: &[T], activation: Activation) -> Vec<T> {
    x.iter().map(|&x| activation.value(x)).collect()
}

/// ∂L/∂xᵢ = ∂L/∂yᵢ · f′(xᵢ).
pub fn backward<T: Real>(dout: &[T], y: &[T], activation: Activation) -> Vec<T> {
    dout.iter().zip(y).map(|(&dout, &y)| dout * activation.slope(y)).collect()
}
