//! What a kernel is and what a launch of it says.

use std::sync::Arc;

use super::adapter::{Features, Info};
use super::images;
use super::limits::{PARAMS_BYTES, STORAGE_BUFFERS};
use super::pool::{Buffer, Pool};
use crate::{Error, Result};

/// How a kernel uses one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
    /// `texture_storage_2d<rgba32uint, read>`: the vectors of a buffer in lines of [`IMAGE_WIDTH`](super::limits::IMAGE_WIDTH), found by the
    /// prelude's `texel` and copied there before the launch if the buffer was written since the last one. Software adapters load them several
    /// times as fast.
    Image,
}

/// One field of a parameter struct, as [`params!`](crate::params) saw it; a test compares it with the WGSL struct `Params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, equal on both sides.
    pub name: &'static str,
    /// `"u32"`, `"i32"` or `"f32"`.
    pub ty: &'static str,
    /// Bytes from the start of the struct.
    pub offset: u32,
}

/// One entry point of one shader file.
///
/// Storage buffers are `@group(0) @binding(0..n)` in the order of [`Self::buffers`]; the parameters, where there are any, are
/// `@group(1) @binding(0) var<uniform> params: Params`.
///
/// A kernel must end every loop (wgpu's loop bounding is off unless the device is opened checked), and must write workgroup memory
/// before reading it (it is not zeroed).
#[derive(Debug)]
pub struct Kernel {
    /// The stem of the shader file, which is the name of the operation.
    pub op: &'static str,
    /// The WGSL of the file, as included.
    pub source: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// How each storage buffer is used, in the order of their bindings.
    pub buffers: &'static [Access],
    /// The layout of the parameter struct; empty for a kernel without parameters.
    pub fields: &'static [Field],
    /// Needs subgroup operations.
    pub subgroup: bool,
    /// Has a `*.native.wgsl` in it: needs 64-bit integers, which no browser has.
    pub native: bool,
}

impl Kernel {
    /// Bytes of the parameter struct.
    pub fn params_bytes(&self) -> usize {
        self.fields.len() * 4
    }

    /// Whether a device with `features` has what this kernel needs beyond the portable baseline.
    pub fn runs_on(&self, features: Features) -> bool {
        let images = self.images() == 0 || features.images;
        (features.subgroup || !self.subgroup) && (features.int64 || !self.native) && images
    }

    /// How many of its buffers it binds as images.
    pub(crate) fn images(&self) -> usize {
        self.buffers.iter().filter(|access| **access == Access::Image).count()
    }
}

/// One recorded use of a kernel.
#[derive(Debug)]
pub struct Launch<'a> {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Values of the constants that the shader file leaves open: tile sizes and the like.
    pub constants: &'a [(&'static str, u32)],
    /// The storage buffers, in the order of [`Kernel::buffers`].
    pub buffers: &'a [&'a Buffer],
    /// The parameter struct's bytes, [`Params::bytes`].
    pub params: &'a [u8],
    /// Workgroups in each dimension; [`Limits::grid`](super::Limits::grid) spreads large counts.
    pub groups: [u32; 3],
    /// Estimated floating-point operations or bytes moved, whichever is larger: the budget of a submission counts it.
    pub work: u64,
}

impl Launch<'_> {
    /// Refuses what does not fit the kernel or the device, before wgpu would: its messages name no operation and arrive with the flush.
    pub(crate) fn check(&self, info: &Info, pool: &Arc<Pool>) -> Result<()> {
        let kernel = self.kernel;
        let name = format_args!("kernel {}::{}", kernel.op, kernel.entry);
        let defect = |problem: String| Err(Error::device(format!("{name}: {problem}"), super::DEFECT));
        let (given, declared) = (self.buffers.len(), kernel.buffers.len());
        if given != declared || given > STORAGE_BUFFERS {
            return defect(format!(
                "{given} buffers given, {declared} declared, at most {STORAGE_BUFFERS} portable"
            ));
        }
        let (given, declared) = (self.params.len(), kernel.params_bytes());
        if given != declared || given > PARAMS_BYTES {
            return defect(format!(
                "{given} bytes of parameters given, {declared} declared, at most {PARAMS_BYTES} possible"
            ));
        }
        if self.groups.iter().any(|groups| *groups > info.limits.groups) {
            let (groups, limit) = (self.groups, info.limits.groups);
            return defect(format!(
                "{groups:?} workgroups, but this device takes at most {limit} in a dimension"
            ));
        }
        if !kernel.runs_on(info.features) {
            return defect("this device lacks the subgroups, 64-bit operations or images it needs".into());
        }
        for (i, (buffer, access)) in self.buffers.iter().zip(kernel.buffers).enumerate() {
            if !buffer.memory.belongs_to(pool) {
                return defect(format!("buffer {i} belongs to another device"));
            }
            let bytes = buffer.binding_bytes();
            if *access == Access::Image {
                let (lines, most) = (images::lines(bytes), info.limits.image_lines);
                if lines > most.into() {
                    return defect(format!(
                        "buffer {i} is an image of {lines} lines, at most {most} possible"
                    ));
                }
            } else if bytes > info.limits.binding_bytes {
                info.limits.check_binding(&format!("{name}, buffer {i}"), bytes)?;
            }
            // A launch must not write memory that another of its bindings reads, even where the ranges are disjoint (wgpu issue 8470), nor
            // the same bytes twice.
            let clash = |j: &usize| {
                let other = self.buffers[*j];
                let apart = kernel.buffers[*j] == Access::ReadWrite && !other.overlaps(buffer);
                *j != i && other.shares_memory_with(buffer) && !apart
            };
            if let (Access::ReadWrite, Some(j)) = (*access, (0..self.buffers.len()).find(clash)) {
                return defect(format!(
                    "buffer {i} is written, but buffer {j} is the same memory; use an in-place kernel"
                ));
            }
        }
        Ok(())
    }
}

/// A parameter struct made by [`params!`](crate::params): plain 4-byte fields whose bytes go to the shader as they are.
pub trait Params: bytemuck::Pod {
    /// Its fields in order.
    const FIELDS: &'static [Field];

    /// The bytes for [`Launch::params`].
    fn bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

/// A type that may stand in a parameter struct: the same 4 bytes in Rust and in WGSL.
pub trait Scalar: bytemuck::Pod {
    /// Its name in WGSL.
    const NAME: &'static str;
}

impl Scalar for u32 {
    const NAME: &'static str = "u32";
}

impl Scalar for i32 {
    const NAME: &'static str = "i32";
}

impl Scalar for f32 {
    const NAME: &'static str = "f32";
}

/// Declares the Rust side of a WGSL struct `Params`, with the layout for [`Kernel::fields`] derived from it.
///
/// ```
/// use cs231n_gpu::gpu::Params;
/// cs231n_gpu::params! {
///     /// Parameters of `scale.wgsl`.
///     pub struct ScaleParams {
///         /// Elements.
///         pub n: u32,
///         /// The factor.
///         pub factor: f32,
///     }
/// }
/// assert_eq!(ScaleParams::FIELDS[1].offset, 4);
/// assert_eq!(ScaleParams { n: 1, factor: 2.0 }.bytes().len(), 8);
/// ```
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, ::bytemuck::Pod, ::bytemuck::Zeroable)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $ty,)*
        }

        impl $crate::gpu::Params for $name {
            const FIELDS: &'static [$crate::gpu::Field] = &[$(
                $crate::gpu::Field {
                    name: stringify!($field),
                    ty: <$ty as $crate::gpu::Scalar>::NAME,
                    offset: ::core::mem::offset_of!($name, $field) as u32,
                },
            )*];
        }
    };
}
