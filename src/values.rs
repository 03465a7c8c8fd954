//! Elements on the host that tensors share.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// A range of memory that other tensors may share. Clones share it; a change is made in a copy where anything else sees the memory.
#[derive(Debug, Clone)]
pub(crate) struct Values<T> {
    all: Arc<Vec<T>>,
    range: Range<usize>,
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(all: Vec<T>) -> Self {
        Self { range: 0..all.len(), all: Arc::new(all) }
    }
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.range.clone()]
    }
}

impl<T: Clone> Values<T> {
    /// The part from `start` with `len` elements, sharing the memory. The caller has checked both.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        let start = self.range.start + start;
        Self { all: Arc::clone(&self.all), range: start..start + len }
    }

    /// The elements, to be changed; in a copy where the memory is shared.
    pub(crate) fn make_mut(&mut self) -> &mut [T] {
        if Arc::strong_count(&self.all) != 1 {
            *self = self.to_vec().into();
        }
        &mut Arc::make_mut(&mut self.all)[self.range.clone()]
    }
}

/// Cuts ascending `ranges` that do not overlap out of a slice.
pub(crate) fn cut<T, const N: usize>(all: &mut [T], ranges: [Range<usize>; N]) -> [&mut [T]; N] {
    let (mut rest, mut at) = (all, 0);
    ranges.map(|range| {
        let (part, after) = std::mem::take(&mut rest)[range.start - at..].split_at_mut(range.len());
        (rest, at) = (after, range.end);
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_shares_memory_until_one_of_both_changes() {
        let mut whole = Values::from(vec![1, 2, 3, 4]);
        let mut part = whole.part(1, 2).part(1, 1);
        assert_eq!((part.as_ptr(), &part[..]), (whole[2..].as_ptr(), &[3][..]));
        whole.make_mut()[2] = 9;
        assert_eq!((&part[..], &whole[..]), (&[3][..], &[1, 2, 9, 4][..]));
        part.make_mut()[0] = 7;
        assert_eq!((&part[..], &whole[..]), (&[7][..], &[1, 2, 9, 4][..]));
        let before = whole.as_ptr();
        drop(part);
        whole.make_mut()[0] = 5;
        assert_eq!((whole.as_ptr(), whole[0]), (before, 5));
    }

    #[test]
    fn cuts_are_the_ranges() {
        let mut all = [0, 1, 2, 3, 4, 5];
        let [a, b] = cut(&mut all, [1..3, 5..6]);
        assert_eq!((&a[..], &b[..]), (&[1, 2][..], &[5][..]));
    }
}
