//! Options that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::opening::{Opening, warn};
use crate::classify::knn::{Metric, Options, Weights};
use crate::cpu::simd::Isa;
use crate::data::{self, Dataset, Limits, Source, TableOptions, TestRows};
use crate::device::{Device, Opened, Selection};
use crate::error::{Error, Result};
use crate::gpu;

/// Where the work runs.
#[derive(Debug, Clone, Args)]
pub(super) struct DeviceArgs {
    /// auto, cpu, reference, gpu, gpu:N or gpu:NAME; auto takes a hardware GPU where the work is worth opening it, else the CPU.
    #[arg(long, default_value = "auto", env = "CS231N_GPU_DEVICE", value_name = "DEVICE")]
    device: Selection,
    /// Widest instructions of the CPU path, as `devices` lists them: to compare machines.
    #[arg(long, value_name = "NAME")]
    instruction_set: Option<String>,
    /// Cap on device memory in use, like 512MiB; training rows stream through.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(super) memory_limit: Option<u64>,
}

impl DeviceArgs {
    /// What was asked for.
    pub(super) fn selection(&self) -> &Selection {
        &self.device
    }

    /// Sets the instructions and opens the device; warns where a software adapter was asked for.
    pub(super) fn open(&self) -> Result<Opened> {
        self.open_with(&gpu::Options::keeping())
    }

    /// [`Self::open`], an adapter by these options.
    pub(super) fn open_with(&self, options: &gpu::Options) -> Result<Opened> {
        self.prepare()?;
        Device::open_with(&self.device, options).inspect(warn)
    }

    /// Begins to open the device while the host has other work, where it is known already which one: `auto` waits for the size of the job.
    pub(super) fn begin(&self) -> Result<Opening> {
        self.prepare()?;
        Ok(Opening::begin(&self.device))
    }

    /// [`Self::open`] to go on with work that began on a device of the kind that `begun` finds out: `auto` stays with the processor where
    /// that was one, for another device would give other bits.
    pub(super) fn open_again(&self, begun: impl FnOnce() -> Result<Option<String>>) -> Result<Opened> {
        if self.device == Selection::Auto && begun()?.as_deref() == Some(Device::Cpu.kind()) {
            self.prepare()?;
            return Ok(Opened { device: Device::Cpu, why: "auto: as the run began".into() });
        }
        self.open()
    }

    /// Sets the instructions.
    pub(super) fn prepare(&self) -> Result<()> {
        self.instruction_set.as_deref().map_or(Ok(()), Isa::limit)
    }
}

/// What is classified.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(super) struct DataArgs {
    /// A CIFAR-10/100 binary folder, an idx folder (.gz or plain), an .npz, .csv, .tsv or libsvm file; by default the
    /// bundled Fashion-MNIST subset.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Label column of a CSV or TSV file: its name, or its number from 0.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    label: Option<String>,
    /// Test rows of a CSV, TSV or libsvm training file.
    #[arg(long, value_name = "PATH", requires = "data")]
    test_data: Option<PathBuf>,
    /// Without --test-data, the share of a CSV, TSV or libsvm file's rows to test on (0.2 by default), drawn by
    /// --seed.
    #[arg(long, value_name = "SHARE", requires = "data", conflicts_with = "test_data")]
    test_fraction: Option<f64>,
    /// Training rows as .npy.
    #[arg(long, value_name = "NPY", conflicts_with = "data")]
    train_x: Option<PathBuf>,
    /// Training labels as .npy.
    #[arg(long, value_name = "NPY", requires = "train_x")]
    train_y: Option<PathBuf>,
    /// Test rows as .npy.
    #[arg(long, value_name = "NPY", requires = "train_x")]
    test_x: Option<PathBuf>,
    /// Test labels as .npy; without them nothing is scored.
    #[arg(long, value_name = "NPY", requires = "test_x")]
    test_y: Option<PathBuf>,
    /// Seed of everything that is drawn: test rows, shuffling.
    #[arg(long, default_value_t = 231)]
    pub(super) seed: u64,
    /// Use the first N training rows.
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,
    /// Use the first N test rows.
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
}

impl DataArgs {
    /// Reads from `path`, as `--data path` does.
    pub(super) fn set_path(&mut self, path: PathBuf) {
        self.data = Some(path);
    }

    /// Where the data is, and how much of it to take.
    pub(super) fn source(&self) -> (Source, Limits) {
        let source = match (&self.data, &self.train_x) {
            (Some(path), _) => {
                let drawn = |fraction| TestRows::Fraction { fraction, seed: Some(self.seed) };
                let test = self.test_data.clone().map(TestRows::File).or(self.test_fraction.map(drawn));
                Source::Path { path: path.clone(), table: TableOptions { label: self.label.clone(), test } }
            }
            (None, Some(train_x)) => Source::Arrays {
                train_x: train_x.clone(),
                train_y: self.train_y.clone(),
                test_x: self.test_x.clone(),
                test_y: self.test_y.clone(),
            },
            (None, None) => Source::Bundled,
        };
        (source, Limits { train: self.train_limit, test: self.test_limit })
    }

    /// Reads and checks the rows alone, for whoever needs no labels: they may be missing, and are not looked at.
    pub(super) fn load_rows(&self) -> Result<Dataset> {
        let (source, limits) = self.source();
        data::load_rows(&source, limits)
    }

    /// Reads and checks the data.
    pub(super) fn load(&self) -> Result<Dataset> {
        if self.train_x.is_some() && (self.train_y.is_none() || self.test_x.is_none()) {
            return Err(Error::usage(
                "--train-x needs --train-y and --test-x here",
                "give all three; only an autoencoder learns from rows alone",
            ));
        }
        let (source, limits) = self.source();
        let dataset = data::load(&source, limits)?;
        let first = dataset.train_labels.first();
        if dataset.train_labels.iter().all(|label| Some(label) == first) {
            super::output::note(
                "warning: the training rows have one class only, which every prediction will be",
            );
        }
        Ok(dataset)
    }
}

/// How neighbours are found and counted.
#[derive(Debug, Clone, Args)]
pub(super) struct KnnArgs {
    /// Neighbours that vote.
    #[arg(short, long, default_value_t = 5, value_name = "K")]
    pub(super) k: usize,
    /// How near two rows are.
    #[arg(long, value_enum, default_value_t = MetricName::L2)]
    pub(super) metric: MetricName,
    /// What a neighbour's vote counts: one, or the inverse of its distance.
    #[arg(long, value_enum, default_value_t = WeightsName::Uniform)]
    pub(super) weights: WeightsName,
}

impl KnnArgs {
    /// The classifier's options under a memory limit.
    pub(super) fn options(&self, memory_limit: Option<u64>) -> Options {
        Options { metric: self.metric.into(), weights: self.weights.into(), memory_limit }
    }
}

/// A metric by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MetricName {
    /// Euclidean distance.
    L2,
    /// Squared Euclidean distance.
    #[value(name = "sqeuclidean")]
    SqEuclidean,
    /// Manhattan distance.
    L1,
    /// One less the cosine of the angle; 1 for a zero row.
    Cosine,
    /// The largest inner product.
    Dot,
}

impl From<MetricName> for Metric {
    fn from(name: MetricName) -> Self {
        match name {
            MetricName::L2 => Self::L2,
            MetricName::SqEuclidean => Self::SqEuclidean,
            MetricName::L1 => Self::L1,
            MetricName::Cosine => Self::Cosine,
            MetricName::Dot => Self::Dot,
        }
    }
}

/// A voting rule by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WeightsName {
    /// One vote each.
    Uniform,
    /// The inverse of the distance.
    Distance,
}

impl From<WeightsName> for Weights {
    fn from(name: WeightsName) -> Self {
        match name {
            WeightsName::Uniform => Self::Uniform,
            WeightsName::Distance => Self::Distance,
        }
    }
}

/// The name of a value as the command line and JSON spell it.
pub(super) fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A byte count with an optional unit: 1048576, 512MiB, 2G. Units are binary; KB, MB and GB are decimal.
fn parse_bytes(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => 0,
    };
    let bytes = number.parse::<f64>().unwrap_or(-1.0) * scale as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        return Ok(bytes as u64);
    }
    Err(Error::usage(
        format!("\"{text}\" is no number of bytes"),
        "write for example 536870912, 512MiB or 2GiB",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_parse() {
        let of = |text: &str| parse_bytes(text).ok();
        assert_eq!(of("64MiB"), Some(64 << 20));
        assert_eq!(of("1.5G"), Some(3 << 29));
        assert_eq!(of("10 kb"), Some(10_000));
        assert_eq!(of("7"), Some(7));
        for bad in ["", "x", "-1", "1 parsec", "0", "1e300g"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
