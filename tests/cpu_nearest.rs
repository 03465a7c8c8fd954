//! The CPU's nearest-neighbour kernels and distance matrices against naive loops, with every instruction set that
//! the machine has.

use std::ops::Range;

use cs231n_gpu::cpu::nearest::{
    Best, ByteForm, ByteQueries, FloatQueries, Sorted, byte_stats, dot_of_key, roundings, scan_bytes,
    scan_floats, scan_floats_l1,
};
use cs231n_gpu::cpu::{pairwise_l1, pairwise_l2, simd::Isa};
use cs231n_gpu::order::{Ordered, candidate, index, key};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FORMS: [ByteForm; 3] = [ByteForm::SqEuclidean, ByteForm::Dot, ByteForm::L1];

/// (queries, rows, features): around the sizes of groups, tiles and steps, and primes.
const SHAPES: [(usize, usize, usize); 14] = [
    (0, 5, 3),
    (3, 0, 4),
    (1, 1, 1),
    (1, 65, 2),
    (2, 64, 3),
    (15, 63, 4),
    (16, 7, 5),
    (17, 8, 7),
    (48, 9, 8),
    (49, 25, 9),
    (63, 31, 13),
    (64, 101, 16),
    (65, 131, 129),
    (113, 211, 257),
];

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(work)
}

fn random_bytes(rng: &mut ChaCha8Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.random()).collect()
}

fn random_floats(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn distance(form: ByteForm, q: &[u8], t: &[u8]) -> i64 {
    let pairs = q.iter().zip(t).map(|(&q, &t)| (i64::from(q), i64::from(t)));
    match form {
        ByteForm::SqEuclidean => pairs.map(|(q, t)| (q - t) * (q - t)).sum(),
        ByteForm::Dot => -pairs.map(|(q, t)| q * t).sum::<i64>(),
        ByteForm::L1 => pairs.map(|(q, t)| (q - t).abs()).sum(),
    }
}

/// Every query's (distance, index), sorted, cut to k.
fn naive(form: ByteForm, queries: &[u8], rows: &[u8], features: usize, k: usize) -> Vec<Vec<(i64, u32)>> {
    let query = |q: &[u8]| {
        let mut all: Vec<(i64, u32)> =
            rows.chunks(features).enumerate().map(|(i, t)| (distance(form, q, t), i as u32)).collect();
        all.sort_unstable();
        all.truncate(k);
        all
    };
    queries.chunks(features).map(query).collect()
}

fn per_query(sorted: &Sorted) -> Vec<&[u64]> {
    let mut rest = sorted.candidates.as_slice();
    let mut lists = Vec::new();
    for &count in &sorted.counts {
        let (list, more) = rest.split_at(count);
        lists.push(list);
        rest = more;
    }
    assert!(rest.is_empty());
    lists
}

fn search(isa: Isa, form: ByteForm, queries: &[u8], rows: &[u8], features: usize, k: usize) -> Sorted {
    let all = 0..rows.len() / features;
    search_tiles(isa, form, queries, rows, features, k, &[all])
}

fn search_tiles(
    isa: Isa,
    form: ByteForm,
    queries: &[u8],
    rows: &[u8],
    features: usize,
    k: usize,
    tiles: &[Range<usize>],
) -> Sorted {
    let packed = ByteQueries::with_isa(isa, queries, features, form);
    let stats = byte_stats(rows, features);
    let mut best = Best::new(packed.len(), k);
    for tile in tiles {
        let values = &rows[tile.start * features..tile.end * features];
        scan_bytes(&packed, values, &stats[tile.clone()], tile.start as u32, &mut best);
    }
    best.finish()
}

fn assert_naive(form: ByteForm, queries: &[u8], rows: &[u8], features: usize, k: usize) {
    let expected = naive(form, queries, rows, features, k);
    for isa in Isa::available() {
        let sorted = search(isa, form, queries, rows, features, k);
        let found: Vec<Vec<(i64, u32)>> = per_query(&sorted)
            .into_iter()
            .map(|list| {
                let distance = |c| match form {
                    ByteForm::Dot => -i64::from(dot_of_key(key(c))),
                    _ => i64::from(key(c)),
                };
                list.iter().map(|&c| (distance(c), index(c))).collect()
            })
            .collect();
        assert_eq!(found, expected, "{isa:?} {form:?}, {features} features, k = {k}");
    }
}

#[test]
fn byte_searches_equal_naive_loops() {
    let mut rng = ChaCha8Rng::seed_from_u64(231);
    for (queries, rows, features) in SHAPES {
        let (q, t) = (random_bytes(&mut rng, queries * features), random_bytes(&mut rng, rows * features));
        for form in FORMS {
            for k in [1, 10, rows.max(1), rows + 7] {
                assert_naive(form, &q, &t, features, k);
            }
        }
    }
}

#[test]
fn byte_keys_are_exact_at_the_ends_of_their_range() {
    for features in [1, 3, 784, 33_025] {
        let rows: Vec<u8> = [0, 255, 254, 1, 255].iter().flat_map(|&v| vec![v; features]).collect();
        let queries: Vec<u8> = [255, 0, 128].iter().flat_map(|&v| vec![v; features]).collect();
        for form in FORMS {
            assert_naive(form, &queries, &rows, features, 5);
        }
    }
}

#[test]
fn products_of_small_values_are_those_of_any() {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let fill = |value: u8, len: usize| vec![value; len];
    for (queries, rows, features) in SHAPES.into_iter().chain([(5, 9, 33_025)]) {
        let (q, t) = (queries * features, rows * features);
        let mut small =
            |len: usize| -> Vec<u8> { random_bytes(&mut rng, len).iter().map(|&v| v / 2).collect() };
        // What is most apart, and what has the largest products, lies at the ends.
        let cases = [
            (small(q), small(t)),
            (fill(127, q), fill(127, t)),
            (fill(0, q), fill(127, t)),
            (fill(127, q), fill(0, t)),
        ];
        for (q, t) in cases {
            let stats = byte_stats(&t, features);
            for form in FORMS {
                for isa in Isa::available() {
                    let packed = ByteQueries::up_to(127, isa, &q, features, form);
                    let mut best = Best::new(packed.len(), 10);
                    scan_bytes(&packed, &t, &stats, 0, &mut best);
                    let want = search(isa, form, &q, &t, features, 10);
                    assert_eq!(best.finish(), want, "{isa:?} {form:?}, {features} features");
                }
            }
        }
    }
}

#[test]
fn ties_go_to_the_lower_index() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let same = vec![9; 5000 * 6];
    let few: Vec<u8> = (0..4000 * 3).map(|_| rng.random_range(0..3)).collect();
    for form in FORMS {
        for k in [1, 10, 100, 2049] {
            assert_naive(form, &random_bytes(&mut rng, 18 * 6), &same, 6, k);
            assert_naive(form, &few[..20 * 3], &few, 3, k);
        }
    }
}

#[test]
fn falling_distances_are_taken_in_one_by_one() {
    // Each row is nearer than all before it, in steps of one along a counter in base 256.
    let rows: Vec<u8> = (0..6000u32).rev().flat_map(|i| [(i >> 8) as u8, 0, 0, i as u8]).collect();
    for k in [1, 10, 100, 2500, 6000] {
        assert_naive(ByteForm::SqEuclidean, &[0; 8], &rows, 4, k);
        assert_naive(ByteForm::L1, &[0; 4], &rows, 4, k);
    }
}

#[test]
fn tiles_and_threads_change_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (queries, rows, features, k) in [(3, 9001, 300, 10), (130, 2003, 37, 100), (700, 1009, 20, 7)] {
        let (q, t) = (random_bytes(&mut rng, queries * features), random_bytes(&mut rng, rows * features));
        let (all, cut) = (0..rows, rows / 3);
        let splits: [&[Range<usize>]; 3] = [&[all], &[0..5, 5..cut, cut..rows], &[cut..rows, 1..cut, 0..1]];
        for isa in Isa::available() {
            for form in FORMS {
                let expected = search(isa, form, &q, &t, features, k);
                for tiles in splits {
                    for threads in [1, 2, 5] {
                        let found = in_pool(threads, || search_tiles(isa, form, &q, &t, features, k, tiles));
                        assert_eq!(found, expected, "{isa:?} {form:?} {tiles:?} {threads} threads");
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_agree_on_a_long_search() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (q, t) = (random_bytes(&mut rng, 100 * 61), random_bytes(&mut rng, 20_000 * 61));
    for form in FORMS {
        let expected = naive(form, &q[..2 * 61], &t, 61, 12);
        let all: Vec<Sorted> = Isa::available().map(|isa| search(isa, form, &q, &t, 61, 12)).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{form:?}");
        for (found, expected) in per_query(&all[0]).into_iter().zip(&expected) {
            assert!(found.iter().map(|&c| index(c)).eq(expected.iter().map(|&(_, i)| i)), "{form:?}");
        }
    }
}

/// What a sum may be off by after n roundings of every term: γₙ times the sum of magnitudes.
fn allowance(n: usize, magnitude: f64) -> f64 {
    let nu = n as f64 * f64::from(f32::EPSILON) / 2.0;
    nu / (1.0 - nu) * magnitude
}

#[test]
fn float_keys_stay_within_their_roundings() {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    for (queries, rows, features) in SHAPES {
        let (q, t) = (random_floats(&mut rng, queries * features), random_floats(&mut rng, rows * features));
        let bias = random_floats(&mut rng, rows);
        for isa in Isa::available() {
            let packed = FloatQueries::with_isa(isa, &q, features);
            let (mut dot, mut l1) = (Best::new(queries, rows), Best::new(queries, rows));
            scan_floats(&packed, &t, &bias, 0, &mut dot);
            scan_floats_l1(&packed, &t, 0, &mut l1);
            let (dot, l1) = (dot.finish(), l1.finish());
            for (query, (dot, l1)) in per_query(&dot).into_iter().zip(per_query(&l1)).enumerate() {
                assert_eq!((dot.len(), l1.len()), (rows, rows));
                let pairs = |c: u64| {
                    let (q, t) = (&q[query * features..], &t[index(c) as usize * features..]);
                    (0..features).map(|i| (f64::from(q[i]), f64::from(t[i])))
                };
                for &c in dot {
                    let bias = f64::from(bias[index(c) as usize]);
                    let exact = bias - pairs(c).map(|(q, t)| q * t).sum::<f64>();
                    let magnitude = bias.abs() + pairs(c).map(|(q, t)| (q * t).abs()).sum::<f64>();
                    let error = (f64::from(f32::from_key(key(c))) - exact).abs();
                    assert!(
                        error <= allowance(roundings(features) + 1, magnitude),
                        "{isa:?} {features}: {error}"
                    );
                }
                for &c in l1 {
                    let exact = pairs(c).map(|(q, t)| (q - t).abs()).sum::<f64>();
                    let error = (f64::from(f32::from_key(key(c))) - exact).abs();
                    assert!(
                        error <= allowance(roundings(features) + 1, exact),
                        "{isa:?} {features}: {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn float_searches_have_the_same_bits_however_they_are_cut() {
    let mut rng = ChaCha8Rng::seed_from_u64(19);
    for (queries, rows, features, k) in [(1, 9001, 300, 16), (3, 4001, 300, 16), (500, 1009, 150, 100)] {
        let (q, t) = (random_floats(&mut rng, queries * features), random_floats(&mut rng, rows * features));
        let bias = random_floats(&mut rng, rows);
        for isa in Isa::available() {
            let packed = FloatQueries::with_isa(isa, &q, features);
            let run = |tiles: &[Range<usize>], threads, l1: bool| {
                in_pool(threads, || {
                    let mut best = Best::new(queries, k);
                    for tile in tiles {
                        let values = &t[tile.start * features..tile.end * features];
                        if l1 {
                            scan_floats_l1(&packed, values, tile.start as u32, &mut best);
                        } else {
                            scan_floats(&packed, values, &bias[tile.clone()], tile.start as u32, &mut best);
                        }
                    }
                    best.finish()
                })
            };
            for l1 in [false, true] {
                let all = [0..3, 3..rows];
                let whole = run(&all, 1, l1);
                assert_eq!(run(&all, 2, l1), whole);
                assert_eq!(run(&[0..7, 7..500, 500..rows], 2, l1), whole);
                assert_eq!(run(&[500..rows, 0..500], 5, l1), whole);
            }
        }
    }
}

#[test]
fn equal_infinite_and_undefined_float_keys_keep_their_order() {
    // Rows of zeros: the key is the bias itself.
    let bias =
        [2.0, f32::NAN, f32::INFINITY, 2.0, f32::NEG_INFINITY, f32::INFINITY, -0.0, 0.0, f32::NAN, 2.0];
    let mut expected: Vec<u64> = bias.iter().enumerate().map(|(i, b)| candidate(b.key(), i as u32)).collect();
    expected.sort_unstable();
    for isa in Isa::available() {
        let queries = FloatQueries::with_isa(isa, &[1.0; 6], 2);
        for k in 1..=10 {
            for split in [10, 3, 5] {
                let mut best = Best::new(3, k);
                scan_floats(&queries, &vec![0.0; 2 * (10 - split)], &bias[split..], split as u32, &mut best);
                scan_floats(&queries, &vec![0.0; 2 * split], &bias[..split], 0, &mut best);
                for list in per_query(&best.finish()) {
                    assert_eq!(list, &expected[..k], "{isa:?} k = {k} split at {split}");
                }
            }
        }
    }
}

#[test]
fn distance_matrices_equal_naive_loops() {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let more = [(2, 3001, 1100), (700, 90, 33)];
    for (queries, rows, features) in SHAPES.into_iter().chain(more) {
        let (q, t) = (random_bytes(&mut rng, queries * features), random_bytes(&mut rng, rows * features));
        let table = |form| -> Vec<i64> {
            let row = |q| t.chunks(features).map(move |t| distance(form, q, t));
            q.chunks(features).flat_map(row).collect()
        };
        let (l2, l1) = (table(ByteForm::SqEuclidean), table(ByteForm::L1));
        let (qf, tf) = (random_floats(&mut rng, q.len()), random_floats(&mut rng, t.len()));
        for isa in Isa::available() {
            let found = pairwise_l2::bytes_with(isa, &q, &t, features);
            assert!(found.iter().map(|&d| i64::from(d)).eq(l2.iter().copied()), "{isa:?} l2");
            let found = pairwise_l1::bytes_with(isa, &q, &t, features);
            assert!(found.iter().map(|&d| i64::from(d)).eq(l1.iter().copied()), "{isa:?} l1");
            let squares = pairwise_l2::direct_with(isa, &qf, &tf, features);
            let absolute = pairwise_l1::floats_with(isa, &qf, &tf, features);
            let expanded = pairwise_l2::expanded(&qf, &tf, features);
            assert_eq!([squares.len(), absolute.len(), expanded.len()], [queries * rows; 3]);
            for i in 0..queries * rows {
                let (q, t) = (&qf[i / rows * features..], &tf[i % rows * features..]);
                let pairs = || (0..features).map(|j| (f64::from(q[j]), f64::from(t[j])));
                let square: f64 = pairs().map(|(q, t)| (q - t).powi(2)).sum();
                let norms: f64 = pairs().map(|(q, t)| q * q + t * t).sum();
                let difference: f64 = pairs().map(|(q, t)| (q - t).abs()).sum();
                let n = roundings(features);
                assert!((f64::from(squares[i]) - square).abs() <= allowance(n + 2, square));
                assert!((f64::from(absolute[i]) - difference).abs() <= allowance(n + 1, difference));
                // The product crate's order of summation is its own: any order has at most `features` roundings.
                assert!((f64::from(expanded[i]) - square).abs() <= allowance(features + 4, 2.0 * norms));
            }
        }
    }
}

#[test]
fn equal_rows_have_distance_zero() {
    let rows = random_floats(&mut ChaCha8Rng::seed_from_u64(29), 50 * 200);
    let far: Vec<f32> = rows.iter().map(|x| x + 1e4).collect();
    let (direct, expanded) = (pairwise_l2::direct(&far, &far, 200), pairwise_l2::expanded(&far, &far, 200));
    for i in 0..50 {
        assert_eq!(direct[i * 51], 0.0);
    }
    assert!(expanded.iter().all(|&d| d >= 0.0));
}
