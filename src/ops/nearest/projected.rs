//! Long searches by principal directions: a few numbers for every pair, more for those that these let pass, and all values for the few that are left.
//!
//! The bound and its proof are in [`crate::cpu::nearest`] (`projected.rs`). Here is when it pays, for pixels and for real rows.

use std::sync::OnceLock;

use super::bytes::ByteIndex;
use super::certified::Frame;
use super::coarse::{MOST_BYTES, Terms, WORTH, descend, largest, prepare, terms};
use crate::cpu::nearest::{ByteForm, Projection, Refinement, SAMPLE, Sketched, sampled};
use crate::device::Device;
use crate::error::Result;
use crate::profile::span;

/// Queries for each number of a projected row that pay for projecting every training row.
const QUERIES_PER_NUMBER: usize = 16;

/// What rounding into a frame moves a row by at most, as a part of its norm.
const OFF_FRAME: f64 = 4.0 / (1 << 24) as f64;

/// Training rows on few directions, and on fewer of these, which a search makes at the first time that they pay.
#[derive(Default)]
pub(super) struct Projected {
    directions: OnceLock<Option<Vec<Projection>>>,
    /// All rows at each level, and the most that rounding took of one.
    rows: OnceLock<Vec<(ByteIndex<'static>, f64)>>,
}

/// Queries and training rows whose distances are Euclidean.
pub(super) trait Euclidean: Sync {
    /// Where the training rows' projections are kept.
    fn projected(&self) -> &Projected;
    /// Queries, training rows and features.
    fn shape(&self) -> [usize; 3];
    /// Numbers of a row at each level.
    fn widths(&self) -> Vec<usize>;
    /// Bytes of a value.
    fn bytes(&self) -> usize;
    /// What a byte of a row costs in a scan, as a part of what a value costs in a plain scan.
    fn byte(&self) -> f64;
    /// What the norm of a difference is multiplied by where directions are fitted, and what a row may be off by there, as a part of its norm.
    fn scale(&self) -> f64;
    fn off(&self) -> f64;
    /// Writes a query, and a training row, as they are there.
    fn query(&self, query: usize, out: &mut [f32]);
    fn row(&self, row: usize, out: &mut [f32]);
    /// Calls `with` with the finest level, of all training rows or those given.
    fn finest<T>(&self, rows: Option<&[usize]>, with: impl FnOnce(Refinement<'_>) -> T) -> T;
}

/// Numbers of a projected row of so many features: at 784 and 3,072 a scan of twice as many bytes costs what closer looks at half as many rows do.
fn width(features: usize) -> usize {
    (10 * features).isqrt().next_power_of_two()
}

/// So many of `count` rows, evenly spread.
fn spread(most: usize, count: usize) -> Vec<usize> {
    let most = most.min(count);
    (0..most).map(|i| i * count / most).collect()
}

/// `count` rows through all `directions`, one after the other.
fn through(
    directions: &[Projection],
    count: usize,
    off: f64,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<Sketched> {
    let mut levels: Vec<Sketched> = Vec::new();
    for directions in directions {
        levels.push(match levels.last() {
            None => directions.project(count, off, &fill),
            Some(Sketched { rows, .. }) => {
                let width = rows.len() / count.max(1);
                directions.project(count, 0.0, |i, out| widen(&rows[i * width..], out))
            }
        });
    }
    levels
}

/// Directions of a sample of the rows, and of its projections.
fn fit(rows: &impl Euclidean) -> Option<Vec<Projection>> {
    let [_, count, mut features] = rows.shape();
    let ids = spread(SAMPLE, count);
    let mut values = vec![0.0; ids.len() * features];
    values.chunks_exact_mut(features).zip(&ids).for_each(|(out, &id)| rows.row(id, out));
    let mut all = Vec::new();
    for width in rows.widths() {
        let directions = Projection::fit(values.clone(), features, width)?;
        let sketched = directions.project(ids.len(), 0.0, |i, out| {
            out.copy_from_slice(&values[i * features..][..features]);
        });
        values = sketched.rows.into_iter().map(f32::from).collect();
        features = width;
        all.push(directions);
    }
    Some(all)
}

/// The `k` candidates of every query, nearest first, with the keys of the finest level; `None` where a scan of all values is quicker.
pub(super) fn search(
    device: &Device,
    rows: &impl Euclidean,
    k: usize,
    memory_limit: Option<u64>,
) -> Result<Option<Vec<u64>>> {
    let memory = memory_limit.unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let [queries, count, features] = rows.shape();
    let (widths, Some(Terms { projection, look, .. })) = (rows.widths(), terms(device)) else {
        return Ok(None);
    };
    let (widest, last) = (widths[0], widths[widths.len() - 1]);
    let work = queries.saturating_mul(count).saturating_mul(features) as f64;
    if work < projection as f64 * rows.byte()
        || (queries as f64) < (QUERIES_PER_NUMBER * widest) as f64 * rows.byte()
        || widest > features
        || 4 * last > features
        || (count * widths.iter().sum::<usize>()) as u64 > memory
        || (2 * SAMPLE * features * size_of::<f32>()) as u64 > memory / 4
    {
        return Ok(None);
    }
    let projecting = span("nearest project");
    let Projected { directions, rows: all } = rows.projected();
    let (prepared, found) = rayon::join(
        || prepare(device, [queries, count, last]),
        || {
            let directions = directions.get_or_init(|| fit(rows)).as_ref()?;
            let mut gains: Vec<f64> = directions.iter().map(Projection::gain).collect();
            gains[0] *= rows.scale();
            let asked = through(directions, queries, rows.off(), |i, out| rows.query(i, out));
            // Some rows tell whether it pays.
            let ids = spread(sampled(k, count), count);
            let some = through(directions, ids.len(), rows.off(), |i, out| rows.row(ids[i], out));
            let shares = rows.finest(Some(&ids), |finest| {
                let levels = gains.iter().zip(&asked).zip(&some);
                let refinement = levels.fold(finest, |finer, ((gain, asked), some)| {
                    finer.through(*gain, asked.clone(), &some.rows, largest(&some.errors))
                });
                refinement.shares(k, count)
            });
            // A look costs what it reads.
            let row = (features * rows.bytes()) as f64;
            let read = std::iter::once(row).chain(widths.iter().map(|&width| width as f64));
            let looks: f64 = shares.iter().zip(read).map(|(share, read)| share * look * read / row).sum();
            if rows.byte() * last as f64 / features as f64 + looks >= WORTH {
                return None;
            }
            let all = all.get_or_init(|| {
                let levels = through(directions, count, rows.off(), |i, out| rows.row(i, out));
                let indexed =
                    levels.into_iter().zip(&widths).map(|(Sketched { rows, errors, .. }, &width)| {
                        (ByteIndex::new(ByteForm::SqEuclidean, rows, width), largest(&errors))
                    });
                indexed.collect()
            });
            Some((gains, asked, all))
        },
    );
    drop(projecting);
    prepared?;
    let Some((gains, asked, all)) = found else { return Ok(None) };
    rows.finest(None, |finest| {
        let levels = gains.into_iter().zip(asked).zip(all);
        let refinement = levels.fold(finest, |finer, ((gain, asked), (index, error))| {
            finer.through(gain, asked, &index.rows, *error)
        });
        let (coarsest, _) = &all[all.len() - 1];
        descend(device, refinement, coarsest, k, memory_limit).map(Some)
    })
}

/// Pixels as they are.
pub(super) struct Pixels<'a> {
    pub(super) fine: &'a ByteIndex<'a>,
    pub(super) queries: &'a [u8],
}

fn widen(from: &[u8], out: &mut [f32]) {
    out.iter_mut().zip(from).for_each(|(out, &value)| *out = f32::from(value));
}

impl Euclidean for Pixels<'_> {
    fn projected(&self) -> &Projected {
        &self.fine.projected
    }

    fn shape(&self) -> [usize; 3] {
        let features = self.fine.features;
        [self.queries.len() / features, self.fine.stats.len(), features]
    }

    fn query(&self, query: usize, out: &mut [f32]) {
        widen(&self.queries[query * self.fine.features..], out);
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        widen(&self.fine.rows[row * self.fine.features..], out);
    }

    fn scale(&self) -> f64 {
        1.0
    }

    fn off(&self) -> f64 {
        0.0
    }

    fn byte(&self) -> f64 {
        1.0
    }

    fn bytes(&self) -> usize {
        1
    }

    fn widths(&self) -> Vec<usize> {
        vec![width(self.fine.features)]
    }

    fn finest<T>(&self, rows: Option<&[usize]>, with: impl FnOnce(Refinement<'_>) -> T) -> T {
        let features = self.fine.features;
        let Some(ids) = rows else {
            return with(Refinement::new(self.fine.form, self.queries, &self.fine.rows, features));
        };
        let some: Vec<u8> =
            ids.iter().flat_map(|&id| &self.fine.rows[id * features..][..features]).copied().collect();
        with(Refinement::new(self.fine.form, self.queries, &some, features))
    }
}

/// Real rows, and the frame in which they are projected.
pub(super) struct Reals<'a> {
    pub(super) frame: &'a Frame,
    pub(super) queries: &'a [f32],
    pub(super) train: &'a [f32],
    pub(super) features: usize,
}

impl Euclidean for Reals<'_> {
    fn projected(&self) -> &Projected {
        self.frame.projected()
    }

    fn shape(&self) -> [usize; 3] {
        [self.queries.len() / self.features, self.train.len() / self.features, self.features]
    }

    fn query(&self, query: usize, out: &mut [f32]) {
        self.frame.place(&self.queries[query * self.features..][..self.features], out);
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        self.frame.place(&self.train[row * self.features..][..self.features], out);
    }

    fn scale(&self) -> f64 {
        self.frame.scale()
    }

    fn off(&self) -> f64 {
        OFF_FRAME
    }

    fn byte(&self) -> f64 {
        0.5
    }

    fn bytes(&self) -> usize {
        size_of::<f32>()
    }

    // A row is so long that to look at half as many bytes first pays by itself.
    fn widths(&self) -> Vec<usize> {
        let width = width(self.features);
        vec![4 * width, width]
    }

    fn finest<T>(&self, rows: Option<&[usize]>, with: impl FnOnce(Refinement<'_>) -> T) -> T {
        let Some(ids) = rows else {
            return with(Refinement::of_floats(self.queries, self.train, self.features));
        };
        let some: Vec<f32> =
            ids.iter().flat_map(|&id| &self.train[id * self.features..][..self.features]).copied().collect();
        with(Refinement::of_floats(self.queries, &some, self.features))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan_all;
    use super::*;
    use crate::cpu;
    use crate::cpu::nearest::Best;
    use crate::order::{self, Ordered};
    use crate::reference::nearest::Metric;
    use crate::rng;
    use crate::rows::{RowsRef, ValuesRef};

    /// Rows of a few waves each, of falling size, and noise; some are there twice, one is far out.
    fn waves(count: usize, features: usize, noise: f64) -> Vec<f32> {
        let waves: Vec<Vec<f64>> = (1..30)
            .map(|wave| {
                let at = |j: usize| {
                    (wave as f64 * (j as f64 + 0.5) / features as f64 * std::f64::consts::PI).cos()
                };
                (0..features).map(at).collect()
            })
            .collect();
        let mut rng = rng::seeded(12);
        let (sizes, rough) = (rng::reals(&mut rng, 30 * count), rng::reals(&mut rng, features + count));
        let mut rows = Vec::with_capacity(count * features);
        for row in 0..count {
            let of = if row % 50 == 7 { row - 7 } else { row };
            let far = if row == 31 { 40.0 } else { 1.0 };
            rows.extend((0..features).map(|j| {
                let each = waves.iter().zip(&sizes[30 * of..]).enumerate();
                let sum: f64 = each.map(|(i, (wave, size))| size * wave[j] / (i + 2) as f64).sum();
                (far * sum + noise * rough[of + j]) as f32
            }));
        }
        rows
    }

    #[test]
    fn long_searches_go_through_directions_and_noise_does_not() {
        let (rows, queries, features, k) = (66_000, 2100, 256, 7);
        let all = waves(rows + queries, features, 0.05);
        let (train, asked) = all.split_at(rows * features);
        let pixels: Vec<u8> = all.iter().map(|x| (128.0 + 60.0 * x).clamp(0.0, 255.0) as u8).collect();
        let (few, few_asked) = pixels.split_at(rows * features);

        let index = ByteIndex::new(ByteForm::SqEuclidean, few, features);
        let found = search(&Device::Cpu, &Pixels { fine: &index, queries: few_asked }, k, None);
        let found = found.expect("a search").expect("pixels are waves");
        assert_eq!(found, scan_all(&Device::Cpu, &index, few_asked, k, None).expect("a search"));

        let view = |values| RowsRef::new(ValuesRef::F32(values), features).expect("whole rows");
        let frame = Frame::new(Metric::L2, view(train), cpu::nearest::roundings(features) + 2);
        let reals = |queries| Reals { frame: &frame, queries, train, features };
        let found = search(&Device::Cpu, &reals(asked), k, None).expect("a search").expect("waves");
        let queries = cpu::nearest::FloatQueries::new(asked, features);
        let mut best = Best::new(queries.len(), k + 3);
        cpu::nearest::scan_floats_squares(&queries, train, 0, &mut best);
        let want = best.finish().candidates;
        for (query, (found, want)) in found.chunks(k).zip(want.chunks(k + 3)).enumerate() {
            // Sums in another order: what is near the last may change places with it.
            let last = f32::from_key(order::key(want[k - 1]));
            let clear = want.iter().filter(|&&of| f32::from_key(order::key(of)) < last * (1.0 - 1e-4));
            for of in clear {
                let there = found.iter().any(|&found| order::index(found) == order::index(*of));
                assert!(there, "query {query} misses row {}", order::index(*of));
            }
        }
        // A query out of the frame's reach has no bound, and lets all rows pass.
        let mut out = asked.to_vec();
        out[features..2 * features].fill(1e38);
        let far = search(&Device::Cpu, &reals(&out), k, None).expect("a search").expect("waves");
        assert_eq!((&far[..k], &far[2 * k..]), (&found[..k], &found[2 * k..]));

        let noise: Vec<f32> =
            rng::reals(&mut rng::seeded(3), rows * features).into_iter().map(|x| x as f32).collect();
        let frame = Frame::new(Metric::L2, view(&noise), cpu::nearest::roundings(features) + 2);
        let rows = Reals { frame: &frame, queries: asked, train: &noise, features };
        assert_eq!(search(&Device::Cpu, &rows, k, None).expect("a search"), None);
        // Too few queries, and too little memory.
        assert_eq!(search(&Device::Cpu, &reals(&asked[..features]), k, None).expect("a search"), None);
        assert_eq!(search(&Device::Cpu, &reals(asked), k, Some(1 << 20)).expect("a search"), None);
    }
}
