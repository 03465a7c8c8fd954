//! Opening a device.

use std::sync::{Arc, Mutex};

use super::adapter::{self, Choice, Found};
use super::context::Context;
use super::counters::Tally;
use super::fault::Fault;
use super::limits::{self, LimitsMode};
use super::pool::Pool;
use super::queue::Recorder;
use super::{Gpu, Inner, chosen, read};
use crate::Result;

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which limits and features to ask for.
    pub limits: LimitsMode,
    /// Keep every runtime check in the shaders, loop bounds and zeroed workgroup memory included.
    pub checked: bool,
    /// Fill allocated memory with NaN bits, so that a kernel which reads what it has not written shows itself.
    pub poison: bool,
    /// Bytes of idle buffers to keep for reuse.
    pub pool_bytes: u64,
    /// Time every launch by timestamps, where the adapter has them: each is a pass of its own then, which costs a little.
    pub profile: bool,
    /// Keep compiled kernels in the user's [folder for caches](crate::cache::folder) for the next run, where the driver gives them away; and
    /// go by the [families](chosen) that `tune` has put there.
    pub keep: bool,
}

impl Default for Options {
    /// The adapter's limits, 1 GiB of idle buffers; checks where `CS231N_GPU_CHECKED=1`; poison where `CS231N_GPU_POISON=1` and in debug
    /// builds. No file is written.
    fn default() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        Self {
            limits: LimitsMode::Adapter,
            checked: set("CS231N_GPU_CHECKED"),
            poison: cfg!(debug_assertions) || set("CS231N_GPU_POISON"),
            pool_bytes: limits::POOL_BYTES,
            profile: false,
            keep: false,
        }
    }
}

impl Options {
    /// The default, and compiled kernels are kept for the next run.
    pub fn keeping() -> Self {
        Self { keep: true, ..Self::default() }
    }
}

impl Gpu {
    /// Opens the adapter that `choice` names.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when there is no such adapter (the message lists those found), when [`Choice::Auto`] finds
    /// only software, or when the driver refuses to open it.
    pub fn open(choice: &Choice, options: &Options) -> Result<Self> {
        Self::open_found(Self::find(choice)?, options)
    }

    /// Looks for the adapter that `choice` names, without opening it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when there is no such adapter, as [`Self::open`].
    pub fn find(choice: &Choice) -> Result<Found> {
        adapter::find(choice)
    }

    /// Opens an adapter that was found.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the driver refuses.
    pub fn open_found(found: Found, options: &Options) -> Result<Self> {
        let chosen = if options.keep { chosen::of(&found.info) } else { chosen::Families::new() };
        Self::with(found, options, chosen)
    }

    /// Another device of the same adapter, which shares nothing with this one and writes no file; it chooses the same kernels.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the driver refuses.
    pub(crate) fn twin(&self) -> Result<Self> {
        let Inner { adapter, info, why, options, chosen, .. } = &*self.inner;
        let found = Found { info: info.clone(), why: why.clone(), adapter: adapter.clone() };
        Self::with(found, &Options { keep: false, ..*options }, chosen.clone())
    }

    fn with(found: Found, options: &Options, chosen: chosen::Families) -> Result<Self> {
        let (device, queue, info) = adapter::open(&found, options)?;
        let fault = Fault::watch(&device);
        let recorder = Recorder::new(&device, &queue, &info, options)?;
        let pool = Pool::new(options.pool_bytes);
        let context = Context { device, queue, fault, pool, tally: Tally::default() };
        let recorder = Mutex::new(recorder);
        let staging = read::Staging::default();
        let Found { why, adapter, .. } = found;
        let inner = Inner { context, adapter, info, why, options: *options, chosen, staging, recorder };
        Ok(Self { inner: Arc::new(inner) })
    }
}
