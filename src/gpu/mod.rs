//! The GPU runtime: buffers and kernels on one wgpu device. It knows no tensor and no operation.
//!
//! The calls look immediate, but [`Gpu::record`] only appends to a list. The list becomes one submission when a value is read, when it is
//! long, or when its estimated work passes the time budget. Memory comes from a pool, and pipelines and bind groups are cached, so the
//! second step of a loop allocates and builds nothing.
//!
//! ```no_run
//! use cs231n_gpu::gpu::{Access, Choice, Gpu, Kernel, Launch, Options};
//!
//! static DOUBLE: Kernel = Kernel {
//!     op: "double",
//!     source: "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
//!         @compute @workgroup_size(64) fn double(@builtin(global_invocation_id) id: vec3<u32>) {
//!             if id.x < arrayLength(&x) { x[id.x] *= 2.0; }
//!         }",
//!     entry: "double",
//!     buffers: &[Access::ReadWrite],
//!     fields: &[],
//!     subgroup: false,
//!     native: false,
//! };
//!
//! let gpu = Gpu::open(&Choice::Any, &Options::default())?;
//! let x = gpu.upload(bytemuck::cast_slice(&[1.0f32, 2.0]))?;
//! gpu.record(&Launch { kernel: &DOUBLE, constants: &[], buffers: &[&x], params: &[], groups: [1, 1, 1], work: 2 })?;
//! assert_eq!(gpu.read(&x, 0..8)?, bytemuck::cast_slice::<f32, u8>(&[2.0, 4.0]));
//! # Ok::<(), cs231n_gpu::Error>(())
//! ```

mod adapter;
mod budget;
pub mod chosen;
mod context;
mod counters;
mod fault;
mod images;
mod kept;
mod kernel;
pub mod limits;
mod open;
mod pipeline;
mod pool;
mod queue;
mod read;
pub mod source;
mod submissions;
mod timestamps;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use adapter::{Choice, Features, Found, Info, Kind, adapters, choose};
pub use counters::Counters;
pub use kernel::{Access, Field, Kernel, Launch, Params, Scalar};
pub use limits::{Limits, LimitsMode};
pub use open::Options;
pub use pool::Buffer;
pub use timestamps::{DeviceTime, KernelTime};

use crate::profile::span;
use crate::{Error, Result};
use context::Context;
use pool::Memory;
use queue::Recorder;

const DEFECT: &str = "this is a defect of the program; please report it";

/// An opened device. Clones share it; any thread may use it.
#[derive(Clone, Debug)]
pub struct Gpu {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: Context,
    adapter: wgpu::Adapter,
    info: Info,
    why: String,
    options: Options,
    chosen: chosen::Families,
    staging: read::Staging,
    recorder: Mutex<Recorder>,
}

impl Gpu {
    /// The adapter, with the limits and features the device was opened with.
    pub fn info(&self) -> &Info {
        &self.inner.info
    }

    /// Whether both are handles of one opened device, which can share buffers.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Why this adapter was taken, in one line.
    pub fn why(&self) -> &str {
        &self.inner.why
    }

    /// The family of kernels that `tune` chose here for an operation's shapes of a class.
    pub(crate) fn chosen(&self, op: &str, class: &str) -> Option<&str> {
        self.inner.chosen.get(op)?.get(class).map(String::as_str)
    }

    /// What the device allows.
    pub fn limits(&self) -> &Limits {
        &self.inner.info.limits
    }

    /// Whether the device has what `kernel` needs beyond the portable baseline.
    pub fn supports(&self, kernel: &Kernel) -> bool {
        kernel.runs_on(self.inner.info.features)
    }

    /// Work (floating-point operations or bytes) that one launch should hold at most, learned from the submissions so far: about 50 ms of
    /// this device. Larger launches run, but risk a watchdog's reset on slow adapters, so callers cut their work by it.
    pub fn work_budget(&self) -> u64 {
        self.recorder().submissions().budget()
    }

    /// Totals since the device was opened.
    pub fn counters(&self) -> Counters {
        self.inner.context.tally.counters(self.inner.context.pool.usage())
    }

    /// A buffer of `bytes`, with undefined contents.
    ///
    /// # Errors
    /// [`Error::Device`] beyond the device's largest buffer, or when it has no memory left after all idle buffers were dropped.
    pub fn alloc(&self, bytes: u64) -> Result<Buffer> {
        let buffer = self.take(bytes)?;
        if self.inner.options.poison {
            let block = buffer.memory.block();
            let nan = vec![0xff; block.size.min(limits::STAGING_BYTES) as usize];
            let mut recorder = self.recorder();
            for offset in (0..block.size).step_by(nan.len()) {
                let piece = nan.len().min((block.size - offset) as usize);
                recorder.write(&self.inner.context, block, offset, &nan[..piece])?;
            }
        }
        Ok(buffer)
    }

    /// A new buffer that holds `bytes`, followed by zeros up to a whole vector of 16 bytes.
    ///
    /// # Errors
    /// As [`Self::alloc`].
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.take(bytes.len() as u64)?;
        self.write(&buffer, bytes)?;
        Ok(buffer)
    }

    /// Overwrites `buffer` from its start with `bytes` and zeros up to a whole vector of 16 bytes, which it must hold. Submits the recorded
    /// work first where that uses its memory.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub(crate) fn write(&self, buffer: &Buffer, bytes: &[u8]) -> Result<()> {
        let block = buffer.memory.block();
        let (vectors, rest) =
            bytes.split_at(bytes.len() / limits::BUFFER_UNIT as usize * limits::BUFFER_UNIT as usize);
        let mut recorder = self.recorder();
        recorder.write(&self.inner.context, block, buffer.offset, vectors)?;
        if !rest.is_empty() || vectors.is_empty() {
            let mut last = [0; limits::BUFFER_UNIT as usize];
            last[..rest.len()].copy_from_slice(rest);
            recorder.write(&self.inner.context, block, buffer.offset + vectors.len() as u64, &last)?;
        }
        Ok(())
    }

    /// A new buffer with the contents of `buffer`. Submits the recorded work, which may write them.
    ///
    /// # Errors
    /// As [`Self::alloc`] and [`Self::flush`].
    pub fn duplicate(&self, buffer: &Buffer) -> Result<Buffer> {
        let copy = self.take(buffer.len())?;
        self.copy(buffer, &copy)?;
        Ok(copy)
    }

    /// Copies the contents of `from` over those of `to`, which is as long and in other memory. Submits the recorded work, which may use both.
    ///
    /// # Errors
    /// As [`Self::flush`]; [`Error::Device`] also when the buffers do not fit.
    pub fn copy(&self, from: &Buffer, to: &Buffer) -> Result<()> {
        self.check_owner("copying a buffer", from)?;
        self.check_owner("copying into a buffer", to)?;
        if from.len() != to.len() || from.shares_memory_with(to) {
            let text = format!(
                "a copy of {} bytes into {}: they must be as many, in other memory",
                from.len(),
                to.len()
            );
            return Err(Error::device(text, DEFECT));
        }
        let between = queue::Copy {
            from: from.memory.block().raw.clone(),
            offset: from.offset,
            to: to.memory.block().raw.clone(),
            to_offset: to.offset,
            bytes: from.binding_bytes().min(to.binding_bytes()),
        };
        let mut recorder = self.recorder();
        recorder.flush(&self.inner.context, &[])?;
        to.memory.block().use_in(recorder.batch());
        to.memory.block().write();
        recorder.flush(&self.inner.context, &[between])?;
        Ok(())
    }

    /// The part of `buffer` from byte `start` with `bytes`, sharing its memory.
    ///
    /// # Errors
    /// [`Error::Device`] when it exceeds the buffer or starts off the device's [`Limits::storage_alignment`];
    /// [`Limits::rows_per_chunk`] gives chunks that do not.
    pub fn slice(&self, buffer: &Buffer, start: u64, bytes: u64) -> Result<Buffer> {
        let alignment = u64::from(self.limits().storage_alignment);
        if !start.is_multiple_of(alignment) || start.checked_add(bytes).is_none_or(|end| end > buffer.len()) {
            let text = format!(
                "a slice of {bytes} bytes at {start} in a buffer of {}: it must lie inside and start at a multiple of {alignment}",
                buffer.len()
            );
            return Err(Error::device(text, DEFECT));
        }
        Ok(buffer.part(start, bytes))
    }

    /// Appends a launch to the recorded work. Without any workgroup there is nothing to do.
    ///
    /// # Errors
    /// [`Error::Device`] for a launch that does not fit its kernel or the device (each naming the kernel), or when work recorded earlier has
    /// failed.
    pub fn record(&self, launch: &Launch) -> Result<()> {
        launch.check(&self.inner.info, &self.inner.context.pool)?;
        if launch.groups.contains(&0) {
            return Ok(());
        }
        self.recorder().record(&self.inner.context, launch)
    }

    /// Compiles a kernel with its constants while the host has other work; the launch that follows finds it made.
    ///
    /// # Errors
    /// [`Error::Device`] when it does not compile.
    pub(crate) fn prepare(&self, kernel: &'static Kernel, constants: &[(&'static str, u32)]) -> Result<()> {
        self.recorder().prepare(&self.inner.context, kernel, constants)
    }

    /// Submits the recorded work without waiting for it.
    ///
    /// # Errors
    /// [`Error::Device`] for a kernel that the driver rejects (naming it, with the driver's text; the work recorded with it is dropped), when
    /// the device refused the work, or is lost.
    pub fn flush(&self) -> Result<()> {
        self.recorder().flush(&self.inner.context, &[])?;
        Ok(())
    }

    /// Submits the recorded work and waits until the device is idle: what a time measurement ends with.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn wait(&self) -> Result<()> {
        let newest = {
            let mut recorder = self.recorder();
            recorder.flush(&self.inner.context, &[])?;
            recorder.submissions().newest()
        };
        if let Some(ticket) = newest {
            let waited = ticket.wait(&self.inner.context)?;
            self.recorder().submissions().retire(&ticket, waited);
        }
        self.inner.context.fault.check()
    }

    /// What the launches since the last call took on the device, after waiting for them all; `None` where the device was not opened with
    /// [`Options::profile`] or has no timestamps.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn take_timestamps(&self) -> Result<Option<DeviceTime>> {
        self.wait()?;
        let mut recorder = self.recorder();
        recorder.timestamps().map(|timestamps| timestamps.take(&self.inner.context)).transpose()
    }

    /// Drops all idle buffers and images, and keeps at most `bytes` of them from now on.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn trim(&self, bytes: u64) -> Result<()> {
        self.inner.context.pool.set_cap(bytes);
        self.inner.context.pool.shrink(0);
        self.recorder().all_images().clear(&self.inner.context);
        self.wait()
    }

    /// Has the [images](Access::Image) of all buffers copied anew before they are next loaded, as if every buffer had been written: for
    /// measurements that call an operation on the same operands again and again.
    pub fn expire_images(&self) {
        self.recorder().all_images().expire();
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.inner.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for `bytes` from the pool or the device.
    fn take(&self, bytes: u64) -> Result<Buffer> {
        let limits = self.limits();
        if bytes > limits.buffer_bytes {
            return Err(Error::device(
                format!("a buffer of {bytes} bytes, but this device allows at most {}", limits.buffer_bytes),
                "work on fewer rows at a time, or use --device cpu",
            ));
        }
        let context = &self.inner.context;
        let class = pool::class(bytes, limits.buffer_bytes);
        if let Some(memory) = context.pool.take(class) {
            return Ok(Buffer::new(memory, bytes));
        }
        let memory = match self.allocate(class) {
            Ok(memory) => memory,
            // Idle buffers of other sizes may hold what is missing.
            Err(_) => {
                context.pool.shrink(0);
                self.wait()?;
                self.allocate(class)?
            }
        };
        Ok(Buffer::new(memory, bytes))
    }

    fn allocate(&self, bytes: u64) -> Result<Memory> {
        let _span = span("allocate");
        let context = &self.inner.context;
        let raw = fault::scoped(&context.device, &format!("a buffer of {bytes} bytes"), || {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        context.fault.check()?;
        context.tally.made_buffer();
        Ok(context.pool.adopt(raw))
    }

    fn check_owner(&self, what: &str, buffer: &Buffer) -> Result<()> {
        if buffer.memory.belongs_to(&self.inner.context.pool) {
            return Ok(());
        }
        Err(Error::device(format!("{what}: the buffer belongs to another device"), DEFECT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILL: Kernel = Kernel {
        op: "test",
        source: "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
            @compute @workgroup_size(1) fn fill() { x[0] = 7; }",
        entry: "fill",
        buffers: &[Access::ReadWrite],
        fields: &[],
        subgroup: false,
        native: false,
    };

    fn open() -> Option<Gpu> {
        let mode = std::env::var("CS231N_GPU").unwrap_or_default();
        match Gpu::open(&Choice::Any, &Options { poison: false, ..Options::default() }) {
            Ok(gpu) if mode != "off" => Some(gpu),
            Err(error) if mode == "require" => panic!("CS231N_GPU=require, but {error}"),
            _ => {
                eprintln!("skipped: no adapter, or CS231N_GPU=off");
                None
            }
        }
    }

    fn fill(gpu: &Gpu, buffer: &Buffer) -> Result<()> {
        gpu.record(&Launch {
            kernel: &FILL,
            constants: &[],
            buffers: &[buffer],
            params: &[],
            groups: [1; 3],
            work: 1,
        })
    }

    #[test]
    fn evicted_memory_returns_to_the_driver() {
        let Some(gpu) = open() else { return };
        // `None` where the backend keeps no books.
        let held = || gpu.inner.context.device.generate_allocator_report().map(|r| r.total_allocated_bytes);
        for _ in 0..3 {
            let buffer = gpu.alloc(50 << 20).expect("alloc");
            fill(&gpu, &buffer).expect("record");
            assert_eq!(gpu.read(&buffer, 0..4).expect("read"), [7, 0, 0, 0]);
            assert!(held().is_none_or(|bytes| bytes > 50 << 20));
            drop(buffer);
            gpu.trim(0).expect("trim");
            // The cached bind group would hold the buffer, had it not been dropped with it.
            assert!(held().is_none_or(|bytes| bytes < 10 << 20), "{:?} bytes", held());
        }
    }

    #[test]
    fn a_lost_device_is_an_error_everywhere_and_hangs_nowhere() {
        let Some(gpu) = open() else { return };
        let buffer = gpu.upload(&[1; 64]).expect("upload");
        gpu.inner.context.device.destroy();
        for _ in 0..2 {
            let errors = [
                gpu.read(&buffer, 0..64).map(drop),
                gpu.upload(&[2; 64]).and_then(|_| gpu.flush()),
                gpu.wait(),
                gpu.alloc(1 << 20).map(drop),
                fill(&gpu, &buffer),
            ];
            for (i, error) in errors.into_iter().enumerate() {
                let error = error.expect_err("the device is gone").to_string();
                assert!(error.starts_with("the device is lost"), "call {i}: {error}");
            }
        }
    }
}
