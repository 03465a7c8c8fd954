//! Elections on an adapter.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Launch, Params};
use crate::ops::Shader;

crate::params! {
    /// Parameters of `vote.wgsl`.
    struct VoteParams {
        queries: u32,
        k: u32,
        classes: u32,
    }
}

const fn kernel(entry: &'static str) -> Kernel {
    Kernel {
        op: super::NAME,
        source: include_str!("../../../shaders/vote.wgsl"),
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: VoteParams::FIELDS,
        subgroup: false,
        native: false,
    }
}

static FEW: Kernel = kernel("few");
static MANY: Kernel = kernel("many");

/// Largest k whose square of comparisons an invocation makes alone.
const FEW_K: usize = 64;

/// `few` is quicker as long as its square is small, and the only one that is right beyond that is `many`.
fn choose(k: usize, family: Option<&str>) -> &'static Kernel {
    if k <= FEW_K && family != Some(MANY.entry) { &FEW } else { &MANY }
}

fn constants(weighted: bool) -> [(&'static str, u32); 1] {
    [("WEIGHTED", u32::from(weighted))]
}

pub(super) fn shaders() -> Vec<Shader> {
    let all = [&FEW, &MANY].into_iter().flat_map(|kernel| [false, true].map(|weighted| (kernel, weighted)));
    all.map(|(kernel, weighted)| Shader { kernel, constants: constants(weighted).to_vec() }).collect()
}

pub(super) fn families(_: &Gpu, _: &str) -> Vec<&'static str> {
    vec![FEW.entry, MANY.entry]
}

/// Records the election; returns the classes. Labels are not checked on the device: one that is out of range gets no
/// vote or wins as itself, and nothing is addressed by it.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    labels: &Buffer,
    weights: Option<&Buffer>,
    [queries, k, classes]: [usize; 3],
) -> Result<Buffer> {
    let elected = gpu.alloc(4 * queries as u64)?;
    if queries == 0 {
        return Ok(elected);
    }
    let kernel = choose(k, family);
    let groups = if kernel.entry == FEW.entry { queries.div_ceil(64) } else { queries };
    let params = VoteParams { queries: queries as u32, k: k as u32, classes: classes as u32 };
    gpu.record(&Launch {
        kernel,
        constants: &constants(weights.is_some()),
        buffers: &[labels, weights.unwrap_or(labels), &elected],
        params: params.bytes(),
        groups: gpu.limits().grid(groups as u64)?,
        work: (queries * k * k.min(classes)) as u64,
    })?;
    Ok(elected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_neighbours_need_a_workgroup() {
        assert_eq!(choose(10, None).entry, "few");
        assert_eq!(choose(10, Some("many")).entry, "many");
        assert_eq!(choose(65, Some("few")).entry, "many");
    }
}
