//! `bench`: every operation's time on a device, next to what the device can do.

mod profile;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::bench::{Bound, Ceilings, Patience, time_op};
use crate::cli::args::DeviceArgs;
use crate::cli::output::{self, Format};
use crate::cli::summary::DeviceFacts;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::{self, Case, OPS, Op};
use crate::report::table::Table;

/// Shares below this are listed with what is known of the reason.
const LOW: f64 = 0.4;

/// Time every operation and say how near it comes to the device's measured ceilings.
///
/// Two probes run first: fused multiply-adds in registers, and copies of several sizes. An operation's share is the time that its
/// arithmetic or its bytes (every input read once, every output written once) would take at those rates, whichever is longer, of the
/// time that it took. Inputs are on the device; nothing is read back.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    /// Operations to time; all by default.
    #[arg(value_name = "OP")]
    ops: Vec<String>,
    /// Time this shape instead of the usual ones, like 1,512,512,512; may be given several times.
    #[arg(long = "shape", value_name = "N,N,…", value_parser = shape, requires = "ops")]
    shapes: Vec<Shape>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Samples, of which the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    /// Milliseconds of a sample: as many calls as fit.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    sample_time: u64,
    /// Only variants whose name contains this.
    #[arg(long, value_name = "TEXT")]
    variant: Option<String>,
    /// Only the kernels that the device would choose by itself, one line for each form of an operation.
    #[arg(long)]
    chosen: bool,
    /// An earlier result of --format json: shows what has changed beyond the noise of both.
    #[arg(long, value_name = "JSON")]
    compare: Option<PathBuf>,
    /// Instead, show where each microsecond of a job goes: of the host by what it does, of an adapter by its kernels, in rows that add up to
    /// the wall time.
    #[arg(long, value_enum, value_name = "JOB", conflicts_with_all = ["ops", "shapes", "variant", "chosen", "compare", "samples", "sample_time"])]
    profile: Option<profile::Job>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The dimensions of an operation, as the README's table orders them.
type Shape = Vec<usize>;

fn shape(text: &str) -> std::result::Result<Shape, std::num::ParseIntError> {
    text.split(',').map(|part| part.trim().parse()).collect()
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    ceilings: Ceilings,
    results: Vec<Line>,
}

/// What is read of an earlier report.
#[derive(Deserialize)]
struct Earlier {
    results: Vec<Line>,
}

/// One variant at one shape.
#[derive(Serialize, Deserialize)]
struct Line {
    op: String,
    variant: String,
    shape: Vec<usize>,
    /// Median of the samples.
    seconds: f64,
    /// Distance of the quartiles as a share of the median.
    noise: f64,
    gflops: f64,
    gbytes: f64,
    bound: Bound,
    /// Of the ceiling.
    share: f64,
    /// Kernel launches of a call.
    launches: f64,
    /// Of the time, that of as many empty launches.
    launch_share: f64,
    /// Time now as a multiple of the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<f64>,
}

impl Bench {
    pub(in crate::cli) fn run(self) -> Result<()> {
        if let Some(job) = self.profile {
            return profile::run(job, &self.device, self.format);
        }
        let ops = match self.ops.is_empty() {
            true => OPS.to_vec(),
            false => self.ops.iter().map(|name| ops::find(name)).collect::<Result<Vec<_>>>()?,
        };
        for op in &ops {
            self.shapes.iter().try_for_each(|shape| takes(op, shape))?;
        }
        let earlier = self.compare.as_deref().map(read).transpose()?;
        let opened = self.device.open()?;
        let device = &opened.device;
        let patience =
            Patience { samples: self.samples.into(), sample: Duration::from_millis(self.sample_time) };
        let software = matches!(device, Device::Gpu(gpu) if gpu.info().software());
        let ceilings = Ceilings::measure(device, patience)?;
        let mut results = Vec::new();
        for op in ops {
            let usual: Vec<Shape> = op.timed.iter().map(|shape| shape.to_vec()).collect();
            for shape in if self.shapes.is_empty() { &usual } else { &self.shapes } {
                for variant in self.variants(op, device) {
                    if self.variant.as_ref().is_some_and(|part| !variant.contains(part.as_str())) {
                        continue;
                    }
                    let case = Case { variant, shape: shape.clone(), seed: 231 };
                    let timing = time_op(device, op, &case, patience)?;
                    let [flops, bytes] = [op.flops, op.bytes].map(|of| of(case.form(), shape));
                    let (least, bound) = ceilings.least(flops, bytes);
                    let mut line = Line {
                        op: op.name.to_owned(),
                        variant: case.variant,
                        shape: case.shape,
                        seconds: timing.median,
                        noise: timing.noise,
                        gflops: flops / timing.median / 1e9,
                        gbytes: bytes / timing.median / 1e9,
                        bound,
                        share: least / timing.median,
                        launches: timing.launches,
                        launch_share: (timing.launches * ceilings.launch / timing.median).min(1.0),
                        change: None,
                    };
                    let before = earlier.iter().flatten().find(|before| before.same(&line));
                    line.change = before.map(|before| line.seconds / before.seconds);
                    results.push(line);
                }
            }
        }
        let report = Report {
            command: "bench",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(&opened),
            ceilings,
            results,
        };
        match self.format {
            Format::Text => output::print(&text(&report, earlier.as_deref(), software)),
            Format::Json => output::print_json(&report),
        }
    }

    fn variants(&self, op: &Op, device: &Device) -> Vec<String> {
        let mut variants = (op.variants)(device);
        if self.chosen {
            // The family of kernels follows the form; a variant without one leaves the choice to the device.
            for variant in &mut variants {
                variant.truncate(variant.find('/').unwrap_or(variant.len()));
            }
            variants.dedup();
        }
        variants
    }
}

impl Line {
    fn same(&self, other: &Self) -> bool {
        (&self.op, &self.variant, &self.shape) == (&other.op, &other.variant, &other.shape)
    }

    fn name(&self) -> String {
        format!("{} {}", self.op, self.variant)
    }

    fn dimensions(&self) -> String {
        self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")
    }
}

/// Refuses a shape that is none of the operation's.
fn takes(op: &Op, shape: &Shape) -> Result<()> {
    let names = op.dimensions.join(" × ");
    let refuse = |hint: String| Err(Error::usage(format!("{} has no shape {shape:?}", op.name), hint));
    if shape.len() != op.dimensions.len() {
        return refuse(format!("its dimensions are {names}"));
    }
    let mut fitted = shape.clone();
    (op.fit)(&mut fitted);
    if fitted == *shape { Ok(()) } else { refuse(format!("of {names} it takes {fitted:?}")) }
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

fn read(path: &std::path::Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let earlier: Earlier = serde_json::from_str(&text).map_err(|error| {
        Error::data(
            path,
            format!("no result of bench: {error}"),
            "give a file that `bench --format json` wrote",
        )
    })?;
    Ok(earlier.results)
}

fn text(report: &Report, earlier: Option<&[Line]>, software: bool) -> String {
    let Report { device, ceilings, results, .. } = report;
    let mut text = format!("device    {} ({})\n", device.name, device.why);
    text += &format!("ceilings  {:.1} GFLOP/s of fused multiply-adds; copies", ceilings.flops / 1e9);
    for copied in &ceilings.copies {
        text += &format!(" {:.1} GB/s of {},", copied.rate / 1e9, size(copied.bytes));
    }
    text.pop();
    if ceilings.launch > 0.0 {
        text += &format!("; {:.0} µs a launch", ceilings.launch * 1e6);
    }
    text += "\n\n";
    let mut headers = vec!["operation", "shape", "µs", "±", "GFLOP/s", "GB/s", "bound", "share"];
    if earlier.is_some() {
        headers.push("change");
    }
    let mut table = Table::new(&headers);
    for line in results {
        let mut cells = vec![
            line.name(),
            line.dimensions(),
            format!("{:.1}", line.seconds * 1e6),
            format!("{:.0} %", line.noise * 100.0),
            format!("{:.2}", line.gflops),
            format!("{:.2}", line.gbytes),
            if line.bound == Bound::Compute { "compute" } else { "memory" }.to_owned(),
            format!("{:.0} %", line.share * 100.0),
        ];
        let before = earlier.iter().copied().flatten().find(|before| before.same(line));
        if let (Some(before), Some(change)) = (before, line.change) {
            let beyond = (change - 1.0).abs() > line.noise + before.noise;
            let noise = if beyond { "" } else { " (noise)" };
            cells.push(format!("{change:.2}×{noise}"));
        }
        table.row(&cells);
    }
    text += &table.text();
    let low: Vec<&Line> = results.iter().filter(|line| line.share < LOW).collect();
    if !low.is_empty() {
        text += &format!("\nbelow {:.0} % of the ceiling:\n", LOW * 100.0);
        for line in low {
            text += &format!("  {} {}: {}\n", line.name(), line.dimensions(), reason(line, software));
        }
    }
    text
}

/// Why an operation is far from its ceiling.
fn reason(line: &Line, software: bool) -> String {
    if line.launch_share > 0.3 {
        let share = line.launch_share * 100.0;
        return format!("{:.0} launches alone take {share:.0} % of the time", line.launches);
    }
    if line.seconds < 50e-6 {
        return "too small to keep the device busy: allocation and the start of threads count".to_owned();
    }
    // The names of kernel families that are made for GPUs.
    let family = line.variant.rsplit('/').next().unwrap_or_default();
    if software && ["tiles", "workgroup"].contains(&family) {
        return "made for GPUs: workgroup memory and barriers are slow on a software adapter".to_owned();
    }
    let narrow = line.shape.len() == 2 && line.shape[1] < 16;
    let known = REASONS.iter().find(|(op, part, of_narrow, _)| {
        *op == line.op && line.variant.contains(part) && (narrow || !of_narrow)
    });
    known.map_or("not explained yet", |(.., reason)| reason).to_owned()
}

/// What is known of operations that the roofline does not describe: (operation, part of the variant's name, of narrow rows only, why).
const REASONS: &[(&str, &str, bool, &str)] = &[
    ("matmul", "", false, "small products, or operands that lie across and are packed first"),
    ("affine", "", false, "ten columns fill no register tile"),
    (
        "activation",
        "",
        false,
        "exponentials and quotients are many instructions and count as one; pages of a new result",
    ),
    ("elementwise", "", false, "pages of a new result"),
    ("batchnorm", "", false, "several sweeps over the columns, counted as one"),
    ("layernorm", "", false, "several sweeps over the rows, counted as one"),
    ("softmax", "", true, "rows of a few numbers are turned into vectors one by one"),
    ("softmax", "", false, "exponentials are many instructions and count as one"),
    ("cross_entropy", "", true, "rows of a few numbers are turned into vectors one by one"),
    ("cross_entropy", "", false, "exponentials are many instructions and count as one"),
    ("hinge_loss", "", true, "rows of a few numbers are turned into vectors one by one"),
    ("reduce", "", true, "rows of a few numbers are turned into vectors one by one"),
    ("topk", "", false, "comparisons and moves of candidates, which do not count as operations"),
    ("vote", "", false, "a few comparisons for each vote, one query after the other"),
    ("augment", "", false, "single bytes from computed places"),
    ("take", "", false, "single words from computed places"),
];
