//! Numbers that definitions compute with: plain, or with a bound on the error of 32-bit arithmetic.

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::EPSILON;

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
    pub(super) value: f64,
    pub(super) error: f64,
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
