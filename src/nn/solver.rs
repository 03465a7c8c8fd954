//! Training: batches, steps, evaluation, and when to stop.
//!
//! A step is recorded, not awaited: forward, backward and update of many steps are on the device before one loss is read. What a run does
//! depends on its configuration, its seed and its device alone, so a run that was interrupted goes on as if it had not been.

use std::time::Instant;

use serde::{Deserialize, Serialize};

pub(crate) use super::evaluation::EVALUATED;
pub use super::evaluation::{Evaluation, evaluate};
use super::feed::{Feed, Order};
pub use super::history::{Cost, Epoch, History};
use super::model::FullyConnectedNet;
use super::optim::{Optimizer, Rule};
use super::parameters::Parameters;
use super::schedule::{Progress, Schedule};
use super::shadow::{Made, Shadow};
use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::ops::augment::{Augment, MaskKey, augment};
use crate::tensor::Tensor;

/// Steps after which losses are read at the latest: the host notices a failure, and a run that diverges, this soon.
pub(super) const READ_EVERY: usize = 64;

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The update rule.
    pub rule: Rule,
    /// Its learning rate.
    pub learning_rate: f64,
    /// How that changes.
    pub schedule: Schedule,
    /// Steps in which it first rises from 0.
    pub warmup: u64,
    /// Rows of a batch.
    pub batch_size: usize,
    /// Passes over the training rows.
    pub epochs: u64,
    /// Steps after which the run ends, whatever the epochs.
    pub max_steps: Option<u64>,
    /// Epochs that are no [better](Epoch::better_than) on the validation rows, after which the run ends.
    pub patience: Option<u64>,
    /// Seed of batches.
    pub seed: u64,
    /// What is done to the images of each batch; evaluation sees them as they are.
    #[serde(default)]
    pub augment: Option<Augmentation>,
}

impl Training {
    /// Steps of a whole run of epochs of so many steps.
    pub fn steps(&self, per_epoch: u64) -> u64 {
        let wanted = self.epochs.saturating_mul(per_epoch);
        self.max_steps.map_or(wanted, |most| most.min(wanted))
    }
}

/// Random changes of training images, drawn by the run's seed, the step and the row of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augmentation {
    /// What the rows look like.
    pub image: ImageShape,
    /// Mirror with probability ½.
    pub flip: bool,
    /// Move by up to so many pixels up or down, and left or right.
    pub shift: u32,
}

impl Augmentation {
    /// A batch `x` as the net sees it in a step; what comes from outside an image is 0, the preprocessed value.
    pub(super) fn apply(&self, x: &Tensor, seed: u64, step: u32) -> Result<Tensor> {
        let Self { image: ImageShape { channels, height, width }, flip, shift } = *self;
        // The layers of a net, whose dropout masks are drawn alike, count from 1.
        let key = MaskKey { seed, step, layer: 0 };
        augment(x, &Augment { image: [channels, height, width], flip, shift, key })
    }
}

/// What happens during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// Some steps are done, and their losses known.
    Steps {
        /// Where the run is.
        at: Progress,
        /// Mean loss of the steps since the last event.
        loss: f64,
    },
    /// An epoch is finished, and evaluated.
    Epoch(&'a Epoch),
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All epochs are done.
    Epochs,
    /// [`Training::max_steps`] are done.
    MaxSteps,
    /// [`Training::patience`] ran out.
    EarlyStopping,
}

/// A net in training.
pub struct Solver {
    /// The net.
    pub net: FullyConnectedNet,
    /// What the update rule remembers.
    pub optimizer: Optimizer,
    /// What the run has reached.
    pub history: History,
    /// The net of the best epoch, where validation rows say which.
    pub best: Option<FullyConnectedNet>,
    /// Compares steps with their definitions, where somebody wants that.
    pub shadow: Option<Shadow>,
    training: Training,
    /// Of the last step; the next one writes over them.
    gradients: Parameters,
    cost: Cost,
}

impl Solver {
    /// Before the first step.
    ///
    /// # Errors
    /// [`Error::Usage`] when the configuration means nothing; [`Error::Device`] when the device has no memory for what the rule remembers.
    pub fn new(net: FullyConnectedNet, training: Training) -> Result<Self> {
        let positive = |what: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Error::usage(format!("the {what} is {value}"), format!("give a {what} above 0")))
        };
        positive("learning rate", training.learning_rate)?;
        positive("batch size", training.batch_size as f64)?;
        let optimizer = Optimizer::new(training.rule, &net.parameters)?;
        let gradients = net.parameters.zeros_like()?;
        Ok(Self {
            net,
            optimizer,
            history: History::default(),
            best: None,
            shadow: None,
            training,
            gradients,
            cost: Cost::default(),
        })
    }

    /// Changes how the run goes on: its length and learning rate, not its rule.
    ///
    /// # Errors
    /// [`Error::Usage`] when the rule is another, whose state the run does not have.
    pub fn go_on_with(&mut self, training: Training) -> Result<()> {
        if training.rule != self.training.rule {
            return Err(Error::usage(
                "an interrupted run goes on with its own update rule",
                "leave the optimizer's options out, or start a new run",
            ));
        }
        self.training = training;
        Ok(())
    }

    /// How the net is trained.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// What the steps have cost so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Trains until the run ends, from where it is. `watched` are a few training rows; `observe` may stop the run by an error.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is no number any more, naming the step and the learning rate; whatever `observe` returns;
    /// [`Error::Device`] when the device fails.
    pub fn run(
        &mut self,
        train: &mut Feed<'_>,
        watched: &mut Feed<'_>,
        validation: Option<&mut Feed<'_>>,
        observe: &mut dyn FnMut(&Self, &Event<'_>) -> Result<()>,
    ) -> Result<Ended> {
        let mut validation = validation;
        let per_epoch = train.batches(self.training.batch_size);
        let total = self.training.steps(per_epoch);
        loop {
            let epoch = self.history.epochs.len() as u64;
            let at = Progress { step: self.step(), per_epoch, total };
            if let Some(ended) = self.ended(at) {
                return Ok(ended);
            }
            let started = Instant::now();
            let train_loss = self.epoch(train, epoch, at, observe)?;
            let watched = self.net.architecture().objective.of_labels().then(|| evaluate(&self.net, watched));
            let train_accuracy = watched.transpose()?.and_then(|found| found.accuracy);
            let validated = validation.as_deref_mut().map(|rows| evaluate(&self.net, rows)).transpose()?;
            let at = Progress { step: self.step(), ..at };
            let better = self.record(at, train_loss, train_accuracy, validated, started);
            if better {
                // Into memory of its own, again and again: steps find theirs where it was.
                let mut best = self.best.take().unwrap_or_else(|| self.net.clone());
                best.copy_from(&self.net)?;
                self.best = Some(best);
            }
            if let Some(figures) = self.history.epochs.last() {
                observe(self, &Event::Epoch(figures))?;
            }
        }
    }

    /// Why the run is over, if it is.
    pub(super) fn ended(&self, at: Progress) -> Option<Ended> {
        if at.step >= at.total {
            let wanted = self.training.epochs.saturating_mul(at.per_epoch);
            return Some(if at.total < wanted { Ended::MaxSteps } else { Ended::Epochs });
        }
        let (epoch, best) = (self.history.epochs.len() as u64, self.history.best_epoch);
        let patience = self.training.patience.filter(|_| best > 0)?;
        (epoch - best >= patience).then_some(Ended::EarlyStopping)
    }

    /// Takes up the figures of the epoch that ended `at` this step; returns whether it was the best.
    pub(super) fn record(
        &mut self,
        at: Progress,
        train_loss: f64,
        train_accuracy: Option<f64>,
        validated: Option<Evaluation>,
        started: Instant,
    ) -> bool {
        let figures = Epoch {
            epoch: self.history.epochs.len() as u64 + 1,
            step: at.step,
            learning_rate: self.rate(Progress { step: at.step.saturating_sub(1), ..at }),
            train_loss,
            train_accuracy,
            val_loss: validated.map(|found| found.loss),
            val_accuracy: validated.and_then(|found| found.accuracy),
            seconds: started.elapsed().as_secs_f64(),
        };
        let better = figures.better_than(self.history.best());
        if better {
            self.history.best_epoch = figures.epoch;
        }
        self.history.epochs.push(figures);
        better
    }

    /// [`Self::run`], which `enough` may end after an epoch; then there is no other reason, and the run can go on.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_until(
        &mut self,
        train: &mut Feed<'_>,
        watched: &mut Feed<'_>,
        validation: Option<&mut Feed<'_>>,
        enough: &mut dyn FnMut(&Epoch) -> bool,
    ) -> Result<Option<Ended>> {
        let mut stopped = false;
        let ended = self.run(train, watched, validation, &mut |_, event| {
            stopped = matches!(event, Event::Epoch(epoch) if enough(epoch));
            if stopped { Err(Error::usage("enough", "")) } else { Ok(()) }
        });
        if stopped { Ok(None) } else { ended.map(Some) }
    }

    /// Steps made.
    pub(super) fn step(&self) -> u64 {
        self.history.losses.len() as u64
    }

    /// The learning rate of the next step.
    pub(super) fn rate(&self, at: Progress) -> f64 {
        self.training.schedule.rate(self.training.learning_rate, self.training.warmup, at)
    }

    /// The steps of one epoch; returns the mean loss of its batches.
    fn epoch(
        &mut self,
        train: &mut Feed<'_>,
        epoch: u64,
        mut at: Progress,
        observe: &mut dyn FnMut(&Self, &Event<'_>) -> Result<()>,
    ) -> Result<f64> {
        let order = Order::Shuffled { seed: self.training.seed, epoch };
        let first = self.history.losses.len();
        let before = Cost::of(&self.net.device());
        let mut unread = Vec::with_capacity(READ_EVERY);
        // The first step is waited for: it says that the run works, and when it began to.
        let mut newborn = self.cost.steps == 0;
        train.each_batch(order, self.training.batch_size, |x, y| {
            unread.push(self.one_step(x, y, at)?);
            at.step += 1;
            if unread.len() >= READ_EVERY || at.step == at.total || std::mem::take(&mut newborn) {
                let loss = self.read(&mut unread)?;
                observe(self, &Event::Steps { at, loss })?;
            }
            Ok(at.step < at.total)
        })?;
        if !unread.is_empty() {
            let loss = self.read(&mut unread)?;
            observe(self, &Event::Steps { at, loss })?;
        }
        self.cost.add(before, &self.net.device(), self.history.losses.len() - first);
        Ok(self.mean_loss(first))
    }

    /// Records one step; returns the losses of its rows, unread.
    fn one_step(&mut self, x: &Tensor, y: &Tensor, at: Progress) -> Result<Tensor> {
        // Masks are drawn by the step, which after an interruption is where it was.
        self.net.step = at.step as u32;
        let augment = self.training.augment;
        let augmented = augment.map(|it| it.apply(x, self.training.seed, self.net.step)).transpose()?;
        let x = augmented.as_ref().unwrap_or(x);
        let architecture = self.net.architecture();
        let y = if architecture.objective.of_labels() { y } else { x };
        let l2 = architecture.l2();
        let rate = self.rate(at);
        let before = match &self.shadow {
            Some(shadow) => shadow.before(at.step, &self.net, &self.optimizer)?,
            None => None,
        };
        let loss = self.net.data_loss_into(x, y, &mut self.gradients)?;
        self.optimizer.step(&mut self.net.parameters, &self.gradients, rate, l2)?;
        if let (Some(before), Some(shadow)) = (before, &mut self.shadow) {
            let (losses, gradients, rule) = (loss.losses(), &self.gradients, self.training.rule);
            let made = Made { x, y, losses, gradients, rule, learning_rate: rate, l2, step: at.step };
            shadow.after(before, &made, &self.net, &self.optimizer)?;
        }
        Ok(loss.losses().clone())
    }

    /// Reads the losses of some steps and returns their mean.
    fn read(&mut self, unread: &mut Vec<Tensor>) -> Result<f64> {
        let losses = Tensor::read_all(&unread.iter().collect::<Vec<_>>())?;
        unread.clear();
        let means: Vec<f64> = losses.iter().map(|rows| mean(rows)).collect();
        means.iter().try_for_each(|&loss| self.note(loss))?;
        Ok(mean(&means))
    }

    /// Takes up the mean loss of a step.
    pub(super) fn note(&mut self, loss: f64) -> Result<()> {
        if !loss.is_finite() {
            return Err(Error::Diverged {
                step: self.history.losses.len() + 1,
                loss,
                learning_rate: self.training.learning_rate,
            });
        }
        self.history.losses.push(loss as f32);
        Ok(())
    }

    /// The mean loss of the steps from this one on.
    pub(super) fn mean_loss(&self, first: usize) -> f64 {
        let losses = &self.history.losses[first..];
        losses.iter().copied().map(f64::from).sum::<f64>() / losses.len().max(1) as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
