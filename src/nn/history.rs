//! What a run of training has reached, and what it has cost.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::gpu::Counters;

/// Figures of a finished epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps made since the run began.
    pub step: u64,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Mean loss of its batches, without the penalty.
    pub train_loss: f64,
    /// Share of right predictions on the rows watched, at most a thousand training rows, after the epoch; absent where nothing is classified.
    pub train_accuracy: Option<f64>,
    /// Mean loss of the validation rows, where there are any.
    pub val_loss: Option<f64>,
    /// Share of right predictions on the validation rows, where rows are classified.
    pub val_accuracy: Option<f64>,
    /// Seconds it took, evaluation included.
    pub seconds: f64,
}

impl Epoch {
    /// Whether it did better on the validation rows than `best`: a higher accuracy, or where nothing is classified a lower loss. What has no
    /// validation rows, or a loss that is no number, is no better than anything.
    pub fn better_than(&self, best: Option<&Self>) -> bool {
        match (self.val_accuracy, self.val_loss, best) {
            (None, Some(loss), None) => loss.is_finite(),
            (accuracy, _, None) => accuracy.is_some(),
            (Some(accuracy), _, Some(best)) => best.val_accuracy.is_none_or(|best| accuracy > best),
            (None, Some(loss), Some(best)) => best.val_loss.is_some_and(|best| loss < best),
            (None, None, _) => false,
        }
    }
}

/// What a run has reached: with the net and the optimizer, everything that it goes on from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Finished epochs.
    pub epochs: Vec<Epoch>,
    /// The mean loss of every batch, without the penalty.
    pub losses: Vec<f32>,
    /// The [best](Epoch::better_than) epoch, counted from 1; 0 before there is one.
    pub best_epoch: u64,
}

impl History {
    /// The best epoch so far.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().find(|epoch| epoch.epoch == self.best_epoch)
    }

    /// The best validation accuracy so far.
    pub fn best_accuracy(&self) -> Option<f64> {
        self.best()?.val_accuracy
    }
}

/// What the steps of a run have cost on an adapter, evaluation apart; zero elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Steps made by this solver, not by one before an interruption.
    pub steps: u64,
    /// Kernel launches.
    pub dispatches: u64,
    /// Submissions that carried them and read their losses.
    pub submissions: u64,
}

impl Cost {
    /// What a device has done so far.
    pub(super) fn of(device: &Device) -> Self {
        match device {
            Device::Gpu(gpu) => {
                let Counters { dispatches, submissions, .. } = gpu.counters();
                Self { steps: 0, dispatches, submissions }
            }
            Device::Cpu | Device::Reference => Self::default(),
        }
    }

    /// Adds what `device` has done since `before`: so many steps.
    pub(super) fn add(&mut self, before: Self, device: &Device, steps: usize) {
        let now = Self::of(device);
        self.steps += steps as u64;
        self.dispatches += now.dispatches - before.dispatches;
        self.submissions += now.submissions - before.submissions;
    }

    /// Launches of a step; 0 elsewhere than on an adapter.
    pub fn dispatches_per_step(&self) -> f64 {
        self.dispatches as f64 / self.steps.max(1) as f64
    }

    /// Steps that a submission carries; 0 elsewhere than on an adapter.
    pub fn steps_per_submission(&self) -> f64 {
        if self.submissions == 0 { 0.0 } else { self.steps as f64 / self.submissions as f64 }
    }
}
