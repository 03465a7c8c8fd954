//! Nets of one architecture that are trained together: they see the same batches, and stand side by side as one wide net whose first layer is
//! one large product, whose other layers are batched ones, and whose parameters one launch moves, each by its own net's rates. On an adapter
//! sixteen small nets need the launches of one, and a processor's products are wide enough to be quick.
//!
//! A net's columns are touched by nothing of the others', so each goes through the training that it would have alone: the same batches, masks
//! and rules. Only the order of additions within a product may differ, where its width makes a device choose another kernel.

mod saved;

use std::time::Instant;

use self::saved::{Saved, Whole, moments_of_all};
use super::architecture::{Architecture, Normalization, RegForm};
use super::evaluation::{Evaluation, evaluate_each};
use super::feed::{Feed, Order};
use super::history::Cost;
use super::model::FullyConnectedNet;
use super::optim::{Optimizer, Rule};
use super::parameters::Parameters;
use super::schedule::{Progress, Schedule};
use super::solver::{Ended, READ_EVERY, Solver, Training};
use crate::error::{Error, Result};
use crate::ops::dropout::Drops;
use crate::ops::optimizer::{Owners, Step, update_grouped};
use crate::tensor::Tensor;

/// Runs of training that go on together.
pub struct Team {
    /// The nets as one: the g-th has the g-th columns of every tensor.
    net: FullyConnectedNet,
    /// What the rules remember, laid out as the parameters.
    states: Vec<Parameters>,
    gradients: Parameters,
    /// Which net each parameter belongs to.
    owners: Owners,
    members: Vec<Member>,
    cost: Cost,
}

/// One of the runs.
struct Member {
    /// Its history and configuration; its net and optimizer are of before it joined.
    solver: Solver,
    /// Why it goes on no more, if so, and what it had become by then.
    over: Option<(Result<Ended>, Saved)>,
    /// The net of its best epoch, where that came after it joined.
    best: Option<Saved>,
}

/// What a member has come to: why its run is over, nothing where it can go on, or an error where it diverged.
pub type Outcome = Result<Option<Ended>>;

impl Team {
    /// Whether runs of these nets and configurations can go on together: they differ in nothing but rates, penalties, probabilities to drop, the
    /// numbers of the update rule, and their patience. Autoencoders and layer-normalised nets are trained alone.
    pub fn fits(one: (&Architecture, &Training), other: (&Architecture, &Training)) -> bool {
        let net = |architecture: &Architecture| Architecture {
            reg: 0.0,
            reg_form: RegForm::default(),
            dropout: None,
            ..architecture.clone()
        };
        let seeds = [one.0, other.0].map(|architecture| architecture.dropout.map(|dropout| dropout.seed));
        let run = |training: &Training| Training {
            rule: Rule::Sgd,
            learning_rate: 0.0,
            schedule: Schedule::default(),
            warmup: 0,
            patience: None,
            ..training.clone()
        };
        let rule = |training: &Training| std::mem::discriminant(&training.rule);
        net(one.0) == net(other.0)
            && one.0.objective.of_labels()
            && one.0.normalization != Normalization::Layer
            && (seeds.contains(&None) || seeds[0] == seeds[1])
            && rule(one.1) == rule(other.1)
            && run(one.1) == run(other.1)
    }

    /// Whether these runs can go on together from where they are.
    pub fn meet(one: &Solver, other: &Solver) -> bool {
        let is = |solver: &Solver| (solver.step(), solver.history.epochs.len());
        let of = |solver: &'_ Solver| (solver.net.architecture().clone(), solver.training().clone());
        let ((a, b), (c, d)) = (of(one), of(other));
        is(one) == is(other) && Self::fits((&a, &b), (&c, &d))
    }

    /// Lets runs go on together.
    ///
    /// # Errors
    /// [`Error::Usage`] when they do not [meet](Self::meet), or there is none; [`Error::Device`] when the device has no memory for all.
    pub fn join(solvers: Vec<Solver>) -> Result<Self> {
        let Some(first) =
            solvers.first().filter(|first| solvers.iter().all(|other| Self::meet(first, other)))
        else {
            return Err(Error::usage(
                format!("{} runs that cannot be trained together", solvers.len()),
                "train them one at a time",
            ));
        };
        let parameters = side_by_side(solvers.iter().map(|solver| &solver.net.parameters))?;
        let states = (0..first.optimizer.states().len())
            .map(|i| side_by_side(solvers.iter().map(|solver| &solver.optimizer.states()[i])))
            .collect::<Result<_>>()?;
        let seeded = solvers.iter().find_map(|solver| solver.net.architecture().dropout);
        let mut net = first.net.clone().with_dropout(seeded);
        let drop = |solver: &Solver| solver.net.architecture().dropout.map_or(0.0, |dropout| dropout.drop);
        net.team = Some(Drops::new(&net.device(), &solvers.iter().map(drop).collect::<Vec<_>>(), true)?);
        (net.norms, net.parameters) = (moments_of_all(&solvers)?, parameters);
        Ok(Self {
            owners: Owners::new(&net.device(), &net.parameters.owners(solvers.len()), solvers.len())?,
            gradients: net.parameters.zeros_like()?,
            net,
            states,
            members: solvers.into_iter().map(|solver| Member { solver, over: None, best: None }).collect(),
            cost: Cost::default(),
        })
    }

    /// What the steps of all have cost so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Trains until all runs are over, or `enough` says so after an epoch.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails. A run that diverges ends alone: see [`Self::split`].
    pub fn run_until(
        &mut self,
        train: &mut Feed<'_>,
        watched: &mut Feed<'_>,
        mut validation: Option<&mut Feed<'_>>,
        enough: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        let training = self.members[0].solver.training().clone();
        let per_epoch = train.batches(training.batch_size);
        let total = training.steps(per_epoch);
        loop {
            let at = |solver: &Solver| Progress { step: solver.step(), per_epoch, total };
            self.leave(|_, solver| solver.ended(at(solver)).map(Ok))?;
            let Some(going) = self.members.iter().find(|member| member.over.is_none()) else { return Ok(()) };
            let (start, epoch) = (at(&going.solver), going.solver.history.epochs.len() as u64);
            let started = Instant::now();
            let last = self.epoch(train, Order::Shuffled { seed: training.seed, epoch }, start)?;
            let seen = evaluate_each(&self.net, watched)?;
            let validated =
                validation.as_deref_mut().map(|rows| evaluate_each(&self.net, rows)).transpose()?;
            let first = start.step as usize;
            self.record(first, last, &seen, validated.as_deref(), started)?;
            if enough(epoch + 1) {
                return Ok(());
            }
        }
    }

    /// The runs apart again, each with what it came to.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn split(mut self) -> Result<Vec<(Solver, Outcome)>> {
        let whole = Whole::read(&self.net.parameters, &self.states, &self.net)?;
        let nets = self.members.len();
        let apart = |(i, member): (usize, Member)| {
            let Member { mut solver, over, best } = member;
            let (outcome, last) = match over {
                Some((ended, saved)) => (ended.map(Some), saved),
                None => (Ok(None), whole.of_one(&self.net.parameters, i, nets)),
            };
            if let Some(best) = best {
                solver.best = Some(best.net(&solver.net)?);
            }
            let states = last.tensors[1..].iter().map(|tensors| {
                let weights = solver.net.parameters.weight_count();
                Parameters::new(&solver.net.device(), tensors.clone(), weights)
            });
            let states = states.collect::<Result<Vec<_>>>()?;
            let count = solver.step() as u32;
            solver.optimizer = Optimizer::resume(solver.training().rule, states, count);
            solver.net = last.net(&solver.net)?;
            solver.net.step = count.saturating_sub(1);
            Ok((solver, outcome))
        };
        std::mem::take(&mut self.members).into_iter().enumerate().map(apart).collect()
    }

    /// The steps of one epoch, from `at` on; returns where they led.
    fn epoch(&mut self, train: &mut Feed<'_>, order: Order, mut at: Progress) -> Result<Progress> {
        let batch_size = self.members[0].solver.training().batch_size;
        let mut unread = Vec::with_capacity(READ_EVERY);
        let (before, first) = (Cost::of(&self.net.device()), at.step);
        train.each_batch(order, batch_size, |x, y| {
            unread.push(self.one_step(x, y, at)?);
            at.step += 1;
            if unread.len() >= READ_EVERY || at.step == at.total {
                self.read(&mut unread)?;
            }
            Ok(at.step < at.total && self.members.iter().any(|member| member.over.is_none()))
        })?;
        if !unread.is_empty() {
            self.read(&mut unread)?;
        }
        self.cost.add(before, &self.net.device(), (at.step - first) as usize);
        Ok(at)
    }

    /// Records one step of all; returns the losses of its rows, N × nets, unread.
    fn one_step(&mut self, x: &Tensor, y: &Tensor, at: Progress) -> Result<Tensor> {
        self.net.step = at.step as u32;
        let training = self.members[0].solver.training();
        let (augment, seed) = (training.augment, training.seed);
        let augmented = augment.map(|it| it.apply(x, seed, self.net.step)).transpose()?;
        let x = augmented.as_ref().unwrap_or(x);
        let regularized = self.net.parameters.regularized();
        let step = |Member { solver, .. }: &Member| Step {
            learning_rate: solver.rate(at),
            l2: solver.net.architecture().l2(),
            regularized,
            count: self.net.step + 1,
        };
        let steps: Vec<Step> = self.members.iter().map(step).collect();
        let rules: Vec<Rule> = self.members.iter().map(|member| member.solver.training().rule).collect();
        let loss = self.net.data_loss_into(x, y, &mut self.gradients)?;
        let mut states: Vec<_> = self.states.iter_mut().map(Parameters::flat_mut).collect();
        let (parameters, gradients) = (self.net.parameters.flat_mut(), self.gradients.flat());
        update_grouped(&rules, &steps, &mut self.owners, parameters, gradients, &mut states)?;
        Ok(loss.losses().clone())
    }

    /// Reads the losses of some steps; whose is no number leaves.
    fn read(&mut self, unread: &mut Vec<Tensor>) -> Result<()> {
        let read = Tensor::read_all(&unread.iter().collect::<Vec<_>>())?;
        unread.clear();
        let nets = self.members.len();
        let mut means = vec![Vec::with_capacity(read.len()); nets];
        for rows in &read {
            let count = (rows.len() / nets).max(1) as f64;
            for (net, means) in means.iter_mut().enumerate() {
                means.push(rows.iter().skip(net).step_by(nets).sum::<f64>() / count);
            }
        }
        self.leave(|net, solver| means[net].iter().try_for_each(|&loss| solver.note(loss)).err().map(Err))
    }

    /// Takes up the figures of an epoch, whose first step was `first`.
    fn record(
        &mut self,
        first: usize,
        at: Progress,
        watched: &[Evaluation],
        validated: Option<&[Evaluation]>,
        started: Instant,
    ) -> Result<()> {
        let mut whole = None;
        let nets = self.members.len();
        for (i, member) in self.members.iter_mut().enumerate() {
            if member.over.is_some() {
                continue;
            }
            let (loss, validated) = (member.solver.mean_loss(first), validated.map(|all| all[i]));
            if member.solver.record(at, loss, watched[i].accuracy, validated, started) {
                // One trip for all whose best epoch this is.
                let whole = match &whole {
                    Some(whole) => whole,
                    None => whole.insert(Whole::read(&self.net.parameters, &[], &self.net)?),
                };
                member.best = Some(whole.of_one(&self.net.parameters, i, nets));
            }
        }
        Ok(())
    }

    /// Asks every member that goes on whether, and why, it is over.
    fn leave(&mut self, mut asked: impl FnMut(usize, &mut Solver) -> Option<Result<Ended>>) -> Result<()> {
        let nets = self.members.len();
        let mut whole = None;
        for (i, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.over.is_none()) {
            if let Some(ended) = asked(i, &mut member.solver) {
                let whole = match &whole {
                    Some(whole) => whole,
                    None => whole.insert(Whole::read(&self.net.parameters, &self.states, &self.net)?),
                };
                member.over = Some((ended, whole.of_one(&self.net.parameters, i, nets)));
            }
        }
        Ok(())
    }
}

fn side_by_side<'a>(parts: impl Iterator<Item = &'a Parameters>) -> Result<Parameters> {
    Parameters::side_by_side(&parts.collect::<Vec<_>>())
}
