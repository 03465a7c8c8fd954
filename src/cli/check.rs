//! `check`: every operation against its definition, on the user's own device.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use super::summary::DeviceFacts;
use crate::device::{Device, Opened};
use crate::error::{Error, Result};
use crate::gpu::{self, Gpu};
use crate::ops::{self, Case, Effort, OPS, Op};
use crate::report::table::Table;
use crate::tolerance::Worst;
use crate::{data, gpu::source};

/// Prove every operation equal to its definition on a device.
///
/// Each operation runs in all its variants on a grid of shapes, and every element is compared with the 64-bit
/// definition. The ratio is the worst error as a share of what the tolerance policy allows; above 1 the check fails.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Operations to check; all by default.
    #[arg(value_name = "OP")]
    ops: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Leave out the large shapes.
    #[arg(long)]
    quick: bool,
    /// Keep all runtime checks in the shaders, loop bounds included.
    #[arg(long)]
    checked: bool,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 231)]
    seed: u64,
    /// Write every assembled shader into this folder, native-only ones under native/, instead of checking.
    #[arg(long, value_name = "DIR")]
    dump_wgsl: Option<PathBuf>,
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
    results: Vec<Line>,
    checks: usize,
    failed: usize,
    worst_ratio: f64,
    seconds: f64,
}

/// The worst of a variant over all its shapes.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    variant: String,
    shapes: usize,
    /// The shape of the worst ratio.
    shape: Vec<usize>,
    worst_ratio: f64,
    class: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let ops = match self.ops.is_empty() {
            true => OPS.to_vec(),
            false => self.ops.iter().map(|name| ops::find(name)).collect::<Result<Vec<_>>>()?,
        };
        if let Some(dir) = &self.dump_wgsl {
            return dump(dir, &ops);
        }
        let start = Instant::now();
        let opened = self.open()?;
        let effort = if self.quick { Effort::Quick } else { Effort::Full };
        let mut results = Vec::new();
        for op in ops {
            for variant in (op.variants)(&opened.device) {
                results.push(self.line(op, &opened.device, &variant, effort)?);
            }
        }
        let failed = results.iter().filter(|line| !line.ok).count();
        let report = Report {
            command: "check",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(&opened),
            checks: results.iter().map(|line| line.shapes).sum(),
            failed,
            worst_ratio: results.iter().map(|line| line.worst_ratio).fold(0.0, f64::max),
            results,
            seconds: start.elapsed().as_secs_f64(),
        };
        match self.format {
            Format::Text => output::print(&text(&report))?,
            Format::Json => output::print_json(&report)?,
        }
        if failed > 0 {
            return Err(Error::Check { failed, total: report.results.len() });
        }
        Ok(())
    }

    /// The device, with poisoned buffers: a kernel that leaves an output unwritten must not pass by luck.
    fn open(&self) -> Result<Opened> {
        let opened = self.device.open()?;
        let Device::Gpu(gpu) = &opened.device else { return Ok(opened) };
        let options = gpu::Options { poison: true, checked: self.checked, ..gpu::Options::default() };
        let gpu = Gpu::open(&gpu::Choice::Index(gpu.info().index), &options)?;
        Ok(Opened { device: Device::Gpu(gpu), why: opened.why })
    }

    fn line(&self, op: &'static Op, device: &Device, variant: &str, effort: Effort) -> Result<Line> {
        let mut line = Line {
            op: op.name,
            variant: variant.to_owned(),
            shapes: 0,
            shape: Vec::new(),
            worst_ratio: 0.0,
            class: op.tolerance,
            ok: true,
            detail: None,
        };
        let mut worst = Worst::NONE;
        for shape in (op.shapes)(effort) {
            let case = Case { variant: variant.to_owned(), shape, seed: self.seed };
            let found = (op.check)(device, &case)?;
            line.shapes += 1;
            if found.ratio > worst.ratio || line.shape.is_empty() {
                worst = found;
                line.shape = case.shape;
            }
        }
        line.ok = worst.ok();
        // JSON has no infinity, which is the ratio of a wrong exact value.
        line.worst_ratio = worst.ratio.min(f64::MAX);
        line.detail = (!line.ok).then(|| worst.to_string());
        Ok(line)
    }
}

fn text(report: &Report) -> String {
    let mut table = Table::new(&["operation", "variant", "shapes", "worst ratio", "at shape", "class", ""]);
    for line in &report.results {
        let shape: Vec<_> = line.shape.iter().map(ToString::to_string).collect();
        table.row(&[
            line.op.to_owned(),
            line.variant.clone(),
            line.shapes.to_string(),
            format!("{:.3}", line.worst_ratio),
            shape.join("×"),
            line.class.to_owned(),
            if line.ok { "ok" } else { "FAILED" }.to_owned(),
        ]);
    }
    let failures: String = report
        .results
        .iter()
        .filter_map(|line| Some(format!("{} {}: {}\n", line.op, line.variant, line.detail.as_ref()?)))
        .collect();
    format!(
        "device  {} · {}\n\n{}\n{failures}{} comparisons of {} variants, {} failed, worst ratio {:.3}, {:.1} s\n",
        report.device.name,
        report.device.why,
        table.text(),
        report.checks,
        report.results.len(),
        report.failed,
        report.worst_ratio,
        report.seconds
    )
}

/// Writes each kernel's whole text as a file that other WGSL compilers can be run on.
fn dump(dir: &Path, ops: &[&'static Op]) -> Result<()> {
    let mut written = 0;
    for op in ops {
        for variant in (op.shaders)() {
            let text = source::assemble(variant.kernel.source, &variant.constants).map_err(|problem| {
                Error::device(format!("{}: {problem}", op.name), "please report this defect")
            })?;
            let constants: String =
                variant.constants.iter().map(|(name, value)| format!(".{name}{value}")).collect();
            let folder = if variant.kernel.native { dir.join("native") } else { dir.to_owned() };
            std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            // Browsers' compilers ask for the directive that naga 30 does not know yet.
            let enable = if variant.kernel.subgroup { "enable subgroups;\n" } else { "" };
            let name = format!("{}.{}{constants}.wgsl", op.name, variant.kernel.entry);
            data::write::bytes(&folder.join(name), format!("{enable}{text}").as_bytes())?;
            written += 1;
        }
    }
    output::print(&format!("{written} shaders written to {}\n", dir.display()))
}
