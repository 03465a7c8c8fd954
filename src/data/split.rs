//! Which rows are for training and which are held out.

use std::ops::Range;

use rand::Rng;

use crate::error::{Error, Result};
use crate::rng::seeded;

/// `count` contiguous folds of `rows` rows, as `numpy.array_split` makes them and assignment 1 uses them: the first
/// `rows % count` folds have one row more.
///
/// # Errors
/// [`Error::Usage`] with no fold or more folds than rows.
pub fn folds(rows: usize, count: usize) -> Result<Vec<Range<usize>>> {
    if count == 0 || count > rows {
        return Err(Error::usage(
            format!("{rows} rows do not make {count} folds"),
            format!("use 1 to {} folds", rows.max(1)),
        ));
    }
    let (size, longer) = (rows / count, rows % count);
    let start = |fold: usize| fold * size + fold.min(longer);
    Ok((0..count).map(|fold| start(fold)..start(fold + 1)).collect())
}

/// A permutation of 0..`rows` that depends on `seed` alone.
///
/// Fisher–Yates from the end (Durstenfeld 1964): for i from `rows − 1` down to 1, swap places i and j, with j uniform in
/// 0..=i. Each j comes from 64 bits of the ChaCha8 stream of `seed` by Lemire's multiplication with rejection
/// (arXiv:1805.10941), written out here so that no library's next version can change a split.
pub fn permutation(rows: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    shuffle(&mut order, &mut seeded(seed));
    order
}

/// Shuffles as [`permutation`] does, by any generator.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// A uniform number below `bound`.
fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    // The low halves below 2^64 mod bound belong to the results that one more word maps to: reject them.
    let excess = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= excess {
            return (product >> 64) as u64;
        }
    }
}

/// The rows for training and those held out, each in their first order: ⌈`fraction` · `rows`⌉ rows are held out, drawn
/// by `seed`, or the last ones without a seed.
///
/// # Errors
/// [`Error::Usage`] when `fraction` is not at least 0 and below 1.
pub fn holdout(rows: usize, fraction: f64, seed: Option<u64>) -> Result<(Vec<usize>, Vec<usize>)> {
    if !(0.0..1.0).contains(&fraction) {
        return Err(Error::usage(
            format!("a fraction of {fraction} cannot be held out"),
            "give a number from 0 to below 1, like 0.2",
        ));
    }
    // At most all rows: 0.999… · rows may round up to them, and the caller then refuses the empty training set.
    let held = ((fraction * rows as f64).ceil() as usize).min(rows);
    let mut order = seed.map_or_else(|| (0..rows).collect(), |seed| permutation(rows, seed));
    let mut test = order.split_off(rows - held);
    order.sort_unstable();
    test.sort_unstable();
    Ok((order, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_those_of_array_split() {
        assert_eq!(folds(11, 3).unwrap(), [0..4, 4..8, 8..11]);
        assert_eq!(folds(5000, 5).unwrap()[4], 4000..5000);
        assert_eq!(folds(3, 3).unwrap(), [0..1, 1..2, 2..3]);
        assert_eq!(folds(5, 1).unwrap(), std::slice::from_ref(&(0..5)));
        for (rows, count) in [(5, 0), (5, 6), (0, 2), (0, 1)] {
            assert!(matches!(folds(rows, count), Err(Error::Usage { .. })), "{rows} rows, {count} folds");
        }
    }

    #[test]
    fn permutations_are_fixed_by_the_seed() {
        // From a separate implementation of ChaCha8 and of the algorithm above. A change would change every user's split.
        assert_eq!(permutation(10, 231), [8, 2, 6, 0, 1, 4, 9, 3, 5, 7]);
        assert_ne!(permutation(100, 231), permutation(100, 232));
        for rows in [0, 1, 2, 1000] {
            let mut sorted = permutation(rows, 7);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..rows));
        }
    }

    #[test]
    fn every_order_of_three_comes_up_equally_often() {
        let mut seen = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            *seen.entry(permutation(3, seed)).or_insert(0) += 1;
        }
        // 1000 ± 5 standard deviations of a binomial with p = 1/6.
        assert!(seen.len() == 6 && seen.values().all(|n: &i32| (n - 1000).abs() < 145), "{seen:?}");
    }

    #[test]
    fn held_out_rows_keep_their_order_and_cover_all() {
        assert_eq!(holdout(10, 0.2, None).unwrap(), ((0..8).collect(), vec![8, 9]));
        let (train, test) = holdout(101, 0.25, Some(231)).unwrap();
        assert_eq!((train.len(), test.len()), (75, 26));
        assert!(train.is_sorted() && test.is_sorted());
        let mut all = [train, test].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..101));
        assert!(holdout(4, 0.0, Some(1)).unwrap().1.is_empty());
        for fraction in [1.0, -0.1, f64::NAN] {
            assert!(matches!(holdout(4, fraction, None), Err(Error::Usage { .. })), "{fraction}");
        }
    }
}
