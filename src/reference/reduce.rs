//! Sums, maxima and moments along the rows or the columns of a matrix (`x.sum(axis=1)` and `x.sum(axis=0)` of the assignments).

use crate::tolerance::Real;

/// What a reduction runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// One result for each row, over all its columns.
    Rows,
    /// One result for each column, over all its rows.
    Columns,
}

impl Axis {
    /// Results of a matrix of rows × columns, and elements behind each.
    pub fn lines(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Rows => [rows, columns],
            Self::Columns => [columns, rows],
        }
    }
}

/// Each row, or each column, of a row-major matrix.
fn lines<T: Real>(x: &[T], shape: [usize; 2], axis: Axis) -> impl Iterator<Item = Vec<T>> {
    let [count, length] = axis.lines(shape);
    (0..count).map(move |line| {
        let at = |i| if axis == Axis::Rows { line * length + i } else { i * count + line };
        (0..length).map(|i| x[at(i)]).collect()
    })
}

/// Σᵢ xᵢ of each line; 0 for none.
pub fn sum<T: Real>(x: &[T], shape: [usize; 2], axis: Axis) -> Vec<T> {
    lines(x, shape, axis).map(|line| line.into_iter().sum()).collect()
}

/// maxᵢ xᵢ of each line of at least one element; NaN where there is one (`np.max`).
pub fn max<T: Real>(x: &[T], shape: [usize; 2], axis: Axis) -> Vec<T> {
    lines(x, shape, axis).map(|line| line.iter().fold(line[0], |max, &x| max.max(x))).collect()
}

/// Where each line has its first maximum; a NaN is the maximum, and the first one counts (`np.argmax`).
pub fn argmax<T: Real>(x: &[T], shape: [usize; 2], axis: Axis) -> Vec<u32> {
    let above = |a: f64, b: f64| a > b || (a.is_nan() && !b.is_nan());
    let first = |line: Vec<T>| {
        (1..line.len()).fold(0, |best, i| if above(line[i].value(), line[best].value()) { i } else { best })
    };
    lines(x, shape, axis).map(|line| first(line) as u32).collect()
}

/// The mean μ = Σᵢ xᵢ / n and the biased variance Σᵢ (xᵢ − μ)² / n of each line, in two passes, because E\[x²\] − μ² cancels.
pub fn moments<T: Real>(x: &[T], shape: [usize; 2], axis: Axis) -> (Vec<T>, Vec<T>) {
    let n = T::from(axis.lines(shape)[1] as f64);
    let each = lines(x, shape, axis).map(|line| {
        let mean = line.iter().copied().sum::<T>() / n;
        let squares = line.iter().map(|&x| (x - mean) * (x - mean));
        (mean, squares.sum::<T>() / n)
    });
    each.unzip()
}
