//! Random flips and shifts of images.

mod gpu;

use super::features::matrix;
use super::inputs::worst_exact;
use super::{Case, EXACT, Effort, Op, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

pub use crate::reference::augment::{Augment, MOST_SHIFT, Move};
pub use crate::reference::dropout::MaskKey;

const NAME: &str = "augment";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "images of a batch flipped and shifted at random, in the same way for a (seed, step, row) on every device",
    dimensions: &["rows", "channels", "height", "width"],
    tolerance: EXACT,
    shaders: gpu::shaders,
    flops: |_, s| 8.0 * s.iter().product::<usize>() as f64,
    bytes: |_, s| 8.0 * s.iter().product::<usize>() as f64,
    variants: |device| variants_of(device, FORMS, |_, _| vec!["line"]),
    shapes,
    fit: |shape| shape[1] %= 4,
    timed: &[&[256, 1, 28, 28], &[256, 3, 32, 32]],
    workload: |device, case| {
        let (x, given, _) = operands(device, case)?;
        Ok(Box::new(move || augment(&x, &given).map(drop)))
    },
    check,
};

/// The images `x` [M, C·H·W], each mirrored with probability ½ and then moved by whole pixels, as `given` says; what comes from outside an
/// image is 0. Without flip and shift nothing is computed.
///
/// Values are copied, so they are the same bits. The moves depend on nothing but the key and the row in the batch, so all devices make the
/// same; they repeat after 2³² rows. Gradient: that of the output, moved back; training data need none. Source: see [`Augment`].
///
/// # Errors
/// [`Error::Shape`] when `x` is not real, not of rows of such images, or the shift is above [`MOST_SHIFT`]; [`Error::Device`] when the
/// device fails.
pub fn augment(x: &Tensor, given: &Augment) -> Result<Tensor> {
    let _span = span("augment");
    let [rows, columns] = matrix(NAME, x)?;
    let [channels, height, width] = given.image;
    if channels * height * width != columns {
        let problem = format!("rows of {columns} values for {channels} × {height} × {width} pixels");
        return Err(Error::shape(NAME, problem, "pass rows of channels × height × width values"));
    }
    if given.shift > MOST_SHIFT {
        let problem = format!("a shift of {} pixels", given.shift);
        return Err(Error::shape(NAME, problem, format!("pass at most {MOST_SHIFT}")));
    }
    let storage = match x.storage() {
        storage if x.dtype() == DType::Real && !given.flip && given.shift == 0 => storage.clone(),
        Storage::F64(x) => Storage::F64(reference::augment::augment(x, given).into()),
        Storage::F32(x) => Storage::F32(cpu::augment::augment(x, given).into()),
        Storage::Gpu(gpu, x, DType::Real) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, x, given, rows)?, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[x], "real images")),
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage))
}

const FORMS: &[&str] = &["flip", "shift", "flip_shift"];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 1, 4, 4],
        vec![3, 0, 2, 2],
        vec![2, 3, 0, 4],
        vec![2, 1, 4, 0],
        vec![1, 1, 1, 1],
        vec![17, 1, 1, 5],
        vec![33, 3, 2, 4],
        vec![65, 1, 7, 8],
        vec![64, 3, 5, 11],
        vec![31, 1, 28, 28],
        vec![7, 3, 32, 32],
    ];
    if effort == Effort::Full {
        shapes.push(vec![257, 3, 31, 29]);
    }
    shapes
}

/// Seeded images, their moves from a key that has bits in all its parts, and the values as the definition takes them.
fn operands(device: &Device, case: &Case) -> Result<(Tensor, Augment, Vec<f64>)> {
    let &[rows, channels, height, width] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let columns = channels * height * width;
    let values = rng::reals(&mut rng::seeded(case.seed), rows * columns);
    // Of every size: within the image, as large as it, beyond it.
    let shift = [1, 2, 3, 8, 40, MOST_SHIFT][(case.seed as usize ^ columns) % 6];
    let (flip, shift) = match case.form() {
        "flip" => (true, 0),
        "shift" => (false, shift),
        "flip_shift" => (true, shift),
        _ => return Err(wrong_case(&OP, case)),
    };
    let step = case.seed as u32 ^ 0x8000_0001;
    let key = MaskKey { seed: case.seed.rotate_left(32) ^ case.seed, step, layer: 0 };
    let given = Augment { image: [channels, height, width], flip, shift, key };
    Ok((Tensor::from_f64(device, &[rows, columns], &values)?, given, values))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (x, given, values) = operands(device, case)?;
    worst_exact(&augment(&x, &given)?, &reference::augment::augment(&values, &given))
}
