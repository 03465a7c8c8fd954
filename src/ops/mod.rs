//! The operations: shape checks, one match over the executors each, and the table of them all.
//!
//! | file | is |
//! |---|---|
//! | `src/reference/NAME.rs` | the definition, in 64 bit |
//! | `src/cpu/NAME.rs` | the fast path on all cores |
//! | `shaders/NAME.wgsl` | the kernels |
//! | `src/ops/NAME.rs` | the public function and its row of [`OPS`] |

pub mod activation;
pub mod affine;
pub mod augment;
pub mod batchnorm;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
mod features;
pub mod hinge_loss;
mod inputs;
mod launch;
pub mod layernorm;
pub mod losses;
pub mod matmul;
pub mod nearest;
pub mod optimizer;
mod pairs;
pub mod pairwise_l1;
pub mod pairwise_l2;
pub mod reduce;
mod rowwise;
pub mod softmax;
pub mod squared_error;
pub mod standardize;
pub mod take;
pub mod topk;
pub mod vote;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Kernel};
use crate::tensor::Tensor;
use crate::tolerance::Worst;

/// A row of the table: everything that commands, tests, benches and the README know about an operation.
pub struct Op {
    /// The name, which its four files share.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What the dimensions of a [`Case`] are, in order.
    pub dimensions: &'static [&'static str],
    /// What results are held to, in words: [`EXACT`], [`BOUNDED`] or both.
    pub tolerance: &'static str,
    /// The kernels in all the ways they may be compiled; an operation without any runs on those of the operations it
    /// is composed of.
    pub shaders: fn() -> Vec<Shader>,
    /// Floating-point or integer operations of a [`Case::form`] at a shape.
    pub flops: fn(&str, &[usize]) -> f64,
    /// Bytes that a form must move at least: every input read once, every output written once.
    pub bytes: fn(&str, &[usize]) -> f64,
    /// The variants that a device offers.
    pub variants: fn(&Device) -> Vec<String>,
    /// Shapes worth checking: the smallest, odd ones, edges of tiles, one that fills a device.
    pub shapes: fn(Effort) -> Vec<Vec<usize>>,
    /// Turns as many arbitrary numbers as there are dimensions into a shape that the operation takes: tests draw them.
    pub fit: fn(&mut [usize]),
    /// Shapes worth timing.
    pub timed: &'static [&'static [usize]],
    /// Makes seeded inputs on a device; each call of the result runs the operation on them once, without reading a tensor
    /// back.
    pub workload: fn(&Device, &Case) -> Result<Workload>,
    /// Runs one variant on one device on seeded inputs and compares every element with the definition.
    pub check: fn(&Device, &Case) -> Result<Worst>,
}

/// Results equal the definition.
pub const EXACT: &str = "exact";
/// Results lie within the bound that [`crate::tolerance`] derives from the definition.
pub const BOUNDED: &str = "bounded";

/// One way in which a kernel is compiled.
pub struct Shader {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Values of its constants.
    pub constants: Vec<(&'static str, u32)>,
}

/// An operation on its inputs, to be run any number of times.
pub type Workload = Box<dyn FnMut() -> Result<()>>;

/// How much to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Under a minute for the whole table on a software adapter.
    Quick,
    /// Larger shapes too.
    Full,
}

/// One thing to check: a variant, a shape and the seed of the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// One of the operation's [`Op::variants`].
    pub variant: String,
    /// The dimensions, as [`Op::dimensions`] names them.
    pub shape: Vec<usize>,
    /// Seed of the inputs.
    pub seed: u64,
}

impl Case {
    /// The variant without its family of kernels.
    pub fn form(&self) -> &str {
        split_variant(&self.variant).0
    }
}

/// The table of all operations.
pub static OPS: &[&Op] = &[
    &matmul::OP,
    &affine::OP,
    &activation::OP,
    &elementwise::OP,
    &dropout::OP,
    &optimizer::OP,
    &batchnorm::OP,
    &layernorm::OP,
    &standardize::OP,
    &augment::OP,
    &softmax::OP,
    &cross_entropy::OP,
    &hinge_loss::OP,
    &squared_error::OP,
    &reduce::OP,
    &pairwise_l2::OP,
    &pairwise_l1::OP,
    &topk::OP,
    &vote::OP,
    &nearest::TABLE_ROW,
    &take::OP,
];

/// The table in Markdown: the README shows it, and a test compares.
pub fn markdown() -> String {
    let mut text =
        "| operation | computes | shape | held to | shaders |\n|---|---|---|---|---:|\n".to_owned();
    for op in OPS {
        let shaders = match (op.shaders)().len() {
            0 => "composed".to_owned(),
            n => n.to_string(),
        };
        let shape = op.dimensions.join(" × ");
        text += &format!("| `{}` | {} | {shape} | {} | {shaders} |\n", op.name, op.summary, op.tolerance);
    }
    text
}

/// The operation called `name`.
///
/// # Errors
/// [`Error::Usage`] listing the names there are.
pub fn find(name: &str) -> Result<&'static Op> {
    OPS.iter().copied().find(|op| op.name == name).ok_or_else(|| {
        let names: Vec<_> = OPS.iter().map(|op| op.name).collect();
        Error::usage(
            format!("no operation is called \"{name}\""),
            format!("choose from {}", names.join(", ")),
        )
    })
}

/// Splits `form/family`; a variant without a family leaves the choice to the device.
fn split_variant(variant: &str) -> (&str, Option<&str>) {
    variant.split_once('/').map_or((variant, None), |(form, family)| (form, Some(family)))
}

/// The variants of an operation: its forms, each with the families of kernels that an adapter can run it by.
fn variants_of(
    device: &Device,
    forms: &[&str],
    families: fn(&Gpu, &str) -> Vec<&'static str>,
) -> Vec<String> {
    let Device::Gpu(gpu) = device else { return forms.iter().map(ToString::to_string).collect() };
    forms
        .iter()
        .flat_map(|form| families(gpu, form).into_iter().map(move |family| format!("{form}/{family}")))
        .collect()
}

/// The error of a [`Case`] that is none of the operation's.
fn wrong_case(op: &Op, case: &Case) -> Error {
    Error::usage(
        format!("{} has no case {} of shape {:?}", op.name, case.variant, case.shape),
        format!("a shape is {}; the variants depend on the device", op.dimensions.join(" × ")),
    )
}

/// The error of operands whose element types an operation does not take.
fn wrong_dtypes(op: &'static str, operands: &[&Tensor], wanted: &str) -> Error {
    let found: Vec<_> = operands.iter().map(|tensor| tensor.dtype().name()).collect();
    Error::shape(op, format!("operands of type {}", found.join(" and ")), format!("pass {wanted}"))
}

/// Refuses operands that live on different devices.
fn same_device(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    let (a, b) = (a.device(), b.device());
    let same = match (&a, &b) {
        (Device::Gpu(a), Device::Gpu(b)) => a.same(b),
        _ => a.kind() == b.kind(),
    };
    if same {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("operands on {} and {}", a.describe(), b.describe()),
        "make both tensors on one device",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_fits_is_taken_as_it_is() {
        for op in OPS {
            let fitted = |shape: &[usize]| {
                let mut fitted = shape.to_vec();
                (op.fit)(&mut fitted);
                fitted
            };
            for shape in op.timed {
                assert_eq!(fitted(shape), *shape, "{}", op.name);
            }
            for shape in (op.shapes)(Effort::Full) {
                let once = fitted(&shape);
                assert_eq!(fitted(&once), once, "{} {shape:?}", op.name);
            }
        }
    }

    #[test]
    fn forms_of_an_operation_move_bytes_of_their_own() {
        let bytes = |name, form, shape: &[usize]| (find(name).expect("an operation").bytes)(form, shape);
        for (form, arrays) in [("sgd", 3.0), ("nesterov_grouped", 5.0), ("adamw", 7.0)] {
            assert_eq!(bytes("optimizer", form, &[100]), 400.0 * arrays, "{form}");
        }
        for name in ["softmax", "batchnorm", "layernorm"] {
            assert_eq!(bytes(name, "backward", &[10, 10]), 1200.0, "{name}");
            assert_eq!(bytes(name, "forward", &[10, 10]), 800.0, "{name}");
        }
        assert_eq!(bytes("standardize", "u8", &[10, 10, 3]), 500.0);
        assert_eq!(bytes("standardize", "f32_gather", &[10, 10, 3]), 240.0);
        let pairs = |form| bytes("pairwise_l2", form, &[10, 20, 100]);
        assert_eq!([pairs("u8"), pairs("direct")], [3800.0, 12_800.0]);
        let affine = |form| bytes("affine", form, &[10, 20, 30]);
        assert_eq!(affine("grouped_relu"), 3.0 * affine("relu"));
        assert_eq!(affine("input_gradient_relu"), affine("input_gradient") + 1200.0);
    }
}
