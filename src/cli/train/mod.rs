//! `train`: fit a classifier, show how it goes, keep what it reached.

mod changes;
mod class_weight;
mod options;
mod progress;
mod report;
mod run_dir;
mod setup;
mod summary;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::changes::Changes;
use self::class_weight::ClassWeightName;
pub(super) use self::options::TrainOptions;
use self::options::{
    ActivationName, InitName, OptimizerName, PreprocessName, RegFormName, ScheduleName, Widths,
};
use self::progress::Reporter;
pub(super) use self::run_dir::RunDir;
pub(super) use self::setup::{Feeds, Setup};
use self::summary::{Seconds, TrainSummary};
use super::args::{DataArgs, name_of};
use super::output::{self, Format};
use super::summary::{DataFacts, DeviceFacts, peak_memory_bytes};
use crate::data::{Dataset, ImageShape, split};
use crate::device::{Device, Opened};
use crate::error::{Error, Result};
use crate::nn::checkpoint::{self, Model};
use crate::nn::model::{Architecture, FullyConnectedNet, HiddenDropout, Init, Objective};
use crate::nn::solver::{Event, Solver, Training};
use crate::report::confusion::Confusion;
use crate::rng::numpy::RandomState;
use crate::rows::Rows;

/// Training rows on which the accuracy is watched.
const WATCHED: usize = 1000;

/// Train a classifier and keep it with its curves and its configuration.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Train {
    /// What to train.
    #[arg(value_enum)]
    model: Kind,
    #[command(flatten)]
    setup: Setup,
    /// Print every option as it would be used, as TOML, and stop.
    #[arg(long)]
    print_config: bool,
    /// Folder of this run; by default the next free one of runs/MODEL-1, runs/MODEL-2, …
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Go on with an interrupted run: its folder, or `last`, the newest under runs/. Data and options are its own.
    #[arg(long, value_name = "last|DIR", conflicts_with_all = ["data", "train_x", "config", "run_dir"])]
    resume: Option<String>,
    /// Use only the rows of the first N batches, to see whether the net can learn them by heart.
    #[arg(long, value_name = "N")]
    overfit_batches: Option<usize>,
    /// Make one step and one evaluation, to see whether everything works.
    #[arg(long)]
    fast_dev_run: bool,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A linear classifier under the multiclass hinge loss.
    Svm,
    /// A linear classifier under the cross-entropy.
    Softmax,
    /// A multi-layer network.
    Mlp,
}

/// What a run needs to be gone on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) model: Kind,
    pub(super) data: DataArgs,
    pub(super) options: TrainOptions,
    overfit_batches: Option<usize>,
}

impl Kind {
    /// What an option is where neither the command line nor a file says. They suit the bundled images.
    fn defaults(self, dataset: &Dataset) -> TrainOptions {
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
            class_weight: Some(ClassWeightName::None),
            augment: Some(Changes::default()),
            preprocess: Some(if images { PreprocessName::Center } else { PreprocessName::Standardize }),
            ..TrainOptions::default()
        };
        match self {
            Self::Softmax => shared,
            Self::Svm => TrainOptions { delta: Some(1.0), lr: Some(3e-4), ..shared },
            Self::Mlp => TrainOptions {
                hidden: Some(Widths(vec![256])),
                activation: Some(ActivationName::Relu),
                batchnorm: Some(false),
                layernorm: Some(false),
                dropout: Some(0.0),
                init: Some(InitName(Init::He)),
                ..shared
            },
        }
    }
}

impl Notes {
    /// What the net is, without its numbers. Weights of the classes are those of `train_labels`.
    pub(super) fn architecture(&self, dataset: &Dataset, train_labels: &[u32]) -> Architecture {
        let options = &self.options;
        let seed = self.data.seed;
        let dropout = options.dropout.filter(|&drop| drop > 0.0).map(|drop| HiddenDropout { drop, seed });
        let hidden = options.hidden.as_ref().map_or(&[][..], |widths| &widths.0);
        Architecture {
            activation: options.activation_function(),
            normalization: options.normalization(),
            dropout,
            objective: match self.model {
                Kind::Svm => Objective::Hinge(options.delta.unwrap_or(1.0)),
                Kind::Softmax | Kind::Mlp => Objective::Softmax,
            },
            class_weights: options.class_weight.and_then(|name| name.of(train_labels, dataset.classes.len())),
            reg: options.l2.unwrap_or(0.0),
            reg_form: options.reg_form(),
            ..Architecture::new(dataset.train.features(), hidden, dataset.classes.len())
        }
    }

    /// How its weights start.
    pub(super) fn init(&self) -> Init {
        self.options.init.map_or(Init::He, |name| name.0)
    }

    /// The net before its first step.
    fn net(&self, device: &Device, dataset: &Dataset, train_labels: &[u32]) -> Result<FullyConnectedNet> {
        let mut random = RandomState::folded(self.data.seed);
        FullyConnectedNet::new(device, self.architecture(dataset, train_labels), self.init(), &mut random)
    }

    /// How it is trained.
    pub(super) fn training(&self, fast_dev_run: bool, image: Option<ImageShape>) -> Result<Training> {
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
}

/// The rows of a run.
pub(super) struct Parts {
    pub(super) train: Rows,
    pub(super) train_labels: Vec<u32>,
    pub(super) validation: Rows,
    validation_labels: Vec<u32>,
}

impl Parts {
    /// The rows that the options of a run hold out, and the others.
    pub(super) fn new(dataset: &Dataset, notes: &Notes) -> Result<Self> {
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
    pub(super) fn of(dataset: &Dataset, train: &[usize], validation: &[usize]) -> Self {
        let labels = |rows: &[usize]| rows.iter().map(|&row| dataset.train_labels[row]).collect();
        Self {
            train: dataset.train.gather(train),
            train_labels: labels(train),
            validation: dataset.train.gather(validation),
            validation_labels: labels(validation),
        }
    }
}

/// What a run is about.
pub(super) struct Session<'a> {
    dataset: &'a Dataset,
    parts: &'a Parts,
    notes: &'a Notes,
    opened: &'a Opened,
    dir: &'a RunDir,
}

impl Train {
    pub(super) fn run(mut self) -> Result<()> {
        let start = Instant::now();
        let resumed = self.resume.take().map(|which| RunDir::find(&which)).transpose()?;
        if let Some(dir) = &resumed {
            return self.resume(dir, start);
        }
        let dataset = self.setup.data.load()?;
        let mut notes = self.setup.notes(self.model, &dataset)?;
        if self.print_config {
            return output::print(&notes.options.to_toml()?);
        }
        notes.overfit_batches = self.overfit_batches;
        let opened = self.setup.device.open()?;
        let loaded = start.elapsed().as_secs_f64();
        let parts = Parts::new(&dataset, &notes)?;
        let model = notes.model(&opened.device, &dataset, &parts, notes.columns(&parts))?;
        let solver = Solver::new(model.net.clone(), notes.training(self.fast_dev_run, dataset.image)?)?;
        let dir = RunDir::create(self.run_dir.as_deref(), &name_of(self.model))?;
        dir.write_config(&notes.options.to_toml()?)?;
        let seconds = Seconds { load: loaded, ..Seconds::default() };
        self.train(
            &Session { dataset: &dataset, parts: &parts, notes: &notes, opened: &opened, dir: &dir },
            model,
            solver,
            seconds,
            start,
        )
    }

    /// Goes on from a run's checkpoint.
    fn resume(self, dir: &RunDir, start: Instant) -> Result<()> {
        let opened = self.setup.device.open()?;
        let (model, mut solver, mut notes): (Model, Solver, Notes) =
            checkpoint::load_run(&opened.device, dir.checkpoint())?;
        notes.options = self.setup.options.clone().or(notes.options);
        notes.options.check(notes.model)?;
        solver.go_on_with(notes.training(self.fast_dev_run, model.image)?)?;
        let dataset = notes.data.load()?;
        let features = model.net.architecture().inputs;
        if dataset.train.features() != features || dataset.classes != model.classes {
            return Err(Error::usage(
                format!("{}: the data have changed since the run began", dataset.name),
                "give the run the data it was started with",
            ));
        }
        let parts = Parts::new(&dataset, &notes)?;
        let seconds = Seconds { load: start.elapsed().as_secs_f64(), ..Seconds::default() };
        self.train(
            &Session { dataset: &dataset, parts: &parts, notes: &notes, opened: &opened, dir },
            model,
            solver,
            seconds,
            start,
        )
    }

    fn train(
        &self,
        session: &Session<'_>,
        mut model: Model,
        mut solver: Solver,
        mut seconds: Seconds,
        start: Instant,
    ) -> Result<()> {
        let Session { dataset, parts, notes, opened, dir } = *session;
        let device = &opened.device;
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let limit = self.setup.device.memory_limit;
        let mut feeds = Feeds::new(device, parts, &model.columns, limit)?;
        seconds.upload = lap();
        let before = (solver.history.losses.len(), solver.history.epochs.len());
        let mut reporter =
            Reporter::new(&solver, feeds.train.batches(solver.training().batch_size), feeds.train.len());
        let base = model.clone();
        let ended = feeds.run(&mut solver, &mut |solver, event| {
            reporter.show(solver, event);
            if let Event::Epoch(_) = event {
                checkpoint::save_run(dir.checkpoint(), &base, solver, notes)?;
            }
            Ok(())
        })?;
        reporter.finish();
        seconds.train = lap();
        let steps = solver.history.losses.len() - before.0;
        let cost = solver.cost();
        model.net = solver.best.clone().unwrap_or_else(|| solver.net.clone());
        model.save(dir.model())?;
        dir.write_history(&solver.history)?;
        let predicted = model.predict(dataset.test.view())?;
        let confusion = dataset
            .test_labels
            .as_deref()
            .filter(|labels| !labels.is_empty())
            .map(|labels| Confusion::new(labels, &predicted, &dataset.classes));
        seconds.evaluate = lap();
        let report = report::write(&report::Finished {
            session,
            model: &model,
            solver: &solver,
            confusion: confusion.as_ref(),
            seconds: &seconds,
        })?;
        seconds.report = lap();
        seconds.total = start.elapsed().as_secs_f64();
        let summary = TrainSummary {
            command: "train",
            version: env!("CARGO_PKG_VERSION"),
            device: DeviceFacts::new(opened),
            data: DataFacts::new(dataset),
            model: notes.model,
            objective: notes.options.objective(notes.model),
            parameters: model.net.parameters.elements(),
            epochs: solver.history.epochs.len(),
            best_epoch: solver.history.best_epoch,
            ended,
            steps: solver.history.losses.len(),
            // Of steps and evaluations: a checkpoint takes what the disk takes.
            steps_per_second: steps as f64
                / solver.history.epochs[before.1..].iter().map(|epoch| epoch.seconds).sum::<f64>().max(1e-9),
            train_loss: solver.history.epochs.last().map(|epoch| epoch.train_loss),
            val_accuracy: solver.history.best_accuracy(),
            test_accuracy: confusion.as_ref().map(|confusion| confusion.accuracy),
            seconds,
            dispatches_per_step: cost.dispatches_per_step(),
            steps_per_submission: cost.steps_per_submission(),
            peak_memory_bytes: peak_memory_bytes(),
            model_path: dir.model(),
            report_path: report,
            confusion,
        };
        match self.format {
            Format::Text => output::print(&summary.text()),
            Format::Json => output::print_json(&summary),
        }
    }
}
