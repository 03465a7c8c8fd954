//! The softmax of rows on an adapter.

use crate::error::Result;
use crate::gpu::{Access, Buffer, Gpu, Kernel, Params};
use crate::ops::launch::{check_count, per_group};
use crate::ops::{Shader, rowwise};

crate::params! {
    /// Parameters of `softmax.wgsl`.
    struct SoftmaxParams {
        rows: u32,
        columns: u32,
    }
}

const SOURCE: &str = include_str!("../../../shaders/softmax.wgsl");
const KEPT_SOURCE: &str = concat!(
    include_str!("../../../shaders/softmax.wgsl"),
    include_str!("../../../shaders/softmax.kept.wgsl")
);

const fn kernel(entry: &'static str, source: &'static str, subgroup: bool) -> Kernel {
    Kernel {
        op: super::NAME,
        source,
        entry,
        buffers: &[Access::Read, Access::Read, Access::ReadWrite],
        fields: SoftmaxParams::FIELDS,
        subgroup,
        native: false,
    }
}

static FORWARD: Kernel = kernel("forward", SOURCE, false);
static BACKWARD: Kernel = kernel("backward", SOURCE, false);
static KEPT: Kernel = kernel("kept", KEPT_SOURCE, true);

/// The name of the family in which a subgroup keeps its row.
const SUBGROUP: &str = "subgroup";

/// Vectors that an invocation of `kept` has at most: the text of its kernel, and the time to compile it, grow with them.
const MOST_KEPT: usize = 32;

/// Vectors of an invocation of `kept` where `lanes` of them share a row.
fn kept(columns: usize, lanes: u32) -> usize {
    columns.div_ceil(4 * lanes as usize)
}

/// The constants of `kept`.
fn constants(columns: usize, lanes: u32) -> [(&'static str, u32); 5] {
    let whole = columns / (4 * lanes as usize);
    [
        ("ALIGNED", u32::from(columns.is_multiple_of(4))),
        ("GROUP", lanes),
        ("TEAM", lanes),
        ("VECTORS", kept(columns, lanes) as u32),
        ("WHOLE", whole as u32),
    ]
}

pub(super) fn shaders() -> Vec<Shader> {
    let kept =
        [96, 99, 1024].map(|columns| Shader { kernel: &KEPT, constants: constants(columns, 8).to_vec() });
    rowwise::shaders(&FORWARD).chain(rowwise::shaders(&BACKWARD)).chain(kept).collect()
}

/// Invocations of a subgroup, where `kept` is written for so many.
fn lanes(gpu: &Gpu) -> Option<u32> {
    gpu.info().subgroup_size().filter(|lanes| [4, 8, 16].contains(lanes))
}

pub(super) fn families(gpu: &Gpu, form: &str) -> Vec<&'static str> {
    let subgroup = (form == "forward" && lanes(gpu).is_some()).then_some(SUBGROUP);
    rowwise::families(gpu, form).into_iter().chain(subgroup).collect()
}

/// Records the softmax of `x`, or its gradient for the output `x` where there is one; returns the result.
pub(super) fn record(
    gpu: &Gpu,
    family: Option<&str>,
    x: &Buffer,
    dout: Option<&Buffer>,
    shape: [usize; 2],
) -> Result<Buffer> {
    let out = gpu.alloc(x.len())?;
    let [rows, columns] = shape;
    let params = SoftmaxParams { rows: rows as u32, columns: columns as u32 };
    let software = gpu.info().software() && columns > rowwise::SHORT;
    let wanted = family.map_or(software, |family| family == SUBGROUP) && dout.is_none();
    let lanes = lanes(gpu).filter(|lanes| wanted && kept(columns, *lanes) <= MOST_KEPT);
    if let Some(lanes) = lanes
        && rows * columns > 0
    {
        check_count(super::NAME, rows * columns)?;
        let constants = constants(columns, lanes);
        per_group(gpu, &KEPT, &constants, &[x, x, &out], &params, rows, 8 * rows * columns)?;
        return Ok(out);
    }
    let (kernel, first, sweeps) = dout.map_or((&FORWARD, x, 3), |dout| (&BACKWARD, dout, 2));
    rowwise::record(gpu, family, kernel, &[first, x, &out], &params, shape, sweeps)?;
    Ok(out)
}
