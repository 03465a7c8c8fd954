//! Elementary functions in 32 bit without branches or calls, so that loops over them become vector code.
//!
//! The standard library's are calls, one element at a time. Polynomials: Cephes (Moshier 1989), `expf.c` and `tanhf.c`.

/// eˣ within 2 ulp; infinite above 88.7, gradually 0 below −87.3, NaN for NaN.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "coefficients as published")]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or 0 all the same, and the exponents below stay in range.
    let x = if x > 100.0 { 100.0 } else { x };
    let x = if x < -110.0 { -110.0 } else { x };
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2. Adding 1.5·2²³ rounds to an integer, which then stands in the last bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, so that n times the first is exact.
    let r = n.mul_add(-0.693359375, x);
    let r = n.mul_add(2.12194440e-4, r);
    let mut p = 1.9875691500e-4;
    for c in [1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1] {
        p = r.mul_add(p, c);
    }
    let p = r.mul_add(r * p, r) + 1.0;
    // 2ⁿ in two factors, because n itself may exceed the exponents of f32. For NaN they are any two numbers.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    p * power(half) * power(n - half)
}

/// The logistic function 1 / (1 + e⁻ˣ), by e^(−|x|), which cannot overflow.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let z = exp(-x.abs());
    let s = 1.0 / (1.0 + z);
    if x < 0.0 { z * s } else { s }
}

/// tanh x = (1 − t)/(1 + t) with t = e^(−2|x|), and by a polynomial below ½, where the difference cancels.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "coefficients as published")]
pub fn tanh(x: f32) -> f32 {
    let t = exp(-2.0 * x.abs());
    let large = ((1.0 - t) / (1.0 + t)).copysign(x);
    let z = x * x;
    let mut p = -5.70498872745e-3;
    for c in [2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1] {
        p = z.mul_add(p, c);
    }
    let small = (p * z).mul_add(x, x);
    if x.abs() < 0.5 { small } else { large }
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
        assert_eq!((tanh(f32::INFINITY), tanh(-200.0), tanh(1e-30)), (1.0, -1.0, 1e-30));
        assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)), (0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
