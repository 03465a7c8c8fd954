//! The fully connected net by the definitions alone: loops over any [`Real`], from rows to losses and back to every gradient. With
//! [`Tracked`](crate::tolerance::Tracked) numbers each result carries the bound on what 32-bit arithmetic may make of it.

use rayon::prelude::*;

use super::layers::BatchNormParam;
use super::model::{Architecture, HiddenDropout, Normalization, Objective};
use crate::reference::batchnorm::{self, Gradients};
use crate::reference::dropout::{Dropout, MaskKey, dropout};
use crate::reference::{activation, affine, cross_entropy, hinge_loss, layernorm, matmul, squared_error};
use crate::tolerance::Real;

/// Rows that a thread takes at a time. Each row of a product is a sum of its own, so this changes no number.
const ROWS: usize = 8;

/// A net in one step of training.
pub(super) struct Definition<'a> {
    pub(super) architecture: &'a Architecture,
    /// What dropout masks depend on.
    pub(super) step: u32,
}

/// What a pass starts from.
pub(super) struct Given<'a, T> {
    /// Of the parameters.
    pub(super) names: &'a [String],
    pub(super) parameters: Vec<Vec<T>>,
    /// Running moments of each normalised layer; absent before the first step.
    pub(super) moments: Vec<Option<Vec<T>>>,
}

/// What the outputs should be.
pub(super) enum Truth<T> {
    Labels(Vec<u32>),
    Targets(Vec<T>),
}

/// What a pass finds.
pub(super) struct Found<T> {
    /// Of each row.
    pub(super) losses: Vec<T>,
    /// Of each parameter.
    pub(super) gradients: Vec<Vec<T>>,
    /// Running moments after the step.
    pub(super) moments: Vec<Vec<T>>,
}

/// What the way back through a hidden layer needs.
struct Hidden<T> {
    x: Vec<T>,
    /// x·W + b, and what normalised it.
    sums: Option<(Vec<T>, Vec<T>)>,
    /// After the activation.
    y: Vec<T>,
    mask: Option<Dropout>,
}

impl<T: Real + Send + Sync> Given<'_, T> {
    fn get(&self, name: &str, layer: usize) -> &[T] {
        let wanted = format!("{name}{layer}");
        self.names.iter().position(|own| *own == wanted).map_or(&[], |i| &self.parameters[i])
    }
}

impl Definition<'_> {
    /// Forward and backward over the rows `x` (N × D).
    pub(super) fn pass<T: Real + Send + Sync>(
        &self,
        given: &Given<'_, T>,
        x: &[T],
        truth: &Truth<T>,
    ) -> Found<T> {
        let architecture = self.architecture;
        let rows = x.len() / architecture.inputs;
        let mut hidden = Vec::new();
        let mut moments = Vec::new();
        let mut out = x.to_vec();
        for (i, &width) in architecture.hidden.iter().enumerate() {
            out = self.hidden(i + 1, width, given, out, &mut hidden, &mut moments);
        }
        let last = architecture.hidden.len() + 1;
        let scores = layer(&out, given.get("W", last), given.get("b", last), None);
        let (losses, mut dout) = self.losses(&scores, truth);
        let mut gradients = vec![Vec::new(); given.names.len()];
        let mut keep = |name: &str, layer: usize, gradient: Vec<T>| {
            let wanted = format!("{name}{layer}");
            if let Some(i) = given.names.iter().position(|own| *own == wanted) {
                gradients[i] = gradient;
            }
        };
        let mut x = out;
        for layer in (1..=last).rev() {
            let columns = dout.len() / rows.max(1);
            keep("W", layer, weights(&x, &dout, rows));
            keep("b", layer, (0..columns).map(|j| (0..rows).map(|i| dout[i * columns + j]).sum()).collect());
            let Some(below) = hidden.pop() else { break };
            dout = inputs(&dout, given.get("W", layer), rows);
            if let Some(mask) = &below.mask {
                dout = dropout(&dout, mask);
            }
            dout = activation::backward(&dout, &below.y, architecture.activation);
            if let Some((sums, statistics)) = &below.sums {
                let gamma = given.get("gamma", layer - 1);
                let Gradients { dx, dgamma, dbeta } = match architecture.normalization {
                    Normalization::Layer => layernorm::backward(&dout, sums, statistics, gamma, rows),
                    _ => batchnorm::backward_formula(&dout, sums, statistics, gamma),
                };
                keep("gamma", layer - 1, dgamma);
                keep("beta", layer - 1, dbeta);
                dout = dx;
            }
            x = below.x;
        }
        Found { losses, gradients, moments }
    }

    /// A hidden layer forward.
    fn hidden<T: Real + Send + Sync>(
        &self,
        at: usize,
        width: usize,
        given: &Given<'_, T>,
        x: Vec<T>,
        hidden: &mut Vec<Hidden<T>>,
        moments: &mut Vec<Vec<T>>,
    ) -> Vec<T> {
        let Architecture { activation: f, normalization, .. } = *self.architecture;
        let (w, b) = (given.get("W", at), given.get("b", at));
        let (gamma, beta) = (given.get("gamma", at), given.get("beta", at));
        let BatchNormParam { eps, momentum, .. } = BatchNormParam::default();
        let (y, sums) = match normalization {
            Normalization::None => (layer(&x, w, b, Some(f)), None),
            kind => {
                let sums = layer(&x, w, b, None);
                let normalized = match kind {
                    Normalization::Layer => layernorm::forward(&sums, gamma, beta, eps, sums.len() / width),
                    _ => {
                        let old = given.moments.get(at - 1).cloned().flatten();
                        let old = old.unwrap_or_else(|| vec![T::from(0.0); 2 * width]);
                        moments.push(batchnorm::running(&old, &batchnorm::moments(&sums, width), momentum));
                        batchnorm::train(&sums, gamma, beta, eps)
                    }
                };
                (activation::forward(&normalized.out, f), Some((sums, normalized.statistics)))
            }
        };
        // As the net does it: by the probability to keep.
        let layer = at as u32;
        let mask = self.architecture.dropout.map(|HiddenDropout { drop, seed }| Dropout {
            drop,
            inverted: true,
            key: MaskKey { seed, step: self.step, layer },
        });
        let out = mask.as_ref().map_or_else(|| y.clone(), |mask| dropout(&y, mask));
        hidden.push(Hidden { x, sums, y, mask });
        out
    }

    fn losses<T: Real>(&self, scores: &[T], truth: &Truth<T>) -> (Vec<T>, Vec<T>) {
        let columns = self.architecture.outputs;
        let class_weights = self.architecture.class_weights.as_deref();
        let weights: Option<Vec<T>> = class_weights.map(|all| all.iter().copied().map(T::from).collect());
        let weights = weights.as_deref();
        match (truth, self.architecture.objective) {
            (Truth::Targets(targets), _) => squared_error::losses(scores, targets, columns),
            (Truth::Labels(y), Objective::Hinge(delta)) => {
                hinge_loss::losses(scores, y, [columns, 1], weights, delta)
            }
            (Truth::Labels(y), _) => cross_entropy::losses(scores, y, [columns, 1], weights),
        }
    }
}

/// f(x·W + b), the rows shared out among threads.
fn layer<T: Real + Send + Sync>(x: &[T], w: &[T], b: &[T], f: Option<activation::Activation>) -> Vec<T> {
    let columns = b.len();
    let depth = w.len() / columns.max(1);
    let some = |x: &[T]| affine::affine(x, w, Some(b), [x.len() / depth, columns, depth], f);
    x.par_chunks(ROWS * depth.max(1)).flat_map_iter(some).collect()
}

/// dW = xᵀ·dout.
fn weights<T: Real + Send + Sync>(x: &[T], dout: &[T], rows: usize) -> Vec<T> {
    let [depth, columns] = [x, dout].map(|values| values.len() / rows.max(1));
    let turned: Vec<T> = (0..depth).flat_map(|j| (0..rows).map(move |i| x[i * depth + j])).collect();
    let some = |x: &[T]| matmul::matmul(x, dout, [x.len() / rows, columns, rows], false, false);
    turned.par_chunks(ROWS * rows.max(1)).flat_map_iter(some).collect()
}

/// dx = dout·Wᵀ.
fn inputs<T: Real + Send + Sync>(dout: &[T], w: &[T], rows: usize) -> Vec<T> {
    let columns = dout.len() / rows.max(1);
    let depth = w.len() / columns.max(1);
    let some = |dout: &[T]| matmul::matmul(dout, w, [dout.len() / columns, depth, columns], false, true);
    dout.par_chunks(ROWS * columns.max(1)).flat_map_iter(some).collect()
}
