//! How a run is going: a bar with the time left on a terminal, a line an epoch elsewhere. Both on standard error.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::nn::solver::{Epoch, Event, Solver};

/// Shows events.
pub(super) struct Reporter {
    bar: ProgressBar,
    started: Instant,
    epochs: u64,
    rows: usize,
    /// Numbers that are reconstructed of a row, where none is classified.
    features: Option<f64>,
    terminal: bool,
}

impl Reporter {
    /// For a run of epochs of `per_epoch` steps over `rows` rows.
    pub(super) fn new(solver: &Solver, per_epoch: u64, rows: usize) -> Self {
        let training = solver.training();
        let total = training.steps(per_epoch);
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        // The template is a constant; should it ever be wrong, the plain bar is shown.
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} steps · {per_sec} · {eta} left · {msg}")
        {
            bar.set_style(style);
        }
        bar.set_position(solver.history.losses.len() as u64);
        bar.reset_eta();
        let net = solver.net.architecture();
        let features = (!net.objective.of_labels()).then_some(net.inputs.max(1) as f64);
        Self { bar, started: Instant::now(), epochs: training.epochs, rows, features, terminal }
    }

    /// Shows an event.
    pub(super) fn show(&mut self, _: &Solver, event: &Event<'_>) {
        match event {
            Event::Steps { at, loss } => {
                self.bar.set_position(at.step);
                self.bar.set_message(format!("loss {loss:.4}"));
            }
            Event::Epoch(epoch) => {
                let line = self.line(epoch);
                if self.terminal { self.bar.println(line) } else { output::note(&line) }
            }
        }
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, epoch: &Epoch) -> String {
        let width = self.epochs.to_string().len();
        let mut line = format!("epoch {:>width$}/{}  loss {:.4}", epoch.epoch, self.epochs, epoch.train_loss);
        if let Some(features) = self.features {
            line += &format!("  error {:.4}", epoch.train_loss / features);
            line +=
                &epoch.val_loss.map(|loss| format!("  val error {:.4}", loss / features)).unwrap_or_default();
        }
        if let Some(accuracy) = epoch.train_accuracy {
            line += &format!("  train {:.2} %", 100.0 * accuracy);
        }
        if let (Some(loss), Some(accuracy)) = (epoch.val_loss, epoch.val_accuracy) {
            line += &format!("  val loss {loss:.4}  val {:.2} %", 100.0 * accuracy);
        }
        line += &format!(
            "  {:.0} rows/s  {:.1} s",
            self.rows as f64 / epoch.seconds.max(1e-9),
            self.started.elapsed().as_secs_f64()
        );
        line
    }
}
