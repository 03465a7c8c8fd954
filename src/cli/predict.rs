//! `predict`: the classes of rows by a trained model.

use std::path::PathBuf;

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
        let inside = self.model.join("model.safetensors");
        let path = if self.model.is_dir() { &inside } else { &self.model };
        Ok((Model::load(&opened.device, path)?, DeviceFacts::new(&opened)))
    }
}

/// Classify rows by a trained model.
#[derive(Debug, Args)]
pub(super) struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Give the probability of every class instead of the class.
    #[arg(long)]
    proba: bool,
    /// Write to this file instead of printing: .npy (i64 classes or f32 probabilities), .csv, or lines of class names.
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
}

impl Predict {
    pub(super) fn run(self) -> Result<()> {
        let dataset = self.model.data.load()?;
        let (model, device) = self.model.load()?;
        let (rows, _) = self.model.split.of(&dataset);
        let classes = model.classes.len();
        let (predicted, probabilities) = match self.proba {
            true => (Vec::new(), model.probabilities(rows)?),
            false => (model.predict(rows)?, Vec::new()),
        };
        if let Some(path) = &self.out {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            match (extension, self.proba) {
                ("npy", true) => data::write::npy(path, &[rows.len(), classes], &probabilities)?,
                ("npy", false) => {
                    let ids: Vec<i64> = predicted.iter().copied().map(i64::from).collect();
                    data::write::npy(path, &[ids.len()], &ids)?;
                }
                _ => data::write::text(path, &self.lines(&model, &predicted, &probabilities)?)?,
            }
            output::note(&format!("{} rows written to {}", thousands(rows.len()), path.display()));
            return Ok(());
        }
        match self.format {
            Format::Text => output::print(&self.lines(&model, &predicted, &probabilities)?),
            Format::Json => output::print_json(&Report {
                command: "predict",
                version: env!("CARGO_PKG_VERSION"),
                device,
                rows: rows.len(),
                classes: &model.classes,
                predicted: (!self.proba).then_some(&predicted),
                probabilities: self.proba.then(|| probabilities.chunks_exact(classes).collect()),
            }),
        }
    }

    /// A class name a line, or a CSV of probabilities.
    fn lines(&self, model: &Model, predicted: &[u32], probabilities: &[f32]) -> Result<String> {
        if !self.proba {
            return Ok(predicted
                .iter()
                .map(|&class| format!("{}\n", model.classes[class as usize]))
                .collect());
        }
        let unfit =
            |error: csv::Error| Error::usage(format!("the probabilities do not fit CSV: {error}"), "");
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&model.classes).map_err(unfit)?;
        for row in probabilities.chunks_exact(model.classes.len()) {
            writer.write_record(row.iter().map(ToString::to_string)).map_err(unfit)?;
        }
        let bytes = writer.into_inner().map_err(|error| Error::usage(error.to_string(), ""))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
