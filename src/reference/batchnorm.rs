//! Batch normalisation: each feature of a batch brought to mean 0 and variance 1, then scaled and shifted.
//!
//! Source: Ioffe & Szegedy (2015, "Batch normalization", arXiv:1502.03167, algorithm 1 and §3); assignment 2, "Batch Normalization".

use crate::tolerance::Real;

/// What the forward pass of a normalisation leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalized<T> {
    /// γ·x̂ + β, in the shape of the input.
    pub out: Vec<T>,
    /// Means, then 1/√(variance + ε), one of each for every feature (batch) or row (layer).
    pub statistics: Vec<T>,
}

/// The gradients of a normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients<T> {
    /// ∂L/∂x, in the shape of x.
    pub dx: Vec<T>,
    /// ∂L/∂γ, one for each feature.
    pub dgamma: Vec<T>,
    /// ∂L/∂β, one for each feature.
    pub dbeta: Vec<T>,
}

/// f(i, j) for every element of rows × columns.
fn matrix<T>(rows: usize, columns: usize, f: impl Fn(usize, usize) -> T) -> Vec<T> {
    (0..rows * columns).map(|at| f(at / columns, at % columns)).collect()
}

/// Σᵢ f(i, j) for every column j.
fn column_sums<T: Real>(rows: usize, columns: usize, f: impl Fn(usize, usize) -> T) -> Vec<T> {
    (0..columns).map(|j| (0..rows).map(|i| f(i, j)).sum()).collect()
}

/// The number of rows, and N to divide by: the mean and variance of no rows are taken as 0.
fn count<T: Real>(x: &[T], columns: usize) -> (usize, T) {
    let rows = x.len().checked_div(columns).unwrap_or(0);
    (rows, T::from(rows.max(1) as f64))
}

/// μⱼ = Σᵢxᵢⱼ/N for every column of x [N, D], then σ²ⱼ = Σᵢ(xᵢⱼ − μⱼ)²/N, the biased variance.
pub fn moments<T: Real>(x: &[T], columns: usize) -> Vec<T> {
    let (rows, n) = count(x, columns);
    let mean: Vec<T> =
        column_sums(rows, columns, |i, j| x[i * columns + j]).into_iter().map(|sum| sum / n).collect();
    let centred = |i: usize, j: usize| x[i * columns + j] - mean[j];
    let squares = column_sums(rows, columns, |i, j| centred(i, j) * centred(i, j));
    let variance: Vec<T> = squares.into_iter().map(|sum| sum / n).collect();
    [mean, variance].concat()
}

/// The moments [2, D] with 1/√(σ² + ε) in place of σ²: what the backward pass needs.
pub fn statistics<T: Real>(moments: &[T], epsilon: f64) -> Vec<T> {
    let (mean, variance) = moments.split_at(moments.len() / 2);
    let inverse = variance.iter().map(|&variance| T::from(1.0) / (variance + T::from(epsilon)).sqrt());
    mean.iter().copied().chain(inverse).collect()
}

/// Running moments after a batch: momentum·old + (1 − momentum)·batch. The biased variance, as the course has it.
pub fn running<T: Real>(old: &[T], batch: &[T], momentum: f64) -> Vec<T> {
    let [keep, take] = [momentum, 1.0 - momentum].map(T::from);
    old.iter().zip(batch).map(|(&old, &batch)| keep * old + take * batch).collect()
}

/// outᵢⱼ = γⱼ·(xᵢⱼ − μⱼ)/√(σ²ⱼ + ε) + βⱼ with given moments.
pub fn test<T: Real>(x: &[T], gamma: &[T], beta: &[T], moments: &[T], epsilon: f64) -> Vec<T> {
    let columns = gamma.len();
    let (rows, _) = count(x, columns);
    let statistics = statistics(moments, epsilon);
    let (mean, inverse) = statistics.split_at(columns);
    matrix(rows, columns, |i, j| gamma[j] * ((x[i * columns + j] - mean[j]) * inverse[j]) + beta[j])
}

/// [`test()`] with the moments of x itself.
pub fn train<T: Real>(x: &[T], gamma: &[T], beta: &[T], epsilon: f64) -> Normalized<T> {
    let moments = moments(x, gamma.len());
    let out = test(x, gamma, beta, &moments, epsilon);
    Normalized { out, statistics: statistics(&moments, epsilon) }
}

/// The gradients by one formula: dx = (γ/(N·√(σ²+ε)))·(N·dout − Σdout − x̂·Σ(dout·x̂)), dγ = Σdout·x̂, dβ = Σdout.
///
/// It follows from the graph's nodes by putting them into one another (see [`graph`]).
pub fn backward_formula<T: Real>(dout: &[T], x: &[T], statistics: &[T], gamma: &[T]) -> Gradients<T> {
    let columns = gamma.len();
    let (rows, n) = count(x, columns);
    let (mean, inverse) = statistics.split_at(columns);
    let normalized = |i: usize, j: usize| (x[i * columns + j] - mean[j]) * inverse[j];
    let dbeta = column_sums(rows, columns, |i, j| dout[i * columns + j]);
    let dgamma = column_sums(rows, columns, |i, j| dout[i * columns + j] * normalized(i, j));
    let dx = matrix(rows, columns, |i, j| {
        let inner = n * dout[i * columns + j] - dbeta[j] - normalized(i, j) * dgamma[j];
        gamma[j] * inverse[j] / n * inner
    });
    Gradients { dx, dgamma, dbeta }
}

/// The gradients node by node, as in [`graph`].
pub fn backward_graph<T: Real>(dout: &[T], x: &[T], statistics: &[T], gamma: &[T]) -> Gradients<T> {
    let Flow { dx, dgamma, dbeta, .. } = Flow::back(dout, x, statistics, gamma);
    Gradients { dx, dgamma, dbeta }
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<T> {
    /// What it holds on the way forward.
    pub value: Vec<T>,
    /// The gradient of the loss in it, on the way back.
    pub gradient: Vec<T>,
}

/// Batch normalisation as a graph in which μ, σ² and x̂ are nodes of their own. Where one of them is differentiated in x, the others
/// that it is made of count as constants: each path from x to the output is its own term of dx.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph<T> {
    /// x [N, D].
    pub x: Node<T>,
    /// μ \[D\].
    pub mean: Node<T>,
    /// σ² \[D\].
    pub variance: Node<T>,
    /// x̂ [N, D].
    pub normalized: Node<T>,
    /// γ \[D\].
    pub gamma: Node<T>,
    /// β \[D\].
    pub beta: Node<T>,
    /// out [N, D], whose gradient is what comes in.
    pub out: Node<T>,
}

impl<T> Graph<T> {
    /// The nodes in forward order, each with its name, how its value is made and how its gradient is.
    pub fn nodes(&self) -> [(&'static str, &'static str, &'static str, &Node<T>); 7] {
        [
            ("x", "given", "dx̂/√(σ²+ε) + dσ²·2(x−μ)/N + dμ/N", &self.x),
            ("μ", "Σx/N", "Σdx̂·(−1/√(σ²+ε)) + dσ²·Σ(−2(x−μ))/N", &self.mean),
            ("σ²", "Σ(x−μ)²/N", "Σdx̂·(x−μ)·(−½)(σ²+ε)^(−3/2)", &self.variance),
            ("x̂", "(x−μ)/√(σ²+ε)", "dout·γ", &self.normalized),
            ("γ", "given", "Σdout·x̂", &self.gamma),
            ("β", "given", "Σdout", &self.beta),
            ("out", "γ·x̂ + β", "given", &self.out),
        ]
    }
}

/// The whole graph for x [N, D], γ \[D\], β \[D\] and the gradient of the output: every value, then every gradient. [`Graph::nodes`] has the
/// formulas. Source: assignment 2, `batchnorm_backward`; Ioffe & Szegedy §3.
pub fn graph<T: Real>(dout: &[T], x: &[T], gamma: &[T], beta: &[T], epsilon: f64) -> Graph<T> {
    let columns = gamma.len();
    let (rows, _) = count(x, columns);
    let moments = moments(x, columns);
    let statistics = statistics(&moments, epsilon);
    let (mean, inverse) = statistics.split_at(columns);
    let normalized = matrix(rows, columns, |i, j| (x[i * columns + j] - mean[j]) * inverse[j]);
    let out = matrix(rows, columns, |i, j| gamma[j] * normalized[i * columns + j] + beta[j]);

    let flow = Flow::back(dout, x, &statistics, gamma);
    Graph {
        out: Node { value: out, gradient: dout.to_vec() },
        beta: Node { value: beta.to_vec(), gradient: flow.dbeta },
        gamma: Node { value: gamma.to_vec(), gradient: flow.dgamma },
        normalized: Node { value: normalized, gradient: flow.dnormalized },
        variance: Node { value: moments[columns..].to_vec(), gradient: flow.dvariance },
        mean: Node { value: mean.to_vec(), gradient: flow.dmean },
        x: Node { value: x.to_vec(), gradient: flow.dx },
    }
}

/// The gradients of all nodes.
struct Flow<T> {
    dbeta: Vec<T>,
    dgamma: Vec<T>,
    dnormalized: Vec<T>,
    dvariance: Vec<T>,
    dmean: Vec<T>,
    dx: Vec<T>,
}

impl<T: Real> Flow<T> {
    /// From the output back to x.
    fn back(dout: &[T], x: &[T], statistics: &[T], gamma: &[T]) -> Self {
        let columns = gamma.len();
        let (rows, n) = count(x, columns);
        let (mean, inverse) = statistics.split_at(columns);
        let [two, half] = [2.0, 0.5].map(T::from);
        let centred = |i: usize, j: usize| x[i * columns + j] - mean[j];

        let dbeta = column_sums(rows, columns, |i, j| dout[i * columns + j]);
        let dgamma = column_sums(rows, columns, |i, j| dout[i * columns + j] * (centred(i, j) * inverse[j]));
        let dnormalized = matrix(rows, columns, |i, j| dout[i * columns + j] * gamma[j]);
        // (σ²+ε)^(−3/2) is the cube of the inverse.
        let cube = |j: usize| inverse[j] * inverse[j] * inverse[j];
        let dvariance = column_sums(rows, columns, |i, j| {
            dnormalized[i * columns + j] * centred(i, j) * (-half * cube(j))
        });
        let through_normalized =
            column_sums(rows, columns, |i, j| dnormalized[i * columns + j] * -inverse[j]);
        let through_variance = column_sums(rows, columns, |i, j| -two * centred(i, j));
        let dmean: Vec<T> =
            (0..columns).map(|j| through_normalized[j] + dvariance[j] * through_variance[j] / n).collect();
        let dx = matrix(rows, columns, |i, j| {
            dnormalized[i * columns + j] * inverse[j] + dvariance[j] * two * centred(i, j) / n + dmean[j] / n
        });
        Self { dbeta, dgamma, dnormalized, dvariance, dmean, dx }
    }
}
