//! Elementary functions in 32 bit without branches or calls, so that loops over them become vector code.
//!
//! The standard library's are calls, one element at a time. Reduction: Cephes (Moshier 1989), `expf.c`.

/// 1.5·2²³: adding it rounds to an integer, which then stands in the last bits.
const ROUND: f32 = 12_582_912.0;

/// x = n·ln 2 + r with |r| ≤ ln 2 / 2: n as the last bits of a float, and eʳ.
///
/// The polynomial is the best of degree 6 with eʳ ≈ 1 + r at 0, to 0.03 ulp (by linear programming for the relative error, its coefficients
/// then rounded).
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "coefficients as they were found and published")]
fn reduced(x: f32) -> (f32, f32) {
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, so that n times the first is exact.
    let r = n.mul_add(-0.693359375, x);
    let r = n.mul_add(2.12194440e-4, r);
    let mut p = 1.3814496342e-3;
    for c in [8.3687519655e-3, 4.1668392718e-2, 1.6666519642e-1, 4.9999994040e-1, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    (rounded, p)
}

/// eˣ within 2 ulp; infinite above 88.7, gradually 0 below −87.3, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or 0 all the same, and the exponents below stay in range.
    let x = if x > 100.0 { 100.0 } else { x };
    let x = if x < -110.0 { -110.0 } else { x };
    let (rounded, p) = reduced(x);
    // 2ⁿ in two factors, because n itself may exceed the exponents of f32. For NaN they are any two numbers.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    p * power(half) * power(n - half)
}

/// eˣ within 2 ulp for x ≤ 0, NaN for NaN; 0 at once below −87.3, where the result is less than any normal number. Half the instructions of
/// [`exp`].
#[inline(always)]
pub fn exp_below_0(x: f32) -> f32 {
    let (rounded, p) = reduced(x);
    // The last bits hold n ≥ −126; ROUND's own fall off to the left.
    let power = f32::from_bits((rounded.to_bits().wrapping_add(127)) << 23);
    if x < -87.336_55 { 0.0 } else { p * power }
}

/// ln x within 2 ulp for any normal x above 0; x itself where it is infinite or NaN. Coefficients: Cephes, `logf.c`.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "coefficients as published")]
pub fn ln(x: f32) -> f32 {
    // x = m·2ⁿ with √½ ≤ m < √2.
    let n = (x.to_bits() as i32).wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let r = f32::from_bits((x.to_bits() as i32).wrapping_sub(n << 23) as u32) - 1.0;
    let n = n as f32;
    let mut p = 7.0376836292e-2;
    for c in [
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ] {
        p = r.mul_add(p, c);
    }
    let square = r * r;
    // ln 2 in two parts, so that n times the greater is exact.
    let rest = n.mul_add(-2.12194440e-4, p * r * square);
    let ln = n.mul_add(0.693359375, square.mul_add(-0.5, rest) + r);
    if x < f32::INFINITY { ln } else { x }
}

/// The logistic function 1 / (1 + e⁻ˣ), by e^(−|x|), which cannot overflow.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let z = exp_below_0(-x.abs());
    let s = 1.0 / (1.0 + z);
    if x < 0.0 { z * s } else { s }
}

/// tanh x by a quotient of polynomials, within 3 ulp up to 9, from where on it is 1. Coefficients: Eigen (Guennebaud, Jacob et al.),
/// `generic_fast_tanh_float`.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "coefficients as published")]
pub fn tanh(x: f32) -> f32 {
    // Beyond, the quotient leaves the function.
    let near = x.clamp(-7.90531110763549805, 7.90531110763549805);
    let z = near * near;
    let mut p = -2.76076847742355e-16;
    for c in [
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-8,
        1.48572235717979e-5,
        6.37261928875436e-4,
        4.89352455891786e-3,
    ] {
        p = z.mul_add(p, c);
    }
    let mut q = 1.19825839466702e-6;
    for c in [1.18534705686654e-4, 2.26843463243900e-3, 4.89352518554385e-3] {
        q = z.mul_add(q, c);
    }
    let quotient = near * p / q;
    let one = if x.abs() > 9.0 { 1f32.copysign(x) } else { quotient };
    if x.abs() < 4e-4 { x } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Error in units of ε of the result.
    fn ulps(got: f32, want: f64) -> f64 {
        (f64::from(got) - want).abs()
            / (want.abs() * f64::from(f32::EPSILON)).max(f64::from(f32::MIN_POSITIVE))
    }

    #[test]
    fn functions_are_within_a_few_ulp_everywhere() {
        for i in -1_100_000..=1_100_000i32 {
            let x = i as f32 * 1e-4;
            let wide = f64::from(x);
            if x < 88.7 {
                assert!(ulps(exp(x), wide.exp()) <= 2.0, "exp({x}) = {}", exp(x));
            }
            if x <= 0.0 {
                assert!(ulps(exp_below_0(x), wide.exp()) <= 2.0, "exp_below_0({x}) = {}", exp_below_0(x));
            }
            let above_0 = (x * 0.5).exp();
            assert!(ulps(ln(above_0), f64::from(above_0).ln()) <= 2.0, "ln({above_0}) = {}", ln(above_0));
            assert!(ulps(tanh(x), wide.tanh()) <= 4.0, "tanh({x}) = {}", tanh(x));
            assert!(ulps(sigmoid(x), 1.0 / (1.0 + (-wide).exp())) <= 4.0, "sigmoid({x}) = {}", sigmoid(x));
        }
    }

    #[test]
    fn ends_are_as_ieee_has_them() {
        assert_eq!(
            (exp(f32::INFINITY), exp(f32::NEG_INFINITY), exp(89.0)),
            (f32::INFINITY, 0.0, f32::INFINITY)
        );
        assert_eq!((exp(0.0), exp(-104.0)), (1.0, 0.0));
        assert_eq!(
            [0.0, -0.0, -88.0, f32::MIN, f32::NEG_INFINITY].map(exp_below_0),
            [1.0, 1.0, 0.0, 0.0, 0.0]
        );
        assert_eq!((tanh(f32::INFINITY), tanh(-200.0), tanh(1e-30)), (1.0, -1.0, 1e-30));
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)), (0.0, 1.0));
        assert!(
            exp(f32::NAN).is_nan()
                && ln(f32::NAN).is_nan()
                && exp_below_0(f32::NAN).is_nan()
                && tanh(f32::NAN).is_nan()
                && sigmoid(f32::NAN).is_nan()
        );
    }
}
