//! f32 rows: keys rounded in a fixed order, for a caller that bounds the rounding and re-ranks.

use super::{AsTheyAre, Best, scan};
use crate::cpu::chunks::vectorized;
use crate::cpu::simd::{BLOCK, Isa, Kernel, LANES};
use crate::cpu::sweep::{Operands, Packed};

/// Chains of additions of a sum over one pair of rows.
const CHAINS: usize = 32;

/// Roundings that any one term of a sum over `features` features passes through, its own product included.
///
/// Terms are summed in blocks of features and the blocks one after the other, so with
/// n = `roundings(features)` and u = 2⁻²⁴, |computed − Σq·t| ≤ γₙ·Σ|q·t| + features·2⁻¹⁴⁹, where
/// γₙ = n·u / (1 − n·u) and the last part is for products below the normal range. Subtracting the sum from a bias
/// rounds once more. For Σ|q − t| and Σ(q − t)² the differences add one and two.
pub fn roundings(features: usize) -> usize {
    features.min(BLOCK) + features.div_ceil(BLOCK).saturating_sub(1)
}

/// Queries of f32 values, packed.
#[derive(Debug, Clone)]
pub struct FloatQueries {
    packed: Packed,
    isa: Isa,
    terms: Vec<[f32; LANES]>,
}

impl FloatQueries {
    /// Packs row-major `queries` of `features` (at least 1) values each.
    pub fn new(queries: &[f32], features: usize) -> Self {
        Self::with_isa(Isa::best(), queries, features)
    }

    /// [`FloatQueries::new`] for scans with the given instruction set.
    pub fn with_isa(isa: Isa, queries: &[f32], features: usize) -> Self {
        let packed = Packed::floats(queries, features);
        let terms = vec![[0.0; LANES]; packed.queries().div_ceil(LANES)];
        Self { packed, isa, terms }
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.packed.queries()
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.packed.features()
    }

    /// What walks over `rows` with a kernel of this instruction set.
    pub(in crate::cpu) fn over<'a, F: Fn(usize) -> f32 + Sync>(
        &'a self,
        rows: &'a [f32],
        kernel: impl FnOnce(Isa) -> &'a Kernel<f32>,
        row_term: F,
    ) -> Operands<'a, f32, F> {
        debug_assert!(rows.len().is_multiple_of(self.features()));
        Operands {
            kernel: kernel(self.isa),
            packed: &self.packed,
            query_terms: &self.terms,
            rows: bytemuck::cast_slice(rows),
            row_term,
            shift: 0,
            beside: 0,
        }
    }
}

/// Offers the rows of `tile` to the queries' `best` under the key `bias[j] − q·tⱼ`, computed in f32 in the order
/// that [`roundings`] describes.
///
/// `tile` holds rows of as many features as the queries, `bias` one value a row; the rows have the training indices
/// `first_index..`, all below `u32::MAX`. A key that is NaN comes after all others.
pub fn scan_floats(queries: &FloatQueries, tile: &[f32], bias: &[f32], first_index: u32, best: &mut Best) {
    debug_assert_eq!(bias.len(), tile.len() / queries.features());
    let operands = queries.over(tile, |isa| &isa.kernels().float_dot, |row| bias[row]);
    scan(&operands, &AsTheyAre, first_index, best);
}

/// Offers the rows of `tile` to the queries' `best` under the key Σ(q − tⱼ)², whose terms meet two roundings more than those of
/// [`scan_floats`]: the difference and the square. Nothing cancels.
pub fn scan_floats_squares(queries: &FloatQueries, tile: &[f32], first_index: u32, best: &mut Best) {
    let operands = queries.over(tile, |isa| &isa.kernels().float_squares, |_| 0.0);
    scan(&operands, &AsTheyAre, first_index, best);
}

/// Offers the rows of `tile` to the queries' `best` under the key Σ|q − tⱼ|; otherwise like [`scan_floats`].
pub fn scan_floats_l1(queries: &FloatQueries, tile: &[f32], first_index: u32, best: &mut Best) {
    scan(&queries.over(tile, |isa| &isa.kernels().float_l1, |_| 0.0), &AsTheyAre, first_index, best);
}

/// Σ(x − y)² in 32 bit.
pub(super) fn squares(x: &[f32], y: &[f32]) -> f32 {
    vectorized(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; CHAINS];
            for (x, y) in x.chunks(CHAINS).zip(y.chunks(CHAINS)) {
                for ((&x, &y), sum) in x.iter().zip(y).zip(&mut sums) {
                    *sum += (x - y) * (x - y);
                }
            }
            sums.into_iter().sum()
        },
    )
}

/// What the 32-bit Σ(x − y)² of two rows may be multiplied by, and what underflow may have taken of it: a term passes through the roundings of its
/// difference (twice, for it is squared), its square and the sums.
pub(super) fn squares_rounding(features: usize) -> (f64, f64) {
    let roundings = 3 + features.div_ceil(CHAINS) + CHAINS;
    ((1.0 + 0.5f64.powi(24)).powi(roundings as i32), features as f64 * 0.5f64.powi(149))
}

/// The least that Σ(x − y)² in 64 bit can be where it has a key of at least that of `sum` in 32 bit. A sum that overflowed is as large as any that did not.
pub fn squares_bound(sum: f32, features: usize) -> f64 {
    let (rounded, lost) = squares_rounding(features);
    // And what the definition rounds in 64 bit.
    (f64::from(sum.min(f32::MAX)) - lost) / rounded * (1.0 - (features + 8) as f64 * f64::EPSILON * 4.0)
}

/// The most that ‖x − y‖ can be where the 32-bit sum of its squares is at most `sum`.
pub(super) fn most_distance(sum: f32, (rounded, lost): (f64, f64)) -> f64 {
    ((f64::from(sum) + lost) * rounded).sqrt() * (1.0 + 1e-12)
}
