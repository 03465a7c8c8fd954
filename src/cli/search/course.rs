//! The course of a search: which trials there are, and how long each is trained.
//!
//! All is a function of the plan and of the results so far, so a search that was interrupted goes on as if it had not been.

use serde_json::{Map, Value};

use super::space::{self, Parameter};
use super::trial::{Results, ranked};
use crate::cli::train::Notes;
use crate::error::{Error, Result};

/// A search, as far as it has come.
pub(super) struct Course {
    pub(super) results: Results,
    space: Vec<Parameter>,
}

/// A part of a trial: from the epochs before to those of the budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) rung: usize,
    pub(super) before: u64,
    pub(super) budget: u64,
    pub(super) last: bool,
}

impl Course {
    /// Goes on from `results`; what the trials that come next cannot take is refused before any has begun.
    pub(super) fn new(results: Results) -> Result<Self> {
        let course = Self { space: results.plan.space()?, results };
        let trials = &course.results.trials;
        if trials.len() > course.trials()
            || trials.iter().zip(1..).any(|(trial, number)| trial.trial != number)
        {
            return Err(Error::usage("the results are not those of their plan", "start the search anew"));
        }
        course.round(0)?;
        Ok(course)
    }

    /// The trials of a round, counted from 0, all checked.
    pub(super) fn round(&self, round: usize) -> Result<Vec<usize>> {
        let per_round = self.per_round();
        let trials: Vec<usize> = (round * per_round..(round + 1) * per_round).collect();
        trials.iter().try_for_each(|&index| self.notes(index).map(drop))?;
        Ok(trials)
    }

    /// Trials of all rounds.
    pub(super) fn trials(&self) -> usize {
        self.per_round() * self.results.plan.rounds
    }

    /// Trials of a round.
    fn per_round(&self) -> usize {
        let plan = &self.results.plan;
        match plan.grid.is_empty() {
            true => plan.n_iter,
            false => self.space.iter().map(|parameter| parameter.choices().len()).product(),
        }
    }

    /// The parts of a trial: one, or with halving one for every comparison.
    pub(super) fn ladder(&self) -> Vec<Part> {
        let plan = &self.results.plan;
        // The defaults of a model leave no option of this kind out.
        let epochs = plan.notes.options.epochs.unwrap_or(1);
        let mut budgets = vec![epochs];
        if plan.halving {
            let doubled = std::iter::successors(Some(1u64), |budget| budget.checked_mul(2));
            budgets =
                doubled.take_while(|budget| budget.saturating_mul(2) <= epochs).chain([epochs]).collect();
        }
        let last = budgets.len() - 1;
        let before = |rung: usize| if rung == 0 { 0 } else { budgets[rung - 1] };
        let part =
            |(rung, &budget): (usize, &u64)| Part { rung, before: before(rung), budget, last: rung == last };
        budgets.iter().enumerate().map(part).collect()
    }

    /// Epochs of the whole search where none is left out.
    pub(super) fn expected(&self) -> u64 {
        let mut alive = self.per_round();
        let mut epochs = 0;
        for part in self.ladder() {
            epochs += alive as u64 * (part.budget - part.before);
            alive = alive.div_ceil(2);
        }
        epochs * self.results.plan.rounds as u64
    }

    /// The values of a trial, counted from 0.
    fn values(&self, index: usize) -> Vec<String> {
        let (plan, per_round) = (&self.results.plan, self.per_round());
        if !plan.grid.is_empty() {
            // The last parameter changes first.
            let mut rest = index;
            let mut values = Vec::with_capacity(self.space.len());
            for parameter in self.space.iter().rev() {
                let choices = parameter.choices();
                values.push(choices[rest % choices.len()].clone());
                rest /= choices.len();
            }
            values.reverse();
            return values;
        }
        // A later round draws around the best of all before it.
        let round = index / per_round;
        let earlier = ranked(&self.results.trials[..(round * per_round).min(self.results.trials.len())]);
        let best = earlier.first().filter(|trial| trial.val_accuracy.is_some());
        let best = best.map(|trial| self.values(trial.trial - 1));
        let draw = |(position, parameter): (usize, &Parameter)| {
            let seed = plan.notes.data.seed;
            match &best {
                Some(best) => {
                    parameter.narrowed(&best[position], round).draw(seed, index as u64, position as u64)
                }
                None => parameter.draw(seed, index as u64, position as u64),
            }
        };
        self.space.iter().enumerate().map(draw).collect()
    }

    /// What a trial trains, and the values that make it so.
    pub(super) fn notes(&self, index: usize) -> Result<(Notes, Map<String, Value>)> {
        let mut notes = self.results.plan.notes.clone();
        let mut params = Map::new();
        for (parameter, value) in self.space.iter().zip(self.values(index)) {
            let option = space::option(&parameter.name, &value)?;
            if let Ok(Value::Object(pairs)) = serde_json::to_value(&option) {
                params.extend(pairs);
            }
            notes.options = option.or(notes.options);
        }
        notes.options.check(notes.model)?;
        Ok((notes, params))
    }
}
