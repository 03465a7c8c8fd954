//! Batch normalisation on the CPU, in strips of columns that come from memory once.

use rayon::prelude::*;

use super::chunks::{CHUNK, vectorized};
use super::columns::{Columns, Strip, copied, over_strips, part};
use crate::reference::batchnorm::{Gradients, Normalized};
use crate::tolerance::block;

/// Moments of a batch that go into the running ones: [2, D] in place, momentum·old + (1 − momentum)·batch.
pub struct Running<'a> {
    /// Mean, then biased variance.
    pub moments: &'a mut [f32],
    /// The share of the old ones that stays.
    pub momentum: f64,
}

/// The forward pass of training over x [N, D]: mean and biased variance in two sweeps, the output in a third. No rows have mean and
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
    let [mut out, mut statistics, mut variance] = [x.len(), 2 * columns, columns].map(|n| vec![0.0; n]);
    let strip = Train {
        x,
        gamma,
        beta,
        epsilon,
        columns,
        out: Columns::new(&mut out, rows, columns),
        statistics: Columns::new(&mut statistics, 2, columns),
        variance: Columns::new(&mut variance, 1, columns),
    };
    over_strips(rows, columns, &strip);
    if let (Some(Running { moments, momentum }), 1..) = (running, rows) {
        let [keep, take] = [momentum, 1.0 - momentum].map(|share| share as f32);
        let batch = statistics[..columns].iter().chain(&variance);
        moments.iter_mut().zip(batch).for_each(|(old, &batch)| *old = keep * *old + take * batch);
    }
    Normalized { out, statistics }
}

struct Train<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    columns: usize,
    out: Columns<'a>,
    statistics: Columns<'a>,
    variance: Columns<'a>,
}

impl Strip for Train<'_> {
    #[inline(always)]
    fn run<const W: usize>(&self, first: usize) {
        let rows: Vec<[f32; W]> = copied(self.x, self.columns, first);
        let n = rows.len().max(1) as f32;
        let mut mean = sum(
            &rows,
            #[inline(always)]
            |_, x| x,
        );
        for mean in &mut mean {
            *mean /= n;
        }
        let mut variance = sum(
            &rows,
            #[inline(always)]
            |k, x| (x - mean[k]) * (x - mean[k]),
        );
        let (gamma, beta) = (part::<W>(self.gamma, first), part::<W>(self.beta, first));
        let [mut inverse, mut scale] = [[0.0; W]; 2];
        for k in 0..W {
            variance[k] /= n;
            inverse[k] = 1.0 / (variance[k] + self.epsilon).sqrt();
            scale[k] = gamma[k] * inverse[k];
        }
        for (i, x) in rows.iter().enumerate() {
            let mut out = [0.0; W];
            for k in 0..W {
                out[k] = (x[k] - mean[k]).mul_add(scale[k], beta[k]);
            }
            // SAFETY: a strip's columns belong to one task.
            unsafe { self.out.set(i, first, out) };
        }
        // SAFETY: as above.
        unsafe {
            self.statistics.set(0, first, mean);
            self.statistics.set(1, first, inverse);
            self.variance.set(0, first, variance);
        }
    }
}

/// Σ term(column, x) over the rows of a strip, for each column.
#[inline(always)]
fn sum<const W: usize>(rows: &[[f32; W]], term: impl Fn(usize, f32) -> f32) -> [f32; W] {
    let mut total = [0.0; W];
    for block in rows.chunks(block(rows.len(), 1)) {
        let mut sum = [0.0; W];
        for x in block {
            for k in 0..W {
                sum[k] += term(k, x[k]);
            }
        }
        for k in 0..W {
            total[k] += sum[k];
        }
    }
    total
}

/// The output with given moments [2, D] (mean, biased variance): one sweep.
///
/// # Panics
/// When the lengths do not fit.
pub fn test(x: &[f32], gamma: &[f32], beta: &[f32], moments: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let columns = gamma.len().max(1);
    let (mean, variance) = moments.split_at(gamma.len());
    let scale: Vec<f32> =
        gamma.iter().zip(variance).map(|(gamma, variance)| gamma / (variance + epsilon).sqrt()).collect();
    let chunk = CHUNK.div_ceil(columns) * columns;
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                    let features = mean.iter().zip(&scale).zip(beta);
                    for ((out, &x), ((&mean, &scale), &beta)) in out.iter_mut().zip(x).zip(features) {
                        *out = (x - mean).mul_add(scale, beta);
                    }
                }
            },
        );
    });
    out
}

/// The gradients by the formula: the sums in one sweep, dx in a second. x̂ is made again from x.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_formula(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    backward::<false>(dout, x, statistics, gamma)
}

/// The gradients node by node, as [`graph`](crate::reference::batchnorm::graph) has them, in as many sweeps.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_graph(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    backward::<true>(dout, x, statistics, gamma)
}

fn backward<const GRAPH: bool>(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32]) -> Gradients<f32> {
    let columns = gamma.len();
    let rows = x.len().checked_div(columns).unwrap_or(0);
    let [mut dx, mut dgamma, mut dbeta] = [x.len(), columns, columns].map(|n| vec![0.0; n]);
    let (mean, inverse) = statistics.split_at(columns);
    let strip = Back::<GRAPH> {
        dout,
        x,
        mean,
        inverse,
        gamma,
        columns,
        dx: Columns::new(&mut dx, rows, columns),
        dgamma: Columns::new(&mut dgamma, 1, columns),
        dbeta: Columns::new(&mut dbeta, 1, columns),
    };
    over_strips(rows, columns, &strip);
    Gradients { dx, dgamma, dbeta }
}

struct Back<'a, const GRAPH: bool> {
    dout: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    inverse: &'a [f32],
    gamma: &'a [f32],
    columns: usize,
    dx: Columns<'a>,
    dgamma: Columns<'a>,
    dbeta: Columns<'a>,
}

impl<const GRAPH: bool> Strip for Back<'_, GRAPH> {
    #[inline(always)]
    fn run<const W: usize>(&self, first: usize) {
        let mean = part::<W>(self.mean, first);
        let (inverse, gamma) = (part::<W>(self.inverse, first), part::<W>(self.gamma, first));
        let x: Vec<[f32; W]> = copied(self.x, self.columns, first);
        let dout: Vec<[f32; W]> = copied(self.dout, self.columns, first);
        let n = dout.len().max(1) as f32;
        // Σdout and Σdout·x̂.
        let [dbeta, dgamma] = sums(
            &x,
            &dout,
            #[inline(always)]
            |k, x, dout| [dout, dout * ((x - mean[k]) * inverse[k])],
        );
        // dx = factor·(dout − shift) + slope·(x − μ) + constant, with a shift in the formula (dx is 0 for one row), a constant in the graph.
        let [mut factor, mut shift, mut slope, mut constant] = [[0.0; W]; 4];
        if GRAPH {
            let [along, through] = sums(
                &x,
                &dout,
                #[inline(always)]
                |k, x, dout| [dout * gamma[k] * (x - mean[k]), x - mean[k]],
            );
            let [dnormalized, _] = sums(
                &x,
                &dout,
                #[inline(always)]
                |k, _, dout| [dout * gamma[k], 0.0],
            );
            for k in 0..W {
                let dvariance = -0.5 * inverse[k] * inverse[k] * inverse[k] * along[k];
                let dmean = -inverse[k] * dnormalized[k] + dvariance * (-2.0 * through[k]) / n;
                factor[k] = gamma[k] * inverse[k];
                slope[k] = dvariance * 2.0 / n;
                constant[k] = dmean / n;
            }
        } else {
            for k in 0..W {
                factor[k] = gamma[k] * inverse[k];
                shift[k] = dbeta[k] / n;
                slope[k] = -factor[k] * inverse[k] * dgamma[k] / n;
            }
        }
        for (i, (x, dout)) in x.iter().zip(&dout).enumerate() {
            let mut dx = [0.0; W];
            for k in 0..W {
                let rest = (x[k] - mean[k]).mul_add(slope[k], constant[k]);
                dx[k] = (dout[k] - shift[k]).mul_add(factor[k], rest);
            }
            // SAFETY: a strip's columns belong to one task.
            unsafe { self.dx.set(i, first, dx) };
        }
        // SAFETY: as above.
        unsafe {
            self.dgamma.set(0, first, dgamma);
            self.dbeta.set(0, first, dbeta);
        }
    }
}

/// Two sums over the rows of a strip for each column, of what `terms` makes of (column, x, dout).
#[inline(always)]
fn sums<const W: usize>(
    x: &[[f32; W]],
    dout: &[[f32; W]],
    terms: impl Fn(usize, f32, f32) -> [f32; 2],
) -> [[f32; W]; 2] {
    let mut totals = [[0.0; W]; 2];
    let rows = block(x.len(), 1);
    for (x, dout) in x.chunks(rows).zip(dout.chunks(rows)) {
        let [mut left, mut right] = [[0.0; W]; 2];
        for (x, dout) in x.iter().zip(dout) {
            for k in 0..W {
                let [a, b] = terms(k, x[k], dout[k]);
                left[k] += a;
                right[k] += b;
            }
        }
        for k in 0..W {
            totals[0][k] += left[k];
            totals[1][k] += right[k];
        }
    }
    totals
}
