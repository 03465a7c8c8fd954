//! How well an autoencoder gives rows back, beside what a prediction of the mean row would reach.

use serde::Serialize;

use super::Parts;
use crate::data::Dataset;
use crate::data::preprocess::mean_row;
use crate::error::Result;
use crate::nn::checkpoint::Model;
use crate::rows::RowsRef;

/// Mean squared errors over all numbers as the net sees them, preprocessed. Keys are stable: see the README.
#[derive(Debug, Serialize)]
pub(super) struct Reconstruction {
    /// Numbers of a code.
    pub(super) code: usize,
    pub(super) train: Errors,
    pub(super) validation: Option<Errors>,
    pub(super) test: Option<Errors>,
}

/// Of some rows.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::cli) struct Errors {
    pub(in crate::cli) rows: usize,
    /// Of the net.
    pub(in crate::cli) mse: f64,
    /// Of the mean of all training rows, predicted for every row.
    pub(in crate::cli) baseline_mse: f64,
}

impl Errors {
    /// Those of a model on `rows`; none without rows.
    pub(in crate::cli) fn of(model: &Model, rows: RowsRef<'_>, mean: &[f64]) -> Result<Option<Self>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let errors = model.reconstruction_errors(rows)?;
        let mse = errors.iter().sum::<f64>() / errors.len() as f64;
        Ok(Some(Self { rows: rows.len(), mse, baseline_mse: model.columns.squared_error_of(mean, rows) }))
    }

    /// The share of the baseline's error that is gone; 0 where there was none.
    pub(in crate::cli) fn explained(&self) -> f64 {
        if self.baseline_mse > 0.0 { 1.0 - self.mse / self.baseline_mse } else { 0.0 }
    }
}

impl Reconstruction {
    /// Of a finished autoencoder; none of a classifier.
    pub(super) fn of(model: &Model, dataset: &Dataset, parts: &Parts) -> Result<Option<Self>> {
        let net = model.net.architecture();
        if net.objective.of_labels() {
            return Ok(None);
        }
        let mean = mean_row(dataset.train.view());
        let of = |rows| Errors::of(model, rows, &mean);
        let Some(train) = of(parts.train.view())? else { return Ok(None) };
        Ok(Some(Self {
            code: net.encoder().last().copied().unwrap_or(0),
            train,
            validation: of(parts.validation.view())?,
            test: of(dataset.test.view())?,
        }))
    }

    /// For people.
    pub(super) fn text(&self, best_epoch: u64) -> String {
        let named = [("training", Some(self.train)), ("validation", self.validation), ("test", self.test)];
        let line = |of: &dyn Fn(&str, Errors) -> String| {
            let parts = named.into_iter().filter_map(|(name, errors)| Some(of(name, errors?)));
            parts.collect::<Vec<_>>().join(" · ")
        };
        let own = line(&|name, errors| match name {
            "validation" => format!("{name} {:.4} (epoch {best_epoch})", errors.mse),
            _ => format!("{name} {:.4}", errors.mse),
        });
        let mean = line(&|name, errors| format!("{name} {:.4}", errors.baseline_mse));
        let explained = self.test.unwrap_or(self.train).explained();
        format!(
            "error      {own} (mean square, by a code of {} numbers)\n\
             mean row   {mean}: {:.1} % of its error is gone\n",
            self.code,
            100.0 * explained
        )
    }
}
