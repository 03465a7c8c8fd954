//! Layer normalisation: each row brought to mean 0 and variance 1, then scaled and shifted feature by feature.
//!
//! Source: Ba, Kiros & Hinton (2016, "Layer normalization", arXiv:1607.06450); assignment 2, "Layer Normalization".

use super::batchnorm::{Gradients, Normalized};
use crate::tolerance::Real;

/// Features to divide by: the mean and variance of no features are taken as 0.
fn count<T: Real>(columns: usize) -> T {
    T::from(columns.max(1) as f64)
}

/// Row i of a matrix.
fn row<T>(x: &[T], columns: usize, i: usize) -> &[T] {
    &x[i * columns..][..columns]
}

/// outᵢⱼ = γⱼ·(xᵢⱼ − μᵢ)/√(σ²ᵢ + ε) + βⱼ for x [N, D], with the mean μᵢ and the biased variance σ²ᵢ of row i.
pub fn forward<T: Real>(x: &[T], gamma: &[T], beta: &[T], epsilon: f64, rows: usize) -> Normalized<T> {
    let columns = gamma.len();
    let n = count::<T>(columns);
    let (mut out, mut means, mut inverses) = (Vec::with_capacity(x.len()), Vec::new(), Vec::new());
    for i in 0..rows {
        let x = row(x, columns, i);
        let mean = x.iter().copied().sum::<T>() / n;
        let variance = x.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
        let inverse = T::from(1.0) / (variance + T::from(epsilon)).sqrt();
        out.extend((0..columns).map(|j| gamma[j] * ((x[j] - mean) * inverse) + beta[j]));
        means.push(mean);
        inverses.push(inverse);
    }
    Normalized { out, statistics: [means, inverses].concat() }
}

/// With gᵢⱼ = doutᵢⱼ·γⱼ: dxᵢⱼ = (D·gᵢⱼ − Σₖgᵢₖ − x̂ᵢⱼ·Σₖ(gᵢₖ·x̂ᵢₖ))/(D·√(σ²ᵢ+ε)), dγⱼ = Σᵢdoutᵢⱼ·x̂ᵢⱼ, dβⱼ = Σᵢdoutᵢⱼ.
///
/// The formula of batch normalisation with rows for columns: γ varies along the sums, so it stays inside them.
pub fn backward<T: Real>(dout: &[T], x: &[T], statistics: &[T], gamma: &[T], rows: usize) -> Gradients<T> {
    let columns = gamma.len();
    let n = count::<T>(columns);
    let (mean, inverse) = statistics.split_at(rows);
    let normalized = |i: usize, j: usize| (x[i * columns + j] - mean[i]) * inverse[i];
    let mut dx = Vec::with_capacity(x.len());
    for (i, &inverse) in inverse.iter().enumerate() {
        let dout = row(dout, columns, i);
        let flow = |j: usize| dout[j] * gamma[j];
        let sum = (0..columns).map(flow).sum::<T>();
        let along = (0..columns).map(|j| flow(j) * normalized(i, j)).sum::<T>();
        dx.extend((0..columns).map(|j| inverse / n * (n * flow(j) - sum - normalized(i, j) * along)));
    }
    let sums = |f: &dyn Fn(usize, usize) -> T| -> Vec<T> {
        (0..columns).map(|j| (0..rows).map(|i| f(i, j)).sum()).collect()
    };
    let dgamma = sums(&|i, j| dout[i * columns + j] * normalized(i, j));
    let dbeta = sums(&|i, j| dout[i * columns + j]);
    Gradients { dx, dgamma, dbeta }
}
