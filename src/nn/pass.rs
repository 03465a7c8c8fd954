//! The passes of a net: forward with what the backward pass needs, and back.
//!
//! Nets that stand [side by side](super::team) take them together: their first layers see the same samples and are one product, later layers
//! are a product for each net, and everything else works on all columns at once.

use super::architecture::{HiddenDropout, Normalization};
use super::layers::{
    ActivationCache, AffineCache, BatchNormCache, BatchNormParam, LayerNormCache, Mode, activation_backward,
    activation_forward, affine_activation_forward_grouped, affine_forward_grouped, batchnorm_backward_into,
    batchnorm_forward, layernorm_backward_into, layernorm_forward,
};
use super::model::{EPSILON, FullyConnectedNet};
use super::parameters::Parameters;
use crate::error::Result;
use crate::ops::dropout::{Dropout, MaskKey, dropout, dropout_grouped};
use crate::tensor::{RealsMut, Tensor};

/// What the backward pass of a hidden layer needs.
pub(super) struct Hidden {
    affine: AffineCache,
    norm: Norm,
    pub(super) activation: ActivationCache,
    dropout: Option<MaskKey>,
}

enum Norm {
    None,
    Batch(BatchNormCache),
    Layer(LayerNormCache),
}

/// A forward pass: scores, and what the backward pass needs.
pub(super) struct Forward {
    pub(super) scores: Tensor,
    pub(super) hidden: Vec<Hidden>,
    last: AffineCache,
}

impl FullyConnectedNet {
    /// Scores and caches; `norms` are the running moments to use and, in training, to move.
    pub(super) fn forward(&self, x: &Tensor, norms: &mut [BatchNormParam], mode: Mode) -> Result<Forward> {
        let of = |name: &str, layer: usize| self.parameters.get(&format!("{name}{layer}"));
        // All nets see the same samples.
        let groups = |layer: usize| if layer == 1 { 1 } else { self.nets() };
        let architecture = self.architecture();
        let layers = self.parameters.weight_count();
        let mut hidden = Vec::with_capacity(layers - 1);
        let mut out = x.clone();
        for layer in 1..layers {
            let (w, b) = (of("W", layer)?, of("b", layer)?);
            let (affine, norm, activation);
            (out, affine, norm, activation) = match architecture.normalization {
                Normalization::None => {
                    let f = architecture.activation;
                    let (y, cache) = affine_activation_forward_grouped(&out, &w, &b, f, groups(layer))?;
                    (y, cache.affine, Norm::None, cache.activation)
                }
                kind => {
                    let (sums, affine) = affine_forward_grouped(&out, &w, &b, groups(layer))?;
                    let (gamma, beta) = (of("gamma", layer)?, of("beta", layer)?);
                    let (normal, norm) = if kind == Normalization::Batch {
                        let (normal, cache) = batchnorm_forward(&sums, &gamma, &beta, &mut norms[layer - 1])?;
                        (normal, Norm::Batch(cache))
                    } else {
                        let (normal, cache) = layernorm_forward(&sums, &gamma, &beta, EPSILON)?;
                        (normal, Norm::Layer(cache))
                    };
                    let (y, activation) = activation_forward(&normal, architecture.activation)?;
                    (y, affine, norm, activation)
                }
            };
            let mut dropout = None;
            if let (Mode::Train, Some(HiddenDropout { seed, .. })) = (mode, architecture.dropout) {
                let key = MaskKey { seed, step: self.step, layer: layer as u32 };
                out = self.masked(&out, key)?;
                dropout = Some(key);
            }
            hidden.push(Hidden { affine, norm, activation, dropout });
        }
        let (scores, last) =
            affine_forward_grouped(&out, &of("W", layers)?, &of("b", layers)?, groups(layers))?;
        Ok(Forward { scores, hidden, last })
    }

    /// Writes the gradient of every parameter, from that of the scores.
    pub(super) fn backward(
        &self,
        dscores: Tensor,
        forward: Forward,
        gradients: &mut Parameters,
    ) -> Result<()> {
        let Forward { mut hidden, last, .. } = forward;
        let (mut dout, mut affine) = (dscores, last);
        while let Some(Hidden { affine: next, norm, activation, dropout }) = hidden.pop() {
            let layer = hidden.len() + 1;
            affine.write_gradients(&dout, slots(gradients, ["W", "b"], layer + 1)?)?;
            dout = match dropout {
                Some(key) => {
                    // The mask is that of the forward pass, and the layer is linear.
                    let kept = self.masked(&affine.input_gradient(&dout)?, key)?;
                    activation_backward(&kept, activation)?
                }
                None => affine.gradient_below(&dout, &activation)?,
            };
            dout = match norm {
                Norm::None => dout,
                Norm::Batch(cache) => {
                    batchnorm_backward_into(&dout, &cache, slots(gradients, ["gamma", "beta"], layer)?)?
                }
                Norm::Layer(cache) => {
                    layernorm_backward_into(&dout, &cache, slots(gradients, ["gamma", "beta"], layer)?)?
                }
            };
            affine = next;
        }
        // Nobody needs the gradient of the data.
        affine.write_gradients(&dout, slots(gradients, ["W", "b"], 1)?)
    }

    /// The units of `x` that are kept, scaled; the same of the gradient.
    fn masked(&self, x: &Tensor, key: MaskKey) -> Result<Tensor> {
        match (&self.team, self.architecture().dropout) {
            (Some(drops), _) => dropout_grouped(x, drops, key),
            (None, Some(HiddenDropout { drop, .. })) => dropout(x, &Dropout { drop, inverted: true, key }),
            (None, None) => Ok(x.clone()),
        }
    }
}

/// Room for the gradients of two parameters of a layer.
fn slots<'a>(gradients: &'a mut Parameters, names: [&str; 2], layer: usize) -> Result<[RealsMut<'a>; 2]> {
    let names = names.map(|name| format!("{name}{layer}"));
    gradients.slots([&names[0], &names[1]])
}
