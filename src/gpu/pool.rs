//! Device memory: handles that return it when dropped, and the pool they return it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits;

/// A range of device memory. Cloning shares it; the last drop gives the memory back to the pool, also while recorded work still uses
/// it: whoever gets it next is ordered behind that work.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(crate) memory: Arc<Memory>,
    pub(crate) offset: u64,
    bytes: u64,
}

impl Buffer {
    pub(crate) fn new(memory: Memory, bytes: u64) -> Self {
        Self { memory: Arc::new(memory), offset: 0, bytes }
    }

    /// The part of this buffer from `offset` with `bytes`; the caller has checked both.
    pub(crate) fn part(&self, offset: u64, bytes: u64) -> Self {
        Self { memory: Arc::clone(&self.memory), offset: self.offset + offset, bytes }
    }

    /// Bytes asked for; the memory behind is a little larger.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether both are ranges of the same memory: a kernel may not write one while another binding sees the other.
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// Whether both bind bytes that the other binds too.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let end = |buffer: &Self| buffer.offset + buffer.binding_bytes();
        self.shares_memory_with(other) && self.offset < end(other) && other.offset < end(self)
    }

    /// Whether this is the only handle of its memory. Recorded work may still use it: it is ordered before what comes.
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }

    /// Bytes a binding covers: whole vectors.
    pub(crate) fn binding_bytes(&self) -> u64 {
        limits::binding_size(self.bytes).min(self.memory.block().size - self.offset)
    }
}

/// One allocation of the device.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) raw: wgpu::Buffer,
    /// Unique within the pool, ascending: what bind groups are cached by.
    pub(crate) id: u64,
    pub(crate) size: u64,
    /// The last batch of recorded work that uses it. A host write runs before all work of the batch being recorded, so it must not
    /// touch memory which that batch uses.
    pub(crate) batch: AtomicU64,
    /// How many recorded launches, uploads and copies write it.
    writes: AtomicU64,
}

/// A block in use.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Taken out only by `drop`.
    block: Option<Block>,
    pool: Arc<Pool>,
}

impl Memory {
    pub(crate) fn block(&self) -> &Block {
        match &self.block {
            Some(block) => block,
            None => unreachable!("the block leaves its memory only when that is dropped"),
        }
    }

    /// Whether the memory belongs to the device whose pool is `pool`.
    pub(crate) fn belongs_to(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

/// Idle blocks by size class, and the count of all bytes.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Class size, then id: the lowest id goes first, so that a loop whose steps allocate alike gets the same blocks in every step, and
    /// its bind groups with them.
    idle: BTreeMap<(u64, u64), Idle>,
    idle_bytes: u64,
    /// Bytes of idle blocks to keep.
    cap: u64,
    clock: u64,
    next_id: u64,
    allocated: u64,
    peak: u64,
    /// Blocks dropped since [`Pool::evicted`] was last asked: cached bind groups keep their memory alive until they go too.
    evicted: Vec<u64>,
}

#[derive(Debug)]
struct Idle {
    block: Block,
    since: u64,
}

impl Pool {
    pub(crate) fn new(cap: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            idle: BTreeMap::new(),
            idle_bytes: 0,
            cap,
            clock: 0,
            next_id: 0,
            allocated: 0,
            peak: 0,
            evicted: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle block of exactly this class.
    pub(crate) fn take(self: &Arc<Self>, class: u64) -> Option<Memory> {
        let mut state = self.state();
        let key = *state.idle.range((class, 0)..=(class, u64::MAX)).next()?.0;
        let idle = state.idle.remove(&key)?;
        state.idle_bytes -= class;
        Some(Memory { block: Some(idle.block), pool: Arc::clone(self) })
    }

    /// Takes a new allocation under the pool's care.
    pub(crate) fn adopt(self: &Arc<Self>, raw: wgpu::Buffer) -> Memory {
        let mut state = self.state();
        let size = raw.size();
        let id = state.add(size);
        Memory {
            block: Some(Block { raw, id, size, batch: AtomicU64::new(0), writes: AtomicU64::new(0) }),
            pool: Arc::clone(self),
        }
    }

    /// Counts an allocation that is no block, and gives it an id.
    pub(crate) fn reserve(&self, bytes: u64) -> u64 {
        self.state().add(bytes)
    }

    /// The end of what [`Self::reserve`] counted.
    pub(crate) fn release(&self, id: u64, bytes: u64) {
        let mut state = self.state();
        state.allocated -= bytes;
        state.evicted.push(id);
    }

    fn give_back(&self, block: Block) {
        let mut state = self.state();
        state.clock += 1;
        state.idle_bytes += block.size;
        let since = state.clock;
        state.idle.insert((block.size, block.id), Idle { block, since });
        let cap = state.cap;
        state.shrink(cap);
    }

    /// Drops idle blocks, longest idle first, until at most `bytes` remain.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.state().shrink(bytes);
    }

    /// Changes how many idle bytes are kept.
    pub(crate) fn set_cap(&self, bytes: u64) {
        let mut state = self.state();
        state.cap = bytes;
        state.shrink(bytes);
    }

    /// The blocks that were dropped since the last call.
    pub(crate) fn evicted(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().evicted)
    }

    /// Bytes allocated now and at most, idle ones included.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let state = self.state();
        (state.allocated, state.peak)
    }
}

impl State {
    /// Counts an allocation and gives it the next id.
    fn add(&mut self, bytes: u64) -> u64 {
        self.allocated += bytes;
        self.peak = self.peak.max(self.allocated);
        self.next_id += 1;
        self.next_id - 1
    }

    fn shrink(&mut self, bytes: u64) {
        while self.idle_bytes > bytes {
            let Some(key) = self.idle.iter().min_by_key(|(_, idle)| idle.since).map(|(key, _)| *key) else {
                return;
            };
            if let Some(idle) = self.idle.remove(&key) {
                self.idle_bytes -= idle.block.size;
                self.allocated -= idle.block.size;
                self.evicted.push(idle.block.id);
            }
        }
    }
}

impl Block {
    pub(crate) fn use_in(&self, batch: u64) {
        self.batch.store(batch, Ordering::Relaxed);
    }

    /// Notes that something recorded writes it.
    pub(crate) fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn used_in(&self, batch: u64) -> bool {
        self.batch.load(Ordering::Relaxed) == batch
    }
}

/// The size allocated for `bytes`: eight classes per power of two, so that a block serves similar sizes and wastes under an eighth.
pub(crate) fn class(bytes: u64, limit: u64) -> u64 {
    let exact = limits::binding_size(bytes);
    let unit = (exact.next_power_of_two() / 16).max(limits::BUFFER_UNIT);
    let class = exact.div_ceil(unit) * unit;
    if class <= limit { class } else { exact }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_hold_their_bytes_and_waste_under_an_eighth() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, 123_456_789, (1 << 31) - 17]) {
            let class = class(bytes, u64::MAX);
            assert!(class >= bytes.max(16) && class.is_multiple_of(16));
            assert!(class - bytes <= 16 + bytes / 8, "{bytes} takes {class}");
        }
        // The last class below a limit is cut to what was asked for.
        assert_eq!(class(1000, 1008), 1008);
        assert_eq!(class(1000, 1024), 1024);
    }
}
