//! Steps of training, repeated by the definitions while they are made: does the device compute what it should, on these very data?
//!
//! A sampled step is held to its definition in two parts. From the parameters and the batch as they lie on the device, losses, gradients and
//! running moments are computed in 64 bit, each with the bound on what 32-bit arithmetic may make of it ([`Tracked`]), through the whole net
//! and back. Then, from the device's own gradients, the parameters and what the update rule remembers: a bound through the rule from the first
//! part on would be void wherever a gradient is smaller than its own bound.
//!
//! Nothing that the step computes is changed: a run that is watched has the bits of one that is not.

use super::definition::{Definition, Given, Truth};
use super::model::FullyConnectedNet;
use super::optim::{Optimizer, Rule};
use super::parameters::Parameters;
use crate::error::Result;
use crate::ops::optimizer::Step;
use crate::reference;
use crate::tensor::Tensor;
use crate::tolerance::{Tracked, Worst, compare, largest_error};

/// Compares sampled steps with their definitions.
#[derive(Debug, Clone, Default)]
pub struct Shadow {
    steps: Vec<u64>,
    /// What was compared so far.
    pub comparisons: Vec<Comparison>,
}

/// A tensor of a step beside its definition.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The step, counted from 1.
    pub step: u64,
    /// `losses`, `gradient of W1`, `moments of layer 1`, `updated W1`, `state 1 of W1`, …
    pub what: String,
    /// The element that comes nearest to its allowance.
    pub worst: Worst,
    /// The largest error as a share of the largest element.
    pub largest_error: f64,
}

/// A step before it is made, on the host.
pub(super) struct Before {
    parameters: Vec<Vec<f64>>,
    states: Vec<Vec<Vec<f64>>>,
    moments: Vec<Option<Vec<f64>>>,
}

/// What a step is besides its tensors.
pub(super) struct Made<'a> {
    pub(super) x: &'a Tensor,
    pub(super) y: &'a Tensor,
    pub(super) losses: &'a Tensor,
    pub(super) gradients: &'a Parameters,
    pub(super) rule: Rule,
    pub(super) learning_rate: f64,
    pub(super) l2: f64,
    /// Counted from 0.
    pub(super) step: u64,
}

impl Shadow {
    /// Watches `count` of the steps `from..to`, counted from 0, evenly spread, the first and the last among them.
    pub fn spread(from: u64, to: u64, count: u64) -> Self {
        let last = to.saturating_sub(from).saturating_sub(1);
        let among =
            |i: u64| from + (u128::from(i) * u128::from(last) / u128::from((count - 1).max(1))) as u64;
        let mut steps: Vec<u64> = if to > from { (0..count).map(among).collect() } else { Vec::new() };
        steps.dedup();
        Self { steps, comparisons: Vec::new() }
    }

    /// Steps that were compared.
    pub fn steps(&self) -> usize {
        let mut steps: Vec<_> = self.comparisons.iter().map(|it| it.step).collect();
        steps.dedup();
        steps.len()
    }

    /// Comparisons beyond their allowance.
    pub fn failed(&self) -> usize {
        self.comparisons.iter().filter(|it| !it.worst.ok()).count()
    }

    /// The comparison that comes nearest to its allowance, or exceeds it most.
    pub fn worst(&self) -> Option<&Comparison> {
        self.comparisons.iter().max_by(|a, b| a.worst.ratio.total_cmp(&b.worst.ratio))
    }

    /// Reads what the definition of a sampled step starts from.
    pub(super) fn before(
        &self,
        step: u64,
        net: &FullyConnectedNet,
        optimizer: &Optimizer,
    ) -> Result<Option<Before>> {
        if self.steps.binary_search(&step).is_err() {
            return Ok(None);
        }
        let moments = net.norms.iter().map(|norm| norm.moments.as_ref().map(Tensor::to_f64).transpose());
        Ok(Some(Before {
            parameters: read(&net.parameters)?,
            states: states(optimizer)?,
            moments: moments.collect::<Result<_>>()?,
        }))
    }

    /// Compares a step that was made.
    pub(super) fn after(
        &mut self,
        before: Before,
        made: &Made<'_>,
        net: &FullyConnectedNet,
        optimizer: &Optimizer,
    ) -> Result<()> {
        let names: Vec<_> = net.parameters.iter().map(|(name, _)| name.to_owned()).collect();
        let given = Given {
            names: &names,
            parameters: before.parameters.iter().map(|values| Tracked::inputs(values)).collect(),
            moments: before.moments.iter().map(|moments| moments.as_deref().map(Tracked::inputs)).collect(),
        };
        let x = made.x.to_f64()?;
        let truth = match net.architecture().objective.of_labels() {
            true => Truth::Labels(made.y.to_f64()?.into_iter().map(|label| label as u32).collect()),
            false => Truth::Targets(Tracked::inputs(&made.y.to_f64()?)),
        };
        let definition = Definition { architecture: net.architecture(), step: made.step as u32 };
        let found = definition.pass(&given, &Tracked::inputs(&x), &truth);
        self.compare(made.step, "losses".into(), &made.losses.to_f64()?, &found.losses);
        let gradients = read(made.gradients)?;
        for ((name, got), want) in names.iter().zip(&gradients).zip(&found.gradients) {
            self.compare(made.step, format!("gradient of {name}"), got, want);
        }
        for (i, (norm, want)) in net.norms.iter().zip(&found.moments).enumerate() {
            if let Some(moments) = &norm.moments {
                self.compare(made.step, format!("moments of layer {}", i + 1), &moments.to_f64()?, want);
            }
        }
        let (parameters, states) = (read(&net.parameters)?, states(optimizer)?);
        for (i, name) in names.iter().enumerate() {
            let mut want = Tracked::inputs(&before.parameters[i]);
            let mut remembered: Vec<_> =
                before.states[i].iter().map(|state| Tracked::inputs(state)).collect();
            let mut places: Vec<_> = remembered.iter_mut().map(Vec::as_mut_slice).collect();
            let step = Step {
                learning_rate: made.learning_rate,
                l2: made.l2,
                regularized: if i < net.parameters.weight_count() { want.len() } else { 0 },
                count: made.step as u32 + 1,
            };
            let gradient = Tracked::inputs(&gradients[i]);
            reference::optimizer::update(&made.rule, &step, &mut want, &gradient, &mut places);
            self.compare(made.step, format!("updated {name}"), &parameters[i], &want);
            for (at, (got, want)) in states[i].iter().zip(&remembered).enumerate() {
                self.compare(made.step, format!("state {} of {name}", at + 1), got, want);
            }
        }
        Ok(())
    }

    fn compare(&mut self, step: u64, what: String, got: &[f64], want: &[Tracked]) {
        let values: Vec<f64> = want.iter().map(|want| want.value()).collect();
        let largest_error = largest_error(got, &values, &values);
        self.comparisons.push(Comparison { step: step + 1, what, worst: compare(got, want), largest_error });
    }
}

/// The numbers of each parameter.
fn read(parameters: &Parameters) -> Result<Vec<Vec<f64>>> {
    Tensor::read_all(&parameters.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>())
}

/// What the rule remembers of each parameter.
fn states(optimizer: &Optimizer) -> Result<Vec<Vec<Vec<f64>>>> {
    let of = |states: &Vec<Tensor>| Tensor::read_all(&states.iter().collect::<Vec<_>>());
    optimizer.states().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_step_are_watched() {
        let of = |from, to, count| Shadow::spread(from, to, count).steps;
        assert_eq!(of(0, 100, 5), [0, 24, 49, 74, 99]);
        assert_eq!(of(40, 100, 2), [40, 99]);
        assert_eq!(of(0, 2, 9), [0, 1]);
        assert_eq!(of(0, 100, 1), [0]);
        assert!(of(5, 5, 3).is_empty() && of(0, 9, 0).is_empty());
    }
}
