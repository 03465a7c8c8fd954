//! u8 rows: every key is an exact integer.

use rayon::prelude::*;

use super::{AsTheyAre, Best, scan};
use crate::cpu::simd::{Isa, Kernel, LANES, Pack};
use crate::cpu::sweep::{Operands, Packed};

/// The widest rows whose squared distances and products fit 31 bits: 33,025 · 255² < 2³¹.
pub const MAX_BYTE_FEATURES: usize = 33_025;

/// Above every dot product of allowed rows and below the largest 31-bit number.
const DOT_TOP: i32 = i32::MAX - 1;

/// What the key of a pair of u8 rows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteForm {
    /// Σ(q − t)².
    SqEuclidean,
    /// A constant less Σq·t, so that the largest product comes first; [`dot_of_key`] gives the product back.
    Dot,
    /// Σ|q − t|.
    L1,
}

/// The product Σq·t behind a [`ByteForm::Dot`] key.
pub fn dot_of_key(key: u32) -> u32 {
    DOT_TOP.cast_unsigned() - key
}

/// Sums over one u8 row. A fitted index computes them once, so that a query does not pay for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteStats {
    /// Σt.
    pub sum: u32,
    /// Σt².
    pub squares: u32,
}

/// The sums of each row of `rows`, which has `features` (at most [`MAX_BYTE_FEATURES`]) values a row.
pub fn byte_stats(rows: &[u8], features: usize) -> Vec<ByteStats> {
    debug_assert!((1..=MAX_BYTE_FEATURES).contains(&features));
    let row = |row: &[u8]| ByteStats {
        sum: row.iter().map(|&t| u32::from(t)).sum(),
        squares: row.iter().map(|&t| u32::from(u16::from(t) * u16::from(t))).sum(),
    };
    rows.par_chunks_exact(features).with_min_len(64).map(row).collect()
}

/// Queries of u8 values, packed for one form of distance.
#[derive(Debug, Clone)]
pub struct ByteQueries {
    packed: Packed,
    form: ByteForm,
    kernel: &'static Kernel<i32>,
    terms: Vec<[i32; LANES]>,
}

impl ByteQueries {
    /// Packs row-major `queries` of `features` values each, from 1 to [`MAX_BYTE_FEATURES`].
    pub fn new(queries: &[u8], features: usize, form: ByteForm) -> Self {
        Self::with_isa(Isa::best(), queries, features, form)
    }

    /// [`ByteQueries::new`] for scans with the given instruction set.
    pub fn with_isa(isa: Isa, queries: &[u8], features: usize, form: ByteForm) -> Self {
        Self::up_to(u8::MAX, isa, queries, features, form)
    }

    /// [`ByteQueries::with_isa`] where no value of a query or a row exceeds `most`, which some instructions are quicker for. A row with a larger one
    /// gets a wrong key.
    pub fn up_to(most: u8, isa: Isa, queries: &[u8], features: usize, form: ByteForm) -> Self {
        debug_assert!((1..=MAX_BYTE_FEATURES).contains(&features));
        let kernels = isa.kernels();
        let kernel = match form {
            ByteForm::SqEuclidean | ByteForm::Dot if most <= kernels.small => &kernels.small_dot,
            ByteForm::SqEuclidean | ByteForm::Dot => &kernels.byte_dot,
            ByteForm::L1 => &kernels.byte_l1,
        };
        let packed = Packed::bytes(queries, features, kernel.pack);
        let mut terms = vec![[0; LANES]; packed.queries().div_ceil(LANES)];
        if form == ByteForm::SqEuclidean {
            for (term, stats) in terms.as_flattened_mut().iter_mut().zip(byte_stats(queries, features)) {
                *term = stats.squares.cast_signed();
            }
        }
        Self { packed, form, kernel, terms }
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.packed.queries()
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.packed.features()
    }

    /// Calls `with` with what walks over `rows`, `beside` bytes of each query apart. The terms wrap like the sums they belong to; only
    /// the finished key has to fit.
    pub(in crate::cpu) fn over<T>(
        &self,
        rows: &[u8],
        stats: &[ByteStats],
        beside: usize,
        with: impl FnOnce(&Operands<'_, i32, &(dyn Fn(usize) -> i32 + Sync)>) -> T,
    ) -> T {
        debug_assert!(rows.len().is_multiple_of(self.features()));
        debug_assert!(self.form == ByteForm::L1 || stats.len() == rows.len() / self.features());
        let offset = match self.kernel.pack {
            Pack::Quads { offset } => i32::from(offset),
            _ => 0,
        };
        let squared = |row: usize| {
            let stats = stats[row];
            stats.squares.cast_signed().wrapping_sub((2 * offset).wrapping_mul(stats.sum.cast_signed()))
        };
        let product = |row: usize| DOT_TOP - offset * stats[row].sum.cast_signed();
        let (row_term, shift): (&(dyn Fn(usize) -> i32 + Sync), _) = match self.form {
            ByteForm::SqEuclidean => (&squared, 1),
            ByteForm::Dot => (&product, 0),
            ByteForm::L1 => (&|_| 0, 0),
        };
        let (packed, query_terms) = (&self.packed, self.terms.as_slice());
        with(&Operands { kernel: self.kernel, packed, query_terms, rows, row_term, shift, beside })
    }
}

/// Offers the rows of `tile` to the queries' `best`. Keys are exact.
///
/// `tile` holds rows of as many features as the queries, `stats` their [`byte_stats`] (not read for
/// [`ByteForm::L1`]); its rows have the training indices `first_index..`, all below `u32::MAX`.
pub fn scan_bytes(
    queries: &ByteQueries,
    tile: &[u8],
    stats: &[ByteStats],
    first_index: u32,
    best: &mut Best,
) {
    queries.over(tile, stats, 0, |operands| scan(operands, &AsTheyAre, first_index, best));
}
