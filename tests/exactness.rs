//! Data that makes other searches return wrong neighbours. Each must give the 64-bit brute force, ordered by
//! (rank, row), on the CPU and on the GPU, whatever the tiles.

mod common;

use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::nearest::{Certificate, Index, Metric, Neighbors};
use cs231n_gpu::rng;
use cs231n_gpu::rows::{Rows, Values};
use cs231n_gpu::{Device, reference};

const METRICS: [Metric; 5] = [Metric::L2, Metric::SqEuclidean, Metric::L1, Metric::Cosine, Metric::Dot];

/// Small tiles: neighbours come from many of them, and the last is ragged.
const TILED: Option<u64> = Some(1 << 20);

fn devices() -> Vec<Device> {
    let gpu = common::open(Options { poison: true, ..Options::default() }).map(Device::Gpu);
    [Device::Cpu].into_iter().chain(gpu).collect()
}

fn floats(values: Vec<f32>, features: usize) -> Rows {
    Rows::new(Values::F32(values), features).expect("whole rows")
}

fn pixels(values: Vec<u8>, features: usize) -> Rows {
    Rows::new(Values::U8(values), features).expect("whole rows")
}

fn noise(seed: u64, n: usize) -> Vec<f32> {
    rng::reals(&mut rng::seeded(seed), n).into_iter().map(|v| v as f32).collect()
}

fn wide(rows: &Rows, row: usize) -> Vec<f64> {
    (0..rows.features()).map(|column| rows.view().at(row, column)).collect()
}

/// Compares every query with the definition, bit for bit; returns the certificates by device.
///
/// The CPU answers a handful of queries without any scan, so they come once alone and once repeated to many.
fn assert_exact(name: &str, train: &Rows, queries: &Rows, k: usize, metrics: &[Metric]) -> Vec<Certificate> {
    if queries.len() < 6 {
        let few: Vec<usize> = (0..queries.len()).collect();
        assert_exact(name, train, &queries.gather(&few.repeat(6)), k, metrics);
    }
    let all: Vec<f64> = (0..train.len()).flat_map(|row| wide(train, row)).collect();
    let mut certificates = Vec::new();
    for device in devices() {
        for &metric in metrics {
            for limit in [None, TILED] {
                let index = Index::new(&device, metric, train.view(), limit).expect("an index");
                let (found, certificate) = index.search(queries.view(), k).expect("a search");
                for query in 0..queries.len() {
                    let want: Vec<(u64, u32)> =
                        reference::nearest::nearest(metric, &wide(queries, query), &all, k)
                            .into_iter()
                            .map(|(rank, row)| (rank.to_bits(), row as u32))
                            .collect();
                    let got: Vec<(u64, u32)> =
                        found.pairs(query).map(|(rank, row)| (rank.to_bits(), row)).collect();
                    assert_eq!(
                        got,
                        want,
                        "{name}: query {query}, {metric:?} on {}, limit {limit:?}",
                        device.kind()
                    );
                }
                assert_eq!(certificate.at_once + certificate.redone, queries.len());
                certificates.push(certificate);
            }
        }
    }
    certificates
}

#[test]
fn real_rows_on_equal_steps() {
    let features = 37;
    let levels = |seed: u64, n: usize, bound: u32| rng::integers(&mut rng::seeded(seed), n * features, bound);
    let rows =
        |levels: Vec<u32>, value: fn(u32) -> f32| floats(levels.into_iter().map(value).collect(), features);
    let metrics = [Metric::L2, Metric::SqEuclidean, Metric::L1];
    // Few levels make many ties: integers are answered as such, thirds must tie as the 64-bit definition rounds them.
    for (name, bound, value) in [
        ("integers", 3, (|n| n as f32) as fn(u32) -> f32),
        ("halves below zero", 4, |n| n as f32 * 0.5 - 1.0),
        ("thirds", 3, |n| n as f32 / 3.0),
        ("unit pixels", 256, |n| n as f32 / 255.0),
        ("pixels of both signs", 256, |n| n as f32 / 127.5 - 1.0),
        ("far from the origin", 256, |n| 1e6 + n as f32),
    ] {
        let (train, queries) = (rows(levels(3, 900, bound), value), rows(levels(4, 20, bound), value));
        for certificate in assert_exact(name, &train, &queries, 12, &metrics) {
            if bound == 256 || name == "integers" || name == "halves below zero" {
                assert_eq!(certificate.redone, 0, "{name}");
            }
        }
        // Queries off the steps, and beyond their ends.
        for shift in [0.001, -300.0, 1e9] {
            let off = levels(5, 7, bound).into_iter().map(|n| value(n) + shift).collect();
            assert_exact(name, &train, &floats(off, features), 3, &metrics);
        }
    }
    // One training value off the steps.
    let mut values: Vec<f32> = levels(6, 900, 256).into_iter().map(|n| n as f32).collect();
    values[899 * features + 5] = 0.3;
    let queries = rows(levels(7, 20, 256), |n| n as f32);
    assert_exact("one value off", &floats(values, features), &queries, 12, &metrics);
}

#[test]
fn duplicates_and_near_duplicates() {
    let features = 48;
    let base = noise(1, 40 * features);
    let mut values = Vec::new();
    for copy in 0..12u32 {
        // Every fourth copy is the row itself, the others differ in the last bit of one value.
        let mut rows = base.clone();
        if copy % 4 != 0 {
            rows.chunks_exact_mut(features).for_each(|row| row[copy as usize] = row[copy as usize].next_up());
        }
        values.extend(rows);
    }
    assert_exact("duplicates", &floats(values, features), &floats(base, features), 10, &METRICS);
    let base = rng::pixels(&mut rng::seeded(2), 30 * 50);
    let train = base.repeat(9);
    assert_exact("duplicate pixels", &pixels(train, 50), &pixels(base, 50), 13, &METRICS);
}

/// Enough pixels to be searched coarse to fine on a software adapter, with ties wherever a bound could be too tight.
#[test]
fn images_with_twins() {
    let (features, rows, queries) = (784, 4600, 76);
    let shades = rng::pixels(&mut rng::seeded(31), 2000 * 49);
    let image = |row: usize, twin: usize| {
        // Rows are there twice or more, some of them a step brighter in one pixel of each block.
        (0..features).map(move |i| (row * 49 + i / 16, u8::from(twin % 3 == 1 && i % 4 == 3)))
    };
    let values = |of: &dyn Fn(usize) -> (usize, usize), count: usize| {
        let pixel = |(shade, brighter): (usize, u8)| shades[shade] / 2 + brighter;
        (0..count).flat_map(|row| image(of(row).0, of(row).1).map(pixel)).collect()
    };
    let train = values(&|row| (row * 7 % 1999, row / 1999), rows);
    let asked = values(&|query| (query * 13 % 2000, query), queries);
    let metrics = [Metric::L2, Metric::L1];
    assert_exact("images", &pixels(train, features), &pixels(asked, features), 10, &metrics);
}

#[test]
fn a_large_common_offset() {
    let of = |seed, n: usize| noise(seed, n * 16).into_iter().map(|v| 1e4 + v).collect();
    let certificates =
        assert_exact("offset", &floats(of(3, 1500), 16), &floats(of(4, 40), 16), 10, &[Metric::L2]);
    // Centring makes this an easy case: a certificate that never holds would prove nothing.
    assert!(certificates.iter().all(|certificate| certificate.at_once >= 36), "{certificates:?}");
}

#[test]
fn all_true_neighbours_in_one_lane_or_tile() {
    let features = 8;
    for period in [8usize, 16, 32, 64, 128, 256, 1024] {
        let mut values: Vec<u8> = rng::pixels(&mut rng::seeded(5), 3000 * features);
        for value in &mut values {
            *value = 100 + *value / 2;
        }
        for (nth, row) in (3..3000).step_by(period).enumerate() {
            values[row * features..][..features].fill((nth % 60) as u8);
        }
        let query = pixels(vec![0; 3 * features], features);
        let k = 3000usize.div_ceil(period).min(50);
        assert_exact("one lane", &pixels(values, features), &query, k, &[Metric::L2, Metric::L1]);
    }
    let mut values = noise(6, 2000 * features);
    values[..40 * features].iter_mut().for_each(|value| *value = *value * 0.01 + 3.0);
    assert_exact("one tile", &floats(values, features), &floats(vec![3.0; features], features), 40, &METRICS);
}

#[test]
fn all_distances_equal() {
    for rows in [63, 64, 65, 700] {
        let train = floats(vec![0.25; rows * 5], 5);
        let queries = floats(noise(7, 4 * 5), 5);
        assert_exact("equal", &train, &queries, 17, &METRICS);
        let train = pixels(vec![7; rows * 5], 5);
        assert_exact("equal pixels", &train, &pixels(vec![9; 4 * 5], 5), 17, &METRICS);
    }
    // Corners of a cube: many ties, none of them duplicates.
    let corners: Vec<f32> = (0..1024).flat_map(|i| (0..10).map(move |bit| (i >> bit & 1) as f32)).collect();
    let middle = vec![0.5, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
    assert_exact("corners", &floats(corners, 10), &floats(middle, 10), 100, &METRICS);
}

#[test]
fn any_k() {
    let (train, queries) = (noise(8, 2600 * 6), noise(9, 3 * 6));
    for k in [1, 2, 64, 2049, 2599, 2600] {
        assert_exact(
            "any k",
            &floats(train.clone(), 6),
            &floats(queries.clone(), 6),
            k,
            &[Metric::L2, Metric::Cosine],
        );
        let bytes = |values: &[f32]| values.iter().map(|v| ((v + 1.0) * 127.0) as u8).collect::<Vec<_>>();
        assert_exact(
            "any k",
            &pixels(bytes(&train), 6),
            &pixels(bytes(&queries), 6),
            k,
            &[Metric::L2, Metric::Dot],
        );
    }
}

#[test]
fn extreme_pixels() {
    for features in [1, 2, 15, 16, 17, 3072, 33_025] {
        let rows = 24;
        let train: Vec<u8> =
            (0..rows * features).map(|i| if (i / features) % 3 == 0 { 255 } else { 0 }).collect();
        let queries: Vec<u8> = [0u8, 255, 254].iter().flat_map(|&v| vec![v; features]).collect();
        assert_exact("0 and 255", &pixels(train, features), &pixels(queries, features), 11, &METRICS);
    }
    // Wider than 32-bit integers hold: searched like other numbers, still exact.
    let features = 33_026;
    let train: Vec<u8> =
        (0..20 * features).map(|i| if (i / features) % 2 == 0 { 255 } else { (i % 7) as u8 }).collect();
    assert_exact("wide rows", &pixels(train, features), &pixels(vec![0; features], features), 7, &METRICS);
}

#[test]
fn subnormals_and_norms_across_thirty_decades() {
    let features = 12;
    let tiny: Vec<f32> = noise(10, 300 * features).into_iter().map(|v| v * 1e-39).collect();
    let queries: Vec<f32> = noise(11, 4 * features).into_iter().map(|v| v * 1e-39).collect();
    assert_exact("subnormal", &floats(tiny, features), &floats(queries, features), 9, &METRICS);
    let scaled = |seed, rows: usize| -> Vec<f32> {
        let scale = |row: usize| 10f32.powi((row as i32 * 7) % 31 - 15);
        noise(seed, rows * features).into_iter().enumerate().map(|(i, v)| v * scale(i / features)).collect()
    };
    assert_exact(
        "decades",
        &floats(scaled(12, 400), features),
        &floats(scaled(13, 31), features),
        9,
        &METRICS,
    );
    let largest: Vec<f32> =
        (0..40 * 3).map(|i| if i % 5 == 0 { f32::MAX } else { -f32::MAX / (i + 1) as f32 }).collect();
    assert_exact(
        "largest",
        &floats(largest, 3),
        &floats(vec![f32::MAX, -f32::MAX, 1.0, 0.0, 0.0, 0.0], 3),
        9,
        &METRICS,
    );
}

#[test]
fn single_rows_and_columns() {
    assert_exact("one row", &floats(vec![1.0, 2.0], 2), &floats(noise(14, 6), 2), 1, &METRICS);
    assert_exact("one column", &floats(noise(15, 500), 1), &floats(noise(16, 20), 1), 9, &METRICS);
    assert_exact("one value", &pixels(vec![3], 1), &pixels(vec![0, 3, 255], 1), 1, &METRICS);
    assert_exact(
        "zero rows",
        &floats(vec![0.0; 30], 3),
        &floats(vec![0.0, 0.0, 0.0, 1.0, 2.0, 3.0], 3),
        4,
        &METRICS,
    );
}

#[test]
fn pixels_and_other_numbers_mix() {
    let bytes = rng::pixels(&mut rng::seeded(17), 200 * 20);
    let queries = noise(18, 5 * 20);
    assert_exact("f32 queries", &pixels(bytes.clone(), 20), &floats(queries.clone(), 20), 6, &METRICS);
    assert_exact(
        "u8 queries",
        &floats(noise(19, 200 * 20), 20),
        &pixels(bytes[..100].to_vec(), 20),
        6,
        &METRICS,
    );
}

#[test]
fn more_distances_than_32_bits_count() {
    // 66,000² > 2³². One feature keeps it quick; a sample of the queries is compared with the definition.
    let n = 66_000;
    let train = pixels(rng::pixels(&mut rng::seeded(20), n), 1);
    let all: Vec<f64> = (0..n).map(|row| train.view().at(row, 0)).collect();
    for device in devices() {
        let index = Index::new(&device, Metric::L2, train.view(), None).expect("an index");
        let (found, _) = index.search(train.view(), 3).expect("a search");
        for query in (0..n).step_by(9001) {
            let want = reference::nearest::nearest(Metric::L2, &all[query..=query], &all, 3);
            let got: Vec<(f64, usize)> = found.pairs(query).map(|(rank, row)| (rank, row as usize)).collect();
            assert_eq!(got, want, "query {query} on {}", device.kind());
        }
    }
}

#[test]
fn the_first_j_of_k_are_the_j_nearest() {
    let (train, queries) = (floats(noise(21, 900 * 7), 7), floats(noise(22, 11 * 7), 7));
    for device in devices() {
        let index = Index::new(&device, Metric::L2, train.view(), None).expect("an index");
        let search = |k| -> Neighbors { index.search(queries.view(), k).expect("a search").0 };
        let all = search(900);
        for k in [1, 7, 100] {
            assert_eq!(search(k), all.prefix(k));
        }
    }
}
