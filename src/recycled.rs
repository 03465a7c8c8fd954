//! Large arrays of the host, used again. The system hands out fresh memory page by page and cleared, and that takes longer than most
//! operations on it: a result of 16 MiB is 4,096 page faults.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Numbers of an array that is worth keeping: smaller ones the allocator keeps itself.
const LEAST: usize = 1 << 15;
/// Bytes that wait for their next use at most.
const MOST_BYTES: usize = 64 << 20;

/// Arrays that nobody uses, the oldest first.
struct Kept(VecDeque<Vec<f32>>);

/// Those of the process.
static KEPT: Mutex<Kept> = Mutex::new(Kept(VecDeque::new()));

/// `n` numbers to be overwritten, all of them: they may be those of an earlier array, and are NaN in debug builds.
pub(crate) fn numbers(n: usize) -> Vec<f32> {
    let kept = if n < LEAST { None } else { KEPT.lock().unwrap_or_else(PoisonError::into_inner).take(n) };
    let mut numbers = kept.unwrap_or_default();
    numbers.resize(n, 0.0);
    if cfg!(debug_assertions) {
        numbers.fill(f32::NAN);
    }
    numbers
}

/// Takes an array that nobody uses any more.
pub(crate) fn give_back(array: Vec<f32>) {
    if array.capacity() >= LEAST {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).keep(array);
    }
}

impl Kept {
    /// The smallest array that has room for `n` and not much more; of several the last that came back, which caches may still hold.
    fn take(&mut self, n: usize) -> Option<Vec<f32>> {
        let fits = |array: &Vec<f32>| (n..=n + n / 4).contains(&array.capacity());
        let fitting = self.0.iter().enumerate().rev().filter(|(_, array)| fits(array));
        let (i, _) = fitting.min_by_key(|(_, array)| array.capacity())?;
        self.0.remove(i)
    }

    /// Keeps an array, and drops the oldest while there are too many bytes.
    fn keep(&mut self, array: Vec<f32>) {
        self.0.push_back(array);
        let mut bytes = self.bytes();
        while bytes > MOST_BYTES {
            bytes -= self.0.pop_front().map_or(bytes, |array| 4 * array.capacity());
        }
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|array| 4 * array.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_comes_back_for_its_length_and_a_little_less() {
        let (mut kept, n) = (Kept(VecDeque::new()), 100);
        kept.keep(Vec::with_capacity(n));
        assert!(kept.take(n + 1).is_none());
        assert!(kept.take(n * 3 / 4).is_none());
        assert!(kept.take(n - 5).is_some());
        assert!(kept.take(n - 5).is_none());
    }

    #[test]
    fn the_smallest_that_fits_comes_back_and_of_equal_ones_the_last() {
        let mut kept = Kept(VecDeque::new());
        let arrays = [100, 110, 100, 120].map(Vec::with_capacity);
        let last = arrays[2].as_ptr();
        arrays.into_iter().for_each(|array| kept.keep(array));
        let again = kept.take(98).expect("an array");
        assert_eq!(again.as_ptr(), last);
        assert_eq!([98, 98].map(|n| kept.take(n).expect("an array").capacity()), [100, 110]);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut kept = Kept(VecDeque::new());
        for i in 0..8 {
            kept.keep(Vec::with_capacity(MOST_BYTES / 16 + i));
            assert!(kept.bytes() <= MOST_BYTES);
        }
        assert_eq!(kept.0.len(), 3);
        kept.keep(Vec::with_capacity(2 * MOST_BYTES));
        assert_eq!(kept.0.len(), 0);
    }
}
