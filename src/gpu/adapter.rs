//! Which adapters this machine has, and which one a run takes.

use serde::{Deserialize, Serialize};

use super::Options;
use super::images;
use super::limits::{Limits, LimitsMode};
use crate::{Error, Result};

/// Names of software rasterisers, for drivers that do not say so in their device type.
const SOFTWARE: [&str; 4] = ["llvmpipe", "lavapipe", "swiftshader", "microsoft basic render"];

/// What does the work behind an adapter, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU passed to a virtual machine.
    Virtual,
    /// Not stated by the driver.
    Other,
    /// A rasteriser on the processor; slower than this crate's own CPU path.
    Software,
}

/// The optional features that kernels or reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Subgroup operations.
    pub subgroup: bool,
    /// 64-bit integers, for the native-only kernels.
    pub int64: bool,
    /// 16-bit floats.
    pub f16: bool,
    /// Timestamps on the device.
    pub timestamps: bool,
    /// Buffers bound as [images](super::Access::Image).
    pub images: bool,
}

impl From<wgpu::Features> for Features {
    fn from(features: wgpu::Features) -> Self {
        Self {
            subgroup: features.contains(wgpu::Features::SUBGROUP),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            // No feature, but a property of a format: see `enumerate`.
            images: false,
        }
    }
}

/// One adapter as `devices` shows it and as kernels are chosen by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Position in the ranking, 0 is the best: what `gpu:N` names.
    pub index: usize,
    /// The driver's name for the device.
    pub name: String,
    /// What does the work.
    pub kind: Kind,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The driver.
    pub driver: String,
    /// The driver's version, in its own words.
    pub driver_info: String,
    /// PCI vendor.
    pub vendor: u32,
    /// PCI device.
    pub device: u32,
    /// Smallest subgroup.
    pub subgroup_min: u32,
    /// Largest subgroup.
    pub subgroup_max: u32,
    /// What the adapter offers in an [`Info`] of [`adapters`]; what the device was opened with in [`Gpu::info`](super::Gpu::info).
    pub limits: Limits,
    /// Likewise.
    pub features: Features,
}

impl Info {
    /// Whether this is a rasteriser on the processor.
    pub fn software(&self) -> bool {
        self.kind == Kind::Software
    }

    /// Whether kernels for this adapter load buffers as [images](super::Access::Image): software is quicker with them.
    pub fn loads_images(&self) -> bool {
        self.software() && self.features.images
    }

    /// The subgroup size, where the driver has only one: kernels that shuffle across a subgroup are written for that number.
    pub fn subgroup_size(&self) -> Option<u32> {
        (self.features.subgroup && self.subgroup_min == self.subgroup_max).then_some(self.subgroup_min)
    }

    fn new(info: wgpu::AdapterInfo, limits: &wgpu::Limits, features: wgpu::Features) -> Self {
        let name = info.name.to_lowercase();
        let kind = match info.device_type {
            _ if SOFTWARE.iter().any(|software| name.contains(software)) => Kind::Software,
            wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
            wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
            wgpu::DeviceType::VirtualGpu => Kind::Virtual,
            wgpu::DeviceType::Other => Kind::Other,
            wgpu::DeviceType::Cpu => Kind::Software,
        };
        Self {
            index: 0,
            name: info.name,
            kind,
            backend: info.backend.to_str(),
            driver: info.driver,
            driver_info: info.driver_info,
            vendor: info.vendor,
            device: info.device,
            subgroup_min: info.subgroup_min_size,
            subgroup_max: info.subgroup_max_size,
            limits: Limits::from(limits),
            features: features.into(),
        }
    }

    /// Kind first; then the backend whose drivers compile our kernels best (DX12 may fall back to a slow compiler).
    fn rank(&self) -> (Kind, usize) {
        (self.kind, ["metal", "vulkan", "dx12"].iter().position(|name| *name == self.backend).unwrap_or(3))
    }
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Discrete => "discrete",
            Kind::Integrated => "integrated",
            Kind::Virtual => "virtual",
            Kind::Other => "unknown kind",
            Kind::Software => "software",
        };
        write!(f, "{} ({kind}, {}", self.name, self.backend)?;
        for part in [&self.driver, &self.driver_info] {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        f.write_str(")")
    }
}

/// Which adapter a run asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The best hardware GPU; a software adapter is refused, since the CPU path is faster.
    #[default]
    Auto,
    /// The best adapter of any kind.
    Any,
    /// The adapter at this position of the ranking.
    Index(usize),
    /// The best adapter whose name contains this text, in any case.
    Name(String),
}

/// All usable adapters, best first. Honours `WGPU_BACKEND`.
pub fn adapters() -> Vec<Info> {
    enumerate().into_iter().map(|(info, _)| info).collect()
}

/// What this build can speak to on this system, narrowed by `WGPU_BACKEND`.
fn backends() -> wgpu::Backends {
    wgpu::Backends::from_env().unwrap_or(wgpu::Backends::PRIMARY) & wgpu::Instance::enabled_backend_features()
}

/// The names of [`backends`], and of the variable where it is set.
fn tried() -> Vec<String> {
    let named = [wgpu::Backend::Vulkan, wgpu::Backend::Metal, wgpu::Backend::Dx12].into_iter();
    let named =
        named.filter(|backend| backends().contains((*backend).into())).map(|backend| backend.to_str().into());
    let narrowed = std::env::var("WGPU_BACKEND").ok().map(|value| format!("WGPU_BACKEND={value}"));
    named.chain(narrowed).collect()
}

/// The adapters with their handles, ranked.
fn enumerate() -> Vec<(Info, wgpu::Adapter)> {
    let backends = backends();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut found: Vec<_> = pollster::block_on(instance.enumerate_adapters(backends))
        .into_iter()
        .filter(|adapter| {
            adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
        })
        .map(|adapter| (Info::new(adapter.get_info(), &adapter.limits(), adapter.features()), adapter))
        .collect();
    found.sort_by_key(|(info, _)| info.rank());
    for (index, (info, adapter)) in found.iter_mut().enumerate() {
        info.index = index;
        let format = adapter.get_texture_format_features(images::FORMAT);
        info.features.images = format.flags.contains(wgpu::TextureFormatFeatureFlags::STORAGE_READ_ONLY);
    }
    found
}

/// Picks from the ranked `adapters`: the position and, in one line, why. `pinned` is the value of `WGPU_ADAPTER_NAME`, which narrows
/// [`Choice::Auto`] and [`Choice::Any`]; an index or a name on the command line says more than the environment and wins.
///
/// # Errors
/// [`Error::Device`] that lists what there is.
pub fn choose(adapters: &[Info], choice: &Choice, pinned: Option<&str>) -> Result<(usize, String)> {
    let listed = || {
        if adapters.is_empty() {
            return format!("no adapter was found (tried {})", tried().join(", "));
        }
        let names: Vec<_> = adapters.iter().map(|info| format!("{}: {info}", info.index)).collect();
        format!("found {}", names.join("; "))
    };
    let fail = |problem: String, hint: &str| Err(Error::device(format!("{problem}: {}", listed()), hint));
    let named = |info: &Info, text: &str| info.name.to_lowercase().contains(&text.to_lowercase());
    let pin = pinned.filter(|text| !text.is_empty() && matches!(choice, Choice::Auto | Choice::Any));
    let matching: Vec<&Info> =
        adapters.iter().filter(|info| pin.is_none_or(|text| named(info, text))).collect();
    let pinned_by = pin.map(|text| format!(", WGPU_ADAPTER_NAME={text}")).unwrap_or_default();
    let of =
        |n: usize| if n == 1 { "the only adapter".to_owned() } else { format!("the best of {n} adapters") };

    match choice {
        Choice::Auto => match matching.iter().find(|info| !info.software()) {
            Some(info) => Ok((info.index, format!("{}{pinned_by}", of(matching.len())))),
            None => fail(
                format!("no hardware GPU{pinned_by}"),
                "install your GPU's Vulkan driver, or name the software adapter with --device gpu",
            ),
        },
        Choice::Any => match matching.first() {
            Some(info) if info.software() => {
                Ok((info.index, format!("no hardware GPU: a software adapter{pinned_by}")))
            }
            Some(info) => Ok((info.index, format!("{}{pinned_by}", of(matching.len())))),
            None => fail(
                format!("no GPU adapter{pinned_by}"),
                "install a Vulkan driver (Debian and Ubuntu: mesa-vulkan-drivers), or use --device cpu",
            ),
        },
        Choice::Index(index) => match adapters.get(*index) {
            Some(info) => Ok((info.index, format!("asked for as adapter {index}"))),
            None => fail(format!("no GPU adapter {index}"), "cs231n-gpu devices lists the adapters"),
        },
        Choice::Name(text) => match adapters.iter().find(|info| named(info, text)) {
            Some(info) => Ok((info.index, format!("asked for as \"{text}\""))),
            None => fail(format!("no GPU adapter named \"{text}\""), "cs231n-gpu devices lists the adapters"),
        },
    }
}

/// The limits that kernels and buffers profit from as `offered`, the others at their defaults: a limit that nothing uses must not be
/// what a driver refuses the device for.
fn raised(offered: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_buffer_size: offered.max_buffer_size,
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_storage_buffers_per_shader_stage: offered.max_storage_buffers_per_shader_stage,
        max_compute_workgroup_storage_size: offered.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: offered.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: offered.max_compute_workgroup_size_x,
        max_compute_workgroup_size_y: offered.max_compute_workgroup_size_y,
        max_compute_workgroup_size_z: offered.max_compute_workgroup_size_z,
        max_compute_workgroups_per_dimension: offered.max_compute_workgroups_per_dimension,
        min_storage_buffer_offset_alignment: offered.min_storage_buffer_offset_alignment,
        min_uniform_buffer_offset_alignment: offered.min_uniform_buffer_offset_alignment,
        ..wgpu::Limits::default().or_worse_values_from(offered)
    }
}

/// An adapter that was chosen and is not open yet.
#[derive(Debug)]
pub struct Found {
    /// The adapter, with what it offers.
    pub info: Info,
    /// Why it was taken, in one line.
    pub why: String,
    pub(super) adapter: wgpu::Adapter,
}

/// Looks for the adapter that `choice` names.
///
/// # Errors
/// As [`choose`].
pub(crate) fn find(choice: &Choice) -> Result<Found> {
    let found = enumerate();
    let infos: Vec<Info> = found.iter().map(|(info, _)| info.clone()).collect();
    let pinned = std::env::var("WGPU_ADAPTER_NAME").ok();
    let (index, why) = choose(&infos, choice, pinned.as_deref())?;
    match found.into_iter().nth(index) {
        Some((info, adapter)) => Ok(Found { info, why, adapter }),
        None => Err(Error::device("the chosen adapter vanished", "run again")),
    }
}

/// Opens an adapter, with the features that the options want and that are there; returns it with what it was opened with.
pub(crate) fn open(found: &Found, options: &Options) -> Result<(wgpu::Device, wgpu::Queue, Info)> {
    let Found { info, adapter, .. } = found;
    let mut info = info.clone();
    let (limits, wanted) = match options.limits {
        LimitsMode::Adapter => (
            raised(&adapter.limits()),
            wgpu::Features::SUBGROUP | wgpu::Features::SUBGROUP_BARRIER | wgpu::Features::SHADER_INT64,
        ),
        LimitsMode::WebGpuDefault => (wgpu::Limits::default(), wgpu::Features::empty()),
    };
    let asked =
        [(options.profile, wgpu::Features::TIMESTAMP_QUERY), (options.keep, wgpu::Features::PIPELINE_CACHE)];
    let asked = asked.into_iter().filter(|(asked, _)| *asked).map(|(_, feature)| feature);
    let features = adapter.features() & asked.fold(wanted, |all, feature| all | feature);
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("cs231n-gpu"),
        required_features: features,
        required_limits: limits,
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        // The pool asks for few, large blocks already.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    });
    let (device, queue) = pollster::block_on(request).map_err(|error| {
        Error::device(
            format!("{info} cannot be opened: {error}"),
            "update the driver, or choose another --device",
        )
    })?;
    info.limits = Limits::from(&device.limits());
    info.features = Features { images: info.features.images, ..features.into() };
    Ok((device, queue, info))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(index: usize, name: &str, device_type: wgpu::DeviceType, backend: wgpu::Backend) -> Info {
        let mut info = Info::new(
            wgpu::AdapterInfo { name: name.into(), ..wgpu::AdapterInfo::new(device_type, backend) },
            &wgpu::Limits::default(),
            wgpu::Features::empty(),
        );
        info.index = index;
        info
    }

    fn machine() -> Vec<Info> {
        use wgpu::{Backend, DeviceType};
        vec![
            info(0, "GeForce RTX", DeviceType::DiscreteGpu, Backend::Vulkan),
            info(1, "Iris Xe", DeviceType::IntegratedGpu, Backend::Vulkan),
            info(2, "llvmpipe (LLVM 15)", DeviceType::Cpu, Backend::Vulkan),
        ]
    }

    #[test]
    fn the_ranking_prefers_the_kind_and_then_the_backend() {
        use wgpu::{Backend, DeviceType};
        let mut found = [
            info(0, "Microsoft Basic Render Driver", DeviceType::Other, Backend::Dx12),
            info(0, "virtio", DeviceType::VirtualGpu, Backend::Vulkan),
            info(0, "GeForce", DeviceType::DiscreteGpu, Backend::Dx12),
            info(0, "Iris", DeviceType::IntegratedGpu, Backend::Vulkan),
            info(0, "unstated", DeviceType::Other, Backend::Vulkan),
            info(0, "GeForce", DeviceType::DiscreteGpu, Backend::Vulkan),
        ];
        found.sort_by_key(Info::rank);
        let order: Vec<_> = found.iter().map(|info| (info.name.as_str(), info.backend)).collect();
        assert_eq!(
            order,
            [
                ("GeForce", "vulkan"),
                ("GeForce", "dx12"),
                ("Iris", "vulkan"),
                ("virtio", "vulkan"),
                ("unstated", "vulkan"),
                ("Microsoft Basic Render Driver", "dx12"),
            ]
        );
        assert!(found[5].software());
    }

    #[test]
    fn choices_find_their_adapter_and_say_why() {
        let all = machine();
        let pick = |choice, pinned| choose(&all, &choice, pinned).map_err(|error| error.to_string());
        assert_eq!(pick(Choice::Auto, None), Ok((0, "the best of 3 adapters".into())));
        assert_eq!(
            pick(Choice::Any, Some("IRIS")),
            Ok((1, "the only adapter, WGPU_ADAPTER_NAME=IRIS".into()))
        );
        assert_eq!(pick(Choice::Index(2), Some("iris")), Ok((2, "asked for as adapter 2".into())));
        assert_eq!(pick(Choice::Name("rtx".into()), Some("iris")), Ok((0, "asked for as \"rtx\"".into())));
        assert!(pick(Choice::Index(3), None).is_err_and(|text| text.contains("2: llvmpipe")));
        assert!(pick(Choice::Name("radeon".into()), None).is_err());
    }

    #[test]
    fn auto_never_takes_software() {
        let all = machine();
        let only = [info(0, "llvmpipe (LLVM 15)", wgpu::DeviceType::Cpu, wgpu::Backend::Vulkan)];
        let error = choose(&only, &Choice::Auto, None).expect_err("software only");
        assert!(error.to_string().starts_with("no hardware GPU: found 0: llvmpipe"), "{error}");
        assert!(choose(&all, &Choice::Auto, Some("llvmpipe")).is_err());
        let (index, why) = choose(&only, &Choice::Any, None).expect("asked for");
        assert_eq!((index, why.as_str()), (0, "no hardware GPU: a software adapter"));
        let error = choose(&[], &Choice::Any, None).expect_err("nothing there");
        assert!(error.to_string().starts_with("no GPU adapter: no adapter was found (tried "), "{error}");
        assert_eq!(error.exit_code(), 4);
    }
}
