//! Elections of many queries on the CPU.

use rayon::prelude::*;

use crate::reference;

/// The elected class of every query: `labels` is queries × k, `weights` (if any) likewise, else every neighbour has one
/// vote. Sums run in 64 bit in neighbour order, so the result is the definition's for any number of threads.
///
/// # Panics
/// When a label is not below `classes`, or `weights` has another length than `labels`.
pub fn vote(labels: &[u32], weights: Option<&[f64]>, k: usize, classes: usize) -> Vec<u32> {
    if let Some(weights) = weights {
        assert_eq!(weights.len(), labels.len(), "vote: one weight for each neighbour");
    }
    let ones = vec![1.0; k];
    labels
        .par_chunks_exact(k)
        .enumerate()
        .map(|(query, labels)| {
            let weights = weights.map_or(ones.as_slice(), |weights| &weights[query * k..][..k]);
            reference::vote::vote(labels, weights, classes)
        })
        .collect()
}
