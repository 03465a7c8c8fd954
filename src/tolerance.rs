//! How far a 32-bit result may lie from its 64-bit definition: the only place with a magic number.
//!
//! A definition (`src/reference`) is written once, over any [`Real`]. With `f64` it gives the values. With [`Tracked`] the same loops give
//! every value together with a bound on what 32-bit arithmetic may make of it: a running error analysis (Higham 2002, "Accuracy and
//! Stability of Numerical Algorithms", §3.3), in which each operation passes on the errors of its operands and adds its own. A sum of n
//! terms adds (3 + √n)·ε·Σ|terms|, at most n·ε·Σ|terms|: the probable growth of independent roundings (Higham & Mary 2019, "A new approach
//! to probabilistic rounding error analysis"), and the proven one of kernels that add in blocks of about √n terms ([`block`]), as
//! products, sums, moments and normalisations do. Roots, quotients and exponentials add what WGSL's accuracy table
//! allows a driver (specification §15.7.4). So nobody chooses a tolerance: the formula decides.

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The spacing of 32-bit floats at 1, twice the unit roundoff.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// Results below this are denormal in `f32`; drivers may flush them to zero (WGSL specification §15.7).
const FLUSHED: f64 = f32::MIN_POSITIVE as f64;

/// A number that a definition computes with.
pub trait Real:
    Copy
    + PartialOrd
    + From<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
{
    /// √x.
    fn sqrt(self) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// The larger of two; NaN where either is.
    fn max(self, other: Self) -> Self;
    /// 1 where x > 0, else 0: the decision of a ReLU and of a hinge.
    fn step(self) -> Self;
    /// The value alone.
    fn value(self) -> f64;
}

impl Real for f64 {
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn exp(self) -> Self {
        self.exp()
    }
    fn ln(self) -> Self {
        self.ln()
    }
    fn tanh(self) -> Self {
        self.tanh()
    }
    fn abs(self) -> Self {
        self.abs()
    }
    fn max(self, other: Self) -> Self {
        // `f64::max` would drop a NaN.
        if self.is_nan() || self > other { self } else { other }
    }
    fn step(self) -> Self {
        f64::from(u8::from(self > 0.0))
    }
    fn value(self) -> f64 {
        self
    }
}

/// A value with the bound on its error in 32-bit arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    value: f64,
    error: f64,
}

impl Tracked {
    /// A value that 32-bit arithmetic must reach exactly: an input, an integer, a decision.
    pub fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// Inputs of a definition.
    pub fn inputs(values: &[f64]) -> Vec<Self> {
        values.iter().copied().map(Self::exact).collect()
    }

    /// The value in 64-bit arithmetic.
    pub fn value(self) -> f64 {
        self.value
    }

    /// Largest allowed |got − value|.
    pub fn error(self) -> f64 {
        self.error
    }

    /// A result with the error that its operands bring and `ulps` of its own.
    fn rounded(value: f64, brought: f64, ulps: f64) -> Self {
        // Sums and products of small integers and of zeros are exact, whatever the arithmetic.
        let own = if value == 0.0 && brought == 0.0 { 0.0 } else { ulps * EPSILON * value.abs() + FLUSHED };
        Self { value, error: brought + own }
    }
}

impl From<f64> for Tracked {
    /// A constant of a formula, off by what rounding it to 32 bit loses: nothing for small integers and powers of 2.
    fn from(value: f64) -> Self {
        let rounded = f64::from(value as f32);
        Self { value, error: if rounded == value { 0.0 } else { (rounded - value).abs() } }
    }
}

impl PartialOrd for Tracked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Tracked {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.error + other.error, 1.0)
    }
}

impl Sub for Tracked {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Tracked {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, error: self.error }
    }
}

impl Mul for Tracked {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let brought =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Self::rounded(self.value * other.value, brought, 1.0)
    }
}

impl Div for Tracked {
    type Output = Self;
    /// A quotient may be off by 2.5 ulp, and a compiler may multiply by a reciprocal instead.
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let brought =
            (self.error + value.abs() * other.error) / (other.value.abs() - other.error).max(FLUSHED);
        Self::rounded(value, brought, 3.0)
    }
}

impl Sum for Tracked {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        let (mut n, mut value, mut size, mut brought) = (0.0f64, 0.0, 0.0, 0.0);
        for term in terms {
            n += 1.0;
            value += term.value;
            size += term.value.abs();
            brought += term.error;
        }
        // A sum of one term is that term. Terms may be flushed, and so may partial sums.
        let own = if n < 2.0 { 0.0 } else { (3.0 + n.sqrt()).min(n) * EPSILON * size + n * FLUSHED };
        Self { value, error: if size == 0.0 && brought == 0.0 { 0.0 } else { brought + own } }
    }
}

impl Real for Tracked {
    /// A driver may take 1 / inverseSqrt(x): 2 and 2.5 ulp.
    fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        let brought =
            (value - (self.value - self.error).max(0.0).sqrt()).max((self.value + self.error).sqrt() - value);
        Self::rounded(value, brought, 5.0)
    }

    /// 3 + 2|x| ulp.
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self::rounded(value, value * self.error.exp_m1(), 3.0 + 2.0 * self.value.abs())
    }

    /// 3 ulp, and 2⁻²¹ in all for arguments from ½ to 2.
    fn ln(self) -> Self {
        let brought = self.error / (self.value - self.error).max(FLUSHED);
        let near_one = (0.5..=2.0).contains(&self.value);
        let absolute = if near_one { 2f64.powi(-21) } else { 0.0 };
        Self::rounded(self.value.ln(), brought + absolute, 3.0)
    }

    /// By (1 − t)/(1 + t) with t = e^(−2|x|), because drivers' own tanh may be off by 10⁻⁵ and overflows on some: t is off by 3 + 4|x|
    /// ulp, the two sums by 1 each, the quotient by 3. Below ½, where 1 − t cancels, by a polynomial that is no worse than that at ½.
    fn tanh(self) -> Self {
        let x = self.value.abs().max(0.5);
        let t = (-2.0 * x).exp();
        let ulps = 5.0 + (3.0 + 4.0 * x) * 2.0 * t / (1.0 - t * t);
        Self::rounded(self.value.tanh(), self.error, ulps)
    }

    fn abs(self) -> Self {
        Self { value: self.value.abs(), error: self.error }
    }

    /// Where the errors leave no doubt which is larger, it is that one: a ReLU that blocks puts out an exact 0.
    fn max(self, other: Self) -> Self {
        let (larger, smaller) = if other.value > self.value { (other, self) } else { (self, other) };
        if larger.value - larger.error > smaller.value + smaller.error {
            return larger;
        }
        Self { value: Real::max(self.value, other.value), error: self.error.max(other.error) }
    }

    /// Exact, unless the error of x reaches over the decision.
    fn step(self) -> Self {
        let open = self.error > 0.0 && self.value.abs() <= self.error;
        Self { value: self.value.step(), error: f64::from(u8::from(open)) }
    }

    fn value(self) -> f64 {
        self.value
    }
}

/// The relative error between two computations of one thing in 64 bit that add in different orders: what the course accepts of losses
/// that it prints.
pub const DOUBLE: f64 = 1e-12;

/// A chain of operations in 32 bit whose parts are each proven by a bound of their own. Bounds multiply along a chain until they mean
/// nothing, so whole passes of layers and nets are held to what such chains were seen to reach (affine 3e-8, batch normalisation 3e-6,
/// two-layer net 7e-8), with room for other shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Products, sums, losses.
    Plain,
    /// With a normalisation, which divides by a deviation and cancels on the way back.
    Normalized,
}

impl Chain {
    /// The largest error, as a share of the largest element ([`largest_error`]).
    pub fn tolerance(self) -> f64 {
        match self {
            Self::Plain => 1e-5,
            Self::Normalized => 1e-4,
        }
    }
}

/// max |got − want| as a share of the largest |`scale`|, infinite where lengths differ or something is not a number.
pub fn largest_error(got: &[f64], want: &[f64], scale: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most, x| Real::max(most, x.abs()));
    let error = largest(&mut got.iter().zip(want).map(|(got, want)| got - want));
    let share = if error == 0.0 { 0.0 } else { error / largest(&mut scale.iter().copied()) };
    if share.is_nan() { f64::INFINITY } else { share }
}

/// How many of `terms` terms a kernel adds in one chain before the sum joins a total: a multiple of `step`, at least that.
///
/// A sum of n terms is allowed (3 + √n)·ε·Σ|terms| = (6 + 2√n)·u·Σ|terms| with the unit roundoff u = ε/2. In a chain a term passes through up
/// to n roundings, and where terms are equal these do not cancel: the error then grows like n·u/2 (Higham 2002, §4.2; √n holds for
/// roundings that are independent, Higham & Mary 2019). In blocks of B a term passes through at most B + ⌈n/B⌉ − 1 of them, and to first
/// order the error is at most that times u·Σ|terms|, whatever the terms are (Higham 2002, §4.2; Blanchard, Higham & Mary 2020, "A class of
/// fast and accurate summation algorithms"). With B near √n this is what is allowed: the bound is proven, not probable. The largest such
/// B is the fastest: here B + n/B ≤ 4 + 2√n, which leaves two roundings for what else a kernel does.
pub fn block(terms: usize, step: usize) -> usize {
    largest_block(terms, step, 4.0)
}

/// [`block`] for a sum of products: these are allowed ε = 2u of their own. B + n/B ≤ 7 + 2√n leaves one rounding for the product where it is
/// not fused with the addition.
pub fn product_block(terms: usize, step: usize) -> usize {
    largest_block(terms, step, 7.0)
}

/// The largest B with B + n/B ≤ spare + 2√n, that is (√B − √(n/B))² ≤ spare, in whole steps.
fn largest_block(terms: usize, step: usize, spare: f64) -> usize {
    let root = (spare.sqrt() + (spare + 4.0 * (terms as f64).sqrt()).sqrt()) / 2.0;
    let step = step.max(1);
    ((root * root) as usize / step * step).max(step)
}

/// How many times wider the proven bound n·ε·Σ|terms| of a sum of n terms is than the probabilistic one that [`Tracked`] allows. The latter
/// takes roundings for independent where a sum is one chain. Sums over the rows of real data are no such thing: a background pixel adds the
/// same number row after row, and every rounding of it goes the same way.
pub fn proven_over_probable(n: usize) -> f64 {
    let n = (n as f64).max(1.0);
    n / (3.0 + n.sqrt()).min(n)
}

/// The course's relative error of two numbers: |x − y| / max(1e-8, |x| + |y|).
pub fn relative_error(x: f64, y: f64) -> f64 {
    (x - y).abs() / (x.abs() + y.abs()).max(1e-8)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_allows_nothing_and_nan_never_passes() {
        assert!(compare_exact(&[3.0], &[3.0]).ok());
        assert!(!compare_exact(&[3.0000001], &[3.0]).ok());
        assert!(!compare(&[f64::NAN], &[Tracked { value: 3.0, error: 9.0 }]).ok());
        assert!(!compare_exact(&[], &[3.0]).ok());
    }

    #[test]
    fn a_sum_allows_the_root_and_never_past_the_proven_ceiling() {
        let of = |n: usize| (0..n).map(|_| Tracked::exact(1.0 / n as f64)).sum::<Tracked>().error / EPSILON;
        assert_eq!(of(1), 0.0);
        approx::assert_relative_eq!(of(10_000), 103.0, max_relative = 1e-9);
        assert!((1..200).all(|n| of(n) <= n as f64 + 1e-9));
    }

    #[test]
    fn the_chains_of_a_blocked_sum_are_within_what_a_sum_is_allowed() {
        for step in [1, 4, 8] {
            for n in (1..70_000).chain([1 << 20, 1 << 24]) {
                let roundings = |block: usize| (block.min(n) + n.div_ceil(block) - 1) as f64;
                let allowed = 2.0 * (3.0 + (n as f64).sqrt()).min(n as f64);
                let [block, of_products] = [block(n, step), product_block(n, step)];
                assert!(block.is_multiple_of(step) && roundings(block) <= allowed, "{n}: {block}");
                // A product that is not fused is rounded once more, and allowed two.
                assert!(roundings(of_products) + 1.0 <= allowed + 2.0, "{n}: {of_products}");
            }
        }
    }

    #[test]
    fn cancellation_keeps_the_error_of_its_terms() {
        let [a, b] = [1e6, -1e6].map(|x| Tracked::exact(x) * Tracked::exact(1.0 / 3.0));
        assert!((a + b).value.abs() < 1e-9 && (a + b).error > 0.03);
    }

    #[test]
    fn arithmetic_in_32_bit_stays_within_its_bound() {
        let formula = |x: f64| {
            let x = Tracked::exact(f64::from(x as f32));
            ((x * x + Tracked::from(1.0)).sqrt().ln() / (x.exp() + x.tanh()), x.value as f32)
        };
        for i in -4000..4000 {
            let (want, x) = formula(f64::from(i) / 500.0);
            let got = f64::from((x * x + 1.0).sqrt().ln() / (x.exp() + x.tanh()));
            assert!(compare(&[got], &[want]).ok(), "{x}: {}", compare(&[got], &[want]));
            // And the bound means something: a few units in the last place where nothing cancels, and the logarithm's argument is
            // beyond 2 (nearer to 1 a driver's may be off by 2⁻²¹, however small it is).
            let size = want.value.abs() + 1e-3;
            assert!(x < 2.0 || want.error < 60.0 * EPSILON * size, "{x}: {want:?}");
        }
    }

    #[test]
    fn a_constant_brings_the_error_of_its_rounding() {
        assert_eq!(Tracked::from(0.5), Tracked::exact(0.5));
        assert_eq!(Tracked::from(f64::NEG_INFINITY).error(), 0.0);
        assert_eq!(Tracked::from(0.1).error(), f64::from(0.1f32) - 0.1);
    }

    #[test]
    fn a_decision_is_open_only_where_the_error_reaches() {
        let third = Tracked::exact(1.0) / Tracked::exact(3.0);
        assert_eq!(third.step(), Tracked::exact(1.0));
        assert_eq!((third - third).step().error, 1.0);
        assert_eq!(Tracked::exact(0.0).step(), Tracked::exact(0.0));
    }

    #[test]
    fn a_maximum_has_the_error_of_what_may_win() {
        let of = |value, error| Tracked { value, error };
        let zero = Tracked::exact(0.0);
        assert_eq!([of(-1.0, 0.5).max(zero), zero.max(of(-1.0, 0.5))], [zero; 2]);
        assert_eq!(zero.max(of(2.0, 0.5)), of(2.0, 0.5));
        assert_eq!(of(-0.25, 0.5).max(zero), of(0.0, 0.5));
        assert!(
            Real::max(of(f64::NAN, 0.0), zero).value.is_nan()
                && Real::max(zero, of(f64::NAN, 0.0)).value.is_nan()
        );
    }

    #[test]
    fn the_worst_element_is_reported_with_its_place() {
        let want = [1.0, 2.0, 4.0].map(|x| Tracked { value: x, error: 1e-6 });
        let worst = compare(&[1.0, 2.1, 4.0], &want);
        assert_eq!(worst.index, 1);
        assert!(!worst.ok() && worst.to_string().starts_with("element 1: got 2.1e0, want 2e0"));
    }
}
