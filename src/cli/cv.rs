//! `knn --cv`: every k on every fold, from one search a fold.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::args::{KnnArgs, name_of};
use super::output::{self, Format};
use super::summary::{DataFacts, DeviceFacts, thousands};
use crate::classify::knn::{CrossValidation, cross_validate};
use crate::data::{self, Dataset, split};
use crate::device::Opened;
use crate::error::Result;
use crate::ops::nearest::Certificate;
use crate::report::curve;
use crate::report::table::Table;

/// Cross-validation instead of a test.
#[derive(Debug, Clone, Args)]
pub(super) struct CvArgs {
    /// Cross-validate on the training rows with this many contiguous folds.
    #[arg(long, value_name = "FOLDS")]
    pub(super) cv: Option<usize>,
    /// Values of k to try.
    #[arg(long, value_name = "K,K,…", value_delimiter = ',', requires = "cv",
          default_values_t = [1, 3, 5, 8, 10, 12, 15, 20, 50, 100])]
    ks: Vec<usize>,
    /// Shuffle the training rows, by --seed, before they are cut into folds.
    #[arg(long, requires = "cv")]
    shuffle: bool,
    /// Plot mean and standard deviation over k as SVG.
    #[arg(long, value_name = "SVG", requires = "cv")]
    plot: Option<PathBuf>,
}

/// What the command found. Keys are stable: see the README.
#[derive(Serialize)]
struct Summary {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    data: DataFacts,
    metric: String,
    weights: String,
    folds: usize,
    shuffled: bool,
    seed: u64,
    results: Vec<KResult>,
    best_k: usize,
    certificate: Certificate,
    seconds: f64,
}

#[derive(Serialize)]
struct KResult {
    k: usize,
    accuracies: Vec<f64>,
    mean: f64,
    deviation: f64,
}

impl CvArgs {
    pub(super) fn run(
        &self,
        dataset: &Dataset,
        opened: &Opened,
        knn: &KnnArgs,
        memory_limit: Option<u64>,
        seed: u64,
        format: Format,
    ) -> Result<()> {
        let start = Instant::now();
        let folds = self.cv.unwrap_or_default();
        let rows = dataset.train.len();
        let shuffled = self.shuffle.then(|| {
            let order = split::permutation(rows, seed);
            let labels: Vec<u32> = order.iter().map(|&row| dataset.train_labels[row]).collect();
            (dataset.train.gather(&order), labels)
        });
        let (train, labels) = match &shuffled {
            Some((train, labels)) => (train.view(), labels.as_slice()),
            None => (dataset.train.view(), dataset.train_labels.as_slice()),
        };
        let ranges = split::folds(rows, folds)?;
        let options = knn.options(memory_limit);
        let found =
            cross_validate(&opened.device, train, labels, dataset.classes.len(), &ranges, &self.ks, options)?;
        let summary = self.summary(dataset, opened, knn, &found, seed, start);
        if let Some(path) = &self.plot {
            let title =
                format!("Cross-validation of k: {}, {folds} folds, metric {}", dataset.name, summary.metric);
            data::write::bytes(
                path,
                curve::cross_validation(&title, &found.ks, &found.accuracies)?.as_bytes(),
            )?;
        }
        match format {
            Format::Text => output::print(&text(&summary)),
            Format::Json => output::print_json(&summary),
        }
    }

    fn summary(
        &self,
        dataset: &Dataset,
        opened: &Opened,
        knn: &KnnArgs,
        found: &CrossValidation,
        seed: u64,
        start: Instant,
    ) -> Summary {
        let results = found.ks.iter().zip(&found.accuracies).enumerate().map(|(i, (&k, accuracies))| {
            let (mean, deviation) = found.summary(i);
            KResult { k, accuracies: accuracies.clone(), mean, deviation }
        });
        Summary {
            command: "knn --cv",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(opened),
            data: DataFacts::new(dataset),
            metric: name_of(knn.metric),
            weights: name_of(knn.weights),
            folds: self.cv.unwrap_or_default(),
            shuffled: self.shuffle,
            seed,
            results: results.collect(),
            best_k: found.ks[found.best()],
            certificate: found.certificate,
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

fn text(summary: &Summary) -> String {
    let DataFacts { name, train, features, dtype, .. } = &summary.data;
    let mut headers = vec!["k".to_owned()];
    headers.extend((1..=summary.folds).map(|fold| format!("fold {fold}")));
    headers.extend(["mean".to_owned(), "deviation".to_owned()]);
    let mut table = Table::new(&headers);
    for result in &summary.results {
        let mut row = vec![result.k.to_string()];
        row.extend(result.accuracies.iter().map(|accuracy| format!("{accuracy:.4}")));
        row.extend([format!("{:.4}", result.mean), format!("{:.4}", result.deviation)]);
        table.row(&row);
    }
    let Certificate { at_once, redone } = summary.certificate;
    format!(
        "data         {name}: {} training rows of {features} features ({dtype})\n\
         device       {} · {}\n\
         search       {} folds{}, metric {}, weights {}\n\
         certificate  every answer is exact: {at_once} queries proven at once, {redone} searched again\n\
         seconds      {:.3}\n\n{}\nbest k = {}\n",
        thousands(*train),
        summary.device.name,
        summary.device.why,
        summary.folds,
        if summary.shuffled { format!(" (shuffled, seed {})", summary.seed) } else { String::new() },
        summary.metric,
        summary.weights,
        summary.seconds,
        table.text(),
        summary.best_k,
    )
}
