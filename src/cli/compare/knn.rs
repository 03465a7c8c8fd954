//! `compare knn`: distances by loops and matrices, and the exact search.

use clap::Args;
use serde::Serialize;

use super::{devices, narrow, timed, wide};
use crate::classify::knn::Metric;
use crate::cli::args::{DataArgs, DeviceArgs};
use crate::cli::output::{self, Format};
use crate::cli::summary::{DataFacts, thousands};
use crate::cpu;
use crate::data::Dataset;
use crate::device::Device;
use crate::error::Result;
use crate::ops::nearest::{Index, Neighbors};
use crate::reference;
use crate::report::table::Table;

#[derive(Debug, Args)]
pub(super) struct Knn {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Neighbours that are compared.
    #[arg(short, long, default_value_t = 10)]
    k: usize,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The notebook's check of two distance matrices: the Frobenius norm of their difference must stay below this.
const NOTEBOOK_BOUND: f64 = 0.001;

/// One form. Keys are stable: see the README.
#[derive(Serialize)]
struct Line {
    form: String,
    seconds: f64,
    /// ‖two loops − this form‖ over all distances, where the form makes them.
    frobenius: Option<f64>,
    /// Whether the notebook's check accepts the distances.
    notebook_accepts: Option<bool>,
    /// Queries whose k neighbours, in order, are those of the two loops.
    same_neighbors: usize,
}

#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    data: DataFacts,
    k: usize,
    forms: Vec<Line>,
}

impl Knn {
    pub(super) fn run(self) -> Result<()> {
        let dataset = self.data.load()?;
        // Before anything is timed: threads start, kernels compile.
        let opened = self.device.open()?;
        let forms = self.forms(&dataset, &opened.device)?;
        let report = Report {
            command: "compare knn",
            version: env!("CARGO_PKG_VERSION"),
            data: DataFacts::new(&dataset),
            k: self.k,
            forms,
        };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }

    fn forms(&self, dataset: &Dataset, chosen: &Device) -> Result<Vec<Line>> {
        let (queries, train) = (dataset.test.view(), dataset.train.view());
        let features = train.features();
        let (wide_queries, wide_train) = (wide(queries), wide(train));
        let (narrow_queries, narrow_train) = (narrow(queries), narrow(train));

        let (two_loops, seconds) = timed(|| {
            let mut distances = Vec::with_capacity(queries.len() * train.len());
            for query in wide_queries.chunks_exact(features) {
                for row in wide_train.chunks_exact(features) {
                    distances.push(reference::pairwise_l2::squared_distance(query, row).sqrt());
                }
            }
            Ok(distances)
        })?;
        let truth = ordered(&two_loops, train.len(), self.k);
        let matrix = |form: &str, seconds: f64, distances: &[f64]| {
            let squares = two_loops.iter().zip(distances).map(|(a, b)| (a - b) * (a - b));
            let frobenius = squares.sum::<f64>().sqrt();
            Line {
                form: form.into(),
                seconds,
                frobenius: Some(frobenius),
                notebook_accepts: Some(frobenius < NOTEBOOK_BOUND),
                same_neighbors: same(&truth, &ordered(distances, train.len(), self.k), self.k),
            }
        };
        let mut lines = vec![matrix("two loops, f64 (the definition)", seconds, &two_loops)];

        let (one_loop, seconds) = timed(|| {
            let rows = narrow_queries.chunks_exact(features);
            Ok(rows
                .flat_map(|query| cpu::pairwise_l2::direct(query, &narrow_train, features))
                .collect::<Vec<_>>())
        })?;
        lines.push(matrix("one loop, f32, all rows at once", seconds, &roots(&one_loop)));

        let (no_loop, seconds) =
            timed(|| Ok(cpu::pairwise_l2::expanded(&narrow_queries, &narrow_train, features)))?;
        lines.push(matrix("no loop, f32: ‖x‖² + ‖y‖² − 2x·y", seconds, &roots(&no_loop)));

        for device in devices(chosen, self.device.selection()) {
            let search = || -> Result<Neighbors> {
                Ok(Index::new(&device, Metric::L2, train, self.device.memory_limit)?
                    .search(queries, self.k)?
                    .0)
            };
            if matches!(device, Device::Gpu(_)) {
                search()?;
            }
            let (neighbors, seconds) = timed(search)?;
            lines.push(Line {
                form: format!("exact search, {}", device.describe()),
                seconds,
                frobenius: None,
                notebook_accepts: None,
                same_neighbors: same(&truth, neighbors.rows(), self.k),
            });
        }
        Ok(lines)
    }
}

/// The k nearest columns of every row, by (distance, column).
fn ordered(distances: &[f64], columns: usize, k: usize) -> Vec<u32> {
    let rows = distances.chunks_exact(columns);
    rows.flat_map(|row| reference::topk::topk(row, k).into_iter().map(|(_, column)| column as u32)).collect()
}

fn same(truth: &[u32], found: &[u32], k: usize) -> usize {
    truth.chunks_exact(k).zip(found.chunks_exact(k)).filter(|(truth, found)| truth == found).count()
}

fn roots(squares: &[f32]) -> Vec<f64> {
    squares.iter().map(|&square| f64::from(square).sqrt()).collect()
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&[
        "form",
        "seconds",
        "speed-up",
        "‖Δ‖ to two loops",
        "notebook (< 0.001)",
        "same neighbours",
    ]);
    let slowest = report.forms.first().map_or(0.0, |line| line.seconds);
    for line in &report.forms {
        table.row(&[
            line.form.clone(),
            format!("{:.4}", line.seconds),
            format!("{:.0}×", slowest / line.seconds),
            line.frobenius.map_or("–".into(), |norm| format!("{norm:.2e}")),
            line.notebook_accepts
                .map_or("–", |accepts| if accepts { "accepts" } else { "REFUSES" })
                .to_owned(),
            format!("{} of {}", line.same_neighbors, report.data.test),
        ]);
    }
    let mut text = format!(
        "data  {}: {} training and {} test rows of {} features ({}), k = {}\n\n{}",
        report.data.name,
        thousands(report.data.train),
        thousands(report.data.test),
        report.data.features,
        report.data.dtype,
        report.k,
        table.text()
    );
    if report.forms.iter().any(|line| line.notebook_accepts == Some(false)) {
        text += "\nThe notebook demands that the forms differ by less than 0.001 in all; it computes in 64 bit. In 32 bit the\n\
                 expanded form cancels: three large numbers leave a small distance with their rounding errors. The exact\n\
                 search does not depend on it: pixels are compared as integers, other rows are re-ranked in 64 bit.\n";
    }
    text
}
