//! What operations on rows of features check alike.

use super::same_device;
use crate::error::{Error, Result};
use crate::tensor::{RealsMut, Tensor};

/// Rows and columns of `x`, which must have these two dimensions.
pub(super) fn matrix(op: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    let &[rows, columns] = x.shape() else {
        let problem = format!("x has shape {:?}", x.shape());
        return Err(Error::shape(op, problem, "pass rows × features"));
    };
    Ok([rows, columns])
}

/// Refuses operands of another shape than `shape`, or on another device than `x`.
pub(super) fn shaped(
    op: &'static str,
    x: &Tensor,
    shape: &[usize],
    operands: &[(&str, &Tensor)],
) -> Result<()> {
    for (name, operand) in operands {
        if operand.shape() != shape {
            return Err(Error::shape(
                op,
                format!("{name} has shape {:?} for x of shape {:?}", operand.shape(), x.shape()),
                format!("pass {name} of shape {shape:?}"),
            ));
        }
        same_device(op, x, operand)?;
    }
    Ok(())
}

/// Refuses room for the gradients of γ and β that does not hold one for each of `columns` features.
pub(super) fn room(op: &'static str, into: &[RealsMut<'_>; 2], columns: usize) -> Result<()> {
    if into.iter().all(|slot| slot.len() == columns) {
        return Ok(());
    }
    let problem = format!("room for {} and {} gradients of {columns} features", into[0].len(), into[1].len());
    Err(Error::shape(op, problem, "pass room for a gradient of each γ and β"))
}

/// Refuses an ε that does not keep the divisor above 0.
pub(super) fn positive_epsilon(op: &'static str, epsilon: f64) -> Result<()> {
    // In 32 bit, which devices compute in, it must not vanish either.
    if epsilon.is_finite() && epsilon as f32 >= f32::MIN_POSITIVE {
        return Ok(());
    }
    Err(Error::shape(op, format!("ε = {epsilon}"), "pass a small number above 0, like 1e-5"))
}
