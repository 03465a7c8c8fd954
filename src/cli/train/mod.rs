//! `train`: fit a classifier or an autoencoder, show how it goes, keep what it reached.

mod changes;
mod class_weight;
mod kind;
mod notes;
mod options;
mod origin;
mod plan;
mod progress;
mod reconstruction;
mod report;
mod run_dir;
mod setup;
mod summary;
mod verification;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

pub(super) use self::kind::Kind;
pub(super) use self::notes::{Notes, Parts};
pub(super) use self::options::TrainOptions;
use self::progress::Reporter;
pub(super) use self::reconstruction::Errors;
use self::reconstruction::Reconstruction;
pub(super) use self::run_dir::RunDir;
pub(super) use self::setup::{Feeds, Setup};
use self::summary::{Seconds, TrainSummary};
use self::verification::Verification;
use super::args::name_of;
use super::output::{self, Format};
use super::summary::{DataFacts, DeviceFacts, peak_memory_bytes};
use crate::data::Dataset;
use crate::device::{Device, Opened};
use crate::error::{Error, Result};
use crate::nn::checkpoint::{self, Model};
use crate::nn::rehearsal::Rehearsal;
use crate::nn::shadow::Shadow;
use crate::nn::solver::{Event, Solver};
use crate::report::confusion::Confusion;

/// Training rows on which the accuracy is watched.
const WATCHED: usize = 1000;

/// Train a classifier or an autoencoder, and keep it with its curves and its configuration.
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
    #[arg(long, value_name = "last|DIR", conflicts_with_all = ["data", "train_x", "config", "run_dir", "init_from"])]
    resume: Option<String>,
    /// Use only the rows of the first N batches, to see whether the net can learn them by heart.
    #[arg(long, value_name = "N")]
    overfit_batches: Option<usize>,
    /// Make one step and one evaluation, to see whether everything works.
    #[arg(long)]
    fast_dev_run: bool,
    /// Print the model, its memory, the steps and the files that a run would write, and stop: nothing is trained or written.
    #[arg(long)]
    dry_run: bool,
    /// Repeat so many steps of the run (5 by default) by the definitions in 64 bit on the processor, and fail where the device's results are
    /// further off than 32 bit explain.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    verify_cpu: Option<u64>,
    /// How to show the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What a run is about.
pub(super) struct Session<'a> {
    dataset: &'a Dataset,
    parts: &'a Parts,
    notes: &'a Notes,
    opened: &'a Opened,
    dir: &'a RunDir,
}

/// A run that is about to begin, or to go on.
struct Begun {
    dataset: Dataset,
    parts: Parts,
    notes: Notes,
    opened: Opened,
    model: Model,
    solver: Solver,
}

impl Train {
    pub(super) fn run(mut self) -> Result<()> {
        let start = Instant::now();
        let resumed = self.resume.take().map(|which| RunDir::find(&which)).transpose()?;
        let begun = match &resumed {
            Some(dir) => self.resume(dir)?,
            None => match self.begin()? {
                Some(begun) => begun,
                None => return Ok(()),
            },
        };
        let seconds = Seconds { load: start.elapsed().as_secs_f64(), ..Seconds::default() };
        let name = name_of(self.model);
        let dir = match (resumed, self.dry_run) {
            (Some(dir), _) => dir,
            (None, true) => RunDir::planned(self.run_dir.as_deref(), &name),
            (None, false) => RunDir::create(self.run_dir.as_deref(), &name)?,
        };
        let Begun { dataset, parts, notes, opened, model, solver } = begun;
        let session = Session { dataset: &dataset, parts: &parts, notes: &notes, opened: &opened, dir: &dir };
        if self.dry_run {
            let limit = self.setup.device.memory_limit;
            return plan::show(&session, &model, &solver, limit, self.format);
        }
        dir.write_config(&notes.options.to_toml()?)?;
        self.train(&session, model, solver, seconds, start)
    }

    /// A new run; nothing where only its configuration was asked for.
    fn begin(&self) -> Result<Option<Begun>> {
        // A configuration needs no device.
        let opening = (!self.print_config).then(|| self.setup.device.begin()).transpose()?;
        let dataset = self.model.load(&self.setup.data)?;
        let mut notes = self.setup.notes(self.model, &dataset)?;
        let Some(opening) = opening else {
            output::print(&notes.options.to_toml()?)?;
            return Ok(None);
        };
        notes.overfit_batches = self.overfit_batches;
        let parts = Parts::new(&dataset, &notes)?;
        let training = notes.training(self.fast_dev_run, dataset.image)?;
        let opened = opening.finish(&notes.work(&dataset, &parts, &training))?;
        notes.device = Some(opened.device.kind().to_owned());
        let model = notes.model(&opened.device, &dataset, &parts, notes.columns(&parts)?)?;
        let solver = Solver::new(model.net.clone(), training)?;
        Ok(Some(Begun { dataset, parts, notes, opened, model, solver }))
    }

    /// Goes on from a run's checkpoint.
    fn resume(&self, dir: &RunDir) -> Result<Begun> {
        let opened = self.setup.device.open_again(|| {
            let (_, _, notes): (Model, Solver, Notes) = checkpoint::load_run(&Device::Cpu, dir.checkpoint())?;
            Ok(notes.device)
        })?;
        let (model, mut solver, mut notes): (Model, Solver, Notes) =
            checkpoint::load_run(&opened.device, dir.checkpoint())?;
        if notes.model != self.model {
            return Err(Error::usage(
                format!("train {}: the interrupted run trains {}", name_of(self.model), name_of(notes.model)),
                format!("write train {} --resume", name_of(notes.model)),
            ));
        }
        notes.options = self.setup.options.clone().or(notes.options);
        notes.options.check(notes.model)?;
        solver.go_on_with(notes.training(self.fast_dev_run, model.image)?)?;
        let dataset = notes.model.load(&notes.data)?;
        let features = model.net.architecture().inputs;
        if dataset.train.features() != features || dataset.classes != model.classes {
            return Err(Error::usage(
                format!("{}: the data have changed since the run began", dataset.name),
                "give the run the data it was started with",
            ));
        }
        let parts = Parts::new(&dataset, &notes)?;
        Ok(Begun { dataset, parts, notes, opened, model, solver })
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
        // A second device would not count towards the limit.
        let _rehearsal = limit.is_none().then(|| Rehearsal::begin(&solver));
        let mut feeds = Feeds::new(device, parts, &model.columns, limit)?;
        seconds.upload = lap();
        let per_epoch = feeds.per_epoch(&solver);
        if let Some(count) = self.verify_cpu {
            let done = solver.history.losses.len() as u64;
            solver.shadow = Some(Shadow::spread(done, solver.training().steps(per_epoch), count));
        }
        let before = (solver.history.losses.len(), solver.history.epochs.len());
        let mut reporter = Reporter::new(&solver, per_epoch, feeds.train.len());
        let base = model.clone();
        let ended = feeds.run(&mut solver, &mut |solver, event| {
            reporter.show(solver, event);
            seconds.first_step.get_or_insert_with(|| start.elapsed().as_secs_f64());
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
        let truth = dataset.test_labels.as_deref().filter(|labels| !labels.is_empty());
        let scored = |labels| {
            let predicted = model.predict(dataset.test.view())?;
            Ok::<_, Error>(Confusion::new(labels, &predicted, &dataset.classes))
        };
        let confusion = truth.map(scored).transpose()?;
        let reconstruction = Reconstruction::of(&model, dataset, parts)?;
        seconds.evaluate = lap();
        let report = report::write(&report::Finished {
            session,
            model: &model,
            solver: &solver,
            confusion: confusion.as_ref(),
            reconstruction: reconstruction.as_ref(),
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
            init_from: notes.start.clone(),
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
            reconstruction,
            verification: solver.shadow.as_ref().map(Verification::of),
            seconds,
            dispatches_per_step: cost.dispatches_per_step(),
            steps_per_submission: cost.steps_per_submission(),
            peak_memory_bytes: peak_memory_bytes(),
            model_path: dir.model(),
            report_path: report,
            confusion,
        };
        match self.format {
            Format::Text => output::print(&summary.text())?,
            Format::Json => output::print_json(&summary)?,
        }
        summary.verification.as_ref().map_or(Ok(()), Verification::outcome)
    }
}
