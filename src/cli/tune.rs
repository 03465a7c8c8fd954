//! `tune`: what `--device auto` goes by on this machine, and which kernels are the quickest here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use crate::bench::{Patience, families, speeds};
use crate::cache;
use crate::device::Selection;
use crate::device::auto::{Entry, FILE, Measured, Speed, Work};
use crate::error::Result;
use crate::gpu::chosen::{self, Chosen};
use crate::gpu::{Choice, Gpu};
use crate::report::table::Table;

/// Measure what `--device auto` goes by: how soon a GPU is open, how fast rows get there, how fast it and the processor compute;
/// and choose the kernels of matrix products that are the quickest there.
///
/// Every family of kernels that the GPU can run is timed at a product of each of four classes (small, long, wide, square); one that is clearly
/// quicker than the one that is taken without measuring, and passes the checks of `check --quick`, is taken from now on. The figures are kept in the user's folder for caches, by device and driver, until they are measured again; CS231N_GPU_CACHE names
/// another folder, or is `off`. Results of other commands depend on them by the device that auto chooses, and in their last bits by the kernels.
#[derive(Debug, Args)]
pub(super) struct Tune {
    #[command(flatten)]
    device: DeviceArgs,
    /// Show what was measured, and measure nothing.
    #[arg(long)]
    show: bool,
    /// Forget what was measured.
    #[arg(long, conflicts_with = "show")]
    clear: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    path: Option<PathBuf>,
    devices: Vec<Line>,
    /// Families of kernels that were chosen.
    kernels: Chosen,
    /// What was found about kernels now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found: Vec<families::Found>,
}

/// A device with an example.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    /// Seconds that the notebook's search is estimated to take, the start of the device included.
    example: f64,
}

/// 500 queries among 5,000 training images of 3,072 pixels.
const EXAMPLE: Work = Work { flops: 2.0 * 500.0 * 5000.0 * 3072.0, bytes: 5500.0 * 3072.0, launches: 16.0 };

impl Tune {
    pub(super) fn run(&self) -> Result<()> {
        let mut path = cache::folder().map(|folder| folder.join(FILE));
        if self.clear {
            let mut text = String::new();
            for file in [FILE, chosen::FILE] {
                if let (true, Some(folder)) = (cache::remove(file)?, cache::folder()) {
                    text += &format!("{} is gone\n", folder.join(file).display());
                }
            }
            return output::print(if text.is_empty() { "nothing was measured\n" } else { &text });
        }
        let mut measured: Measured = cache::read(FILE).unwrap_or_default();
        let mut kernels: Chosen = cache::read(chosen::FILE).unwrap_or_default();
        let mut found = Vec::new();
        if !self.show {
            found = self.measure(&mut measured, &mut kernels)?;
            path = Some(cache::write(FILE, &measured)?);
            // After a run on the processor alone there is nothing to say about kernels.
            if !kernels.is_empty() {
                cache::write(chosen::FILE, &kernels)?;
            }
        }
        let line = |entry: Entry| Line { example: entry.speed.seconds(&EXAMPLE), entry };
        let devices = measured.devices.into_iter().map(line).collect();
        let report =
            Report { command: "tune", version: env!("CARGO_PKG_VERSION"), path, devices, kernels, found };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }

    /// Measures the processor, and the adapter that is asked for or that `auto` would take.
    fn measure(&self, measured: &mut Measured, kernels: &mut Chosen) -> Result<Vec<families::Found>> {
        self.device.prepare()?;
        let patience = Patience { samples: 5, sample: Duration::from_millis(20) };
        let began = Instant::now();
        // Before anything else, as in the commands that go by it.
        let found = match self.device.selection() {
            Selection::Auto => Gpu::find(&Choice::Auto).ok(),
            Selection::Gpu(choice) => Some(Gpu::find(choice)?),
            Selection::Cpu | Selection::Reference => None,
        };
        let took = began.elapsed().as_secs_f64();
        let mut families = Vec::new();
        if let Some(found) = found {
            let (index, name) = (found.info.index, found.info.to_string());
            measured.put(speeds::adapter(found, took, patience)?);
            families = families::families(index, patience)?;
            let mut chosen: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
            for found in families.iter().filter(|found| found.correct == Some(true)) {
                let of_op = chosen.entry(found.op.to_owned()).or_default();
                of_op.extend(found.family.clone().map(|family| (found.class.to_owned(), family)));
            }
            kernels.insert(name, chosen);
        }
        measured.put(speeds::processor(patience)?);
        Ok(families)
    }
}

fn text(report: &Report) -> String {
    if report.devices.is_empty() {
        return "nothing was measured: auto goes by guesses that favour a GPU\n".to_owned();
    }
    let mut table = Table::new(&[
        "device",
        "first result, ms",
        "µs a launch",
        "GB/s up",
        "GFLOP/s",
        "notebook's search, ms",
    ]);
    for Line { entry, example } in &report.devices {
        let Speed { start, launch, upload, flops } = entry.speed;
        // The processor has neither launches nor uploads.
        let of_adapter = |text: String| if entry.kind.is_some() { text } else { String::new() };
        table.row(&[
            entry.name.clone(),
            of_adapter(format!("{:.1}", start * 1e3)),
            of_adapter(format!("{:.1}", launch * 1e6)),
            of_adapter(format!("{:.2}", upload / 1e9)),
            format!("{:.1}", flops / 1e9),
            format!("{:.1}", example * 1e3),
        ]);
    }
    let mut text = table.text();
    if !report.found.is_empty() {
        let mut table = Table::new(&["kernels", "shape", "usual, µs", "quicker", "µs", ""]);
        for found in &report.found {
            let shape: Vec<_> = found.shape.iter().map(ToString::to_string).collect();
            let outcome = match found.correct {
                Some(true) => "taken",
                Some(false) => "FAILED its check",
                None => "none is clearly quicker",
            };
            table.row(&[
                format!("{} {}", found.op, found.class),
                shape.join(" × "),
                format!("{:.1}", found.usual * 1e6),
                found.family.clone().unwrap_or_default(),
                found.seconds.map_or(String::new(), |seconds| format!("{:.1}", seconds * 1e6)),
                outcome.to_owned(),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    for (device, ops) in &report.kernels {
        for (op, classes) in ops {
            for (class, family) in classes {
                text += &format!("\n{op} {class} by {family} on {device}");
            }
        }
    }
    let kept = report.path.as_ref().map(|path| format!("\nkept in {}\n", path.display()));
    text + &kept.unwrap_or_default()
}
