//! How far a 32-bit result may lie from its 64-bit definition: the only place with a magic number.
//!
//! A definition (`src/reference`) is written once, over any [`Real`]. With `f64` it gives the values. With [`Tracked`] the same loops give
//! every value together with a bound on what 32-bit arithmetic may make of it: a running error analysis (Higham 2002, "Accuracy and
//! Stability of Numerical Algorithms", §3.3), in which each operation passes on the errors of its operands and adds its own. A sum of n
//! terms adds (3 + √n)·ε·Σ|terms|, at most n·ε·Σ|terms|: the probable growth of independent roundings (Higham & Mary 2019, "A new approach
//! to probabilistic rounding error analysis"), and the proven one of kernels that add in blocks of about √n terms ([`block`]), as
//! products, sums, moments and normalisations do. Roots, quotients and exponentials add what WGSL's accuracy table
//! allows a driver (specification §15.7.4). So nobody chooses a tolerance: the formula decides.

mod tracked;
mod worst;

pub use tracked::{Real, Tracked};
pub use worst::{Worst, compare, compare_exact};

/// The spacing of 32-bit floats at 1, twice the unit roundoff.
pub const EPSILON: f64 = f32::EPSILON as f64;

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

/// [`product_block`] for sums of chains: `step` products one after the other, their sums one after the other into that of a block, and those of
/// the blocks. With C chains in a block a term passes through step + C + ⌈n/(step·C)⌉ − 3 of them and its product's rounding:
/// C + n/(step·C) ≤ 8 − step + 2√n leaves one. Blocks are several times as long as without chains.
pub fn chained_block(terms: usize, step: usize) -> usize {
    let (n, step) = (terms as f64, step.max(1));
    let most = (8.0 - step as f64 + 2.0 * n.sqrt()) / 2.0;
    let chains = most + (most * most - n / step as f64).max(0.0).sqrt();
    (chains as usize).max(1) * step
}

/// The largest B with B + n/B ≤ spare + 2√n, that is (√B − √(n/B))² ≤ spare, in whole steps.
fn largest_block(terms: usize, step: usize, spare: f64) -> usize {
    let root = (spare.sqrt() + (spare + 4.0 * (terms as f64).sqrt()).sqrt()) / 2.0;
    let step = step.max(1);
    ((root * root) as usize / step * step).max(step)
}

/// The course's relative error of two numbers: |x − y| / max(1e-8, |x| + |y|).
pub fn relative_error(x: f64, y: f64) -> f64 {
    (x - y).abs() / (x.abs() + y.abs()).max(1e-8)
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
                let of_chains = chained_block(n, step);
                let chains = of_chains.min(n).div_ceil(step);
                let roundings = step.min(n) + chains + n.div_ceil(of_chains) - 2;
                assert!(
                    of_chains.is_multiple_of(step) && roundings as f64 <= allowed + 2.0,
                    "{n}: {of_chains}"
                );
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
