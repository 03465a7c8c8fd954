//! Threads that stay awake between two parallel loops.
//!
//! A training step is a chain of a dozen loops that take from 10 µs to a few ms, with a little work of one thread between them. A thread of a rayon
//! pool that finds nothing to do falls asleep within some 10 µs, and to wake it takes 50 to 100 µs, in which a short loop is done by one thread
//! alone. So whoever is about to split a loop calls [`keep`].

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long threads wait for the next loop.
const WAIT: Duration = Duration::from_micros(200);
/// How long a thread that has called [`keep`] counts as one with a chain of loops of its own.
const OWN: Duration = Duration::from_secs(1);

/// When [`keep`] was called last, in ns since [`START`].
static LAST: AtomicU64 = AtomicU64::new(0);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Threads that are awake by [`stay`], or asked to.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is in [`stay`].
    static HERE: Cell<bool> = const { Cell::new(false) };
    /// When this thread called [`keep`].
    static CALLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn now() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// Keeps the other threads of the caller's pool awake for a while, if a loop of so many tasks has work for them; does nothing for a caller that is
/// no thread of one.
pub(super) fn keep(tasks: usize) {
    let Some(caller) = rayon::current_thread_index().filter(|_| tasks > 1) else { return };
    let others = rayon::current_num_threads() - 1;
    if others == 0 {
        return;
    }
    LAST.store(now(), Relaxed);
    // A caller that is itself kept awake is part of somebody's loop.
    if HERE.get() {
        return;
    }
    CALLED.set(Some(Instant::now()));
    if AWAKE.load(Relaxed) >= others {
        return;
    }
    AWAKE.fetch_add(others, Relaxed);
    rayon::spawn_broadcast(move |thread| {
        if thread.index() != caller {
            stay();
            AWAKE.fetch_sub(1, Relaxed);
        }
    });
}

/// Does whatever there is to do until nobody has called [`keep`] for a while. Not where this thread goes through loops of its own and only waits for
/// a part of one of them: it would be held up as long as others have loops.
fn stay() {
    if CALLED.get().is_some_and(|called| called.elapsed() < OWN) || HERE.replace(true) {
        return;
    }
    while now().saturating_sub(LAST.load(Relaxed)) < WAIT.as_nanos() as u64 {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            // Others may want this core.
            std::thread::yield_now();
        }
    }
    HERE.set(false);
}
