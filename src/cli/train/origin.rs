//! `--init-from`: the trained net whose hidden layers another one starts from, and with them the range of its inputs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::{ActivationName, PreprocessName, TrainOptions, Widths};
use crate::cli::predict::model_file;
use crate::data::preprocess::Columns;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::nn::model::{FullyConnectedNet, Normalization};
use crate::nn::transfer::transfer;
use crate::ops::activation::Activation;

/// A trained net that another one starts from.
pub(super) struct Origin {
    path: PathBuf,
    model: Model,
}

impl Origin {
    /// The one that options name.
    pub(super) fn of(options: &TrainOptions) -> Result<Option<Self>> {
        options.init_from.as_deref().map(Self::load).transpose()
    }

    fn load(path: &Path) -> Result<Self> {
        let path = model_file(path);
        // The reference holds what is in the file to the last bit, whatever it was trained on.
        Ok(Self { model: Model::load(&Device::Reference, &path)?, path })
    }

    /// The options that a net must have to start from this one, where nobody says otherwise.
    pub(super) fn defaults(&self) -> TrainOptions {
        let net = self.model.net.architecture();
        TrainOptions {
            hidden: Some(Widths(net.encoder().to_vec())),
            activation: Some(match net.activation {
                Activation::Relu => ActivationName::Relu,
                Activation::LeakyRelu(_) => ActivationName::LeakyRelu,
                Activation::Sigmoid => ActivationName::Sigmoid,
                Activation::Tanh => ActivationName::Tanh,
            }),
            batchnorm: Some(net.normalization == Normalization::Batch),
            layernorm: Some(net.normalization == Normalization::Layer),
            preprocess: Some(PreprocessName::Inherit),
            ..TrainOptions::default()
        }
    }

    /// Its columns. Others that were asked for by name must be the same.
    pub(super) fn columns(self, learned: Option<Columns>, name: Option<PreprocessName>) -> Result<Columns> {
        let own = self.model.columns;
        let same = |learned: &Columns| *learned == own;
        if learned.as_ref().is_none_or(same) {
            return Ok(own);
        }
        let asked = name.map(crate::cli::args::name_of).unwrap_or_default();
        let differ = learned.iter().flat_map(|learned| {
            let shifts = learned.shift.iter().zip(&own.shift).map(|(a, b)| a != b);
            shifts.zip(learned.scale.iter().zip(&own.scale)).map(|(shift, (a, b))| shift || a != b)
        });
        let problem = format!(
            "--preprocess {asked} shifts or scales {} of {} columns otherwise than the net in {}",
            differ.filter(|&differ| differ).count(),
            own.shift.len(),
            self.path.display()
        );
        Err(Error::usage(problem, "leave --preprocess out: that net's own is taken over with its layers"))
    }

    /// The net with its first layers from this one.
    pub(super) fn start(&self, net: &FullyConnectedNet) -> Result<FullyConnectedNet> {
        match transfer(net, &self.model.net) {
            Ok((net, _)) => Ok(net),
            Err(Error::Shape { problem, hint, .. }) => {
                Err(Error::usage(format!("--init-from {}: {problem}", self.path.display()), hint))
            }
            Err(error) => Err(error),
        }
    }

    /// Where it is, and how many of the hidden layers of `options` start from it.
    pub(super) fn facts(&self, options: &TrainOptions) -> Start {
        let wanted = options.hidden.as_ref().map_or(0, |widths| widths.0.len());
        Start { path: self.path.clone(), layers: self.model.net.architecture().encoder().len().min(wanted) }
    }
}

/// Where the first layers come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) path: PathBuf,
    pub(super) layers: usize,
}

impl Start {
    /// For people.
    pub(super) fn text(&self) -> String {
        let plural = if self.layers == 1 { "" } else { "s" };
        format!("start      {} hidden layer{plural} from {}\n", self.layers, self.path.display())
    }
}
