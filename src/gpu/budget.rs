//! How much work one submission may hold, so that no driver's watchdog (about 2 s on Windows) resets a slow adapter.

use std::time::Duration;

use super::adapter::Kind;

/// What a submission should take. The estimates of work are rough (a kernel may run ten times slower than the last one on the same
/// count), and the watchdogs allow forty times this.
const TARGET: Duration = Duration::from_millis(50);
/// Shorter submissions measure the latency of the driver rather than the speed of the device.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(5);
/// No budget below this, however slow a device was once: chunks would cost more in launches than in work.
const LEAST_WORK: u64 = 1 << 24;

/// Work units (floating-point operations or bytes) per second, learned from the submissions.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: f64,
}

impl Budget {
    /// A cautious guess for a device of this kind.
    pub(crate) fn new(kind: Kind) -> Self {
        let rate = match kind {
            Kind::Discrete => 1e12,
            Kind::Integrated | Kind::Virtual | Kind::Other => 1e11,
            // No watchdog guards a driver that runs on the processor, so the guess may be bold.
            Kind::Software => 4e10,
        };
        Self { rate }
    }

    /// Work that should take [`TARGET`].
    pub(crate) fn work(&self) -> u64 {
        ((self.rate * TARGET.as_secs_f64()) as u64).max(LEAST_WORK)
    }

    /// Learns that `work` took `time`. Moves by bounded steps: one odd kernel or a busy machine must not turn the plan over.
    pub(crate) fn observe(&mut self, work: u64, time: Duration) {
        if work == 0 || time.is_zero() {
            return;
        }
        let sample = work as f64 / time.as_secs_f64();
        // Many small launches are slow for their work, and say as little about large ones as a short time does. A submission that took longer
        // than it should counts whatever it held: it is what the budget is there to prevent.
        let telling = work >= self.work() / 4 && time >= SHORTEST_SAMPLE;
        if sample > self.rate {
            self.rate = (0.5 * (self.rate + sample)).min(2.0 * self.rate);
        } else if telling || time > TARGET {
            self.rate = (0.5 * (self.rate + sample)).max(0.25 * self.rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_settles_at_the_target_for_fast_and_slow_devices() {
        for true_rate in [3e8, 2e10, 5e13] {
            for kind in [Kind::Discrete, Kind::Software] {
                let mut budget = Budget::new(kind);
                for _ in 0..60 {
                    let work = budget.work();
                    budget.observe(work, Duration::from_secs_f64(work as f64 / true_rate));
                }
                let seconds = budget.work() as f64 / true_rate;
                assert!((0.045..0.056).contains(&seconds), "{kind:?} at {true_rate}: {seconds} s");
            }
        }
    }

    #[test]
    fn short_small_and_empty_submissions_do_not_slow_it_down() {
        let mut budget = Budget::new(Kind::Software);
        let before = budget.work();
        budget.observe(before / 20, Duration::from_millis(4));
        for work in [1, 1000, before / 5] {
            budget.observe(work, TARGET);
        }
        budget.observe(0, Duration::from_secs(1));
        assert_eq!(budget.work(), before);
        for _ in 0..100 {
            budget.observe(1000, Duration::from_secs(1));
        }
        assert_eq!(budget.work(), LEAST_WORK);
    }
}
