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
mod numeric;

pub use self::numeric::{Difference, Evaluation, Scheme, differences, extrapolated};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::model::Architecture;
use crate::rng;
use crate::tensor::Tensor;
use crate::tolerance::{Chain, largest_error, relative_error};

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
