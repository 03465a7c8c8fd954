//! Large arrays of the host, used again. The system hands out fresh memory page by page and cleared, and that takes longer than most
//! operations on it: a result of 16 MiB is 4,096 page faults.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Numbers of an array that is worth keeping: smaller ones the allocator keeps itself.
const LEAST: usize = 1 << 15;
/// Bytes that wait for their next use at most.
const MOST_BYTES: usize = 64 << 20;

/// Arrays that nobody uses, the oldest first.
static KEPT: Mutex<VecDeque<Vec<f32>>> = Mutex::new(VecDeque::new());

/// `n` numbers to be overwritten, all of them: they may be those of an earlier array, and are NaN in debug builds.
pub(crate) fn numbers(n: usize) -> Vec<f32> {
    let mut numbers = taken(n).unwrap_or_default();
    numbers.resize(n, 0.0);
    if cfg!(debug_assertions) {
        numbers.fill(f32::NAN);
    }
    numbers
}

/// The smallest kept array that has room for `n` and not much more.
fn taken(n: usize) -> Option<Vec<f32>> {
    if n < LEAST {
        return None;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |array: &Vec<f32>| (n..=n + n / 4).contains(&array.capacity());
    let (i, _) =
        kept.iter().enumerate().filter(|(_, array)| fits(array)).min_by_key(|(_, array)| array.capacity())?;
    kept.remove(i)
}

/// Takes an array that nobody uses any more.
pub(crate) fn give_back(array: Vec<f32>) {
    if array.capacity() < LEAST {
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push_back(array);
    let mut bytes: usize = kept.iter().map(|array| 4 * array.capacity()).sum();
    while bytes > MOST_BYTES {
        bytes -= kept.pop_front().map_or(bytes, |array| 4 * array.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lengths that no other test uses: tests share what is kept.
    #[test]
    fn an_array_comes_back_for_its_length_and_a_little_less() {
        let n = 3 * LEAST + 17;
        let array = numbers(n);
        let place = array.as_ptr();
        give_back(array);
        let longer = numbers(n + n / 2);
        assert_ne!(longer.as_ptr(), place);
        let again = numbers(n - 5);
        assert_eq!((again.as_ptr(), again.len()), (place, n - 5));
        let another = numbers(n);
        assert_ne!(another.as_ptr(), place);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        for i in 0..8 {
            give_back(Vec::with_capacity(MOST_BYTES / 16 + i));
        }
        give_back(Vec::with_capacity(2 * MOST_BYTES));
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.iter().map(|array| 4 * array.capacity()).sum::<usize>() <= MOST_BYTES);
    }
}
