//! `eval`: how good a trained model is on rows whose classes are known, or an autoencoder on any rows.

use clap::Args;
use serde::Serialize;

use super::args::name_of;
use super::output::{self, Format};
use super::predict::{ModelArgs, Split};
use super::summary::{DeviceFacts, thousands};
use super::train::Errors;
use crate::data::preprocess::mean_row;
use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::report::confusion::Confusion;
use crate::report::mistakes::{Confidence, Mistake};
use crate::report::table::Table;

/// Score a trained model on labelled rows, or an autoencoder on any rows.
#[derive(Debug, Args)]
pub(super) struct Eval {
    #[command(flatten)]
    model: ModelArgs,
    /// Most confident mistakes to list, or rows that an autoencoder gives back worst.
    #[arg(long, value_name = "N", default_value_t = 10)]
    mistakes: usize,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    data: String,
    split: Split,
    rows: usize,
    correct: usize,
    accuracy: f64,
    confusion: Confusion,
    mistakes: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    row: usize,
    truth: String,
    predicted: String,
    /// Probability of the predicted class, or, of an SVM, by how much its score exceeds that of the true one.
    confidence: f32,
}

impl Eval {
    pub(super) fn run(self) -> Result<()> {
        let (model, device) = self.model.load()?;
        if !model.net.architecture().objective.of_labels() {
            return self.reconstruct(&model, device);
        }
        let dataset = self.model.data.load()?;
        let (rows, labels) = self.model.split.of(&dataset);
        let Some(truth) = labels.filter(|labels| !labels.is_empty()) else {
            return Err(Error::usage(
                format!("{}: the classes of these rows are unknown", dataset.name),
                "give labels, or use predict",
            ));
        };
        if dataset.classes != model.classes {
            return Err(Error::usage(
                format!("{}: the classes are not those of the model", dataset.name),
                format!("the model knows {}", model.classes.join(", ")),
            ));
        }
        let predicted = model.predict(rows)?;
        let name = |class: u32| model.classes[class as usize].clone();
        let line = |mistake: Mistake| Line {
            row: mistake.row,
            truth: name(mistake.truth),
            predicted: name(mistake.predicted),
            confidence: match mistake.confidence {
                Confidence::Probability(value) | Confidence::Margin(value) => value,
            },
        };
        let report = Report {
            command: "eval",
            version: env!("CARGO_PKG_VERSION"),
            device,
            data: dataset.name.clone(),
            split: self.model.split,
            rows: rows.len(),
            correct: predicted.iter().zip(truth).filter(|(predicted, truth)| predicted == truth).count(),
            accuracy: 0.0,
            confusion: Confusion::new(truth, &predicted, &model.classes),
            mistakes: model.mistakes(rows, truth, self.mistakes)?.into_iter().map(line).collect(),
        };
        let report = Report { accuracy: report.correct as f64 / report.rows as f64, ..report };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }
}

/// The outcome of an autoencoder. Keys are stable: see the README.
#[derive(Serialize)]
struct Reconstructed {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    data: String,
    split: Split,
    #[serde(flatten)]
    errors: Errors,
    /// The share of the baseline's error that is gone.
    explained: f64,
    worst: Vec<RowError>,
}

#[derive(Serialize)]
struct RowError {
    row: usize,
    mse: f64,
}

impl Eval {
    fn reconstruct(&self, model: &Model, device: DeviceFacts) -> Result<()> {
        let dataset = self.model.data.load_rows()?;
        let (rows, _) = self.model.split.of(&dataset);
        let mean = mean_row(dataset.train.view());
        let Some(errors) = Errors::of(model, rows, &mean)? else {
            let problem = format!("{}: there are no {} rows", dataset.name, name_of(self.model.split));
            return Err(Error::usage(problem, "choose the other ones by --split"));
        };
        let each = model.reconstruction_errors(rows)?.into_iter().enumerate();
        let mut worst: Vec<_> = each.map(|(row, mse)| RowError { row, mse }).collect();
        worst.sort_by(|a, b| b.mse.total_cmp(&a.mse).then(a.row.cmp(&b.row)));
        worst.truncate(self.mistakes);
        let report = Reconstructed {
            command: "eval",
            version: env!("CARGO_PKG_VERSION"),
            device,
            data: dataset.name.clone(),
            split: self.model.split,
            explained: errors.explained(),
            errors,
            worst,
        };
        match self.format {
            Format::Text => output::print(&reconstructed(&report)),
            Format::Json => output::print_json(&report),
        }
    }
}

fn reconstructed(report: &Reconstructed) -> String {
    let Errors { rows, mse, baseline_mse } = report.errors;
    let mut text = format!(
        "data      {}, {} rows\ndevice    {} · {}\nerror     {mse:.4} (mean square)\n\
         mean row  {baseline_mse:.4}: {:.1} % of its error is gone\n",
        report.data,
        thousands(rows),
        report.device.name,
        report.device.why,
        100.0 * report.explained,
    );
    if !report.worst.is_empty() {
        let mut table = Table::new(&["row", "error"]);
        for RowError { row, mse } in &report.worst {
            table.row(&[row.to_string(), format!("{mse:.4}")]);
        }
        text += &format!("\nrows that come back worst\n{}", table.text());
    }
    text
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "data      {}, {} rows\ndevice    {} · {}\naccuracy  {:.2} %  ({} right)\n\n{}\n{}",
        report.data,
        thousands(report.rows),
        report.device.name,
        report.device.why,
        100.0 * report.accuracy,
        thousands(report.correct),
        report.confusion.per_class_table(),
        report.confusion.matrix_table()
    );
    if !report.mistakes.is_empty() {
        let mut table = Table::new(&["row", "truth", "predicted", "confidence"]);
        for Line { row, truth, predicted, confidence } in &report.mistakes {
            table.row(&[row.to_string(), truth.clone(), predicted.clone(), format!("{confidence:.4}")]);
        }
        text += &format!("\nmost confident mistakes\n{}", table.text());
    }
    text
}
