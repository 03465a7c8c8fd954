//! Dropout (Srivastava et al. 2014; assignment 2).

use super::Mode;
use crate::error::{Error, Result};
use crate::ops::dropout::{Dropout, MaskKey, dropout};
use crate::ops::elementwise::{mul, scale};
use crate::tensor::Tensor;

/// Where a mask comes from.
#[derive(Debug, Clone)]
pub enum Mask {
    /// The counter-based generator: the same mask on every device, never stored.
    Counter(MaskKey),
    /// 1 where an element is kept and 0 where it is dropped, in the shape of the input: a notebook's own `rand(*x.shape) < p`.
    Given(Tensor),
}

/// The course's `dropout_param`.
#[derive(Debug, Clone)]
pub struct DropoutParam {
    /// The probability to **keep** an element, as in the assignments; the program's options and [`Dropout`] give the probability to drop.
    pub p: f64,
    /// A mask, or none.
    pub mode: Mode,
    /// Whether training divides by p, so that testing changes nothing; the notes' vanilla form multiplies by p in testing instead.
    pub inverted: bool,
    /// Which elements are kept.
    pub mask: Mask,
}

/// What [`dropout_backward`] needs.
#[derive(Debug)]
pub struct DropoutCache(DropoutParam);

/// The kept elements of `x`, others 0; see [`DropoutParam`].
///
/// # Errors
/// [`Error::Shape`] when p is not in (0, 1] or a given mask does not fit; [`Error::Device`] when the device fails.
pub fn dropout_forward(x: &Tensor, param: &DropoutParam) -> Result<(Tensor, DropoutCache)> {
    Ok((apply(x, param)?, DropoutCache(param.clone())))
}

/// dx = dout where an element was kept, scaled as the output was: the layer is linear in x.
///
/// # Errors
/// As [`dropout_forward`].
pub fn dropout_backward(dout: &Tensor, cache: DropoutCache) -> Result<Tensor> {
    apply(dout, &cache.0)
}

fn apply(x: &Tensor, param: &DropoutParam) -> Result<Tensor> {
    let DropoutParam { p, mode, inverted, ref mask } = *param;
    if !(p > 0.0 && p <= 1.0) {
        let problem = format!("elements kept with probability {p}");
        return Err(Error::shape("dropout", problem, "give the probability to keep, above 0 and at most 1"));
    }
    match (mode, mask) {
        (Mode::Test, _) if inverted => Ok(x.clone()),
        (Mode::Test, _) => scale(p, x),
        (Mode::Train, &Mask::Counter(key)) => dropout(x, &Dropout { drop: 1.0 - p, inverted, key }),
        (Mode::Train, Mask::Given(mask)) if inverted => scale(1.0 / p, &mul(x, mask)?),
        (Mode::Train, Mask::Given(mask)) => mul(x, mask),
    }
}
