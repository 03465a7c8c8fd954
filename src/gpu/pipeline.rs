//! Compiled kernels and bind groups, made once and kept.

use std::collections::HashMap;

use super::fault::{Fault, scoped};
use super::kept::Kept;
use super::kernel::{Access, Kernel, Launch};
use super::limits::{BIND_GROUPS, STORAGE_BUFFERS};
use super::source;
use crate::profile::span;
use crate::{Error, Result};

/// A kernel with its constants, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    /// Index of its layouts; equal for kernels that use their buffers alike.
    layout: usize,
    /// Whether its text is so long that compiling it takes a large part of a second.
    pub(crate) large: bool,
}

/// Characters of a text, unrolled, from which on it is large.
const LARGE: usize = 24 << 10;

/// Where the text of a kernel lies (address and length: a constant of the program, so no text is hashed per launch), and the entry.
type Text = (usize, usize, &'static str);

/// One value of each constant, with its pipeline.
type Variant = (Box<[(&'static str, u32)]>, Pipeline);

/// All pipelines of a device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    /// Whether shaders keep every runtime check that wgpu offers.
    checked: bool,
    kept: Option<Kept>,
    params: wgpu::BindGroupLayout,
    compiled: HashMap<Text, Vec<Variant>>,
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
        Self { checked, kept, params, compiled: HashMap::new(), layouts: Vec::new() }
    }

    /// The pipeline of a kernel with these constants, compiled now if this is its first use; `true` says that it was.
    pub(crate) fn get(
        &mut self,
        device: &wgpu::Device,
        fault: &Fault,
        kernel: &'static Kernel,
        constants: &[(&'static str, u32)],
    ) -> Result<(Pipeline, bool)> {
        let text = (kernel.source.as_ptr().addr(), kernel.source.len(), kernel.entry);
        let known = self.compiled.get(&text).into_iter().flatten();
        if let Some((_, pipeline)) = known.into_iter().find(|(known, _)| **known == *constants) {
            return Ok((pipeline.clone(), false));
        }
        let _span = span("compile");
        let pipeline = self.compile(device, kernel, constants)?;
        // A lost device leaves no trace in the error scopes.
        fault.check()?;
        self.compiled.entry(text).or_default().push((constants.into(), pipeline.clone()));
        Ok((pipeline, true))
    }

    fn compile(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static Kernel,
        constants: &[(&'static str, u32)],
    ) -> Result<Pipeline> {
        let label = format!("{}::{}", kernel.op, kernel.entry);
        let text = source::assemble(kernel.source, constants).map_err(|problem| {
            Error::device(
                format!("kernel {label} cannot be assembled: {problem}"),
                "this is a defect of the program; please report it",
            )
        })?;
        let large = text.len() > LARGE;
        let layout = self.layout(device, kernel)?;
        let checks = wgpu::ShaderRuntimeChecks {
            force_loop_bounding: self.checked,
            ..wgpu::ShaderRuntimeChecks::checked()
        };
        let raw = scoped(device, &format!("kernel {label} does not compile"), || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            // SAFETY: the only check that may be off is the bound on loops, which asks that no shader loops for ever. Every shader is part
            // of this program, its loops run to a bound from its parameters, and the tests also run with the check on.
            let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&self.layouts[layout].pipeline),
                module: &module,
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Kernels write workgroup memory before they read it (see `Kernel`).
                    zero_initialize_workgroup_memory: self.checked,
                },
                cache: self.kept.as_ref().map(Kept::cache),
            })
        })?;
        if let Some(kept) = &mut self.kept {
            kept.grown = true;
        }
        Ok(Pipeline { raw, layout, large })
    }

    fn layout(&mut self, device: &wgpu::Device, kernel: &'static Kernel) -> Result<usize> {
        let with_params = !kernel.fields.is_empty();
        let alike = |layout: &Layout| layout.accesses == kernel.buffers && layout.with_params == with_params;
        if let Some(index) = self.layouts.iter().position(alike) {
            return Ok(index);
        }
        let entries: Vec<_> =
            (0u32..).zip(kernel.buffers).map(|(binding, access)| storage(binding, *access)).collect();
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

fn storage(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

/// What a bind group binds, by number: a key of `wgpu::Buffer`s would keep every buffer alive and leave the pool nothing to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    layout: usize,
    /// Block, offset and size of each binding; unused ones are `u64::MAX`.
    slots: [(u64, u64, u64); STORAGE_BUFFERS],
}

/// The bind groups of a device, by what they bind.
#[derive(Debug, Default)]
pub(crate) struct BindGroups {
    made: HashMap<Key, (wgpu::BindGroup, u64)>,
    clock: u64,
}

impl BindGroups {
    /// The bind group for `launch`; `true` says that it was made now. The number of buffers has been checked.
    pub(crate) fn get(
        &mut self,
        device: &wgpu::Device,
        pipelines: &Pipelines,
        pipeline: &Pipeline,
        launch: &Launch,
    ) -> Result<(wgpu::BindGroup, bool)> {
        let mut key = Key { layout: pipeline.layout, slots: [(u64::MAX, 0, 0); STORAGE_BUFFERS] };
        for (slot, buffer) in key.slots.iter_mut().zip(launch.buffers) {
            *slot = (buffer.memory.block().id, buffer.offset, buffer.binding_bytes());
        }
        self.clock += 1;
        if let Some((group, used)) = self.made.get_mut(&key) {
            *used = self.clock;
            return Ok((group.clone(), false));
        }

        let _span = span("bind groups");
        let entries: Vec<_> = (0u32..)
            .zip(launch.buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer.memory.block().raw,
                    offset: buffer.offset,
                    size: wgpu::BufferSize::new(buffer.binding_bytes()),
                }),
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

    /// Drops the bind groups that hold on to blocks which the pool has let go.
    pub(crate) fn forget(&mut self, blocks: &[u64]) {
        if !blocks.is_empty() {
            self.made.retain(|key, _| !key.slots.iter().any(|(id, ..)| blocks.contains(id)));
        }
    }
}
