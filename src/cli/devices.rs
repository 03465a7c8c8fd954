//! `devices`: what `--device` can name.

use clap::Args;
use serde::Serialize;

use super::output::{self, Format};
use crate::cpu::simd::Isa;
use crate::device::{Device, Selection};
use crate::error::Result;
use crate::gpu::{self, Info};
use crate::report::table::Table;

/// List the devices that --device can name.
#[derive(Debug, Args)]
pub(super) struct Devices {
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Serialize)]
struct Listing {
    command: &'static str,
    version: &'static str,
    cpu: Cpu,
    adapters: Vec<Info>,
    auto: String,
    why: String,
}

#[derive(Serialize)]
struct Cpu {
    threads: usize,
    instruction_sets: Vec<&'static str>,
}

impl Devices {
    pub(super) fn run(&self) -> Result<()> {
        let opened = Device::open(&Selection::Auto)?;
        let listing = Listing {
            command: "devices",
            version: env!("CARGO_PKG_VERSION"),
            cpu: Cpu {
                threads: rayon::current_num_threads(),
                instruction_sets: Isa::available().map(Isa::name).collect(),
            },
            adapters: gpu::adapters(),
            auto: opened.device.describe(),
            why: opened.why,
        };
        match self.format {
            Format::Text => output::print(&text(&listing)),
            Format::Json => output::print_json(&listing),
        }
    }
}

fn text(listing: &Listing) -> String {
    let mut table =
        Table::new(&["--device", "name", "kind", "backend", "driver", "subgroup", "binding", "features"]);
    for info in &listing.adapters {
        let features = [
            ("subgroup", info.features.subgroup),
            ("int64", info.features.int64),
            ("f16", info.features.f16),
        ];
        let features: Vec<_> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        let subgroup = match (info.subgroup_min, info.subgroup_max) {
            (min, max) if min == max => min.to_string(),
            (min, max) => format!("{min}–{max}"),
        };
        table.row(&[
            format!("gpu:{}", info.index),
            info.name.clone(),
            format!("{:?}", info.kind).to_lowercase(),
            info.backend.to_owned(),
            format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            subgroup,
            format!("{} MiB", info.limits.binding_bytes >> 20),
            features.join(" "),
        ]);
    }
    let adapters = match listing.adapters.is_empty() {
        true => {
            "no GPU adapter was found (Debian and Ubuntu: mesa-vulkan-drivers brings drivers)\n".to_owned()
        }
        false => table.text(),
    };
    format!(
        "{adapters}\ncpu          {} threads, {}\nreference    64-bit loops on one thread\nauto         {} · {}\n",
        listing.cpu.threads,
        listing.cpu.instruction_sets.join(", "),
        listing.auto,
        listing.why
    )
}
