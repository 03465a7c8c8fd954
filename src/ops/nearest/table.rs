//! The search's row of the table.

use super::{Index, Metric};
use crate::device::Device;
use crate::error::Result;
use crate::ops::{Case, EXACT, Effort, Op, wrong_case};
use crate::reference;
use crate::rng;
use crate::rows::{Rows, Values};
use crate::tolerance::{Worst, compare_exact};

/// The table's row.
pub static OP: Op = Op {
    name: super::OP,
    summary: "the k nearest training rows of every query, proven exact, without the matrix of distances",
    dimensions: &["queries", "rows", "features", "k"],
    tolerance: EXACT,
    shaders: Vec::new,
    flops: |_, s| 2.0 * (s[0] * s[1] * s[2]) as f64,
    bytes: |form, s| {
        let element = if form.ends_with("-u8") { 1 } else { 4 };
        (element * (s[0] + s[1]) * s[2] + 12 * s[0] * s[3]) as f64
    },
    variants: |_| {
        let names = METRICS.iter().map(|(name, _)| name);
        names.flat_map(|name| ["u8", "f32", "unit", "image"].map(|dtype| format!("{name}-{dtype}"))).collect()
    },
    shapes,
    fit,
    timed: &[&[500, 5000, 784, 10]],
    workload: |device, case| {
        let (device, k) = (device.clone(), case.shape[3]);
        let (queries, train, metric) = operands(case)?;
        Ok(Box::new(move || {
            Index::new(&device, metric, train.view(), None)?.search(queries.view(), k).map(drop)
        }))
    },
    check,
};

const METRICS: [(&str, Metric); 5] = [
    ("l2", Metric::L2),
    ("sqeuclidean", Metric::SqEuclidean),
    ("l1", Metric::L1),
    ("cosine", Metric::Cosine),
    ("dot", Metric::Dot),
];

fn shapes(effort: Effort) -> Vec<Vec<usize>> {
    let mut shapes = vec![
        vec![0, 5, 3, 2],
        vec![1, 1, 1, 1],
        vec![5, 64, 1, 64],
        vec![7, 301, 13, 10],
        vec![33, 1031, 65, 17],
    ];
    if effort == Effort::Full {
        shapes.extend([vec![3, 5000, 16, 2100], vec![70, 5003, 784, 10]]);
    }
    shapes
}

fn fit(shape: &mut [usize]) {
    shape[1] = shape[1].max(1);
    shape[2] = shape[2].max(1);
    shape[3] = 1 + (shape[3].max(1) - 1) % shape[1];
}

/// Seeded queries and training rows, and how to search them.
fn operands(case: &Case) -> Result<(Rows, Rows, Metric)> {
    let wrong = || wrong_case(&OP, case);
    let &[queries, rows, features, _] = case.shape.as_slice() else { return Err(wrong()) };
    let (name, dtype) = case.variant.split_once('-').ok_or_else(wrong)?;
    let (_, metric) = *METRICS.iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
    let mut rng = rng::seeded(case.seed);
    let mut draw = |n: usize| match dtype {
        // Few levels, so that distances tie and the order by row is put to the test.
        "u8" => Values::U8(rng::integers(&mut rng, n, 4).into_iter().map(|v| (v * 85) as u8).collect()),
        // Pixels that resemble their neighbours: a large search goes from coarse to fine.
        "image" => {
            let pixels = rng::pixels(&mut rng, n);
            let smooth = |(i, &pixel): (usize, &u8)| pixels[i / 16 * 16] / 2 + pixel / 64;
            Values::U8(pixels.iter().enumerate().map(smooth).collect())
        }
        // Pixels divided by 255, which are searched as the integers they were.
        "unit" => {
            Values::F32(rng::pixels(&mut rng, n).into_iter().map(|pixel| f32::from(pixel) / 255.0).collect())
        }
        _ => Values::F32(rng::reals(&mut rng, n).into_iter().map(|v| v as f32).collect()),
    };
    Ok((Rows::new(draw(queries * features), features)?, Rows::new(draw(rows * features), features)?, metric))
}

fn check(device: &Device, case: &Case) -> Result<Worst> {
    let (queries, train, metric) = operands(case)?;
    let k = case.shape[3];
    let (found, _) = Index::new(device, metric, train.view(), None)?.search(queries.view(), k)?;
    let wide = super::wide(train.view());
    let want: Vec<(f64, usize)> = super::wide(queries.view())
        .chunks_exact(train.features())
        .flat_map(|query| reference::nearest::nearest(metric, query, &wide, k))
        .collect();
    let rows: Vec<f64> = found.rows().iter().copied().map(f64::from).collect();
    let (want_ranks, want_rows): (Vec<f64>, Vec<f64>) =
        want.iter().map(|&(rank, row)| (rank, row as f64)).unzip();
    Ok(compare_exact(&rows, &want_rows).max(compare_exact(found.ranks(), &want_ranks)))
}
