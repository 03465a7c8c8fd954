//! What each launch takes on the device, by timestamps at its begin and end.
//!
//! A device has them only where it was opened with [`Options::profile`](super::Options::profile). Each launch is a compute pass of its own
//! then, because portable timestamps are those of passes: a launch's time is real, the total a little more than that of an unprofiled run.

use serde::Serialize;

use super::context::Context;
use super::fault::scoped;
use super::images::ImageCopy;
use super::kernel::{Kernel, Launch};
use super::limits::LAUNCHES_PER_SUBMISSION;
use crate::profile::{running, span};
use crate::{Error, Result};

/// Bytes of a timestamp.
const STAMP: u64 = 8;

/// What the device did with the launches of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceTime {
    /// Each kernel with its constants, in the order of their first launch.
    pub kernels: Vec<KernelTime>,
    /// Seconds from the first begin to the last end of each submission, all submissions together.
    pub busy: f64,
}

/// All launches of a kernel with one value of each constant, for one caller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The [span](crate::profile::span) that launched it, by its name.
    pub caller: Option<&'static str>,
    /// `operation::entry`.
    pub kernel: String,
    /// What it was compiled with.
    pub constants: Vec<(&'static str, u32)>,
    /// How often it was launched.
    pub launches: u64,
    /// What all launches took.
    pub seconds: f64,
    /// Their [estimated work](Launch::work).
    pub work: u64,
}

/// What a profile calls the copy of an image.
static IMAGE_COPY: Kernel = Kernel {
    op: "image",
    source: "",
    entry: "copy",
    buffers: &[],
    fields: &[],
    subgroup: false,
    native: false,
};

/// A launch, as far as a profile tells it from others.
#[derive(Debug)]
struct Mark {
    caller: Option<&'static str>,
    kernel: &'static Kernel,
    constants: Box<[(&'static str, u32)]>,
    work: u64,
}

/// The timestamps of a device.
#[derive(Debug)]
pub(crate) struct Timestamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds of a tick.
    period: f64,
    /// The launches recorded since the last submission.
    pending: Vec<Mark>,
    /// The launches of the submissions since the last [`Self::take`], with what their stamps were copied to.
    submitted: Vec<(Vec<Mark>, wgpu::Buffer)>,
}

impl Timestamps {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self> {
        const STAMPS: u32 = 2 * LAUNCHES_PER_SUBMISSION as u32;
        let (set, resolved) = scoped(device, "timestamps", || {
            let set = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: STAMPS,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            (set, buffer(device, u64::from(STAMPS) * STAMP, usage))
        })?;
        let period = f64::from(queue.get_timestamp_period()) * 1e-9;
        Ok(Self { set, resolved, period, pending: Vec::new(), submitted: Vec::new() })
    }

    /// Notes the launch that is being recorded.
    pub(crate) fn note(&mut self, launch: &Launch) {
        let Launch { kernel, constants, work, .. } = *launch;
        self.pending.push(Mark { caller: running(), kernel, constants: constants.into(), work });
    }

    /// Notes the copy of an image that is being recorded.
    pub(crate) fn note_copy(&mut self, copy: &ImageCopy) {
        let (kernel, constants) = (&IMAGE_COPY, Box::default());
        self.pending.push(Mark { caller: running(), kernel, constants, work: 2 * copy.bytes });
    }

    /// Forgets the launches noted since the last submission, which will not run.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    /// Where the pass of the launch at this position of the submission puts its stamps.
    pub(crate) fn writes(&self, position: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * position as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// As [`Self::writes`] for a copy, which is no pass: where one before it and one after it put theirs.
    pub(crate) fn writes_around(&self, position: usize) -> [wgpu::ComputePassTimestampWrites<'_>; 2] {
        let writes = self.writes(position);
        let (begin, end) = (writes.beginning_of_pass_write_index, writes.end_of_pass_write_index);
        [
            wgpu::ComputePassTimestampWrites {
                beginning_of_pass_write_index: None,
                end_of_pass_write_index: begin,
                ..writes.clone()
            },
            wgpu::ComputePassTimestampWrites {
                beginning_of_pass_write_index: end,
                end_of_pass_write_index: None,
                ..writes
            },
        ]
    }

    /// Has the stamps of the launches noted so far copied to where the host can read them, after their passes.
    pub(crate) fn resolve(&mut self, context: &Context, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let _span = span("profile");
        let stamps = 2 * self.pending.len() as u32;
        let bytes = u64::from(stamps) * STAMP;
        let staged = scoped(&context.device, "a buffer for timestamps", || {
            buffer(&context.device, bytes, wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ)
        })?;
        encoder.resolve_query_set(&self.set, 0..stamps, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &staged, 0, bytes);
        self.submitted.push((std::mem::take(&mut self.pending), staged));
        Ok(())
    }

    /// What the submissions since the last call took. They have ended.
    pub(crate) fn take(&mut self, context: &Context) -> Result<DeviceTime> {
        let mut time = DeviceTime::default();
        for (marks, staged) in self.submitted.drain(..) {
            let stamps = read(context, &staged)?;
            time.add(&marks, &stamps, self.period);
        }
        Ok(time)
    }
}

impl DeviceTime {
    /// Adds a submission: the begin and the end of each of its launches in ticks of `period` seconds.
    fn add(&mut self, marks: &[Mark], stamps: &[u64], period: f64) {
        // A driver may set its clock back, or leave a stamp out.
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 * period;
        for (mark, stamps) in marks.iter().zip(stamps.chunks_exact(2)) {
            let kernel = format!("{}::{}", mark.kernel.op, mark.kernel.entry);
            let same = |time: &KernelTime| {
                time.caller == mark.caller && time.kernel == kernel && *time.constants == *mark.constants
            };
            let at = self.kernels.iter().position(same).unwrap_or_else(|| {
                let (caller, constants) = (mark.caller, mark.constants.to_vec());
                self.kernels.push(KernelTime {
                    caller,
                    kernel,
                    constants,
                    launches: 0,
                    seconds: 0.0,
                    work: 0,
                });
                self.kernels.len() - 1
            });
            let time = &mut self.kernels[at];
            time.launches += 1;
            time.seconds += seconds(stamps[0], stamps[1]);
            time.work += mark.work;
        }
        if let (Some(&first), Some(&last)) = (stamps.first(), stamps.iter().max()) {
            self.busy += seconds(first, last);
        }
    }
}

fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let label = Some("timestamps");
    device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
}

/// The stamps in a buffer whose submission has ended.
fn read(context: &Context, staged: &wgpu::Buffer) -> Result<Vec<u64>> {
    let failed = |error: String| Error::device(format!("reading timestamps failed: {error}"), "run again");
    let (sender, receiver) = std::sync::mpsc::channel();
    staged.map_async(wgpu::MapMode::Read, .., move |result| {
        // The receiver is gone only if this read has failed already.
        let _ = sender.send(result);
    });
    super::fault::poll(&context.device, &context.fault, wgpu::PollType::wait_indefinitely())?;
    match receiver.try_recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    }
    let view = staged.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
    let stamp = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    Ok(view.chunks_exact(STAMP as usize).map(stamp).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Kernel = Kernel {
        op: "test",
        source: "",
        entry: "a",
        buffers: &[],
        fields: &[],
        subgroup: false,
        native: false,
    };

    #[test]
    fn launches_add_up_by_kernel_and_constants() {
        let mark = |tile| Mark { caller: None, kernel: &A, constants: Box::new([("TILE", tile)]), work: 10 };
        let mut time = DeviceTime::default();
        time.add(&[mark(4), mark(8), mark(4)], &[100, 110, 115, 135, 140, 141], 2.0);
        // A second submission, and a stamp that was set back.
        time.add(&[mark(8)], &[500, 490], 2.0);
        let rows: Vec<_> =
            time.kernels.iter().map(|k| (k.constants[0].1, k.launches, k.seconds, k.work)).collect();
        assert_eq!(rows, [(4, 2, 22.0, 20), (8, 2, 40.0, 20)]);
        assert_eq!((time.busy, time.kernels[0].kernel.as_str()), (82.0, "test::a"));
        time.add(&[Mark { caller: Some("else"), ..mark(8) }], &[600, 601], 2.0);
        assert_eq!(time.kernels.len(), 3);
    }
}
