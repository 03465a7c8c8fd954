//! The total order of neighbours, (distance, training index), as the plain order of `u64`.
//!
//! A candidate is `key << 32 | index`. All executors exchange candidates in this form, so the k smallest numbers are
//! the k nearest rows, ties included, wherever and in whatever order they were found.

/// A distance whose order can be carried by a `u32` key.
pub trait Ordered: Copy {
    /// The key: `a.key() < b.key()` exactly where `a < b`.
    fn key(self) -> u32;
    /// The distance that has this key.
    fn from_key(key: u32) -> Self;
}

impl Ordered for u32 {
    fn key(self) -> u32 {
        self
    }

    fn from_key(key: u32) -> Self {
        key
    }
}

impl Ordered for i32 {
    fn key(self) -> u32 {
        self.cast_unsigned() ^ 0x8000_0000
    }

    fn from_key(key: u32) -> Self {
        (key ^ 0x8000_0000).cast_signed()
    }
}

/// −0 and +0 are one distance, so they share a key (and come back as +0). Every NaN has the last key of all, whatever
/// its sign: where a computation overflowed, the row is the farthest there is and never a neighbour by accident.
impl Ordered for f32 {
    fn key(self) -> u32 {
        if self.is_nan() {
            return u32::MAX;
        }
        let bits = (self + 0.0).to_bits();
        if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
    }

    fn from_key(key: u32) -> Self {
        Self::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
    }
}

/// The candidate of a training row `index` whose distance has `key`.
pub fn candidate(key: u32, index: u32) -> u64 {
    u64::from(key) << 32 | u64::from(index)
}

/// The key of a candidate's distance.
pub fn key(candidate: u64) -> u32 {
    (candidate >> 32) as u32
}

/// The training index of a candidate.
pub fn index(candidate: u64) -> u32 {
    candidate as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_order_of_the_values_and_come_back() {
        let floats =
            [f32::NEG_INFINITY, f32::MIN, -1.0, -f32::MIN_POSITIVE, -1e-45, 0.0, 1e-45, 1.0, f32::MAX];
        for pair in floats.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
        }
        for value in floats {
            assert_eq!(f32::from_key(value.key()).to_bits(), value.to_bits());
        }
        let integers = [i32::MIN, -7, -1, 0, 1, i32::MAX];
        for pair in integers.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
        }
        for value in integers {
            assert_eq!(i32::from_key(value.key()), value);
        }
        assert_eq!(u32::from_key(7u32.key()), 7);
    }

    #[test]
    fn zeros_are_one_distance_and_nan_is_the_last() {
        assert_eq!((-0.0f32).key(), 0.0f32.key());
        assert!(f32::NAN.key() > f32::INFINITY.key());
        assert_eq!((-f32::NAN).key(), f32::NAN.key());
    }

    #[test]
    fn candidates_order_by_key_and_then_by_index() {
        assert!(candidate(1, u32::MAX) < candidate(2, 0));
        assert!(candidate(2, 3) < candidate(2, 4));
        assert_eq!((key(candidate(5, 6)), index(candidate(5, 6))), (5, 6));
    }
}
