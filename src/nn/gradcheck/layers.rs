//! Every layer as a problem: L = Σ out·g with a fixed random g, or the loss itself.

use super::{Evaluation, Input, Problem, normals};
use crate::device::Device;
use crate::error::Result;
use crate::nn::layers::*;
use crate::ops::dropout::MaskKey;
use crate::rng::numpy::RandomState;
use crate::tensor::Tensor;
use crate::tolerance::Chain;

/// A layer on small inputs.
struct Layer {
    name: &'static str,
    chain: Chain,
    inputs: &'static [(&'static str, &'static [usize])],
    /// The shape of the output.
    out: &'static [usize],
    /// Runs the forward pass on the inputs; the last argument is ∂L/∂out.
    run: fn(&[Tensor], &Tensor) -> Result<Pass>,
}

/// A forward pass, to be finished in either way.
struct Pass {
    evaluation: Box<dyn FnOnce() -> Result<Evaluation>>,
    gradients: Box<dyn FnOnce() -> Result<Vec<Tensor>>>,
}

impl Pass {
    /// L = Σ out·dout.
    fn of(
        out: Tensor,
        dout: &Tensor,
        decisions: impl FnOnce() -> Result<Vec<bool>> + 'static,
        backward: impl FnOnce(&Tensor) -> Result<Vec<Tensor>> + 'static,
    ) -> Result<Self> {
        let (weights, dout) = (dout.clone(), dout.clone());
        Ok(Self {
            evaluation: Box::new(move || {
                let products = out.to_f64()?.into_iter().zip(weights.to_f64()?).map(|(out, dout)| out * dout);
                Ok(Evaluation { loss: products.sum(), decisions: decisions()? })
            }),
            gradients: Box::new(move || backward(&dout)),
        })
    }

    /// L = Σ out·dout of a layer without kinks.
    fn smooth(
        out: Tensor,
        dout: &Tensor,
        backward: impl FnOnce(&Tensor) -> Result<Vec<Tensor>> + 'static,
    ) -> Result<Self> {
        Self::of(out, dout, || Ok(Vec::new()), backward)
    }

    /// A loss.
    fn loss(
        (loss, dx): (Loss, Tensor),
        decisions: impl FnOnce() -> Result<Vec<bool>> + 'static,
    ) -> Result<Self> {
        Ok(Self {
            evaluation: Box::new(move || Ok(Evaluation { loss: loss.value()?, decisions: decisions()? })),
            gradients: Box::new(move || Ok(vec![dx])),
        })
    }
}

const MATRIX: &[(&str, &[usize])] = &[("x", &[6, 5])];
const NORM: &[(&str, &[usize])] = &[("x", &[6, 5]), ("gamma", &[5]), ("beta", &[5])];
const DENSE: &[(&str, &[usize])] = &[("x", &[4, 2, 3]), ("w", &[6, 5]), ("b", &[5])];

static LAYERS: &[Layer] = &[
    Layer {
        name: "affine",
        chain: Chain::Plain,
        inputs: DENSE,
        out: &[4, 5],
        run: |t, dout| {
            let (out, cache) = affine_forward(&t[0], &t[1], &t[2])?;
            Pass::smooth(out, dout, |dout| affine_backward(dout, cache).map(list))
        },
    },
    Layer {
        name: "relu",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = relu_forward(&t[0])?;
            Pass::of(out.clone(), dout, move || passes(&out), |dout| Ok(vec![relu_backward(dout, cache)?]))
        },
    },
    Layer {
        name: "leaky_relu",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = leaky_relu_forward(&t[0], 0.01)?;
            let backward = |dout: &Tensor| Ok(vec![leaky_relu_backward(dout, cache)?]);
            Pass::of(out.clone(), dout, move || passes(&out), backward)
        },
    },
    Layer {
        name: "sigmoid",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = sigmoid_forward(&t[0])?;
            Pass::smooth(out, dout, |dout| Ok(vec![sigmoid_backward(dout, cache)?]))
        },
    },
    Layer {
        name: "tanh",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = tanh_forward(&t[0])?;
            Pass::smooth(out, dout, |dout| Ok(vec![tanh_backward(dout, cache)?]))
        },
    },
    Layer {
        name: "maxout",
        chain: Chain::Plain,
        inputs: &[("a", &[6, 5]), ("b", &[6, 5])],
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = maxout_forward(&t[0], &t[1])?;
            let (a, b) = (t[0].clone(), t[1].clone());
            let decisions =
                move || Ok(a.to_f64()?.into_iter().zip(b.to_f64()?).map(|(a, b)| a > b).collect());
            Pass::of(out, dout, decisions, |dout| maxout_backward(dout, cache).map(|(a, b)| vec![a, b]))
        },
    },
    Layer {
        name: "affine_relu",
        chain: Chain::Plain,
        inputs: DENSE,
        out: &[4, 5],
        run: |t, dout| {
            let (out, cache) = affine_relu_forward(&t[0], &t[1], &t[2])?;
            let backward = |dout: &Tensor| affine_relu_backward(dout, cache).map(list);
            Pass::of(out.clone(), dout, move || passes(&out), backward)
        },
    },
    Layer {
        name: "batchnorm",
        chain: Chain::Normalized,
        inputs: NORM,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = batchnorm_forward(&t[0], &t[1], &t[2], &mut BatchNormParam::default())?;
            Pass::smooth(out, dout, |dout| batchnorm_backward(dout, cache).map(list))
        },
    },
    Layer {
        name: "batchnorm_alt",
        chain: Chain::Normalized,
        inputs: NORM,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = batchnorm_forward(&t[0], &t[1], &t[2], &mut BatchNormParam::default())?;
            Pass::smooth(out, dout, |dout| batchnorm_backward_alt(dout, cache).map(list))
        },
    },
    Layer {
        name: "layernorm",
        chain: Chain::Normalized,
        inputs: NORM,
        out: &[6, 5],
        run: |t, dout| {
            let (out, cache) = layernorm_forward(&t[0], &t[1], &t[2], 1e-5)?;
            Pass::smooth(out, dout, |dout| layernorm_backward(dout, cache).map(list))
        },
    },
    Layer {
        name: "dropout",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[6, 5],
        run: |t, dout| {
            let mask = Mask::Counter(MaskKey { seed: 231, step: 0, layer: 1 });
            let param = DropoutParam { p: 0.6, mode: Mode::Train, inverted: true, mask };
            let (out, cache) = dropout_forward(&t[0], &param)?;
            Pass::smooth(out, dout, |dout| Ok(vec![dropout_backward(dout, cache)?]))
        },
    },
    Layer {
        name: "svm_loss",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[],
        run: |t, _| {
            let (scores, labels) = (t[0].clone(), labels(&t[0])?);
            Pass::loss(svm_loss(&scores, &labels)?, move || margins(&scores, &labels, 1.0))
        },
    },
    Layer {
        name: "softmax_loss",
        chain: Chain::Plain,
        inputs: MATRIX,
        out: &[],
        run: |t, _| Pass::loss(softmax_loss(&t[0], &labels(&t[0])?)?, || Ok(Vec::new())),
    },
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().map(|layer| layer.name)
}

pub(super) fn problem(name: &str, seed: u64) -> Option<Result<Problem>> {
    let layer = LAYERS.iter().find(|layer| layer.name == name)?;
    let mut random = RandomState::new(seed as u32);
    let inputs = layer.inputs.iter().map(|&(name, shape)| Input {
        name: name.into(),
        shape: shape.to_vec(),
        values: normals(&mut random, shape.iter().product()),
    });
    let inputs: Vec<_> = inputs.collect();
    let g = normals(&mut random, layer.out.iter().product());
    let run = move |tensors: &[Tensor]| {
        let device = tensors.first().map_or(Device::Reference, Tensor::device);
        (layer.run)(tensors, &Tensor::from_f64(&device, layer.out, &g)?)
    };
    let again = run.clone();
    Some(Ok(Problem {
        name: layer.name,
        inputs,
        chain: layer.chain,
        evaluate: Box::new(move |tensors| (run(tensors)?.evaluation)()),
        gradients: Box::new(move |tensors| (again(tensors)?.gradients)()),
    }))
}

fn list((dx, dw, db): (Tensor, Tensor, Tensor)) -> Vec<Tensor> {
    vec![dx, dw, db]
}

/// Which inputs a ReLU has let pass, by its output.
pub(super) fn passes(y: &Tensor) -> Result<Vec<bool>> {
    Ok(y.to_f64()?.into_iter().map(|y| y > 0.0).collect())
}

/// Which margins of the SVM loss are above 0.
pub(super) fn margins(scores: &Tensor, labels: &Tensor, delta: f64) -> Result<Vec<bool>> {
    let classes = scores.shape().last().copied().unwrap_or(1).max(1);
    let (scores, labels) = (scores.to_f64()?, labels.to_f64()?);
    let rows = scores.chunks_exact(classes).zip(labels);
    Ok(rows
        .flat_map(|(row, label)| {
            let right = row[label as usize];
            row.iter().map(move |score| score - right + delta > 0.0)
        })
        .collect())
}

/// A label for every row of scores.
fn labels(scores: &Tensor) -> Result<Tensor> {
    let &[rows, classes] = scores.shape() else { return Tensor::from_u32(&scores.device(), &[0], &[]) };
    let labels: Vec<_> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
    Tensor::from_u32(&scores.device(), &[rows], &labels)
}
