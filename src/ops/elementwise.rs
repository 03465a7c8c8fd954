//! Sums, products and maxima of elements.

mod gpu;

use super::inputs::{Input, worst};
use super::{BOUNDED, Case, Effort, Op, same_device, variants_of, wrong_case, wrong_dtypes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::profile::span;
use crate::reference::elementwise::Pair;
use crate::rng;
use crate::tensor::{DType, RealsMut, Storage, Tensor};
use crate::tolerance::Worst;
use crate::{cpu, reference};

const NAME: &str = "elementwise";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "a + b, a·b, αx, y + αx in place, and maxout with its gradient",
    dimensions: &["elements"],
    tolerance: BOUNDED,
    shaders: gpu::shaders,
    flops: |_, s| s[0] as f64,
    bytes: |form, s| {
        let arrays = match form {
            "scale" => 2,
            "maxout_backward" => 5,
            _ => 3,
        };
        4.0 * (arrays * s[0]) as f64
    },
    variants: |device| variants_of(device, FORMS, |_, _| vec!["vec4"]),
    shapes,
    fit: |_| {},
    timed: &[&[4096 * 1024]],
    workload,
    check,
};

/// aᵢ + bᵢ. Gradient: that of the sum, for both.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = span("elementwise add");
    pair(a, b, Pair::Add)
}

/// aᵢ·bᵢ. Gradient: that of the product times the other operand.
///
/// # Errors
/// As [`add`].
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = span("elementwise mul");
    pair(a, b, Pair::Mul)
}

/// max(aᵢ, bᵢ), NaN where either is: a maxout unit of two pieces (course notes, "Maxout"). Gradient: [`maxout_backward`].
///
/// # Errors
/// As [`add`].
pub fn maxout(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = span("elementwise maxout");
    pair(a, b, Pair::Maxout)
}

/// αxᵢ; α is rounded to the device's precision. Gradient: that of the result times α.
///
/// # Errors
/// [`Error::Shape`] when `x` is not real; [`Error::Device`] when the device fails.
pub fn scale(alpha: f64, x: &Tensor) -> Result<Tensor> {
    let _span = span("elementwise scale");
    let storage = match x.storage() {
        Storage::F64(x) => Storage::F64(reference::elementwise::scale(alpha, x).into()),
        Storage::F32(x) => Storage::F32(cpu::elementwise::scale(alpha as f32, x).into()),
        Storage::Gpu(gpu, x, DType::Real) => {
            Storage::Gpu(gpu.clone(), gpu::scale(gpu, alpha as f32, x)?, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[x], "a real tensor")),
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage))
}

/// yᵢ += αxᵢ in place; a clone of `y` keeps its values. α is rounded to the device's precision.
///
/// # Errors
/// As [`add`]; `y` is then unchanged.
pub fn axpy(alpha: f64, x: &Tensor, y: &mut Tensor) -> Result<()> {
    check_alike(x, y)?;
    axpy_into(alpha, x, y.reals_mut(NAME)?)
}

/// [`axpy`] where `y` is a part of a tensor, of as many elements as `x` and on its device.
pub(crate) fn axpy_into(alpha: f64, x: &Tensor, y: RealsMut<'_>) -> Result<()> {
    let _span = span("elementwise axpy");
    match (x.storage(), y) {
        (Storage::F64(x), RealsMut::F64(y)) => {
            y.copy_from_slice(&reference::elementwise::axpy(alpha, x, y));
            Ok(())
        }
        (Storage::F32(x), RealsMut::F32(y)) => {
            cpu::elementwise::axpy(alpha as f32, x, y);
            Ok(())
        }
        (Storage::Gpu(_, x, DType::Real), RealsMut::Gpu(gpu, y)) => gpu::axpy(gpu, alpha as f32, x, &y),
        _ => Err(wrong_dtypes(NAME, &[x], "real tensors")),
    }
}

/// (∂L/∂aᵢ, ∂L/∂bᵢ) from doutᵢ = ∂L/∂max(aᵢ, bᵢ): the larger operand has it, the other 0; a tie goes to `a`.
///
/// # Errors
/// As [`add`].
pub fn maxout_backward(dout: &Tensor, a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let _span = span("elementwise maxout_backward");
    check_alike(a, b)?;
    check_alike(a, dout)?;
    let (da, db) = match (dout.storage(), a.storage(), b.storage()) {
        (Storage::F64(dout), Storage::F64(a), Storage::F64(b)) => {
            let (da, db) = reference::elementwise::maxout_backward(dout, a, b);
            (Storage::F64(da.into()), Storage::F64(db.into()))
        }
        (Storage::F32(dout), Storage::F32(a), Storage::F32(b)) => {
            let (da, db) = cpu::elementwise::maxout_backward(dout, a, b);
            (Storage::F32(da.into()), Storage::F32(db.into()))
        }
        (
            Storage::Gpu(gpu, dout, DType::Real),
            Storage::Gpu(_, a, DType::Real),
            Storage::Gpu(_, b, DType::Real),
        ) => {
            let (da, db) = gpu::maxout_backward(gpu, dout, a, b)?;
            (Storage::Gpu(gpu.clone(), da, DType::Real), Storage::Gpu(gpu.clone(), db, DType::Real))
        }
        _ => return Err(wrong_dtypes(NAME, &[dout, a, b], "real tensors")),
    };
    let of = |storage| Tensor::from_storage(a.shape().to_vec(), storage);
    Ok((of(da), of(db)))
}

fn pair(a: &Tensor, b: &Tensor, pair: Pair) -> Result<Tensor> {
    check_alike(a, b)?;
    let storage = match (a.storage(), b.storage()) {
        (Storage::F64(a), Storage::F64(b)) => Storage::F64(reference::elementwise::pair(a, b, pair).into()),
        (Storage::F32(a), Storage::F32(b)) => Storage::F32(cpu::elementwise::pair(a, b, pair).into()),
        (Storage::Gpu(gpu, a, DType::Real), Storage::Gpu(_, b, DType::Real)) => {
            Storage::Gpu(gpu.clone(), gpu::pair(gpu, a, b, pair)?, DType::Real)
        }
        _ => return Err(wrong_dtypes(NAME, &[a, b], "two real tensors")),
    };
    Ok(Tensor::from_storage(a.shape().to_vec(), storage))
}

/// Refuses operands of different shapes or devices.
fn check_alike(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape() != b.shape() {
        return Err(Error::shape(
            NAME,
            format!("operands of shape {:?} and {:?}", a.shape(), b.shape()),
            "pass tensors of one shape",
        ));
    }
    same_device(NAME, a, b)
}

const FORMS: &[&str] = &["add", "mul", "scale", "axpy", "maxout", "maxout_backward"];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes: Vec<_> = [0, 1, 3, 63, 64, 65, 257, 1031].into_iter().map(|n| vec![n]).collect();
    if effort == Effort::Full {
        shapes.push(vec![100_003]);
    }
    shapes
}

/// Two operands, with ties among them, and a gradient.
fn operands(device: &Device, case: &Case) -> Result<[Input; 3]> {
    let &[n] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let mut rng = rng::seeded(case.seed);
    let mut a = rng::reals(&mut rng, n);
    let mut b = rng::reals(&mut rng, n);
    // Of different sizes, or their sums would be exact.
    a.iter_mut().step_by(3).for_each(|a| *a = f64::from((*a * 1e-3) as f32));
    for (b, a) in b.iter_mut().zip(&a).step_by(5) {
        *b = *a;
    }
    let dout = Input::reals(device, &mut rng, &[n])?;
    Ok([Input::of(device, &[n], &a)?, Input::of(device, &[n], &b)?, dout])
}

/// The factor of the checks: 32 bit must round it.
const ALPHA: f64 = -0.3;

fn workload(device: &Device, case: &Case) -> Result<super::Workload> {
    let [a, b, dout] = operands(device, case)?.map(|input| input.tensor);
    let mut y = dout.clone();
    Ok(match case.form() {
        "add" => Box::new(move || add(&a, &b).map(drop)),
        "mul" => Box::new(move || mul(&a, &b).map(drop)),
        "scale" => Box::new(move || scale(ALPHA, &a).map(drop)),
        "axpy" => Box::new(move || axpy(ALPHA, &a, &mut y)),
        "maxout" => Box::new(move || maxout(&a, &b).map(drop)),
        "maxout_backward" => Box::new(move || maxout_backward(&dout, &a, &b).map(drop)),
        _ => return Err(wrong_case(&OP, case)),
    })
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let [a, b, dout] = operands(device, case)?;
    let two = |form| reference::elementwise::pair(&a.tracked, &b.tracked, form);
    match case.form() {
        "add" => worst(&[(&add(&a.tensor, &b.tensor)?, two(Pair::Add))]),
        "mul" => worst(&[(&mul(&a.tensor, &b.tensor)?, two(Pair::Mul))]),
        "scale" => worst(&[(&scale(ALPHA, &a.tensor)?, reference::elementwise::scale(ALPHA, &a.tracked))]),
        "axpy" => {
            let mut y = b.tensor.clone();
            axpy(ALPHA, &a.tensor, &mut y)?;
            worst(&[(&y, reference::elementwise::axpy(ALPHA, &a.tracked, &b.tracked))])
        }
        "maxout" => worst(&[(&maxout(&a.tensor, &b.tensor)?, two(Pair::Maxout))]),
        "maxout_backward" => {
            let (da, db) = maxout_backward(&dout.tensor, &a.tensor, &b.tensor)?;
            let want = reference::elementwise::maxout_backward(&dout.tracked, &a.tracked, &b.tracked);
            worst(&[(&da, want.0), (&db, want.1)])
        }
        _ => Err(wrong_case(&OP, case)),
    }
}
