//! How far a 32-bit result may lie from its 64-bit definition: the only place with a magic number.
//!
//! A reference returns every value vᵢ with its magnitude mᵢ, the sum of the absolute values of the terms that were
//! added to make it (Σ|a||b| for a dot product). Cancellation makes |vᵢ| small but leaves mᵢ, and rounding errors are
//! proportional to mᵢ, so the allowance is too. The growth with the number of terms n is the probabilistic √n of
//! Higham & Mary (2019, "A new approach to probabilistic rounding error analysis") under the proven ceiling n·ε·mᵢ
//! (Higham 2002, "Accuracy and Stability of Numerical Algorithms", §3.1).

/// The spacing of 32-bit floats at 1, twice the unit roundoff.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// Results below this are denormal in `f32`; drivers may flush them to zero, so every class allows it (WGSL
/// specification §15.7).
const FLUSHED: f64 = f32::MIN_POSITIVE as f64;

/// What kind of arithmetic made a value, and so how exact it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Integers, indices, decisions: equal.
    Exact,
    /// A few correctly rounded operations: 4ε|v|.
    Arith,
    /// A sum of this many terms (or products): (4 + √n)·ε·m, at most n·ε·m.
    Dot {
        /// Number of terms.
        terms: usize,
    },
}

impl Class {
    /// Largest allowed |got − want| for a value of magnitude `magnitude`.
    pub fn allowance(self, want: f64, magnitude: f64) -> f64 {
        match self {
            Self::Exact => 0.0,
            Self::Arith => 4.0 * EPSILON * want.abs() + FLUSHED,
            Self::Dot { terms } => {
                let n = terms.max(1) as f64;
                // For few terms 4 + √n exceeds n; the proven ceiling wins, plus the rounding of the products
                // themselves and of the final store.
                (4.0 + n.sqrt()).min(n + 1.0) * EPSILON * magnitude + n * FLUSHED
            }
        }
    }

    /// The class's name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Arith => "arith",
            Self::Dot { .. } => "dot",
        }
    }
}

/// A defined value with the sum of the absolute values of its terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded {
    /// The value in 64-bit arithmetic.
    pub value: f64,
    /// Σ|terms|, at least |value|.
    pub magnitude: f64,
}

impl Bounded {
    /// A value that is its own magnitude: an integer, or a sum of terms of one sign.
    pub fn plain(value: f64) -> Self {
        Self { value, magnitude: value.abs() }
    }
}

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
}

impl Worst {
    /// Nothing compared yet: an empty output is within every allowance.
    pub const NONE: Self = Self { index: 0, got: 0.0, want: 0.0, allowed: 0.0, ratio: 0.0 };

    /// Whether every element was within its allowance.
    pub fn ok(&self) -> bool {
        self.ratio <= 1.0
    }

    /// The worse of two.
    pub fn max(self, other: Self) -> Self {
        if other.ratio > self.ratio { other } else { self }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, got, want, allowed, ratio } = self;
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
pub fn compare(class: Class, got: &[f64], want: &[Bounded]) -> Worst {
    if got.len() != want.len() {
        let index = got.len().min(want.len());
        return Worst { index, got: f64::NAN, want: f64::NAN, allowed: 0.0, ratio: f64::INFINITY };
    }
    got.iter().zip(want).enumerate().fold(Worst::NONE, |worst, (index, (&got, want))| {
        let allowed = class.allowance(want.value, want.magnitude);
        let error = (got - want.value).abs();
        let ratio = match () {
            () if got == want.value => 0.0,
            // NaN reaches here: a result that is not a number is never within bounds.
            () if error.is_nan() || allowed == 0.0 => f64::INFINITY,
            () => error / allowed,
        };
        worst.max(Worst { index, got, want: want.value, allowed, ratio })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_allows_nothing_and_nan_never_passes() {
        let want = [Bounded::plain(3.0)];
        assert!(compare(Class::Exact, &[3.0], &want).ok());
        assert!(!compare(Class::Exact, &[3.0000001], &want).ok());
        assert!(!compare(Class::Dot { terms: 9 }, &[f64::NAN], &want).ok());
        assert!(!compare(Class::Exact, &[], &want).ok());
    }

    #[test]
    fn the_allowance_grows_with_the_root_and_never_past_the_proven_ceiling() {
        let of = |terms| Class::Dot { terms }.allowance(0.0, 1.0) / EPSILON;
        approx::assert_relative_eq!(of(1), 2.0, max_relative = 1e-9);
        approx::assert_relative_eq!(of(10_000), 104.0, max_relative = 1e-9);
        assert!((1..200).all(|n| of(n) <= n as f64 + 1.0 + 1e-9));
    }

    #[test]
    fn the_worst_element_is_reported_with_its_place() {
        let want = [1.0, 2.0, 4.0].map(Bounded::plain);
        let worst = compare(Class::Arith, &[1.0, 2.1, 4.0], &want);
        assert_eq!(worst.index, 1);
        assert!(!worst.ok() && worst.to_string().starts_with("element 1: got 2.1e0, want 2e0"));
    }
}
