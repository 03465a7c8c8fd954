//! How rows become a net's inputs: (x − shift)·scale, column by column, learned from the training rows alone.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rows::{RowsRef, ValuesRef};

/// What is done to the columns (course notes, "Data Preprocessing").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preprocess {
    /// Nothing.
    None,
    /// Divided by 255: pixels in [0, 1].
    Unit,
    /// The mean row is subtracted: the course's mean image.
    Mean,
    /// The mean row is subtracted and all is divided by the deviation of all values, which keeps the contrasts of an image.
    #[default]
    Center,
    /// Each column has mean 0 and deviation 1; constant columns become 0.
    Standardize,
}

/// A transformation of columns, as a model keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// What is subtracted from each column.
    pub shift: Vec<f32>,
    /// What each column is multiplied by then.
    pub scale: Vec<f32>,
}

/// The mean row of `rows` (N × D, at least one row): what is predicted where nothing is known.
pub fn mean_row(rows: RowsRef<'_>) -> Vec<f64> {
    let n = rows.len().max(1) as f64;
    column_sums(rows, |_, x| x).into_iter().map(|sum| sum / n).collect()
}

impl Columns {
    /// The mean squared error of predicting `row` (D, in the units of the data) for each of `rows` (N × D), over all numbers as this
    /// transformation leaves them; 0 without rows.
    pub fn squared_error_of(&self, row: &[f64], rows: RowsRef<'_>) -> f64 {
        let squares = column_sums(rows, |column, x| {
            let difference = (x - row[column]) * f64::from(self.scale[column]);
            difference * difference
        });
        squares.iter().sum::<f64>() / (rows.len() * rows.features()).max(1) as f64
    }

    /// Rows as a net gives them back in the units of the data: x / scale + shift. A constant column, whose scale is 0, is its shift.
    pub fn undo(&self, outputs: &mut [f32]) {
        for row in outputs.chunks_exact_mut(self.shift.len().max(1)) {
            for ((x, shift), scale) in row.iter_mut().zip(&self.shift).zip(&self.scale) {
                *x = if *scale == 0.0 { *shift } else { *x / scale + shift };
            }
        }
    }
}

/// Rows whose sums are one part: parts are added in order, whatever the number of threads.
const PART: usize = 1024;

impl Preprocess {
    /// The transformation that `rows` (N × D, at least one row) ask for, in 64-bit sums.
    pub fn learn(self, rows: RowsRef<'_>) -> Columns {
        let features = rows.features();
        let fixed = |scale: f32| Columns { shift: vec![0.0; features], scale: vec![scale; features] };
        match self {
            Self::None => return fixed(1.0),
            Self::Unit => return fixed(1.0 / 255.0),
            Self::Mean | Self::Center | Self::Standardize => {}
        }
        let n = rows.len().max(1) as f64;
        let mean = mean_row(rows);
        let shift = mean.iter().map(|&mean| mean as f32).collect();
        if self == Self::Mean {
            return Columns { shift, scale: vec![1.0; features] };
        }
        let variance: Vec<f64> = column_sums(rows, |column, x| (x - mean[column]) * (x - mean[column]))
            .into_iter()
            .map(|sum| sum / n)
            .collect();
        // A column that never changes tells nothing, and a division by its deviation would be one by zero.
        let inverse = |variance: f64| if variance > 0.0 { (1.0 / variance.sqrt()) as f32 } else { 0.0 };
        let scale = match self {
            Self::Standardize => variance.into_iter().map(inverse).collect(),
            _ => vec![inverse(variance.iter().sum::<f64>() / features as f64); features],
        };
        Columns { shift, scale }
    }
}

/// Σ `term`(column, x) of every column.
fn column_sums(rows: RowsRef<'_>, term: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    fn sums<T: Copy + Into<f64> + Sync>(
        values: &[T],
        features: usize,
        term: &(impl Fn(usize, f64) -> f64 + Sync),
    ) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = values
            .par_chunks(PART * features)
            .map(|part| {
                let mut sums = vec![0.0; features];
                for row in part.chunks_exact(features) {
                    for (column, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                        *sum += term(column, x.into());
                    }
                }
                sums
            })
            .collect();
        let mut total = vec![0.0; features];
        for part in parts {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        total
    }
    match rows.values() {
        ValuesRef::U8(values) => sums(values, rows.features(), &term),
        ValuesRef::F32(values) => sums(values, rows.features(), &term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Rows, Values};

    fn apply(columns: &Columns, row: &[u8]) -> Vec<f32> {
        let each = row.iter().zip(&columns.shift).zip(&columns.scale);
        each.map(|((&x, shift), scale)| (f32::from(x) - shift) * scale).collect()
    }

    #[test]
    fn columns_are_shifted_and_scaled_as_named() {
        let rows = Rows::new(Values::U8(vec![0, 10, 255, 4, 10, 251]), 3).expect("two rows");
        let learn = |preprocess: Preprocess| apply(&preprocess.learn(rows.view()), &[4, 10, 255]);
        assert_eq!(learn(Preprocess::None), [4.0, 10.0, 255.0]);
        assert_eq!(learn(Preprocess::Mean), [2.0, 0.0, 2.0]);
        assert_eq!(learn(Preprocess::Standardize), [1.0, 0.0, 1.0]);
        assert_eq!(learn(Preprocess::Unit)[2], 1.0);
        let expected = 2.0 / (8.0f32 / 3.0).sqrt();
        approx::assert_relative_eq!(learn(Preprocess::Center)[0], expected, max_relative = 1e-6);
    }

    #[test]
    fn errors_are_counted_as_a_net_sees_them_and_rows_come_back() {
        let rows = Rows::new(Values::U8(vec![0, 10, 7, 4, 30, 7]), 3).expect("two rows");
        let columns = Preprocess::Standardize.learn(rows.view());
        let mean = mean_row(rows.view());
        assert_eq!(mean, [2.0, 20.0, 7.0]);
        // Deviation 1 in the two columns that change, 0 in the third.
        approx::assert_relative_eq!(
            columns.squared_error_of(&mean, rows.view()),
            2.0 / 3.0,
            max_relative = 1e-6
        );
        let mut outputs = apply(&columns, &[4, 10, 9]);
        columns.undo(&mut outputs);
        approx::assert_relative_eq!(outputs[..], [4.0, 10.0, 7.0], max_relative = 1e-6);
    }

    #[test]
    fn one_row_and_constant_rows_stay_finite() {
        let rows = Rows::new(Values::F32(vec![7.0, 7.0]), 2).expect("a row");
        for preprocess in [Preprocess::Center, Preprocess::Standardize] {
            assert_eq!(preprocess.learn(rows.view()).scale, [0.0, 0.0]);
        }
    }
}
