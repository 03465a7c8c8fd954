//! What can be trained, and the options it has where nobody says otherwise.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::class_weight::ClassWeightName;
use super::options::{
    ActivationName, InitName, OptimizerName, PreprocessName, RegFormName, ScheduleName, TrainOptions, Widths,
};
use crate::cli::args::DataArgs;
use crate::data::Dataset;
use crate::error::Result;
use crate::nn::model::Init;

/// What can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Kind {
    /// A linear classifier under the multiclass hinge loss.
    Svm,
    /// A linear classifier under the cross-entropy.
    Softmax,
    /// A multi-layer network.
    Mlp,
    /// A network that gives its inputs back through a narrow code. It needs no labels.
    Autoencoder,
}

impl Kind {
    /// Whether it learns classes, from labelled rows.
    pub(in crate::cli) fn classifies(self) -> bool {
        self != Self::Autoencoder
    }

    /// Whether it has hidden layers.
    pub(super) fn is_deep(self) -> bool {
        matches!(self, Self::Mlp | Self::Autoencoder)
    }

    /// Reads the data that it is trained on.
    pub(in crate::cli) fn load(self, data: &DataArgs) -> Result<Dataset> {
        if self.classifies() { data.load() } else { data.load_rows() }
    }

    /// What an option is where neither the command line nor a file says. They suit the bundled images.
    pub(super) fn defaults(self, dataset: &Dataset) -> TrainOptions {
        let images = dataset.image.is_some();
        let shared = TrainOptions {
            init: Some(InitName(Init::Normal(1e-3))),
            optimizer: Some(OptimizerName::Adam),
            lr: Some(1e-3),
            lr_schedule: Some(ScheduleName::Constant),
            warmup: Some(0),
            l2: Some(1e-4),
            reg_form: Some(RegFormName::Half),
            batch_size: Some(100),
            epochs: Some(10),
            val_fraction: Some(0.1),
            augment: Some(Changes::default()),
            preprocess: Some(if images { PreprocessName::Center } else { PreprocessName::Standardize }),
            class_weight: self.classifies().then_some(ClassWeightName::None),
            ..TrainOptions::default()
        };
        let deep = |hidden: &[usize]| TrainOptions {
            hidden: Some(Widths(hidden.to_vec())),
            activation: Some(ActivationName::Relu),
            batchnorm: Some(false),
            layernorm: Some(false),
            dropout: Some(0.0),
            init: Some(InitName(Init::He)),
            ..shared.clone()
        };
        match self {
            Self::Softmax => shared,
            Self::Svm => TrainOptions { delta: Some(1.0), lr: Some(3e-4), ..shared },
            Self::Mlp => deep(&[256]),
            // He's larger weights leave most ReLUs of the code without a gradient.
            Self::Autoencoder => {
                TrainOptions { init: Some(InitName(Init::Xavier)), epochs: Some(20), ..deep(&[256, 64]) }
            }
        }
    }
}
