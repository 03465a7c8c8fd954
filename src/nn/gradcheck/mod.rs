//! Is a gradient right? Analytic gradients against differences of the loss, in 64 bit on the reference.
//!
//! A centred difference D(h) = (L(x + h) − L(x − h)) / 2h is off by O(h²) from truncation and by about ε·|L|/h from rounding. With the notes'
//! h = 1e-5 and a loss of 20 the second is 1e-10, which drowns a derivative of 1e-5. So D is taken at many h, from large ones on down to the
//! notes', and extrapolated to 0 ([`extrapolated`]): that is right to about 1e-13, and the plain relative error of the notes can be held
//! to 1e-7 for every coordinate. In 32 bit rounding drowns everything, so the numeric side always runs on the reference, and the gradient
//! of another device is compared with the reference's analytic one.
//!
//! Where the two evaluations fall on different sides of a kink (a ReLU, hinge or max decides otherwise), the difference means nothing:
//! evaluations return their decisions, such h are left out, and a coordinate that has a kink even within the smallest h is reported as a
//! kink by name, not judged.
//!
//! Source: course notes, "Gradient checks"; assignment 1, `gradient_check.py`.

mod layers;
mod nets;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::model::Architecture;
use crate::rng;
use crate::tensor::Tensor;
use crate::tolerance::{Chain, largest_error, relative_error};

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

/// What the notes make of a relative error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// At most 1e-7.
    Right,
    /// At most 1e-4: fine where there are kinks or many layers.
    Fair,
    /// At most 1e-2.
    Doubtful,
    /// Above.
    Wrong,
}

impl Verdict {
    /// The verdict on a relative error; what is not a number is wrong.
    pub fn of(error: f64) -> Self {
        match error {
            error if error <= 1e-7 => Self::Right,
            error if error <= 1e-4 => Self::Fair,
            error if error <= 1e-2 => Self::Doubtful,
            _ => Self::Wrong,
        }
    }

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Fair => "fair",
            Self::Doubtful => "doubtful",
            Self::Wrong => "WRONG",
        }
    }
}

/// Something that a loss is differentiated in.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, exact in 32 bit.
    pub values: Vec<f64>,
}

/// The loss of tensors on one device, forward and backward.
type Evaluate = Box<dyn Fn(&[Tensor]) -> Result<Evaluation>>;
type Gradients = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>>;

/// A loss with its gradient: what is checked.
pub struct Problem {
    /// The layer or model.
    pub name: &'static str,
    /// What it is differentiated in.
    pub inputs: Vec<Input>,
    /// What a device in 32 bit is held to.
    pub chain: Chain,
    evaluate: Evaluate,
    gradients: Gradients,
}

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The smallest step.
    pub h: f64,
    /// Largest relative error that passes.
    pub tolerance: f64,
}

impl Default for Options {
    /// The notes' h, and what makes them "happy".
    fn default() -> Self {
        Self { h: 1e-5, tolerance: 1e-7 }
    }
}

/// What was found in one input.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding {
    /// The input.
    pub input: String,
    /// Numbers in it.
    pub numbers: usize,
    /// Coordinates that were not judged, like `x[2,0]`.
    pub kinks: Vec<String>,
    /// The largest relative error of those that were, |a − n| / max(1e-8, |a| + |n|).
    pub error: f64,
    /// Where it is, with both values.
    pub at: String,
    /// The analytic derivative there.
    pub analytic: f64,
    /// The numeric one.
    pub numeric: f64,
    /// What the notes make of it.
    pub verdict: Verdict,
    /// The largest error of the other device's gradient, as a share of the largest derivative.
    pub device_error: Option<f64>,
    /// Whether all is within what was asked for.
    pub ok: bool,
}

impl Problem {
    /// The names of all layers and models that can be checked.
    pub fn names() -> Vec<&'static str> {
        layers::names().chain(nets::names()).collect()
    }

    /// The layer or model called `name`, on inputs of a seed.
    ///
    /// # Errors
    /// [`Error::Usage`] listing the names there are.
    pub fn named(name: &str, seed: u64) -> Result<Self> {
        if let Some(problem) = layers::problem(name, seed) {
            return problem;
        }
        nets::problem(name, seed).unwrap_or_else(|| {
            Err(Error::usage(
                format!("no layer or model is called \"{name}\""),
                format!("choose from {}", Self::names().join(", ")),
            ))
        })
    }

    /// A net of this architecture, shrunk to a few neurons in each layer, on inputs of a seed.
    pub fn net(architecture: &Architecture, seed: u64) -> Self {
        nets::small(architecture, seed)
    }

    /// Checks the gradient of every input numerically and, where `device` is not the reference, the device's gradient too.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn check(&self, device: &Device, options: Options) -> Result<Vec<Finding>> {
        let at = self.tensors(&Device::Reference)?;
        let analytic = values((self.gradients)(&at)?)?;
        let other = match device {
            Device::Reference => None,
            device => Some(values((self.gradients)(&self.tensors(device)?)?)?),
        };
        // The gradients of a model are one vector: some of its parts vanish (that of a bias before a normalisation) and have no scale.
        let whole = analytic.concat();
        let scale = self.is_model().then_some(whole.as_slice());
        let mut findings = Vec::with_capacity(self.inputs.len());
        for (i, input) in self.inputs.iter().enumerate() {
            let mut tensors = at.clone();
            let numeric = extrapolated(options.h, &input.values, |x| {
                tensors[i] = Tensor::from_f64(&Device::Reference, &input.shape, x)?;
                (self.evaluate)(&tensors)
            })?;
            let mut finding = judge(input, &analytic[i], &numeric);
            finding.ok = finding.error <= options.tolerance;
            if let Some(other) = &other {
                let error = largest_error(&other[i], &analytic[i], scale.unwrap_or(&analytic[i]));
                finding.device_error = Some(error);
                finding.ok &= error <= self.chain.tolerance();
            }
            findings.push(finding);
        }
        Ok(findings)
    }

    fn is_model(&self) -> bool {
        nets::names().any(|name| name == self.name)
    }

    fn tensors(&self, device: &Device) -> Result<Vec<Tensor>> {
        let tensor = |input: &Input| Tensor::from_f64(device, &input.shape, &input.values);
        self.inputs.iter().map(tensor).collect()
    }
}

/// The worst coordinate of an input that is no kink.
fn judge(input: &Input, analytic: &[f64], numeric: &[Difference]) -> Finding {
    let name = |i: usize| {
        let mut index = Vec::with_capacity(input.shape.len());
        let mut rest = i;
        for &n in input.shape.iter().rev() {
            index.push((rest % n).to_string());
            rest /= n;
        }
        index.reverse();
        format!("{}[{}]", input.name, index.join(","))
    };
    let mut finding = Finding {
        input: input.name.clone(),
        numbers: input.values.len(),
        kinks: Vec::new(),
        error: 0.0,
        at: String::new(),
        analytic: 0.0,
        numeric: 0.0,
        verdict: Verdict::Right,
        device_error: None,
        ok: true,
    };
    if analytic.len() != numeric.len() {
        (finding.error, finding.at) = (f64::MAX, "a gradient of another shape".into());
    }
    for (i, (&analytic, numeric)) in analytic.iter().zip(numeric).enumerate() {
        if numeric.kink {
            finding.kinks.push(name(i));
            continue;
        }
        let error = relative_error(analytic, numeric.value);
        // Not a number is worse than any.
        let error = if error.is_nan() { f64::MAX } else { error };
        if error > finding.error || finding.at.is_empty() {
            finding = Finding { error, at: name(i), analytic, numeric: numeric.value, ..finding };
        }
    }
    Finding { verdict: Verdict::of(finding.error), ..finding }
}

fn values(tensors: Vec<Tensor>) -> Result<Vec<Vec<f64>>> {
    tensors.iter().map(Tensor::to_f64).collect()
}

/// Numbers of the standard normal distribution that are exact in 32 bit, so that all devices start from the same.
fn normals(random: &mut rng::numpy::RandomState, n: usize) -> Vec<f64> {
    random.randn(n).into_iter().map(|x| f64::from(x as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(problem: &Problem) -> Vec<Finding> {
        problem.check(&Device::Reference, Options::default()).expect("a check")
    }

    #[test]
    fn every_layer_and_model_has_the_gradient_of_its_loss() {
        for name in Problem::names() {
            for seed in 0..6 {
                for finding in check(&Problem::named(name, seed).expect("a problem")) {
                    assert!(finding.ok, "{name}, seed {seed}: {finding:?}");
                }
            }
        }
    }

    #[test]
    fn a_planted_wrong_factor_is_caught() {
        for (name, part) in [("affine", 1), ("batchnorm", 0), ("fully_connected_net", 0)] {
            let mut problem = Problem::named(name, 231).expect("a problem");
            let right = problem.gradients;
            // One gradient is off by one part in ten thousand, the others are as they were.
            problem.gradients = Box::new(move |tensors| {
                let mut gradients = right(tensors)?;
                gradients[part] = crate::ops::elementwise::scale(1.0001, &gradients[part])?;
                Ok(gradients)
            });
            let caught: Vec<_> = check(&problem).iter().map(|finding| !finding.ok).collect();
            let planted: Vec<_> = (0..caught.len()).map(|i| i == part).collect();
            assert_eq!(caught, planted, "{name}");
        }
    }

    #[test]
    fn the_missing_half_of_a_penalty_is_caught() {
        let findings = check(&nets::with_the_penalty_of_the_other_form(231).expect("a problem"));
        for finding in findings {
            assert_eq!(finding.verdict == Verdict::Wrong, finding.input.starts_with('W'), "{finding:?}");
        }
    }

    #[test]
    fn coordinates_at_a_kink_are_named_and_not_judged() {
        for (name, kink) in [("relu", 0.0), ("leaky_relu", 4e-6), ("relu", -9e-6)] {
            let mut problem = Problem::named(name, 231).expect("a problem");
            problem.inputs[0].values[5] = kink;
            let findings = check(&problem);
            let columns = problem.inputs[0].shape[1];
            assert_eq!(findings[0].kinks, [format!("x[{},{}]", 5 / columns, 5 % columns)], "{name}");
            assert!(findings[0].ok);
        }
    }

    #[test]
    fn verdicts_follow_the_notes_and_what_is_no_number_is_wrong() {
        let of = [0.0, 1e-7, 1e-5, 1e-3, 0.1, f64::NAN].map(Verdict::of);
        use Verdict::{Doubtful, Fair, Right, Wrong};
        assert_eq!(of, [Right, Right, Fair, Doubtful, Wrong, Wrong]);
    }
}
