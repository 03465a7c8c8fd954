//! Learning rates over time (course notes, "Annealing the learning rate").

use serde::{Deserialize, Serialize};

/// How the learning rate changes. Rates are a function of the step alone, so a resumed run has the same.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Schedule {
    /// It does not.
    #[default]
    Constant,
    /// Multiplied by `decay` after every `every` epochs.
    Step {
        /// The factor, 0.1 or 0.5 usually.
        decay: f64,
        /// Epochs between two cuts.
        every: usize,
    },
    /// Multiplied by `decay` after every epoch: the course's `lr_decay`.
    Exp {
        /// The factor, 0.95 usually.
        decay: f64,
    },
    /// From the base rate to 0 along half a cosine over the whole run, step by step (Loshchilov & Hutter 2017, arXiv:1608.03983).
    Cosine,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps made so far.
    pub step: u64,
    /// Steps of an epoch.
    pub per_epoch: u64,
    /// Steps of the whole run.
    pub total: u64,
}

impl Schedule {
    /// The learning rate of the next step. During the first `warmup` steps it rises linearly to what the schedule says.
    pub fn rate(self, base: f64, warmup: u64, at: Progress) -> f64 {
        let epoch = at.step / at.per_epoch.max(1);
        let power = |decay: f64, n: u64| decay.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let scheduled = match self {
            Self::Constant => base,
            Self::Step { decay, every } => base * power(decay, epoch / every.max(1) as u64),
            Self::Exp { decay } => base * power(decay, epoch),
            Self::Cosine => {
                let done = (at.step as f64 / at.total.max(1) as f64).min(1.0);
                base * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        };
        if at.step < warmup { scheduled * (at.step + 1) as f64 / warmup as f64 } else { scheduled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: u64) -> Vec<f64> {
        (0..6).map(|step| schedule.rate(1.0, warmup, Progress { step, per_epoch: 2, total: 6 })).collect()
    }

    #[test]
    fn rates_follow_their_formulas() {
        assert_eq!(rates(Schedule::Constant, 0), [1.0; 6]);
        assert_eq!(rates(Schedule::Exp { decay: 0.5 }, 0), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        assert_eq!(rates(Schedule::Step { decay: 0.1, every: 2 }, 0), [1.0, 1.0, 1.0, 1.0, 0.1, 0.1]);
        let cosine = rates(Schedule::Cosine, 0);
        approx::assert_relative_eq!(cosine[3], 0.5, max_relative = 1e-12);
        assert!(cosine.windows(2).all(|pair| pair[0] > pair[1]) && cosine[0] == 1.0);
    }

    #[test]
    fn a_warm_up_rises_to_the_schedule() {
        assert_eq!(rates(Schedule::Constant, 4), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }
}
