//! How a search goes: rounds of trials, each trained to the end or, with halving, as long as it is among the better half. Trials of small
//! nets that are alike are trained together.

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
use crate::nn::model::Architecture;
use crate::nn::solver::{Solver, Training};
use crate::nn::team::{Outcome, Team};

/// Parameters of all nets that are trained together: with what an optimizer remembers, a few of them stay in a processor's cache.
const MOST_PARAMETERS: usize = 1 << 22;

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
            for index in self.course.results.trials.len()..alive.last().map_or(0, |last| last + 1) {
                let (_, params) = self.course.notes(index)?;
                self.course.results.trials.push(Trial::new(index + 1, round + 1, params));
            }
            for &part in &ladder {
                for team in self.teams(&alive, part)? {
                    self.advance(&team, part)?;
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
            let _ = std::fs::remove_file(self.checkpoint(index, rung));
        }
        alive.sort_unstable();
    }

    /// What a trial is after a part.
    fn checkpoint(&self, index: usize, rung: usize) -> PathBuf {
        self.dir.file(&format!("trials/{}-{rung}.safetensors", index + 1))
    }

    /// The trials whose part has not been trained, those together that can be. The same again where a search goes on.
    fn teams(&mut self, alive: &[usize], part: Part) -> Result<Vec<Vec<usize>>> {
        let mut teams: Vec<(Notes, Architecture, Training, Vec<usize>)> = Vec::new();
        for &index in alive {
            if self.course.results.trials[index].scores.len() > part.rung {
                self.runs.skip(part.budget - part.before);
                continue;
            }
            let (notes, _) = self.course.notes(index)?;
            let architecture = notes.architecture(self.dataset, self.parts);
            let training = notes.training(false, self.dataset.image)?;
            let room =
                (MOST_PARAMETERS / architecture.elements().max(1)).min(self.course.results.plan.together);
            let fitting = teams.iter_mut().find(|(seen, net, run, team)| {
                team.len() < room
                    && seen.sees_like(&notes)
                    && Team::fits((net, run), (&architecture, &training))
            });
            match fitting {
                Some((.., team)) => team.push(index),
                None => teams.push((notes, architecture, training, vec![index])),
            }
        }
        Ok(teams.into_iter().map(|(.., team)| team).collect())
    }

    /// Trains a part of some trials together and records what each has reached.
    fn advance(&mut self, team: &[usize], part: Part) -> Result<()> {
        let start = Instant::now();
        let notes = team.iter().map(|&index| Ok(self.course.notes(index)?.0)).collect::<Result<Vec<_>>>()?;
        self.runs.begin(&self.name(team), team.len() as u64 * (part.budget - part.before));
        let trained = self.train(team, part, &notes)?;
        let seconds = start.elapsed().as_secs_f64() / team.len() as f64;
        for (&index, (_, solver, diverged)) in team.iter().zip(&trained) {
            let trial = &mut self.course.results.trials[index];
            trial.record(&solver.history, *diverged, seconds);
            trial.status = match (diverged, part.last) {
                (true, _) => Status::Diverged,
                (false, true) => Status::Finished,
                (false, false) => Status::Waiting,
            };
        }
        for ((&index, (model, solver, _)), notes) in team.iter().zip(trained).zip(&notes) {
            self.keep(index, model, solver, notes)?;
        }
        self.course.results.write(self.dir)?;
        if part.rung > 0 {
            // Nobody goes on from there any more.
            team.iter().for_each(|&index| drop(std::fs::remove_file(self.checkpoint(index, part.rung - 1))));
        }
        let lines: Vec<_> = team.iter().map(|&index| self.line(index, seconds)).collect();
        self.runs.end(&lines.join("\n"));
        Ok(())
    }

    /// `trial  3/20`, or `trials  3, 4, 5/20`.
    fn name(&self, team: &[usize]) -> String {
        let total = self.course.trials();
        let width = total.to_string().len();
        let numbers: Vec<_> = team.iter().map(|index| format!("{:>width$}", index + 1)).collect();
        let plural = if team.len() > 1 { "s" } else { "" };
        format!("trial{plural} {}/{total}", numbers.join(", "))
    }

    /// How a trial went.
    fn line(&self, index: usize, seconds: f64) -> String {
        let name = self.name(&[index]);
        let trial = &self.course.results.trials[index];
        let outcome = match trial.shown_score() {
            Some(score) => format!("val {score} (epoch {})", trial.best_epoch),
            None => "diverged".to_owned(),
        };
        let best = ranked(&self.course.results.trials).first().and_then(|best| best.shown_score());
        let best = best.map(|best| format!("  best {best}")).unwrap_or_default();
        format!("{name}  {outcome}{best}  {seconds:.1} s  {}", trial.described())
    }

    /// Trains a part of some trials; returns also whether each diverged.
    fn train(&mut self, team: &[usize], part: Part, notes: &[Notes]) -> Result<Vec<(Model, Solver, bool)>> {
        let Some(first) = notes.first() else { return Ok(Vec::new()) };
        self.feed(first)?;
        let begun = team.iter().zip(notes).map(|(&index, notes)| self.begin(index, part, notes));
        let (models, solvers): (Vec<Model>, Vec<Solver>) =
            begun.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let Self { feeds: Some((.., feeds)), runs, .. } = self else {
            return Err(Error::usage("a search without rows", ""));
        };
        // The number of epochs may be an option that is searched; only halving stops before it.
        let enough = if part.last { u64::MAX } else { part.budget };
        // Where one has ended early, they are no longer in step.
        let together = solvers.len() > 1 && solvers.iter().all(|solver| Team::meet(&solvers[0], solver));
        let ended: Vec<(Solver, Outcome)> = if together {
            feeds.run_together(solvers, &mut |epoch| {
                team.iter().for_each(|_| runs.epoch());
                epoch >= enough
            })?
        } else {
            let alone = |mut solver: Solver| {
                let outcome = feeds.run_until(&mut solver, &mut |epoch| {
                    runs.epoch();
                    epoch.epoch >= enough
                });
                (solver, outcome)
            };
            solvers.into_iter().map(alone).collect()
        };
        let mut trained = Vec::with_capacity(team.len());
        for (((&index, notes), model), (solver, outcome)) in team.iter().zip(notes).zip(models).zip(ended) {
            let mut diverged = matches!(outcome, Err(Error::Diverged { .. }));
            if !diverged {
                outcome?;
            }
            let broken = |loss: Option<f64>| loss.is_some_and(|loss| !loss.is_finite());
            diverged |= solver.history.epochs.last().is_some_and(|epoch| broken(epoch.val_loss));
            if !part.last && !diverged {
                checkpoint::save_run(self.checkpoint(index, part.rung), &model, &solver, notes)?;
            }
            trained.push((model, solver, diverged));
        }
        Ok(trained)
    }

    /// A trial where its part begins.
    fn begin(&self, index: usize, part: Part, notes: &Notes) -> Result<(Model, Solver)> {
        if part.rung > 0 {
            let checkpoint = self.checkpoint(index, part.rung - 1);
            let (model, solver, _): (Model, Solver, Notes) = checkpoint::load_run(self.device, &checkpoint)?;
            return Ok((model, solver));
        }
        let columns = self.feeds.as_ref().map(|(_, columns, _)| columns.clone());
        let columns = columns.map_or_else(|| notes.columns(self.parts), Ok)?;
        let model = notes.model(self.device, self.dataset, self.parts, columns)?;
        let solver = Solver::new(model.net.clone(), notes.training(false, self.dataset.image)?)?;
        Ok((model, solver))
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
