//! Steps of gradient descent, in place.

mod gpu;

use super::inputs::{Input, worst};
use super::{
    BOUNDED, Case, Effort, Op, Workload, same_device, split_variant, variants_of, wrong_case, wrong_dtypes,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, RealsMut, Storage, Tensor};
use crate::tolerance::{Tracked, Worst};
use crate::{cpu, reference};

pub use crate::reference::optimizer::{Rule, Step};

const NAME: &str = "optimizer";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "one step of SGD, momentum, Nesterov, Adagrad, RMSProp, Adam or AdamW, parameters and state in place",
    dimensions: &["elements"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |s| 15.0 * s[0] as f64,
    bytes: |s| 28.0 * s[0] as f64,
    variants: |device| variants_of(device, FORMS, |_, _| vec!["vec4"]),
    shapes,
    fit: |_| {},
    // The parameters of a 3072-512-10 network.
    timed: &[&[1_578_506]],
    workload,
    check,
};

/// Moves the parameters `w` by one step against their gradient, and the rule's state with them; clones of any keep their values.
///
/// All tensors have one shape; `state` has [`Rule::states`] tensors, zero before the first step. Formulas: [`Rule`]. Computed in one
/// sweep, on an adapter by one launch; scalars such as 1/(1 − β₁ᵗ) are computed in 64 bit. No gradient.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ, when the number of states is not the rule's, for [`Step::regularized`] beyond
/// the elements, for a [`Step::count`] of 0, and for numbers that a rule cannot work with; nothing is changed then. [`Error::Device`]
/// when the device fails.
pub fn update(
    rule: &Rule,
    step: &Step,
    w: &mut Tensor,
    gradient: &Tensor,
    state: &mut [Tensor],
) -> Result<()> {
    update_all(rule, step, w, gradient, &mut state.iter_mut().collect::<Vec<_>>())
}

/// [`update`] with states that lie apart.
pub(crate) fn update_all(
    rule: &Rule,
    step: &Step,
    w: &mut Tensor,
    gradient: &Tensor,
    state: &mut [&mut Tensor],
) -> Result<()> {
    let _span = span("optimizer");
    check_operands(rule, w, gradient, state)?;
    check_numbers(rule, step, w.len())?;
    let w = w.reals_mut(NAME)?;
    let state = state.iter_mut().map(|state| state.reals_mut(NAME)).collect::<Result<Vec<_>>>()?;
    match (w, gradient.storage()) {
        (RealsMut::F64(w), Storage::F64(gradient)) => {
            let of = |state| if let RealsMut::F64(state) = state { Some(state) } else { None };
            let mut state: Vec<_> = state.into_iter().filter_map(of).collect();
            reference::optimizer::update(rule, step, w, gradient, &mut state);
            Ok(())
        }
        (RealsMut::F32(w), Storage::F32(gradient)) => {
            let of = |state| if let RealsMut::F32(state) = state { Some(state) } else { None };
            let mut state: Vec<_> = state.into_iter().filter_map(of).collect();
            cpu::optimizer::update(rule, step, w, gradient, &mut state);
            Ok(())
        }
        (RealsMut::Gpu(gpu, w), Storage::Gpu(_, gradient, DType::Real)) => {
            let of = |state| if let RealsMut::Gpu(_, state) = state { Some(state) } else { None };
            let state: Vec<_> = state.into_iter().filter_map(of).collect();
            gpu::record(gpu, rule, step, [&w, gradient], &state.iter().collect::<Vec<_>>())
        }
        _ => Err(wrong_dtypes(NAME, &[gradient], "real tensors")),
    }
}

/// Refuses tensors that do not belong together.
fn check_operands(rule: &Rule, w: &Tensor, gradient: &Tensor, state: &[&mut Tensor]) -> Result<()> {
    if state.len() != rule.states() {
        return Err(Error::shape(
            NAME,
            format!("{} tensors of state for {rule:?}", state.len()),
            format!("pass {}, zero before the first step", rule.states()),
        ));
    }
    for other in state.iter().map(|state| &**state).chain([gradient]) {
        if other.shape() != w.shape() {
            return Err(Error::shape(
                NAME,
                format!(
                    "a gradient or state of shape {:?} for parameters of shape {:?}",
                    other.shape(),
                    w.shape()
                ),
                "pass tensors of one shape",
            ));
        }
        if [w, other].iter().any(|tensor| tensor.dtype() != DType::Real) {
            return Err(wrong_dtypes(NAME, &[w, other], "real tensors"));
        }
        same_device(NAME, w, other)?;
    }
    Ok(())
}

/// Refuses numbers that a rule cannot work with.
fn check_numbers(rule: &Rule, step: &Step, elements: usize) -> Result<()> {
    let refuse = |problem: String, hint: &str| Err(Error::shape(NAME, problem, hint));
    if step.regularized > elements {
        let problem = format!("{} regularized elements of {elements}", step.regularized);
        return refuse(problem, "pass at most the number of parameters");
    }
    if step.count == 0 {
        return refuse("step number 0".into(), "count steps from 1");
    }
    let (shares, others): (&[f64], [f64; 2]) = match rule {
        Rule::Sgd => (&[], [0.0; 2]),
        Rule::Momentum { momentum } | Rule::Nesterov { momentum } => (&[], [*momentum, 0.0]),
        Rule::Adagrad { epsilon } => (&[], [*epsilon, 0.0]),
        Rule::RmsProp { decay, epsilon } => (&[*decay], [*epsilon, 0.0]),
        Rule::Adam { beta1, beta2, epsilon, .. } => (&[*beta1, *beta2], [*epsilon, 0.0]),
        Rule::AdamW { beta1, beta2, epsilon, weight_decay } => (&[*beta1, *beta2], [*epsilon, *weight_decay]),
    };
    if let Some(share) = shares.iter().find(|share| !(0.0..1.0).contains(*share)) {
        return refuse(format!("a decay of {share}"), "pass at least 0 and less than 1");
    }
    if let Some(number) =
        [step.learning_rate, step.l2].iter().chain(&others).find(|number| !number.is_finite())
    {
        return refuse(
            format!("a learning rate, penalty or other number of {number}"),
            "pass finite numbers",
        );
    }
    Ok(())
}

const FORMS: &[&str] =
    &["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adam_uncorrected", "adamw"];

fn rule(case: &Case) -> Result<Rule> {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
    Ok(match split_variant(&case.variant).0 {
        "sgd" => Rule::Sgd,
        "momentum" => Rule::Momentum { momentum: 0.9 },
        "nesterov" => Rule::Nesterov { momentum: 0.9 },
        "adagrad" => Rule::Adagrad { epsilon: 1e-7 },
        "rmsprop" => Rule::RmsProp { decay: 0.99, epsilon },
        "adam" => Rule::Adam { beta1, beta2, epsilon, corrected: true },
        "adam_uncorrected" => Rule::Adam { beta1, beta2, epsilon, corrected: false },
        "adamw" => Rule::AdamW { beta1, beta2, epsilon, weight_decay: 0.1 },
        _ => return Err(wrong_case(&OP, case)),
    })
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 4, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Parameters, gradients and two tensors of state, with the step: the first one from zero state, or the seventh.
fn operands(device: &Device, case: &Case) -> Result<([Input; 4], Step)> {
    let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let rule = rule(case)?;
    let mut rng = rng::seeded(case.seed);
    let count = if (case.seed as usize ^ n).is_multiple_of(2) { 1 } else { 7 };
    let mut state = || match (count, rule) {
        (1, _) => Input::of(device, &[n], &vec![0.0; n]),
        // v has a sign; sums of squares have none.
        (_, Rule::Momentum { .. } | Rule::Nesterov { .. }) => Input::reals(device, &mut rng, &[n]),
        _ => Input::between(device, &mut rng, &[n], 0.0, 1.0),
    };
    let (first, second) = (state()?, state()?);
    let (w, gradient) = (Input::reals(device, &mut rng, &[n])?, Input::reals(device, &mut rng, &[n])?);
    // Penalties end inside a vector.
    let step = Step { learning_rate: 0.01, l2: 0.3, regularized: n * 2 / 3, count };
    Ok(([w, gradient, first, second], step))
}

fn workload(device: &Device, case: &Case) -> Result<Workload> {
    let ([w, gradient, first, second], step) = operands(device, case)?;
    let rule = rule(case)?;
    let (mut w, gradient) = (w.tensor, gradient.tensor);
    let mut state = [first.tensor, second.tensor];
    Ok(Box::new(move || update(&rule, &step, &mut w, &gradient, &mut state[..rule.states()])))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let ([w, gradient, first, second], step) = operands(device, case)?;
    let rule = rule(case)?;
    let mut got = [w.tensor, first.tensor, second.tensor];
    let [got_w, got_state @ ..] = &mut got;
    update(&rule, &step, got_w, &gradient.tensor, &mut got_state[..rule.states()])?;
    let mut want: [Vec<Tracked>; 3] = [w.tracked, first.tracked, second.tracked];
    let [want_w, want_state @ ..] = &mut want;
    let mut want_state: Vec<_> = want_state.iter_mut().take(rule.states()).map(Vec::as_mut_slice).collect();
    reference::optimizer::update(&rule, &step, want_w, &gradient.tracked, &mut want_state);
    let outputs: Vec<_> = got.iter().zip(want).take(1 + rule.states()).collect();
    worst(&outputs)
}
