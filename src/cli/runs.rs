//! How many runs are going: a bar with the time left on a terminal, a line a run elsewhere. Both on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::output;

/// Shows runs, each of which has an expected number of epochs.
pub(super) struct Runs {
    bar: ProgressBar,
    started: Instant,
    terminal: bool,
    total: u64,
    /// Expected epochs of the runs that are over, and of the one that is going.
    done: u64,
    going: u64,
}

impl Runs {
    /// For runs of `total` epochs together.
    pub(super) fn new(total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        // The template is a constant; should it ever be wrong, the plain bar is shown.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} epochs · {eta} left · {msg}")
        {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now(), terminal, total, done: 0, going: 0 }
    }

    /// A run begins that should take so many epochs.
    pub(super) fn begin(&mut self, name: &str, epochs: u64) {
        self.going = epochs;
        self.bar.set_message(name.to_owned());
    }

    /// A run was over before: there is less to do.
    pub(super) fn skip(&mut self, epochs: u64) {
        self.total = self.total.saturating_sub(epochs);
        self.bar.set_length(self.total);
    }

    /// An epoch of it is over.
    pub(super) fn epoch(&self) {
        if self.bar.position() < self.done + self.going {
            self.bar.inc(1);
        }
    }

    /// It is over, perhaps early: `line` says how it went.
    pub(super) fn end(&mut self, line: &str) {
        self.done += std::mem::take(&mut self.going);
        self.bar.set_position(self.done);
        if self.terminal {
            self.bar.println(line);
            return;
        }
        let left = self.total.saturating_sub(self.done);
        let seconds = self.started.elapsed().as_secs_f64() * left as f64 / self.done.max(1) as f64;
        match left {
            0 => output::note(line),
            _ => output::note(&format!("{line}  {} left", HumanDuration(Duration::from_secs_f64(seconds)))),
        }
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
