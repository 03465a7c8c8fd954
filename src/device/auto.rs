//! When the processor is quicker than a GPU: what `--device auto` decides by.
//!
//! A GPU has to be opened, which takes longer than all of a small job, and rows have to get there. Both sides are estimated alike, by what the
//! work needs and what the device can do. `tune` measures that on this machine; until then [`Speed::of_processor`] and [`Speed::of_adapter`]
//! stand in, which favour the GPU where they are unsure, so that a job goes to the processor only if it is small for any.

use serde::{Deserialize, Serialize};

use crate::cpu::simd::Isa;
use crate::gpu::Kind;

/// The name under which measurements are [kept](crate::cache).
pub const FILE: &str = "speeds.json";

/// What operations reach of the peak rate, on either device: matrix products 0.5 to 0.9, all else less.
const REACHED: f64 = 0.5;

/// Seconds from nothing to the first result of a GPU. Published: 0.43 s (wgpu issue 6155: Windows, Vulkan and DX12, GTX 1080), 1.4 s (mpv issue
/// 13019: Windows, Vulkan, RTX 3080), but some 10 ms for the driver's part on Linux and macOS (gfx issue 2406). Listing the adapters of a Linux
/// machine takes us 27 ms. The least of what a whole start may take is what keeps this on the safe side.
const START: f64 = 0.06;

/// What a job asks of a device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Floating-point or integer operations.
    pub flops: f64,
    /// Bytes that a GPU must be sent.
    pub bytes: f64,
    /// Kernel launches.
    pub launches: f64,
}

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Seconds from nothing to the first result.
    pub start: f64,
    /// Seconds of a launch.
    pub launch: f64,
    /// Bytes a second on the way there.
    pub upload: f64,
    /// The most floating-point operations a second.
    pub flops: f64,
}

/// The measurements of a machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// A device each.
    pub devices: Vec<Entry>,
}

/// What was measured of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its [description](super::Device::describe): threads and instructions, or name and driver. Another one is another device.
    pub name: String,
    /// What kind of an adapter it is, if it is one.
    pub kind: Option<Kind>,
    /// What it can do.
    pub speed: Speed,
}

impl Measured {
    /// What was measured of the device with this description.
    pub fn of(&self, name: &str) -> Option<Speed> {
        self.devices.iter().find(|entry| entry.name == name).map(|entry| entry.speed)
    }

    /// Puts a measurement in the place of an older one of the device.
    pub fn put(&mut self, entry: Entry) {
        self.devices.retain(|old| old.name != entry.name);
        self.devices.push(entry);
    }

    /// What opening the quickest hardware GPU takes, where one was measured.
    pub fn start(&self) -> Option<f64> {
        let hardware = |entry: &&Entry| entry.kind.is_some_and(|kind| kind != Kind::Software);
        self.devices.iter().filter(hardware).map(|entry| entry.speed.start).min_by(f64::total_cmp)
    }
}

impl Speed {
    /// A processor as its instructions allow at 2 GHz: lanes of a register, times two registers a cycle with multiply-add, or one each of
    /// sums and products without.
    pub fn of_processor(threads: usize, isa: Isa) -> Self {
        let a_cycle = match isa {
            isa if isa.name().starts_with("AVX-512") => 64.0,
            isa if isa.name().starts_with("AVX") => 32.0,
            isa if isa.name().starts_with("NEON") => 16.0,
            _ => 8.0,
        };
        Self { start: 0.0, launch: 0.0, upload: f64::MAX, flops: 2e9 * a_cycle * threads as f64 }
    }

    /// A fast adapter of its kind: 20 or 2 TFLOP/s, and 16 lanes of PCIe 4 or the memory of a processor.
    pub fn of_adapter(kind: Kind) -> Self {
        let flops = if kind == Kind::Discrete { 2e13 } else { 2e12 };
        Self { start: START, launch: 5e-6, upload: 2.5e10, flops }
    }

    /// Seconds that the work takes from the start of the program on.
    pub fn seconds(&self, work: &Work) -> f64 {
        self.start
            + work.launches * self.launch
            + work.bytes / self.upload
            + work.flops / (REACHED * self.flops)
    }
}

/// Whether the processor does the work before any GPU is open, and why, in a few words: then none need be looked for. `start` is what opening
/// the quickest takes, where that was measured.
pub fn too_small(work: &Work, processor: &Speed, start: Option<f64>) -> Option<String> {
    let (here, there) = (processor.seconds(work), start.unwrap_or(START));
    let measured = if start.is_some() { " here" } else { "" };
    (here < there).then(|| {
        format!(
            "auto: about {} of work, under the {} that opening a GPU takes{measured}",
            time(here),
            time(there)
        )
    })
}

/// Whether an adapter is quicker than the processor, and why, in a few words.
pub fn choose(work: &Work, processor: &Speed, adapter: &Speed) -> (bool, String) {
    let (here, there) = (processor.seconds(work), adapter.seconds(work));
    (there < here, format!("auto: about {} on the GPU, {} on the processor", time(there), time(here)))
}

/// Seconds for people.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.2} ms", s * 1e3),
        s if s < 0.0995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 GFLOP/s, half of it reached.
    const PROCESSOR: Speed = Speed { start: 0.0, launch: 0.0, upload: f64::MAX, flops: 1e11 };
    /// 10 TFLOP/s behind 10 GB/s, open after 0.2 s.
    const ADAPTER: Speed = Speed { start: 0.2, launch: 1e-5, upload: 1e10, flops: 1e13 };

    #[test]
    fn work_takes_its_start_launches_bytes_and_operations() {
        let work = Work { flops: 1e12, bytes: 1e9, launches: 1e4 };
        assert!((PROCESSOR.seconds(&work) - 20.0).abs() < 1e-9);
        assert!((ADAPTER.seconds(&work) - (0.2 + 0.1 + 0.1 + 0.2)).abs() < 1e-9);
        let (gpu, why) = choose(&work, &PROCESSOR, &ADAPTER);
        assert_eq!((gpu, why.as_str()), (true, "auto: about 0.6 s on the GPU, 20 s on the processor"));
    }

    #[test]
    fn small_work_opens_no_adapter() {
        let small = Work { flops: 2e7, ..Work::default() };
        let why = too_small(&small, &PROCESSOR, None).expect("small");
        assert_eq!(why, "auto: about 0.40 ms of work, under the 60 ms that opening a GPU takes");
        let middle = Work { flops: 5e9, ..Work::default() };
        assert_eq!(too_small(&middle, &PROCESSOR, None), None);
        let why = too_small(&middle, &PROCESSOR, Some(0.2)).expect("small for a slow start");
        assert_eq!(why, "auto: about 0.1 s of work, under the 0.2 s that opening a GPU takes here");
    }

    #[test]
    fn work_that_hardly_fits_its_upload_or_launches_stays_on_the_processor() {
        // A pass over 20 GB: 0.4 s of arithmetic, 2 s of transfer.
        assert!(!choose(&Work { flops: 2e10, bytes: 2e10, launches: 10.0 }, &PROCESSOR, &ADAPTER).0);
        // A hundred thousand launches of next to nothing.
        assert!(!choose(&Work { flops: 3e10, bytes: 1e6, launches: 1e5 }, &PROCESSOR, &ADAPTER).0);
    }

    #[test]
    fn guesses_favour_the_adapter_and_measurements_replace_them() {
        // Ten epochs of a 784-256-10 net over the bundled images: 0.5 s on eight cores with AVX2.
        let training = Work { flops: 6e10, bytes: 4e6, launches: 3600.0 };
        assert!(Speed::of_adapter(Kind::Discrete).seconds(&training) < 0.1);
        assert!(Speed::of_processor(8, Isa::best()).flops >= 8.0 * 1.6e10);
        let mut measured = Measured::default();
        let entry = |name: &str, kind, speed| Entry { name: name.into(), kind, speed };
        measured.put(entry("a", None, PROCESSOR));
        measured.put(entry("llvmpipe", Some(Kind::Software), Speed { start: 0.03, ..ADAPTER }));
        assert_eq!((measured.of("b"), measured.start()), (None, None));
        measured.put(entry("b", Some(Kind::Discrete), PROCESSOR));
        measured.put(entry("b", Some(Kind::Discrete), ADAPTER));
        assert_eq!(
            (measured.of("b"), measured.start(), measured.devices.len()),
            (Some(ADAPTER), Some(0.2), 3)
        );
    }
}
