//! Opening a device while the host has other work.

use std::thread::JoinHandle;

use crate::device::auto::Work;
use crate::device::{Device, Opened, Selection};
use crate::error::Result;

/// A device that is being opened.
pub(super) struct Opening {
    selection: Selection,
    thread: Option<JoinHandle<Result<Opened>>>,
}

impl Opening {
    /// Begins where it is known already which adapter it will be: `auto` waits for the size of the job.
    pub(super) fn begin(selection: &Selection) -> Self {
        let selection = selection.clone();
        let thread = matches!(selection, Selection::Gpu(_)).then(|| {
            let selection = selection.clone();
            std::thread::spawn(move || Device::open(&selection))
        });
        Self { selection, thread }
    }

    /// The device, once it is open, for a job of this size, which `auto` goes by.
    pub(super) fn finish(mut self, work: &Work) -> Result<Opened> {
        let opened = match self.thread.take() {
            // A panic over there goes on here.
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Device::open_for(&self.selection, work),
        };
        opened.inspect(warn)
    }
}

impl Drop for Opening {
    /// A program must not end while a driver is being loaded.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // There is a worse error already: the one that ends the run before the device is used.
            let _ = thread.join();
        }
    }
}

/// Warns of a software adapter, which only those get who ask for it.
pub(super) fn warn(opened: &Opened) {
    if let Device::Gpu(gpu) = &opened.device
        && gpu.info().software()
    {
        let name = &gpu.info().name;
        super::output::note(&format!("warning: {name} runs on the processor; --device cpu is faster"));
    }
}
