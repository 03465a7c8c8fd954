//! Elements at given positions.

mod gpu;

use std::ops::Range;

use super::inputs::worst_exact;
use super::{Case, EXACT, Effort, Op, same_device, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

const NAME: &str = "take";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "the integers at given positions, such as the labels of a batch",
    dimensions: &["elements", "positions"],
    tolerance: EXACT,
    shaders: gpu::shaders,
    flops: |_, s| s[1] as f64,
    bytes: |_, s| 12.0 * s[1] as f64,
    variants: |device| variants_of(device, &["u32"], |_, _| vec!["scalar"]),
    shapes,
    fit: |s| s[0] = s[0].max(1),
    timed: &[&[60_000, 256]],
    workload: |device, case| {
        let operands = Operands::new(device, case)?;
        Ok(Box::new(move || take(&operands.x, &operands.positions()).map(drop)))
    },
    check,
};

/// A range of a vector of positions: one batch of a shuffled epoch, say.
#[derive(Debug, Clone)]
pub struct Positions<'a> {
    /// Positions \[P\], integers.
    pub all: &'a Tensor,
    /// Those that count.
    pub range: Range<usize>,
}

impl Positions<'_> {
    /// Refuses a range beyond the vector, and on the host positions that are not below `bound`.
    pub(super) fn check(&self, op: &'static str, bound: usize) -> Result<()> {
        let &[count] = self.all.shape() else {
            let problem = format!("positions of shape {:?}", self.all.shape());
            return Err(Error::shape(op, problem, "pass a vector of positions"));
        };
        if self.range.start > self.range.end || self.range.end > count {
            let problem = format!("positions {:?} of {count}", self.range);
            return Err(Error::shape(op, problem, "stay within the vector of positions"));
        }
        if let Storage::U32(all, _) = self.all.storage()
            && let Some(position) =
                all[self.range.clone()].iter().find(|&&position| position as usize >= bound)
        {
            let problem = format!("position {position} in {bound} rows");
            return Err(Error::shape(op, problem, "positions count from 0"));
        }
        Ok(())
    }
}

/// The integers of `x` \[N\] at `positions`: as many as the range is long. On the host a position that is not below N is refused;
/// on an adapter, where it is not looked at, it gives the largest integer.
///
/// # Errors
/// [`Error::Shape`] when shapes, types, devices or positions do not fit; [`Error::Device`] when the device fails.
pub fn take(x: &Tensor, positions: &Positions<'_>) -> Result<Tensor> {
    let _span = span("take");
    let &[elements] = x.shape() else {
        return Err(Error::shape(NAME, format!("a tensor of shape {:?}", x.shape()), "pass a vector"));
    };
    same_device(NAME, x, positions.all)?;
    positions.check(NAME, elements)?;
    let range = positions.range.clone();
    let storage = match (x.storage(), positions.all.storage()) {
        (Storage::U32(x, true), Storage::U32(all, true)) => {
            Storage::U32(reference::take::take(x, &all[range]).into(), true)
        }
        (Storage::U32(x, false), Storage::U32(all, false)) => {
            Storage::U32(cpu::take::take(x, &all[range]).into(), false)
        }
        (Storage::Gpu(gpu, x, DType::U32), Storage::Gpu(_, all, DType::U32)) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, x, all, range)?, DType::U32)
        }
        _ => return Err(wrong_dtypes(NAME, &[x, positions.all], "integers and their positions")),
    };
    Ok(Tensor::from_storage(vec![positions.range.len()], storage))
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![1, 0], vec![1, 1], vec![7, 63], vec![64, 64], vec![1031, 65]];
    if effort == Effort::Full {
        shapes.push(vec![100_003, 70_001]);
    }
    shapes
}

/// Seeded integers with twice the positions that count, of which the middle is taken.
struct Operands {
    x: Tensor,
    all: Tensor,
    range: Range<usize>,
    want: Vec<f64>,
}

impl Operands {
    fn new(device: &Device, case: &Case) -> Result<Self> {
        let &[elements, count] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
        let mut rng = rng::seeded(case.seed);
        let x = rng::integers(&mut rng, elements, u32::MAX);
        let all = rng::integers(&mut rng, 2 * count, elements as u32);
        let range = count / 2..count / 2 + count;
        let want = reference::take::take(&x, &all[range.clone()]).into_iter().map(f64::from).collect();
        Ok(Self {
            x: Tensor::from_u32(device, &[elements], &x)?,
            all: Tensor::from_u32(device, &[2 * count], &all)?,
            range,
            want,
        })
    }

    fn positions(&self) -> Positions<'_> {
        Positions { all: &self.all, range: self.range.clone() }
    }
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let operands = Operands::new(device, case)?;
    worst_exact(&take(&operands.x, &operands.positions())?, &operands.want)
}
