//! What the course has one look at before a long training (notes, "Before learning: sanity checks Tips/Tricks").
//!
//! Each check ends in one number and the interval it must lie in, with what to look at where it does not.

use serde::Serialize;

use super::feed::{Feed, Order};
use super::gradcheck::{Options, Problem};
use super::model::{Architecture, FullyConnectedNet, Init, Objective, RegForm};
use super::optim::Rule;
use super::schedule::Schedule;
use super::solver::{Solver, Training};
use crate::data::preprocess::Columns;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::rng::numpy::RandomState;
use crate::rows::RowsRef;
use crate::tensor::Tensor;

/// Rows on which losses before training are computed.
const SAMPLE: usize = 1000;

/// Rows to be learnt by heart: of the notes' "20 examples" and the notebooks' 50 the larger, which is less likely to be easy by chance.
const BY_HEART: usize = 50;

/// What may be left of a guess's error where they are to be given back.
const LEFT: f64 = 0.1;

/// Relative error of a right gradient. Of a net as it comes: a derivative that cancels to 0, like that of a hinge loss by a bias, leaves one
/// rounding of the loss in the numeric one, and that counts as 2e-7 where the formula's denominator ends at 1e-8. `gradcheck` chooses nets
/// without such derivatives and asks for 1e-7.
const RIGHT: f64 = 1e-6;

/// Epochs in which they must be: two steps each, and a sane learning rate needs some ten to a hundred.
const HEART_EPOCHS: u64 = 500;

/// Deviation of weights that are small whatever the inputs: even a thousand raw pixels make scores of a few thousandths.
const SMALL: f64 = 1e-6;

/// How far above chance a start may be, for each score that the loss compares. Under He's initialisation, inputs of variance 1 make scores of
/// variance σ² = 2: E log Σeˢ ≤ log C + σ²/2, one above chance, and E max(0, sⱼ − s_y) = σ/√π = 0.8 above it. Twice that is allowed.
const START: f64 = 2.0;

/// How far the rise of the loss may be from λ·ΣW², as a share of it: sums of squares in 32 bit are off by at most 6e-8 for each row of W, 1e-3
/// at sixteen thousand inputs; a wrong factor is off by 1.
const PENALTY: f64 = 1e-3;

/// Steps of the learning curve at least, where two epochs are fewer, and at most.
const CURVE: (u64, u64) = (20, 1000);

/// How far the loss must fall, in standard errors of its mean at both ends: a net that does not learn passes two of them once in forty tries.
const FALL: f64 = 2.0;

/// A net that somebody wants to train, and on what.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Where it runs.
    pub device: &'a Device,
    /// The net.
    pub architecture: Architecture,
    /// How its weights start.
    pub init: Init,
    /// How it is trained.
    pub training: Training,
    /// What is done to its inputs.
    pub columns: &'a Columns,
    /// Training rows, at least one.
    pub rows: RowsRef<'a>,
    /// Their labels, where the net learns them.
    pub labels: Option<&'a [u32]>,
    /// Cap on the bytes of rows on the device.
    pub memory_limit: Option<u64>,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// `chance`, `start`, `penalty`, `gradient`, `overfit` or `curve`.
    pub check: &'static str,
    /// Whether the number is where it must be.
    pub ok: bool,
    /// The number; absent where the training diverged.
    pub measured: Option<f64>,
    /// The least that passes.
    pub least: Option<f64>,
    /// The most that passes.
    pub most: Option<f64>,
    /// What was seen, in words.
    pub found: String,
    /// What to look at, where it failed.
    pub look_at: Option<String>,
}

impl Finding {
    fn new(
        check: &'static str,
        measured: f64,
        (least, most): (Option<f64>, Option<f64>),
        found: String,
        look_at: impl Into<String>,
    ) -> Self {
        // Not a number is in no interval.
        let ok = least.is_none_or(|least| measured >= least) && most.is_none_or(|most| measured <= most);
        let ok = ok && measured.is_finite();
        let measured = Some(measured).filter(|value| value.is_finite());
        Self { check, ok, measured, least, most, found, look_at: (!ok).then(|| look_at.into()) }
    }
}

impl Subject<'_> {
    /// Makes all checks.
    ///
    /// # Errors
    /// [`Error::Usage`] when the configuration means nothing; [`Error::Device`] when the device fails. A failed check is none.
    pub fn check(&self) -> Result<Vec<Finding>> {
        let (x, y) = self.sample()?;
        Ok(vec![
            self.chance(&x, &y)?,
            self.start(&x, &y)?,
            self.penalty(&x, &y)?,
            self.gradient()?,
            self.overfit()?,
            self.curve()?,
        ])
    }

    /// The net without penalty, dropout and weights of classes.
    fn bare(&self) -> Architecture {
        Architecture { reg: 0.0, dropout: None, class_weights: None, ..self.architecture.clone() }
    }

    fn net(&self, architecture: Architecture, init: Init) -> Result<FullyConnectedNet> {
        FullyConnectedNet::new(self.device, architecture, init, &mut RandomState::folded(self.training.seed))
    }

    fn feed(&self, rows: usize) -> Result<Feed<'_>> {
        let rows = rows.min(self.rows.len());
        let labels = self.labels.map(|labels| &labels[..rows]);
        Feed::new(self.device, self.rows.range(0..rows), labels, self.columns, self.memory_limit)
    }

    /// Some rows as one batch.
    fn sample(&self) -> Result<(Tensor, Tensor)> {
        self.batch(SAMPLE)
    }

    fn batch(&self, rows: usize) -> Result<(Tensor, Tensor)> {
        let mut found = None;
        self.feed(rows)?.each_batch(Order::Given, rows, |x, y| {
            found = Some((x.clone(), y.clone()));
            Ok(false)
        })?;
        found.ok_or_else(|| Error::usage("there is no training row", "give at least one"))
    }

    /// The loss of a guess: of scores that are all equal, or where inputs are reconstructed of zeros. And how many scores a row's loss compares
    /// with its label's; He's initialisation makes outputs of twice the variance of the inputs, which is what a guess loses.
    fn at_chance(&self, x: &[f64]) -> (f64, f64) {
        let classes = self.architecture.outputs as f64;
        match self.architecture.objective {
            Objective::Softmax => (classes.ln(), 1.0),
            Objective::Hinge(delta) => ((classes - 1.0) * delta, classes - 1.0),
            Objective::Reconstruction => {
                let guess = x.iter().map(|x| x * x).sum::<f64>() / (x.len() as f64 / classes).max(1.0);
                (guess, 2.0 * guess)
            }
        }
    }

    /// The largest score, and the mean loss.
    fn loss_at(&self, init: Init, x: &Tensor, y: &Tensor) -> Result<(f64, f64)> {
        let net = self.net(self.bare(), init)?;
        let scores = net.training_pass(x)?.scores;
        let losses = net.losses(&scores, y)?.to_f64()?;
        let largest = scores.to_f64()?.into_iter().fold(0.0, |largest: f64, score| largest.max(score.abs()));
        Ok((largest, losses.iter().sum::<f64>() / losses.len().max(1) as f64))
    }

    /// With scores near 0 nothing is known, and the loss is that of a guess.
    fn chance(&self, x: &Tensor, y: &Tensor) -> Result<Finding> {
        let inputs = x.to_f64()?;
        let (chance, compared) = self.at_chance(&inputs);
        let (largest, loss) = self.loss_at(Init::Normal(SMALL), x, y)?;
        // A difference of two scores moves each term by as much; besides, C terms are rounded.
        let rounding = (self.architecture.outputs as f64 + 8.0) * f64::from(f32::EPSILON) * (chance + 1.0);
        let moved = match self.architecture.objective {
            Objective::Softmax | Objective::Hinge(_) => 2.0 * largest * compared,
            // (f − x)² = x² − 2fx + f², feature by feature.
            Objective::Reconstruction => {
                let rows = (inputs.len() as f64 / self.architecture.outputs as f64).max(1.0);
                let sizes = inputs.iter().map(|x| x.abs()).sum::<f64>() / rows;
                2.0 * largest * sizes + self.architecture.outputs as f64 * largest * largest
            }
        };
        let apart = moved + rounding;
        Ok(Finding::new(
            "chance",
            loss,
            (Some(chance - apart), Some(chance + apart)),
            format!("{loss:.5} with weights near 0; a guess has {chance:.5}"),
            "inputs that are huge or no numbers (data info), or a loss that is wrong on this device (check)",
        ))
    }

    /// A start far above chance wastes the first epochs on unlearning it.
    fn start(&self, x: &Tensor, y: &Tensor) -> Result<Finding> {
        let (chance, compared) = self.at_chance(&x.to_f64()?);
        let (_, loss) = self.loss_at(self.init, x, y)?;
        Ok(Finding::new(
            "start",
            loss,
            (None, Some(chance + START * compared)),
            format!("{loss:.3} with the weights that training starts from"),
            "weights that start too large for these inputs: --init he, or --preprocess center or standardize",
        ))
    }

    /// The loss rises by the penalty, no more and no less.
    fn penalty(&self, x: &Tensor, y: &Tensor) -> Result<Finding> {
        let form = self.architecture.reg_form;
        let net = self.net(self.bare(), Init::He)?;
        let without = net.clone().loss(x, y)?.0.value()?;
        let with = net.clone().with_reg(1.0, form).loss(x, y)?.0.value()?;
        let squares: Vec<f64> =
            net.parameters.weights()?.iter().map(sum_of_squares).collect::<Result<_>>()?;
        let penalty = form.factor(1.0) * squares.iter().sum::<f64>();
        let name = if form == RegForm::Half { "½·ΣW²" } else { "ΣW²" };
        Ok(Finding::new(
            "penalty",
            (with - without) / penalty,
            (Some(1.0 - PENALTY), Some(1.0 + PENALTY)),
            format!("λ = 1 takes the loss from {without:.3} to {with:.3}; {name} = {penalty:.3}"),
            "the L2 penalty: --reg-form, and the reductions on this device (check)",
        ))
    }

    /// The gradient of a net of this kind, small enough to check every derivative.
    fn gradient(&self) -> Result<Finding> {
        let options = Options { tolerance: RIGHT, ..Options::default() };
        let problem = Problem::net(&self.architecture, self.training.seed);
        let findings = problem.check(self.device, options)?;
        let (mut worst, mut numbers, mut kinks) = (&findings[0], 0, 0);
        for finding in &findings {
            numbers += finding.numbers;
            kinks += finding.kinks.len();
            if (!finding.ok, finding.error) > (!worst.ok, worst.error) {
                worst = finding;
            }
        }
        let error = worst.error;
        let mut found = format!("{numbers} derivatives, {kinks} at kinks, relative error up to {error:.1e}");
        if let Some(error) = worst.device_error {
            found += &format!("; on the device {error:.1e}");
        }
        let look_at = format!(
            "{}: analytic {:e}, numeric {:e}; gradcheck checks layer by layer",
            worst.at, worst.analytic, worst.numeric
        );
        let mut finding =
            Finding::new("gradient", error, (None, Some(options.tolerance)), found, look_at.clone());
        // The device's error has an allowance of its own.
        if !worst.ok {
            (finding.ok, finding.look_at) = (false, Some(look_at));
        }
        Ok(finding)
    }

    /// A few rows must be learnt by heart by any net that can learn at all.
    fn overfit(&self) -> Result<Finding> {
        let rule = match self.training.rule {
            Rule::AdamW { beta1, beta2, epsilon, .. } => {
                Rule::AdamW { beta1, beta2, epsilon, weight_decay: 0.0 }
            }
            rule => rule,
        };
        let training = Training {
            rule,
            schedule: Schedule::Constant,
            warmup: 0,
            batch_size: self.training.batch_size.min(BY_HEART / 2),
            epochs: HEART_EPOCHS,
            max_steps: None,
            patience: None,
            augment: None,
            ..self.training.clone()
        };
        let mut solver = Solver::new(self.net(self.bare(), self.init)?, training)?;
        let (mut rows, mut same) = (self.feed(BY_HEART)?, self.feed(BY_HEART)?);
        let (count, rate) = (rows.len(), self.training.learning_rate);
        // Of what a guess loses, where rows are to be given back.
        let guess = match self.architecture.objective.of_labels() {
            true => None,
            false => Some(self.at_chance(&self.batch(BY_HEART)?.0.to_f64()?).0.max(f64::MIN_POSITIVE)),
        };
        let ended = solver.run_until(&mut rows, &mut same, None, &mut |epoch| match guess {
            Some(guess) => epoch.train_loss <= LEFT * guess,
            None => epoch.train_accuracy == Some(1.0),
        });
        let advice = format!(
            "the learning rate first (--lr {:e} or {:e}), then --init and --hidden; equal images of different classes cannot be learnt",
            rate * 10.0,
            rate / 10.0
        );
        let bounds = if guess.is_some() { (None, Some(LEFT)) } else { (Some(1.0), None) };
        if let Err(Error::Diverged { step, .. }) = ended {
            let found = format!("diverged at step {step}");
            return Ok(Finding::new("overfit", f64::NAN, bounds, found, advice));
        }
        ended?;
        let (epochs, steps) = (solver.history.epochs.len(), solver.history.losses.len());
        if let Some(guess) = guess {
            let losses = solver.history.epochs.iter().map(|epoch| epoch.train_loss / guess);
            let left = losses.fold(f64::INFINITY, f64::min);
            let found = format!(
                "{:.1} % of a guess's error is left on {count} rows after {epochs} epochs ({steps} steps)",
                100.0 * left
            );
            return Ok(Finding::new(
                "overfit",
                left,
                bounds,
                found,
                advice + ", nor by a code that is too narrow",
            ));
        }
        let accuracies = solver.history.epochs.iter().filter_map(|epoch| epoch.train_accuracy);
        let best = accuracies.fold(0.0, f64::max);
        let found =
            format!("{:.0} % of {count} rows right after {epochs} epochs ({steps} steps)", 100.0 * best);
        Ok(Finding::new("overfit", best, bounds, found, advice))
    }

    /// An epoch or two with everything as it will be: the loss must fall.
    fn curve(&self) -> Result<Finding> {
        let mut rows = self.feed(usize::MAX)?;
        let per_epoch = rows.batches(self.training.batch_size).max(1);
        let epochs = CURVE.0.div_ceil(per_epoch).max(2);
        let steps = (epochs * per_epoch).min(CURVE.1);
        let training = Training {
            // In so short a run a longer one would be all there is.
            warmup: self.training.warmup.min(steps / 10),
            epochs,
            max_steps: Some(steps),
            patience: None,
            ..self.training.clone()
        };
        let mut solver = Solver::new(self.net(self.architecture.clone(), self.init)?, training)?;
        let ended = solver.run(&mut rows, &mut self.feed(SAMPLE)?, None, &mut |_, _| Ok(()));
        let rate = self.training.learning_rate;
        let least = (Some(FALL), None);
        if let Err(Error::Diverged { step, .. }) = ended {
            let advice = format!("a learning rate that is too high: --lr {:e}", rate / 10.0);
            return Ok(Finding::new("curve", f64::NAN, least, format!("diverged at step {step}"), advice));
        }
        ended?;
        let losses = &solver.history.losses;
        // A quarter of the run at each end.
        let window = (losses.len() / 4).max(1);
        let (first, before) = mean_and_error(&losses[..window]);
        let (last, after) = mean_and_error(&losses[losses.len() - window..]);
        // Losses that do not move at all have no error either.
        let error = before.hypot(after).max(f64::from(f32::EPSILON) * first.abs()).max(f64::MIN_POSITIVE);
        let fall = (first - last) / error;
        let accuracy = solver.history.epochs.last().and_then(|epoch| epoch.train_accuracy);
        let right = accuracy.map(|share| format!("; {:.1} % of training rows right", 100.0 * share));
        let found = format!(
            "{first:.4} to {last:.4} in {} steps, {fall:.1} standard errors{}",
            losses.len(),
            right.unwrap_or_default()
        );
        let advice = match fall < -FALL {
            true => format!("a learning rate that is too high: --lr {:e}", rate / 10.0),
            false => format!(
                "a learning rate that is too low: --lr {:e}; or a penalty that is too strong (--l2)",
                rate * 10.0
            ),
        };
        Ok(Finding::new("curve", fall, least, found, advice))
    }
}

fn sum_of_squares(w: &Tensor) -> Result<f64> {
    Ok(w.to_f64()?.iter().map(|w| w * w).sum())
}

/// The mean, and its standard error by the differences of neighbours, in which a trend is no noise (von Neumann 1941).
fn mean_and_error(losses: &[f32]) -> (f64, f64) {
    let n = losses.len() as f64;
    let mean = losses.iter().copied().map(f64::from).sum::<f64>() / n;
    let squares = losses.windows(2).map(|pair| f64::from(pair[1] - pair[0]).powi(2)).sum::<f64>();
    let variance = squares / (2.0 * (n - 1.0).max(1.0));
    (mean, (variance / n).sqrt())
}
