//! Pixels at a quarter of their size, and the proof that most rows need no closer look.
//!
//! Cut the features into blocks of four and let S be a row's sums over them. By Cauchy and Schwarz
//!
//! ```text
//! ‖x − y‖₂² ≥ ‖Sx − Sy‖₂² / 4          ‖x − y‖₁ ≥ ‖Sx − Sy‖₁
//! ```
//!
//! Means S/4 = q + e, rounded to whole numbers q, are pixels again, which the byte kernels compare in a quarter of the time:
//!
//! ```text
//! ‖x − y‖₂ ≥ 2·(‖qx − qy‖₂ − ‖ex‖₂ − ‖ey‖₂)          ‖x − y‖₁ ≥ 4·(‖qx − qy‖₁ − ‖ex‖₁ − ‖ey‖₁)
//! ```
//!
//! A row whose bound exceeds the distance of the k-th candidate so far is none of the k nearest. Of the others the distance is
//! computed in full, so the answer is that of a full search, ties included. In images neighbouring pixels are alike: one row in a
//! hundred is looked at. In noise the bound refuses nothing, which [`Refinement::shares`](super::Refinement::shares) finds out on a sample.
//! (C. Faloutsos, M. Ranganathan, Y. Manolopoulos: Fast Subsequence Matching in Time-Series Databases, SIGMOD 1994, §3: the
//! lemma of lower bounding.)

use rayon::prelude::*;

use super::ByteForm;
use crate::cpu::chunks::vectorized;

/// Features in a block.
const BLOCK: usize = 4;
/// Rows that the blocks are chosen by.
const SAMPLE: usize = 16;

/// Blocks of two by two values of rows seen as images: `width` values to a line, neighbours `stride` apart (3 where
/// the colours of a pixel follow each other). A line of two values makes blocks of four in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    form: ByteForm,
    features: usize,
    width: usize,
    stride: usize,
}

/// Rows at a smaller size, whose distances bound those of the rows.
#[derive(Debug, Clone)]
pub struct Sketched {
    /// A few numbers a row, rounded.
    pub rows: Vec<u8>,
    /// What these are at most.
    pub most: u8,
    /// What rounding took: at least ‖e‖ of each row, in the norm of the distances.
    pub errors: Vec<f64>,
}

impl Pooling {
    /// The blocks whose values differ least within `rows` of `features` values; `None` where pooling cannot bound the form's
    /// distances, or rows are too short to gain.
    pub fn fit(form: ByteForm, rows: &[u8], features: usize) -> Option<Self> {
        if form == ByteForm::Dot || features < 8 * BLOCK || rows.is_empty() {
            return None;
        }
        let count = rows.len() / features;
        let sample: Vec<u8> = (0..SAMPLE.min(count))
            .flat_map(|i| &rows[i * count / SAMPLE.min(count) * features..][..features])
            .copied()
            .collect();
        let at = |width, stride| Self { form, features, width, stride };
        let mut shapes = vec![at(2, 1)];
        for stride in [1, 3] {
            let lines = 4..=features / 4;
            let fits =
                |&width: &usize| width.is_multiple_of(2 * stride) && features.is_multiple_of(2 * width);
            shapes.extend(lines.filter(fits).map(|width| at(width, stride)));
        }
        // What lies between the bound and the distance from 0, but for what is equal for all: Σx² − ΣS²/4.
        let captured = |shape: &Self| {
            let mut squares = 0u64;
            for row in sample.chunks_exact(features) {
                shape.sums(row, |_, sum| squares += u64::from(sum) * u64::from(sum));
            }
            squares
        };
        shapes
            .into_par_iter()
            .max_by_key(|shape| (captured(shape), std::cmp::Reverse((shape.width, shape.stride))))
    }

    /// Number of blocks: features of a pooled row.
    pub fn blocks(&self) -> usize {
        self.features / (2 * self.width) * (self.width / 2)
    }

    /// What the distance of two rows, not squared, may grow by.
    pub fn gain(&self) -> f64 {
        if self.form == ByteForm::L1 { 0.25 } else { 0.5 }
    }

    /// Calls `take` with every block's number and sum.
    #[inline(always)]
    fn sums(&self, row: &[u8], mut take: impl FnMut(usize, u16)) {
        let quad = |a: u8, b: u8, c: u8, d: u8| u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d);
        if self.width == 2 {
            for (i, four) in row.chunks_exact(BLOCK).enumerate() {
                take(i, quad(four[0], four[1], four[2], four[3]));
            }
            return;
        }
        let per_line = self.width / 2;
        for (line, lines) in row.chunks_exact(2 * self.width).enumerate() {
            let (top, bottom) = lines.split_at(self.width);
            // The usual case on its own, for the compiler's vectors.
            if self.stride == 1 {
                let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
                for (i, (top, bottom)) in pairs.enumerate() {
                    take(line * per_line + i, quad(top[0], top[1], bottom[0], bottom[1]));
                }
                continue;
            }
            let pixels = top.chunks_exact(2 * self.stride).zip(bottom.chunks_exact(2 * self.stride));
            for (pixel, (top, bottom)) in pixels.enumerate() {
                for i in 0..self.stride {
                    let j = i + self.stride;
                    take(
                        line * per_line + pixel * self.stride + i,
                        quad(top[i], top[j], bottom[i], bottom[j]),
                    );
                }
            }
        }
    }

    /// The means of `rows`.
    pub fn pool(&self, rows: &[u8]) -> Sketched {
        let blocks = self.blocks();
        let count = rows.len() / self.features;
        let mut means = vec![0; count * blocks];
        let each = means.par_chunks_exact_mut(blocks).zip(rows.par_chunks_exact(self.features));
        let errors = each
            .with_min_len(64)
            .map(|(out, row)| {
                vectorized(
                    #[inline(always)]
                    || {
                        // Four times the error of a mean is between −1 and 2.
                        let mut error = 0u32;
                        let l1 = self.form == ByteForm::L1;
                        self.sums(row, |block, sum| {
                            let mean = (sum + 2) >> 2;
                            out[block] = mean as u8;
                            let off = u32::from(sum.abs_diff(mean << 2));
                            error += if l1 { off } else { off * off };
                        });
                        error
                    },
                )
            })
            .map(|error| {
                if self.form == ByteForm::L1 { f64::from(error) / 4.0 } else { f64::from(error).sqrt() / 4.0 }
            })
            .collect();
        Sketched { rows: means, most: u8::MAX, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    /// Rows of `width` × `lines` pixels of `stride` colours, smooth in both directions.
    fn images(count: usize, width: usize, lines: usize, stride: usize) -> Vec<u8> {
        let shades = rng::pixels(&mut rng::seeded(5), count * 3 * stride);
        (0..count * width * lines * stride)
            .map(|i| {
                let (colour, pixel) = (i % stride, i / stride);
                let (x, y, image) = (pixel % width, pixel / width % lines, pixel / width / lines);
                let shade = |n: usize| f64::from(shades[(image * 3 + n) * stride + colour]);
                let (x, y) = (x as f64 / width as f64, y as f64 / lines as f64);
                ((shade(0) + shade(1) * x + shade(2) * y) / 3.0) as u8
            })
            .collect()
    }

    #[test]
    fn blocks_follow_the_lines_of_images() {
        for (width, lines, stride) in [(28, 28, 1), (32, 96, 1), (16, 40, 1), (32, 32, 3)] {
            let features = width * lines * stride;
            let shape = Pooling::fit(ByteForm::SqEuclidean, &images(40, width, lines, stride), features);
            let shape = shape.expect("long rows");
            assert_eq!((shape.width, shape.stride), (width * stride, stride), "{width} × {lines} × {stride}");
        }
        // Alike in fours, and with one feature too many.
        let steps: Vec<u8> = (0..41 * 30).map(|i| (i % 41 / 4 * 97 % 251) as u8).collect();
        let shape = Pooling::fit(ByteForm::L1, &steps, 41).expect("long rows");
        assert_eq!((shape.width, shape.blocks()), (2, 10));
        assert_eq!(Pooling::fit(ByteForm::SqEuclidean, &[0; 31], 31), None);
        assert_eq!(Pooling::fit(ByteForm::Dot, &steps, 41), None);
    }

    #[test]
    fn means_and_errors_are_those_of_the_blocks() {
        for (features, width, stride) in [(96, 2, 1), (99, 2, 1), (96, 8, 1), (96, 12, 3), (48, 24, 1)] {
            for form in [ByteForm::SqEuclidean, ByteForm::L1] {
                let shape = Pooling { form, features, width, stride };
                let rows = rng::pixels(&mut rng::seeded(7), 5 * features);
                let pooled = shape.pool(&rows);
                for (i, row) in rows.chunks(features).enumerate() {
                    let (mut means, mut error) = (Vec::new(), 0.0);
                    // Block after block by the definition: a feature with its right, lower and lower right neighbours.
                    for left in 0..features / (2 * width) * (2 * width) {
                        if left / width % 2 == 1 || left % width / stride % 2 == 1 {
                            continue;
                        }
                        let four =
                            [0, stride, width, width + stride].map(|apart| f64::from(row[left + apart]));
                        let mean = four.iter().sum::<f64>() / 4.0;
                        let off = mean - (mean + 0.5).floor();
                        means.push((mean + 0.5).floor() as u8);
                        error += if form == ByteForm::L1 { off.abs() } else { off * off };
                    }
                    assert_eq!(pooled.rows[i * shape.blocks()..][..shape.blocks()], means, "{shape:?}");
                    let norm = if form == ByteForm::L1 { error } else { error.sqrt() };
                    assert!((pooled.errors[i] - norm).abs() < 1e-12, "{shape:?}");
                }
            }
        }
    }
}
