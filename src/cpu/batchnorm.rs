//! Batch normalisation on the CPU: sums over the columns, then a sweep that writes.

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, vectorized};
use super::columns::{moments, sums};
use crate::recycled;
use crate::reference::batchnorm::{Gradients, Normalized};

/// Moments of a batch that go into the running ones: [2, D] in place, momentum·old + (1 − momentum)·batch.
pub struct Running<'a> {
    /// Mean, then biased variance.
    pub moments: &'a mut [f32],
    /// The share of the old ones that stays.
    pub momentum: f64,
}

/// The forward pass of training over x [N, D]: mean and biased variance in a sweep, the output in a second. No rows have mean and
/// variance 0 and leave the running moments alone.
///
/// # Panics
/// When the lengths do not fit.
pub fn train(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    running: Option<Running<'_>>,
) -> Normalized<f32> {
    let columns = gamma.len();
    let rows = x.len().checked_div(columns).unwrap_or(0);
    let [mut statistics, variance] = moments(x, [rows, columns]);
    let inverse: Vec<f32> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
    let out = normalized(x, &statistics, &scale, beta);
    if let (Some(Running { moments, momentum }), 1..) = (running, rows) {
        let [keep, take] = [momentum, 1.0 - momentum].map(|share| share as f32);
        let batch = statistics.iter().chain(&variance);
        moments.iter_mut().zip(batch).for_each(|(old, &batch)| *old = keep * *old + take * batch);
    }
    statistics.extend(inverse);
    Normalized { out, statistics }
}

/// (x − mean)·scale + beta for each row.
fn normalized(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32]) -> Vec<f32> {
    let mut out = recycled::numbers(x.len());
    let columns = beta.len().max(1);
    let chunk = CHUNK.div_ceil(columns) * columns;
    awake::keep(x.len().div_ceil(chunk));
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                    let features = mean.iter().zip(scale).zip(beta);
                    for ((out, &x), ((&mean, &scale), &beta)) in out.iter_mut().zip(x).zip(features) {
                        *out = (x - mean).mul_add(scale, beta);
                    }
                }
            },
        );
    });
    out
}

/// The output with given moments [2, D] (mean, biased variance): one sweep.
///
/// # Panics
/// When the lengths do not fit.
pub fn test(x: &[f32], gamma: &[f32], beta: &[f32], moments: &[f32], epsilon: f32) -> Vec<f32> {
    let (mean, variance) = moments.split_at(gamma.len());
    let scale: Vec<f32> =
        gamma.iter().zip(variance).map(|(gamma, variance)| gamma / (variance + epsilon).sqrt()).collect();
    normalized(x, mean, &scale, beta)
}

/// The gradients by the formula: the sums in one sweep, dx in a second. x̂ is made again from x.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_formula(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    backward::<false>(dout, x, statistics, gamma)
}

/// The gradients node by node, as [`graph`](crate::reference::batchnorm::graph) has them: its sums in one sweep, dx in a second.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_graph(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    backward::<true>(dout, x, statistics, gamma)
}

fn backward<const GRAPH: bool>(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    let columns = gamma.len();
    let rows = x.len().checked_div(columns).unwrap_or(0);
    let (mean, inverse) = statistics.split_at(columns);
    let n = rows.max(1) as f32;
    // dx = factor·(dout − shift) + slope·(x − μ) + constant for each column, with a shift in the formula (dx is 0 for one row), a constant in
    // the graph.
    let [factor, shift, slope, constant, dgamma, dbeta] = if GRAPH {
        let [dbeta, dgamma, along, through, dnormalized] = sums(
            [x, dout],
            [mean, inverse, gamma],
            [rows, columns],
            #[inline(always)]
            |[x, dout], [mean, inverse, gamma]| {
                let centred = x - mean;
                [dout, dout * (centred * inverse), dout * gamma * centred, centred, dout * gamma]
            },
        );
        let slope = |k: usize| -0.5 * inverse[k] * inverse[k] * inverse[k] * along[k] * 2.0 / n;
        let dmean = |k: usize| -inverse[k] * dnormalized[k] - slope(k) * through[k];
        [
            of_columns(columns, |k| gamma[k] * inverse[k]),
            vec![0.0; columns],
            of_columns(columns, slope),
            of_columns(columns, |k| dmean(k) / n),
            dgamma,
            dbeta,
        ]
    } else {
        let [dbeta, dgamma] = sums(
            [x, dout],
            [mean, inverse],
            [rows, columns],
            #[inline(always)]
            |[x, dout], [mean, inverse]| [dout, dout * ((x - mean) * inverse)],
        );
        let factor = of_columns(columns, |k| gamma[k] * inverse[k]);
        let slope = of_columns(columns, |k| -factor[k] * inverse[k] * dgamma[k] / n);
        [factor, of_columns(columns, |k| dbeta[k] / n), slope, vec![0.0; columns], dgamma, dbeta]
    };
    let mut dx = recycled::numbers(x.len());
    let chunk = CHUNK.div_ceil(columns.max(1)) * columns.max(1);
    let inputs = x.par_chunks(chunk).zip(dout.par_chunks(chunk));
    awake::keep(x.len().div_ceil(chunk));
    dx.par_chunks_mut(chunk).zip(inputs).for_each(|(dx, (x, dout))| {
        vectorized(
            #[inline(always)]
            || {
                let inputs = x.chunks_exact(columns).zip(dout.chunks_exact(columns));
                for (dx, (x, dout)) in dx.chunks_exact_mut(columns).zip(inputs) {
                    let line = mean.iter().zip(&slope).zip(&constant);
                    let of_column = factor.iter().zip(&shift).zip(line);
                    let values = dx.iter_mut().zip(x.iter().zip(dout));
                    for ((dx, (&x, &dout)), ((&factor, &shift), ((&mean, &slope), &constant))) in
                        values.zip(of_column)
                    {
                        *dx = (dout - shift).mul_add(factor, (x - mean).mul_add(slope, constant));
                    }
                }
            },
        );
    });
    Gradients { dx, dgamma, dbeta }
}

/// f of each column.
fn of_columns(columns: usize, f: impl Fn(usize) -> f32) -> Vec<f32> {
    (0..columns).map(f).collect()
}
