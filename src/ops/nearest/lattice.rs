//! Real rows that are pixels in disguise: numbers that lie, but for rounding, on at most 256 equal steps.
//!
//! Images divided by 255 are the usual kind of real rows, and integers stored as floats the next. Their steps are searched with the
//! byte kernels, several times as fast as 32-bit products, and proven like any other scan. Let x = o + s·n + e with n in 0..=255 and
//! |e| ≤ δ for every value of both rows. Then, over D features,
//!
//! ```text
//! ‖x − y‖₂ ≥ s·‖n − m‖₂ − 2δ·√D          ‖x − y‖₁ ≥ s·‖n − m‖₁ − 2δ·D
//! ```
//!
//! and the byte kernels give ‖n − m‖ exactly. δ is measured, value by value: nothing depends on how the steps were guessed. Where it
//! is 0 and s a power of two, the 64-bit definition itself is exact, and the integers are the answer: ties are ties.

use rayon::prelude::*;

use super::bytes::ByteIndex;
use crate::cpu::chunks::{CHUNK, vectorized};
use crate::cpu::nearest::{ByteForm, MAX_BYTE_FEATURES};
use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};

/// Host memory that the steps of a training set may take where the user sets no limit.
const MOST_BYTES: u64 = 1 << 30;

/// Values looked at to guess the steps.
const SAMPLE: usize = 1 << 16;

/// Deviations beyond this share of a step would leave few queries proven at once.
const MOST_DEVIATION: f64 = 1.0 / 1024.0;

/// Adding and subtracting this rounds to an integer.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;

/// Accumulators of a vectorised reduction.
const LANES: usize = 32;

/// Training rows as steps, with what bounds the distances of the real rows.
pub(super) struct Lattice {
    index: ByteIndex<'static>,
    offset: f64,
    step: f64,
    deviation: f64,
}

/// Rows as steps.
pub(super) struct Steps {
    pub(super) rows: Vec<u8>,
    /// The most that one of their values lies off its step.
    deviation: f64,
}

impl Lattice {
    /// The steps of `train`, where there are any that prove something: two passes over the rows, but only a sample of rows that
    /// are none.
    pub(super) fn new(metric: Metric, train: RowsRef<'_>, memory_limit: Option<u64>) -> Option<Self> {
        let form = match metric {
            Metric::L2 | Metric::SqEuclidean => ByteForm::SqEuclidean,
            Metric::L1 => ByteForm::L1,
            // The offset does not cancel in a product.
            Metric::Dot | Metric::Cosine => return None,
        };
        let ValuesRef::F32(values) = train.values() else { return None };
        let features = train.features();
        let most = memory_limit.unwrap_or(MOST_BYTES).min(MOST_BYTES);
        if features > MAX_BYTE_FEATURES || values.len() as u64 > most {
            return None;
        }
        let (offset, step) = guess(values)?;
        let steps = steps(values, offset, step)?;
        let index = ByteIndex::new(form, steps.rows, features);
        Some(Self { index, offset, step, deviation: steps.deviation })
    }

    /// The training rows for a scan in integers.
    pub(super) fn index(&self) -> &ByteIndex<'static> {
        &self.index
    }

    /// `queries` on the same steps; `None` where a value is off too far.
    pub(super) fn steps_of(&self, queries: RowsRef<'_>) -> Option<Steps> {
        match queries.values() {
            ValuesRef::F32(values) => steps(values, self.offset, self.step),
            ValuesRef::U8(_) => None,
        }
    }

    /// What a key is to be multiplied by to be the rank, to the last bit, of rows that lie on the steps exactly.
    pub(super) fn exact_unit(&self, queries: &Steps) -> Option<f64> {
        // Then differences are whole steps, their squares and sums whole numbers of units far below 2⁵³.
        let exact = self.deviation == 0.0 && queries.deviation == 0.0 && is_power_of_two(self.step);
        exact.then_some(if self.index.form == ByteForm::L1 { self.step } else { self.step * self.step })
    }

    /// The smallest rank that a row can have whose steps differ from a query's by at least `key` (squared for squared distances).
    pub(super) fn lower_bound(&self, queries: &Steps, key: u32) -> f64 {
        let features = self.index.features as f64;
        // The deviations were computed with three roundings of numbers up to 256 steps off the offset.
        let rounding = 16.0 * f64::EPSILON * (self.offset.abs() + 256.0 * self.step);
        let apart = self.deviation + queries.deviation + rounding;
        // What the 64-bit definition rounds.
        let rounded = 1.0 - (features + 8.0) * f64::EPSILON * 4.0;
        if self.index.form == ByteForm::L1 {
            return (self.step * f64::from(key) - apart * features) * rounded;
        }
        let distance = self.step * f64::from(key).sqrt() - apart * features.sqrt();
        // Below 0 the bound says nothing.
        if distance > 0.0 { distance * distance * rounded } else { 0.0 }
    }
}

/// Every value's step; `None` where one lies off too far.
fn steps(values: &[f32], offset: f64, step: f64) -> Option<Steps> {
    let mut rows = vec![0; values.len()];
    let per_step = step.recip();
    let deviations = rows.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).map(|(rows, values)| {
        vectorized(
            #[inline(always)]
            || {
                // Lanes of maxima, so that they do not wait for each other.
                let mut most = [0f64; LANES];
                for (rows, values) in rows.chunks_mut(LANES).zip(values.chunks(LANES)) {
                    for ((to, &value), most) in rows.iter_mut().zip(values).zip(&mut most) {
                        let value = f64::from(value);
                        // What is out of range lies off by more than half a step. Adding 1.5·2⁵² rounds to an integer, which
                        // then stands in the last bits.
                        let n = (value - offset) * per_step;
                        let n = if n > 0.0 { n } else { 0.0 };
                        let rounded = if n < 255.0 { n } else { 255.0 } + ROUND;
                        *to = rounded.to_bits() as u8;
                        let off = (value - (offset + (rounded - ROUND) * step)).abs();
                        *most = if off > *most { off } else { *most };
                    }
                }
                most.into_iter().fold(0.0, f64::max)
            },
        )
    });
    let deviation = deviations.reduce(|| 0.0, f64::max);
    (deviation <= MOST_DEVIATION * step).then_some(Steps { rows, deviation })
}

/// The ends of no values.
const EMPTY: (f32, f32) = (f32::MAX, f32::MIN);

/// The least and the greatest value.
fn ends(values: &[f32]) -> (f32, f32) {
    vectorized(
        #[inline(always)]
        || {
            let (mut low, mut high) = ([EMPTY.0; LANES], [EMPTY.1; LANES]);
            for values in values.chunks(LANES) {
                for ((&value, low), high) in values.iter().zip(&mut low).zip(&mut high) {
                    *low = if value < *low { value } else { *low };
                    *high = if value > *high { value } else { *high };
                }
            }
            (low.into_iter().fold(EMPTY.0, f32::min), high.into_iter().fold(EMPTY.1, f32::max))
        },
    )
}

fn is_power_of_two(number: f64) -> bool {
    number.is_normal() && number > 0.0 && number.to_bits() << 12 == 0
}

/// Offset and step of values that lie on a few equal steps, judged by a sample and by the ends of all values.
fn guess(values: &[f32]) -> Option<(f64, f64)> {
    let stride = values.len().div_ceil(SAMPLE).max(1);
    // An even stride would see every other column only.
    let stride = stride | 1;
    let mut sample: Vec<f32> = values.iter().step_by(stride).copied().collect();
    sample.sort_unstable_by(f32::total_cmp);
    sample.dedup();
    // The two zeros count as two.
    if sample.len() > 257 {
        return None;
    }
    let least =
        sample.windows(2).map(|pair| f64::from(pair[1]) - f64::from(pair[0])).filter(|&gap| gap > 0.0);
    let gap = least.fold(f64::INFINITY, f64::min);
    let (low, high) =
        values.par_chunks(CHUNK).map(ends).reduce(|| EMPTY, |a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (low, high) = (f64::from(low), f64::from(high));
    let levels = ((high - low) / gap).round();
    if !(1.0..=255.0).contains(&levels) {
        return None;
    }
    let step = (high - low) / levels;
    // Where 0 is a step within reach it is the first, because queries may have smaller values than the training rows.
    let below = (low / step).round();
    let from_zero =
        below >= 0.0 && below + levels <= 255.0 && (low - below * step).abs() <= MOST_DEVIATION * step;
    Some((if from_zero { 0.0 } else { low }, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Rows, Values};

    fn rows(values: Vec<f32>, features: usize) -> Rows {
        Rows::new(Values::F32(values), features).expect("whole rows")
    }

    #[test]
    fn pixels_in_disguise_are_found_and_others_are_not() {
        let pixels =
            |scale: f32, shift: f32| (0..4000).map(|i| (i * 7919 % 256) as f32 * scale + shift).collect();
        for (values, name) in [
            (pixels(1.0 / 255.0, 0.0), "unit interval"),
            (pixels(1.0, 0.0), "integers"),
            (pixels(2.0 / 255.0, -1.0), "both signs"),
            ((0..4000).map(|i| (i % 2) as f32).collect(), "bits"),
        ] {
            let rows = rows(values, 40);
            let lattice = Lattice::new(Metric::L2, rows.view(), None).unwrap_or_else(|| panic!("{name}"));
            assert!(lattice.deviation < lattice.step * 1e-4, "{name}: {}", lattice.deviation);
            let steps = lattice.steps_of(rows.view()).expect("the same steps");
            assert_eq!(
                lattice.exact_unit(&steps),
                ["integers", "bits"].contains(&name).then_some(1.0),
                "{name}"
            );
        }
        let waves: Vec<f32> = (0..4000).map(|i| (i as f32).sin()).collect();
        assert!(Lattice::new(Metric::L2, rows(waves, 40).view(), None).is_none());
        // One value off the steps, where no sample looks.
        let mut values: Vec<f32> = pixels(1.0 / 255.0, 0.0);
        values.extend(values.clone().repeat(40));
        values[3] += 0.001;
        assert!(Lattice::new(Metric::L2, rows(values, 40).view(), None).is_none());
        assert!(Lattice::new(Metric::L2, rows(vec![3.0; 40], 4).view(), None).is_none());
        let many = rows(pixels(1.0, 0.0), 40);
        assert!(Lattice::new(Metric::L2, many.view(), Some(1000)).is_none());
        assert!(Lattice::new(Metric::Cosine, many.view(), None).is_none());
    }

    #[test]
    fn the_bound_lies_below_every_distance_and_close_to_it() {
        let values: Vec<f32> =
            (0..64 * 50).map(|i| ((i * 6151 + i / 64 * 97) % 256) as f32 / 255.0).collect();
        let rows = rows(values, 64);
        for metric in [Metric::L2, Metric::L1] {
            let lattice = Lattice::new(metric, rows.view(), None).expect("a lattice");
            let steps = lattice.steps_of(rows.view()).expect("the same steps");
            let (index, wide) = (lattice.index(), super::super::wide(rows.view()));
            for i in 1..50 {
                let each = steps.rows[..64]
                    .iter()
                    .zip(&index.rows[i * 64..][..64])
                    .map(|(a, b)| u32::from(a.abs_diff(*b)));
                let key = if metric == Metric::L1 { each.sum() } else { each.map(|d| d * d).sum::<u32>() };
                let rank = metric.rank(&wide[..64], &wide[i * 64..][..64]);
                let bound = lattice.lower_bound(&steps, key);
                assert!(bound < rank && bound > rank * (1.0 - 1e-5), "{metric:?}: {bound} for {rank}");
            }
        }
    }
}
