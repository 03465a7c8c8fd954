//! Dropout.

mod gpu;

use super::inputs::{Input, worst};
use super::{BOUNDED, Case, Effort, Op, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu};
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
    flops: |_, s| 20.0 * s[0] as f64,
    bytes: |_, s| 8.0 * s[0] as f64,
    variants: |device| variants_of(device, FORMS, |_, _| vec!["vec4"]),
    shapes,
    fit: |_| {},
    timed: &[&[4096 * 1024]],
    workload: |device, case| {
        let mut operands = Operands::new(device, case)?;
        // A drop of 0 would time nothing.
        operands.layers[0].drop = 0.5;
        Ok(Box::new(move || operands.run().map(drop)))
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
    check_drop(dropout.drop)?;
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

fn check_drop(drop: f64) -> Result<()> {
    if (0.0..1.0).contains(&drop) {
        return Ok(());
    }
    let problem = format!("a probability to drop of {drop}");
    Err(Error::shape(NAME, problem, "pass at least 0 and less than 1"))
}

/// What nets that stand side by side drop, for [`dropout_grouped`]: made once, used in every step.
#[derive(Debug, Clone)]
pub struct Drops {
    each: Vec<f64>,
    inverted: bool,
    /// What kernels take of it.
    table: Option<(Gpu, Buffer)>,
}

impl Drops {
    /// Net g drops a unit with the probability `drops[g]`; `inverted` as in [`Dropout`].
    ///
    /// # Errors
    /// [`Error::Shape`] without any net, or when a probability is not in [0, 1); [`Error::Device`] when the device fails.
    pub fn new(device: &Device, drops: &[f64], inverted: bool) -> Result<Self> {
        if drops.is_empty() {
            return Err(Error::shape(NAME, "no probability to drop", "pass one for each net"));
        }
        drops.iter().try_for_each(|drop| check_drop(*drop))?;
        let mut made = Self { each: drops.to_vec(), inverted, table: None };
        if let Device::Gpu(gpu) = device {
            // The key is none of the table's.
            let layers = made.layers(MaskKey { seed: 0, step: 0, layer: 0 });
            made.table = Some((gpu.clone(), gpu::table(gpu, &layers)?));
        }
        Ok(made)
    }

    /// How many nets there are.
    pub fn nets(&self) -> usize {
        self.each.len()
    }

    fn layers(&self, key: MaskKey) -> Vec<Dropout> {
        self.each.iter().map(|&drop| Dropout { drop, inverted: self.inverted, key }).collect()
    }
}

/// [`dropout`] of nets that stand side by side, each as if alone: net g has columns g·H … (g+1)·H of `x` [N, G·H] and its own probability, and
/// the mask of its unit in row r and column c is that of element r·H + c. A net that drops nothing keeps its values.
///
/// # Errors
/// [`Error::Shape`] when `x` is not a real matrix whose columns the nets divide, or lies on another device than `drops`;
/// [`Error::Device`] when the device fails.
pub fn dropout_grouped(x: &Tensor, drops: &Drops, key: MaskKey) -> Result<Tensor> {
    let _span = span("dropout");
    let nets = drops.each.len();
    let columns = match *x.shape() {
        [_, all] if all.is_multiple_of(nets) => all / nets,
        _ => {
            let problem = format!("x of shape {:?} for {nets} nets", x.shape());
            return Err(Error::shape(NAME, problem, "pass a matrix with as many columns for each net"));
        }
    };
    let storage = match (x.storage(), &drops.table) {
        (storage, _) if x.dtype() == DType::Real && drops.each.iter().all(|drop| *drop == 0.0) => {
            storage.clone()
        }
        (Storage::F64(x), _) => {
            Storage::F64(reference::dropout::dropout_grouped(x, columns, &drops.layers(key)).into())
        }
        (Storage::F32(x), _) => {
            Storage::F32(cpu::dropout::dropout_grouped(x, columns, &drops.layers(key)).into())
        }
        (Storage::Gpu(gpu, x, DType::Real), Some((same, table))) if gpu.same(same) => {
            let out = gpu::record_grouped(gpu, x, table, [nets, columns], key)?;
            Storage::Gpu(gpu.clone(), out, DType::Real)
        }
        (Storage::Gpu(_, _, DType::Real), _) => {
            return Err(Error::shape(NAME, "drops of another device", "make them on the device of x"));
        }
        _ => return Err(wrong_dtypes(NAME, &[x], "a real tensor")),
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage))
}

const FORMS: &[&str] = &["inverted", "vanilla", "grouped"];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Elements, and layers whose key has bits in all its parts: one, or those of nets side by side.
struct Operands {
    x: Input,
    layers: Vec<Dropout>,
    /// Of each net, in the form that has several.
    columns: usize,
    drops: Drops,
}

impl Operands {
    fn new(device: &Device, case: &Case) -> Result<Self> {
        let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
        let mut rng = rng::seeded(case.seed);
        let (inverted, nets) = match case.form() {
            "inverted" => (true, 1),
            "vanilla" => (false, 1),
            "grouped" => (!case.seed.is_multiple_of(4), 3),
            _ => return Err(wrong_case(&OP, case)),
        };
        // About n elements in rows that end inside vectors, or do not.
        let columns = [1, 5, 8, 100][case.seed as usize % 4].min(n);
        let shape = if nets == 1 { vec![n] } else { vec![n / (nets * columns).max(1), nets * columns] };
        let x = Input::reals(device, &mut rng, &shape)?;
        let step = case.seed as u32 ^ 0x8000_0001;
        let key = MaskKey { seed: case.seed.rotate_left(32) ^ case.seed, step, layer: n as u32 };
        let drop = |net| [0.0, 0.1, 0.3, 0.5, 0.9][((case.seed as usize ^ n) + net) % 5];
        let layers: Vec<_> = (0..nets).map(|net| Dropout { drop: drop(net), inverted, key }).collect();
        let drops: Vec<_> = layers.iter().map(|layer| layer.drop).collect();
        Ok(Self { x, layers, columns, drops: Drops::new(device, &drops, inverted)? })
    }

    fn run(&self) -> Result<Tensor> {
        match self.layers.as_slice() {
            [layer] => dropout(&self.x.tensor, layer),
            layers => dropout_grouped(&self.x.tensor, &self.drops, layers[0].key),
        }
    }
}

/// What is dropped is 0 exactly, so this compares the masks too.
fn check(device: &Device, case: &Case) -> Result<Worst> {
    let operands = Operands::new(device, case)?;
    let x = &operands.x.tracked;
    let want = match operands.layers.as_slice() {
        [layer] => reference::dropout::dropout(x, layer),
        layers => reference::dropout::dropout_grouped(x, operands.columns, layers),
    };
    worst(&[(&operands.run()?, want)])
}
