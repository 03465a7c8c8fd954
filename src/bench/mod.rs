//! How long operations take on a device, and how near that is to what the device can do.

mod ceilings;
pub mod families;
mod probe;
mod profile;
pub mod speeds;

use std::time::{Duration, Instant};

pub use ceilings::{Bound, Ceilings};
pub use probe::shaders;
pub use profile::{Profile, Work};

use crate::device::Device;
use crate::error::Result;
use crate::ops::{Case, Op};

/// How much time a measurement may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Samples, of which the median is reported.
    pub samples: usize,
    /// Time of a sample: as many calls as fit, at least one.
    pub sample: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { samples: 7, sample: Duration::from_millis(20) }
    }
}

/// Seconds of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// The median of the samples.
    pub median: f64,
    /// The distance between their quartiles as a share of the median: the noise.
    pub noise: f64,
    /// Kernel launches of one call; 0 on the host.
    pub launches: f64,
}

/// Times `work` on `device`: once to warm up, then in samples of several calls with one wait at their end. Each call finds its operands as if they
/// had just been written.
///
/// # Errors
/// Those of `work`.
pub fn time(device: &Device, patience: Patience, mut work: impl FnMut() -> Result<()>) -> Result<Timing> {
    let wait = || if let Device::Gpu(gpu) = device { gpu.wait() } else { Ok(()) };
    let mut sample = |rounds: u32| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..rounds {
            if let Device::Gpu(gpu) = device {
                gpu.expire_images();
            }
            work()?;
        }
        wait()?;
        Ok(start.elapsed().as_secs_f64() / f64::from(rounds))
    };
    // Kernels are compiled at their first launch, and software adapters compile once more at their first run.
    sample(1)?;
    let once = sample(1)?;
    let rounds = (patience.sample.as_secs_f64() / once.max(1e-9)).clamp(1.0, 10_000.0) as u32;
    let launched = || if let Device::Gpu(gpu) = device { gpu.counters().dispatches } else { 0 };
    let before = launched();
    let mut seconds = (0..patience.samples.max(1)).map(|_| sample(rounds)).collect::<Result<Vec<f64>>>()?;
    let launches = (launched() - before) as f64 / (f64::from(rounds) * seconds.len() as f64);
    seconds.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
    let median = at(0.5);
    Ok(Timing { median, noise: (at(0.75) - at(0.25)) / median.max(f64::MIN_POSITIVE), launches })
}

/// Times one variant of an operation at one shape, on inputs that are on the device.
///
/// # Errors
/// As the operation's.
pub fn time_op(device: &Device, op: &Op, case: &Case, patience: Patience) -> Result<Timing> {
    let mut work = (op.workload)(device, case)?;
    time(device, patience, &mut work)
}
