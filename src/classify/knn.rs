//! The k-nearest-neighbour classifier (assignment 1, `KNearestNeighbor`).
//!
//! ```
//! use cs231n_gpu::classify::knn::{KNearestNeighbor, Options};
//! use cs231n_gpu::rows::{Rows, Values};
//! use cs231n_gpu::Device;
//!
//! let train = Rows::new(Values::F32(vec![0.0, 0.0, 0.0, 1.0, 5.0, 5.0]), 2)?;
//! let knn = KNearestNeighbor::fit(&Device::Cpu, train.view(), &[0, 0, 1], 2, Options::default())?;
//! let query = Rows::new(Values::F32(vec![4.0, 4.0]), 2)?;
//! assert_eq!(knn.predict(query.view(), 1)?.classes, [1]);
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```

use std::ops::Range;

use crate::cpu;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::nearest::{Certificate, Index, Neighbors};
use crate::profile::span;
pub use crate::reference::nearest::Metric;
use crate::reference::vote::inverse_distance_weights;
use crate::rows::RowsRef;

const NAME: &str = "knn";

/// What each neighbour's vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// One.
    #[default]
    Uniform,
    /// The inverse of its distance; neighbours at distance 0, if any, vote alone.
    Distance,
}

/// How to search and vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How near two rows are.
    pub metric: Metric,
    /// What a vote counts.
    pub weights: Weights,
    /// Cap on the bytes of device memory that a search uses; `None` leaves the choice to the device.
    pub memory_limit: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { metric: Metric::L2, weights: Weights::Uniform, memory_limit: None }
    }
}

/// A fitted classifier. It borrows the training rows: they are the model.
pub struct KNearestNeighbor<'a> {
    index: Index<'a>,
    labels: &'a [u32],
    classes: usize,
    weights: Weights,
}

/// What [`KNearestNeighbor::predict`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The elected class of each query.
    pub classes: Vec<u32>,
    /// The neighbours that elected it.
    pub neighbors: Neighbors,
    /// How the neighbours were proven to be the nearest.
    pub certificate: Certificate,
}

impl<'a> KNearestNeighbor<'a> {
    /// Makes `train` (N × D) with its N class ids, all below `classes`, ready for searching on `device`.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no row, the counts differ or a label is out of range; [`Error::Device`] when the
    /// device fails.
    pub fn fit(
        device: &Device,
        train: RowsRef<'a>,
        labels: &'a [u32],
        classes: usize,
        options: Options,
    ) -> Result<Self> {
        check_labels(train, labels, classes)?;
        let index = Index::new(device, options.metric, train, options.memory_limit)?;
        Ok(Self { index, labels, classes, weights: options.weights })
    }

    /// The k nearest training rows of every row of `queries` (Q × D).
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn search(&self, queries: RowsRef<'_>, k: usize) -> Result<(Neighbors, Certificate)> {
        self.index.search(queries, k)
    }

    /// The class of every row of `queries` (Q × D), elected by its k nearest training rows. A tie goes to the smallest
    /// class id.
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn predict(&self, queries: RowsRef<'_>, k: usize) -> Result<Prediction> {
        let (neighbors, certificate) = self.search(queries, k)?;
        let classes = elect(&neighbors, self.labels, self.classes, self.weights);
        Ok(Prediction { classes, neighbors, certificate })
    }
}

/// The class that each query's neighbours elect. `labels[row]` is the class of a training row, below `classes`.
///
/// Votes are added in 64 bit in neighbour order on the host, so the election has the same result on every device.
///
/// # Panics
/// When a neighbour's row has no label or its label is not below `classes`.
pub fn elect(neighbors: &Neighbors, labels: &[u32], classes: usize, weights: Weights) -> Vec<u32> {
    let voters: Vec<u32> = neighbors.rows().iter().map(|&row| labels[row as usize]).collect();
    elect_labels(neighbors, &voters, classes, weights)
}

/// [`elect`] where the neighbours' classes are already known: `voters` is queries × k.
///
/// # Panics
/// When `voters` has another length than the neighbours, or a class is not below `classes`.
pub fn elect_labels(neighbors: &Neighbors, voters: &[u32], classes: usize, weights: Weights) -> Vec<u32> {
    let _span = span("vote");
    let k = neighbors.k();
    match weights {
        Weights::Uniform => cpu::vote::vote(voters, None, k, classes),
        Weights::Distance => {
            let distances = neighbors.distances();
            let weights: Vec<f64> = distances.chunks_exact(k).flat_map(inverse_distance_weights).collect();
            cpu::vote::vote(voters, Some(&weights), k, classes)
        }
    }
}

/// How many predictions are right.
pub fn correct(predicted: &[u32], truth: &[u32]) -> usize {
    predicted.iter().zip(truth).filter(|(predicted, truth)| predicted == truth).count()
}

/// Accuracy of every fold for every k.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// The values of k, as asked for.
    pub ks: Vec<usize>,
    /// For each k the accuracy of each fold.
    pub accuracies: Vec<Vec<f64>>,
    /// How the neighbours were proven, over all folds.
    pub certificate: Certificate,
}

/// Mean and (population) standard deviation, `np.mean` and `np.std`.
pub(crate) fn mean_and_deviation(folds: &[f64]) -> (f64, f64) {
    let mean = folds.iter().sum::<f64>() / folds.len() as f64;
    let variance = folds.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / folds.len() as f64;
    (mean, variance.sqrt())
}

impl CrossValidation {
    /// Mean and (population) standard deviation over the folds for the k at `position`, as the course's plot shows
    /// them.
    pub fn summary(&self, position: usize) -> (f64, f64) {
        mean_and_deviation(&self.accuracies[position])
    }

    /// Position of the k with the best mean accuracy; the smallest such k when several tie.
    pub fn best(&self) -> usize {
        (0..self.ks.len())
            .reduce(|best, i| {
                let (a, b) = (self.summary(best).0, self.summary(i).0);
                if b > a || (b == a && self.ks[i] < self.ks[best]) { i } else { best }
            })
            .unwrap_or(0)
    }
}

/// Cross-validates every k of `ks` on contiguous folds, as assignment 1 does: each fold is classified by the others.
///
/// One search per fold finds the neighbours for the largest k; by the total order of neighbours its prefixes are the
/// answers for the smaller ones. `ranges` are the folds ([`crate::data::split::folds`]); the parts before and after a
/// fold are searched separately and merged, so nothing is copied.
///
/// # Errors
/// [`Error::Shape`] when labels do not fit, there are fewer than two folds, a k is 0 or exceeds the rows outside a
/// fold; [`Error::Device`] when the device fails.
pub fn cross_validate(
    device: &Device,
    rows: RowsRef<'_>,
    labels: &[u32],
    classes: usize,
    ranges: &[Range<usize>],
    ks: &[usize],
    options: Options,
) -> Result<CrossValidation> {
    check_labels(rows, labels, classes)?;
    let (Some(&largest), Some(&smallest)) = (ks.iter().max(), ks.iter().min()) else {
        return Err(Error::shape(NAME, "no k to try", "give at least one k"));
    };
    let others = ranges.iter().map(|fold| rows.len() - fold.len()).min().unwrap_or(0);
    if ranges.len() < 2 || smallest == 0 || largest > others {
        return Err(Error::shape(
            NAME,
            format!("k from {smallest} to {largest} on {} folds of {} rows", ranges.len(), rows.len()),
            format!("use at least 2 folds, and k between 1 and the {others} rows outside a fold"),
        ));
    }
    let mut accuracies = vec![Vec::with_capacity(ranges.len()); ks.len()];
    let mut certificate = Certificate::default();
    for fold in ranges {
        let queries = rows.range(fold.clone());
        let mut parts = Vec::new();
        let mut redone = 0;
        for part in [0..fold.start, fold.end..rows.len()] {
            if part.is_empty() {
                continue;
            }
            let index = Index::new(device, options.metric, rows.range(part.clone()), options.memory_limit)?;
            let (found, proof) = index.search(queries, largest.min(part.len()))?;
            redone = redone.max(proof.redone);
            parts.push((found, part.start as u32));
        }
        certificate += Certificate { at_once: queries.len() - redone, redone };
        let neighbors = Neighbors::merge(&parts, largest)?;
        for (accuracies, &k) in accuracies.iter_mut().zip(ks) {
            let elected = elect(&neighbors.prefix(k), labels, classes, options.weights);
            accuracies.push(correct(&elected, &labels[fold.clone()]) as f64 / fold.len().max(1) as f64);
        }
    }
    Ok(CrossValidation { ks: ks.to_vec(), accuracies, certificate })
}

fn check_labels(train: RowsRef<'_>, labels: &[u32], classes: usize) -> Result<()> {
    if train.len() != labels.len() {
        return Err(Error::shape(
            NAME,
            format!("{} training rows and {} labels", train.len(), labels.len()),
            "give one label for each row",
        ));
    }
    if let Some(row) = labels.iter().position(|&label| label as usize >= classes) {
        return Err(Error::shape(
            NAME,
            format!("row {row} has class {}, there are {classes} classes", labels[row]),
            "class ids run from 0 to classes − 1",
        ));
    }
    Ok(())
}
