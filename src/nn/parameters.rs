//! Named tensors: the parameters of a net, their gradients, what an optimizer remembers.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Tensors with names, in a fixed order: first the weights, which are regularised, then biases, γ and β, which are not. So all of them laid
/// end to end are one vector whose first elements are the regularised ones.
#[derive(Debug, Clone)]
pub struct Parameters {
    tensors: Vec<(String, Tensor)>,
    weights: usize,
}

impl Parameters {
    /// These tensors, the first `weights` of them regularised.
    pub(super) fn new(tensors: Vec<(String, Tensor)>, weights: usize) -> Self {
        Self { tensors, weights }
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let found = self.tensors.iter().find(|(own, _)| own == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| self.unknown(name))
    }

    /// The tensor called `name`, to be replaced or updated in place.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_mut(&mut self, name: &str) -> Result<&mut Tensor> {
        match self.tensors.iter().position(|(own, _)| own == name) {
            Some(i) => Ok(&mut self.tensors[i].1),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let names: Vec<_> = self.iter().map(|(name, _)| name).collect();
        Error::shape(
            "parameters",
            format!("no tensor is called {name}"),
            format!("choose from {}", names.join(", ")),
        )
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors in order, to be updated in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Tensor)> {
        self.tensors.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The weights: the tensors that are regularised.
    pub fn weights(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors[..self.weights].iter().map(|(_, tensor)| tensor)
    }

    /// How many tensors, from the first on, are weights.
    pub fn weight_count(&self) -> usize {
        self.weights
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Numbers in all tensors.
    pub fn elements(&self) -> usize {
        self.iter().map(|(_, tensor)| tensor.len()).sum()
    }

    /// All numbers on the host, end to end, in one trip.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        let tensors: Vec<_> = self.iter().map(|(_, tensor)| tensor).collect();
        Ok(Tensor::read_all(&tensors)?.concat())
    }

    /// The same numbers on another device.
    ///
    /// # Errors
    /// [`Error::Device`] when a device fails.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let tensors: Vec<_> = self.iter().map(|(_, tensor)| tensor).collect();
        let moved = |((name, tensor), values): (&(String, Tensor), Vec<f64>)| {
            Ok((name.clone(), Tensor::from_f64(device, tensor.shape(), &values)?))
        };
        let tensors = self.tensors.iter().zip(Tensor::read_all(&tensors)?).map(moved);
        Ok(Self { tensors: tensors.collect::<Result<_>>()?, weights: self.weights })
    }
}
