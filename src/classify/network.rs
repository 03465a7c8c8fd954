//! What a trained net makes of rows as they were read, in batches, on its device: classes, or codes and reconstructions.

use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::nn::feed::{Feed, Order};
use crate::nn::model::Objective;
use crate::nn::solver::EVALUATED;
use crate::ops::softmax::softmax;
use crate::report::mistakes::{Mistake, mistakes, mistakes_by_margin};
use crate::rows::RowsRef;
use crate::tensor::Tensor;

impl Model {
    /// The scores of `rows` (N × D): N × C, row after row.
    ///
    /// # Errors
    /// [`Error::Shape`] when the rows have another number of features than the model, or the model is of another kind;
    /// [`Error::Device`] when the device fails.
    pub fn scores(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.each_scores(rows, |scores| Ok(scores.clone()))
    }

    /// The probabilities that the softmax makes of the scores: N × C.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn probabilities(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.each_scores(rows, softmax)
    }

    /// The class with the largest score of every row, the smallest of equal ones: N.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn predict(&self, rows: RowsRef<'_>) -> Result<Vec<u32>> {
        let classes = self.each_scores(rows, |scores| self.net.classes(scores))?;
        Ok(classes.into_iter().map(|class| class as u32).collect())
    }

    /// The `most` most confident wrong predictions of `rows` (N × D) whose classes are `truth` (N): by probability, or by the margin of the
    /// scores where the model is an SVM, whose scores are no probabilities.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn mistakes(&self, rows: RowsRef<'_>, truth: &[u32], most: usize) -> Result<Vec<Mistake>> {
        let classes = self.classes.len();
        Ok(match self.net.architecture().objective {
            Objective::Softmax | Objective::Reconstruction => {
                mistakes(&self.probabilities(rows)?, classes, truth, most)
            }
            Objective::Hinge(_) => mistakes_by_margin(&self.scores(rows)?, classes, truth, most),
        })
    }

    /// The codes of `rows` (N × D): N × K, what the last layer of the encoder puts out. Any net with a hidden layer has them.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn codes(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.each_batch(rows, |x| self.net.codes(x))
    }

    /// What an autoencoder makes of `rows` (N × D): N × D, in the units of the data.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn reconstructions(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.expect_labels(false)?;
        let mut outputs = self.each_batch(rows, |x| self.net.scores(x))?;
        self.columns.undo(&mut outputs);
        Ok(outputs)
    }

    /// The mean squared error of an autoencoder in each of `rows` (N × D), over the numbers as it sees them: N.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn reconstruction_errors(&self, rows: RowsRef<'_>) -> Result<Vec<f64>> {
        self.expect_labels(false)?;
        let features = rows.features().max(1) as f64;
        let errors = self.each_batch(rows, |x| self.net.losses(&self.net.scores(x)?, x))?;
        Ok(errors.into_iter().map(|error| f64::from(error) / features).collect())
    }

    /// Refuses a model of the other kind.
    fn expect_labels(&self, labels: bool) -> Result<()> {
        match (self.net.architecture().objective.of_labels(), labels) {
            (false, true) => Err(Error::shape(
                "model",
                "an autoencoder knows no classes",
                "ask it for codes or reconstructions, or start a classifier from it (train mlp --init-from)",
            )),
            (true, false) => Err(Error::shape(
                "model",
                "a classifier reconstructs no rows",
                "ask it for classes, probabilities or codes, or train an autoencoder",
            )),
            _ => Ok(()),
        }
    }

    fn each_scores(&self, rows: RowsRef<'_>, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f32>> {
        self.expect_labels(true)?;
        self.each_batch(rows, |x| of(&self.net.scores(x)?))
    }

    fn each_batch(&self, rows: RowsRef<'_>, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f32>> {
        let features = self.net.architecture().inputs;
        if rows.features() != features {
            return Err(Error::shape(
                "model",
                format!("rows of {} features, the model takes {features}", rows.features()),
                "give rows like those that it was trained on",
            ));
        }
        let mut feed = Feed::new(&self.net.device(), rows, None, &self.columns, None)?;
        let mut found = Vec::new();
        feed.each_batch(Order::Given, EVALUATED, |x, _| {
            found.push(of(x)?);
            Ok(true)
        })?;
        let read = Tensor::read_all(&found.iter().collect::<Vec<_>>())?;
        Ok(read.into_iter().flatten().map(|value| value as f32).collect())
    }
}
