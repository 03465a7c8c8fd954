//! Parameters of several nets as those of one: every tensor has the columns of the first net's, then those of the second's, and so on.

use super::{Named, Parameters};
use crate::error::Result;

impl Parameters {
    /// Those of `nets`, which have tensors of the same names and shapes, side by side: D × C of each become D × G·C.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when they differ; [`Error::Device`](crate::Error::Device) when a device fails.
    pub(in crate::nn) fn side_by_side(nets: &[&Self]) -> Result<Self> {
        let Some(first) = nets.first() else { return Self::new(&crate::Device::Cpu, Vec::new(), 0) };
        if let Some(other) = nets.iter().find(|net| !net.is_like(first)) {
            return Err(crate::Error::shape(
                "parameters",
                format!("{} and {} tensors of other names or shapes", first.len(), other.len()),
                "join nets of one architecture",
            ));
        }
        let values = nets.iter().map(|net| net.values()).collect::<Result<Vec<_>>>()?;
        let joined = |(i, (name, shape)): (usize, (&str, &[usize]))| {
            let parts: Vec<&[f64]> = values.iter().map(|net| net[i].as_slice()).collect();
            let mut wide = shape.to_vec();
            wide.iter_mut().rev().take(1).for_each(|columns| *columns *= nets.len());
            (name.to_owned(), wide, join(&parts, width(shape)))
        };
        let tensors = first.shapes().enumerate().map(joined).collect();
        Self::new(&first.device(), tensors, first.weights)
    }

    /// Which of `nets` side by side every number of [`Self::flat`] belongs to; those between tensors belong to none and are given to the first.
    pub(in crate::nn) fn owners(&self, nets: usize) -> Vec<u32> {
        let mut owners = vec![0; self.flat.len()];
        for place in &self.places {
            let (each, all) = (width(&place.shape) / nets, width(&place.shape));
            let own = owners[place.range()].iter_mut().enumerate();
            own.for_each(|(i, owner)| *owner = (i % all / each.max(1)) as u32);
        }
        owners
    }

    /// The tensors of the `net`th of `nets` side by side, from the `values` of [`Self::flat`].
    pub(in crate::nn) fn of_one(&self, values: &[f64], net: usize, nets: usize) -> Vec<Named> {
        let own = |place: &super::Place| {
            let mut narrow = place.shape.clone();
            narrow.iter_mut().rev().take(1).for_each(|columns| *columns /= nets);
            (place.name.clone(), narrow, columns(&values[place.range()], width(&place.shape), net, nets))
        };
        self.places.iter().map(own).collect()
    }
}

/// Columns of a matrix, numbers of a vector.
fn width(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// Matrices of so many columns as one that has all their columns.
pub(in crate::nn) fn join(parts: &[&[f64]], width: usize) -> Vec<f64> {
    let rows = parts.first().map_or(0, |part| part.len() / width.max(1));
    (0..rows)
        .flat_map(|row| parts.iter().flat_map(move |part| &part[row * width..][..width]))
        .copied()
        .collect()
}

/// The columns of the `net`th of `nets` in a matrix of `width` columns.
pub(in crate::nn) fn columns(matrix: &[f64], width: usize, net: usize, nets: usize) -> Vec<f64> {
    let each = width / nets;
    matrix.chunks_exact(width.max(1)).flat_map(|row| &row[net * each..][..each]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn what_is_joined_comes_apart_again() -> Result<()> {
        let net = |start: f64| {
            let count = |n: usize, from: f64| (0..n).map(|i| from + i as f64).collect::<Vec<_>>();
            let named = vec![
                ("W1".to_owned(), vec![2, 3], count(6, start)),
                ("b1".to_owned(), vec![3], count(3, start + 50.0)),
            ];
            Parameters::new(&Device::Cpu, named, 1)
        };
        let (a, b) = (net(0.0)?, net(100.0)?);
        let both = Parameters::side_by_side(&[&a, &b])?;
        assert_eq!(both.get("W1")?.shape(), [2, 6]);
        let rows = [0.0, 1.0, 2.0, 100.0, 101.0, 102.0, 3.0, 4.0, 5.0, 103.0, 104.0, 105.0];
        assert_eq!(both.get("W1")?.to_f64()?, rows);
        assert_eq!(both.owners(2)[..12], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        let flat = both.flat().to_f64()?;
        for (i, net) in [a, b].iter().enumerate() {
            let apart = Parameters::new(&Device::Cpu, both.of_one(&flat, i, 2), 1)?;
            assert!(apart.is_like(net));
            assert_eq!(apart.to_f64()?, net.to_f64()?);
        }
        Ok(())
    }
}
