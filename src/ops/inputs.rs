//! Seeded inputs for checks and timings, and the comparison of several outputs at once.

use rand::Rng;

use crate::device::Device;
use crate::error::Result;
use crate::rng;
use crate::tensor::Tensor;
use crate::tolerance::{Tracked, Worst, compare, compare_exact};

/// A real tensor on a device, with the values that the definition starts from.
pub(super) struct Input {
    /// On the device.
    pub tensor: Tensor,
    /// The same values, exact.
    pub tracked: Vec<Tracked>,
}

impl Input {
    /// These values, which must be exact in `f32`.
    pub(super) fn of(device: &Device, shape: &[usize], values: &[f64]) -> Result<Self> {
        Ok(Self { tensor: Tensor::from_f64(device, shape, values)?, tracked: Tracked::inputs(values) })
    }

    /// Numbers in [−1, 1).
    pub(super) fn reals(device: &Device, rng: &mut impl Rng, shape: &[usize]) -> Result<Self> {
        Self::of(device, shape, &rng::reals(rng, shape.iter().product()))
    }

    /// Numbers in [−1, 1) with the first column or row level.
    pub(super) fn level(
        device: &Device,
        rng: &mut impl Rng,
        shape: [usize; 2],
        level: Level,
    ) -> Result<Self> {
        let mut values = rng::reals(rng, shape[0] * shape[1]);
        level(&mut values, shape[1]);
        Self::of(device, &shape, &values)
    }

    /// Numbers in [`low`, `high`).
    pub(super) fn between(
        device: &Device,
        rng: &mut impl Rng,
        shape: &[usize],
        low: f64,
        high: f64,
    ) -> Result<Self> {
        let unit = rng::reals(rng, shape.iter().product()).into_iter();
        // Rounded to `f32`, so that every executor starts from the same values.
        let values: Vec<f64> =
            unit.map(|u| f64::from((low + (u + 1.0) / 2.0 * (high - low)) as f32)).collect();
        Self::of(device, shape, &values)
    }
}

/// A number that is far from its neighbours of few digits: adding it again and again rounds, and mostly the same way.
const LEVEL: f64 = 0.1f32 as f64;

/// Makes a row or a column of a matrix, given its columns, equal numbers.
pub(super) type Level = fn(&mut [f64], usize);

/// Makes the first row of a matrix equal numbers, such as a background: the roundings of a sum along it do not cancel.
pub(super) fn level_row(values: &mut [f64], columns: usize) {
    values.iter_mut().take(columns).for_each(|value| *value = LEVEL);
}

/// Makes the first column of a matrix equal numbers.
pub(super) fn level_column(values: &mut [f64], columns: usize) {
    values.iter_mut().step_by(columns.max(1)).for_each(|value| *value = LEVEL);
}

/// The worst element of several outputs, each with its definition.
pub(super) fn worst(outputs: &[(&Tensor, Vec<Tracked>)]) -> Result<Worst> {
    outputs.iter().try_fold(Worst::NONE, |worst, (got, want)| Ok(worst.max(compare(&got.to_f64()?, want))))
}

/// The worst element of an output that must equal its definition.
pub(super) fn worst_exact(got: &Tensor, want: &[f64]) -> Result<Worst> {
    Ok(compare_exact(&got.to_f64()?, want))
}
