//! Every hardware number of the crate: what an adapter allows, what the kernels are designed for, and how larger work is cut.
//!
//! Kernels are written for WebGPU's default limits, so that they run wherever wgpu does; a larger limit of an adapter only
//! makes the chunks larger. Values of the defaults: `wgpu::Limits::default()`.

use serde::Serialize;

use crate::{Error, Result};

/// Invocations in one workgroup that every adapter accepts.
pub const WORKGROUP_INVOCATIONS: u32 = 256;
/// Workgroup memory in bytes that every adapter accepts.
pub const WORKGROUP_BYTES: u32 = 16 << 10;
/// Storage buffers one kernel may bind. WebGPU's default is 8, but wgpu's Metal backend takes one of them for array lengths.
pub const STORAGE_BUFFERS: usize = 7;
/// Loop rounds that one invocation may make in all. Mesa's software driver counts every round of every loop of an
/// invocation, nested ones too, and ends the loops without a word after 65,535; callers cut their work below that.
pub const LOOP_ROUNDS: usize = 60_000;
/// Bytes of parameters one launch may carry: one slot of the uniform ring, whose size is also the largest alignment an
/// adapter may ask for.
pub const PARAMS_BYTES: usize = 256;
/// Launches in one submission, 32 training steps of a two-layer net; also the slots of the uniform ring (64 KiB).
pub const LAUNCHES_PER_SUBMISSION: usize = 256;
/// Submissions the device may have in hand before the host waits: enough to overlap recording and execution, few enough that
/// the memory they hold stays bounded.
pub const SUBMISSIONS_IN_FLIGHT: usize = 3;
/// Bytes uploaded in one submission. Each submission holds its staging memory until the device has copied it, and very many waiting
/// writes have corrupted tensors on Metal (cubecl issue 1120).
pub const UPLOAD_BYTES_PER_SUBMISSION: u64 = 8 << 20;
/// Unit in which staging memory for uploads is allocated.
pub const UPLOAD_CHUNK_BYTES: u64 = 2 << 20;
/// Largest piece in which memory is read back, bounding the staging memory.
pub const STAGING_BYTES: u64 = 32 << 20;
/// Smallest buffer, and the unit to which bindings are rounded: one `vec4<f32>`, so that kernels may read whole vectors at the end.
pub const BUFFER_UNIT: u64 = 16;
/// Vectors of a line of an [image](super::Access::Image): a power of two, because a shader finds line and place by shifts (`texel` in
/// `prelude.wgsl`). WebGPU's textures are 8192 wide and high at least.
pub const IMAGE_WIDTH: u32 = 4096;
/// Bytes of images kept: those of two of the largest operands.
pub const IMAGES_BYTES: u64 = 128 << 20;
/// Bind groups kept; beyond it the least recently used half goes.
pub const BIND_GROUPS: usize = 4096;
/// Bytes of idle buffers the pool keeps by default.
pub const POOL_BYTES: u64 = 1 << 30;

/// Which limits a device is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LimitsMode {
    /// All that the adapter offers, with the optional features that some kernels use.
    #[default]
    Adapter,
    /// WebGPU's defaults and no optional feature: what the portable kernels must be content with.
    WebGpuDefault,
}

/// What the opened device allows, in bytes and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes one storage binding may cover.
    pub binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Workgroups of one launch in each dimension.
    pub groups: u32,
    /// Lines of an [image](super::Access::Image).
    pub image_lines: u32,
    /// Bytes to which the start of a storage binding is aligned.
    pub storage_alignment: u32,
    /// Bytes to which the start of a uniform binding is aligned.
    pub uniform_alignment: u32,
    /// Storage buffers of one kernel, as the device counts them.
    pub storage_buffers: u32,
    /// Invocations of one workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
}

impl From<&wgpu::Limits> for Limits {
    fn from(limits: &wgpu::Limits) -> Self {
        Self {
            // Drivers report 2³¹ − 1; bindings are whole vectors.
            binding_bytes: limits.max_storage_buffer_binding_size / BUFFER_UNIT * BUFFER_UNIT,
            buffer_bytes: limits.max_buffer_size / BUFFER_UNIT * BUFFER_UNIT,
            groups: limits.max_compute_workgroups_per_dimension,
            image_lines: limits.max_texture_dimension_2d,
            storage_alignment: limits.min_storage_buffer_offset_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        }
    }
}

impl Limits {
    /// Refuses a binding of `bytes` that the device cannot address at once; `what` names the tensor in the message.
    ///
    /// # Errors
    /// [`Error::Device`] with the bytes, the limit and the way out.
    pub fn check_binding(&self, what: &str, bytes: u64) -> Result<()> {
        if bytes <= self.binding_bytes {
            return Ok(());
        }
        Err(Error::device(
            format!(
                "{what}: {bytes} bytes in one binding, but this device addresses at most {} bytes",
                self.binding_bytes
            ),
            "work on fewer rows at a time, or use --device cpu",
        ))
    }

    /// How many rows of `row_bytes` fit into one binding and into `cap` bytes, such that every chunk after the first starts at an
    /// address the device can bind (a multiple of [`Self::storage_alignment`]) where that is possible. At least 1.
    ///
    /// # Errors
    /// [`Error::Device`] when a single row exceeds the binding limit; `what` names the tensor.
    pub fn rows_per_chunk(&self, what: &str, row_bytes: u64, cap: u64) -> Result<u64> {
        let row_bytes = row_bytes.max(1);
        self.check_binding(what, row_bytes)?;
        let rows = (self.binding_bytes.min(cap.max(row_bytes)) / row_bytes).max(1);
        let alignment = u64::from(self.storage_alignment);
        let step = alignment / gcd(alignment, row_bytes);
        Ok(if rows > step { rows / step * step } else { rows })
    }

    /// Spreads `groups` workgroups over two dimensions, because one takes only [`Self::groups`]. A kernel finds its index with
    /// `group.y * group_count.x + group.x` and must skip the surplus, which is less than one row: under `groups / 65535 + 1`.
    ///
    /// # Errors
    /// [`Error::Device`] beyond the square of the limit.
    pub fn grid(&self, groups: u64) -> Result<[u32; 3]> {
        let limit = u64::from(self.groups);
        let rows = groups.div_ceil(limit).max(1);
        if rows > limit {
            return Err(Error::device(
                format!("{groups} workgroups in one launch, but this device takes at most {limit} × {limit}"),
                "work on fewer rows at a time",
            ));
        }
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok([narrow(groups.div_ceil(rows)), narrow(rows), 1])
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `bytes` rounded up to whole units of a binding, at least one.
pub(crate) fn binding_size(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BUFFER_UNIT) * BUFFER_UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Limits {
        Limits::from(&wgpu::Limits::default())
    }

    #[test]
    fn kernels_are_designed_within_the_webgpu_defaults() {
        let limits = defaults();
        assert_eq!(limits.invocations, WORKGROUP_INVOCATIONS);
        assert_eq!(limits.workgroup_bytes, WORKGROUP_BYTES);
        assert_eq!(limits.storage_buffers as usize, STORAGE_BUFFERS + 1);
        assert!(limits.uniform_alignment as usize <= PARAMS_BYTES);
        let ring = (PARAMS_BYTES * LAUNCHES_PER_SUBMISSION) as u64;
        assert!(ring <= wgpu::Limits::default().max_uniform_buffer_binding_size);
        assert!(STAGING_BYTES <= limits.buffer_bytes);
        assert!(IMAGE_WIDTH.is_power_of_two() && IMAGE_WIDTH <= limits.image_lines);
    }

    #[test]
    fn the_grid_covers_every_group_and_wastes_less_than_a_row() {
        let limits = defaults();
        for n in [0, 1, 2, 65_534, 65_535, 65_536, 65_537, 131_071, 1 << 20, 99_999_999, 65_535 * 65_535] {
            let [x, y, z] = limits.grid(n).expect("within the limit");
            let covered = u64::from(x) * u64::from(y);
            assert!(x <= limits.groups && y <= limits.groups && z == 1);
            assert!(covered >= n && covered - n < u64::from(y), "{n}: {x} × {y}");
        }
        assert_eq!(limits.grid(0).expect("empty"), [0, 1, 1]);
        assert!(limits.grid(65_535 * 65_535 + 1).is_err());
    }

    #[test]
    fn chunks_fit_the_binding_and_start_aligned() {
        let limits = defaults();
        for row in [1, 3, 4, 256, 784, 3072, 12_288, 10_000_019] {
            let rows = limits.rows_per_chunk("x", row, u64::MAX).expect("a row fits");
            assert!(rows >= 1 && rows * row <= limits.binding_bytes);
            // Where several rows fit only unaligned, alignment yields: such chunks cannot be slices of one buffer.
            let step = 256 / gcd(256, row);
            assert!((rows * row).is_multiple_of(256) || rows <= step);
        }
        assert_eq!(limits.rows_per_chunk("x", 1000, 10).expect("at least one row"), 1);
        let error = limits.rows_per_chunk("train", 1 << 28, u64::MAX).expect_err("a row of 256 MiB");
        assert!(
            error.to_string().contains("train: 268435456 bytes") && error.to_string().contains("134217728")
        );
    }
}
