//! `sanity`: what the course has one look at before a long training, on one page.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::args::name_of;
use super::output::{self, Format};
use super::summary::{DataFacts, DeviceFacts, thousands};
use super::train::{Kind, Parts, Setup};
use crate::error::{Error, Result};
use crate::nn::sanity::{Finding, Subject};
use crate::report::table::Table;

/// Check that a training is worth its time: the loss of a guess, the penalty, the gradient, fifty images learnt by heart, a loss that falls.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Sanity {
    /// What to check.
    #[arg(value_enum, default_value_t = Kind::Mlp)]
    model: Kind,
    #[command(flatten)]
    setup: Setup,
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
    data: DataFacts,
    model: Kind,
    objective: String,
    parameters: usize,
    results: Vec<Finding>,
    checks: usize,
    failed: usize,
    seconds: f64,
}

impl Sanity {
    pub(super) fn run(self) -> Result<()> {
        let start = Instant::now();
        let dataset = self.model.load(&self.setup.data)?;
        let notes = self.setup.notes(self.model, &dataset)?;
        let opened = self.setup.device.open()?;
        let parts = Parts::new(&dataset, &notes)?;
        let (architecture, columns) = (notes.architecture(&dataset, &parts), notes.columns(&parts)?);
        let subject = Subject {
            device: &opened.device,
            architecture: architecture.clone(),
            init: notes.init(),
            training: notes.training(false, dataset.image)?,
            columns: &columns,
            rows: parts.train.view(),
            labels: parts.train_labels.as_deref(),
            memory_limit: self.setup.device.memory_limit,
        };
        let results = subject.check()?;
        let report = Report {
            command: "sanity",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(&opened),
            data: DataFacts::new(&dataset),
            model: self.model,
            objective: notes.options.objective(self.model),
            parameters: architecture.elements(),
            checks: results.len(),
            failed: results.iter().filter(|finding| !finding.ok).count(),
            results,
            seconds: start.elapsed().as_secs_f64(),
        };
        match self.format {
            Format::Text => output::print(&text(&report))?,
            Format::Json => output::print_json(&report)?,
        }
        match report.failed {
            0 => Ok(()),
            failed => Err(Error::Check { failed, total: report.checks }),
        }
    }
}

/// What a check is about, for people.
fn title(check: &str) -> &str {
    match check {
        "chance" => "loss at chance",
        "start" => "loss at the start",
        "penalty" => "loss rises with the penalty",
        "gradient" => "gradient",
        "overfit" => "learns a few rows by heart",
        "curve" => "loss falls",
        other => other,
    }
}

fn text(report: &Report) -> String {
    let DataFacts { name, train, features, dtype, .. } = &report.data;
    let mut table = Table::new(&["check", "found", ""]);
    let mut advice = String::new();
    for finding in &report.results {
        let title = title(finding.check);
        table.row(&[title, &finding.found, if finding.ok { "ok" } else { "FAILED" }]);
        if let Some(look_at) = &finding.look_at {
            advice += &format!("{title}: look at {look_at}\n");
        }
    }
    format!(
        "data       {name}: {} training rows of {features} features ({dtype})\n\
         device     {} · {}\n\
         model      {}, {} parameters\n\
         objective  {}\n\
         seconds    {:.1}\n\n{}\n{advice}{} checks, {} failed\n",
        thousands(*train),
        report.device.name,
        report.device.why,
        name_of(report.model),
        thousands(report.parameters),
        report.objective,
        report.seconds,
        table.text(),
        report.checks,
        report.failed,
    )
}
