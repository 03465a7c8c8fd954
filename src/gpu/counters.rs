//! What a device has done, for reports and for tests that assert it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Totals since the device was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Submissions to the device.
    pub submissions: u64,
    /// Kernel launches in them.
    pub dispatches: u64,
    /// Buffers copied into [images](super::Access::Image) for them.
    pub image_copies: u64,
    /// Bytes written to the device, parameters apart.
    pub upload_bytes: u64,
    /// Bytes read from it.
    pub readback_bytes: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Buffers and images made, those for reading back included.
    pub buffers: u64,
    /// Bytes allocated now, idle ones of the pool included.
    pub allocated_bytes: u64,
    /// The most that were allocated at once.
    pub peak_bytes: u64,
}

impl Counters {
    /// What was done since `earlier`; the bytes allocated are those of now.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            submissions: self.submissions - earlier.submissions,
            dispatches: self.dispatches - earlier.dispatches,
            image_copies: self.image_copies - earlier.image_copies,
            upload_bytes: self.upload_bytes - earlier.upload_bytes,
            readback_bytes: self.readback_bytes - earlier.readback_bytes,
            pipelines: self.pipelines - earlier.pipelines,
            bind_groups: self.bind_groups - earlier.bind_groups,
            buffers: self.buffers - earlier.buffers,
            ..*self
        }
    }
}

/// The running totals.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    submissions: AtomicU64,
    dispatches: AtomicU64,
    image_copies: AtomicU64,
    upload_bytes: AtomicU64,
    readback_bytes: AtomicU64,
    pipelines: AtomicU64,
    bind_groups: AtomicU64,
    buffers: AtomicU64,
}

impl Tally {
    pub(crate) fn submitted(&self, dispatches: u64, image_copies: u64) {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.dispatches.fetch_add(dispatches, Ordering::Relaxed);
        self.image_copies.fetch_add(image_copies, Ordering::Relaxed);
    }

    pub(crate) fn uploaded(&self, bytes: u64) {
        self.upload_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read_back(&self, bytes: u64) {
        self.readback_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn compiled(&self, yes: bool) {
        self.pipelines.fetch_add(yes.into(), Ordering::Relaxed);
    }

    pub(crate) fn bound(&self, yes: bool) {
        self.bind_groups.fetch_add(yes.into(), Ordering::Relaxed);
    }

    pub(crate) fn made_buffer(&self) {
        self.buffers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counters(&self, (allocated_bytes, peak_bytes): (u64, u64)) -> Counters {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counters {
            submissions: get(&self.submissions),
            dispatches: get(&self.dispatches),
            image_copies: get(&self.image_copies),
            upload_bytes: get(&self.upload_bytes),
            readback_bytes: get(&self.readback_bytes),
            pipelines: get(&self.pipelines),
            bind_groups: get(&self.bind_groups),
            buffers: get(&self.buffers),
            allocated_bytes,
            peak_bytes,
        }
    }
}
