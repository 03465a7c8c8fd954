//! The worked examples of the course notes, as code to read and run: "Backpropagation, Intuitions", "Neural Networks".
//!
//! # One rule
//! Each gate multiplies the gradient that comes in by its own derivative. Adding hands the gradient on to both, a maximum to the larger,
//! a product to each times the other; where a value forks, what comes back is added up.
//!
//! ```
//! use cs231n_gpu::nn::notes::{sigmoid_neuron, staged, sum_times};
//!
//! // f = (x + y)·z at (−2, 5, −4).
//! assert_eq!(sum_times(-2.0, 5.0, -4.0), (-12.0, [-4.0, -4.0, 3.0]));
//!
//! // σ(w₀x₀ + w₁x₁ + w₂), with the gradients of the figure.
//! let (f, dw, dx) = sigmoid_neuron([2.0, -3.0, -3.0], [-1.0, -2.0]);
//! let rounded = |values: &[f64]| values.iter().map(|value| (100.0 * value).round() / 100.0).collect::<Vec<_>>();
//! assert_eq!((rounded(&[f]), rounded(&dw), rounded(&dx)), (vec![0.73], vec![-0.2, -0.39, 0.2], vec![0.39, -0.59]));
//!
//! // (x + σ(y)) / (σ(x) + (x + y)²), too large to differentiate on paper.
//! let (f, [dx, dy]) = staged(3.0, -4.0);
//! assert!((f - 1.5456448841066441).abs() < 1e-12);
//! assert!((dx - 2.0595697955721652).abs() < 1e-12 && (dy - 1.5922327514838093).abs() < 1e-12);
//! ```
//!
//! # Vectors
//! f = ‖W·x‖²: no derivative of a vector in a matrix is ever formed; shapes say how the two factors must meet.
//!
//! ```
//! use cs231n_gpu::ops::{elementwise::scale, matmul::{Transposed, matmul}};
//! use cs231n_gpu::{Device, Tensor};
//!
//! let tensor = |shape: &[usize], values: &[f64]| Tensor::from_f64(&Device::Reference, shape, values);
//! let w = tensor(&[2, 2], &[0.1, 0.5, -0.3, 0.8])?;
//! let x = tensor(&[2, 1], &[0.2, 0.4])?;
//! let q = matmul(&w, &x, Transposed::default())?;
//! let dq = scale(2.0, &q)?;
//! let dw = matmul(&dq, &x, Transposed { a: false, b: true })?; // dq·xᵀ
//! let dx = matmul(&w, &dq, Transposed { a: true, b: false })?; // Wᵀ·dq
//! let close = |got: Tensor, want: &[f64]| got.to_f64().unwrap().iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12);
//! assert!(close(q, &[0.22, 0.26]) && close(dw, &[0.088, 0.176, 0.104, 0.208]) && close(dx, &[-0.112, 0.636]));
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```
//!
//! # A neuron is a linear classifier
//! Under the cross-entropy loss it is logistic regression, under the hinge loss a binary support vector machine; its penalty makes it forget.
//!
//! ```
//! use cs231n_gpu::nn::notes::{Neuron, binary_svm_loss};
//!
//! let neuron = Neuron { weights: vec![2.0, -3.0], bias: -3.0 };
//! let rate = neuron.forward(&[-1.0, -2.0]);
//! assert!((rate - 0.7310585786300049).abs() < 1e-12);
//! assert!(neuron.is_positive(&[-1.0, -2.0])); // P(y = 1) is above ½
//! assert!((neuron.softmax_loss(&[-1.0, -2.0], true) + rate.ln()).abs() < 1e-12);
//!
//! // max(0, 1 − y·(w·x + b)): on the right side, but not beyond the margin.
//! assert_eq!(binary_svm_loss(0.25, true), 0.75);
//! assert_eq!(binary_svm_loss(2.0, true), 0.0);
//! assert_eq!(binary_svm_loss(2.0, false), 3.0);
//! ```
//!
//! # Layers
//! The notes' net of three inputs, two hidden layers of four neurons and one output: 9 neurons, 32 weights and 9 biases, 41 parameters. There
//! is no activation on the output.
//!
//! ```
//! use cs231n_gpu::nn::model::{Architecture, FullyConnectedNet, Init};
//! use cs231n_gpu::ops::activation::Activation;
//! use cs231n_gpu::rng::numpy::RandomState;
//! use cs231n_gpu::{Device, Tensor};
//!
//! let net = Architecture { activation: Activation::Sigmoid, ..Architecture::new(3, &[4, 4], 1) };
//! let net = FullyConnectedNet::new(&Device::Cpu, net, Init::Normal(1.0), &mut RandomState::new(0))?;
//! assert_eq!(net.parameters.elements(), 41);
//!
//! // f = lambda x: 1.0/(1.0 + np.exp(-x)); h1 = f(W1·x + b1); h2 = f(W2·h1 + b2); out = W3·h2 + b3, a column of x for each row here.
//! let x = Tensor::from_f32(&Device::Cpu, &[2, 3], &[0.1, -0.2, 0.3, 1.0, 0.0, -1.0])?;
//! assert_eq!(net.scores(&x)?.shape(), [2, 1]);
//!
//! // And the smaller one: 3 inputs, 4 hidden neurons, 2 outputs.
//! let small = Architecture::new(3, &[4], 2);
//! let count = small.parameters().0.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>();
//! assert_eq!(count, 26);
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```

use crate::ops::activation::Activation;

fn sigmoid(x: f64) -> f64 {
    Activation::Sigmoid.value(x)
}

/// f = (x + y)·z, and its gradient in x, y and z.
pub fn sum_times(x: f64, y: f64, z: f64) -> (f64, [f64; 3]) {
    let q = x + y;
    let f = q * z;
    // Backwards: the product swaps its operands, the sum hands its gradient on.
    let dz = q;
    let dq = z;
    (f, [dq, dq, dz])
}

/// f = σ(w₀x₀ + w₁x₁ + w₂), and its gradients in w and in x.
pub fn sigmoid_neuron(w: [f64; 3], x: [f64; 2]) -> (f64, [f64; 3], [f64; 2]) {
    let dot = w[0] * x[0] + w[1] * x[1] + w[2];
    let f = sigmoid(dot);
    let ddot = (1.0 - f) * f;
    (f, [x[0] * ddot, x[1] * ddot, ddot], [w[0] * ddot, w[1] * ddot])
}

/// f = (x + σ(y)) / (σ(x) + (x + y)²), and its gradient in x and y, in the notes' stages.
pub fn staged(x: f64, y: f64) -> (f64, [f64; 2]) {
    let sigy = sigmoid(y);
    let num = x + sigy;
    let sigx = sigmoid(x);
    let xpy = x + y;
    let xpysqr = xpy * xpy;
    let den = sigx + xpysqr;
    let invden = 1.0 / den;
    let f = num * invden;

    let dnum = invden;
    let dinvden = num;
    let dden = -1.0 / (den * den) * dinvden;
    let dsigx = dden;
    let dxpysqr = dden;
    let dxpy = 2.0 * xpy * dxpysqr;
    // x and y fork: from here on their gradients are added up.
    let mut dx = dxpy;
    let mut dy = dxpy;
    dx += (1.0 - sigx) * sigx * dsigx;
    dx += dnum;
    let dsigy = dnum;
    dy += (1.0 - sigy) * sigy * dsigy;
    (f, [dx, dy])
}

/// The notes' `Neuron`, with a sigmoid for its firing rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Neuron {
    /// One for each input.
    pub weights: Vec<f64>,
    /// What is added to their sum.
    pub bias: f64,
}

impl Neuron {
    /// Σ wᵢ·xᵢ + b; inputs beyond the weights count nothing.
    pub fn cell_body_sum(&self, inputs: &[f64]) -> f64 {
        inputs.iter().zip(&self.weights).map(|(x, w)| x * w).sum::<f64>() + self.bias
    }

    /// The firing rate σ(Σ wᵢ·xᵢ + b): the probability of the positive class in a binary softmax classifier.
    pub fn forward(&self, inputs: &[f64]) -> f64 {
        sigmoid(self.cell_body_sum(inputs))
    }

    /// Whether the positive class is the likelier.
    pub fn is_positive(&self, inputs: &[f64]) -> bool {
        self.forward(inputs) > 0.5
    }

    /// −ln P(the right class): −ln σ(s) = ln(1 + e⁻ˢ), which never forms the probability.
    pub fn softmax_loss(&self, inputs: &[f64], positive: bool) -> f64 {
        let s = self.cell_body_sum(inputs);
        let s = if positive { s } else { -s };
        (-s).max(0.0) + (-s.abs()).exp().ln_1p()
    }
}

/// max(0, 1 − y·s) of a score s = w·x + b, with y = 1 for the positive class and −1 for the other. It is the multiclass loss of two classes
/// with the scores −s/2 and s/2.
pub fn binary_svm_loss(score: f64, positive: bool) -> f64 {
    let y = if positive { 1.0 } else { -1.0 };
    (1.0 - y * score).max(0.0)
}
