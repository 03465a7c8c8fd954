//! The linear classifiers of assignment 1: scores X·W under the multiclass SVM loss or the softmax loss.
//!
//! Each loss exists as the notes first write it, in explicit loops over 64-bit numbers, and as the assignment then asks for it, in whole
//! matrices on any device. `compare svm` and `compare softmax` time them side by side. The penalty is reg·ΣW², its gradient 2·reg·W.
//!
//! ```
//! use cs231n_gpu::classify::linear::{Samples, softmax_loss_naive, svm_loss_naive};
//!
//! // Without knowledge (W = 0), every class has the same score: the losses are C − 1 and ln C.
//! let samples = Samples { x: &[0.5, -1.0, 2.0, 0.1], y: &[0, 2], classes: 3 };
//! let w = [0.0; 6];
//! assert_eq!(svm_loss_naive(&w, samples, 0.0).0, 2.0);
//! assert!((softmax_loss_naive(&w, samples, 0.0).0 - 3f64.ln()).abs() < 1e-15);
//! ```

use crate::error::Result;
use crate::nn::layers::{Loss, softmax_loss, svm_loss};
use crate::ops::elementwise::axpy;
use crate::ops::matmul::{Transposed, matmul};
use crate::ops::reduce::{Axis, argmax};
use crate::tensor::Tensor;

/// Labelled samples for the forms with loops.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// Features, N × D, row-major.
    pub x: &'a [f64],
    /// The class of every sample, N, below `classes`.
    pub y: &'a [u32],
    /// C.
    pub classes: usize,
}

/// (loss, dW) of the weights `w` (D × C) with Δ = 1, as the notes derive it: each margin above 0 adds xᵢ to the column of its class and
/// takes it from that of the right class.
///
/// # Panics
/// When the lengths do not fit or a label is not below the number of classes.
pub fn svm_loss_naive(w: &[f64], samples: Samples<'_>, reg: f64) -> (f64, Vec<f64>) {
    let Samples { x, y, classes } = samples;
    let features = w.len() / classes;
    let mut loss = 0.0;
    let mut dw = vec![0.0; w.len()];
    for (x, &y) in x.chunks_exact(features).zip(y) {
        let scores = scores(w, x, classes);
        for j in 0..classes {
            if j == y as usize {
                continue;
            }
            let margin = scores[j] - scores[y as usize] + 1.0;
            if margin > 0.0 {
                loss += margin;
                for d in 0..features {
                    dw[d * classes + j] += x[d];
                    dw[d * classes + y as usize] -= x[d];
                }
            }
        }
    }
    finish(loss, dw, w, y.len(), reg)
}

/// (loss, dW) of the weights `w` (D × C): the probabilities p = softmax(xᵢ·W) of each sample give −ln p_y, and (p − 1_y)·xᵢ to dW.
///
/// # Panics
/// As [`svm_loss_naive`].
pub fn softmax_loss_naive(w: &[f64], samples: Samples<'_>, reg: f64) -> (f64, Vec<f64>) {
    let Samples { x, y, classes } = samples;
    let features = w.len() / classes;
    let mut loss = 0.0;
    let mut dw = vec![0.0; w.len()];
    for (x, &y) in x.chunks_exact(features).zip(y) {
        let mut scores = scores(w, x, classes);
        // The largest becomes 0, so that no exponential overflows.
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        scores.iter_mut().for_each(|score| *score -= largest);
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        // −ln p_y, without ever forming p_y, which may be 0.
        loss += sum.ln() - scores[y as usize];
        for j in 0..classes {
            let right = if j == y as usize { 1.0 } else { 0.0 };
            let coefficient = scores[j].exp() / sum - right;
            for d in 0..features {
                dw[d * classes + j] += coefficient * x[d];
            }
        }
    }
    finish(loss, dw, w, y.len(), reg)
}

/// x·W.
fn scores(w: &[f64], x: &[f64], classes: usize) -> Vec<f64> {
    let mut scores = vec![0.0; classes];
    for (d, x) in x.iter().enumerate() {
        for j in 0..classes {
            scores[j] += x * w[d * classes + j];
        }
    }
    scores
}

/// The means over the samples, with the penalty.
fn finish(loss: f64, mut dw: Vec<f64>, w: &[f64], samples: usize, reg: f64) -> (f64, Vec<f64>) {
    let n = samples.max(1) as f64;
    for (dw, w) in dw.iter_mut().zip(w) {
        *dw = *dw / n + 2.0 * reg * w;
    }
    (loss / n + reg * w.iter().map(|w| w * w).sum::<f64>(), dw)
}

/// (loss, dW) of the weights `w` (D × C) for samples `x` (N × D) with labels `y` (N), in three products of matrices. The loss is read when
/// asked for.
///
/// # Errors
/// [`crate::Error::Shape`] when shapes, types or devices do not fit; [`crate::Error::Device`] when the device fails.
pub fn svm_loss_vectorized(w: &Tensor, x: &Tensor, y: &Tensor, reg: f64) -> Result<(Loss, Tensor)> {
    vectorized(w, x, y, reg, svm_loss)
}

/// (loss, dW), as [`svm_loss_vectorized`].
///
/// # Errors
/// As [`svm_loss_vectorized`].
pub fn softmax_loss_vectorized(w: &Tensor, x: &Tensor, y: &Tensor, reg: f64) -> Result<(Loss, Tensor)> {
    vectorized(w, x, y, reg, softmax_loss)
}

/// dW = Xᵀ·dscores + 2·reg·W.
fn vectorized(
    w: &Tensor,
    x: &Tensor,
    y: &Tensor,
    reg: f64,
    loss: fn(&Tensor, &Tensor) -> Result<(Loss, Tensor)>,
) -> Result<(Loss, Tensor)> {
    let scores = matmul(x, w, Transposed::default())?;
    let (loss, dscores) = loss(&scores, y)?;
    let mut dw = matmul(x, &dscores, Transposed { a: true, b: false })?;
    if reg == 0.0 {
        return Ok((loss, dw));
    }
    axpy(2.0 * reg, w, &mut dw)?;
    Ok((loss.with_penalty(reg, vec![w.clone()]), dw))
}

macro_rules! classifier {
    ($name:ident, $loss:ident, $what:literal) => {
        #[doc = concat!("The linear classifier under the ", $what, " loss.")]
        #[derive(Debug, Clone)]
        pub struct $name {
            /// W, D × C. The notebooks append a feature 1 to every sample, whose row of W is the bias.
            pub w: Tensor,
        }

        impl $name {
            /// (loss, dW) of samples `x` (N × D) with labels `y` (N).
            ///
            /// # Errors
            /// As [`svm_loss_vectorized`].
            pub fn loss(&self, x: &Tensor, y: &Tensor, reg: f64) -> Result<(Loss, Tensor)> {
                $loss(&self.w, x, y, reg)
            }

            /// The class with the largest score of every sample (N), the smallest of equal ones.
            ///
            /// # Errors
            /// As [`svm_loss_vectorized`].
            pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
                argmax(&matmul(x, &self.w, Transposed::default())?, Axis::Rows)
            }
        }
    };
}

classifier!(LinearSVM, svm_loss_vectorized, "multiclass SVM");
classifier!(Softmax, softmax_loss_vectorized, "softmax");
