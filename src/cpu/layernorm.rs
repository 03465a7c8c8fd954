//! Layer normalisation on the CPU: a row stays in cache from its sums to its output.

use rayon::prelude::*;

use super::awake;
use super::chunks::{CHUNK, vectorized};
use super::lanes::{CHAIN, LANES, each, fold, sum};
use crate::recycled;
use crate::reference::batchnorm::{Gradients, Normalized};
use crate::tolerance::block;

/// The forward pass over x [N, D] with D from `gamma`. Without features the mean and the variance are 0.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, rows: usize) -> Normalized<f32> {
    let columns = gamma.len();
    let [mut out, mut means, mut inverses] = [x.len(), rows, rows].map(recycled::numbers);
    if columns == 0 {
        inverses.fill(1.0 / epsilon.sqrt());
    } else {
        let task = CHUNK.div_ceil(columns);
        let outs = out.par_chunks_mut(task * columns).zip(x.par_chunks(task * columns));
        let tasks = outs.zip(means.par_chunks_mut(task).zip(inverses.par_chunks_mut(task)));
        awake::keep(rows.div_ceil(task));
        tasks.for_each(|((out, x), (means, inverses))| {
            vectorized(
                #[inline(always)]
                || {
                    let rows = out.chunks_exact_mut(columns).zip(x.chunks_exact(columns));
                    for ((out, x), (mean, inverse)) in rows.zip(means.iter_mut().zip(inverses)) {
                        (*mean, *inverse) = row_statistics(x, epsilon);
                        for ((out, &x), (&gamma, &beta)) in out.iter_mut().zip(x).zip(gamma.iter().zip(beta))
                        {
                            *out = ((x - *mean) * *inverse).mul_add(gamma, beta);
                        }
                    }
                },
            );
        });
    }
    means.extend(inverses);
    Normalized { out, statistics: means }
}

/// The mean of a row and 1/√(variance + ε).
#[inline(always)]
fn row_statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x, 0.0, |x| x) / n;
    let squares = sum(x, mean, |x| (x - mean) * (x - mean));
    (mean, 1.0 / (squares / n + epsilon).sqrt())
}

/// Two sums of f(x, y, z) over three rows of one length, in pieces whose error is within what a sum is allowed; f of zeros must be 0.
#[inline(always)]
fn sums([x, y, z]: [&[f32]; 3], f: impl Fn(f32, f32, f32) -> [f32; 2]) -> [f32; 2] {
    let mut totals = [0.0; 2];
    for ((x, y), z) in x.chunks(CHAIN).zip(y.chunks(CHAIN)).zip(z.chunks(CHAIN)) {
        let (mut left, mut right) = ([0.0; LANES], [0.0; LANES]);
        each(
            [x, y, z],
            0.0,
            #[inline(always)]
            |[x, y, z]| {
                for k in 0..LANES {
                    let [a, b] = f(x[k], y[k], z[k]);
                    left[k] += a;
                    right[k] += b;
                }
            },
        );
        totals[0] += fold(left, |a, b| a + b);
        totals[1] += fold(right, |a, b| a + b);
    }
    totals
}

/// The gradients. Each task has sums for γ and β of its own, which are then added in the order of the tasks.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward(dout: &[f32], x: &[f32], statistics: &[f32], gamma: &[f32], rows: usize) -> Gradients<f32> {
    let columns = gamma.len();
    let (means, inverses) = statistics.split_at(rows);
    let mut dx = recycled::numbers(x.len());
    let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![0.0; columns]);
    if x.is_empty() {
        return Gradients { dx, dgamma, dbeta };
    }
    // A task adds blocks of rows, and the tasks' sums are few: the chains of both are within what a sum is allowed.
    let chain = block(rows, 1);
    let task = CHUNK.div_ceil(columns).max(chain).max(32);
    let inputs = x.par_chunks(task * columns).zip(dout.par_chunks(task * columns));
    let rows = means.par_chunks(task).zip(inverses.par_chunks(task));
    awake::keep(x.len().div_ceil(task * columns));
    let tasks = dx.par_chunks_mut(task * columns).zip(inputs).zip(rows);
    let partial: Vec<Vec<f32>> = tasks
        .map(|((dx, (x, dout)), (means, inverses))| {
            let [mut total, mut partial] = [(); 2].map(|()| vec![0.0; 2 * columns]);
            vectorized(
                #[inline(always)]
                || {
                    let inputs = x.chunks_exact(columns).zip(dout.chunks_exact(columns));
                    let outputs = dx.chunks_exact_mut(columns);
                    let rows = outputs.zip(inputs).zip(means.iter().zip(inverses)).zip(1..);
                    for (((dx, (x, dout)), (&mean, &inverse)), row) in rows {
                        let (dgamma, dbeta) = partial.split_at_mut(columns);
                        row_gradients([x, dout, gamma], mean, inverse, dx);
                        for (((&x, &dout), dgamma), dbeta) in
                            x.iter().zip(dout).zip(dgamma.iter_mut()).zip(dbeta.iter_mut())
                        {
                            *dgamma = dout.mul_add((x - mean) * inverse, *dgamma);
                            *dbeta += dout;
                        }
                        if row % chain == 0 {
                            for (total, part) in total.iter_mut().zip(&mut partial) {
                                *total += std::mem::take(part);
                            }
                        }
                    }
                },
            );
            total.iter_mut().zip(&partial).for_each(|(total, part)| *total += part);
            total
        })
        .collect();
    for partial in partial {
        let (gammas, betas) = partial.split_at(columns);
        dgamma.iter_mut().zip(gammas).for_each(|(sum, &part)| *sum += part);
        dbeta.iter_mut().zip(betas).for_each(|(sum, &part)| *sum += part);
    }
    Gradients { dx, dgamma, dbeta }
}

/// dx of a row: (g − shift)·inverse + (x − μ)·slope, with the sums of g = dout·γ in shift and slope.
#[inline(always)]
fn row_gradients([x, dout, gamma]: [&[f32]; 3], mean: f32, inverse: f32, dx: &mut [f32]) {
    let n = x.len() as f32;
    let [sum, along] = sums(
        [x, dout, gamma],
        #[inline(always)]
        |x, dout, gamma| {
            let flow = dout * gamma;
            [flow, flow * ((x - mean) * inverse)]
        },
    );
    let slope = -inverse * inverse * along / n;
    let shift = sum / n;
    for ((dx, &x), (&dout, &gamma)) in dx.iter_mut().zip(x).zip(dout.iter().zip(gamma)) {
        *dx = (dout * gamma - shift).mul_add(inverse, (x - mean) * slope);
    }
}
