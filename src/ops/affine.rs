//! A layer: matrix product, bias and nonlinearity in one pass. On an adapter it runs on the kernels of [`super::matmul`].

mod gradient;

use super::inputs::{Input, Level, level_column, level_row, worst};
use super::matmul::gpu::{Epilogue, Finish, Terms, families, record_with};
use super::{BOUNDED, Case, Effort, Op, same_device, split_variant, variants_of, wrong_case, wrong_dtypes};
use crate::cpu::matmul::MatmulShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::profile::span;
use crate::reference::activation::Activation;
use crate::rng;
use crate::tensor::{DType, Storage, Tensor};
use crate::tolerance::{Tracked, Worst};
use crate::{cpu, recycled, reference};

pub use gradient::{affine_gradients, affine_input_gradient};
pub(crate) use gradient::{affine_gradients_into, grouped_input_gradient};

const NAME: &str = "affine";

/// The table's row.
pub static OP: Op = Op {
    name: NAME,
    summary: "y = f(x·w + b), a layer with its bias and nonlinearity in one pass, and its gradients",
    dimensions: &["rows", "columns", "depth"],
    tolerance: BOUNDED,
    shaders: Vec::new,
    flops: |form, s| (groups_of(form) * s[0] * s[1]) as f64 * (2.0 * s[2] as f64 + 2.0),
    bytes: |form, s| {
        let below = if form.contains("input_gradient_") { s[0] * s[2] } else { 0 };
        4.0 * (groups_of(form) * (s[0] * s[2] + s[2] * s[1] + s[1] + s[0] * s[1] + below)) as f64
    },
    variants: |device| variants_of(device, FORMS, families_of),
    shapes,
    fit: |_| {},
    timed: &[&[256, 512, 3072], &[256, 10, 512]],
    workload: |device, case| {
        let layer = layer(device, case)?;
        Ok(Box::new(move || layer.run().map(drop)))
    },
    check,
};

/// f(x·w + b): yᵢⱼ = f(Σₚ xᵢₚ·wₚⱼ + bⱼ), with `x` [N, D], `w` [D, C] and `bias` \[C\]; returns [N, C]. NaN stays NaN.
///
/// Gradients: [`affine_gradients`] and [`affine_input_gradient`], from dz, the gradient of
/// [`activation_backward`](super::activation::activation_backward) at y.
///
/// # Errors
/// [`Error::Shape`] when shapes, types or devices differ; [`Error::Device`] when the device fails.
pub fn affine(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    run(x, w, bias, activation, 1, None)
}

/// The layers of `groups` nets side by side: [`affine`] of the g-th D columns of `x` [N, groups·D], C columns of `w` [D, groups·C] and C
/// numbers of `bias` [groups·C], for each g, in the g-th C columns of the result [N, groups·C].
///
/// # Errors
/// As [`affine`].
pub(crate) fn affine_grouped(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    groups: usize,
) -> Result<Tensor> {
    run(x, w, bias, activation, groups, None)
}

/// Runs on the operands' device; `family` names the kernels, `None` leaves the choice to the device.
fn run(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    groups: usize,
    family: Option<&str>,
) -> Result<Tensor> {
    let _span = span("affine");
    let shape @ [rows, columns, depth] = shape_of(x, w, bias, groups)?;
    let product = product([rows, columns, depth], groups);
    let storage = match (x.storage(), w.storage(), bias.map(Tensor::storage)) {
        (Storage::F64(x), Storage::F64(w), None) => {
            Storage::F64(reference::affine::affine_grouped(x, w, None, shape, activation, groups).into())
        }
        (Storage::F64(x), Storage::F64(w), Some(Storage::F64(bias))) => Storage::F64(
            reference::affine::affine_grouped(x, w, Some(bias), shape, activation, groups).into(),
        ),
        (Storage::F32(x), Storage::F32(w), bias @ (None | Some(Storage::F32(_)))) => {
            let bias = if let Some(Storage::F32(bias)) = bias { Some(&bias[..]) } else { None };
            let mut out = recycled::numbers(rows * groups * columns);
            cpu::affine::affine(x, w, bias, &mut out, product, activation);
            Storage::F32(out.into())
        }
        (
            Storage::Gpu(gpu, x, DType::Real),
            Storage::Gpu(_, w, DType::Real),
            bias @ (None | Some(Storage::Gpu(_, _, DType::Real))),
        ) => {
            let terms =
                if let Some(Storage::Gpu(_, bias, _)) = bias { Terms::Columns(bias) } else { Terms::None };
            let finish = activation.map_or(Finish::Plain, Finish::Activation);
            let out =
                record_with(gpu, family, x, w, product, &Epilogue { alpha: 1.0, terms, finish, side: None })?;
            Storage::Gpu(gpu.clone(), out, DType::Real)
        }
        _ => {
            let operands: Vec<_> = [Some(x), Some(w), bias].into_iter().flatten().collect();
            return Err(wrong_dtypes(NAME, &operands, "real tensors"));
        }
    };
    Ok(Tensor::from_storage(vec![rows, groups * columns], storage))
}

/// `groups` products side by side.
fn product(mnk: [usize; 3], groups: usize) -> MatmulShape {
    MatmulShape { batch: groups, side_by_side: groups > 1, ..MatmulShape::of(mnk) }
}

/// Rows, and of each group columns and depth, of operands that fit and share a device.
fn shape_of(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, groups: usize) -> Result<[usize; 3]> {
    let refuse = |problem: String| {
        Err(Error::shape(NAME, problem, "pass x as [N, D], w as [D, C] and the bias as [C]"))
    };
    let (&[rows, x_columns], &[depth, columns]) = (x.shape(), w.shape()) else {
        return refuse(format!("x is {:?} and w is {:?}", x.shape(), w.shape()));
    };
    if x_columns != groups * depth {
        let groups = if groups > 1 { format!(" for each of {groups} groups") } else { String::new() };
        return refuse(format!("x has {x_columns} columns and w {depth} rows{groups}"));
    }
    let per_group = columns_of_groups(columns, groups)?;
    same_device(NAME, x, w)?;
    if let Some(bias) = bias {
        if bias.shape() != [columns] {
            return refuse(format!("a bias of shape {:?} for {columns} columns", bias.shape()));
        }
        same_device(NAME, x, bias)?;
    }
    Ok([rows, per_group, depth])
}

/// The columns of each of the groups that share `columns`.
fn columns_of_groups(columns: usize, groups: usize) -> Result<usize> {
    if groups == 0 || !columns.is_multiple_of(groups) {
        let problem = format!("{columns} columns of {groups} groups");
        return Err(Error::shape(NAME, problem, "pass as many columns for each group"));
    }
    Ok(columns / groups)
}

const FORMS: &[&str] = &[
    "bias",
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "relu_no_bias",
    "gradients",
    "input_gradient",
    "input_gradient_relu",
    "input_gradient_leaky_relu",
    "input_gradient_sigmoid",
    "input_gradient_tanh",
    "grouped_relu",
    "grouped_gradients",
    "grouped_input_gradient_relu",
];

/// What the forms of nets side by side begin with.
const GROUPED: &str = "grouped_";

/// Groups of the forms that have them.
const GROUPS: usize = 3;

fn groups_of(form: &str) -> usize {
    if form.starts_with(GROUPED) { GROUPS } else { 1 }
}

/// What follows the sum is one function for all families, so one form of each kind has those that take a software adapter seconds to compile.
fn families_of(gpu: &Gpu, form: &str) -> Vec<&'static str> {
    let all = ["relu", "gradients", "input_gradient_relu"].contains(&form.trim_start_matches(GROUPED));
    if all { families(gpu, form) } else { vec!["registers", "tiles"] }
}

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![1, 1, 1],
        vec![0, 3, 5],
        vec![3, 0, 5],
        vec![5, 7, 0],
        vec![40, 72, 0],
        vec![65, 63, 17],
        vec![64, 64, 64],
        vec![7, 10, 97],
        vec![129, 67, 31],
        vec![9, 5, 5000],
    ];
    if effort == Effort::Full {
        shapes.push(vec![256, 257, 129]);
    }
    shapes
}

/// Seeded operands on a device, with their exact values.
struct Layer {
    kind: Kind,
    x: Input,
    w: Input,
    bias: Option<Input>,
    dz: Input,
    activation: Option<Activation>,
    groups: usize,
    family: Option<String>,
}

/// What a form computes.
#[derive(Clone, Copy)]
enum Kind {
    Forward,
    Gradients,
    InputGradient,
}

impl Layer {
    fn run(&self) -> Result<Vec<Tensor>> {
        let (x, w, dz) = (&self.x.tensor, &self.w.tensor, &self.dz.tensor);
        let family = self.family.as_deref();
        Ok(match self.kind {
            Kind::Forward => {
                let bias = self.bias.as_ref().map(|bias| &bias.tensor);
                vec![run(x, w, bias, self.activation, self.groups, family)?]
            }
            Kind::Gradients => {
                gradient::gradients(x, dz, self.groups, family).map(|(dw, db)| vec![dw, db])?
            }
            Kind::InputGradient => {
                let below = self.activation.map(|f| (x, f));
                vec![gradient::input_gradient(dz, w, below, self.groups, family)?]
            }
        })
    }

    fn want(&self, shape: [usize; 3]) -> Vec<Vec<Tracked>> {
        let (x, w, dz) = (&self.x.tracked, &self.w.tracked, &self.dz.tracked);
        match self.kind {
            Kind::Forward => {
                let bias = self.bias.as_ref().map(|bias| bias.tracked.as_slice());
                vec![reference::affine::affine_grouped(x, w, bias, shape, self.activation, self.groups)]
            }
            Kind::Gradients => {
                let (dw, db) = reference::affine::gradients_grouped(x, dz, shape, self.groups);
                vec![dw, db]
            }
            Kind::InputGradient => {
                let below = self.activation.map(|f| (x.as_slice(), f));
                vec![reference::affine::input_gradient_grouped(dz, w, below, shape, self.groups)]
            }
        }
    }
}

fn layer(device: &Device, case: &Case) -> Result<Layer> {
    let &[rows, columns, depth] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let (form, family) = split_variant(&case.variant);
    let (form, groups) = (form.trim_start_matches(GROUPED), groups_of(form));
    let (kind, activation) = match form.strip_prefix("input_gradient") {
        Some(activation) => (Kind::InputGradient, activation.trim_start_matches('_')),
        None if form == "gradients" => (Kind::Gradients, "bias"),
        None => (Kind::Forward, form),
    };
    let activation = match activation {
        "bias" | "" => None,
        "relu" | "relu_no_bias" => Some(Activation::Relu),
        "leaky_relu" => Some(Activation::LeakyRelu(0.01)),
        "sigmoid" => Some(Activation::Sigmoid),
        "tanh" => Some(Activation::Tanh),
        _ => return Err(wrong_case(&OP, case)),
    };
    let mut rng = rng::seeded(case.seed);
    // The first element of each result is a sum of equal terms.
    let (of_x, of_w, of_dz): (Level, Level, Level) = match kind {
        Kind::Forward => (level_row, level_column, level_row),
        Kind::Gradients => (level_column, level_column, level_column),
        Kind::InputGradient => (level_row, level_row, level_row),
    };
    let mut x = rng::reals(&mut rng, rows * groups * depth);
    of_x(&mut x, groups * depth);
    if let (Kind::InputGradient, Some(f)) = (kind, activation) {
        // What the nonlinearity below may give.
        x.iter_mut().for_each(|x| *x = f64::from(f.value(*x) as f32));
    }
    let x = Input::of(device, &[rows, groups * depth], &x)?;
    let w = Input::level(device, &mut rng, [depth, groups * columns], of_w)?;
    let bias = match form {
        "relu_no_bias" => None,
        _ => Some(Input::reals(device, &mut rng, &[groups * columns])?),
    };
    let dz = Input::level(device, &mut rng, [rows, groups * columns], of_dz)?;
    Ok(Layer { kind, x, w, bias, dz, activation, groups, family: family.map(str::to_owned) })
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let layer = layer(device, case)?;
    let &[rows, columns, depth] = case.shape.as_slice() else { return Err(wrong_case(&OP, case)) };
    let got = layer.run()?;
    worst(&got.iter().zip(layer.want([rows, columns, depth])).collect::<Vec<_>>())
}
