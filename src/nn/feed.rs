//! Rows on their way into a net: they lie on the device as they were read, and each batch is gathered and brought into range there.

use std::ops::Range;

use crate::data::preprocess::Columns;
use crate::data::split;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::standardize::{standardize, standardize_batch};
use crate::ops::take::Positions;
use crate::rng;
use crate::rows::{RowsRef, ValuesRef};
use crate::tensor::Tensor;

/// Bytes of the rows that are on a device as one tensor. A constant, because batches are drawn block by block and must be the same on every
/// device; below the 128 MiB that WebGPU lets a kernel address at once.
const BLOCK_BYTES: usize = 96 << 20;

/// Device memory for blocks where the user sets no limit: beyond it they are uploaded anew in every epoch.
const RESIDENT_BYTES: u64 = 1 << 30;

/// Rows, with labels or without, and how they become batches.
pub struct Feed<'a> {
    device: Device,
    rows: RowsRef<'a>,
    labels: Option<&'a [u32]>,
    shift: Tensor,
    scale: Tensor,
    per_block: usize,
    resident: bool,
    blocks: Vec<Option<Block>>,
}

/// Consecutive rows on the device.
#[derive(Clone)]
struct Block {
    rows: Tensor,
    labels: Option<Tensor>,
}

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they are.
    Given,
    /// Shuffled by seed and epoch, the same on every device. Beyond 96 MiB, blocks of consecutive rows are shuffled, and the rows
    /// within each.
    Shuffled {
        /// The run's seed.
        seed: u64,
        /// Counted from 0.
        epoch: u64,
    },
}

impl<'a> Feed<'a> {
    /// Feeds `rows` (N × D), where there are any with their `labels` (N), each column transformed by `columns`. `memory_limit` caps the bytes of rows that stay
    /// on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of rows, labels or columns differ; [`Error::Device`] when the device has no memory.
    pub fn new(
        device: &Device,
        rows: RowsRef<'a>,
        labels: Option<&'a [u32]>,
        columns: &Columns,
        memory_limit: Option<u64>,
    ) -> Result<Self> {
        let features = rows.features();
        let labelled = labels.map_or(rows.len(), <[u32]>::len);
        if rows.len() != labelled || columns.shift.len() != features || columns.scale.len() != features {
            return Err(Error::shape(
                "feed",
                format!(
                    "{} rows of {features} features, {labelled} labels, {} columns to transform",
                    rows.len(),
                    columns.shift.len()
                ),
                "pass a label for every row, and the columns of the model",
            ));
        }
        let bytes = features * if matches!(rows.values(), ValuesRef::U8(_)) { 1 } else { 4 };
        let per_block = (BLOCK_BYTES / bytes).max(1);
        let blocks = vec![None; rows.len().div_ceil(per_block)];
        let resident = resident_bytes(rows, memory_limit).is_some();
        Ok(Self {
            shift: Tensor::from_f32(device, &[features], &columns.shift)?,
            scale: Tensor::from_f32(device, &[features], &columns.scale)?,
            device: device.clone(),
            rows,
            labels,
            per_block,
            resident,
            blocks,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Batches of an epoch: the last of each block may be short.
    pub fn batches(&self, batch_size: usize) -> u64 {
        let blocks =
            (0..self.blocks.len()).map(|block| self.range(block).len().div_ceil(batch_size.max(1)) as u64);
        blocks.sum()
    }

    /// Calls `with` for each batch of an epoch: inputs (B × D), and what they shall become: their labels (B), or without labels the inputs
    /// themselves. Stops where that returns `false`.
    ///
    /// # Errors
    /// Whatever `with` returns; [`Error::Device`] when the device fails.
    pub fn each_batch(
        &mut self,
        order: Order,
        batch_size: usize,
        mut with: impl FnMut(&Tensor, &Tensor) -> Result<bool>,
    ) -> Result<()> {
        let mut blocks: Vec<usize> = (0..self.blocks.len()).collect();
        shuffle(order, u64::MAX, &mut blocks);
        for block in blocks {
            let count = self.range(block).len();
            let mut positions: Vec<u32> = (0..count as u32).collect();
            shuffle(order, block as u64, &mut positions);
            let all = Tensor::from_u32(&self.device, &[count], &positions)?;
            let Block { rows, labels } = self.block(block)?;
            for start in (0..count).step_by(batch_size.max(1)) {
                let positions = Positions { all: &all, range: start..count.min(start + batch_size.max(1)) };
                let (x, y) = match &labels {
                    Some(labels) => standardize_batch(&rows, labels, &self.shift, &self.scale, &positions)?,
                    None => {
                        let x = standardize(&rows, &self.shift, &self.scale, Some(&positions))?;
                        (x.clone(), x)
                    }
                };
                if !with(&x, &y)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn range(&self, block: usize) -> Range<usize> {
        let start = block * self.per_block;
        start..self.rows.len().min(start + self.per_block)
    }

    /// A block on the device.
    fn block(&mut self, block: usize) -> Result<Block> {
        if let Some(Some(block)) = self.blocks.get(block) {
            return Ok(block.clone());
        }
        let range = self.range(block);
        let part = self.rows.range(range.clone());
        let shape = [part.len(), part.features()];
        let made = Block {
            rows: match part.values() {
                ValuesRef::U8(values) => Tensor::from_u8(&self.device, &shape, values)?,
                ValuesRef::F32(values) => Tensor::from_f32(&self.device, &shape, values)?,
            },
            labels: self
                .labels
                .map(|labels| Tensor::from_u32(&self.device, &[part.len()], &labels[range]))
                .transpose()?,
        };
        if self.resident {
            self.blocks[block] = Some(made.clone());
        }
        Ok(made)
    }
}

/// Bytes of rows that stay on a device, under a limit; `None` where they are uploaded anew in every epoch.
pub fn resident_bytes(rows: RowsRef<'_>, memory_limit: Option<u64>) -> Option<u64> {
    let each = if matches!(rows.values(), ValuesRef::U8(_)) { 1 } else { 4 };
    let bytes = rows.len() as u64 * rows.features() as u64 * each;
    (bytes <= memory_limit.unwrap_or(RESIDENT_BYTES)).then_some(bytes)
}

/// Shuffles `items`, of which there may be several sets (`stream`) in one epoch.
fn shuffle<T>(order: Order, stream: u64, items: &mut [T]) {
    if let Order::Shuffled { seed, epoch } = order {
        // The last number tells batches from all else that a seed may be used for.
        split::shuffle(items, &mut rng::stream(seed, [epoch, stream, 1]));
    }
}
