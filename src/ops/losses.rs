//! What the losses of rows share: shapes, labels, inputs and checks.

pub(super) mod gpu;

use super::inputs::{Input, worst};
use super::{Case, Op, Workload, rowwise, same_device, split_variant};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Tracked, Worst};

/// The losses of a batch, and which way their mean goes down.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The loss of each row, \[N\]; of G nets side by side [N, G].
    pub losses: Tensor,
    /// The gradient of the mean of the losses in the scores, in the scores' shape; of nets side by side each one's own mean.
    pub gradient: Tensor,
}

/// Losses and gradient of a CPU path or a definition.
type Pair<T> = (Vec<T>, Vec<T>);

/// Rows and classes of [N, C] scores.
pub(super) fn shape(op: &'static str, scores: &Tensor) -> Result<[usize; 2]> {
    match *scores.shape() {
        [rows, columns] if columns > 0 => Ok([rows, columns]),
        _ => Err(Error::shape(
            op,
            format!("scores of shape {:?}", scores.shape()),
            "pass a matrix, one row a sample, with at least one column",
        )),
    }
}

/// Scores with their labels.
#[derive(Clone, Copy)]
pub(super) struct Labelled<'a> {
    /// [N, C], or [N, G·C].
    pub scores: &'a Tensor,
    /// \[N\].
    pub labels: &'a Tensor,
    /// Of the classes, \[C\].
    pub weights: Option<&'a Tensor>,
    /// How many nets' scores lie side by side; `None` where there is one, whose losses are a vector.
    pub groups: Option<usize>,
}

/// The losses of labelled scores by the definition, the CPU path or the kernel. The first two take classes and groups.
pub(super) fn of_labels(
    op: &'static str,
    given: &Labelled,
    define: impl FnOnce(&[f64], &[u32], [usize; 2], Option<&[f64]>) -> Pair<f64>,
    cpu: impl FnOnce(&[f32], &[u32], [usize; 2], Option<&[f32]>) -> Pair<f32>,
    record: impl FnOnce(&gpu::Operands) -> Result<gpu::Results>,
) -> Result<Losses> {
    let &Labelled { scores, labels, weights, groups } = given;
    let refuse = |problem: String, hint: &str| Err(Error::shape(op, problem, hint));
    let [rows, columns] = shape(op, scores)?;
    let nets = groups.unwrap_or(1);
    if nets == 0 || !columns.is_multiple_of(nets) {
        let problem = format!("scores of shape {:?} for {nets} groups", scores.shape());
        return refuse(problem, "pass as many columns for each group: the scores of its classes");
    }
    let classes = columns / nets;
    if labels.shape() != [rows] {
        let problem = format!("scores of shape {:?}, labels of shape {:?}", scores.shape(), labels.shape());
        return refuse(problem, "pass one label for each row");
    }
    same_device(op, scores, labels)?;
    if let Some(weights) = weights {
        if weights.shape() != [classes] {
            let problem = format!("weights of shape {:?} for {classes} classes", weights.shape());
            return refuse(problem, "pass one weight for each class");
        }
        same_device(op, scores, weights)?;
    }
    let wrong = || {
        let all: Vec<_> = [Some(scores), Some(labels), weights].into_iter().flatten().collect();
        super::wrong_dtypes(op, &all, "real scores, integer labels, and real weights or none")
    };
    if let Storage::U32(values, _) = labels.storage()
        // The greatest is found by vectors; one by one, the labels took a twentieth of the time of ten classes.
        && values.iter().copied().max().is_some_and(|label| label as usize >= classes)
        && let Some(label) = values.iter().find(|&&label| label as usize >= classes)
    {
        return refuse(format!("label {label} with {classes} classes"), "labels run from 0 to classes − 1");
    }
    let made = match (scores.storage(), labels.storage()) {
        (Storage::F64(scores), Storage::U32(labels, true)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::F64(weights)) => Some(&weights[..]),
                _ => return Err(wrong()),
            };
            f64(define(scores, labels, [classes, nets], weights))
        }
        (Storage::F32(scores), Storage::U32(labels, false)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::F32(weights)) => Some(&weights[..]),
                _ => return Err(wrong()),
            };
            f32(cpu(scores, labels, [classes, nets], weights))
        }
        (Storage::Gpu(gpu, scores, DType::Real), Storage::Gpu(_, labels, DType::U32)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::Gpu(_, weights, DType::Real)) => Some(weights),
                _ => return Err(wrong()),
            };
            let shape = [rows * nets, classes];
            record(&gpu::Operands { gpu, scores, truth: labels, weights, shape, groups: nets })?
        }
        _ => return Err(wrong()),
    };
    let of_rows = [rows, nets];
    Ok(Losses::of(&of_rows[..1 + usize::from(groups.is_some())], [rows, columns], made))
}

impl Losses {
    /// Losses of some shape and the gradient in the scores [N, columns].
    pub(super) fn of(losses: &[usize], scores: [usize; 2], [row, gradient]: [Storage; 2]) -> Self {
        Self {
            losses: Tensor::from_storage(losses.to_vec(), row),
            gradient: Tensor::from_storage(scores.to_vec(), gradient),
        }
    }
}

pub(super) fn f64((losses, gradient): Pair<f64>) -> [Storage; 2] {
    [Storage::F64(losses.into()), Storage::F64(gradient.into())]
}

pub(super) fn f32((losses, gradient): Pair<f32>) -> [Storage; 2] {
    [Storage::F32(losses.into()), Storage::F32(gradient.into())]
}

/// One loss, as its check needs it.
pub(super) struct Loss {
    /// The row of the table.
    pub op: &'static Op,
    /// Whether the truth of a row is a label, not a target for each output.
    pub labelled: bool,
    /// Runs a family of kernels on scores and their truth, in the place of labels.
    pub run: fn(&Labelled, Option<&str>) -> Result<Losses>,
    /// The definition over rows of so many columns, in so many groups.
    pub define: fn(&Operands, [usize; 2]) -> Pair<Tracked>,
}

/// Forms of the losses of labels: without and with weights of the classes, and with them for nets side by side.
pub(super) const LABELLED: &[&str] = &["labels", WEIGHTED, GROUPED];

const WEIGHTED: &str = "weighted";
const GROUPED: &str = "grouped";

/// Nets side by side in the form that has them.
const GROUPS: usize = 3;

/// Seeded scores with their truth: labels or targets.
pub(super) struct Operands {
    pub scores: Vec<Tracked>,
    pub labels: Vec<u32>,
    pub targets: Vec<Tracked>,
    /// Of the classes, in the forms that have them.
    pub weights: Option<Vec<Tracked>>,
    groups: Option<usize>,
    scores_on_device: Tensor,
    truth_on_device: Tensor,
    weights_on_device: Option<Tensor>,
}

impl Operands {
    fn run(&self, loss: &Loss, variant: &str) -> Result<Losses> {
        let given = Labelled {
            scores: &self.scores_on_device,
            labels: &self.truth_on_device,
            weights: self.weights_on_device.as_ref(),
            groups: self.groups,
        };
        (loss.run)(&given, split_variant(variant).1)
    }
}

fn operands(loss: &Loss, device: &Device, case: &Case) -> Result<Operands> {
    let [rows, columns] = rowwise::shape_of(loss.op, case)?;
    let form = case.form();
    let groups = (form == GROUPED).then_some(GROUPS);
    // About as many rows in all, so that times compare.
    let (rows, nets) = (rows / groups.unwrap_or(1), groups.unwrap_or(1));
    let shape = [rows, nets * columns];
    let mut rng = rng::seeded(case.seed);
    let scores = Input::of(device, &shape, &rowwise::scores(&mut rng, [rows * nets, columns]))?;
    let labels = rng::integers(&mut rng, rows, columns as u32);
    let targets = Input::reals(device, &mut rng, &shape)?;
    let weights = match form {
        WEIGHTED | GROUPED => Some(Input::between(device, &mut rng, &[columns], 0.0, 4.0)?),
        _ => None,
    };
    let truth = if loss.labelled { Tensor::from_u32(device, &[rows], &labels)? } else { targets.tensor };
    Ok(Operands {
        scores: scores.tracked,
        labels,
        targets: targets.tracked,
        groups,
        weights: weights.as_ref().map(|weights| weights.tracked.clone()),
        scores_on_device: scores.tensor,
        truth_on_device: truth,
        weights_on_device: weights.map(|weights| weights.tensor),
    })
}

/// The loss on seeded scores.
pub(super) fn workload(loss: &'static Loss, device: &Device, case: &Case) -> Result<Workload> {
    let (operands, variant) = (operands(loss, device, case)?, case.variant.clone());
    Ok(Box::new(move || operands.run(loss, &variant).map(drop)))
}

/// Compares losses and gradient with the definition.
pub(super) fn check(loss: &Loss, device: &Device, case: &Case) -> Result<Worst> {
    let operands = operands(loss, device, case)?;
    let got = operands.run(loss, &case.variant)?;
    let (losses, gradient) = (loss.define)(&operands, [case.shape[1], operands.groups.unwrap_or(1)]);
    worst(&[(&got.losses, losses), (&got.gradient, gradient)])
}

/// Rows have at least one column.
pub(super) fn fit(shape: &mut [usize]) {
    shape[1] = shape[1].max(1);
}
