//! Rows on the few directions in which they differ most, and the proof that most of them need no closer look.
//!
//! Let P be a matrix with fewer rows than there are features, and q = Px + b rounded to whole numbers from 0 to 255 (127 where instructions are quicker
//! with these), larger and smaller ones cut off, all in steps that suit the numbers. Cutting off brings no two rows further apart, P by its norm at
//! most, and what rounding takes is measured, so
//!
//! ```text
//! ‖P‖₂·‖x − y‖₂ ≥ ‖Px − Py‖₂ ≥ ‖qx − qy‖₂ − ‖ex‖₂ − ‖ey‖₂
//! ```
//!
//! with the q compared by the byte kernels. The bound holds for any P; it is tight where
//! P's rows are orthonormal and span the principal components of the training rows (H. Hotelling: Analysis of a complex of statistical
//! variables into principal components, 1933), up to a rotation, which spreads the components' very different sizes over all numbers, so that one
//! step serves all. The span is found by subspace iteration from random directions on a sample (N. Halko, P.-G. Martinsson, J. A. Tropp:
//! Finding structure with randomness, SIAM Review 53, 2011, §4.5), its basis made orthonormal through Cholesky factors.
//!
//! The square of a matrix's norm is at most the largest sum over a row of |AAᵀ| (Gershgorin), which is computed for the basis and the rotation as they
//! are stored. A product's rounding is bounded by γ‖P‖_F·‖x‖ (Higham 2002, §3.5), with γ for sums in blocks
//! ([`product_block`](crate::tolerance::product_block)).

use rayon::prelude::*;

use super::pooled::Sketched;
use crate::cpu::chunks::vectorized;
use crate::cpu::matmul::{MatmulShape, matmul};
use crate::cpu::simd::Isa;
use crate::rng;

/// Rows that the directions are fitted to.
pub const SAMPLE: usize = 2048;
/// Rows and directions that tell whether there are directions at all.
const PROBE: [usize; 2] = [256, 16];
/// The part of the squares that they have to hold: of noise in hundreds of features they hold a sixth.
const LEAST_HELD: f64 = 1.0 / 3.0;
/// Iterations: directions that a third would find are worth a percent of the rows that pass.
const ITERATIONS: usize = 2;
/// The part of the projections that lies within the steps. With all of them within, a few rows far out would make steps coarse for all.
const WITHIN: f64 = 0.997;
/// A direction of which less than this part is new is none.
const LEAST_NEW: f64 = 1e-6;
/// Values of a tile of rows that are projected together: they are in a cache when they are.
const TILE: usize = 1 << 20;
/// Accumulators of a vectorised sum.
const LANES: usize = 32;
/// Adding this rounds a small number to a whole one, which then stands in the last bits.
const ROUND: f32 = 1.5 * (1u32 << 23) as f32;
/// Unit roundoff of `f32`.
const U: f64 = 1.0 / (1 << 24) as f64;
/// Adding the offset and taking the difference from a whole number round numbers below 512 (the others are cut off).
const LAST_ROUNDINGS: f64 = 1024.0 * U;

/// An affine map of rows to whole numbers, of which the differences bound those of the rows from below.
#[derive(Debug, Clone)]
pub struct Projection {
    features: usize,
    /// P, a direction after the other, in steps for a unit of the features.
    directions: Vec<f32>,
    offsets: Vec<f32>,
    /// The largest number of a projected row.
    most: u8,
    /// At least ‖P‖₂.
    gain: f64,
    /// At least γ‖P‖_F.
    rounding: f64,
}

impl Projection {
    /// The `width` directions, a power of two, in which `rows`, a sample of the training rows with `features` values each, differ most; `None` where no
    /// few hold much of the differences.
    pub fn fit(mut rows: Vec<f32>, features: usize, width: usize) -> Option<Self> {
        let mut centre = vec![0.0f64; features];
        for row in rows.chunks_exact(features) {
            centre.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let count = rows.len() / features;
        let centre: Vec<f32> = centre.into_iter().map(|sum| (sum / count.max(1) as f64) as f32).collect();
        rows.par_chunks_exact_mut(features).for_each(|row| {
            row.iter_mut().zip(&centre).for_each(|(value, centre)| *value -= centre);
        });
        if count <= PROBE[0] || !holds_much(&rows, features) {
            return None;
        }
        let basis = span(&rows, features, width, ITERATIONS);
        let rotation = rotation(width);
        // Rounding moves what is rotated by at most γ‖R‖_F·‖basis‖_F, and either is at most √width times as large as ‖·‖₂.
        let norms = norm_bound(&rotation, width) * norm_bound(&basis, width);
        let unscaled = norms * (1.0 + gamma(width) * width as f64);
        let mut directions = product(&rotation, &basis, [width, features, width], [false, false]);
        let mut along = product(&rows, &directions, [count, width, features], [false, true]);
        let most = Isa::best().small();
        let middle = f32::from(most / 2 + 1);
        let step = step(&mut along, middle - 1.0)?;
        directions.iter_mut().for_each(|value| *value /= step);
        let offsets = directions.chunks_exact(features).map(|direction| {
            let of_centre = direction.iter().zip(&centre).map(|(&p, &c)| f64::from(p) * f64::from(c));
            (f64::from(middle) - of_centre.sum::<f64>()) as f32
        });
        let offsets = offsets.collect();
        // The quotients were rounded, too.
        let gain = unscaled / f64::from(step) * (1.0 + 2.0 * U * (width as f64).sqrt());
        let rounding = gamma(features) * (width as f64).sqrt() * gain;
        let sound = gain.is_finite() && rounding.is_finite();
        sound.then_some(Self { features, directions, offsets, most, gain, rounding })
    }

    /// Numbers of a projected row.
    pub fn width(&self) -> usize {
        self.offsets.len()
    }

    /// What the distance of two rows may grow by.
    pub fn gain(&self) -> f64 {
        self.gain
    }

    /// `count` rows projected; `fill` writes the row of a number, which may lie `off` times its norm from the row that is meant.
    pub fn project(&self, count: usize, off: f64, fill: impl Fn(usize, &mut [f32]) + Sync) -> Sketched {
        let (features, width) = (self.features, self.width());
        let tile = (TILE / features).max(1).min(count);
        let (mut wide, mut along) = (vec![0.0; tile * features], vec![0.0; tile * width]);
        let mut sketched =
            Sketched { rows: vec![0; count * width], most: self.most, errors: vec![0.0; count] };
        let tiles =
            sketched.rows.chunks_mut(tile.max(1) * width).zip(sketched.errors.chunks_mut(tile.max(1)));
        for (number, (out, errors)) in tiles.enumerate() {
            let first = number * tile;
            let (wide, along) = (&mut wide[..errors.len() * features], &mut along[..out.len()]);
            let filling = wide.par_chunks_exact_mut(features).zip(&mut *errors).enumerate();
            filling.with_min_len(16).for_each(|(row, (wide, error))| {
                fill(first + row, wide);
                *error = (self.rounding + off * self.gain) * norm(wide);
            });
            let shape =
                MatmulShape { b_transposed: true, ..MatmulShape::of([errors.len(), width, features]) };
            matmul(wide, &self.directions, along, shape);
            let rows = out.par_chunks_exact_mut(width).zip(along.par_chunks_exact(width)).zip(errors);
            rows.with_min_len(64).for_each(|((out, along), error)| {
                *error +=
                    rounded(along, &self.offsets, self.most, out) + LAST_ROUNDINGS * (width as f64).sqrt();
            });
        }
        sketched
    }
}

/// Writes whole numbers near `along` + `offsets`; returns ‖·‖ of what they are off by, but for the last roundings.
fn rounded(along: &[f32], offsets: &[f32], most: u8, out: &mut [u8]) -> f64 {
    let most = f32::from(most);
    let squares = vectorized(
        #[inline(always)]
        || {
            let mut squares = [0.0f32; LANES];
            let each = out.chunks_mut(LANES).zip(along.chunks(LANES)).zip(offsets.chunks(LANES));
            for ((out, along), offsets) in each {
                for (((out, &z), &b), squares) in out.iter_mut().zip(along).zip(offsets).zip(&mut squares) {
                    let z = z + b;
                    let z = if z > 0.0 { z } else { 0.0 };
                    let z = if z < most { z } else { most };
                    let whole = z + ROUND;
                    *out = whole.to_bits() as u8;
                    let off = z - (whole - ROUND);
                    *squares += off * off;
                }
            }
            squares.into_iter().sum::<f32>()
        },
    );
    f64::from(squares).sqrt() * 1.001
}

/// At least ‖x‖, but for underflow far below any step.
fn norm(x: &[f32]) -> f64 {
    let squares = vectorized(
        #[inline(always)]
        || {
            let mut squares = [0.0f32; LANES];
            for x in x.chunks(LANES) {
                x.iter().zip(&mut squares).for_each(|(&x, squares)| *squares += x * x);
            }
            squares.into_iter().sum::<f32>()
        },
    );
    f64::from(squares).sqrt() * (1.001 + x.len() as f64 * U)
}

/// The step at which [`WITHIN`] of the numbers `along` lie within `reach` steps of 0.
fn step(along: &mut [f32], reach: f32) -> Option<f32> {
    along.iter_mut().for_each(|z| *z = z.abs());
    let rank = (along.len() as f64 * WITHIN) as usize;
    let (_, &mut most, _) =
        along.select_nth_unstable_by(rank.min(along.len().checked_sub(1)?), f32::total_cmp);
    let step = most / reach;
    (step.is_normal() && step.recip().is_normal()).then_some(step)
}

/// Whether few directions hold much of the squares of centred `rows`.
fn holds_much(rows: &[f32], features: usize) -> bool {
    let [count, width] = PROBE;
    let all = rows.len() / features;
    let some: Vec<f32> =
        (0..count).flat_map(|i| &rows[i * all / count * features..][..features]).copied().collect();
    let basis = span(&some, features, width, 1);
    let along = product(&some, &basis, [count, width, features], [false, true]);
    let squares = |values: &[f32]| values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    squares(&along) > LEAST_HELD * squares(&some)
}

/// An orthonormal basis (`width` rows) of about the span of the first right singular vectors of `rows`. Rows that have fewer leave zeros.
fn span(rows: &[f32], features: usize, width: usize, iterations: usize) -> Vec<f32> {
    let count = rows.len() / features;
    let random = rng::reals(&mut rng::seeded(0), width * features);
    let mut basis: Vec<f32> = random.into_iter().map(|x| x as f32).collect();
    for _ in 0..iterations {
        // Columns are rows here, so that one function makes both orthonormal.
        let along = product(&basis, rows, [width, count, features], [false, true]);
        let along = orthonormal(&along, width);
        basis = product(&along, rows, [width, features, count], [false, false]);
        basis = orthonormal(&basis, width);
    }
    // Once more, for what rounding left of the first.
    orthonormal(&basis, width)
}

/// Orthonormal rows that span those of `matrix`: L⁻¹ times it, where LLᵀ = matrix·matrixᵀ (Cholesky QR; G. Golub, C. Van Loan: Matrix Computations,
/// §5.2). Rows that are a combination of those before become 0.
fn orthonormal(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    let gram = product(matrix, matrix, [rows, rows, columns], [false, true]);
    let mut gram: Vec<f64> = gram.into_iter().map(f64::from).collect();
    let squares: Vec<f64> = (0..rows).map(|i| gram[i * rows + i]).collect();
    let mut inverse = vec![0.0; rows * rows];
    (0..rows).for_each(|i| inverse[i * rows + i] = 1.0);
    vectorized(
        #[inline(always)]
        || {
            for (i, square) in squares.iter().enumerate() {
                eliminate(&mut gram, &mut inverse, rows, i, LEAST_NEW * square);
            }
        },
    );
    let inverse: Vec<f32> = inverse.into_iter().map(|value| value as f32).collect();
    product(&inverse, matrix, [rows, columns, rows], [false, false])
}

/// One step of the elimination downwards that turns the identity into L⁻¹: row `i` is taken off those below, then given its scale. One of no more than
/// `least` becomes 0.
#[inline(always)]
fn eliminate(gram: &mut [f64], inverse: &mut [f64], rows: usize, i: usize, least: f64) {
    let (above, below) = gram.split_at_mut((i + 1) * rows);
    let (inverse_above, inverse_below) = inverse.split_at_mut((i + 1) * rows);
    let (pivots, inverse_row) = (&above[i * rows..], &mut inverse_above[i * rows..]);
    let pivot = pivots[i];
    if pivot <= least || pivot.is_nan() {
        inverse_row.fill(0.0);
        return;
    }
    for (row, inverse) in below.chunks_exact_mut(rows).zip(inverse_below.chunks_exact_mut(rows)) {
        let factor = row[i] / pivot;
        row[i..].iter_mut().zip(&pivots[i..]).for_each(|(to, from)| *to -= factor * from);
        inverse[..=i].iter_mut().zip(&inverse_row[..=i]).for_each(|(to, from)| *to -= factor * from);
    }
    let scale = pivot.sqrt().recip();
    inverse_row[..=i].iter_mut().for_each(|value| *value *= scale);
}

/// What rounding takes of a sum of `terms` products at most, as a part of the sum of their absolute values: each passes through 7 + 2√n roundings
/// at most.
fn gamma(terms: usize) -> f64 {
    let roundings = (8.0 + 2.0 * (terms as f64).sqrt()) * U;
    if roundings < 0.25 { roundings / (1.0 - roundings) } else { f64::INFINITY }
}

/// At least ‖`matrix`‖₂ of a matrix of about orthonormal rows.
fn norm_bound(matrix: &[f32], rows: usize) -> f64 {
    let columns = matrix.len() / rows;
    let gram = product(matrix, matrix, [rows, rows, columns], [false, true]);
    let norm = |i: usize| f64::from(gram[i * rows + i]).sqrt() * 1.001;
    let all: f64 = (0..rows).map(norm).sum();
    let sum = |i: usize| {
        let row = &gram[i * rows..][..rows];
        row.iter().map(|&g| f64::from(g.abs())).sum::<f64>() + gamma(columns) * norm(i) * all
    };
    ((0..rows).map(sum).fold(0.0, f64::max) * (1.0 + 1e-12)).sqrt()
}

/// Hadamard's matrix with columns of random signs, orthonormal; `width` is a power of two.
fn rotation(width: usize) -> Vec<f32> {
    let scale = (width as f32).sqrt().recip();
    let signs = rng::integers(&mut rng::seeded(1), width, 2);
    let at =
        |i: usize, j: usize| if ((i & j).count_ones() + signs[j]).is_multiple_of(2) { scale } else { -scale };
    (0..width * width).map(|index| at(index / width, index % width)).collect()
}

fn product(a: &[f32], b: &[f32], shape: [usize; 3], [a_transposed, b_transposed]: [bool; 2]) -> Vec<f32> {
    let mut c = vec![0.0; shape[0] * shape[1]];
    matmul(a, b, &mut c, MatmulShape { a_transposed, b_transposed, ..MatmulShape::of(shape) });
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// Rows of a few waves of falling size, and some noise.
    fn waves(count: usize, features: usize, noise: f32) -> Vec<f32> {
        let mut rng = rng::seeded(6);
        let mut rows = vec![0.0f32; count * features];
        for row in rows.chunks_exact_mut(features) {
            let sizes = rng::reals(&mut rng, 40);
            for (i, size) in sizes.into_iter().enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    let at = (i + 1) as f64 * (j as f64 + 0.5) / features as f64 * std::f64::consts::PI;
                    *value += (size * at.cos() * 90.0 / (i + 1) as f64) as f32;
                }
            }
            let rough = rng::reals(&mut rng, features);
            row.iter_mut().zip(rough).for_each(|(value, rough)| *value += rough as f32 * noise + 70.0);
        }
        rows
    }

    #[test]
    fn projections_differ_less_than_rows_and_not_much_less() {
        let (count, features) = (400, 256);
        for noise in [0.0, 1.0] {
            let rows = waves(count, features, noise);
            let directions = Projection::fit(rows.clone(), features, 64).expect("directions");
            assert_eq!(directions.width(), 64);
            let fill = |i: usize, out: &mut [f32]| out.copy_from_slice(&rows[i * features..][..features]);
            let Sketched { rows: sketches, errors, .. } = directions.project(count, 0.0, fill);
            let mut shares = Vec::new();
            for i in 0..count {
                for j in 0..i {
                    let pair = |width: usize| (i * width..(i + 1) * width, j * width..(j + 1) * width);
                    let (x, y) = pair(features);
                    let far = rows[x]
                        .iter()
                        .zip(&rows[y])
                        .map(|(x, y)| f64::from(x - y).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    let (x, y) = pair(64);
                    let near =
                        sketches[x].iter().zip(&sketches[y]).map(|(&x, &y)| f64::from(x.abs_diff(y)).powi(2));
                    let bound = (near.sum::<f64>().sqrt() - errors[i] - errors[j]) / directions.gain();
                    assert!(bound <= far, "{i}, {j}: {bound} over {far}");
                    shares.push(bound / far);
                }
            }
            shares.sort_unstable_by(f64::total_cmp);
            assert!(shares[shares.len() / 2] > 0.8, "{}", shares[shares.len() / 2]);
        }
    }

    #[test]
    fn noise_and_rows_that_are_equal_have_no_directions() {
        let features = 640;
        let noise: Vec<f32> =
            rng::reals(&mut rng::seeded(2), 2048 * features).into_iter().map(|x| x as f32).collect();
        assert!(Projection::fit(noise, features, 128).is_none());
        assert!(Projection::fit(vec![3.0; 400 * 256], 256, 64).is_none());
        assert!(Projection::fit(Vec::new(), 256, 64).is_none());
    }
}
