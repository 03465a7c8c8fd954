//! Weights of classes, as `--class-weight` names them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Weights of classes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum ClassWeightName {
    /// 1 each.
    None,
    /// N/(C·rows of the class), from the N training rows and the C classes among them.
    Balanced,
}

impl ClassWeightName {
    /// The weights of so many classes, from the labels of the training rows: scikit-learn's `balanced`. A class without rows has 1.
    pub(super) fn of(self, labels: &[u32], classes: usize) -> Option<Vec<f64>> {
        if self == Self::None {
            return None;
        }
        let mut counts = vec![0u32; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        let present = counts.iter().filter(|&&count| count > 0).count() as f64;
        let weight = |count| labels.len() as f64 / (present * f64::from(count));
        Some(counts.into_iter().map(|count| if count == 0 { 1.0 } else { weight(count) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 3], y=[0, 0, 0, 1, 3, 3]); class 2 has no row.
        let weights = ClassWeightName::Balanced.of(&[0, 0, 0, 1, 3, 3], 4).expect("weights");
        assert_eq!(weights, [6.0 / 9.0, 2.0, 1.0, 1.0]);
        assert_eq!(ClassWeightName::None.of(&[0, 0, 1], 2), None);
    }
}
