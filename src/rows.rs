//! Rows of features on the host: what the data readers produce and the classifiers consume.
//!
//! Pixels stay `u8` from disk to kernel (a quarter of the memory, and integer distances are exact); everything else
//! is `f32`. Both kinds are row-major and contiguous, in memory or mapped from a file that may be larger than memory.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Owned values of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Pixels, 0..=255.
    U8(Vec<u8>),
    /// Any finite numbers.
    F32(Vec<f32>),
}

/// Borrowed values of a matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValuesRef<'a> {
    /// Pixels, 0..=255.
    U8(&'a [u8]),
    /// Any finite numbers.
    F32(&'a [f32]),
}

/// `len` rows of `features` values each, row-major, in memory or mapped from a file.
#[derive(Debug, Clone)]
pub struct Rows {
    storage: Storage,
    len: usize,
    features: usize,
}

#[derive(Debug, Clone)]
enum Storage {
    Owned(Values),
    /// Bytes of a mapped file; with `floats`, they are little-endian `f32` and aligned, as [`Rows::mapped`] has checked.
    Mapped {
        map: Arc<Mmap>,
        span: Range<usize>,
        floats: bool,
    },
}

/// `len` rows of `features` values each, row-major, borrowed: a copyable view, whole or a range of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowsRef<'a> {
    values: ValuesRef<'a>,
    len: usize,
    features: usize,
}

impl Rows {
    /// Takes `values` as rows of `features` values.
    ///
    /// # Errors
    /// [`Error::Shape`] when `features` is 0 or does not divide the number of values.
    pub fn new(values: Values, features: usize) -> Result<Self> {
        let count = match &values {
            Values::U8(v) => v.len(),
            Values::F32(v) => v.len(),
        };
        let len = row_count(count, features)?;
        Ok(Self { storage: Storage::Owned(values), len, features })
    }

    /// Bytes `span` of a mapped file as rows of `u8`, or of `f32` with `floats`. `None` when the span is outside the file,
    /// not aligned, or no whole number of rows: the values must then be read instead.
    pub(crate) fn mapped(map: Arc<Mmap>, span: Range<usize>, floats: bool, features: usize) -> Option<Self> {
        let bytes = map.get(span.clone())?;
        let count = if floats { bytemuck::try_cast_slice::<u8, f32>(bytes).ok()?.len() } else { bytes.len() };
        let len = row_count(count, features).ok()?;
        Some(Self { storage: Storage::Mapped { map, span, floats }, len, features })
    }

    /// Whether the values are mapped from a file, so that they need not fit in memory.
    pub fn is_mapped(&self) -> bool {
        matches!(self.storage, Storage::Mapped { .. })
    }

    /// All rows, borrowed.
    pub fn view(&self) -> RowsRef<'_> {
        let values = match &self.storage {
            Storage::Owned(Values::U8(v)) => ValuesRef::U8(v),
            Storage::Owned(Values::F32(v)) => ValuesRef::F32(v),
            Storage::Mapped { map, span, floats: true } => {
                ValuesRef::F32(bytemuck::cast_slice(&map[span.clone()]))
            }
            Storage::Mapped { map, span, floats: false } => ValuesRef::U8(&map[span.clone()]),
        };
        RowsRef { values, len: self.len, features: self.features }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of values in a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Keeps the first `len` rows (all of them when there are fewer).
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let count = self.len * self.features;
        match &mut self.storage {
            Storage::Owned(Values::U8(v)) => v.truncate(count),
            Storage::Owned(Values::F32(v)) => v.truncate(count),
            Storage::Mapped { span, floats, .. } => {
                span.end = span.start + count * if *floats { 4 } else { 1 }
            }
        }
    }

    /// The rows named by `order`, in that order, as a new matrix. Indices must be below [`Rows::len`].
    pub fn gather(&self, order: &[usize]) -> Self {
        fn pick<T: Copy>(values: &[T], features: usize, order: &[usize]) -> Vec<T> {
            order.iter().flat_map(|&i| &values[i * features..(i + 1) * features]).copied().collect()
        }
        let values = match self.view().values {
            ValuesRef::U8(v) => Values::U8(pick(v, self.features, order)),
            ValuesRef::F32(v) => Values::F32(pick(v, self.features, order)),
        };
        Self { storage: Storage::Owned(values), len: order.len(), features: self.features }
    }

    /// The same rows as `f32`, which holds every `u8` exactly.
    pub fn into_f32(self) -> Self {
        match self.view().values {
            ValuesRef::F32(_) => self,
            ValuesRef::U8(v) => {
                let values = Values::F32(v.iter().map(|&x| f32::from(x)).collect());
                Self { storage: Storage::Owned(values), len: self.len, features: self.features }
            }
        }
    }
}

/// Equal values in equal rows, wherever they are stored.
impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl<'a> RowsRef<'a> {
    /// Views `values` as rows of `features` values.
    ///
    /// # Errors
    /// [`Error::Shape`] when `features` is 0 or does not divide the number of values.
    pub fn new(values: ValuesRef<'a>, features: usize) -> Result<Self> {
        let count = match values {
            ValuesRef::U8(v) => v.len(),
            ValuesRef::F32(v) => v.len(),
        };
        Ok(Self { values, len: row_count(count, features)?, features })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of values in a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The values, row after row.
    pub fn values(&self) -> ValuesRef<'a> {
        self.values
    }

    /// `"u8"` or `"f32"`.
    pub fn dtype(&self) -> &'static str {
        match self.values {
            ValuesRef::U8(_) => "u8",
            ValuesRef::F32(_) => "f32",
        }
    }

    /// The rows of `range`, which must lie within the view.
    pub fn range(&self, range: Range<usize>) -> Self {
        let span = range.start * self.features..range.end * self.features;
        let values = match self.values {
            ValuesRef::U8(v) => ValuesRef::U8(&v[span]),
            ValuesRef::F32(v) => ValuesRef::F32(&v[span]),
        };
        Self { values, len: range.len(), features: self.features }
    }

    /// Value `column` of row `row` as a 64-bit float, which holds every `u8` and `f32` exactly.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        let i = row * self.features + column;
        match self.values {
            ValuesRef::U8(v) => f64::from(v[i]),
            ValuesRef::F32(v) => f64::from(v[i]),
        }
    }
}

fn row_count(values: usize, features: usize) -> Result<usize> {
    if features == 0 || !values.is_multiple_of(features) {
        return Err(Error::shape(
            "rows",
            format!("{values} values do not make rows of {features}"),
            "give len × features values, with at least one feature",
        ));
    }
    Ok(values / features)
}
