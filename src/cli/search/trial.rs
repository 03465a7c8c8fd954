//! The trials of a search: what each has reached, who is better, and the files that keep it.

use std::cmp::Ordering;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Plan;
use crate::cli::output;
use crate::cli::train::RunDir;
use crate::data::write;
use crate::error::{Error, Result};
use crate::nn::solver::History;

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// All its epochs are done.
    Finished,
    /// Halving waits for others before it goes on.
    Waiting,
    /// Halving has dropped it.
    Dropped,
    /// Its loss is no number any more.
    Diverged,
}

/// A trial. Keys are stable: see the README.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// Counted from 1.
    pub(super) trial: usize,
    /// Counted from 1.
    pub(super) round: usize,
    pub(super) params: Map<String, Value>,
    pub(super) status: Status,
    pub(super) epochs: usize,
    pub(super) best_epoch: u64,
    /// Of the best epoch; absent of a trial that diverged.
    pub(super) val_accuracy: Option<f64>,
    pub(super) val_loss: Option<f64>,
    pub(super) train_accuracy: Option<f64>,
    pub(super) train_loss: Option<f64>,
    pub(super) seconds: f64,
    /// Accuracy and loss on the validation rows when halving last compared, once for each time.
    pub(super) scores: Vec<Score>,
}

/// What trials are compared by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    pub(super) accuracy: Option<f64>,
    pub(super) loss: Option<f64>,
}

impl Score {
    /// Whether there is anything to compare.
    pub(super) fn is_known(self) -> bool {
        self.accuracy.is_some() || self.loss.is_some()
    }

    /// The better one first: the higher accuracy, of equal ones the lower loss; what has none comes last.
    pub(super) fn compare(self, other: Self) -> Ordering {
        let of =
            |score: Self| (score.accuracy.unwrap_or(f64::NEG_INFINITY), score.loss.unwrap_or(f64::INFINITY));
        let ((accuracy, loss), (others, other_loss)) = (of(self), of(other));
        others.total_cmp(&accuracy).then(loss.total_cmp(&other_loss))
    }
}

impl Trial {
    pub(super) fn new(trial: usize, round: usize, params: Map<String, Value>) -> Self {
        Self {
            trial,
            round,
            params,
            status: Status::Waiting,
            epochs: 0,
            best_epoch: 0,
            val_accuracy: None,
            val_loss: None,
            train_accuracy: None,
            train_loss: None,
            seconds: 0.0,
            scores: Vec::new(),
        }
    }

    /// Takes over what a run has reached.
    pub(super) fn record(&mut self, history: &History, diverged: bool, seconds: f64) {
        self.epochs = history.epochs.len();
        self.seconds += seconds;
        let best = history.epochs.iter().find(|epoch| epoch.epoch == history.best_epoch);
        let best = best.filter(|_| !diverged);
        self.best_epoch = best.map_or(0, |epoch| epoch.epoch);
        self.val_accuracy = best.and_then(|epoch| epoch.val_accuracy);
        self.val_loss = best.and_then(|epoch| epoch.val_loss).filter(|loss| loss.is_finite());
        self.train_accuracy = best.and_then(|epoch| epoch.train_accuracy);
        self.train_loss = best.map(|epoch| epoch.train_loss);
        self.scores.push(Score { accuracy: self.val_accuracy, loss: self.val_loss });
    }

    /// Whether it has reached anything.
    pub(super) fn is_scored(&self) -> bool {
        self.val_accuracy.is_some() || self.val_loss.is_some()
    }

    /// The validation accuracy, or where nothing is classified the validation loss.
    pub(super) fn shown_score(&self) -> Option<String> {
        output::percent(self.val_accuracy).or_else(|| self.val_loss.map(|loss| format!("loss {loss:.4}")))
    }

    /// The score when trials were compared for the time `rung`, counted from 0.
    pub(super) fn score(&self, rung: usize) -> Score {
        self.scores.get(rung).copied().unwrap_or_default()
    }

    /// The newest score.
    fn newest(&self) -> Score {
        self.scores.last().copied().unwrap_or_default()
    }

    /// The values tried, like `lr 0.001 · hidden 256,128`.
    pub(super) fn described(&self) -> String {
        let pairs: Vec<_> =
            self.params.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect();
        pairs.join(" · ")
    }
}

/// A value as the command line writes it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        Value::Number(number) => match number.as_f64() {
            // 0.0000123 is hard to read.
            Some(value) if value != 0.0 && value.abs() < 1e-3 => format!("{value:e}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Everything that a search goes on from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) plan: Plan,
    pub(super) trials: Vec<Trial>,
}

/// The file of [`Results`].
const RESULTS: &str = "results.json";

impl Results {
    /// Those of a search's folder.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(RESULTS);
        if !path.is_file() {
            return Err(Error::usage(
                format!("{} holds no search", dir.display()),
                "pass the folder that search has named",
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|error| {
            Error::data(&path, format!("its results do not parse: {error}"), "start the search anew")
        })
    }

    /// Writes them, and the table as CSV.
    pub(super) fn write(&self, dir: &RunDir) -> Result<()> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::usage(format!("the results do not fit JSON: {error}"), ""))?;
        write::text(dir.file(RESULTS), &json)?;
        write::text(dir.file("results.csv"), &csv(&ranked(&self.trials))?)
    }
}

/// The best first.
pub(super) fn ranked(trials: &[Trial]) -> Vec<&Trial> {
    let mut ranked: Vec<&Trial> = trials.iter().collect();
    ranked.sort_by(|a, b| a.newest().compare(b.newest()).then(a.trial.cmp(&b.trial)));
    ranked
}

/// Trials as CSV, a column for every option that was searched.
pub(super) fn csv(ranked: &[&Trial]) -> Result<String> {
    let unfit =
        |error: &dyn std::fmt::Display| Error::usage(format!("the results do not fit CSV: {error}"), "");
    let names: Vec<&String> = ranked.first().map(|trial| trial.params.keys().collect()).unwrap_or_default();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fixed = [
        "rank",
        "trial",
        "round",
        "status",
        "epochs",
        "best_epoch",
        "val_accuracy",
        "val_loss",
        "train_accuracy",
        "train_loss",
        "seconds",
    ];
    writer
        .write_record(fixed.into_iter().chain(names.iter().map(|name| name.as_str())))
        .map_err(|error| unfit(&error))?;
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for (i, trial) in ranked.iter().enumerate() {
        let mut record = vec![
            (i + 1).to_string(),
            trial.trial.to_string(),
            trial.round.to_string(),
            trial.status.name().to_owned(),
            trial.epochs.to_string(),
            trial.best_epoch.to_string(),
            optional(trial.val_accuracy),
            optional(trial.val_loss),
            optional(trial.train_accuracy),
            optional(trial.train_loss),
            trial.seconds.to_string(),
        ];
        record.extend(names.iter().map(|&name| trial.params.get(name).map(shown).unwrap_or_default()));
        writer.write_record(&record).map_err(|error| unfit(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| unfit(&error))?;
    String::from_utf8(bytes).map_err(|error| unfit(&error))
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Waiting => "waiting",
            Self::Dropped => "dropped",
            Self::Diverged => "diverged",
        }
    }
}
