//! Elements on the host that tensors share.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::recycled;

/// What a tensor's elements can be on the host.
pub(crate) trait Element: Clone {
    /// Takes memory that nobody uses any more.
    fn give_back(_: Vec<Self>) {}
}

impl Element for f64 {}

impl Element for f32 {
    fn give_back(array: Vec<Self>) {
        recycled::give_back(array);
    }
}

/// Elements whose memory is used again.
#[derive(Debug)]
struct Memory<T: Element>(Vec<T>);

impl<T: Element> Drop for Memory<T> {
    fn drop(&mut self) {
        T::give_back(std::mem::take(&mut self.0));
    }
}

/// A range of memory that other tensors may share. Clones share it; a change is made in a copy where anything else sees the memory.
#[derive(Debug, Clone)]
pub(crate) struct Values<T: Element> {
    all: Arc<Memory<T>>,
    range: Range<usize>,
}

impl<T: Element> From<Vec<T>> for Values<T> {
    fn from(all: Vec<T>) -> Self {
        Self { range: 0..all.len(), all: Arc::new(Memory(all)) }
    }
}

impl<T: Element> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all.0[self.range.clone()]
    }
}

impl<T: Element> Values<T> {
    /// The part from `start` with `len` elements, sharing the memory. The caller has checked both.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        let start = self.range.start + start;
        Self { all: Arc::clone(&self.all), range: start..start + len }
    }

    /// The elements, to be changed; in a copy where the memory is shared.
    pub(crate) fn make_mut(&mut self) -> &mut [T] {
        if Arc::get_mut(&mut self.all).is_none() {
            *self = self.to_vec().into();
        }
        let range = self.range.clone();
        // Just made where it was shared.
        Arc::get_mut(&mut self.all).map_or(&mut [], |all| &mut all.0[range])
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
        let mut whole = Values::from(vec![1.0, 2.0, 3.0, 4.0]);
        let mut part = whole.part(1, 2).part(1, 1);
        assert_eq!((part.as_ptr(), &part[..]), (whole[2..].as_ptr(), &[3.0][..]));
        whole.make_mut()[2] = 9.0;
        assert_eq!((&part[..], &whole[..]), (&[3.0][..], &[1.0, 2.0, 9.0, 4.0][..]));
        part.make_mut()[0] = 7.0;
        assert_eq!((&part[..], &whole[..]), (&[7.0][..], &[1.0, 2.0, 9.0, 4.0][..]));
        let before = whole.as_ptr();
        drop(part);
        whole.make_mut()[0] = 5.0;
        assert_eq!((whole.as_ptr(), whole[0]), (before, 5.0));
    }

    #[test]
    fn cuts_are_the_ranges() {
        let mut all = [0, 1, 2, 3, 4, 5];
        let [a, b] = cut(&mut all, [1..3, 5..6]);
        assert_eq!((&a[..], &b[..]), (&[1, 2][..], &[5][..]));
    }
}
