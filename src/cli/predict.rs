//! `predict`: the classes of rows by a trained model, or their codes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::args::{DataArgs, DeviceArgs};
use super::output::{self, Format};
use super::summary::{DeviceFacts, thousands};
use crate::data::{self, Dataset};
use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::rows::RowsRef;

/// The trained model and the rows it is used on.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// The model: a file that train has written, or the folder of a run.
    #[arg(long, value_name = "PATH")]
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// Which rows of the data.
    #[arg(long, value_enum, default_value_t = Split::Test)]
    pub(super) split: Split,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Split {
    /// The test rows.
    Test,
    /// The training rows.
    Train,
}

impl Split {
    /// The rows of a data set, with their classes where they are known.
    pub(super) fn of(self, dataset: &Dataset) -> (RowsRef<'_>, Option<&[u32]>) {
        match self {
            Self::Test => (dataset.test.view(), dataset.test_labels.as_deref()),
            Self::Train => (dataset.train.view(), Some(&dataset.train_labels)),
        }
    }
}

impl ModelArgs {
    /// The model on its device.
    pub(super) fn load(&self) -> Result<(Model, DeviceFacts)> {
        let opened = self.device.open()?;
        Ok((Model::load(&opened.device, model_file(&self.model))?, DeviceFacts::new(&opened)))
    }
}

/// The model's file, where the folder of a run may stand for it.
pub(super) fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() }
}

/// Classify rows by a trained model, or turn them into the codes of an autoencoder.
#[derive(Debug, Args)]
pub(super) struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Give the probability of every class instead of the class.
    #[arg(long, conflicts_with_all = ["codes", "reconstruct"])]
    proba: bool,
    /// Give what the last hidden layer puts out, or the code of an autoencoder, which is what it gives by default.
    #[arg(long, conflicts_with = "reconstruct")]
    codes: bool,
    /// Give the rows as an autoencoder reconstructs them, in the units of the data.
    #[arg(long)]
    reconstruct: bool,
    /// Write to this file instead of printing: .npy (i64 classes, or rows of f32), .csv, or lines of class names.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report<'a> {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    rows: usize,
    classes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Vec<&'a [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<&'a [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconstructions: Option<Vec<&'a [f32]>>,
}

/// What a model makes of rows.
enum Answer {
    /// A class for each.
    Classes(Vec<u32>),
    /// A row of so many numbers for each.
    Numbers(What, usize, Vec<f32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Probabilities,
    Codes,
    Reconstructions,
}

impl Predict {
    pub(super) fn run(self) -> Result<()> {
        let (model, device) = self.model.load()?;
        // Nobody asks for the truth.
        let dataset = self.model.data.load_rows()?;
        let (rows, _) = self.model.split.of(&dataset);
        let answer = self.answer(&model, rows)?;
        if let Some(path) = &self.out {
            match (&answer, path.extension().is_some_and(|extension| extension == "npy")) {
                (Answer::Numbers(_, columns, values), true) => {
                    data::write::npy(path, &[rows.len(), *columns], values)?;
                }
                (Answer::Classes(classes), true) => {
                    let ids: Vec<i64> = classes.iter().copied().map(i64::from).collect();
                    data::write::npy(path, &[ids.len()], &ids)?;
                }
                _ => data::write::text(path, &lines(&model, &answer)?)?,
            }
            output::note(&format!("{} rows written to {}", thousands(rows.len()), path.display()));
            return Ok(());
        }
        let numbers = |wanted: What| match &answer {
            Answer::Numbers(what, columns, values) if *what == wanted => {
                Some(values.chunks_exact((*columns).max(1)).collect())
            }
            _ => None,
        };
        match self.format {
            Format::Text => output::print(&lines(&model, &answer)?),
            Format::Json => output::print_json(&Report {
                command: "predict",
                version: env!("CARGO_PKG_VERSION"),
                device,
                rows: rows.len(),
                classes: &model.classes,
                predicted: if let Answer::Classes(classes) = &answer { Some(classes) } else { None },
                probabilities: numbers(What::Probabilities),
                codes: numbers(What::Codes),
                reconstructions: numbers(What::Reconstructions),
            }),
        }
    }

    fn answer(&self, model: &Model, rows: RowsRef<'_>) -> Result<Answer> {
        let net = model.net.architecture();
        Ok(if self.proba {
            Answer::Numbers(What::Probabilities, net.outputs, model.probabilities(rows)?)
        } else if self.reconstruct {
            Answer::Numbers(What::Reconstructions, net.outputs, model.reconstructions(rows)?)
        } else if self.codes || !net.objective.of_labels() {
            let width = net.encoder().last().copied().unwrap_or(0);
            Answer::Numbers(What::Codes, width, model.codes(rows)?)
        } else {
            Answer::Classes(model.predict(rows)?)
        })
    }
}

/// A class name a line, or a CSV of numbers.
fn lines(model: &Model, answer: &Answer) -> Result<String> {
    let (what, columns, values) = match answer {
        Answer::Classes(classes) => {
            return Ok(classes.iter().map(|&class| format!("{}\n", model.classes[class as usize])).collect());
        }
        Answer::Numbers(what, columns, values) => (*what, *columns, values),
    };
    let unfit = |error: csv::Error| Error::usage(format!("the numbers do not fit CSV: {error}"), "");
    let mut writer = csv::Writer::from_writer(Vec::new());
    match what {
        What::Probabilities => writer.write_record(&model.classes),
        What::Codes => writer.write_record((0..columns).map(|i| format!("code{i}"))),
        What::Reconstructions => writer.write_record((0..columns).map(|i| format!("x{i}"))),
    }
    .map_err(unfit)?;
    for row in values.chunks_exact(columns.max(1)) {
        writer.write_record(row.iter().map(ToString::to_string)).map_err(unfit)?;
    }
    let bytes = writer.into_inner().map_err(|error| Error::usage(error.to_string(), ""))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
