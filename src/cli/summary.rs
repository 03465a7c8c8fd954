//! What the classification commands tell about a run: the same facts as text and as JSON.

use serde::Serialize;

use crate::data::Dataset;
use crate::device::{Device, Opened};
use crate::ops::nearest::Certificate;
use crate::report::confusion::Confusion;
pub(super) use crate::report::table::thousands;

/// The device of a run.
#[derive(Debug, Serialize)]
pub(super) struct DeviceFacts {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) backend: Option<&'static str>,
    pub(super) driver: Option<String>,
    pub(super) why: String,
}

impl DeviceFacts {
    pub(super) fn new(opened: &Opened) -> Self {
        let why = opened.why.clone();
        let kind = opened.device.kind();
        match &opened.device {
            Device::Gpu(gpu) => {
                let info = gpu.info();
                let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
                Self { kind, name: info.name.clone(), backend: Some(info.backend), driver: Some(driver), why }
            }
            device => Self { kind, name: device.describe(), backend: None, driver: None, why },
        }
    }
}

/// The data of a run.
#[derive(Debug, Serialize)]
pub(super) struct DataFacts {
    pub(super) name: String,
    pub(super) train: usize,
    pub(super) test: usize,
    pub(super) features: usize,
    pub(super) dtype: &'static str,
}

impl DataFacts {
    pub(super) fn new(dataset: &Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            train: dataset.train.len(),
            test: dataset.test.len(),
            features: dataset.train.features(),
            dtype: dataset.train.view().dtype(),
        }
    }
}

/// Seconds of each phase.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seconds {
    pub(super) load: f64,
    pub(super) open: f64,
    pub(super) upload: f64,
    pub(super) search: f64,
    pub(super) vote: f64,
    /// From the start of the program to the first neighbours.
    pub(super) first_result: f64,
    pub(super) total: f64,
}

/// A finished `knn` run. Keys are stable: see the README.
#[derive(Debug, Serialize)]
pub(super) struct KnnSummary {
    pub(super) command: &'static str,
    pub(super) version: &'static str,
    pub(super) device: DeviceFacts,
    pub(super) data: DataFacts,
    pub(super) k: usize,
    pub(super) metric: String,
    pub(super) weights: String,
    pub(super) correct: Option<usize>,
    pub(super) total: usize,
    pub(super) accuracy: Option<f64>,
    pub(super) certificate: Certificate,
    pub(super) seconds: Seconds,
    pub(super) peak_memory_bytes: Option<u64>,
    pub(super) device_memory_bytes: u64,
    pub(super) submissions: u64,
    pub(super) dispatches: u64,
    pub(super) confusion: Option<Confusion>,
}

impl KnnSummary {
    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let DataFacts { name, train, test, features, dtype } = &self.data;
        let mut text = format!(
            "data         {name}: {} training and {} test rows of {features} features ({dtype})\n",
            thousands(*train),
            thousands(*test)
        );
        text += &format!("device       {} · {}\n", self.device.name, self.device.why);
        text += &format!("search       k = {}, metric {}, weights {}\n", self.k, self.metric, self.weights);
        if let (Some(correct), Some(accuracy)) = (self.correct, self.accuracy) {
            text += &format!("accuracy     {:.2} %  ({correct} of {} right)\n", 100.0 * accuracy, self.total);
        }
        let Certificate { at_once, redone } = self.certificate;
        text += &format!(
            "certificate  every answer is exact: {at_once} queries proven at once, {redone} searched again\n"
        );
        text += &self.costs();
        if let Some(confusion) = &self.confusion {
            text += &format!("\n{}\n{}", confusion.per_class_table(), confusion.matrix_table());
        }
        text
    }

    fn costs(&self) -> String {
        let Seconds { load, open, upload, search, vote, first_result, total } = self.seconds;
        let mut text = format!(
            "seconds      load {load:.3} · open device {open:.3} · prepare {upload:.3} · search {search:.3} · vote \
             {vote:.3} · total {total:.3} · first result after {first_result:.3}\n"
        );
        let mut memory = Vec::new();
        if let Some(bytes) = self.peak_memory_bytes {
            memory.push(format!("{} on the host", mebibytes(bytes)));
        }
        if self.dispatches > 0 {
            memory.push(format!("{} on the device", mebibytes(self.device_memory_bytes)));
            memory.push(format!("{} dispatches in {} submissions", self.dispatches, self.submissions));
        }
        if !memory.is_empty() {
            text += &format!("peak memory  {}\n", memory.join(" · "));
        }
        text
    }
}

/// The most memory that the process has held, where the system tells.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    own_peak().or_else(|| {
        #[cfg(unix)]
        {
            use nix::sys::resource::{UsageWho, getrusage};
            let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
            // Bytes on Apple's systems, KiB elsewhere.
            Some(if cfg!(target_vendor = "apple") { peak } else { peak * 1024 })
        }
        #[cfg(not(unix))]
        None
    })
}

/// The peak since this program began: Linux's `getrusage` counts what the parent held when it started this process, too.
fn own_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
