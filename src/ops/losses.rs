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
    /// The loss of each row, \[N\].
    pub losses: Tensor,
    /// The gradient of the mean of the losses in the scores, [N, C].
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

/// The losses of `scores` [N, C] with `labels` \[N\] and, where there are any, `weights` of the classes \[C\], by the definition, the CPU path
/// or the kernel.
pub(super) fn of_labels(
    op: &'static str,
    scores: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    define: impl FnOnce(&[f64], &[u32], usize, Option<&[f64]>) -> Pair<f64>,
    cpu: impl FnOnce(&[f32], &[u32], usize, Option<&[f32]>) -> Pair<f32>,
    record: impl FnOnce(&gpu::Operands) -> Result<gpu::Results>,
) -> Result<Losses> {
    let [rows, classes] = shape(op, scores)?;
    let refuse = |problem: String, hint: &str| Err(Error::shape(op, problem, hint));
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
        && let Some(label) = values.iter().find(|&&label| label as usize >= classes)
    {
        return refuse(format!("label {label} with {classes} classes"), "labels run from 0 to classes − 1");
    }
    match (scores.storage(), labels.storage()) {
        (Storage::F64(scores), Storage::U32(labels, true)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::F64(weights)) => Some(&weights[..]),
                _ => return Err(wrong()),
            };
            Ok(Losses::f64([rows, classes], define(scores, labels, classes, weights)))
        }
        (Storage::F32(scores), Storage::U32(labels, false)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::F32(weights)) => Some(&weights[..]),
                _ => return Err(wrong()),
            };
            Ok(Losses::f32([rows, classes], cpu(scores, labels, classes, weights)))
        }
        (Storage::Gpu(gpu, scores, DType::Real), Storage::Gpu(_, labels, DType::U32)) => {
            let weights = match weights.map(Tensor::storage) {
                None => None,
                Some(Storage::Gpu(_, weights, DType::Real)) => Some(weights),
                _ => return Err(wrong()),
            };
            let shape = [rows, classes];
            let operands = gpu::Operands { gpu, scores, truth: labels, weights, shape };
            Ok(Losses::gpu(shape, gpu, record(&operands)?))
        }
        _ => Err(wrong()),
    }
}

impl Losses {
    pub(super) fn f64(shape: [usize; 2], (losses, gradient): Pair<f64>) -> Self {
        Self::of(shape, Storage::F64(losses.into()), Storage::F64(gradient.into()))
    }

    pub(super) fn f32(shape: [usize; 2], (losses, gradient): Pair<f32>) -> Self {
        Self::of(shape, Storage::F32(losses.into()), Storage::F32(gradient.into()))
    }

    pub(super) fn gpu(shape: [usize; 2], gpu: &crate::gpu::Gpu, [losses, gradient]: gpu::Results) -> Self {
        let [losses, gradient] = [losses, gradient].map(|it| Storage::Gpu(gpu.clone(), it, DType::Real));
        Self::of(shape, losses, gradient)
    }

    fn of([rows, columns]: [usize; 2], losses: Storage, gradient: Storage) -> Self {
        Self {
            losses: Tensor::from_storage(vec![rows], losses),
            gradient: Tensor::from_storage(vec![rows, columns], gradient),
        }
    }
}

/// One loss, as its check needs it.
pub(super) struct Loss {
    /// The row of the table.
    pub op: &'static Op,
    /// Whether the truth of a row is a label, not a target for each output.
    pub labelled: bool,
    /// Runs a family of kernels on scores, their truth and the weights of classes.
    pub run: fn(&Tensor, &Tensor, Option<&Tensor>, Option<&str>) -> Result<Losses>,
    /// The definition over rows of so many columns.
    pub define: fn(&Operands, usize) -> Pair<Tracked>,
}

/// Forms of the losses of labels: without and with weights of the classes.
pub(super) const LABELLED: &[&str] = &["labels", WEIGHTED];

const WEIGHTED: &str = "weighted";

/// Seeded scores with their truth: labels or targets.
pub(super) struct Operands {
    pub scores: Vec<Tracked>,
    pub labels: Vec<u32>,
    pub targets: Vec<Tracked>,
    /// Of the classes, in the form that has them.
    pub weights: Option<Vec<Tracked>>,
    scores_on_device: Tensor,
    truth_on_device: Tensor,
    weights_on_device: Option<Tensor>,
}

impl Operands {
    fn run(&self, loss: &Loss, variant: &str) -> Result<Losses> {
        let weights = self.weights_on_device.as_ref();
        (loss.run)(&self.scores_on_device, &self.truth_on_device, weights, split_variant(variant).1)
    }
}

fn operands(loss: &Loss, device: &Device, case: &Case) -> Result<Operands> {
    let shape = rowwise::shape_of(loss.op, case)?;
    let [rows, columns] = shape;
    let mut rng = rng::seeded(case.seed);
    let scores = Input::of(device, &shape, &rowwise::scores(&mut rng, shape))?;
    let labels = rng::integers(&mut rng, rows, columns as u32);
    let targets = Input::reals(device, &mut rng, &shape)?;
    let weights = match split_variant(&case.variant).0 {
        WEIGHTED => Some(Input::between(device, &mut rng, &[columns], 0.0, 4.0)?),
        _ => None,
    };
    let truth = if loss.labelled { Tensor::from_u32(device, &[rows], &labels)? } else { targets.tensor };
    Ok(Operands {
        scores: scores.tracked,
        labels,
        targets: targets.tracked,
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
    let (losses, gradient) = (loss.define)(&operands, case.shape[1]);
    worst(&[(&got.losses, losses), (&got.gradient, gradient)])
}

/// Rows have at least one column.
pub(super) fn fit(shape: &mut [usize]) {
    shape[1] = shape[1].max(1);
}
