//! Every kernel × variant without a GPU: valid WGSL for all of naga's rules, translatable to every backend's language,
//! within WebGPU's default limits, with parameters laid out as Rust lays them out.

use cs231n_gpu::gpu::limits::{PARAMS_BYTES, STORAGE_BUFFERS, WORKGROUP_BYTES, WORKGROUP_INVOCATIONS};
use cs231n_gpu::gpu::{Access, source};
use cs231n_gpu::ops::{OPS, Shader};
use naga::valid::{Capabilities, ModuleInfo, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};

/// Every shader of the table, parsed and validated.
fn each(mut with: impl FnMut(&str, &Shader, &Module, &ModuleInfo)) {
    let mut count = 0;
    let probes = ("probe", cs231n_gpu::bench::shaders as fn() -> Vec<Shader>);
    for (op, shaders) in OPS.iter().map(|op| (op.name, op.shaders)).chain([probes]) {
        for shader in shaders() {
            let name = format!("{op}::{} {:?}", shader.kernel.entry, shader.constants);
            let text = source::assemble(shader.kernel.source, &shader.constants)
                .unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&text)));
            // Portable kernels need nothing beyond the baseline, others what they say.
            let mut capabilities = Capabilities::empty();
            capabilities.set(Capabilities::SUBGROUP, shader.kernel.subgroup);
            capabilities.set(Capabilities::SHADER_INT64, shader.kernel.native);
            let mut validator = Validator::new(ValidationFlags::all(), capabilities);
            validator
                .subgroup_operations(SubgroupOperationSet::all())
                .subgroup_stages(naga::valid::ShaderStages::COMPUTE);
            let info = validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&text)));
            with(&name, &shader, &module, &info);
            count += 1;
        }
    }
    assert!(count > 30, "only {count} shaders in the table");
}

#[test]
fn all_are_valid_and_within_the_default_limits() {
    each(|name, shader, module, _| {
        let entry = module.entry_points.iter().find(|entry| entry.name == shader.kernel.entry);
        let entry = entry.unwrap_or_else(|| panic!("{name}: no such entry"));
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert!((1..=WORKGROUP_INVOCATIONS).contains(&invocations), "{name}: {invocations} invocations");
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size)
            .sum();
        assert!(shared <= WORKGROUP_BYTES, "{name}: {shared} bytes of workgroup memory");
        assert!(shader.kernel.buffers.len() <= STORAGE_BUFFERS, "{name}: too many buffers");
    });
}

#[test]
fn bindings_are_declared_as_the_host_binds_them() {
    each(|name, shader, module, info| {
        let position = module.entry_points.iter().position(|entry| entry.name == shader.kernel.entry);
        let used = info.get_entry_point(position.unwrap_or_else(|| panic!("{name}: no such entry")));
        for (handle, variable) in
            module.global_variables.iter().filter(|(handle, _)| !used[*handle].is_empty())
        {
            let Some(binding) = variable.binding else { continue };
            match variable.space {
                AddressSpace::Storage { access } => {
                    assert_eq!(binding.group, 0, "{name}: storage buffers are group 0");
                    let declared =
                        if access.contains(StorageAccess::STORE) { Access::ReadWrite } else { Access::Read };
                    let bound = shader.kernel.buffers.get(binding.binding as usize);
                    assert_eq!(bound, Some(&declared), "{name}: binding {} ({handle:?})", binding.binding);
                }
                AddressSpace::Uniform => {
                    assert_eq!((binding.group, binding.binding), (1, 0), "{name}: parameters are group 1");
                    assert_layout(name, shader, module, variable.ty);
                }
                AddressSpace::Handle => {
                    assert_eq!(binding.group, 0, "{name}: images are group 0");
                    let bound = shader.kernel.buffers.get(binding.binding as usize);
                    assert_eq!(
                        bound,
                        Some(&Access::Image),
                        "{name}: binding {} ({handle:?})",
                        binding.binding
                    );
                }
                space => panic!("{name}: a binding in {space:?}"),
            }
        }
    });
}

/// The WGSL struct has the fields, types and offsets of the Rust struct.
fn assert_layout(name: &str, shader: &Shader, module: &Module, ty: naga::Handle<naga::Type>) {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else {
        panic!("{name}: parameters are a struct")
    };
    assert!(*span as usize <= PARAMS_BYTES, "{name}: {span} bytes of parameters");
    let declared: Vec<_> = members
        .iter()
        .map(|member| {
            let ty = match module.types[member.ty].inner {
                TypeInner::Scalar(naga::Scalar::U32) => "u32",
                TypeInner::Scalar(naga::Scalar::I32) => "i32",
                TypeInner::Scalar(naga::Scalar::F32) => "f32",
                ref other => panic!("{name}: a parameter of type {other:?}"),
            };
            (member.name.clone().unwrap_or_default(), ty, member.offset)
        })
        .collect();
    let host: Vec<_> =
        shader.kernel.fields.iter().map(|field| (field.name.to_owned(), field.ty, field.offset)).collect();
    assert_eq!(declared, host, "{name}: parameters");
}

#[test]
fn all_translate_to_spir_v() {
    each(|name, shader, module, info| {
        let options = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
        let pipeline = naga::back::spv::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: shader.kernel.entry.to_owned(),
        };
        let words = naga::back::spv::write_vec(module, info, &options, Some(&pipeline));
        assert!(words.is_ok_and(|words| words.len() > 5), "{name}");
    });
}

#[test]
fn all_translate_to_msl() {
    each(|name, _, module, info| {
        let options = naga::back::msl::Options {
            lang_version: (2, 4),
            fake_missing_bindings: true,
            ..Default::default()
        };
        let text = naga::back::msl::write_string(module, info, &options, &Default::default());
        assert!(
            text.as_ref().is_ok_and(|(text, _)| text.contains("kernel void")),
            "{name}: {:?}",
            text.err()
        );
    });
}

#[test]
fn all_translate_to_hlsl() {
    each(|name, _, module, info| {
        let options = naga::back::hlsl::Options {
            shader_model: naga::back::hlsl::ShaderModel::V6_4,
            fake_missing_bindings: true,
            ..Default::default()
        };
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        let mut text = String::new();
        let written = naga::back::hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
        assert!(written.is_ok() && text.contains("numthreads"), "{name}: {:?}", written.err());
    });
}
