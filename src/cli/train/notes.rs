//! From options and data to a net that is about to be trained, and the rows it is trained on.

use serde::{Deserialize, Serialize};

use super::WATCHED;
use super::kind::Kind;
use super::options::{PreprocessName, TrainOptions};
use super::origin::{Origin, Start};
use crate::cli::args::DataArgs;
use crate::data::preprocess::Columns;
use crate::data::{Dataset, ImageShape, split};
use crate::device::Device;
use crate::device::auto::Work;
use crate::error::{Error, Result};
use crate::nn::checkpoint::Model;
use crate::nn::model::{Architecture, FullyConnectedNet, HiddenDropout, Init, Objective};
use crate::nn::solver::Training;
use crate::rng::numpy::RandomState;
use crate::rows::{Rows, ValuesRef};

/// What a run needs to be gone on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct Notes {
    pub(in crate::cli) model: Kind,
    pub(in crate::cli) data: DataArgs,
    pub(in crate::cli) options: TrainOptions,
    pub(super) overfit_batches: Option<usize>,
    /// Where the first layers come from.
    #[serde(default)]
    pub(super) start: Option<Start>,
    /// The kind of device that the run began on, once it has.
    #[serde(default)]
    pub(super) device: Option<String>,
}

impl Notes {
    /// What the net is, without its numbers. Weights of the classes are those of the training rows.
    pub(in crate::cli) fn architecture(&self, dataset: &Dataset, parts: &Parts) -> Architecture {
        let options = &self.options;
        let seed = self.data.seed;
        let dropout = options.dropout.filter(|&drop| drop > 0.0).map(|drop| HiddenDropout { drop, seed });
        let hidden = options.hidden.as_ref().map_or(&[][..], |widths| &widths.0);
        let (features, classes) = (dataset.train.features(), dataset.classes.len());
        let plain = match self.model {
            Kind::Svm => {
                let objective = Objective::Hinge(options.delta.unwrap_or(1.0));
                Architecture { objective, ..Architecture::new(features, hidden, classes) }
            }
            Kind::Softmax | Kind::Mlp => Architecture::new(features, hidden, classes),
            Kind::Autoencoder => Architecture::autoencoder(features, hidden),
        };
        let weigh = |labels: &Vec<u32>| options.class_weight.and_then(|name| name.of(labels, classes));
        Architecture {
            activation: options.activation_function(),
            normalization: options.normalization(),
            dropout,
            class_weights: parts.train_labels.as_ref().and_then(weigh),
            reg: options.l2.unwrap_or(0.0),
            reg_form: options.reg_form(),
            ..plain
        }
    }

    /// What the run asks of a device: for each row of a step a product of the weights forward, two backward, and one for each row that
    /// is evaluated at the end of an epoch.
    pub(super) fn work(&self, dataset: &Dataset, parts: &Parts, training: &Training) -> Work {
        let net = self.architecture(dataset, parts);
        let widths: Vec<usize> = [net.inputs].into_iter().chain(net.hidden).chain([net.outputs]).collect();
        let product = 2.0 * widths.windows(2).map(|pair| (pair[0] * pair[1]) as f64).sum::<f64>();
        let rows = parts.train.len();
        let per_epoch = rows.div_ceil(training.batch_size.max(1)) as u64;
        let steps = training.steps(per_epoch) as f64;
        let evaluated = (parts.validation.len() + rows.min(WATCHED)) as f64 * steps / per_epoch.max(1) as f64;
        let each = if matches!(parts.train.view().values(), ValuesRef::U8(_)) { 1.0 } else { 4.0 };
        Work {
            flops: product * (3.0 * steps * training.batch_size.min(rows) as f64 + evaluated),
            bytes: each * (net.inputs * (rows + parts.validation.len())) as f64,
            launches: 4.0 * (widths.len() - 1) as f64 * steps,
        }
    }

    /// How its weights start.
    pub(in crate::cli) fn init(&self) -> Init {
        self.options.init.map_or(Init::He, |name| name.0)
    }

    /// How it is trained.
    pub(in crate::cli) fn training(&self, fast_dev_run: bool, image: Option<ImageShape>) -> Result<Training> {
        let options = &self.options;
        Ok(Training {
            rule: options.rule(),
            learning_rate: options.lr.unwrap_or(1e-3),
            schedule: options.schedule(),
            warmup: options.warmup.unwrap_or(0),
            batch_size: options.batch_size.unwrap_or(100),
            epochs: options.epochs.unwrap_or(10),
            max_steps: if fast_dev_run { Some(1) } else { options.max_steps },
            patience: options.early_stopping,
            seed: self.data.seed,
            augment: options.augment.unwrap_or_default().of_images(image)?,
        })
    }

    /// What is done to a net's inputs: learned from the rows of `parts` for training, or that of the net which this one starts from.
    pub(in crate::cli) fn columns(&self, parts: &Parts) -> Result<Columns> {
        let learned = self.options.preprocessing().map(|kind| kind.learn(parts.train.view()));
        match (Origin::of(&self.options)?, learned) {
            (Some(origin), learned) => origin.columns(learned, self.options.preprocess),
            (None, Some(learned)) => Ok(learned),
            (None, None) => Err(Error::usage(
                "--preprocess inherit without a net to inherit from",
                "give --init-from, or another preprocessing",
            )),
        }
    }

    /// The model before its first step.
    pub(in crate::cli) fn model(
        &self,
        device: &Device,
        dataset: &Dataset,
        parts: &Parts,
        columns: Columns,
    ) -> Result<Model> {
        let mut random = RandomState::folded(self.data.seed);
        let architecture = self.architecture(dataset, parts);
        let mut net = FullyConnectedNet::new(device, architecture, self.init(), &mut random)?;
        if let Some(origin) = Origin::of(&self.options)? {
            net = origin.start(&net)?;
        }
        Ok(Model { net, columns, classes: dataset.classes.clone(), image: dataset.image })
    }

    /// Whether two runs see their rows alike.
    pub(in crate::cli) fn sees_like(&self, other: &Self) -> bool {
        let origin = |notes: &Self| match notes.options.preprocess {
            Some(PreprocessName::Inherit) => notes.options.init_from.clone(),
            _ => None,
        };
        self.options.preprocess == other.options.preprocess && origin(self) == origin(other)
    }
}

/// The rows of a run.
pub(in crate::cli) struct Parts {
    pub(in crate::cli) train: Rows,
    /// Absent where no classes are learned.
    pub(in crate::cli) train_labels: Option<Vec<u32>>,
    pub(in crate::cli) validation: Rows,
    pub(super) validation_labels: Option<Vec<u32>>,
}

impl Parts {
    /// The rows that the options of a run hold out, and the others.
    pub(in crate::cli) fn new(dataset: &Dataset, notes: &Notes) -> Result<Self> {
        let fraction = notes.options.val_fraction.unwrap_or(0.0);
        let (mut train, validation) = split::holdout(dataset.train.len(), fraction, Some(notes.data.seed))?;
        if let Some(batches) = notes.overfit_batches {
            train.truncate(batches.saturating_mul(notes.options.batch_size.unwrap_or(1)));
        }
        if train.is_empty() {
            return Err(Error::usage(
                format!("no training row is left of {}", dataset.train.len()),
                "lower --val-fraction, or give more rows",
            ));
        }
        Ok(Self::of(dataset, &train, &validation))
    }

    /// These of the training rows.
    pub(in crate::cli) fn of(dataset: &Dataset, train: &[usize], validation: &[usize]) -> Self {
        let labels = |rows: &[usize]| {
            let all = Some(&dataset.train_labels).filter(|labels| !labels.is_empty())?;
            Some(rows.iter().map(|&row| all[row]).collect())
        };
        Self {
            train: dataset.train.gather(train),
            train_labels: labels(train),
            validation: dataset.train.gather(validation),
            validation_labels: labels(validation),
        }
    }
}
