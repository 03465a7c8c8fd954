//! `tune`: what `--device auto` goes by on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use crate::bench::{Patience, speeds};
use crate::cache;
use crate::device::Selection;
use crate::device::auto::{Entry, FILE, Measured, Speed, Work};
use crate::error::Result;
use crate::gpu::{Choice, Gpu};
use crate::report::table::Table;

/// Measure what `--device auto` goes by: how soon a GPU is open, how fast rows get there, how fast it and the processor compute.
///
/// The figures are kept in the user's folder for caches, by device and driver, until they are measured again; CS231N_GPU_CACHE names
/// another folder, or is `off`. Results of other commands depend on them only by the device that auto chooses.
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
            let text = match (cache::remove(FILE)?, path) {
                (true, Some(path)) => format!("{} is gone\n", path.display()),
                _ => "nothing was measured\n".to_owned(),
            };
            return output::print(&text);
        }
        let mut measured: Measured = cache::read(FILE).unwrap_or_default();
        if !self.show {
            self.measure(&mut measured)?;
            path = Some(cache::write(FILE, &measured)?);
        }
        let line = |entry: Entry| Line { example: entry.speed.seconds(&EXAMPLE), entry };
        let devices = measured.devices.into_iter().map(line).collect();
        let report = Report { command: "tune", version: env!("CARGO_PKG_VERSION"), path, devices };
        match self.format {
            Format::Text => output::print(&text(&report)),
            Format::Json => output::print_json(&report),
        }
    }

    /// Measures the processor, and the adapter that is asked for or that `auto` would take.
    fn measure(&self, measured: &mut Measured) -> Result<()> {
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
        if let Some(found) = found {
            measured.put(speeds::adapter(found, took, patience)?);
        }
        measured.put(speeds::processor(patience)?);
        Ok(())
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
    let kept = report.path.as_ref().map(|path| format!("\nkept in {}\n", path.display()));
    table.text() + &kept.unwrap_or_default()
}
