//! Options that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::classify::knn::{Metric, Options, Weights};
use crate::data::{self, Dataset, Limits, Source};
use crate::device::{Device, Opened, Selection};
use crate::error::{Error, Result};

/// Where the work runs.
#[derive(Debug, Clone, Args)]
pub(super) struct DeviceArgs {
    /// auto, cpu, reference, gpu, gpu:N or gpu:NAME; auto takes a hardware GPU, else the CPU.
    #[arg(long, default_value = "auto", env = "CS231N_GPU_DEVICE", value_name = "DEVICE")]
    device: Selection,
    /// Threads of the CPU path; by default one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Cap on device memory in use, like 512MiB; training rows stream through.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(super) memory_limit: Option<u64>,
}

impl DeviceArgs {
    /// Sets the threads and opens the device; warns where a software adapter was asked for.
    pub(super) fn open(&self) -> Result<Opened> {
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().map_err(|error| {
                Error::usage(format!("cannot start {threads} threads: {error}"), "give a smaller --threads")
            })?;
        }
        let opened = Device::open(&self.device)?;
        if let Device::Gpu(gpu) = &opened.device
            && gpu.info().software()
        {
            super::output::note(&format!("warning: {} runs on the processor; --device cpu is faster", gpu.info().name));
        }
        Ok(opened)
    }
}

/// What is classified.
#[derive(Debug, Clone, Args)]
pub(super) struct DataArgs {
    /// A CIFAR-10/100 binary folder, an idx folder (.gz or plain), an .npz, .csv or libsvm file; by default the bundled
    /// Fashion-MNIST subset.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Training rows as .npy.
    #[arg(long, value_name = "NPY", requires_all = ["train_y", "test_x"], conflicts_with = "data")]
    train_x: Option<PathBuf>,
    /// Training labels as .npy.
    #[arg(long, value_name = "NPY", requires = "train_x")]
    train_y: Option<PathBuf>,
    /// Test rows as .npy.
    #[arg(long, value_name = "NPY", requires = "train_x")]
    test_x: Option<PathBuf>,
    /// Test labels as .npy; without them nothing is scored.
    #[arg(long, value_name = "NPY", requires = "test_x")]
    test_y: Option<PathBuf>,
    /// Use the first N training rows.
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,
    /// Use the first N test rows.
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
}
