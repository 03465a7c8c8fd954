//! Compiled kernels kept between runs, where the driver gives them away: Vulkan alone, in wgpu.
//!
//! The drivers of NVIDIA and AMD and Mesa's keep such files themselves; those of phones leave it to programs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use crate::cache;
use crate::data::write;

/// A driver's cache of pipelines, and the file that it comes from and goes to. Nothing about the file may break a run.
#[derive(Debug)]
pub(crate) struct Kept {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    /// What the driver was given.
    data: Vec<u8>,
    /// Whether a pipeline was made that the file may lack.
    pub(crate) grown: bool,
}

impl Kept {
    /// What is kept for this adapter in the [folder for caches](cache::folder); `None` where nothing is to be, or the device was opened without
    /// the feature.
    pub(crate) fn open(device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = cache::folder()?.join(wgpu::util::pipeline_cache_key(&device.adapter_info())?);
        let data = std::fs::read(&path).ok().and_then(unpack).unwrap_or_default();
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: None,
            data: (!data.is_empty()).then_some(&data),
            fallback: true,
        };
        // SAFETY: the data must come from `get_data`. They have the checksum that this version of the program writes with it, so no damage got
        // in by accident; wgpu and the driver refuse another driver's. Who writes into the user's own folder on purpose could as well replace
        // this program.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, path, data, grown: false })
    }

    /// What pipelines are made with.
    pub(crate) fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }
}

impl Drop for Kept {
    /// Writes the file where it would change.
    fn drop(&mut self) {
        if !self.grown || std::thread::panicking() {
            return;
        }
        if let Some(data) = self.cache.get_data().filter(|data| *data != self.data) {
            // A folder that cannot be written costs the next run some time, and is no error of this one.
            let _ = self.path.parent().map(std::fs::create_dir_all);
            let _ = write::bytes(&self.path, &pack(data));
        }
    }
}

/// Bytes of a checksum.
const SUM: usize = 8;

/// Of the data and of this version, whose kernels they are. Another version of the standard library may count otherwise: then nothing was kept.
fn checksum(data: &[u8]) -> [u8; SUM] {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), data).hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

/// The contents of a file: the data, then their checksum.
fn pack(mut data: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&data);
    data.extend(sum);
    data
}

/// The data of a file that is whole and of this version.
fn unpack(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let sum = file.split_off(file.len().checked_sub(SUM)?);
    (sum == checksum(&file)).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_is_unpacked() {
        let data: Vec<u8> = (0..100).collect();
        let file = pack(data.clone());
        assert_eq!(unpack(file.clone()), Some(data));
        for damage in 0..file.len() {
            let mut damaged = file.clone();
            damaged[damage] ^= 1;
            assert_eq!(unpack(damaged), None, "byte {damage}");
            assert_eq!(unpack(file[..damage].to_vec()), None, "{damage} bytes");
        }
    }
}
