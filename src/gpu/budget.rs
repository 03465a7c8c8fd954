//! How much work one submission may hold, so that no driver's watchdog (about 2 s on Windows) resets a slow adapter.

use std::time::Duration;

use super::adapter::Kind;

/// What a submission should take. The estimates of work are rough (a kernel may run ten times slower than the last one on the same
/// count), and the watchdogs allow forty times this.
const TARGET: Duration = Duration::from_millis(50);
/// Shorter submissions measure the latency of the driver rather than the speed of the device.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(5);
/// What one launch costs beside its work (measured: 37 to 73 µs on lavapipe, fewer on GPUs); it says nothing about the speed either.
const LAUNCH: Duration = Duration::from_micros(50);
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
            Kind::Software => 4e9,
        };
        Self { rate }
    }

    /// Work that should take [`TARGET`].
    pub(crate) fn work(&self) -> u64 {
        ((self.rate * TARGET.as_secs_f64()) as u64).max(LEAST_WORK)
    }

    /// Learns that `work` in `launches` took `time`. Moves by bounded steps: one odd kernel or a busy machine must not turn the plan over.
    pub(crate) fn observe(&mut self, work: u64, launches: usize, time: Duration) {
        if work == 0 || time.is_zero() {
            return;
        }
        let sample = work as f64 / time.as_secs_f64();
        let overhead = LAUNCH * u32::try_from(launches).unwrap_or(u32::MAX);
        if sample > self.rate {
            self.rate = (0.5 * (self.rate + sample)).min(2.0 * self.rate);
        } else if time.saturating_sub(overhead) >= SHORTEST_SAMPLE {
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
                    budget.observe(work, 1, Duration::from_secs_f64(work as f64 / true_rate));
                }
                let seconds = budget.work() as f64 / true_rate;
                assert!((0.045..0.056).contains(&seconds), "{kind:?} at {true_rate}: {seconds} s");
            }
        }
    }

    #[test]
    fn short_and_empty_submissions_do_not_slow_it_down() {
        let mut budget = Budget::new(Kind::Software);
        let before = budget.work();
        budget.observe(1000, 1, Duration::from_millis(1));
        budget.observe(1000, 128, Duration::from_millis(8));
        budget.observe(0, 1, Duration::from_secs(1));
        assert_eq!(budget.work(), before);
        for _ in 0..100 {
            budget.observe(1000, 1, Duration::from_secs(1));
        }
        assert_eq!(budget.work(), LEAST_WORK);
    }
}
