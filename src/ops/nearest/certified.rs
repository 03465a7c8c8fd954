//! Exact neighbours from 32-bit scans: the frame rows are scanned in, the error bound, and the proof per query.
//!
//! A fast 32-bit scan keeps the k + margin rows with the smallest *lower bounds* of their rank. Their exact ranks are
//! then computed in 64 bit. If the largest kept lower bound exceeds the exact k-th rank, no row outside can belong to
//! the answer, and the query is certified. Otherwise it is searched again, with a wider margin or directly.
//!
//! The bound (Higham 2002, §3.1). Let u = 2⁻²⁴ be the unit roundoff, a and b the scanned f32 rows, r the number of
//! roundings that a product passes through in the kernel, γ = ru / (1 − ru). Then the computed product p̃ of a and b
//! obeys |p̃ − a·b| ≤ γ‖a‖‖b‖, and rounding a row into the frame moves it by at most u‖a‖. For squared distances
//! ½d ≥ ½‖a‖² + ½‖b‖² − p̃ − (½γ + 2u)(‖a‖² + ‖b‖²); with c = γ + 8u, which also pays for the kernel's last
//! subtraction and the bias's rounding, the bound splits into a part of the query and a part of the row:
//!
//! ```text
//! ½d ≥ ½(1 − c)‖a‖² + (½(1 − c)‖b‖² − p̃) − τ       key = bias − p̃,   bias = ½(1 − c)‖b‖² rounded down
//! ```
//!
//! so the kernel's key *is* the lower bound up to a constant per query, whatever the rows' norms. τ covers underflow,
//! which drivers may flush to zero. Products (unit query) use bias = −c‖b‖, cosines (unit rows) subtract c from every
//! key, and sums of absolute differences multiply the key by 1 − c.

use rayon::prelude::*;

use super::projected::Projected;
use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};

/// Unit roundoff of `f32`.
const U: f64 = 1.0 / (1 << 24) as f64;

/// Factors up to this, and their inverses, belong to rows of ordinary size, whose differences `f32` holds.
const FACTORS: f64 = (1u64 << 60) as f64;

/// Queries may be this much larger than the training rows before their squares threaten to overflow in 32 bit.
const REACH: f64 = (1u64 << 40) as f64;

/// The transformation that training rows and queries pass through before a 32-bit scan.
///
/// Squared distances are centred on the training mean, because ‖a‖² + ‖b‖² − 2a·b cancels when all rows lie far from
/// the origin (a common offset of 10⁴ makes every neighbour wrong otherwise). A power of two scales the largest value
/// to about 1, so that squares neither overflow nor underflow; it rounds nothing.
pub(super) struct Frame {
    metric: Metric,
    centre: Vec<f32>,
    scale: f64,
    /// The relative error bound c of the module's text.
    slack: f64,
    /// The absolute error τ of underflowed products, in the frame's units.
    floor: f64,
    /// The training rows' projections.
    projected: Projected,
}

/// What a query needs besides its transformed row.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryFrame {
    /// ½(1 − c)‖a‖² (squared distances) or ‖q‖ (products); unused otherwise.
    term: f64,
    /// Whether the 32-bit scan can hold the query at all.
    scannable: bool,
}

impl Frame {
    /// The frame of a training set: one pass for the mean (squared distances only) and one for the largest value.
    ///
    /// `roundings` is r of the module's text, as the scanning kernel states it.
    pub(super) fn new(metric: Metric, train: RowsRef<'_>, roundings: usize) -> Self {
        let features = train.features();
        let columns = match train.values() {
            ValuesRef::U8(values) => Columns::of(values, features),
            ValuesRef::F32(values) => Columns::of(values, features),
        };
        let centred = matches!(metric, Metric::L2 | Metric::SqEuclidean);
        // Any centre will do; one that is an f32 lets rows be centred in f32 with one rounding.
        let mean = |sum: &f64| (sum / train.len() as f64) as f32;
        let centre: Vec<f32> = columns.sum.iter().map(|sum| if centred { mean(sum) } else { 0.0 }).collect();
        let largest = (0..features)
            .map(|i| [columns.max[i], columns.min[i]].map(|end| (end - f64::from(centre[i])).abs()))
            .map(|[above, below]| above.max(below))
            .fold(0.0, f64::max);
        let r = roundings as f64 * U;
        // From 2²² roundings on nothing can be proven; an infinite slack makes the frame unusable.
        let gamma = if r < 0.25 { r / (1.0 - r) } else { f64::INFINITY };
        Self {
            metric,
            centre,
            scale: power_of_two_below(largest),
            // The last term is the rounding of the 64-bit definition itself.
            slack: gamma + 8.0 * U + (features + 8) as f64 * f64::EPSILON * 4.0,
            floor: features as f64 * 2f64.powi(-80),
            projected: Projected::default(),
        }
    }

    /// The metric that the frame is for.
    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// What differences of rows are multiplied by, where the metric is not of normalised rows.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// Where the projections of the training rows are kept.
    pub(super) fn projected(&self) -> &Projected {
        &self.projected
    }

    /// Writes a row of real values in the frame of squared distances. One that is out of the frame's reach becomes infinite there, or not a number.
    pub(super) fn place(&self, row: &[f32], out: &mut [f32]) {
        write(row, &self.centre, self.scale, out);
    }

    /// Whether the bound says anything: rows of more than about four million features have none.
    pub(super) fn usable(&self) -> bool {
        self.slack.is_finite()
    }

    /// Writes the training rows of `rows` as the kernel scans them, and each row's bias.
    pub(super) fn train_rows(&self, rows: RowsRef<'_>, out: &mut [f32], bias: &mut [f32]) {
        out.par_chunks_exact_mut(rows.features()).zip(bias).enumerate().for_each(|(i, (out, bias))| {
            let squares = match self.metric {
                Metric::Cosine => self.write(rows, i, norm(rows, i).recip(), out),
                _ => self.write(rows, i, self.scale, out),
            };
            let exact = match self.metric {
                Metric::L2 | Metric::SqEuclidean => 0.5 * (1.0 - self.slack) * squares,
                Metric::Dot => -self.slack * squares.sqrt(),
                Metric::L1 | Metric::Cosine => 0.0,
            };
            *bias = round_down(exact);
        });
    }

    /// Writes query row `i` of `rows` as the kernel scans it.
    pub(super) fn query_row(&self, rows: RowsRef<'_>, i: usize, out: &mut [f32]) -> QueryFrame {
        let (factor, norm) = match self.metric {
            Metric::Cosine | Metric::Dot => {
                let norm = norm(rows, i);
                (norm.recip(), norm)
            }
            _ => (self.scale, 0.0),
        };
        let squares = self.write(rows, i, factor, out);
        let scannable = out.iter().all(|v| f64::from(v.abs()) <= REACH);
        if !scannable {
            out.fill(0.0);
        }
        let term = if self.metric == Metric::Dot { norm } else { 0.5 * (1.0 - self.slack) * squares };
        QueryFrame { term, scannable }
    }

    /// The smallest rank that a row can have whose key is at least `key`; −∞ where the scan could not hold the query.
    pub(super) fn lower_bound(&self, query: QueryFrame, key: f32) -> f64 {
        if !query.scannable {
            return f64::NEG_INFINITY;
        }
        let key = f64::from(key);
        match self.metric {
            Metric::L2 | Metric::SqEuclidean => {
                2.0 * (query.term + key - self.floor) / (self.scale * self.scale)
            }
            Metric::L1 => (key * (1.0 - self.slack) - self.floor) / self.scale,
            Metric::Dot => (key - self.floor) * query.term / self.scale,
            Metric::Cosine => 1.0 + key - self.slack - self.floor,
        }
    }

    /// Writes (row − centre)·factor, values too small for a normal `f32` flushed; returns Σ of the squares of what was
    /// written. An infinite factor (of a zero row) writes zeros.
    ///
    /// The difference is rounded once and a power of two rounds nothing; other factors round twice more, which the
    /// bound's 8u covers (2u for each of two rows, 2u for the key).
    fn write(&self, rows: RowsRef<'_>, row: usize, factor: f64, out: &mut [f32]) -> f64 {
        let factor = if factor.is_finite() { factor } else { 0.0 };
        match rows.range(row..row + 1).values() {
            ValuesRef::U8(values) => write(values, &self.centre, factor, out),
            ValuesRef::F32(values) => write(values, &self.centre, factor, out),
        }
        let mut squares = [0.0; 8];
        for chunk in out.chunks(8) {
            for (sum, &value) in squares.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        squares.iter().sum()
    }
}

fn write<T: Copy + Into<f64> + Into<f32>>(values: &[T], centre: &[f32], factor: f64, out: &mut [f32]) {
    let flushed = |value: f32| if value.abs() < f32::MIN_POSITIVE { 0.0 } else { value };
    let each = out.iter_mut().zip(values).zip(centre);
    // Where neither the difference nor the factor can leave the range of f32, four lanes do the work of two.
    if (FACTORS.recip()..FACTORS).contains(&factor) {
        let factor = factor as f32;
        each.for_each(|((out, &value), centre)| *out = flushed((Into::<f32>::into(value) - centre) * factor));
    } else {
        each.for_each(|((out, &value), &centre)| {
            *out = flushed(((Into::<f64>::into(value) - f64::from(centre)) * factor) as f32);
        });
    }
}

/// Sum, least and greatest value of every column.
struct Columns {
    sum: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

impl Columns {
    /// Fixed blocks of rows, combined in order: the same sums for any number of threads.
    fn of<T: Copy + Into<f64> + Sync>(values: &[T], features: usize) -> Self {
        const BLOCK: usize = 1024;
        let blocks: Vec<Self> =
            values.par_chunks(BLOCK * features).map(|block| Self::of_block(block, features)).collect();
        blocks.into_iter().fold(Self::empty(features), |mut all, block| {
            for i in 0..features {
                all.sum[i] += block.sum[i];
                all.min[i] = all.min[i].min(block.min[i]);
                all.max[i] = all.max[i].max(block.max[i]);
            }
            all
        })
    }

    fn of_block<T: Copy + Into<f64>>(values: &[T], features: usize) -> Self {
        let mut columns = Self::empty(features);
        for row in values.chunks_exact(features) {
            let each = columns.sum.iter_mut().zip(&mut columns.min).zip(&mut columns.max);
            for (((sum, min), max), &value) in each.zip(row) {
                let value = value.into();
                *sum += value;
                *min = min.min(value);
                *max = max.max(value);
            }
        }
        columns
    }

    fn empty(features: usize) -> Self {
        let of = |value| vec![value; features];
        Self { sum: of(0.0), min: of(f64::INFINITY), max: of(f64::NEG_INFINITY) }
    }
}

fn norm(rows: RowsRef<'_>, row: usize) -> f64 {
    (0..rows.features()).map(|column| rows.at(row, column).powi(2)).sum::<f64>().sqrt()
}

/// The power of two that scales `largest` into [½, 1), or 1 for zero.
fn power_of_two_below(largest: f64) -> f64 {
    if largest == 0.0 {
        return 1.0;
    }
    // f32 values and their differences are normal f64 numbers: the exponent field is the floor of the logarithm.
    let exponent = ((largest.to_bits() >> 52) & 0x7ff) as i32 - 1022;
    2f64.powi(-exponent)
}

fn round_down(value: f64) -> f32 {
    let rounded = value as f32;
    if f64::from(rounded) > value { rounded.next_down() } else { rounded }
}
