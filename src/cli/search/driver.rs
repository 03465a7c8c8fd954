//! How a search goes: rounds of trials, each trained to the end or, with halving, as long as it is among the better half.

use std::path::PathBuf;
use std::time::Instant;

use super::course::{Course, Part};
use super::trial::{Status, Trial, ranked};
use crate::cli::runs::Runs;
use crate::cli::train::{Feeds, Notes, Parts, RunDir};
use crate::data::Dataset;
use crate::data::preprocess::Columns;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::checkpoint::{self, Model};
use crate::nn::solver::Solver;

/// A search under way.
pub(super) struct Driver<'a> {
    pub(super) course: Course,
    dataset: &'a Dataset,
    parts: &'a Parts,
    device: &'a Device,
    memory_limit: Option<u64>,
    dir: &'a RunDir,
    /// The rows on the device, as the last trial has brought them into range.
    feeds: Option<(Notes, Columns, Feeds<'a>)>,
    runs: Runs,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        course: Course,
        dataset: &'a Dataset,
        parts: &'a Parts,
        device: &'a Device,
        memory_limit: Option<u64>,
        dir: &'a RunDir,
    ) -> Self {
        let runs = Runs::new(course.expected());
        Self { course, dataset, parts, device, memory_limit, dir, feeds: None, runs }
    }

    pub(super) fn run(&mut self) -> Result<()> {
        let ladder = self.course.ladder();
        if self.course.results.plan.halving {
            let folder = self.dir.file("trials");
            std::fs::create_dir_all(&folder).map_err(Error::io("create", folder))?;
        }
        for round in 0..self.course.results.plan.rounds {
            let mut alive = self.course.round(round)?;
            for &part in &ladder {
                for &index in &alive {
                    self.advance(index, round, part)?;
                }
                // By what was known then: in a search that goes on, it may have diverged later.
                alive.retain(|&index| self.course.results.trials[index].score(part.rung).is_known());
                if !part.last {
                    self.halve(&mut alive, part.rung);
                }
            }
        }
        self.runs.finish();
        if self.course.results.plan.halving {
            // Checkpoints of trials that are over; whoever cannot remove them keeps them.
            let _ = std::fs::remove_dir_all(self.dir.file("trials"));
        }
        self.course.results.write(self.dir)
    }

    /// Keeps the better half, in its first order.
    fn halve(&mut self, alive: &mut Vec<usize>, rung: usize) {
        let trials = &self.course.results.trials;
        alive.sort_by(|&a, &b| trials[a].score(rung).compare(trials[b].score(rung)).then(a.cmp(&b)));
        for index in alive.split_off(alive.len().div_ceil(2)) {
            self.course.results.trials[index].status = Status::Dropped;
            let _ = std::fs::remove_file(self.checkpoint(index));
        }
        alive.sort_unstable();
    }

    fn checkpoint(&self, index: usize) -> PathBuf {
        self.dir.file(&format!("trials/{}.safetensors", index + 1))
    }

    /// Trains a part of a trial, unless that has been done, and records what it has reached.
    fn advance(&mut self, index: usize, round: usize, part: Part) -> Result<()> {
        if self.course.results.trials.get(index).is_some_and(|trial| trial.scores.len() > part.rung) {
            self.runs.skip(part.budget - part.before);
            return Ok(());
        }
        let start = Instant::now();
        let (notes, params) = self.course.notes(index)?;
        let total = self.course.trials();
        let name = format!("trial {:>width$}/{total}", index + 1, width = total.to_string().len());
        self.runs.begin(&name, part.budget - part.before);
        let (model, solver, diverged) = self.train(index, part, &notes)?;
        if index == self.course.results.trials.len() {
            self.course.results.trials.push(Trial::new(index + 1, round + 1, params));
        }
        let trial = &mut self.course.results.trials[index];
        trial.record(&solver.history, diverged, start.elapsed().as_secs_f64());
        trial.status = match (diverged, part.last) {
            (true, _) => Status::Diverged,
            (false, true) => Status::Finished,
            (false, false) => Status::Waiting,
        };
        self.keep(index, model, solver, &notes)?;
        self.course.results.write(self.dir)?;
        self.runs.end(&self.line(&name, index, start.elapsed().as_secs_f64()));
        Ok(())
    }

    /// How a trial went.
    fn line(&self, name: &str, index: usize, seconds: f64) -> String {
        let trial = &self.course.results.trials[index];
        let outcome = match trial.shown_score() {
            Some(score) => format!("val {score} (epoch {})", trial.best_epoch),
            None => "diverged".to_owned(),
        };
        let best = ranked(&self.course.results.trials).first().and_then(|best| best.shown_score());
        let best = best.map(|best| format!("  best {best}")).unwrap_or_default();
        format!("{name}  {outcome}{best}  {seconds:.1} s  {}", trial.described())
    }

    /// Trains a part of a trial; returns also whether it diverged.
    fn train(&mut self, index: usize, part: Part, notes: &Notes) -> Result<(Model, Solver, bool)> {
        let Self { device, dataset, parts, .. } = *self;
        let checkpoint = self.checkpoint(index);
        self.feed(notes)?;
        let Self { feeds: Some((_, columns, feeds)), runs, .. } = self else {
            return Err(Error::usage("a search without rows", ""));
        };
        let (model, mut solver) = match part.rung {
            0 => {
                let model = notes.model(device, dataset, parts, columns.clone())?;
                let solver = Solver::new(model.net.clone(), notes.training(false, dataset.image)?)?;
                (model, solver)
            }
            _ => {
                let (model, solver, _): (Model, Solver, Notes) = checkpoint::load_run(device, &checkpoint)?;
                (model, solver)
            }
        };
        // The number of epochs may be an option that is searched; only halving stops before it.
        let enough = if part.last { u64::MAX } else { part.budget };
        let mut diverged = false;
        // A checkpoint is ahead of the results where a search was interrupted between the two.
        if (solver.history.epochs.len() as u64) < enough {
            let ended = feeds.run_until(&mut solver, &mut |epoch| {
                runs.epoch();
                epoch.epoch >= enough
            });
            diverged = matches!(ended, Err(Error::Diverged { .. }));
            if !diverged {
                ended?;
            }
        }
        let broken = |loss: Option<f64>| loss.is_some_and(|loss| !loss.is_finite());
        diverged |= solver.history.epochs.last().is_some_and(|epoch| broken(epoch.val_loss));
        if !part.last && !diverged {
            checkpoint::save_run(&checkpoint, &model, &solver, notes)?;
        }
        Ok((model, solver, diverged))
    }

    /// Brings the rows into the range that a trial wants them in.
    fn feed(&mut self, notes: &Notes) -> Result<()> {
        if self.feeds.as_ref().is_none_or(|(seen, ..)| !seen.sees_like(notes)) {
            // Two of them need not fit the device.
            self.feeds = None;
            let columns = notes.columns(self.parts)?;
            let feeds = Feeds::new(self.device, self.parts, &columns, self.memory_limit)?;
            self.feeds = Some((notes.clone(), columns, feeds));
        }
        Ok(())
    }

    /// Saves the model of a trial that is the best so far.
    fn keep(&self, index: usize, mut model: Model, solver: Solver, notes: &Notes) -> Result<()> {
        let best = ranked(&self.course.results.trials).first().copied();
        if best.is_some_and(|best| best.trial == index + 1 && best.is_scored()) {
            model.net = solver.best.unwrap_or(solver.net);
            model.save(self.dir.model())?;
            self.dir.write_config(&notes.options.to_toml()?)?;
        }
        Ok(())
    }
}
