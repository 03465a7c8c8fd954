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
    flops: |_, s| 15.0 * s[0] as f64,
    bytes: |form, s| {
        let states = rules(form).map_or(0, |rules| rules[0].states());
        (4 * (3 + 2 * states) * s[0]) as f64
    },
    variants: |device| variants_of(device, FORMS, gpu::families),
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
    move_all(None, std::slice::from_ref(rule), std::slice::from_ref(step), None, w, gradient, state)
}

/// Moves the parameters of several groups, such as nets that stand side by side in one tensor, each by its own rule and step: [`update`] of
/// each group's elements, in one sweep and on an adapter by one launch. The rules are of one kind, and all steps shrink the same elements;
/// their numbers may differ. No element's value touches another's.
///
/// # Errors
/// As [`update`]; also when there is not a rule and a step for every group, when they differ in more than their numbers, and for owners of
/// other elements or another device.
pub fn update_grouped(
    rules: &[Rule],
    steps: &[Step],
    owners: &mut Owners,
    w: &mut Tensor,
    gradient: &Tensor,
    state: &mut [&mut Tensor],
) -> Result<()> {
    let refuse = |problem: String, hint: &str| Err(Error::shape(NAME, problem, hint));
    if [rules.len(), steps.len()] != [owners.groups; 2] {
        let problem = format!("{} rules and {} steps for {} groups", rules.len(), steps.len(), owners.groups);
        return refuse(problem, "pass one of each for every group");
    }
    let kind = std::mem::discriminant(&rules[0]);
    if let Some(other) = rules.iter().find(|rule| std::mem::discriminant(*rule) != kind) {
        let problem = format!("{:?} and {other:?} in one step", rules[0]);
        return refuse(problem, "pass rules of one kind; their numbers may differ");
    }
    if let Some(other) = steps.iter().find(|step| step.regularized != steps[0].regularized) {
        let problem = format!("{} and {} regularized elements", steps[0].regularized, other.regularized);
        return refuse(problem, "pass the same number for every group: those of all groups together");
    }
    if owners.elements != w.len() {
        let problem = format!("owners of {} elements for {}", owners.elements, w.len());
        return refuse(problem, "pass the owners made for these parameters");
    }
    move_all(None, rules, steps, Some(owners), w, gradient, state)
}

/// The group that each parameter belongs to, for [`update_grouped`]: made once, used in every step.
#[derive(Debug)]
pub struct Owners {
    elements: usize,
    groups: usize,
    place: Place,
}

/// The owners as an executor wants them.
#[derive(Debug)]
enum Place {
    Reference(Vec<u32>),
    Cpu(Vec<cpu::optimizer::Run>),
    Gpu(gpu::Owners),
}

impl Owners {
    /// Element i belongs to the group `owners[i]`, counted from 0, of `groups`.
    ///
    /// # Errors
    /// [`Error::Shape`] without any group, or for an owner that is none of them; [`Error::Device`] when the device fails.
    pub fn new(device: &Device, owners: &[u32], groups: usize) -> Result<Self> {
        if let Some(owner) = owners.iter().find(|owner| **owner as usize >= groups) {
            let problem = format!("an element of group {owner} with {groups} groups");
            return Err(Error::shape(NAME, problem, "groups count from 0"));
        }
        if groups == 0 {
            return Err(Error::shape(NAME, "owners in 0 groups", "pass at least one group"));
        }
        let place = match device {
            Device::Reference => Place::Reference(owners.to_vec()),
            Device::Cpu => Place::Cpu(cpu::optimizer::runs(owners)),
            Device::Gpu(gpu) => Place::Gpu(gpu::Owners::new(gpu, owners, groups)?),
        };
        Ok(Self { elements: owners.len(), groups, place })
    }
}

/// A step of every group; without owners there is one. An adapter does it by the kernels of `family`, or by those it would choose.
fn move_all(
    family: Option<&str>,
    rules: &[Rule],
    steps: &[Step],
    owners: Option<&mut Owners>,
    w: &mut Tensor,
    gradient: &Tensor,
    state: &mut [&mut Tensor],
) -> Result<()> {
    let _span = span("optimizer");
    for (rule, step) in rules.iter().zip(steps) {
        check_operands(rule, w, gradient, state)?;
        check_numbers(rule, step, w.len())?;
    }
    let place = owners.map(|owners| &mut owners.place);
    let strange =
        || Err(Error::shape(NAME, "owners on another device", "make them on the parameters' device"));
    let w = w.reals_mut(NAME)?;
    let state = state.iter_mut().map(|state| state.reals_mut(NAME)).collect::<Result<Vec<_>>>()?;
    match (w, gradient.storage()) {
        (RealsMut::F64(w), Storage::F64(gradient)) => {
            let of = |state| if let RealsMut::F64(state) = state { Some(state) } else { None };
            let mut state: Vec<_> = state.into_iter().filter_map(of).collect();
            match place {
                None => reference::optimizer::update(&rules[0], &steps[0], w, gradient, &mut state),
                Some(Place::Reference(owners)) => {
                    reference::optimizer::update_grouped(rules, steps, owners, w, gradient, &mut state);
                }
                Some(_) => return strange(),
            }
            Ok(())
        }
        (RealsMut::F32(w), Storage::F32(gradient)) => {
            let of = |state| if let RealsMut::F32(state) = state { Some(state) } else { None };
            let mut state: Vec<_> = state.into_iter().filter_map(of).collect();
            match place {
                None => cpu::optimizer::update(&rules[0], &steps[0], w, gradient, &mut state),
                Some(Place::Cpu(runs)) => {
                    cpu::optimizer::update_grouped(rules, steps, runs, w, gradient, &mut state);
                }
                Some(_) => return strange(),
            }
            Ok(())
        }
        (RealsMut::Gpu(gpu, w), Storage::Gpu(_, gradient, DType::Real)) => {
            let of = |state| if let RealsMut::Gpu(_, state) = state { Some(state) } else { None };
            let state: Vec<_> = state.into_iter().filter_map(of).collect();
            let owners = match place {
                None => None,
                Some(Place::Gpu(owners)) if owners.on(gpu) => Some(owners),
                Some(_) => return strange(),
            };
            gpu::record(gpu, family, rules, steps, owners, [&w, gradient], &state.iter().collect::<Vec<_>>())
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

const FORMS: &[&str] = &[
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adam",
    "adam_uncorrected",
    "adamw",
    "sgd_grouped",
    "momentum_grouped",
    "nesterov_grouped",
    "adagrad_grouped",
    "rmsprop_grouped",
    "adam_grouped",
    "adam_uncorrected_grouped",
    "adamw_grouped",
];

/// The rules of a form's groups, of which a plain one has one.
fn rules(form: &str) -> Option<Vec<Rule>> {
    let (name, groups) = form.strip_suffix("_grouped").map_or((form, 1), |name| (name, 3));
    let epsilon = 1e-8;
    // Far enough apart that a group with another's numbers is found out.
    let rules = [0.9, 0.8, 0.5].map(|share| {
        let (beta1, beta2) = (share, 0.99 + share / 100.0);
        Some(match name {
            "sgd" => Rule::Sgd,
            "momentum" => Rule::Momentum { momentum: share },
            "nesterov" => Rule::Nesterov { momentum: share },
            "adagrad" => Rule::Adagrad { epsilon: 1e-7 },
            "rmsprop" => Rule::RmsProp { decay: 0.9 + share / 10.0, epsilon },
            "adam" => Rule::Adam { beta1, beta2, epsilon, corrected: true },
            "adam_uncorrected" => Rule::Adam { beta1, beta2, epsilon, corrected: false },
            "adamw" => Rule::AdamW { beta1, beta2, epsilon, weight_decay: share / 9.0 },
            _ => return None,
        })
    });
    rules.into_iter().take(groups).collect()
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 4, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Parameters, gradients and two tensors of state, with the rules and steps of the groups: the first step from zero state, or the seventh.
struct Operands {
    w: Input,
    gradient: Input,
    state: [Input; 2],
    rules: Vec<Rule>,
    steps: Vec<Step>,
    /// Each element's group.
    owners: Vec<u32>,
    /// The same on the device, where there are several.
    on_device: Option<Owners>,
}

impl Operands {
    fn new(device: &Device, case: &Case) -> Result<Self> {
        let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
        let rules = rules(case.form()).ok_or_else(|| wrong_case(&OP, case))?;
        let mut rng = rng::seeded(case.seed);
        let count = if (case.seed as usize ^ n).is_multiple_of(2) { 1 } else { 7 };
        let mut state = || match (count, rules[0]) {
            (1, _) => Input::of(device, &[n], &vec![0.0; n]),
            // v has a sign; sums of squares have none.
            (_, Rule::Momentum { .. } | Rule::Nesterov { .. }) => Input::reals(device, &mut rng, &[n]),
            _ => Input::between(device, &mut rng, &[n], 0.0, 1.0),
        };
        let state = [state()?, state()?];
        let (w, gradient) = (Input::reals(device, &mut rng, &[n])?, Input::reals(device, &mut rng, &[n])?);
        // Penalties end inside a vector.
        let step = |learning_rate, l2, count| Step { learning_rate, l2, regularized: n * 2 / 3, count };
        let steps = [step(0.01, 0.3, count), step(0.1, 0.0, count + 1), step(0.003, 0.7, 40)];
        // Runs that end inside vectors, and runs of many vectors.
        let owners: Vec<u32> =
            (0..n).map(|i| [0, 1, 1, 2, 1][i / 7 % 5 * usize::from(i % 1024 < 512)]).collect();
        let owners = if rules.len() == 1 { vec![0; n] } else { owners };
        let on_device = (rules.len() > 1).then(|| Owners::new(device, &owners, rules.len())).transpose()?;
        let steps = steps[..rules.len()].to_vec();
        Ok(Self { w, gradient, state, rules, steps, owners, on_device })
    }
}

fn workload(device: &Device, case: &Case) -> Result<Workload> {
    let Operands { w, gradient, state, rules, steps, mut on_device, .. } = Operands::new(device, case)?;
    let (mut w, mut state, gradient) = (w.tensor, state.map(|state| state.tensor), gradient.tensor);
    let states = rules[0].states();
    let variant = case.variant.clone();
    Ok(Box::new(move || {
        let mut state: Vec<_> = state.iter_mut().take(states).collect();
        let family = split_variant(&variant).1;
        move_all(family, &rules, &steps, on_device.as_mut(), &mut w, &gradient, &mut state)
    }))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let Operands { w, gradient, state: [first, second], rules, steps, owners, mut on_device } =
        Operands::new(device, case)?;
    let states = rules[0].states();
    let mut got = [w.tensor, first.tensor, second.tensor];
    let [got_w, got_state @ ..] = &mut got;
    let mut got_state: Vec<_> = got_state.iter_mut().take(states).collect();
    let family = split_variant(&case.variant).1;
    move_all(family, &rules, &steps, on_device.as_mut(), got_w, &gradient.tensor, &mut got_state)?;
    let mut want: [Vec<Tracked>; 3] = [w.tracked, first.tracked, second.tracked];
    let [want_w, want_state @ ..] = &mut want;
    let mut want_state: Vec<_> = want_state.iter_mut().take(states).map(Vec::as_mut_slice).collect();
    reference::optimizer::update_grouped(&rules, &steps, &owners, want_w, &gradient.tracked, &mut want_state);
    let outputs: Vec<_> = got.iter().zip(want).take(1 + states).collect();
    worst(&outputs)
}
