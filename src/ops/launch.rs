//! How most kernels are launched: one invocation, or one workgroup, for each of many like items.

use crate::error::{Error, Result};
use crate::gpu::limits::LOOP_ROUNDS;
use crate::gpu::{Buffer, Gpu, Kernel, Launch, Params};

/// Invocations of a workgroup of the kernels in which an invocation has an item of its own.
pub(super) const GROUP: usize = 64;

/// Records `kernel` with an invocation for each of `items`, in workgroups of [`GROUP`]; the kernel skips the surplus.
/// `work` is in floating-point operations or bytes, whichever is more.
pub(super) fn per_item<P: Params>(
    gpu: &Gpu,
    kernel: &'static Kernel,
    constants: &[(&'static str, u32)],
    buffers: &[&Buffer],
    params: &P,
    items: usize,
    work: usize,
) -> Result<()> {
    per_group(gpu, kernel, constants, buffers, params, items.div_ceil(GROUP), work)
}

/// Records `kernel` with a workgroup for each of `groups`; the kernel skips the surplus.
pub(super) fn per_group<P: Params>(
    gpu: &Gpu,
    kernel: &'static Kernel,
    constants: &[(&'static str, u32)],
    buffers: &[&Buffer],
    params: &P,
    groups: usize,
    work: usize,
) -> Result<()> {
    if groups == 0 {
        return Ok(());
    }
    gpu.record(&Launch {
        kernel,
        constants,
        buffers,
        params: params.bytes(),
        groups: gpu.limits().grid(groups as u64)?,
        work: work as u64,
    })
}

/// Refuses loops that a software adapter would end early (see [`LOOP_ROUNDS`]); `what` names the dimension.
pub(super) fn check_rounds(gpu: &Gpu, op: &'static str, what: &str, n: usize, rounds: usize) -> Result<()> {
    if gpu.info().software() && rounds > LOOP_ROUNDS {
        let problem = format!("{op}: {n} {what} are more than a software adapter takes in one launch");
        return Err(Error::device(problem, "use --device cpu, or work on fewer at a time"));
    }
    Ok(())
}

/// Refuses tensors whose elements 32 bit cannot count.
pub(super) fn check_count(op: &'static str, elements: usize) -> Result<()> {
    if u32::try_from(elements).is_ok() {
        return Ok(());
    }
    let problem = format!("{op}: {elements} elements are more than 32 bit count");
    Err(Error::device(problem, "work on fewer rows at a time"))
}
