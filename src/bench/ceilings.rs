//! What a device can do at most, measured: floating-point operations, copied bytes, launches.

use serde::{Deserialize, Serialize};

use super::{Patience, Timing, probe};
use crate::device::Device;
use crate::error::Result;

/// Bytes that a copy moves, both ways together: in the caches of a core, of all cores, and beyond any.
const COPIES: [u64; 6] = [512 << 10, 4 << 20, 32 << 20, 64 << 20, 128 << 20, 256 << 20];

/// The ceilings of a device, as its probes found them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ceilings {
    /// Operations a second of fused multiply-adds in registers, two each.
    pub flops: f64,
    /// Bytes a second that a copy reads and writes, by the bytes of the whole copy: caches make small ones quick.
    pub copies: Vec<Copied>,
    /// Seconds of a launch that does nothing; 0 on the host.
    pub launch: f64,
}

/// One size of copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Copied {
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes a second.
    pub rate: f64,
}

/// What an operation at its ceiling would wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Memory.
    Memory,
}

impl Ceilings {
    /// Runs the probes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub fn measure(device: &Device, patience: Patience) -> Result<Self> {
        let rate = |amount: f64, timing: Timing| amount / timing.median;
        let (operations, timing) = probe::multiply_adds(device, patience)?;
        let copies = COPIES.into_iter().map(|bytes| {
            Ok(Copied { bytes, rate: rate(bytes as f64, probe::copy(device, bytes, patience)?) })
        });
        Ok(Self {
            flops: rate(operations, timing),
            copies: copies.collect::<Result<_>>()?,
            launch: probe::launch(device, patience)?,
        })
    }

    /// The rate at which `bytes` can be copied: that of the next larger copy.
    pub fn copy_rate(&self, bytes: f64) -> f64 {
        let larger = self.copies.iter().find(|copied| copied.bytes as f64 >= bytes);
        larger.or(self.copies.last()).map_or(f64::INFINITY, |copied| copied.rate)
    }

    /// The seconds below which no kernel gets: the roofline (S. Williams, A. Waterman, D. Patterson: Roofline, CACM 2009).
    pub fn least(&self, flops: f64, bytes: f64) -> (f64, Bound) {
        let (compute, memory) = (flops / self.flops, bytes / self.copy_rate(bytes));
        if compute > memory { (compute, Bound::Compute) } else { (memory, Bound::Memory) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roofline_is_the_slower_of_arithmetic_and_memory() {
        let copies = [(1000, 400.0), (4000, 100.0)].map(|(bytes, rate)| Copied { bytes, rate });
        let ceilings = Ceilings { flops: 50.0, copies: copies.to_vec(), launch: 0.0 };
        assert_eq!(ceilings.least(100.0, 400.0), (2.0, Bound::Compute));
        assert_eq!(ceilings.least(10.0, 400.0), (1.0, Bound::Memory));
        // Beyond a size its cache no longer helps; beyond all sizes the last counts.
        assert_eq!(ceilings.least(10.0, 2000.0), (20.0, Bound::Memory));
        assert_eq!(ceilings.least(10.0, 8000.0), (80.0, Bound::Memory));
    }

    #[test]
    fn the_host_has_ceilings() {
        let patience = Patience { samples: 1, sample: std::time::Duration::from_millis(1) };
        let ceilings = Ceilings::measure(&Device::Cpu, patience).expect("probes");
        assert!(ceilings.flops > 1e6 && ceilings.copies.iter().all(|copied| copied.rate > 1e6));
        assert_eq!(ceilings.launch, 0.0);
    }
}
