//! Where the errors go that wgpu reports outside of a call's result, so that none of them becomes a panic.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result};

const MEMORY_HINT: &str =
    "lower --memory-limit or the batch size, close other programs that use the GPU, or use --device cpu";
const LOST_HINT: &str = "the driver reset the device (a watchdog, a crash or an unplugged GPU): run again, with --device cpu if it persists";

/// The first unreported error of a device, and whether it is lost for good.
#[derive(Debug, Default)]
pub(crate) struct Fault(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    error: Option<Error>,
    lost: Option<String>,
}

impl Fault {
    /// Installs the two callbacks; without them wgpu panics on the first uncaptured error.
    pub(crate) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let fault = Arc::new(Self::default());
        let sink = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error| {
            sink.report(explain("the device refused a command", &error))
        }));
        let sink = Arc::clone(&fault);
        device.set_device_lost_callback(move |_, message| sink.lose(&message));
        fault
    }

    pub(crate) fn report(&self, error: Error) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.error.get_or_insert(error);
    }

    pub(crate) fn lose(&self, message: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.lost.get_or_insert_with(|| message.trim().to_owned());
    }

    /// Fails with what was reported since the last look; a lost device fails for ever.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = &state.lost {
            return Err(Error::device(format!("the device is lost: {message}"), LOST_HINT));
        }
        state.error.take().map_or(Ok(()), Err)
    }
}

/// A wgpu error as ours: `what` failed, the driver's text, and a hint where memory is the reason.
pub(crate) fn explain(what: &str, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::device(format!("{what}: out of device memory"), MEMORY_HINT)
        }
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::device(format!("{what}: {}", description.trim()), "update the driver, or use --device cpu")
        }
    }
}

/// Runs `make` and returns what wgpu complained about in it.
///
/// Scopes belong to the calling thread, so the complaint is about this call and no other.
pub(crate) fn scoped<T>(device: &wgpu::Device, what: &str, make: impl FnOnce() -> T) -> Result<T> {
    let filters =
        [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
    let scopes = filters.map(|filter| device.push_error_scope(filter));
    let made = make();
    let mut first = None;
    // Scopes form a stack: the last one pushed is popped first.
    for scope in scopes.into_iter().rev() {
        first = first.or(pollster::block_on(scope.pop()));
    }
    first.map_or(Ok(made), |error| Err(explain(what, &error)))
}

/// Looks what has ended, or waits, as `poll` says: without a timeout, because a wait that runs into one panics in wgpu-core 30 where another
/// thread's poll sees the end of all work in that moment.
pub(crate) fn poll(device: &wgpu::Device, fault: &Fault, poll: wgpu::PollType) -> Result<()> {
    fenced(device, fault, poll).map(drop).or_else(|error| {
        // A lost device refuses submissions without a word, and then does not know their number. Its callback runs inside a poll.
        let _ = fenced(device, fault, wgpu::PollType::Poll);
        fault.check()?;
        Err(Error::device(format!("waiting for the device failed: {error}"), LOST_HINT))
    })
}

/// `Device::poll` panics where the driver reports a lost device (wgpu 30, `handle_error_fatal`); here that is the loss it means.
fn fenced(
    device: &wgpu::Device,
    fault: &Fault,
    poll: wgpu::PollType,
) -> Result<wgpu::PollStatus, wgpu::PollError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.poll(poll))).unwrap_or_else(|panic| {
        fault.lose(
            panic.downcast_ref::<String>().map_or("the driver reported it during a wait", String::as_str),
        );
        Err(wgpu::PollError::WrongSubmissionIndex(0, 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_once_and_a_loss_for_ever() {
        let fault = Fault::default();
        assert!(fault.check().is_ok());
        fault.report(Error::device("first", "hint"));
        fault.report(Error::device("second", "hint"));
        assert_eq!(fault.check().expect_err("reported").to_string(), "first");
        assert!(fault.check().is_ok());
        fault.lose("gone\n");
        for _ in 0..2 {
            assert_eq!(fault.check().expect_err("lost").to_string(), "the device is lost: gone");
        }
    }
}
