//! Classification by a trained net: rows as they were read, in batches, on the net's device.

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
    /// [`Error::Shape`] when the rows have another number of features than the model; [`Error::Device`] when the device fails.
    pub fn scores(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.each_batch(rows, |scores| Ok(scores.clone()))
    }

    /// The probabilities that the softmax makes of the scores: N × C.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn probabilities(&self, rows: RowsRef<'_>) -> Result<Vec<f32>> {
        self.each_batch(rows, softmax)
    }

    /// The class with the largest score of every row, the smallest of equal ones: N.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn predict(&self, rows: RowsRef<'_>) -> Result<Vec<u32>> {
        let classes = self.each_batch(rows, |scores| self.net.classes(scores))?;
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
            Objective::Softmax => mistakes(&self.probabilities(rows)?, classes, truth, most),
            Objective::Hinge(_) => mistakes_by_margin(&self.scores(rows)?, classes, truth, most),
        })
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
        let unknown = vec![0; rows.len()];
        let mut feed = Feed::new(&self.net.device(), rows, &unknown, &self.columns, None)?;
        let mut found = Vec::new();
        feed.each_batch(Order::Given, EVALUATED, |x, _| {
            found.push(of(&self.net.scores(x)?)?);
            Ok(true)
        })?;
        let read = Tensor::read_all(&found.iter().collect::<Vec<_>>())?;
        Ok(read.into_iter().flatten().map(|value| value as f32).collect())
    }
}
