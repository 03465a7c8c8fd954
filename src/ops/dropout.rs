//! Dropout.

mod gpu;

use super::inputs::{Input, worst};
use super::{BOUNDED, Case, Effort, Op, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

pub use crate::reference::dropout::{Dropout, MaskKey};

const NAME: &str = "dropout";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "mask·x/(1 − drop), or mask·x, with one mask of a (seed, step, layer) on every device",
    dimensions: &["elements"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |s| 20.0 * s[0] as f64,
    bytes: |s| 8.0 * s[0] as f64,
    variants: |device| variants_of(device, FORMS, |_, _| vec!["vec4"]),
    shapes,
    fit: |_| {},
    timed: &[&[4096 * 1024]],
    workload: |device, case| {
        let (x, layer) = operands(device, case)?;
        // A drop of 0 would time nothing.
        let layer = Dropout { drop: 0.5, ..layer };
        Ok(Box::new(move || dropout(&x.tensor, &layer).map(drop)))
    },
    check,
};

/// mᵢ·xᵢ in the shape of `x`: the mask m is 0 with probability `drop`, else 1/(1 − drop) or, not inverted, 1 (course notes,
/// "Regularization", inverted and vanilla dropout). In the test pass the inverted form is the identity; the vanilla form's is x·(1 − drop).
///
/// The mask depends on nothing but the key and i, so all devices have the same; it repeats after 2³² elements. The operation is linear:
/// the same call on the gradient of the result is the gradient of `x`. NaN stays NaN. With `drop` = 0 nothing is computed.
///
/// # Errors
/// [`Error::Shape`] when `x` is not real or `drop` is not in [0, 1); [`Error::Device`] when the device fails.
pub fn dropout(x: &Tensor, dropout: &Dropout) -> Result<Tensor> {
    let _span = span("dropout");
    if !(0.0..1.0).contains(&dropout.drop) {
        let problem = format!("a probability to drop of {}", dropout.drop);
        return Err(Error::shape(NAME, problem, "pass at least 0 and less than 1"));
    }
    let storage = match x.storage() {
        storage if x.dtype() == DType::Real && dropout.drop == 0.0 => storage.clone(),
        Storage::F64(x) => Storage::F64(reference::dropout::dropout(x, dropout).into()),
        Storage::F32(x) => Storage::F32(cpu::dropout::dropout(x, dropout).into()),
        Storage::Gpu(gpu, x, DType::Real) => {
            Storage::Gpu(gpu.clone(), gpu::record(gpu, x, dropout)?, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[x], "a real tensor")),
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage))
}

const FORMS: &[&str] = &["inverted", "vanilla"];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Elements, and a layer whose key has bits in all its parts.
fn operands(device: &Device, case: &Case) -> Result<(Input, Dropout)> {
    let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    let x = Input::reals(device, &mut rng, &[n])?;
    let drop = [0.0, 0.1, 0.3, 0.5, 0.9][(case.seed as usize ^ n) % 5];
    let step = case.seed as u32 ^ 0x8000_0001;
    let key = MaskKey { seed: case.seed.rotate_left(32) ^ case.seed, step, layer: n as u32 };
    let inverted = match split_variant(&case.variant).0 {
        "inverted" => true,
        "vanilla" => false,
        _ => return Err(wrong_case(&OP, case)),
    };
    Ok((x, Dropout { drop, inverted, key }))
}

/// What is dropped is 0 exactly, so this compares the masks too.
fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (x, layer) = operands(device, case)?;
    worst(&[(&dropout(&x.tensor, &layer)?, reference::dropout::dropout(&x.tracked, &layer))])
}
