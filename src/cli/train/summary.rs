//! What a training run tells at its end.

use std::path::PathBuf;

use serde::Serialize;

use super::Kind;
use super::origin::Start;
use super::reconstruction::Reconstruction;
use super::verification::Verification;
use crate::cli::args::name_of;
use crate::cli::summary::{DataFacts, DeviceFacts, mebibytes, thousands};
use crate::nn::solver::Ended;
use crate::report::confusion::Confusion;

/// Seconds of each phase.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seconds {
    pub(super) load: f64,
    pub(super) upload: f64,
    /// From the start of the program to the end of the first step; none where there was no step to make.
    pub(super) first_step: Option<f64>,
    pub(super) train: f64,
    pub(super) evaluate: f64,
    pub(super) report: f64,
    pub(super) total: f64,
}

/// A finished run. Keys are stable: see the README.
#[derive(Debug, Serialize)]
pub(super) struct TrainSummary {
    pub(super) command: &'static str,
    pub(super) version: &'static str,
    pub(super) device: DeviceFacts,
    pub(super) data: DataFacts,
    pub(super) model: Kind,
    pub(super) objective: String,
    pub(super) parameters: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) init_from: Option<Start>,
    pub(super) epochs: usize,
    pub(super) best_epoch: u64,
    pub(super) ended: Ended,
    pub(super) steps: usize,
    pub(super) steps_per_second: f64,
    pub(super) train_loss: Option<f64>,
    pub(super) val_accuracy: Option<f64>,
    pub(super) test_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reconstruction: Option<Reconstruction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verification: Option<Verification>,
    pub(super) seconds: Seconds,
    pub(super) dispatches_per_step: f64,
    pub(super) steps_per_submission: f64,
    pub(super) peak_memory_bytes: Option<u64>,
    pub(super) model_path: PathBuf,
    pub(super) report_path: PathBuf,
    pub(super) confusion: Option<Confusion>,
}

impl TrainSummary {
    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let DataFacts { name, train, test, features, dtype } = &self.data;
        let mut text = format!(
            "data       {name}: {} training and {} test rows of {features} features ({dtype})\n",
            thousands(*train),
            thousands(*test)
        );
        text += &format!("device     {} · {}\n", self.device.name, self.device.why);
        text += &format!("model      {}, {} parameters\n", name_of(self.model), thousands(self.parameters));
        text += &self.init_from.as_ref().map(Start::text).unwrap_or_default();
        text += &format!("objective  {}\n", self.objective);
        let ended = match self.ended {
            Ended::Epochs => "",
            Ended::MaxSteps => ", stopped by --max-steps",
            Ended::EarlyStopping => ", stopped early",
        };
        text += &format!("epochs     {} ({} steps{ended})\n", self.epochs, thousands(self.steps));
        let mut accuracies = Vec::new();
        if let Some(accuracy) = self.val_accuracy {
            accuracies.push(format!("validation {:.2} % (epoch {})", 100.0 * accuracy, self.best_epoch));
        }
        if let Some(accuracy) = self.test_accuracy {
            accuracies.push(format!("test {:.2} %", 100.0 * accuracy));
        }
        if !accuracies.is_empty() {
            text += &format!("accuracy   {}\n", accuracies.join(" · "));
        }
        text += &self.reconstruction.as_ref().map(|it| it.text(self.best_epoch)).unwrap_or_default();
        text += &self.verification.as_ref().map(Verification::text).unwrap_or_default();
        let Seconds { load, upload, train, evaluate, report, total, .. } = self.seconds;
        text += &format!(
            "seconds    load {load:.2} · upload {upload:.2} · train {train:.2} · evaluate {evaluate:.2} · report {report:.2} · total \
             {total:.2}\n"
        );
        text += &format!("speed      {:.1} steps/s", self.steps_per_second);
        if self.dispatches_per_step > 0.0 {
            text += &format!(
                " · {:.1} dispatches a step · {:.1} steps a submission",
                self.dispatches_per_step, self.steps_per_submission
            );
        }
        if let Some(first) = self.seconds.first_step {
            text += &format!(" · first step after {first:.2} s");
        }
        if let Some(bytes) = self.peak_memory_bytes {
            text += &format!(" · peak memory {}", mebibytes(bytes));
        }
        text += &format!("\nmodel      {}\n", self.model_path.display());
        text += &format!("report     {}\n", self.report_path.display());
        if let Some(confusion) = &self.confusion {
            text += &format!("\n{}\n{}", confusion.per_class_table(), confusion.matrix_table());
        }
        text
    }
}
