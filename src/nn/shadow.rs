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
use crate::tolerance::{Real, Tracked, Worst, compare};

/// What comparisons of gradients begin with.
const GRADIENT: &str = "gradient of ";

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
    /// The largest error, and the largest element of the definition.
    pub error: [f64; 2],
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

    /// The largest error of a gradient as a share of the largest gradient of its step, over all steps. Gradients that are 0 but for rounding, such
    /// as those of biases under a normalisation, have no size of their own to be measured by.
    pub fn gradient_error(&self) -> f64 {
        let gradients = || self.comparisons.iter().filter(|it| it.what.starts_with(GRADIENT));
        let share = |step: u64| {
            let of = |i: usize| {
                gradients().filter(|it| it.step == step).fold(0.0, |most, it| Real::max(most, it.error[i]))
            };
            let (error, size) = (of(0), of(1));
            if error == 0.0 { 0.0 } else { error / size }
        };
        gradients().map(|it| share(it.step)).fold(0.0, Real::max)
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
            parameters: net.parameters.values()?,
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
        let names: Vec<_> = net.parameters.names().map(str::to_owned).collect();
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
        let gradients = made.gradients.values()?;
        for ((name, got), want) in names.iter().zip(&gradients).zip(&found.gradients) {
            self.compare(made.step, format!("{GRADIENT}{name}"), got, want);
        }
        for (i, (norm, want)) in net.norms.iter().zip(&found.moments).enumerate() {
            if let Some(moments) = &norm.moments {
                self.compare(made.step, format!("moments of layer {}", i + 1), &moments.to_f64()?, want);
            }
        }
        let (parameters, states) = (net.parameters.values()?, states(optimizer)?);
        for (i, name) in names.iter().enumerate() {
            let mut want = Tracked::inputs(&before.parameters[i]);
            let mut remembered: Vec<_> =
                before.states.iter().map(|state| Tracked::inputs(&state[i])).collect();
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
            for (at, (got, want)) in states.iter().zip(&remembered).enumerate() {
                self.compare(made.step, format!("state {} of {name}", at + 1), &got[i], want);
            }
        }
        Ok(())
    }

    fn compare(&mut self, step: u64, what: String, got: &[f64], want: &[Tracked]) {
        let largest =
            |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most, x| Real::max(most, x.abs()));
        let error = [
            largest(&mut got.iter().zip(want).map(|(got, want)| got - want.value())),
            largest(&mut want.iter().map(|want| want.value())),
        ];
        self.comparisons.push(Comparison { step: step + 1, what, worst: compare(got, want), error });
    }
}

/// What the rule remembers: the numbers of each state, of each parameter.
fn states(optimizer: &Optimizer) -> Result<Vec<Vec<Vec<f64>>>> {
    optimizer.states().iter().map(Parameters::values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::nn::model::{Architecture, Init, Normalization};
    use crate::rng::numpy::RandomState;

    #[test]
    fn the_first_and_the_last_step_are_watched() {
        let of = |from, to, count| Shadow::spread(from, to, count).steps;
        assert_eq!(of(0, 100, 5), [0, 24, 49, 74, 99]);
        assert_eq!(of(40, 100, 2), [40, 99]);
        assert_eq!(of(0, 2, 9), [0, 1]);
        assert_eq!(of(0, 100, 1), [0]);
        assert!(of(5, 5, 3).is_empty() && of(0, 9, 0).is_empty());
    }

    /// A step as [`Solver`](crate::nn::solver::Solver) makes it, with what `tamper` does to the gradients before the comparison or, by a
    /// learning rate other than the one that is named, to the update.
    fn step(tamper: &dyn Fn(&mut Parameters), named_rate: f64) -> Shadow {
        let device = Device::Cpu;
        let architecture =
            Architecture { normalization: Normalization::Batch, ..Architecture::new(6, &[5], 3) };
        let mut net =
            FullyConnectedNet::new(&device, architecture, Init::He, &mut RandomState::new(1)).expect("a net");
        let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true };
        let mut optimizer = Optimizer::new(rule, &net.parameters).expect("an optimizer");
        let rows = RandomState::new(2).randn(8 * 6);
        let x = Tensor::from_f64(&device, &[8, 6], &rows).expect("rows");
        let y = Tensor::from_u32(&device, &[8], &[0, 1, 2, 0, 1, 2, 0, 1]).expect("labels");
        let mut shadow = Shadow::spread(0, 1, 1);
        let before = shadow.before(0, &net, &optimizer).expect("numbers").expect("a step that is watched");
        let (loss, mut gradients) = net.data_loss(&x, &y).expect("a pass");
        tamper(&mut gradients);
        optimizer.step(&mut net.parameters, &gradients, 1e-3, 0.1).expect("a step");
        let (losses, gradients) = (loss.losses(), &gradients);
        let made =
            Made { x: &x, y: &y, losses, gradients, rule, learning_rate: named_rate, l2: 0.1, step: 0 };
        shadow.after(before, &made, &net, &optimizer).expect("a comparison");
        shadow
    }

    #[test]
    fn a_right_step_passes_and_wrong_ones_are_found() {
        let right = step(&|_| {}, 1e-3);
        assert_eq!((right.failed(), right.steps()), (0, 1));
        // Losses, six gradients, moments, six parameters with two states each.
        assert_eq!(right.comparisons.len(), 1 + 6 + 1 + 6 * 3);
        // One derivative that is off by a thousandth of the largest.
        let tampered = step(
            &|gradients| {
                let mut values = gradients.get("W1").and_then(|w| w.to_f64()).expect("numbers");
                let largest = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                values[7] += 1e-3 * largest;
                let w = Tensor::from_f64(&Device::Cpu, &[6, 5], &values).expect("a gradient");
                gradients.set("W1", &w).expect("a gradient");
            },
            1e-3,
        );
        let worst = tampered.worst().expect("comparisons");
        assert_eq!((tampered.failed(), worst.what.as_str(), worst.worst.index), (1, "gradient of W1", 7));
        let faster = step(&|_| {}, 1.01e-3);
        assert!(
            faster.comparisons.iter().filter(|it| !it.worst.ok()).all(|it| it.what.starts_with("updated "))
        );
        assert!(faster.failed() > 0);
    }
}
