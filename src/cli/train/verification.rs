//! `--verify-cpu`: what a run's steps were worth beside their definitions.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::nn::shadow::{Comparison, Shadow};

/// Steps beside their definitions in 64 bit. Keys are stable: see the README.
#[derive(Debug, Serialize)]
pub(super) struct Verification {
    steps: usize,
    /// Tensors compared, and how many had an element beyond its allowance.
    checks: usize,
    failed: usize,
    /// The largest error as a share of what 32 bit may make of the element.
    worst_ratio: f64,
    /// Where that was.
    worst: Option<Place>,
    /// The largest error of a gradient as a share of the largest gradient of its step.
    gradient_error: f64,
}

#[derive(Debug, Serialize)]
struct Place {
    step: u64,
    tensor: String,
    element: usize,
    got: f64,
    want: f64,
    allowed: f64,
}

impl Verification {
    /// Of the steps that were watched.
    pub(super) fn of(shadow: &Shadow) -> Self {
        // JSON has no infinity.
        let finite = |value: f64| if value.is_nan() { f64::MAX } else { value.min(f64::MAX) };
        let place = |at: &Comparison| Place {
            step: at.step,
            tensor: at.what.clone(),
            element: at.worst.index,
            got: at.worst.got,
            want: at.worst.want,
            allowed: at.worst.allowed,
        };
        let worst = shadow.worst();
        Self {
            steps: shadow.steps(),
            checks: shadow.comparisons.len(),
            failed: shadow.failed(),
            worst_ratio: finite(worst.map_or(0.0, |it| it.worst.ratio)),
            worst: worst.map(place),
            gradient_error: finite(shadow.gradient_error()),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { steps, checks, failed, worst_ratio, worst, gradient_error } = self;
        let place = match worst {
            Some(Place { step, tensor, .. }) => format!(" ({tensor}, step {step})"),
            None => String::new(),
        };
        let mut text = format!(
            "verified   {steps} steps, {checks} tensors by their definitions in 64 bit: worst error {worst_ratio:.3} of the \
             allowance{place}, gradients within {gradient_error:.1e} of the largest\n"
        );
        if let (Some(Place { step, tensor, element, got, want, allowed }), 1..) = (worst, failed) {
            text += &format!(
                "FAILED     {failed} tensors; the worst: {tensor}, step {step}, element {element}: got {got:e}, want \
                 {want:e}, allowed error {allowed:e}\n"
            );
        }
        text
    }

    /// An error where something was beyond its allowance.
    pub(super) fn outcome(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Error::Check { failed, total: self.checks }),
        }
    }
}
