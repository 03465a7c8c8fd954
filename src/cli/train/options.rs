//! What can be chosen of a training run: on the command line, in a TOML file, or left to the defaults of the model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::Kind;
use super::changes::Changes;
use super::class_weight::ClassWeightName;
use crate::cli::args::name_of;
use crate::data::preprocess::Preprocess;
use crate::error::{Error, Result};
use crate::nn::model::{Init, Normalization, RegForm};
use crate::nn::optim::Rule;
use crate::nn::schedule::Schedule;
use crate::ops::activation::Activation;

/// Declares the options, each of which may be absent, and how two sets of them are laid over each other.
macro_rules! options {
    ($($(#[$meta:meta])* $field:ident : $ty:ty,)*) => {
        /// Options of a training run. The names are those of the command line and of the TOML file.
        #[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(in crate::cli) struct TrainOptions {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub(in crate::cli) $field: Option<$ty>,)*
        }

        impl TrainOptions {
            /// These options, and `other`'s where one is absent.
            pub(in crate::cli) fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }
        }
    };
}

options! {
    /// Neurons of each hidden layer, like 512,256 (mlp); of an autoencoder those of the encoder, the last being the code.
    #[arg(long, value_name = "N,N,…")]
    hidden: Widths,
    /// What follows each hidden layer (mlp, autoencoder).
    #[arg(long, value_enum)]
    activation: ActivationName,
    /// Normalise each hidden layer over the batch (mlp, autoencoder).
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    batchnorm: bool,
    /// Normalise each hidden layer over its features (mlp, autoencoder).
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", conflicts_with = "batchnorm")]
    layernorm: bool,
    /// Probability to drop a hidden neuron in training (mlp, autoencoder).
    #[arg(long, value_name = "P")]
    dropout: f64,
    /// Margin Δ of the hinge loss (svm).
    #[arg(long, value_name = "DELTA")]
    delta: f64,
    /// How weights start: he, xavier or normal:DEVIATION.
    #[arg(long, value_name = "INIT")]
    init: InitName,
    /// Start the hidden layers from a trained net, and take over the range of its inputs: the folder of a run or a model file, of an
    /// autoencoder or an mlp (mlp).
    #[arg(long, value_name = "PATH")]
    init_from: PathBuf,
    /// Update rule.
    #[arg(long, value_enum)]
    optimizer: OptimizerName,
    /// Learning rate.
    #[arg(long, value_name = "RATE")]
    lr: f64,
    /// How the learning rate changes.
    #[arg(long, value_enum)]
    lr_schedule: ScheduleName,
    /// Factor of the step and exp schedules.
    #[arg(long, value_name = "FACTOR")]
    lr_decay: f64,
    /// Epochs between two cuts of the step schedule.
    #[arg(long, value_name = "EPOCHS")]
    lr_step: usize,
    /// Steps in which the learning rate first rises.
    #[arg(long, value_name = "STEPS")]
    warmup: u64,
    /// μ of momentum and Nesterov.
    #[arg(long, value_name = "MU")]
    momentum: f64,
    /// Decoupled weight decay of AdamW.
    #[arg(long, value_name = "LAMBDA")]
    weight_decay: f64,
    /// Strength λ of the L2 penalty on weights.
    #[arg(long, value_name = "LAMBDA")]
    l2: f64,
    /// What λ multiplies: half is ½·λ·ΣW², full is λ·ΣW² (assignment 1).
    #[arg(long, value_enum)]
    reg_form: RegFormName,
    /// Rows of a batch.
    #[arg(long, value_name = "ROWS")]
    batch_size: usize,
    /// Passes over the training rows.
    #[arg(long, value_name = "N")]
    epochs: u64,
    /// Steps after which to stop, whatever the epochs.
    #[arg(long, value_name = "N")]
    max_steps: u64,
    /// Share of the training rows held out for validation.
    #[arg(long, value_name = "SHARE")]
    val_fraction: f64,
    /// Stop after so many epochs without a better validation accuracy, or error of an autoencoder; the best weights are kept in any case.
    #[arg(long, value_name = "PATIENCE")]
    early_stopping: u64,
    /// What is done to the columns first.
    #[arg(long, value_enum)]
    preprocess: PreprocessName,
    /// What the loss of a row is multiplied by: balanced is N/(C·rows of its class), so that rare classes count as much.
    #[arg(long, value_enum)]
    class_weight: ClassWeightName,
    /// Change the images of each batch at random: none, or flip, shift:PIXELS or both, like flip,shift:2.
    #[arg(long, value_name = "CHANGES")]
    augment: Changes,
}

/// Widths of hidden layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::cli) struct Widths(pub(in crate::cli) Vec<usize>);

impl std::str::FromStr for Widths {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let widths = text.split(',').map(|width| width.trim().parse::<usize>());
        widths.collect::<std::result::Result<_, _>>().map(Self).map_err(|_| {
            Error::usage(
                format!("\"{text}\" are no widths of hidden layers"),
                "write numbers of neurons, like 512,256",
            )
        })
    }
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(in crate::cli) enum $name { $($(#[$variant_meta])* $variant,)* }
    };
}

names! {
    /// A nonlinearity by name.
    ActivationName {
        /// max(0, x).
        Relu,
        /// max(0.01·x, x).
        LeakyRelu,
        /// 1 / (1 + e⁻ˣ).
        Sigmoid,
        /// The hyperbolic tangent.
        Tanh,
    }
}

names! {
    /// An update rule by name.
    OptimizerName {
        /// Gradient descent.
        Sgd,
        /// With velocity.
        Momentum,
        /// With velocity, looking ahead.
        Nesterov,
        /// Steps shrink with the sum of squared gradients.
        Adagrad,
        /// Steps shrink with a leaky mean of squared gradients.
        Rmsprop,
        /// Momentum over RMSProp, bias-corrected.
        Adam,
        /// Adam with decoupled weight decay.
        Adamw,
    }
}

names! {
    /// A schedule by name.
    ScheduleName {
        /// No change.
        Constant,
        /// A cut every --lr-step epochs.
        Step,
        /// A cut every epoch.
        Exp,
        /// Half a cosine to 0.
        Cosine,
    }
}

names! {
    /// A form of the penalty by name.
    RegFormName {
        /// ½·λ·ΣW².
        Half,
        /// λ·ΣW².
        Full,
    }
}

names! {
    /// A preprocessing by name.
    PreprocessName {
        /// Nothing.
        None,
        /// Divide by 255.
        Unit,
        /// Subtract the mean row.
        Mean,
        /// Subtract the mean row and divide by the deviation of all values.
        Center,
        /// Mean 0 and deviation 1 in every column.
        Standardize,
        /// What the net of --init-from does.
        Inherit,
    }
}

/// How weights start, by name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(in crate::cli) struct InitName(pub(in crate::cli) Init);

impl std::str::FromStr for InitName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let deviation = text.strip_prefix("normal:").and_then(|number| number.parse::<f64>().ok());
        match (text, deviation) {
            ("he", _) => Ok(Self(Init::He)),
            ("xavier", _) => Ok(Self(Init::Xavier)),
            (_, Some(deviation)) if deviation >= 0.0 && deviation.is_finite() => {
                Ok(Self(Init::Normal(deviation)))
            }
            _ => Err(Error::usage(
                format!("\"{text}\" is no way to start weights"),
                "write he, xavier or normal:DEVIATION, like normal:1e-3",
            )),
        }
    }
}

impl TryFrom<String> for InitName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<InitName> for String {
    fn from(InitName(init): InitName) -> Self {
        match init {
            Init::He => "he".into(),
            Init::Xavier => "xavier".into(),
            Init::Normal(deviation) => format!("normal:{deviation}"),
        }
    }
}

impl TrainOptions {
    /// The options of a TOML file.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|error| {
            Error::data(path, error.to_string().trim_end(), "write options as --print-config shows them")
        })
    }

    /// The options as a TOML file has them.
    pub(in crate::cli) fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::usage(format!("the configuration does not fit TOML: {error}"), ""))
    }

    pub(super) fn normalization(&self) -> Normalization {
        match (self.batchnorm, self.layernorm) {
            (Some(true), _) => Normalization::Batch,
            (_, Some(true)) => Normalization::Layer,
            _ => Normalization::None,
        }
    }

    pub(super) fn activation_function(&self) -> Activation {
        match self.activation {
            None | Some(ActivationName::Relu) => Activation::Relu,
            Some(ActivationName::LeakyRelu) => Activation::LeakyRelu(0.01),
            Some(ActivationName::Sigmoid) => Activation::Sigmoid,
            Some(ActivationName::Tanh) => Activation::Tanh,
        }
    }

    pub(super) fn rule(&self) -> Rule {
        let momentum = self.momentum.unwrap_or(0.9);
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        match self.optimizer.unwrap_or(OptimizerName::Adam) {
            OptimizerName::Sgd => Rule::Sgd,
            OptimizerName::Momentum => Rule::Momentum { momentum },
            OptimizerName::Nesterov => Rule::Nesterov { momentum },
            OptimizerName::Adagrad => Rule::Adagrad { epsilon },
            OptimizerName::Rmsprop => Rule::RmsProp { decay: 0.99, epsilon },
            OptimizerName::Adam => Rule::Adam { beta1, beta2, epsilon, corrected: true },
            OptimizerName::Adamw => {
                Rule::AdamW { beta1, beta2, epsilon, weight_decay: self.weight_decay.unwrap_or(1e-2) }
            }
        }
    }

    pub(super) fn schedule(&self) -> Schedule {
        let decay = self.lr_decay.unwrap_or(0.95);
        match self.lr_schedule {
            // A decay alone is the course's: after every epoch.
            None if self.lr_decay.is_some() => Schedule::Exp { decay },
            None | Some(ScheduleName::Constant) => Schedule::Constant,
            Some(ScheduleName::Exp) => Schedule::Exp { decay },
            Some(ScheduleName::Step) => {
                Schedule::Step { decay: self.lr_decay.unwrap_or(0.1), every: self.lr_step.unwrap_or(10) }
            }
            Some(ScheduleName::Cosine) => Schedule::Cosine,
        }
    }

    pub(super) fn reg_form(&self) -> RegForm {
        match self.reg_form {
            Some(RegFormName::Full) => RegForm::Full,
            _ => RegForm::Half,
        }
    }

    /// What is learned from the training rows; nothing where it is inherited.
    pub(super) fn preprocessing(&self) -> Option<Preprocess> {
        Some(match self.preprocess {
            Some(PreprocessName::Inherit) => return None,
            Some(PreprocessName::None) => Preprocess::None,
            Some(PreprocessName::Unit) => Preprocess::Unit,
            Some(PreprocessName::Mean) => Preprocess::Mean,
            Some(PreprocessName::Standardize) => Preprocess::Standardize,
            None | Some(PreprocessName::Center) => Preprocess::Center,
        })
    }

    /// Refuses options that mean nothing, and those that another model would take.
    pub(in crate::cli) fn check(&self, model: Kind) -> Result<()> {
        let refuse = |problem: String, hint: &str| Err(Error::usage(problem, hint));
        let named = name_of(model);
        if !model.is_deep() {
            let of_nets = [
                ("--hidden", self.hidden.is_some()),
                ("--activation", self.activation.is_some()),
                ("--batchnorm", self.batchnorm == Some(true)),
                ("--layernorm", self.layernorm == Some(true)),
                ("--dropout", self.dropout.is_some_and(|drop| drop > 0.0)),
            ];
            if let Some((option, _)) = of_nets.iter().find(|(_, given)| *given) {
                return refuse(format!("{option} means nothing to {named}"), "train mlp takes it");
            }
        }
        if model != Kind::Mlp && self.init_from.is_some() {
            return refuse(format!("--init-from means nothing to {named}"), "train mlp takes it");
        }
        if !model.classifies() {
            if self.class_weight.is_some_and(|name| name != ClassWeightName::None) {
                return refuse(format!("--class-weight means nothing to {named}"), "it learns no classes");
            }
            if self.hidden.as_ref().is_some_and(|widths| widths.0.is_empty()) {
                return refuse(
                    format!("{named} without a hidden layer has no code"),
                    "give --hidden, like 256,64",
                );
            }
        }
        if model != Kind::Svm && self.delta.is_some() {
            return refuse(format!("--delta means nothing to {named}"), "train svm takes it");
        }
        if self.batchnorm == Some(true) && self.layernorm == Some(true) {
            return refuse("--batchnorm and --layernorm at once".into(), "choose one normalisation");
        }
        if let Some(width) =
            self.hidden.iter().flat_map(|widths| &widths.0).find(|&&width| width == 0 || width > 1 << 20)
        {
            return refuse(format!("a hidden layer of {width} neurons"), "give widths from 1 to 1,048,576");
        }
        let within = |option: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..high).contains(&value) => refuse(
                format!("{option} is {value}"),
                &format!("give a number from {low} up to, not including, {high}"),
            ),
            _ => Ok(()),
        };
        within("--dropout", self.dropout, 0.0, 1.0)?;
        within("--momentum", self.momentum, 0.0, 1.0)?;
        within("--val-fraction", self.val_fraction, 0.0, 1.0)?;
        let endless = f64::INFINITY;
        within("--l2", self.l2, 0.0, endless)?;
        within("--delta", self.delta, 0.0, endless)?;
        within("--lr-decay", self.lr_decay, 0.0, endless)?;
        within("--weight-decay", self.weight_decay, 0.0, endless)?;
        if self.early_stopping.is_some() && self.val_fraction.unwrap_or(0.0) == 0.0 {
            return refuse("--early-stopping without validation rows".into(), "give --val-fraction");
        }
        Ok(())
    }

    /// What is minimised, as a formula.
    pub(in crate::cli) fn objective(&self, model: Kind) -> String {
        let data = match model {
            Kind::Svm => format!("mean Σ max(0, s_j − s_y + {})", self.delta.unwrap_or(1.0)),
            Kind::Softmax | Kind::Mlp => "mean cross-entropy of the softmax".to_owned(),
            Kind::Autoencoder => "mean Σ(x̂ − x)² over the features".to_owned(),
        };
        let data = match self.class_weight {
            Some(ClassWeightName::Balanced) => format!("{data}, weighted by class, over all rows"),
            _ => data,
        };
        let l2 = self.l2.unwrap_or(0.0);
        match self.reg_form() {
            _ if l2 == 0.0 => data,
            RegForm::Half => format!("{data} + ½·{l2}·ΣW²"),
            RegForm::Full => format!("{data} + {l2}·ΣW²"),
        }
    }
}
