//! A shape, values and the device that holds them.

use std::ops::Range;
use std::sync::Arc;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu};
use crate::recycled;
use crate::values::{Values, cut};

/// What a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// Real numbers: `f32` on [`Device::Cpu`] and [`Device::Gpu`], `f64` on [`Device::Reference`].
    Real,
    /// Pixels, 0..=255.
    U8,
    /// Integers: distances of pixels, indices, labels.
    U32,
}

impl DType {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::U8 => "u8",
            Self::U32 => "u32",
        }
    }
}

/// A row-major, contiguous array on one device.
///
/// Clones share the storage. The few operations that take a tensor as `&mut` write in place where nothing shares its storage,
/// and into a copy otherwise, so that no clone ever sees another's change.
#[derive(Debug, Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    storage: Storage,
}

/// Storage names its device: there is no tensor whose device and values disagree.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// Reals of the reference.
    F64(Values<f64>),
    /// Reals of the CPU.
    F32(Values<f32>),
    /// Pixels of the reference (`true`) or the CPU.
    U8(Arc<[u8]>, bool),
    /// Integers of the reference (`true`) or the CPU.
    U32(Arc<[u32]>, bool),
    /// Anything on an adapter. Rows of pixels (along the last dimension) are padded with zeros to whole
    /// [`GPU_PIXEL_ROW`]s; other elements are contiguous.
    Gpu(Gpu, Buffer, DType),
}

/// The elements of a real tensor while they may be changed.
pub(crate) enum RealsMut<'a> {
    /// On the reference.
    F64(&'a mut [f64]),
    /// On the CPU.
    F32(&'a mut [f32]),
    /// On an adapter: no other tensor has this memory.
    Gpu(&'a Gpu, Buffer),
}

impl<'a> RealsMut<'a> {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::Gpu(_, buffer) => (buffer.len() / 4) as usize,
        }
    }

    /// Ascending ranges that do not overlap, each on its own.
    ///
    /// # Errors
    /// [`Error::Device`] for a range on an adapter that starts where no kernel can be given it.
    pub(crate) fn parts<const N: usize>(self, ranges: [Range<usize>; N]) -> Result<[Self; N]> {
        Ok(match self {
            Self::F64(values) => cut(values, ranges).map(RealsMut::F64),
            Self::F32(values) => cut(values, ranges).map(RealsMut::F32),
            Self::Gpu(gpu, buffer) => {
                let mut made = Vec::with_capacity(N);
                for range in &ranges {
                    made.push(gpu.slice(&buffer, 4 * range.start as u64, 4 * range.len() as u64)?);
                }
                let mut made = made.into_iter();
                ranges.map(|_| RealsMut::Gpu(gpu, made.next().unwrap_or_else(|| buffer.clone())))
            }
        })
    }
}

/// Real numbers to which parts of a tensor are aligned, so that every adapter can give a kernel each of them: 256 bytes, the most that one may
/// ask for.
pub(crate) const ALIGNED: usize = 64;

/// Rows of pixels on an adapter take a multiple of this many bytes, one `vec4<u32>`.
pub(crate) const GPU_PIXEL_ROW: usize = 16;

/// The zero-padded form of rows of pixels on an adapter.
pub(crate) fn pad_pixel_rows(values: &[u8], features: usize) -> std::borrow::Cow<'_, [u8]> {
    let padded = features.next_multiple_of(GPU_PIXEL_ROW);
    if padded == features || features == 0 {
        return values.into();
    }
    let mut out = vec![0; values.len() / features * padded];
    for (out, row) in out.chunks_exact_mut(padded).zip(values.chunks_exact(features)) {
        out[..features].copy_from_slice(row);
    }
    out.into()
}

impl Tensor {
    /// Real numbers, rounded to the device's precision.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape does not hold `values.len()` elements; [`Error::Device`] when the device cannot
    /// take them.
    pub fn from_f64(device: &Device, shape: &[usize], values: &[f64]) -> Result<Self> {
        let narrow = || values.iter().map(|&v| v as f32);
        Self::make(shape, values.len(), || {
            Ok(match device {
                Device::Reference => Storage::F64(values.to_vec().into()),
                Device::Cpu => Storage::F32(narrow().collect::<Vec<_>>().into()),
                Device::Gpu(gpu) => {
                    let values: Vec<f32> = narrow().collect();
                    Storage::Gpu(gpu.clone(), gpu.upload(bytemuck::cast_slice(&values))?, DType::Real)
                }
            })
        })
    }

    /// Real numbers.
    ///
    /// # Errors
    /// As [`Tensor::from_f64`].
    pub fn from_f32(device: &Device, shape: &[usize], values: &[f32]) -> Result<Self> {
        Self::make(shape, values.len(), || {
            Ok(match device {
                Device::Reference => {
                    Storage::F64(values.iter().copied().map(f64::from).collect::<Vec<_>>().into())
                }
                Device::Cpu => Storage::F32(values.to_vec().into()),
                Device::Gpu(gpu) => {
                    Storage::Gpu(gpu.clone(), gpu.upload(bytemuck::cast_slice(values))?, DType::Real)
                }
            })
        })
    }

    /// Pixels.
    ///
    /// # Errors
    /// As [`Tensor::from_f64`].
    pub fn from_u8(device: &Device, shape: &[usize], values: &[u8]) -> Result<Self> {
        Self::make(shape, values.len(), || {
            Ok(match device {
                Device::Reference => Storage::U8(values.into(), true),
                Device::Cpu => Storage::U8(values.into(), false),
                Device::Gpu(gpu) => {
                    let padded = pad_pixel_rows(values, shape.last().copied().unwrap_or(1));
                    Storage::Gpu(gpu.clone(), gpu.upload(&padded)?, DType::U8)
                }
            })
        })
    }

    /// Integers.
    ///
    /// # Errors
    /// As [`Tensor::from_f64`].
    pub fn from_u32(device: &Device, shape: &[usize], values: &[u32]) -> Result<Self> {
        Self::make(shape, values.len(), || {
            Ok(match device {
                Device::Reference => Storage::U32(values.into(), true),
                Device::Cpu => Storage::U32(values.into(), false),
                Device::Gpu(gpu) => {
                    Storage::Gpu(gpu.clone(), gpu.upload(bytemuck::cast_slice(values))?, DType::U32)
                }
            })
        })
    }

    fn make(shape: &[usize], len: usize, storage: impl FnOnce() -> Result<Storage>) -> Result<Self> {
        let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if elements != Some(len) {
            return Err(Error::shape(
                "tensor",
                format!("shape {shape:?} does not hold {len} values"),
                "give as many values as the product of the dimensions",
            ));
        }
        Ok(Self { shape: shape.to_vec(), storage: storage()? })
    }

    /// What an operation made: the storage must hold the shape's elements.
    pub(crate) fn from_storage(shape: Vec<usize>, storage: Storage) -> Self {
        Self { shape, storage }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The elements of a real tensor, to be changed in place; a shared storage is copied first.
    pub(crate) fn reals_mut(&mut self, op: &'static str) -> Result<RealsMut<'_>> {
        let dtype = self.dtype();
        Ok(match &mut self.storage {
            Storage::F64(values) => RealsMut::F64(values.make_mut()),
            Storage::F32(values) => RealsMut::F32(values.make_mut()),
            Storage::Gpu(gpu, buffer, DType::Real) => {
                if !buffer.is_unshared() {
                    *buffer = gpu.duplicate(buffer)?;
                }
                RealsMut::Gpu(gpu, buffer.clone())
            }
            _ => {
                let problem = format!("a tensor of type {}", dtype.name());
                return Err(Error::shape(op, problem, "only real tensors are updated in place"));
            }
        })
    }

    /// The real numbers from `start` on as a tensor of `shape` that shares their memory; on an adapter they must start where a kernel can be
    /// given them ([`ALIGNED`]).
    pub(crate) fn part(&self, start: usize, shape: &[usize]) -> Result<Self> {
        let len = shape.iter().product();
        let storage = match &self.storage {
            Storage::F64(values) => Storage::F64(values.part(start, len)),
            Storage::F32(values) => Storage::F32(values.part(start, len)),
            Storage::Gpu(gpu, buffer, DType::Real) => {
                let part = gpu.slice(buffer, 4 * start as u64, 4 * len as u64)?;
                Storage::Gpu(gpu.clone(), part, DType::Real)
            }
            _ => return Err(Error::shape("tensor", "a part of integers", "take parts of real tensors")),
        };
        Ok(Self { shape: shape.to_vec(), storage })
    }

    /// A real tensor whose elements are to be written before they are read.
    pub(crate) fn unwritten(device: &Device, shape: &[usize]) -> Result<Self> {
        let len: usize = shape.iter().product();
        let storage = match device {
            Device::Reference => Storage::F64(vec![0.0; len].into()),
            Device::Cpu => Storage::F32(recycled::numbers(len).into()),
            Device::Gpu(gpu) => Storage::Gpu(gpu.clone(), gpu.alloc(4 * len as u64)?, DType::Real),
        };
        Ok(Self { shape: shape.to_vec(), storage })
    }

    /// Overwrites the elements with those of `from`, of equal shape and device; clones of `self` keep theirs.
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
    pub fn copy_from(&mut self, from: &Self) -> Result<()> {
        let text = format!("a tensor of shape {:?} into one of shape {:?}", from.shape, self.shape);
        let refuse = || Error::shape("copy", text.clone(), "pass real tensors of one shape and one device");
        if self.shape != from.shape {
            return Err(refuse());
        }
        // Nothing of a shared buffer needs to be copied before it is overwritten.
        if let Storage::Gpu(gpu, to, DType::Real) = &mut self.storage
            && !to.is_unshared()
        {
            *to = gpu.alloc(to.len())?;
        }
        if self.dtype() == DType::Real && from.copy_to(self.reals_mut("copy")?)? {
            Ok(())
        } else {
            Err(refuse())
        }
    }

    /// Copies the elements to where there is room for as many; `false` where that is on another device.
    pub(crate) fn copy_to(&self, to: RealsMut<'_>) -> Result<bool> {
        match (&self.storage, to) {
            (Storage::F64(from), RealsMut::F64(to)) => to.copy_from_slice(from),
            (Storage::F32(from), RealsMut::F32(to)) => to.copy_from_slice(from),
            (Storage::Gpu(gpu, from, DType::Real), RealsMut::Gpu(other, to)) if gpu.same(other) => {
                gpu.copy(from, &to)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the elements are.
    pub fn dtype(&self) -> DType {
        match &self.storage {
            Storage::F64(_) | Storage::F32(_) => DType::Real,
            Storage::U8(..) => DType::U8,
            Storage::U32(..) => DType::U32,
            Storage::Gpu(_, _, dtype) => *dtype,
        }
    }

    /// Where the elements are.
    pub fn device(&self) -> Device {
        match &self.storage {
            Storage::F64(_) | Storage::U8(_, true) | Storage::U32(_, true) => Device::Reference,
            Storage::F32(_) | Storage::U8(_, false) | Storage::U32(_, false) => Device::Cpu,
            Storage::Gpu(gpu, ..) => Device::Gpu(gpu.clone()),
        }
    }

    /// The same elements in another shape; nothing is copied.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs, or when pixels on an adapter would change their last
    /// dimension, along which they are padded.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let padded = matches!(self.storage, Storage::Gpu(_, _, DType::U8));
        if padded && shape.last() != self.shape.last() {
            return Err(Error::shape(
                "reshape",
                format!("pixels on a GPU keep their last dimension: {:?} to {shape:?}", self.shape),
                "reshape before the upload",
            ));
        }
        Self::make(shape, self.len(), || Ok(self.storage.clone()))
    }

    /// The elements on the host, whatever they are, as 64-bit floats: every element type is exact in them.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails; pending work is done first.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(match &self.storage {
            Storage::F64(values) => values.to_vec(),
            Storage::F32(values) => values.iter().copied().map(f64::from).collect(),
            Storage::U8(values, _) => values.iter().copied().map(f64::from).collect(),
            Storage::U32(values, _) => values.iter().copied().map(f64::from).collect(),
            Storage::Gpu(gpu, buffer, dtype) => match dtype {
                DType::Real => read::<f32>(gpu, buffer, self.len())?.into_iter().map(f64::from).collect(),
                DType::U32 => read::<u32>(gpu, buffer, self.len())?.into_iter().map(f64::from).collect(),
                DType::U8 => {
                    let features = self.shape.last().copied().unwrap_or(1).max(1);
                    let padded = features.next_multiple_of(GPU_PIXEL_ROW);
                    let bytes = read::<u8>(gpu, buffer, self.len() / features * padded)?;
                    let rows = bytes.chunks_exact(padded);
                    rows.flat_map(|row| &row[..features]).copied().map(f64::from).collect()
                }
            },
        })
    }
}

impl Tensor {
    /// The elements of several tensors on the host, each as [`Tensor::to_f64`] gives them; those of one adapter in one trip to it.
    ///
    /// # Errors
    /// As [`Tensor::to_f64`].
    pub fn read_all(tensors: &[&Self]) -> Result<Vec<Vec<f64>>> {
        let on_adapter = |tensor: &Self| match &tensor.storage {
            // Pixels are padded, which `to_f64` knows how to undo.
            Storage::Gpu(gpu, buffer, dtype @ (DType::Real | DType::U32)) => {
                Some((gpu.clone(), buffer.clone(), *dtype))
            }
            _ => None,
        };
        let together: Option<Vec<_>> = tensors.iter().copied().map(on_adapter).collect();
        let Some((together, gpu)) = together.and_then(|all| Some((all.clone(), all.first()?.0.clone())))
        else {
            return tensors.iter().map(|tensor| tensor.to_f64()).collect();
        };
        if !together.iter().all(|(other, ..)| other.same(&gpu)) {
            return tensors.iter().map(|tensor| tensor.to_f64()).collect();
        }
        let buffers: Vec<_> = together.iter().map(|(_, buffer, _)| buffer).collect();
        let contents = gpu.read_all(&buffers)?;
        let wide = |(bytes, (_, _, dtype)): (Vec<u8>, &(Gpu, Buffer, DType))| match dtype {
            DType::U32 => {
                bytes.as_chunks().0.iter().map(|&word| f64::from(u32::from_ne_bytes(word))).collect()
            }
            _ => bytes.as_chunks().0.iter().map(|&word| f64::from(f32::from_ne_bytes(word))).collect(),
        };
        Ok(contents.into_iter().zip(&together).map(wide).collect())
    }
}

fn read<T: bytemuck::Pod>(gpu: &Gpu, buffer: &Buffer, len: usize) -> Result<Vec<T>> {
    let mut out = vec![T::zeroed(); len];
    if len > 0 {
        gpu.read_into(buffer, 0, bytemuck::cast_slice_mut(&mut out))?;
    }
    Ok(out)
}
