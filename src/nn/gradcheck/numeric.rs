//! Derivatives from differences of a loss.

use crate::error::Result;

/// A loss, and on which side of its kinks it was evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// L.
    pub loss: f64,
    /// Every yes or no on the way: a ReLU that passes, a margin above 0, which of two is larger.
    pub decisions: Vec<bool>,
}

/// Which quotient of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// (L(x + h) − L(x − h)) / 2h, off by O(h²).
    Centered,
    /// (L(x + h) − L(x)) / h, off by O(h): the first form in the notes, for comparison.
    Forward,
}

/// A quotient of differences in one coordinate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The quotient.
    pub value: f64,
    /// Whether a decision changed between the two evaluations.
    pub kink: bool,
}

/// The numeric gradient of `f` at `x`, coordinate after coordinate.
///
/// ```
/// use cs231n_gpu::nn::gradcheck::{Evaluation, Scheme, differences};
///
/// // f(x) = |x₀| + x₁², with a kink at x₀ = 0.
/// let f = |x: &[f64]| {
///     let loss = x[0].abs() + x[1] * x[1];
///     Ok(Evaluation { loss, decisions: vec![x[0] > 0.0] })
/// };
/// let found = differences(Scheme::Centered, 1e-5, &[0.0, 3.0], f)?;
/// assert!(found[0].kink);
/// assert!(!found[1].kink && (found[1].value - 6.0).abs() < 1e-9);
/// # Ok::<(), cs231n_gpu::Error>(())
/// ```
///
/// # Errors
/// Those of `f`.
pub fn differences(
    scheme: Scheme,
    h: f64,
    x: &[f64],
    mut f: impl FnMut(&[f64]) -> Result<Evaluation>,
) -> Result<Vec<Difference>> {
    let mut moved = x.to_vec();
    (0..x.len()).map(|i| difference(scheme, h, &mut moved, i, &mut f).map(|(found, _)| found)).collect()
}

/// The quotient of coordinate `i` at `x`, which is as it was afterwards, and what a rounding of the loss makes of it.
fn difference(
    scheme: Scheme,
    h: f64,
    x: &mut [f64],
    i: usize,
    f: &mut impl FnMut(&[f64]) -> Result<Evaluation>,
) -> Result<(Difference, f64)> {
    let middle = x[i];
    let (above, below) = match scheme {
        Scheme::Centered => (middle + h, middle - h),
        Scheme::Forward => (middle + h, middle),
    };
    x[i] = above;
    let up = f(x)?;
    x[i] = below;
    let down = f(x)?;
    x[i] = middle;
    // The step that was really made: x ± h are rounded.
    let step = above - below;
    let rounding = f64::EPSILON * up.loss.abs().max(down.loss.abs()) / step;
    let kink = up.decisions != down.decisions;
    Ok((Difference { value: (up.loss - down.loss) / step, kink }, rounding))
}

/// How often the largest step is halved down to the smallest: from 10 to 1e-5.
const HALVINGS: i32 = 20;

/// The numeric gradient of `f` at `x` by Ridders' method, from centred differences at 2²⁰·h, 2¹⁹·h, …, h.
///
/// A centred difference is a series in h², so from those at h and 2h one can be made whose error is O(h⁴), from three O(h⁶), and so on
/// (Richardson; Neville's scheme). Each value's error is estimated by its distance from the two that it is made of and a rounding of the
/// loss (two values may agree by chance where differences are few units of that), and the one with the smallest estimate is taken: large h have small rounding errors, small ones small truncation errors. (All steps are taken: to stop where
/// errors grow, as the sources do, would stop at the first steps of a tanh, which are saturated.) Differences across a kink are left out
/// with all larger ones; a coordinate that has one at h itself is a kink.
///
/// Source: Ridders (1982), "Accurate computation of F′(x) and F′(x)F″(x)"; Press et al., "Numerical Recipes", §5.7 (`dfridr`).
///
/// ```
/// use cs231n_gpu::nn::gradcheck::{Evaluation, extrapolated};
///
/// // The derivative of e^x at 1, beside a constant that costs a centred difference at 1e-5 all but four digits.
/// let f = |x: &[f64]| Ok(Evaluation { loss: 1e6 + x[0].exp(), decisions: Vec::new() });
/// let found = extrapolated(1e-5, &[1.0], f)?;
/// assert!((found[0].value / 1f64.exp() - 1.0).abs() < 1e-8);
/// # Ok::<(), cs231n_gpu::Error>(())
/// ```
///
/// # Errors
/// Those of `f`.
pub fn extrapolated(
    h: f64,
    x: &[f64],
    mut f: impl FnMut(&[f64]) -> Result<Evaluation>,
) -> Result<Vec<Difference>> {
    let mut moved = x.to_vec();
    let mut found = Vec::with_capacity(x.len());
    for i in 0..x.len() {
        let mut best = (f64::INFINITY, Difference { value: f64::NAN, kink: true });
        // The row of the scheme for the step before: estimates of rising order.
        let mut before: Vec<f64> = Vec::new();
        for halving in 0..=HALVINGS {
            let step = h * 2f64.powi(HALVINGS - halving);
            let (Difference { value, kink }, rounding) =
                difference(Scheme::Centered, step, &mut moved, i, &mut f)?;
            if kink {
                (best, before) = ((f64::INFINITY, Difference { value, kink }), Vec::new());
                continue;
            }
            let mut row = vec![value];
            let mut factor = 1.0;
            for (order, &coarse) in before.iter().enumerate() {
                factor *= 4.0;
                let value = row[order] + (row[order] - coarse) / (factor - 1.0);
                let error = (value - row[order]).abs().max((value - coarse).abs()) + rounding;
                if error < best.0 {
                    best = (error, Difference { value, kink: false });
                }
                row.push(value);
            }
            // A first difference has nothing to be compared with.
            if before.is_empty() {
                best = (f64::INFINITY, Difference { value, kink: false });
            }
            before = row;
        }
        found.push(best.1);
    }
    Ok(found)
}
