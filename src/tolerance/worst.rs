//! Results beside their definitions.

use super::Tracked;

/// The element that comes nearest to its allowance, or exceeds it most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    /// Position in the flattened output.
    pub index: usize,
    /// What the executor returned.
    pub got: f64,
    /// What the definition says.
    pub want: f64,
    /// The allowance there.
    pub allowed: f64,
    /// |got − want| ÷ allowed: 0 when equal, above 1 when out of bounds, infinite for NaN or a broken exact value.
    pub ratio: f64,
    /// A fingerprint of all bits that the executor returned: two runs on the same inputs must have the same.
    pub bits: u64,
}

impl Worst {
    /// Nothing compared yet: an empty output is within every allowance.
    pub const NONE: Self = Self { index: 0, got: 0.0, want: 0.0, allowed: 0.0, ratio: 0.0, bits: 0 };

    /// Whether every element was within its allowance.
    pub fn ok(&self) -> bool {
        self.ratio <= 1.0
    }

    /// The worse of two, with the bits of both.
    pub fn max(self, other: Self) -> Self {
        let bits = mix(self.bits, other.bits);
        Self { bits, ..if other.ratio > self.ratio { other } else { self } }
    }
}

/// A step of the Fowler–Noll–Vo hash, 64 bits at a time.
fn mix(hash: u64, bits: u64) -> u64 {
    (hash ^ bits).wrapping_mul(0x0100_0000_01b3)
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, got, want, allowed, ratio, .. } = self;
        let error = (got - want).abs();
        write!(
            f,
            "element {index}: got {got:e}, want {want:e}, error {error:.3e}, allowed {allowed:.3e}, ratio {ratio:.3}"
        )
    }
}

/// Compares every element of `got` with its definition.
///
/// A length difference counts as an infinite error at the first missing or extra element.
pub fn compare(got: &[f64], want: &[Tracked]) -> Worst {
    if got.len() != want.len() {
        let index = got.len().min(want.len());
        return Worst { index, got: f64::NAN, want: f64::NAN, ratio: f64::INFINITY, ..Worst::NONE };
    }
    let mut worst = Worst::NONE;
    for (index, (&got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want.value).abs();
        let ratio = match () {
            () if got == want.value => 0.0,
            // NaN reaches here: a result that is not a number is never within bounds.
            () if error.is_nan() || want.error.is_nan() || want.error == 0.0 => f64::INFINITY,
            () => error / want.error,
        };
        worst = worst.max(Worst {
            index,
            got,
            want: want.value,
            allowed: want.error,
            ratio,
            bits: got.to_bits(),
        });
    }
    worst
}

/// Compares values that must be equal: integers, indices, decisions.
pub fn compare_exact(got: &[f64], want: &[f64]) -> Worst {
    compare(got, &Tracked::inputs(want))
}
