//! `bench --profile`: where the time of the main jobs goes.

use clap::ValueEnum;
use serde::Serialize;

use crate::bench::{Profile, Work};
use crate::cli::args::DeviceArgs;
use crate::cli::output::{self, Format};
use crate::cli::summary::{DeviceFacts, mebibytes, thousands};
use crate::error::Result;
use crate::gpu::{self, KernelTime};
use crate::profile::{REST, Row, Timeline};
use crate::report::table::Table;

/// What to profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Job {
    /// The notebook's search: 500 queries, 5,000 training images of 3,072 pixels.
    Knn,
    /// Steps of a 3,072-512-10 net with Adam at batch 256.
    Train,
}

/// The outcome. Keys are stable: see the README.
#[derive(Serialize)]
struct Report {
    command: &'static str,
    version: &'static str,
    device: DeviceFacts,
    profile: Profile,
    /// Seconds of the device between the launches of a submission, and outside of all.
    between: Option<f64>,
    idle: Option<f64>,
}

pub(super) fn run(job: Job, device: &DeviceArgs, format: Format) -> Result<()> {
    let opened = device.open_with(&gpu::Options { profile: true, ..gpu::Options::default() })?;
    let work = match job {
        Job::Knn => Work::Knn,
        Job::Train => Work::Train,
    };
    let profile = Profile::measure(&opened.device, work)?;
    let (between, idle) = (profile.between(), profile.idle());
    let device = DeviceFacts::new(&opened);
    let report =
        Report { command: "bench", version: env!("CARGO_PKG_VERSION"), device, profile, between, idle };
    match format {
        Format::Text => output::print(&text(&report)),
        Format::Json => output::print_json(&report),
    }
}

fn text(report: &Report) -> String {
    let Report { device, profile, .. } = report;
    let Profile { work, rounds, round, first, host, counters, .. } = profile;
    let mut text = format!("device     {} ({})\nwork       {work}\n", device.name, device.why);
    text += &format!("first      {}\n", costs(first));
    text += &format!(
        "profiled   {rounds} {round}{} in {:.1} ms, {:.2} ms each",
        if round.ends_with('h') { "es" } else { "s" },
        host.wall * 1e3,
        host.wall * 1e3 / *rounds as f64
    );
    if counters.submissions > 0 {
        text += &format!(
            "; {} launches in {} submissions, {} up and {} back",
            thousands(counters.dispatches as usize),
            thousands(counters.submissions as usize),
            mebibytes(counters.upload_bytes),
            mebibytes(counters.readback_bytes)
        );
    }
    text += "\n\n";
    text += &host_table(host);
    match &profile.device {
        Some(_) => text += &format!("\n{}", device_table(report)),
        None if counters.dispatches > 0 => {
            text += "\nThis adapter has no timestamps: what a kernel takes is not known.\n";
        }
        None => {}
    }
    text
}

/// The longest first, and last what nothing else accounts for.
fn sorted(timeline: &Timeline) -> Vec<Row> {
    let mut rows = timeline.rows.clone();
    rows.sort_by(|a, b| (a.name == REST).cmp(&(b.name == REST)).then(b.seconds.total_cmp(&a.seconds)));
    rows
}

/// A timeline in a line: the wall time and its largest parts.
fn costs(timeline: &Timeline) -> String {
    let largest = sorted(timeline).into_iter().take(4);
    let parts: Vec<_> = largest.map(|row| format!("{} {:.1}", row.name, row.seconds * 1e3)).collect();
    format!("{:.1} ms: {}", timeline.wall * 1e3, parts.join(" · "))
}

/// What the driving thread did: rows that add up to the wall time.
fn host_table(host: &Timeline) -> String {
    let mut table = Table::new(&["host", "calls", "ms", "µs each", "share"]);
    let mut sum = 0.0;
    for Row { name, calls, seconds } in sorted(host) {
        sum += seconds;
        let [count, mean] = counted(calls, seconds);
        table.row(&[name.to_owned(), count, milliseconds(seconds), mean, percent(seconds / host.wall)]);
    }
    table.row(&[
        "wall time".to_owned(),
        String::new(),
        milliseconds(sum),
        String::new(),
        percent(sum / host.wall),
    ]);
    table.text()
}

/// What the device did meanwhile: rows that add up to the same time.
fn device_table(report: &Report) -> String {
    let wall = report.profile.host.wall;
    let mut table =
        Table::new(&["device", "kernel", "launches", "ms", "µs each", "share", "Mop or MB each", "G/s"]);
    let mut kernels: Vec<&KernelTime> = report.profile.device.iter().flat_map(|time| &time.kernels).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut sum = 0.0;
    for KernelTime { caller, kernel, launches, seconds, work, .. } in kernels {
        sum += seconds;
        let ([count, mean], work) = (counted(*launches, *seconds), *work as f64);
        table.row(&[
            caller.unwrap_or("–").to_owned(),
            kernel.clone(),
            count,
            milliseconds(*seconds),
            mean,
            percent(seconds / wall),
            format!("{:.1}", work / 1e6 / *launches as f64),
            format!("{:.1}", work / 1e9 / seconds.max(1e-12)),
        ]);
    }
    for (name, seconds) in [("between launches", report.between), ("idle, copies", report.idle)] {
        let seconds = seconds.unwrap_or_default();
        sum += seconds;
        let empty = String::new();
        table.row(&[
            name.to_owned(),
            empty.clone(),
            empty.clone(),
            milliseconds(seconds),
            empty,
            percent(seconds / wall),
        ]);
    }
    let empty = String::new();
    table.row(&[
        "wall time".to_owned(),
        empty.clone(),
        empty.clone(),
        milliseconds(sum),
        empty,
        percent(sum / wall),
    ]);
    table.text()
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2}", seconds * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// How often, and the microseconds of each; nothing where nothing is counted.
fn counted(calls: u64, seconds: f64) -> [String; 2] {
    match calls {
        0 => [String::new(), String::new()],
        calls => [calls.to_string(), format!("{:.1}", seconds * 1e6 / calls as f64)],
    }
}
