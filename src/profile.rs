//! Where the time of the calling thread goes: named spans, of which exactly one runs at any moment.
//!
//! [`record`] starts the clock. A [`span`] opened inside another one stops that one until it ends, so a span's seconds are its own, those of
//! the spans inside it excluded, and all rows together are the wall time, by construction and not by luck. Outside of [`record`] a span does
//! next to nothing: it looks at a variable of its thread.
//!
//! ```
//! use cs231n_gpu::profile;
//!
//! let (answer, timeline) = profile::record(|| {
//!     let _span = profile::span("question");
//!     42
//! });
//! assert_eq!((answer, timeline.rows[1].name, timeline.rows[1].calls), (42, "question", 1));
//! ```

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The name of the time that no span claims.
pub const REST: &str = "other host";

/// What a thread did between the start and the end of a [`record`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// Seconds from the start to the end.
    pub wall: f64,
    /// One row for each name, [`REST`] first, the others in the order of their first use. Their seconds add up to [`Self::wall`].
    pub rows: Vec<Row>,
}

/// All spans of one name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// The name.
    pub name: &'static str,
    /// How many spans there were.
    pub calls: u64,
    /// What they took together, without the spans inside them.
    pub seconds: f64,
}

/// A clock that charges the time since it was looked at last to the span that ran.
struct Clock {
    started: Instant,
    since: Instant,
    running: usize,
    rows: Vec<(&'static str, u64, Duration)>,
}

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self { started: now, since: now, running: 0, rows: vec![(REST, 0, Duration::ZERO)] }
    }

    /// Lets the span of row `next` run; returns the row of the one that ran.
    fn turn_to(&mut self, next: usize) -> usize {
        let now = Instant::now();
        self.rows[self.running].2 += now - self.since;
        self.since = now;
        std::mem::replace(&mut self.running, next)
    }

    fn enter(&mut self, name: &'static str) -> usize {
        let row = self.rows.iter().position(|row| row.0 == name).unwrap_or_else(|| {
            self.rows.push((name, 0, Duration::ZERO));
            self.rows.len() - 1
        });
        self.rows[row].1 += 1;
        self.turn_to(row)
    }

    fn finish(mut self) -> Timeline {
        self.turn_to(0);
        let row = |&(name, calls, time): &(&'static str, u64, Duration)| Row {
            name,
            calls,
            seconds: time.as_secs_f64(),
        };
        Timeline {
            wall: (self.since - self.started).as_secs_f64(),
            rows: self.rows.iter().map(row).collect(),
        }
    }
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// Runs `work` and returns what it returns, with where the time of this thread went. A recording inside of another one ends that one's
/// account: it comes back with what it had until then.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Timeline) {
    CLOCK.set(Some(Clock::new()));
    let result = work();
    let clock = CLOCK.take().unwrap_or_else(Clock::new);
    (result, clock.finish())
}

/// Charges the time until the result is dropped to `name`.
pub fn span(name: &'static str) -> Span {
    Span { before: CLOCK.with_borrow_mut(|clock| clock.as_mut().map(|clock| clock.enter(name))) }
}

/// The name of the span that runs, where anybody records and it is one.
pub fn running() -> Option<&'static str> {
    CLOCK.with_borrow(|clock| {
        clock.as_ref().filter(|clock| clock.running > 0).map(|clock| clock.rows[clock.running].0)
    })
}

/// A running span; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the span ends where this is dropped"]
pub struct Span {
    /// The row of the span that goes on afterwards, where anybody records.
    before: Option<usize>,
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        CLOCK.with_borrow_mut(|clock| {
            // A span that outlives its recording belongs to no other.
            if let Some(clock) = clock.as_mut().filter(|clock| before < clock.rows.len()) {
                clock.turn_to(before);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    #[test]
    fn spans_keep_their_own_time_and_all_rows_are_the_wall_time() {
        let ((), timeline) = record(|| {
            for _ in 0..2 {
                let _outer = span("outer");
                sleep(4);
                let inner = span("inner");
                assert_eq!(running(), Some("inner"));
                sleep(20);
                drop(inner);
                assert_eq!(running(), Some("outer"));
                sleep(4);
            }
            sleep(3);
            assert_eq!(running(), None);
        });
        let rows: Vec<_> = timeline.rows.iter().map(|row| (row.name, row.calls)).collect();
        assert_eq!(rows, [(REST, 0), ("outer", 2), ("inner", 2)]);
        let [rest, outer, inner] = [0, 1, 2].map(|row: usize| timeline.rows[row].seconds);
        // A sleep takes its time at least; that of the inner span is not in the outer one's.
        assert!(rest >= 0.003 && outer >= 0.016 && inner >= 0.040 && outer < inner, "{timeline:?}");
        assert!((rest + outer + inner - timeline.wall).abs() < 1e-9, "{timeline:?}");
    }

    #[test]
    fn nothing_is_kept_outside_of_a_recording_or_from_another_thread() {
        drop(span("before"));
        let ((), timeline) = record(|| {
            std::thread::spawn(|| drop(span("elsewhere"))).join().expect("a thread");
        });
        assert_eq!(timeline.rows.len(), 1, "{timeline:?}");
        let (outlived, _) = record(|| span("outlives"));
        let ((), timeline) = record(|| drop(outlived));
        assert_eq!(timeline.rows.len(), 1, "{timeline:?}");
    }
}
