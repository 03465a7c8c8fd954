//! The numbers of nets that stand side by side, on the host: of all together, and of one.

use crate::error::Result;
use crate::nn::layers::BatchNormParam;
use crate::nn::model::FullyConnectedNet;
use crate::nn::parameters::side_by_side::{columns, join};
use crate::nn::parameters::{Named, Parameters};
use crate::nn::solver::Solver;
use crate::tensor::Tensor;

/// A net's own columns on the host.
pub(super) struct Saved {
    /// Parameters, then what the rule remembers where that is saved, by tensor.
    pub(super) tensors: Vec<Vec<Named>>,
    /// Running moments of every normalised layer that has seen a batch.
    moments: Vec<Option<Vec<f64>>>,
}

/// All columns on the host.
pub(super) struct Whole {
    tensors: Vec<Vec<f64>>,
    moments: Vec<Option<Vec<f64>>>,
}

impl Whole {
    pub(super) fn read(
        parameters: &Parameters,
        states: &[Parameters],
        net: &FullyConnectedNet,
    ) -> Result<Self> {
        let flat: Vec<&Tensor> = std::iter::once(parameters).chain(states).map(Parameters::flat).collect();
        let moments = net.norms.iter().map(|norm| norm.moments.as_ref().map(Tensor::to_f64).transpose());
        Ok(Self { tensors: Tensor::read_all(&flat)?, moments: moments.collect::<Result<_>>()? })
    }

    /// Those of a net.
    pub(super) fn of_one(&self, layout: &Parameters, net: usize, nets: usize) -> Saved {
        let own = |both: &Vec<f64>| columns(both, both.len() / 2, net, nets);
        Saved {
            tensors: self.tensors.iter().map(|values| layout.of_one(values, net, nets)).collect(),
            moments: self.moments.iter().map(|moments| moments.as_ref().map(own)).collect(),
        }
    }
}

impl Saved {
    /// The net, like `from` in all but its numbers.
    pub(super) fn net(&self, from: &FullyConnectedNet) -> Result<FullyConnectedNet> {
        let (mut net, device) = (from.clone(), from.device());
        net.parameters = Parameters::new(&device, self.tensors[0].clone(), from.parameters.weight_count())?;
        for (norm, moments) in net.norms.iter_mut().zip(&self.moments) {
            let tensor = |both: &Vec<f64>| Tensor::from_f64(&device, &[2, both.len() / 2], both);
            norm.moments = moments.as_ref().map(tensor).transpose()?;
        }
        Ok(net)
    }
}

/// The running moments of all nets side by side; none before the first step.
pub(super) fn moments_of_all(solvers: &[Solver]) -> Result<Vec<BatchNormParam>> {
    let mut norms = solvers[0].net.norms.clone();
    for (layer, norm) in norms.iter_mut().enumerate() {
        let own = |solver: &Solver| solver.net.norms[layer].moments.as_ref().map(Tensor::to_f64).transpose();
        let own = solvers.iter().map(own).collect::<Result<Option<Vec<_>>>>()?;
        norm.moments = None;
        if let Some(own) = own {
            let both = join(&own.iter().map(Vec::as_slice).collect::<Vec<_>>(), own[0].len() / 2);
            norm.moments = Some(Tensor::from_f64(&solvers[0].net.device(), &[2, both.len() / 2], &both)?);
        }
    }
    Ok(norms)
}
