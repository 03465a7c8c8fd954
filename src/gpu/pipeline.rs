//! Compiled kernels and bind groups, made once and kept.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};

use super::fault::scoped;
use super::images::{self, Views};
use super::kept::Kept;
use super::kernel::{Access, Kernel, Launch};
use super::limits::{BIND_GROUPS, STORAGE_BUFFERS};
use super::source;
use crate::profile::span;
use crate::{Error, Result};

/// A kernel with its constants, compiled or soon so.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    making: Arc<Making>,
    /// Index of its layouts; equal for kernels that use their buffers alike.
    layout: usize,
}

impl Pipeline {
    /// What was compiled; compiles it here where nobody has begun to, waits where somebody has.
    pub(crate) fn raw(&self) -> Result<&wgpu::ComputePipeline> {
        let made = self.making.made.get_or_init(|| self.making.make());
        made.as_ref().map_err(|error| Error::device(error.to_string(), error.hint().unwrap_or_default()))
    }
}

/// What a pipeline is made of, for whichever thread gets to it first.
#[derive(Debug)]
struct Making {
    device: wgpu::Device,
    kernel: &'static Kernel,
    constants: Constants,
    layout: wgpu::PipelineLayout,
    cache: Option<wgpu::PipelineCache>,
    checked: bool,
    made: OnceLock<Result<wgpu::ComputePipeline>>,
}

/// Values of a kernel's constants.
type Constants = Box<[(&'static str, u32)]>;

impl Making {
    fn make(&self) -> Result<wgpu::ComputePipeline> {
        let Self { device, kernel, checked, .. } = self;
        let label = format!("{}::{}", kernel.op, kernel.entry);
        let text = source::assemble(kernel.source, &self.constants).map_err(|problem| {
            Error::device(
                format!("kernel {label} cannot be assembled: {problem}"),
                "this is a defect of the program; please report it",
            )
        })?;
        let checks = wgpu::ShaderRuntimeChecks {
            force_loop_bounding: *checked,
            ..wgpu::ShaderRuntimeChecks::checked()
        };
        scoped(device, &format!("kernel {label} does not compile"), || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            // SAFETY: the only check that may be off is the bound on loops, which asks that no shader loops for ever. Every shader is part
            // of this program, its loops run to a bound from its parameters, and the tests also run with the check on.
            let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&self.layout),
                module: &module,
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Kernels write workgroup memory before they read it (see `Kernel`).
                    zero_initialize_workgroup_memory: *checked,
                },
                cache: self.cache.as_ref(),
            })
        })
    }
}

/// Where the text of a kernel lies (address and length: a constant of the program, so no text is hashed per launch), and the entry.
type Text = (usize, usize, &'static str);

/// All pipelines of a device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    /// The first to be dropped: its threads end while others still hold the device, and what they compiled is kept.
    ahead: Ahead,
    /// Whether shaders keep every runtime check that wgpu offers.
    checked: bool,
    kept: Option<Kept>,
    params: wgpu::BindGroupLayout,
    known: HashMap<Text, Vec<Pipeline>>,
    layouts: Vec<Layout>,
}

/// The layouts of all kernels that use their buffers alike.
#[derive(Debug)]
struct Layout {
    accesses: &'static [Access],
    with_params: bool,
    buffers: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

impl Pipelines {
    /// `params` is the layout of the one uniform binding that all kernels with parameters share; `kept` has what earlier runs compiled.
    pub(crate) fn new(params: wgpu::BindGroupLayout, checked: bool, kept: Option<Kept>) -> Self {
        Self { ahead: Ahead::default(), checked, kept, params, known: HashMap::new(), layouts: Vec::new() }
    }

    /// The pipeline of a kernel with these constants; at its first use, which `true` says this is, another thread begins to compile it.
    pub(crate) fn get(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static Kernel,
        constants: &[(&'static str, u32)],
    ) -> Result<(Pipeline, bool)> {
        let text = (kernel.source.as_ptr().addr(), kernel.source.len(), kernel.entry);
        let mut known = self.known.get(&text).into_iter().flatten();
        if let Some(pipeline) = known.find(|known| *known.making.constants == *constants) {
            return Ok((pipeline.clone(), false));
        }
        let layout = self.layout(device, kernel)?;
        if let Some(kept) = &mut self.kept {
            kept.grown = true;
        }
        let making = Arc::new(Making {
            device: device.clone(),
            kernel,
            constants: constants.into(),
            layout: self.layouts[layout].pipeline.clone(),
            cache: self.kept.as_ref().map(|kept| kept.cache().clone()),
            checked: self.checked,
            made: OnceLock::new(),
        });
        self.ahead.compile(Arc::clone(&making));
        let pipeline = Pipeline { making, layout };
        self.known.entry(text).or_default().push(pipeline.clone());
        Ok((pipeline, true))
    }

    /// Forgets the pipelines that did not compile: whoever launches them again gets the error again.
    pub(crate) fn forget_failed(&mut self) {
        let failed = |pipeline: &Pipeline| pipeline.making.made.get().is_some_and(Result::is_err);
        self.known.values_mut().for_each(|known| known.retain(|pipeline| !failed(pipeline)));
    }

    fn layout(&mut self, device: &wgpu::Device, kernel: &'static Kernel) -> Result<usize> {
        let with_params = !kernel.fields.is_empty();
        let alike = |layout: &Layout| layout.accesses == kernel.buffers && layout.with_params == with_params;
        if let Some(index) = self.layouts.iter().position(alike) {
            return Ok(index);
        }
        let entries: Vec<_> =
            (0u32..).zip(kernel.buffers).map(|(binding, access)| entry(binding, *access)).collect();
        let what = format!("the layout of kernel {}::{}", kernel.op, kernel.entry);
        let (buffers, pipeline) = scoped(device, &what, || {
            let buffers = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
            let groups = [Some(&buffers), with_params.then_some(&self.params)];
            let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &groups[..1 + usize::from(with_params)],
                immediate_size: 0,
            });
            (buffers, pipeline)
        })?;
        self.layouts.push(Layout { accesses: kernel.buffers, with_params, buffers, pipeline });
        Ok(self.layouts.len() - 1)
    }
}

/// Threads that compile what has been recorded. Whoever launches it compiles what none of them has begun, so nothing depends on them.
///
/// They have handles of the device and are in its driver: none may outlive this.
#[derive(Debug, Default)]
struct Ahead {
    waiting: Arc<Mutex<VecDeque<Arc<Making>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Ahead {
    /// Compiles this after what waits already, on a thread for each other core.
    fn compile(&mut self, making: Arc<Making>) {
        lock(&self.waiting).push_back(making);
        let most = available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1);
        // What seems finished may yet be letting go of the device.
        self.threads.extract_if(.., |thread| thread.is_finished()).for_each(end);
        if self.threads.len() < most {
            let waiting = Arc::clone(&self.waiting);
            let work = move || {
                // The lock is free again before the body begins.
                while let Some(making) = { lock(&waiting).pop_front() } {
                    let _ = making.made.get_or_init(|| making.make());
                }
            };
            // Without a thread, the launch compiles it.
            self.threads.extend(Builder::new().name("kernels".into()).spawn(work));
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        lock(&self.waiting).clear();
        self.threads.drain(..).for_each(end);
    }
}

fn lock(waiting: &Mutex<VecDeque<Arc<Making>>>) -> MutexGuard<'_, VecDeque<Arc<Making>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(thread: JoinHandle<()>) {
    // If it panicked, whoever launches the kernel compiles it again.
    let _ = thread.join();
}

fn entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    let ty = match access {
        Access::Read | Access::ReadWrite => wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        Access::Image => wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::ReadOnly,
            format: images::FORMAT,
            view_dimension: wgpu::TextureViewDimension::D2,
        },
    };
    wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None }
}

/// What a bind group binds, by number: a key of `wgpu::Buffer`s would keep every buffer alive and leave the pool nothing to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    layout: usize,
    /// Block, offset and size of each binding, of an image its id alone; unused ones are `u64::MAX`.
    slots: [(u64, u64, u64); STORAGE_BUFFERS],
}

/// The bind groups of a device, by what they bind.
#[derive(Debug, Default)]
pub(crate) struct BindGroups {
    made: HashMap<Key, (wgpu::BindGroup, u64)>,
    clock: u64,
}

impl BindGroups {
    /// The bind group for `launch`, with `images` in the place of some buffers; `true` says that it was made now. The number of buffers has
    /// been checked.
    pub(crate) fn get(
        &mut self,
        device: &wgpu::Device,
        pipelines: &Pipelines,
        pipeline: &Pipeline,
        launch: &Launch,
        images: &Views,
    ) -> Result<(wgpu::BindGroup, bool)> {
        let mut key = Key { layout: pipeline.layout, slots: [(u64::MAX, 0, 0); STORAGE_BUFFERS] };
        for ((slot, buffer), image) in key.slots.iter_mut().zip(launch.buffers).zip(images) {
            *slot = match image {
                Some(view) => (view.id, 0, 0),
                None => (buffer.memory.block().id, buffer.offset, buffer.binding_bytes()),
            };
        }
        self.clock += 1;
        if let Some((group, used)) = self.made.get_mut(&key) {
            *used = self.clock;
            return Ok((group.clone(), false));
        }

        let _span = span("bind groups");
        let entries: Vec<_> = (0u32..)
            .zip(launch.buffers.iter().zip(images))
            .map(|(binding, (buffer, image))| {
                let resource = match image {
                    Some(view) => wgpu::BindingResource::TextureView(&view.raw),
                    None => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &buffer.memory.block().raw,
                        offset: buffer.offset,
                        size: wgpu::BufferSize::new(buffer.binding_bytes()),
                    }),
                };
                wgpu::BindGroupEntry { binding, resource }
            })
            .collect();
        let what = format!("binding the buffers of kernel {}::{}", launch.kernel.op, launch.kernel.entry);
        let group = scoped(device, &what, || {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipelines.layouts[pipeline.layout].buffers,
                entries: &entries,
            })
        })?;
        if self.made.len() >= BIND_GROUPS {
            self.trim();
        }
        self.made.insert(key, (group.clone(), self.clock));
        Ok((group, true))
    }

    /// Drops the half that was used longest ago.
    fn trim(&mut self) {
        let mut uses: Vec<u64> = self.made.values().map(|(_, used)| *used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.made.retain(|_, (_, used)| *used >= median);
    }

    /// Drops the bind groups that hold on to blocks which the pool has let go, or to images that were dropped.
    pub(crate) fn forget(&mut self, blocks: &[u64]) {
        if !blocks.is_empty() {
            self.made.retain(|key, _| !key.slots.iter().any(|(id, ..)| blocks.contains(id)));
        }
    }
}
