//! `gradcheck`: analytic gradients against extrapolated differences, and a device's gradients against the reference's.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use super::summary::DeviceFacts;
use super::trace;
use crate::device::{Device, Selection};
use crate::error::{Error, Result};
use crate::nn::gradcheck::{Finding, Options, Problem};
use crate::report::table::Table;

/// Check the gradients of layers and nets numerically.
///
/// The numeric side is the centred difference of the loss in 64 bit on the reference, extrapolated from many steps to 0. With --device cpu or gpu, that device's gradients
/// are compared with the reference's as well. Coordinates whose two evaluations lie on different sides of a kink (a ReLU, hinge or max
/// decides otherwise) are named and not judged.
#[derive(Debug, Args)]
pub(super) struct Gradcheck {
    /// Layers and models to check; all by default.
    #[arg(value_name = "LAYER|MODEL")]
    names: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Smallest step of the differences; the largest is 2^20 times as long.
    #[arg(long, default_value_t = Options::default().h, value_parser = positive)]
    h: f64,
    /// Largest relative error |a − n| / max(1e-8, |a| + |n|) that passes.
    #[arg(long, default_value_t = Options::default().tolerance, value_parser = positive)]
    tolerance: f64,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 231)]
    seed: u64,
    /// Print every node of a layer's computational graph instead: value, gradient, and both forms of the backward pass side by side.
    #[arg(long, value_enum, value_name = "LAYER", conflicts_with_all = ["names", "h", "tolerance"])]
    trace: Option<Traced>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Layers whose graph can be shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Traced {
    /// Batch normalisation.
    Batchnorm,
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    h: f64,
    tolerance: f64,
    results: Vec<Line>,
    checks: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// What a device's gradients are held to.
    device_tolerance: f64,
    #[serde(flatten)]
    finding: Finding,
}

impl Gradcheck {
    pub(super) fn run(self) -> Result<()> {
        // There is nothing to compare the reference with but the differences: `auto` means just that.
        let opened = match self.device.selection() {
            Selection::Auto => Device::open(&Selection::Reference)?,
            _ => self.device.open()?,
        };
        if let Some(Traced::Batchnorm) = self.trace {
            return trace::batchnorm(&opened, self.seed, self.format);
        }
        let options = Options { h: self.h, tolerance: self.tolerance };
        let names: Vec<&str> = match self.names.is_empty() {
            true => Problem::names(),
            false => self.names.iter().map(String::as_str).collect(),
        };
        let problems: Vec<_> =
            names.iter().map(|name| Problem::named(name, self.seed)).collect::<Result<_>>()?;
        let mut results = Vec::new();
        for problem in problems {
            let device_tolerance = problem.chain.tolerance();
            let lines = problem.check(&opened.device, options)?.into_iter();
            results.extend(lines.map(|finding| Line { name: problem.name, device_tolerance, finding }));
        }
        let failed = results.iter().filter(|line| !line.finding.ok).count();
        let report = Report {
            command: "gradcheck",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(&opened),
            h: self.h,
            tolerance: self.tolerance,
            checks: results.len(),
            failed,
            results,
        };
        match self.format {
            Format::Text => output::print(&text(&report))?,
            Format::Json => output::print_json(&report)?,
        }
        match failed {
            0 => Ok(()),
            failed => Err(Error::Check { failed, total: report.checks }),
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("give a number above 0, like 1e-5".into()),
    }
}

fn text(report: &Report) -> String {
    let other = report.device.kind != "reference";
    let mut headers = vec!["checked", "in", "numbers", "kinks", "relative error", "at", "verdict"];
    if other {
        headers.extend(["error on device", "of allowed"]);
    }
    headers.push("");
    let mut table = Table::new(&headers);
    let mut notes = String::new();
    let mut last = "";
    for Line { name, device_tolerance, finding } in &report.results {
        let mut cells = vec![
            if last == *name { String::new() } else { (*name).to_owned() },
            finding.input.clone(),
            finding.numbers.to_string(),
            finding.kinks.len().to_string(),
            format!("{:.1e}", finding.error),
            finding.at.clone(),
            finding.verdict.name().to_owned(),
        ];
        if other {
            let error = finding.device_error.unwrap_or(0.0);
            cells.extend([format!("{error:.1e}"), format!("{device_tolerance:.0e}")]);
        }
        cells.push(if finding.ok { "ok" } else { "FAILED" }.to_owned());
        table.row(&cells);
        last = name;
        if !finding.kinks.is_empty() {
            notes += &format!("{name}: not judged, at a kink: {}\n", finding.kinks.join(", "));
        }
        if !finding.ok {
            let Finding { at, analytic, numeric, .. } = finding;
            notes += &format!("{name}: {at}: analytic {analytic:e}, numeric {numeric:e}\n");
        }
    }
    let versus =
        if other { format!(", {} against the reference", report.device.name) } else { String::new() };
    let worst = report.results.iter().map(|line| &line.finding).max_by(|a, b| a.error.total_cmp(&b.error));
    let worst = worst.map_or_else(String::new, |worst| {
        format!(
            "largest relative error {:.1e}, in {}; at most {:.0e} passes\n",
            worst.error, worst.at, report.tolerance
        )
    });
    format!(
        "centred differences in f64, extrapolated from steps down to {:e}{versus}\n\n{}\n{notes}{worst}{} gradients, {} failed\n",
        report.h,
        table.text(),
        report.checks,
        report.failed
    )
}
