//! The k nearest training rows of every query, exactly, without the matrix of all distances.
//!
//! Rows of pixels are searched in integers, which are exact on every device. Other rows are scanned in 32 bit and
//! proven in 64 bit (`certified.rs`), real rows that are pixels in disguise by integers (`lattice.rs`). What a bound on few numbers rules out is not
//! computed (`coarse.rs`, `projected.rs`). Either way the answer is the 64-bit brute force of
//! [`mod@reference::nearest`], ordered by (rank, row): it does not depend on the device, the
//! tiles, the batches, the threads or the memory limit.

mod bytes;
mod certified;
mod coarse;
mod cut;
mod gpu;
mod lattice;
mod neighbors;
mod projected;
mod scan;
mod table;

use std::sync::OnceLock;

use rayon::prelude::*;

use self::bytes::{ByteIndex, byte_form};
use self::certified::Frame;
use self::lattice::Lattice;
pub use self::neighbors::Neighbors;
use self::scan::{Bounding, scan_bytes};
pub use self::table::OP as TABLE_ROW;
use crate::cpu::nearest::ByteForm;
use crate::cpu::{self, exact};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::order;
use crate::profile::span;
use crate::reference;
pub use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};

const OP: &str = "nearest";

/// Host memory for the candidates of one batch of queries.
const CANDIDATE_BYTES: usize = 64 << 20;

/// Queries that the CPU answers in 64 bit at once: each is one pass over the training rows, a frame and its scan about
/// five.
const DIRECT_QUERIES: usize = 4;

/// How many queries were proven by the first scan, and how many had to be searched again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// Queries answered by integers, by the definition itself, or by a 32-bit scan that proved its answer.
    pub at_once: usize,
    /// Queries whose first scan left room for doubt, searched again with a wider margin or directly.
    pub redone: usize,
}

impl std::ops::AddAssign for Certificate {
    fn add_assign(&mut self, other: Self) {
        self.at_once += other.at_once;
        self.redone += other.redone;
    }
}

/// A training set made ready for searching on one device.
///
/// Making one reads every training row once (norms, mean, range); searching it many times does not repeat that.
pub struct Index<'a> {
    device: Device,
    metric: Metric,
    train: RowsRef<'a>,
    plan: Plan<'a>,
    memory_limit: Option<u64>,
}

/// How a training set is searched.
enum Plan<'a> {
    /// The definition, in 64 bit, on one thread.
    Definition,
    /// Exact integers.
    Bytes(ByteIndex<'a>),
    /// Scans with a proof. What they need is made when the first one needs it: it reads every row.
    Certified {
        /// For 32-bit sums.
        frame: OnceLock<Frame>,
        /// For integers, where the rows lie on a lattice.
        lattice: OnceLock<Option<Lattice>>,
    },
}

impl<'a> Index<'a> {
    /// Makes `train` (N × D) ready for searching by `metric` on `device`.
    ///
    /// `memory_limit` caps the bytes of device memory that a search uses (host memory for tiles on the CPU); `None`
    /// leaves the choice to the device. Values must be finite: the data readers refuse others.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no row or more than 2³²−1.
    pub fn new(
        device: &Device,
        metric: Metric,
        train: RowsRef<'a>,
        memory_limit: Option<u64>,
    ) -> Result<Self> {
        let _span = span("nearest prepare");
        if train.is_empty() {
            return Err(Error::shape(OP, "the training set has no rows", "give at least one training row"));
        }
        if u32::try_from(train.len()).is_err() {
            return Err(Error::shape(
                OP,
                format!("{} training rows, row numbers have 32 bits", train.len()),
                "split the training set into shards and merge their answers",
            ));
        }
        let plan = match device {
            Device::Reference => Plan::Definition,
            Device::Cpu | Device::Gpu(_) => match byte_form(metric, train) {
                Some((form, bytes)) => Plan::Bytes(ByteIndex::new(form, bytes, train.features())),
                None => Plan::Certified { frame: OnceLock::new(), lattice: OnceLock::new() },
            },
        };
        Ok(Self { device: device.clone(), metric, train, plan, memory_limit })
    }

    /// The k nearest training rows of every row of `queries` (Q × D).
    ///
    /// # Errors
    /// [`Error::Shape`] when the feature counts differ, or k is 0 or exceeds the number of training rows;
    /// [`Error::Device`] when the device fails.
    pub fn search(&self, queries: RowsRef<'_>, k: usize) -> Result<(Neighbors, Certificate)> {
        let _span = span("nearest search");
        self.check_features(queries)?;
        if k == 0 || k > self.train.len() {
            return Err(Error::shape(
                OP,
                format!("k is {k}, the training set has {} rows", self.train.len()),
                "choose k between 1 and the number of training rows",
            ));
        }
        let batch = (CANDIDATE_BYTES / (size_of::<u64>() * widened(k, self.train.len()))).max(1);
        let mut pairs = Vec::with_capacity(queries.len() * k);
        let mut certificate = Certificate::default();
        for start in (0..queries.len()).step_by(batch) {
            let queries = queries.range(start..(start + batch).min(queries.len()));
            certificate += self.search_batch(queries, k, &mut pairs)?;
        }
        Ok((Neighbors::from_pairs(self.metric, k, pairs), certificate))
    }

    /// All distances between `queries` (Q × D) and the training rows: Q×N, in the metric's own unit, exact (pixels) or
    /// as the 64-bit definition rounds them. Computed on the host, whatever the device, for there is no use of the
    /// whole matrix but to be written or drawn.
    ///
    /// # Errors
    /// [`Error::Shape`] when the feature counts differ.
    pub fn distances(&self, queries: RowsRef<'_>) -> Result<Vec<f64>> {
        self.check_features(queries)?;
        let integers = match (byte_form(self.metric, self.train), queries.values()) {
            (Some((ByteForm::SqEuclidean, rows)), ValuesRef::U8(queries)) => {
                Some(cpu::pairwise_l2::bytes(queries, rows, self.train.features()))
            }
            (Some((ByteForm::L1, rows)), ValuesRef::U8(queries)) => {
                Some(cpu::pairwise_l1::bytes(queries, rows, self.train.features()))
            }
            _ => None,
        };
        if let Some(integers) = integers {
            return Ok(integers.into_iter().map(|rank| self.metric.distance(f64::from(rank))).collect());
        }
        let ids: Vec<u32> = (0..self.train.len() as u32).collect();
        let each = wide(queries);
        let blocks = each.par_chunks_exact(queries.features()).map(|query| {
            let mut ranks = Vec::with_capacity(ids.len());
            exact::ranks(self.metric, query, self.train, &ids, &mut ranks);
            ranks.into_iter().map(|rank| self.metric.distance(rank)).collect::<Vec<_>>()
        });
        Ok(blocks.collect::<Vec<_>>().concat())
    }

    fn check_features(&self, queries: RowsRef<'_>) -> Result<()> {
        if queries.features() == self.train.features() {
            return Ok(());
        }
        Err(Error::shape(
            OP,
            format!("queries have {} features, training rows {}", queries.features(), self.train.features()),
            "use the same features in the same order for both",
        ))
    }

    fn search_batch(
        &self,
        queries: RowsRef<'_>,
        k: usize,
        pairs: &mut Vec<(f64, u32)>,
    ) -> Result<Certificate> {
        let at_once = Certificate { at_once: queries.len(), redone: 0 };
        match (&self.plan, queries.values()) {
            (Plan::Definition, _) => {
                let train = wide(self.train);
                for query in wide(queries).chunks_exact(queries.features()) {
                    let nearest = reference::nearest::nearest(self.metric, query, &train, k);
                    pairs.extend(nearest.into_iter().map(|(rank, row)| (rank, row as u32)));
                }
                Ok(at_once)
            }
            (Plan::Bytes(index), ValuesRef::U8(bytes)) => {
                let found = scan_bytes(&self.device, index, bytes, k, self.memory_limit)?;
                pairs.extend(found.iter().map(|&key| (index.rank(order::key(key)), order::index(key))));
                Ok(at_once)
            }
            // On the host a few queries are answered while a frame would still be made: by differences, or by the definition.
            _ if queries.len() <= DIRECT_QUERIES
                && matches!(self.device, Device::Cpu)
                && let Some(scan) = self.differences() =>
            {
                self.search_certified(&scan, queries, k, pairs)
            }
            _ if queries.len() <= DIRECT_QUERIES && matches!(self.device, Device::Cpu) => {
                for query in wide(queries).chunks_exact(queries.features()) {
                    pairs.extend(exact::nearest(self.metric, query, self.train, k));
                }
                Ok(at_once)
            }
            // Pixels were prepared for, but these queries are not pixels.
            (Plan::Bytes(_), ValuesRef::F32(_)) => {
                self.search_certified(&Bounding::Frame(&self.frame()), queries, k, pairs)
            }
            (Plan::Certified { frame, lattice }, _) => {
                let lattice =
                    lattice.get_or_init(|| Lattice::new(self.metric, self.train, self.memory_limit)).as_ref();
                let Some((lattice, steps)) =
                    lattice.and_then(|lattice| Some((lattice, lattice.steps_of(queries)?)))
                else {
                    let frame = frame.get_or_init(|| self.frame());
                    return self.search_certified(&Bounding::Frame(frame), queries, k, pairs);
                };
                if let Some(unit) = lattice.exact_unit(&steps) {
                    let found = scan_bytes(&self.device, lattice.index(), &steps.rows, k, self.memory_limit)?;
                    let rank = |key| unit * lattice.index().rank(order::key(key));
                    pairs.extend(found.into_iter().map(|key| (rank(key), order::index(key))));
                    return Ok(at_once);
                }
                self.search_certified(&Bounding::Lattice(lattice, &steps), queries, k, pairs)
            }
        }
    }

    /// A scan of real rows that needs no preparation.
    fn differences(&self) -> Option<Bounding<'_>> {
        match (self.metric, self.train.values()) {
            (Metric::L2 | Metric::SqEuclidean | Metric::L1, ValuesRef::F32(train)) => {
                Some(Bounding::Differences(self.metric, train))
            }
            _ => None,
        }
    }

    fn frame(&self) -> Frame {
        Frame::new(self.metric, self.train, scan::roundings(&self.device, self.train.features()))
    }

    /// Scans, re-ranks, proves; searches again what is not proven. Appends the pairs of all queries in order.
    fn search_certified(
        &self,
        scan: &Bounding<'_>,
        queries: RowsRef<'_>,
        k: usize,
        pairs: &mut Vec<(f64, u32)>,
    ) -> Result<Certificate> {
        let mut answers: Vec<Option<Vec<(f64, u32)>>> = vec![None; queries.len()];
        let mut proven_at_once = None;
        for kept in [k + margin(k), widened(k, self.train.len())] {
            let pending: Vec<usize> = (0..queries.len()).filter(|&query| answers[query].is_none()).collect();
            if pending.is_empty() || kept >= self.train.len() || !scan.usable() {
                break;
            }
            let found = scan.scan(&self.device, queries, &pending, self.train, kept, self.memory_limit)?;
            let _span = span("nearest prove");
            let each = pending.par_iter().zip(&found.bounds).zip(found.rows.par_chunks_exact(kept));
            let proven: Vec<_> = each
                .map(|((&query, &bound), rows)| {
                    let query = wide(queries.range(query..query + 1));
                    let mut ranks = Vec::with_capacity(kept);
                    exact::ranks(self.metric, &query, self.train, rows, &mut ranks);
                    let mut nearest: Vec<(f64, u32)> = ranks.into_iter().zip(rows.iter().copied()).collect();
                    nearest.sort_unstable_by(exact::order);
                    nearest.truncate(k);
                    // Strictly: a row outside with the same rank could have a smaller number.
                    (bound > nearest[k - 1].0).then_some(nearest)
                })
                .collect();
            for (query, nearest) in pending.into_iter().zip(proven) {
                answers[query] = nearest;
            }
            proven_at_once.get_or_insert_with(|| answers.iter().flatten().count());
        }
        for (query, answer) in answers.into_iter().enumerate() {
            pairs.extend(answer.unwrap_or_else(|| {
                exact::nearest(self.metric, &wide(queries.range(query..query + 1)), self.train, k)
            }));
        }
        // Without any scan every query was answered by the definition, which needs no proof.
        let at_once = proven_at_once.unwrap_or(queries.len());
        Ok(Certificate { at_once, redone: queries.len() - at_once })
    }
}

/// Candidates beyond k that a first scan keeps. On centred images of 784 pixels a margin of 6 proves every query at
/// k = 10 and costs one percent in exact re-ranking; larger k meet proportionally more near-ties at their edge.
fn margin(k: usize) -> usize {
    6 + k / 8
}

/// Candidates that the second scan keeps, of the few queries that the first did not prove.
fn widened(k: usize, rows: usize) -> usize {
    (8 * (k + margin(k))).min(rows)
}

fn narrow(rows: RowsRef<'_>) -> Vec<f32> {
    match rows.values() {
        ValuesRef::U8(values) => values.iter().copied().map(f32::from).collect(),
        ValuesRef::F32(values) => values.to_vec(),
    }
}

fn wide(rows: RowsRef<'_>) -> Vec<f64> {
    match rows.values() {
        ValuesRef::U8(values) => values.iter().copied().map(f64::from).collect(),
        ValuesRef::F32(values) => values.iter().copied().map(f64::from).collect(),
    }
}
