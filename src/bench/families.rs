//! Which family of kernels is the quickest for a class of shapes, measured.

use std::time::Duration;

use serde::Serialize;

use super::{Patience, Timing, time_op};
use crate::device::Device;
use crate::error::Result;
use crate::gpu::{Choice, Gpu, Options};
use crate::ops::{Case, Effort, OPS, Op, matmul};

/// What was found for a class of shapes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The operation.
    pub op: &'static str,
    /// The class.
    pub class: &'static str,
    /// The shape of the class that was timed.
    pub shape: Vec<usize>,
    /// Seconds by the family that is taken without measuring: of the form `nn`, or the mean of `nn`, `nt` and `tn` where another is quicker.
    pub usual: f64,
    /// The quickest, if it is quicker than that by more than the noise of both, in each of the three forms.
    pub family: Option<String>,
    /// Mean seconds by it.
    pub seconds: Option<f64>,
    /// Whether operations that run by it agree with their definitions here; only then is it taken.
    pub correct: Option<bool>,
}

/// Seeds the inputs, on which no time depends.
const SEED: u64 = 231;

/// For a family that may be many times slower.
const GLANCE: Patience = Patience { samples: 1, sample: Duration::ZERO };

/// Times the families of kernels that an adapter can run matrix products by, and checks those that are clearly quicker than the usual one.
///
/// # Errors
/// [`crate::Error::Device`] when the device fails.
pub fn families(adapter: usize, patience: Patience) -> Result<Vec<Found>> {
    // By the choice without measurements, for these options keep none.
    let device = Device::Gpu(Gpu::open(&Choice::Index(adapter), &Options::default())?);
    matmul::CLASSES.iter().map(|(class, shape)| refine(&device, adapter, class, shape, patience)).collect()
}

fn refine(
    device: &Device,
    adapter: usize,
    class: &'static str,
    shape: &[usize],
    patience: Patience,
) -> Result<Found> {
    let op = &matmul::OP;
    let time = |variant: &str, patience| {
        let case = Case { variant: variant.to_owned(), shape: shape.to_vec(), seed: SEED };
        time_op(device, op, &case, patience)
    };
    let variants = (op.variants)(device);
    let usual = time("nn", patience)?;
    let mut best: Option<(&str, Timing)> = None;
    for family in variants.iter().filter_map(|variant| variant.strip_prefix("nn/")) {
        let variant = format!("nn/{family}");
        if time(&variant, GLANCE)?.median > 1.5 * usual.median {
            continue;
        }
        let timing = time(&variant, patience)?;
        if clearly(timing, usual) && best.is_none_or(|(_, best)| timing.median < best.median) {
            best = Some((family, timing));
        }
    }
    let mut found = Found {
        op: op.name,
        class,
        shape: shape.to_vec(),
        usual: usual.median,
        family: None,
        seconds: None,
        correct: None,
    };
    let Some((family, _)) = best else { return Ok(found) };
    // Once more, beside the usual one, for a machine may have been busy with something else; and in the forms that gradients take.
    let [mut all, mut all_usual] = [0.0; 2];
    for form in ["nn", "nt", "tn"] {
        let usual = time(form, patience)?;
        let timing = time(&format!("{form}/{family}"), patience)?;
        if !clearly(timing, usual) {
            return Ok(found);
        }
        all += timing.median;
        all_usual += usual.median;
    }
    found.usual = all_usual / 3.0;
    found.seconds = Some(all / 3.0);
    found.family = Some(family.to_owned());
    found.correct = Some(correct(adapter, family)?);
    Ok(found)
}

/// Whether a time is shorter than another by more than the noise of both.
fn clearly(new: Timing, old: Timing) -> bool {
    new.median * (1.0 + new.noise) < old.median * (1.0 - old.noise)
}

/// Whether all that runs by this family agrees with its definition, with memory that is poisoned.
fn correct(adapter: usize, family: &str) -> Result<bool> {
    let options = Options { poison: true, ..Options::default() };
    let device = Device::Gpu(Gpu::open(&Choice::Index(adapter), &options)?);
    for op in OPS {
        let variants = (op.variants)(&device);
        for variant in variants.iter().filter(|variant| variant.rsplit('/').next() == Some(family)) {
            if !passes(op, &device, variant)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn passes(op: &Op, device: &Device, variant: &str) -> Result<bool> {
    for shape in (op.shapes)(Effort::Quick) {
        let case = Case { variant: variant.to_owned(), shape, seed: SEED };
        if !(op.check)(device, &case)?.ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_within_noise_is_not_quicker() {
        let timing = |median, noise| Timing { median, noise, launches: 1.0 };
        assert!(clearly(timing(0.7, 0.1), timing(1.0, 0.1)));
        assert!(!clearly(timing(0.9, 0.1), timing(1.0, 0.1)));
        assert!(!clearly(timing(0.7, 0.5), timing(1.0, 0.0)));
    }
}
