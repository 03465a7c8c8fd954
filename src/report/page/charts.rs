//! The curves of a run: loss over steps, accuracy over epochs.

use super::html::{counted, escape, figure, percent};
use super::{EpochPoint, Run};
use crate::error::Result;
use crate::report::curve::{Line, lines, thinned_by};
use crate::report::table::thousands;

/// Steps below which losses are not smoothed.
const FEW: usize = 20;

/// A chart, before it is drawn.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What it shows, in words.
    pub(super) summary: String,
    x_label: &'static str,
    y_label: &'static str,
    lines: Vec<Line>,
}

impl Chart {
    /// As a file of its own.
    pub(super) fn svg(&self) -> Result<String> {
        lines(self.title, self.x_label, self.y_label, &self.lines)
    }

    /// As a figure of the page, under a heading; the page's style gives it the page's colours.
    pub(super) fn figure(&self) -> Result<String> {
        let svg = lines("", self.x_label, self.y_label, &self.lines)?;
        let (title, summary) = (self.title, escape(&self.summary));
        let described = format!("<svg class=\"chart\" role=\"img\" aria-label=\"{title}. {summary}\" ");
        let svg = svg.replacen("<svg ", &described, 1);
        Ok(format!("<figure>\n<h3>{title}</h3>\n{svg}<figcaption>{summary}</figcaption>\n</figure>\n"))
    }
}

/// The loss of each step with its running mean, and the validation loss where it is known; of each epoch where steps
/// have none. `None` without a finite number.
pub(super) fn loss(run: &Run<'_>) -> Option<Chart> {
    let validation = |at: fn(&EpochPoint) -> usize| Line {
        name: "validation".into(),
        points: pick(run.epochs, |epoch| epoch.val_loss.map(|loss| (at(epoch) as f64, loss))),
        faint: false,
    };
    let (x_label, over, mut drawn, validation) = if run.losses.iter().any(|loss| loss.is_finite()) {
        let over = counted(run.losses.len(), "step");
        ("step", over, of_steps(run.losses), validation(|epoch| epoch.step))
    } else {
        let points = pick(run.epochs, |epoch| Some((epoch.epoch as f64, epoch.train_loss)));
        let line = Line { name: "training".into(), points, faint: false };
        let over = counted(run.epochs.len(), "epoch");
        ("epoch", over, vec![line], validation(|epoch| epoch.epoch))
    };
    let (first, last) = ends(drawn.last()?)?;
    let mut summary = format!("Training loss from {} to {} over {over}.", figure(first), figure(last));
    if let Some((_, last)) = ends(&validation) {
        summary += &format!(" Validation loss in the end: {}.", figure(last));
        drawn.push(validation);
    }
    Some(Chart { title: "Loss", summary, x_label, y_label: "loss", lines: drawn })
}

/// The accuracy on training rows after each epoch, and on validation rows where there are any. `None` without a finite
/// number.
pub(super) fn accuracy(run: &Run<'_>) -> Option<Chart> {
    let line = |name: &str, accuracy: fn(&EpochPoint) -> Option<f64>| {
        let point = |epoch: &EpochPoint| Some((epoch.epoch as f64, 100.0 * accuracy(epoch)?));
        Line { name: name.into(), points: pick(run.epochs, point), faint: false }
    };
    let training = line("training", |epoch| epoch.train_accuracy);
    let validation = line("validation", |epoch| epoch.val_accuracy);
    let (_, last) = ends(&training)?;
    let mut summary = format!("After the last epoch {} of the training rows are right", share(last));
    let mut lines = vec![training];
    if let Some((_, last)) = ends(&validation) {
        summary += &format!(", and {} of the validation rows", share(last));
        lines.push(validation);
    }
    summary += ".";
    Some(Chart { title: "Accuracy", summary, x_label: "epoch", y_label: "right, %", lines })
}

/// As [`percent`], for text that is escaped later.
fn share(percents: f64) -> String {
    percent(percents / 100.0).replace("&lt;", "<").replace("&gt;", ">")
}

fn pick(epochs: &[EpochPoint], point: impl Fn(&EpochPoint) -> Option<(f64, f64)>) -> Vec<(f64, f64)> {
    epochs.iter().filter_map(point).collect()
}

/// The first and the last finite number of a line.
fn ends(line: &Line) -> Option<(f64, f64)> {
    let mut finite = line.points.iter().map(|point| point.1).filter(|value| value.is_finite());
    let first = finite.next()?;
    Some((first, finite.next_back().unwrap_or(first)))
}

/// Losses of steps, numbered from 1. Single batches scatter, so many of them are drawn faint behind their mean.
fn of_steps(losses: &[f32]) -> Vec<Line> {
    let points = |values: Vec<f64>| (1..).map(f64::from).zip(values).collect();
    let each = points(losses.iter().map(|&loss| f64::from(loss)).collect());
    if losses.len() < FEW {
        return vec![Line { name: "training, each step".into(), points: each, faint: false }];
    }
    let name = match thinned_by(losses.len()) {
        1 => "training, each step".into(),
        several => format!("training, mean of {} steps", thousands(several)),
    };
    let window = (losses.len() / 50).clamp(5, 500);
    let mean = points(running_mean(losses, window));
    vec![
        Line { name, points: each, faint: true },
        Line { name: format!("mean of {} steps", thousands(window)), points: mean, faint: false },
    ]
}

/// The mean of each loss and those before it, `window` in all; of the finite ones among them. NaN where there is none.
fn running_mean(losses: &[f32], window: usize) -> Vec<f64> {
    let finite = |loss: f32| if loss.is_finite() { (f64::from(loss), 1) } else { (0.0, 0) };
    let ends = (1..=losses.len()).map(|end| &losses[end.saturating_sub(window)..end]);
    let means = ends.map(|window| {
        let (sum, count) =
            window.iter().map(|&loss| finite(loss)).fold((0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        sum / f64::from(count)
    });
    means.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_run_over_what_is_finite() {
        let means = running_mean(&[4.0, 2.0, f32::NAN, 6.0, f32::INFINITY, f32::NAN, f32::NAN], 3);
        assert_eq!(means[..6], [4.0, 3.0, 3.0, 4.0, 6.0, 6.0]);
        assert!(means[6].is_nan(), "0 of 0");
    }

    #[test]
    fn few_steps_are_one_line_and_many_a_mean_before_them() {
        assert_eq!(of_steps(&[1.0; 19]).len(), 1);
        let names = |steps| of_steps(&vec![1.0; steps]).into_iter().map(|line| line.name).collect::<Vec<_>>();
        assert_eq!(names(800), ["training, each step", "mean of 16 steps"]);
        assert_eq!(names(80_000), ["training, mean of 100 steps", "mean of 500 steps"]);
        let [each, mean] = &of_steps(&[1.0; 50])[..] else { panic!("two lines") };
        assert!(each.faint && !mean.faint && each.points[0] == (1.0, 1.0));
    }
}
