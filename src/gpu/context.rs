//! What every part of the runtime needs of an opened device.

use std::sync::Arc;

use super::counters::Tally;
use super::fault::Fault;
use super::pool::Pool;

/// The device with what watches over it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) fault: Arc<Fault>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) tally: Tally,
}
