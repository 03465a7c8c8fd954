//! `cv`: one configuration on every fold of the training rows.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::args::name_of;
use super::output::{self, TableFormat};
use super::runs::Runs;
use super::summary::{DataFacts, DeviceFacts, thousands};
use super::train::{Feeds, Kind, Notes, Parts, Setup};
use crate::classify::knn::mean_and_deviation;
use crate::data::{Dataset, split};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::solver::Solver;
use crate::report::table::Table;

/// Cross-validate one configuration: train on all folds but one, score on that one, for each in turn.
///
/// A fold is scored after the last epoch: the best one would be chosen by the rows that score it.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct CrossValidate {
    /// What to train.
    #[arg(value_enum)]
    model: Kind,
    #[command(flatten)]
    setup: Setup,
    /// Folds of the training rows, contiguous as in assignment 1.
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: usize,
    /// Shuffle the training rows, by --seed, before they are cut into folds.
    #[arg(long)]
    shuffle: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
}

/// What the command found. Keys are stable: see the README.
#[derive(Serialize)]
struct Summary {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    data: DataFacts,
    model: Kind,
    objective: String,
    folds: usize,
    shuffled: bool,
    seed: u64,
    results: Vec<Fold>,
    /// Of the accuracies, or of the losses where nothing is classified; absent where a fold diverged.
    mean: Option<f64>,
    deviation: Option<f64>,
    seconds: f64,
}

/// A fold, absent numbers where its training diverged.
#[derive(Serialize)]
struct Fold {
    fold: usize,
    train_rows: usize,
    rows: usize,
    diverged: bool,
    epochs: usize,
    train_loss: Option<f64>,
    train_accuracy: Option<f64>,
    loss: Option<f64>,
    accuracy: Option<f64>,
    seconds: f64,
}

impl CrossValidate {
    pub(super) fn run(self) -> Result<()> {
        let start = Instant::now();
        if self.folds < 2 {
            return Err(Error::usage(
                format!("--folds {}: no row is left to train on", self.folds),
                "give 2 or more",
            ));
        }
        if self.setup.options.val_fraction.is_some() {
            return Err(Error::usage(
                "--val-fraction means nothing to cv, which holds out each fold in turn",
                "leave it out, or give --folds",
            ));
        }
        let dataset = self.model.load(&self.setup.data)?;
        let notes = self.setup.notes(self.model, &dataset)?;
        if notes.options.early_stopping.is_some() {
            return Err(Error::usage(
                "--early-stopping would choose the epoch by the rows that score it",
                "give --epochs or --max-steps",
            ));
        }
        let rows = dataset.train.len();
        let ranges = split::folds(rows, self.folds)?;
        let order = match self.shuffle {
            true => split::permutation(rows, notes.data.seed),
            false => (0..rows).collect(),
        };
        let opened = self.setup.device.open()?;
        let mut runs = Runs::new(notes.training(false, dataset.image)?.epochs * self.folds as u64);
        let mut results = Vec::with_capacity(self.folds);
        for (i, range) in ranges.into_iter().enumerate() {
            let held = &order[range.clone()];
            let others = [&order[..range.start], &order[range.end..]].concat();
            let parts = Parts::of(&dataset, &others, held);
            results.push(self.fold(i + 1, &opened.device, &dataset, &notes, &parts, &mut runs)?);
        }
        runs.finish();
        let classifies = self.model.classifies();
        let score = |fold: &Fold| if classifies { fold.accuracy } else { fold.loss };
        let scores: Option<Vec<f64>> = results.iter().map(score).collect();
        let (mean, deviation) = scores.map(|folds| mean_and_deviation(&folds)).unzip();
        let summary = Summary {
            command: "cv",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(&opened),
            data: DataFacts::new(&dataset),
            model: self.model,
            objective: notes.options.objective(self.model),
            folds: self.folds,
            shuffled: self.shuffle,
            seed: notes.data.seed,
            results,
            mean,
            deviation,
            seconds: start.elapsed().as_secs_f64(),
        };
        match self.format {
            TableFormat::Text => output::print(&text(&summary)),
            TableFormat::Json => output::print_json(&summary),
            TableFormat::Csv => output::print(&csv(&summary)),
        }
    }

    fn fold(
        &self,
        fold: usize,
        device: &Device,
        dataset: &Dataset,
        notes: &Notes,
        parts: &Parts,
        runs: &mut Runs,
    ) -> Result<Fold> {
        let start = Instant::now();
        let name = format!("fold {fold}/{}", self.folds);
        let training = notes.training(false, dataset.image)?;
        runs.begin(&name, training.epochs);
        let model = notes.model(device, dataset, parts, notes.columns(parts)?)?;
        let mut feeds = Feeds::new(device, parts, &model.columns, self.setup.device.memory_limit)?;
        let mut solver = Solver::new(model.net, training)?;
        let ended = feeds.run_until(&mut solver, &mut |_| {
            runs.epoch();
            false
        });
        let diverged = matches!(ended, Err(Error::Diverged { .. }));
        if !diverged {
            ended?;
        }
        let last = solver.history.epochs.last().filter(|_| !diverged);
        let found = Fold {
            fold,
            train_rows: parts.train.len(),
            rows: parts.validation.len(),
            diverged,
            epochs: solver.history.epochs.len(),
            train_loss: last.map(|epoch| epoch.train_loss),
            train_accuracy: last.and_then(|epoch| epoch.train_accuracy),
            loss: last.and_then(|epoch| epoch.val_loss),
            accuracy: last.and_then(|epoch| epoch.val_accuracy),
            seconds: start.elapsed().as_secs_f64(),
        };
        let loss = found.loss.map(|loss| format!("loss {loss:.4}"));
        let score = output::percent(found.accuracy).or(loss).unwrap_or_else(|| "diverged".into());
        runs.end(&format!("{name}  {score}  {:.1} s", found.seconds));
        Ok(found)
    }
}

/// A number, or nothing.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
}

fn text(summary: &Summary) -> String {
    let DataFacts { name, train, features, dtype, .. } = &summary.data;
    let mut table = Table::new(&[
        "fold",
        "rows",
        "epochs",
        "train loss",
        "train accuracy",
        "loss",
        "accuracy",
        "seconds",
    ]);
    for fold in &summary.results {
        let accuracy = if fold.diverged { "diverged".to_owned() } else { number(fold.accuracy, 4) };
        table.row(&[
            fold.fold.to_string(),
            fold.rows.to_string(),
            fold.epochs.to_string(),
            number(fold.train_loss, 4),
            number(fold.train_accuracy, 4),
            number(fold.loss, 4),
            accuracy,
            format!("{:.1}", fold.seconds),
        ]);
    }
    let outcome = match (summary.mean, summary.deviation) {
        (Some(mean), Some(deviation)) if !summary.model.classifies() => {
            format!("loss {mean:.4} ± {deviation:.4} (mean ± deviation over the folds)")
        }
        (Some(mean), Some(deviation)) => {
            format!(
                "accuracy {:.2} % ± {:.2} % (mean ± deviation over the folds)",
                100.0 * mean,
                100.0 * deviation
            )
        }
        _ => "a fold diverged: lower --lr, use --warmup, or a preprocessing that keeps inputs near 0"
            .to_owned(),
    };
    format!(
        "data       {name}: {} training rows of {features} features ({dtype})\n\
         device     {} · {}\n\
         model      {}\n\
         objective  {}\n\
         folds      {}{}\n\
         seconds    {:.1}\n\n{}\n{outcome}\n",
        thousands(*train),
        summary.device.name,
        summary.device.why,
        name_of(summary.model),
        summary.objective,
        summary.folds,
        if summary.shuffled { format!(" (shuffled, seed {})", summary.seed) } else { String::new() },
        summary.seconds,
        table.text(),
    )
}

fn csv(summary: &Summary) -> String {
    let mut text =
        "fold,train_rows,rows,diverged,epochs,train_loss,train_accuracy,loss,accuracy,seconds\n".to_owned();
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for fold in &summary.results {
        text += &format!(
            "{},{},{},{},{},{},{},{},{},{}\n",
            fold.fold,
            fold.train_rows,
            fold.rows,
            fold.diverged,
            fold.epochs,
            optional(fold.train_loss),
            optional(fold.train_accuracy),
            optional(fold.loss),
            optional(fold.accuracy),
            fold.seconds
        );
    }
    text
}
