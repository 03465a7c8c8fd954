//! Training rows of pixels, searched in integers that are exact on every device.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::coarse::Coarse;
use super::projected::Projected;
use crate::cpu::nearest::{ByteForm, ByteStats, MAX_BYTE_FEATURES, byte_stats, dot_of_key};
use crate::reference::nearest::Metric;
use crate::rows::{RowsRef, ValuesRef};

/// The integer form that searches `train` exactly, where there is one, with the pixels.
pub(super) fn byte_form(metric: Metric, train: RowsRef<'_>) -> Option<(ByteForm, &[u8])> {
    let ValuesRef::U8(bytes) = train.values() else { return None };
    let form = match metric {
        Metric::L2 | Metric::SqEuclidean => ByteForm::SqEuclidean,
        Metric::L1 => ByteForm::L1,
        Metric::Dot => ByteForm::Dot,
        // A quotient of integers: its order is proven in 64 bit like that of other numbers.
        Metric::Cosine => return None,
    };
    // Wider rows would overflow 32-bit distances.
    (train.features() <= MAX_BYTE_FEATURES).then_some((form, bytes))
}

/// Pixels ready to be searched in integers.
pub(super) struct ByteIndex<'a> {
    pub(super) form: ByteForm,
    pub(super) rows: Cow<'a, [u8]>,
    pub(super) features: usize,
    pub(super) stats: Vec<ByteStats>,
    /// The rows at a quarter of their size, once a search has asked for them.
    coarse: OnceLock<Option<Box<Coarse>>>,
    /// Their projections.
    pub(super) projected: Box<Projected>,
}

impl<'a> ByteIndex<'a> {
    pub(super) fn new(form: ByteForm, rows: impl Into<Cow<'a, [u8]>>, features: usize) -> Self {
        let rows = rows.into();
        let stats = byte_stats(&rows, features);
        Self { form, rows, features, stats, coarse: OnceLock::new(), projected: Box::default() }
    }

    /// The rows at a quarter of their size, where that bounds their distances.
    pub(super) fn coarse(&self) -> Option<&Coarse> {
        self.coarse.get_or_init(|| Coarse::new(self).map(Box::new)).as_deref()
    }

    /// The rank behind an exact key.
    pub(super) fn rank(&self, key: u32) -> f64 {
        match self.form {
            ByteForm::SqEuclidean | ByteForm::L1 => f64::from(key),
            ByteForm::Dot => 0.0 - f64::from(dot_of_key(key)),
        }
    }
}
