//! What `--device auto` goes by, measured.

use std::time::Instant;

use super::{Patience, probe, time};
use crate::device::Device;
use crate::device::auto::{Entry, Speed};
use crate::error::Result;
use crate::gpu::{Found, Gpu, Options};

/// Bytes of the upload that is timed: beyond what one submission takes.
const UPLOAD: usize = 32 << 20;

/// Measures the processor.
///
/// # Errors
/// Never on the host; the probes are shared with adapters.
pub fn processor(patience: Patience) -> Result<Entry> {
    let (operations, timing) = probe::multiply_adds(&Device::Cpu, patience)?;
    let speed = Speed { start: 0.0, launch: 0.0, upload: f64::MAX, flops: operations / timing.median };
    Ok(Entry { name: Device::Cpu.describe(), kind: None, speed })
}

/// Opens an adapter that took `found` seconds to find, and measures it.
///
/// The start is told well for the first adapter that a process opens; the driver's libraries are there for the next.
///
/// # Errors
/// [`crate::Error::Device`] when the device fails.
pub fn adapter(adapter: Found, found: f64, patience: Patience) -> Result<Entry> {
    let (name, kind) = (adapter.info.to_string(), adapter.info.kind);
    let began = Instant::now();
    let gpu = Gpu::open_found(adapter, &Options::default())?;
    // Whatever a driver puts off until there is something to run.
    probe::first_result(&gpu)?;
    let start = found + began.elapsed().as_secs_f64();
    let device = Device::Gpu(gpu.clone());
    let bytes = vec![1u8; UPLOAD];
    let upload = time(&device, patience, || gpu.upload(&bytes).map(drop))?;
    let (operations, timing) = probe::multiply_adds(&device, patience)?;
    let speed = Speed {
        start,
        launch: probe::launch(&device, patience)?,
        upload: UPLOAD as f64 / upload.median,
        flops: operations / timing.median,
    };
    Ok(Entry { name, kind: Some(kind), speed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_processor_has_a_speed() {
        let patience = Patience { samples: 1, sample: Duration::from_millis(1) };
        let Entry { name, kind, speed } = processor(patience).expect("a probe");
        assert_eq!((name, kind), (Device::Cpu.describe(), None));
        assert!(speed.flops > 1e8 && speed.start == 0.0, "{speed:?}");
    }
}
