//! The class that the neighbours of each query elect.

mod gpu;

use super::{Case, EXACT, Effort, Op, same_device, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Worst, compare_exact};
use crate::{cpu, reference};

const NAME: &str = "vote";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "the class with most votes, or the largest weight, among the neighbours of each query",
    dimensions: &["queries", "k", "classes"],
    tolerance: EXACT,
    shaders: gpu::shaders,
    flops: |_, s| (s[0] * s[1]) as f64,
    bytes: |_, s| 4.0 * (s[0] * (s[1] + 1)) as f64,
    variants: |device| variants_of(device, &["uniform", "weighted"], gpu::families),
    shapes,
    fit,
    timed: &[&[10_000, 10, 10]],
    workload: |device, case| {
        let (votes, classes, variant) = (votes(device, case)?, case.shape[2], case.variant.clone());
        Ok(Box::new(move || {
            let family = split_variant(&variant).1;
            run(&votes.on_device, votes.weights_on_device.as_ref(), classes, family).map(drop)
        }))
    },
    check,
};

/// The elected class of each query: `labels` [Q, k] are the classes of its neighbours (integers below `classes`),
/// `weights` [Q, k] their votes, one each where there are none. A tie goes to the smallest class id. Returns Q classes.
///
/// Weights are added in neighbour order in the device's precision. Source: assignment 1, `predict_labels`.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices do not fit, or a label on the host is not below `classes`;
/// [`Error::Device`] when the device fails.
pub fn vote(labels: &Tensor, weights: Option<&Tensor>, classes: usize) -> Result<Tensor> {
    let _span = span("vote");
    run(labels, weights, classes, None)
}

/// Runs on the operands' device; `family` names the kernels, `None` leaves the choice to the device.
fn run(labels: &Tensor, weights: Option<&Tensor>, classes: usize, family: Option<&str>) -> Result<Tensor> {
    let refuse = |problem: String, hint: &str| Err(Error::shape(NAME, problem, hint));
    let &[queries, k] = labels.shape() else {
        return refuse(format!("labels of shape {:?}", labels.shape()), "pass queries × k labels");
    };
    if k == 0 || classes == 0 || u32::try_from(classes).is_err() {
        return refuse(format!("{k} neighbours, {classes} classes"), "there must be a neighbour and a class");
    }
    if let Some(weights) = weights {
        if weights.shape() != labels.shape() {
            return refuse(
                format!("labels {:?}, weights {:?}", labels.shape(), weights.shape()),
                "pass one weight for each label",
            );
        }
        same_device(NAME, labels, weights)?;
    }
    if let Storage::U32(values, _) = labels.storage()
        && let Some(label) = values.iter().find(|&&label| label as usize >= classes)
    {
        return refuse(format!("label {label} with {classes} classes"), "labels run from 0 to classes − 1");
    }
    let storage = match (labels.storage(), weights.map(Tensor::storage)) {
        (Storage::U32(labels, true), None) => {
            let ones = vec![1.0; k];
            let each = labels.chunks_exact(k).map(|labels| reference::vote::vote(labels, &ones, classes));
            Storage::U32(each.collect(), true)
        }
        (Storage::U32(labels, true), Some(Storage::F64(weights))) => {
            let each = labels.chunks_exact(k).zip(weights.chunks_exact(k));
            Storage::U32(
                each.map(|(labels, weights)| reference::vote::vote(labels, weights, classes)).collect(),
                true,
            )
        }
        (Storage::U32(labels, false), None) => {
            Storage::U32(cpu::vote::vote(labels, None, k, classes).into(), false)
        }
        (Storage::U32(labels, false), Some(Storage::F32(weights))) => {
            let weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
            Storage::U32(cpu::vote::vote(labels, Some(&weights), k, classes).into(), false)
        }
        (Storage::Gpu(gpu, labels, DType::U32), None) => Storage::Gpu(
            gpu.clone(),
            gpu::record(gpu, family, labels, None, [queries, k, classes])?,
            DType::U32,
        ),
        (Storage::Gpu(gpu, labels, DType::U32), Some(Storage::Gpu(_, weights, DType::Real))) => {
            let elected = gpu::record(gpu, family, labels, Some(weights), [queries, k, classes])?;
            Storage::Gpu(gpu.clone(), elected, DType::U32)
        }
        _ => {
            let operands: Vec<_> = [Some(labels), weights].into_iter().flatten().collect();
            return Err(wrong_dtypes(NAME, &operands, "integer labels and real weights"));
        }
    };
    Ok(Tensor::from_storage(vec![queries], storage))
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes =
        vec![vec![0, 3, 2], vec![1, 1, 1], vec![65, 7, 10], vec![63, 64, 3], vec![127, 10, 1000]];
    if effort == Effort::Full {
        shapes.extend([vec![3, 2048, 100], vec![70_000, 5, 10]]);
    }
    shapes
}

fn fit(shape: &mut [usize]) {
    shape[1] = shape[1].max(1);
    shape[2] = shape[2].max(1);
}

/// Seeded votes on the host and on a device. Eighths add exactly in any precision, so that ties are ties everywhere.
struct Votes {
    labels: Vec<u32>,
    weights: Vec<f64>,
    on_device: Tensor,
    weights_on_device: Option<Tensor>,
}

fn votes(device: &Device, case: &Case) -> Result<Votes> {
    let &[queries, k, classes] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let weighted = case.form() == "weighted";
    let mut rng = rng::seeded(case.seed);
    let labels = rng::integers(&mut rng, queries * k, classes as u32);
    let weights: Vec<f64> = match weighted {
        true => rng::integers(&mut rng, queries * k, 64).into_iter().map(|i| f64::from(i) / 8.0).collect(),
        false => vec![1.0; queries * k],
    };
    let on_device = Tensor::from_u32(device, &[queries, k], &labels)?;
    let weights_on_device = match weighted {
        true => Some(Tensor::from_f64(device, &[queries, k], &weights)?),
        false => None,
    };
    Ok(Votes { labels, weights, on_device, weights_on_device })
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let votes = votes(device, case)?;
    let (k, classes) = (case.shape[1], case.shape[2]);
    let family = split_variant(&case.variant).1;
    let got = run(&votes.on_device, votes.weights_on_device.as_ref(), classes, family)?.to_f64()?;
    let each = votes.labels.chunks_exact(k).zip(votes.weights.chunks_exact(k));
    let want: Vec<f64> =
        each.map(|(labels, weights)| f64::from(reference::vote::vote(labels, weights, classes))).collect();
    Ok(compare_exact(&got, &want))
}
