//! Recorded launches, and the submissions they become.
//!
//! A flush is one upload of all parameters, one compute pass (several where images are copied in between) and one submission, with the copies
//! of a read-back in it. WebGPU orders the launches of a pass and makes each see what the ones before it wrote.

use std::time::Instant;

use super::Options;
use super::adapter::Info;
use super::context::Context;
use super::fault::{self, scoped};
use super::images::{ImageCopy, Images, Views};
use super::kept::Kept;
use super::kernel::{Access, Kernel, Launch};
use super::limits::{LAUNCHES_PER_SUBMISSION, PARAMS_BYTES, UPLOAD_BYTES_PER_SUBMISSION, UPLOAD_CHUNK_BYTES};
use super::pipeline::{BindGroups, Pipeline, Pipelines};
use super::pool::Block;
use super::submissions::{Submissions, Ticket};
use super::timestamps::Timestamps;
use crate::profile::span;
use crate::{Error, Result};

/// A copy between device memory and staging memory, part of a submission: before its launches on the way in, after them on the way out.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) from: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) to: wgpu::Buffer,
    pub(crate) to_offset: u64,
    pub(crate) bytes: u64,
}

impl Copy {
    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.copy_buffer_to_buffer(&self.from, self.offset, &self.to, self.to_offset, self.bytes);
    }
}

/// What waits for the next flush.
#[derive(Debug)]
enum Recorded {
    Launch(RecordedLaunch),
    Image(ImageCopy),
}

impl Recorded {
    fn launch(&self) -> Option<&RecordedLaunch> {
        match self {
            Self::Launch(launch) => Some(launch),
            Self::Image(_) => None,
        }
    }
}

/// A launch that waits for the next flush. It holds the bind group, and through it the memory.
#[derive(Debug)]
struct RecordedLaunch {
    pipeline: Pipeline,
    /// Whether this is its first launch.
    first: bool,
    buffers: wgpu::BindGroup,
    /// Offset of its slot in the ring, for kernels with parameters.
    params: Option<u32>,
    groups: [u32; 3],
}

/// The list of recorded launches and everything that turns it into submissions.
#[derive(Debug)]
pub(crate) struct Recorder {
    pipelines: Pipelines,
    bind_groups: BindGroups,
    images: Images,
    ring: wgpu::Buffer,
    ring_group: wgpu::BindGroup,
    pending: Vec<Recorded>,
    params: Vec<u8>,
    work: u64,
    compiled: bool,
    uploads: Vec<Copy>,
    upload_bytes: u64,
    /// Staging memory for uploads, used again and again: fresh pages would cost several times the copy.
    belt: wgpu::util::StagingBelt,
    /// Number of the batch being recorded; blocks remember the last one that used them. Starts above the number of a fresh block.
    batch: u64,
    submissions: Submissions,
    /// Where every launch is timed.
    timestamps: Option<Timestamps>,
}

impl Recorder {
    pub(crate) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        info: &Info,
        options: &Options,
    ) -> Result<Self> {
        let timed = options.profile && info.features.timestamps;
        let timestamps = timed.then(|| Timestamps::new(device, queue)).transpose()?;
        let (ring, layout, ring_group) = scoped(device, "preparing the device", || {
            let ring = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: (PARAMS_BYTES * LAUNCHES_PER_SUBMISSION) as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("parameters"),
                entries: &[wgpu::BindGroupLayoutEntry {
                    binding: 0,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Uniform,
                        has_dynamic_offset: true,
                        min_binding_size: None,
                    },
                    count: None,
                }],
            });
            let slot = wgpu::BufferBinding {
                buffer: &ring,
                offset: 0,
                size: wgpu::BufferSize::new(PARAMS_BYTES as u64),
            };
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("parameters"),
                layout: &layout,
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(slot),
                }],
            });
            (ring, layout, group)
        })?;
        Ok(Self {
            pipelines: Pipelines::new(layout, options.checked, Kept::open(device)),
            bind_groups: BindGroups::default(),
            images: Images::default(),
            ring,
            ring_group,
            pending: Vec::with_capacity(LAUNCHES_PER_SUBMISSION),
            params: Vec::new(),
            work: 0,
            compiled: false,
            uploads: Vec::new(),
            upload_bytes: 0,
            belt: wgpu::util::StagingBelt::new(device.clone(), UPLOAD_CHUNK_BYTES),
            batch: 1,
            submissions: Submissions::new(info.kind),
            timestamps,
        })
    }

    /// Number of the batch being recorded.
    pub(crate) fn batch(&self) -> u64 {
        self.batch
    }

    /// What the device has not been seen to finish.
    pub(crate) fn submissions(&mut self) -> &mut Submissions {
        &mut self.submissions
    }

    /// The times of the launches, where they are taken.
    pub(crate) fn timestamps(&mut self) -> Option<&mut Timestamps> {
        self.timestamps.as_mut()
    }

    /// Compiles a kernel that a launch will soon want.
    pub(crate) fn prepare(
        &mut self,
        context: &Context,
        kernel: &'static Kernel,
        constants: &[(&'static str, u32)],
    ) -> Result<()> {
        let (pipeline, first) = self.pipelines.get(&context.device, kernel, constants)?;
        let compiled = compile(context, [(&pipeline, first)].into_iter());
        compiled.inspect_err(|_| self.pipelines.forget_failed())
    }

    /// Appends a launch that has been checked, flushing before or after it where a bound is reached.
    pub(crate) fn record(&mut self, context: &Context, launch: &Launch) -> Result<()> {
        context.fault.check()?;
        self.forget_evicted(context);
        let (pipeline, first) = self.pipelines.get(&context.device, launch.kernel, launch.constants)?;
        let many = self.pending.len() + launch.kernel.images() >= LAUNCHES_PER_SUBMISSION;
        let long = self.work.saturating_add(launch.work) > self.submissions.budget();
        if !self.pending.is_empty() && (many || long) {
            self.flush(context, &[])?;
        }
        let images = self.images(context, launch)?;
        let (buffers, made) =
            self.bind_groups.get(&context.device, &self.pipelines, &pipeline, launch, &images)?;
        context.tally.bound(made);

        let params = (!launch.params.is_empty()).then(|| {
            let offset = self.params.len();
            self.params.extend_from_slice(launch.params);
            self.params.resize(offset + PARAMS_BYTES, 0);
            offset as u32
        });
        for (buffer, access) in launch.buffers.iter().zip(launch.kernel.buffers) {
            let block = buffer.memory.block();
            block.use_in(self.batch);
            if *access == Access::ReadWrite {
                block.write();
            }
        }
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.note(launch);
        }
        let recorded = RecordedLaunch { pipeline, first, buffers, params, groups: launch.groups };
        self.pending.push(Recorded::Launch(recorded));
        self.work = self.work.saturating_add(launch.work);
        self.compiled |= first;
        if self.pending.len() >= LAUNCHES_PER_SUBMISSION || self.work >= self.submissions.budget() {
            self.flush(context, &[])?;
        }
        Ok(())
    }

    /// The images that a launch loads, with the copies that they need recorded before it.
    fn images(&mut self, context: &Context, launch: &Launch) -> Result<Views> {
        let mut views = Views::default();
        let buffers = launch.buffers.iter().zip(launch.kernel.buffers);
        for (view, (buffer, access)) in views.iter_mut().zip(buffers) {
            if *access != Access::Image {
                continue;
            }
            let (image, copy) = self.images.get(context, buffer)?;
            *view = Some(image);
            if let Some(copy) = copy {
                if let Some(timestamps) = &mut self.timestamps {
                    timestamps.note_copy(&copy);
                }
                self.pending.push(Recorded::Image(copy));
            }
        }
        Ok(views)
    }

    /// The images of buffers.
    pub(crate) fn all_images(&mut self) -> &mut Images {
        &mut self.images
    }

    /// Drops what shows or binds memory which the pool has let go.
    fn forget_evicted(&mut self, context: &Context) {
        let evicted = context.pool.evicted();
        if !evicted.is_empty() {
            self.images.forget(context, &evicted);
            self.bind_groups.forget(&evicted);
        }
    }

    /// Writes `bytes`, whole units of 4, into a block that nobody reads yet.
    pub(crate) fn write(
        &mut self,
        context: &Context,
        block: &Block,
        mut offset: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let _span = span("upload");
        block.write();
        // Uploads run at the start of the submission, before the launches recorded so far.
        if block.used_in(self.batch) {
            self.flush(context, &[])?;
        }
        for piece in bytes.chunks(UPLOAD_CHUNK_BYTES as usize) {
            let length = piece.len() as u64;
            if self.upload_bytes + length > UPLOAD_BYTES_PER_SUBMISSION {
                self.flush(context, &[])?;
            }
            let Some(size) = wgpu::BufferSize::new(length) else { return Ok(()) };
            let slice = self.belt.allocate(size, wgpu::BufferSize::MIN);
            let from = slice.buffer().clone();
            let copy = Copy {
                from,
                offset: slice.offset(),
                to: block.raw.clone(),
                to_offset: offset,
                bytes: length,
            };
            match slice.get_mapped_range_mut() {
                Ok(mut view) => view.copy_from_slice(piece),
                Err(error) => {
                    // Out of memory, most likely: the callback has the driver's words for it.
                    context.fault.check()?;
                    return Err(Error::device(format!("staging an upload failed: {error}"), "run again"));
                }
            }
            self.uploads.push(copy);
            self.upload_bytes += length;
            offset += length;
            context.tally.uploaded(length);
        }
        Ok(())
    }

    /// Submits everything recorded, and `copies` after it. `None` where there was nothing to submit.
    pub(crate) fn flush(&mut self, context: &Context, copies: &[Copy]) -> Result<Option<Ticket>> {
        self.forget_evicted(context);
        if self.pending.is_empty() && copies.is_empty() && self.uploads.is_empty() {
            context.fault.check()?;
            return Ok(None);
        }
        let launches = self.pending.iter().filter_map(Recorded::launch);
        if let Err(error) = compile(context, launches.map(|launch| (&launch.pipeline, launch.first))) {
            // Launches after it may need what it would have written.
            self.pipelines.forget_failed();
            self.images.clear(context);
            self.clear();
            return Err(error);
        }
        while let Some(oldest) = self.submissions.in_the_way() {
            let waited = oldest.wait(context)?;
            self.submissions.retire(&oldest, waited);
        }

        let _span = span("submit");
        // Staging memory of finished uploads comes back in a poll.
        fault::poll(&context.device, &context.fault, wgpu::PollType::Poll)?;

        if !self.params.is_empty() {
            context.queue.write_buffer(&self.ring, 0, &self.params);
        }
        let mut encoder =
            context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        self.belt.finish();
        for upload in self.uploads.drain(..) {
            upload.encode(&mut encoder);
        }
        // One pass for all launches between two copies, or one for each where they are timed: timestamps are those of passes.
        let timestamps = self.timestamps.as_ref();
        let together = |one: &Recorded, next: &Recorded| {
            timestamps.is_none() && one.launch().is_some() && next.launch().is_some()
        };
        for (position, run) in self.pending.chunk_by(together).enumerate() {
            if let [Recorded::Image(copy)] = run {
                let around = timestamps.map(|timestamps| timestamps.writes_around(position));
                let [before, after] = around.map_or([None, None], |around| around.map(Some));
                before.map(|writes| begin(&mut encoder, Some(writes)));
                copy.encode(&mut encoder);
                after.map(|writes| begin(&mut encoder, Some(writes)));
                continue;
            }
            let mut pass = begin(&mut encoder, timestamps.map(|timestamps| timestamps.writes(position)));
            for launch in run.iter().filter_map(Recorded::launch) {
                pass.set_pipeline(launch.pipeline.raw()?);
                pass.set_bind_group(0, &launch.buffers, &[]);
                if let Some(offset) = launch.params {
                    pass.set_bind_group(1, &self.ring_group, &[offset]);
                }
                let [x, y, z] = launch.groups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.resolve(context, &mut encoder)?;
        }
        for copy in copies {
            copy.encode(&mut encoder);
        }
        let started = Instant::now();
        let ticket = Ticket::submit(context, encoder, self.batch);
        self.belt.recall();
        let launches = self.pending.iter().filter_map(Recorded::launch).count();
        context.tally.submitted(launches as u64, (self.pending.len() - launches) as u64);

        let work = (!self.compiled).then_some(self.work);
        self.upload_bytes = 0;
        self.clear();
        // Errors of the encoder and the submission arrive on this thread before `submit` returns. What was refused is not in flight: a wait for
        // it would fail, and with it all later work of the device. Nor were its images filled.
        context.fault.check().inspect_err(|_| self.images.clear(context))?;
        self.submissions.push(ticket.clone(), started, work);
        self.batch += 1;
        Ok(Some(ticket))
    }

    /// Begins a new list of launches.
    fn clear(&mut self) {
        self.pending.clear();
        self.params.clear();
        (self.work, self.compiled) = (0, false);
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.forget();
        }
    }
}

fn begin<'a>(
    encoder: &'a mut wgpu::CommandEncoder,
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
) -> wgpu::ComputePass<'a> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes })
}

/// Waits until all of these pipelines are compiled, and has a hand in it; each comes with whether it is new.
fn compile<'a>(
    context: &Context,
    pipelines: impl DoubleEndedIterator<Item = (&'a Pipeline, bool)>,
) -> Result<()> {
    let _span = span("compile");
    // From the end, where other threads have not come yet.
    for (pipeline, new) in pipelines.rev() {
        pipeline.raw()?;
        context.tally.compiled(new);
    }
    // A lost device leaves no trace in the error scopes.
    context.fault.check()
}
