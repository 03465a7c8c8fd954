//! What all commands that train share: their options, and the way from options and data to a net about to be trained.

use std::path::PathBuf;

use clap::Args;

use super::origin::Origin;
use super::{Kind, Notes, Parts, TrainOptions, WATCHED};
use crate::cli::args::{DataArgs, DeviceArgs};
use crate::data::Dataset;
use crate::data::preprocess::Columns;
use crate::device::Device;
use crate::error::Result;
use crate::nn::feed::Feed;
use crate::nn::solver::{Ended, Epoch, Event, Solver};
use crate::nn::team::{Outcome, Team};

/// What is trained on which data, where and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Setup {
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    #[command(flatten)]
    pub(in crate::cli) device: DeviceArgs,
    #[command(flatten)]
    pub(in crate::cli) options: TrainOptions,
    /// Read options from a TOML file; those of the command line come before them.
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
}

impl Setup {
    /// What the command line says, the file where it says nothing, and where neither does what the net to start from asks for, or the
    /// defaults of the model.
    pub(in crate::cli) fn notes(&self, model: Kind, dataset: &Dataset) -> Result<Notes> {
        let file = self.config.as_deref().map(TrainOptions::read).transpose()?.unwrap_or_default();
        let options = self.options.clone().or(file);
        // Other models take none, which the check below says.
        let origin = if model == Kind::Mlp { Origin::of(&options)? } else { None };
        let inherited = origin.as_ref().map(Origin::defaults).unwrap_or_default();
        let options = options.or(inherited).or(model.defaults(dataset));
        options.check(model)?;
        let start = origin.map(|origin| origin.facts(&options));
        Ok(Notes { model, data: self.data.clone(), options, overfit_batches: None, start, device: None })
    }
}

/// The rows of a run on their way into its net.
pub(in crate::cli) struct Feeds<'a> {
    pub(super) train: Feed<'a>,
    watched: Feed<'a>,
    validation: Option<Feed<'a>>,
}

impl<'a> Feeds<'a> {
    /// Feeds the rows of `parts`, their columns transformed by `columns`, under a limit of device memory.
    pub(in crate::cli) fn new(
        device: &Device,
        parts: &'a Parts,
        columns: &Columns,
        memory_limit: Option<u64>,
    ) -> Result<Self> {
        let Parts { train, train_labels, validation, validation_labels } = parts;
        let watched = train.len().min(WATCHED);
        let feed = |rows, labels| Feed::new(device, rows, labels, columns, memory_limit);
        let labels = train_labels.as_deref();
        let validation = match validation.is_empty() {
            true => None,
            false => Some(feed(validation.view(), validation_labels.as_deref())?),
        };
        Ok(Self {
            train: feed(train.view(), labels)?,
            watched: feed(train.view().range(0..watched), labels.map(|labels| &labels[..watched]))?,
            validation,
        })
    }

    /// Batches of an epoch.
    pub(super) fn per_epoch(&self, solver: &Solver) -> u64 {
        self.train.batches(solver.training().batch_size)
    }

    /// [`Solver::run`] on these rows.
    pub(in crate::cli) fn run(
        &mut self,
        solver: &mut Solver,
        observe: &mut dyn FnMut(&Solver, &Event<'_>) -> Result<()>,
    ) -> Result<Ended> {
        solver.run(&mut self.train, &mut self.watched, self.validation.as_mut(), observe)
    }

    /// Trains runs together, as [`Team`] does, until `enough` says so after an epoch; returns what each has come to.
    pub(in crate::cli) fn run_together(
        &mut self,
        solvers: Vec<Solver>,
        enough: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<(Solver, Outcome)>> {
        let mut team = Team::join(solvers)?;
        team.run_until(&mut self.train, &mut self.watched, self.validation.as_mut(), enough)?;
        team.split()
    }

    /// [`Solver::run_until`] on these rows.
    pub(in crate::cli) fn run_until(
        &mut self,
        solver: &mut Solver,
        enough: &mut dyn FnMut(&Epoch) -> bool,
    ) -> Result<Option<Ended>> {
        solver.run_until(&mut self.train, &mut self.watched, self.validation.as_mut(), enough)
    }
}
