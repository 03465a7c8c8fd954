//! Named tensors in one piece of memory: the parameters of a net, their gradients, what an optimizer remembers.

pub(super) mod side_by_side;

use std::ops::Range;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{ALIGNED, RealsMut, Tensor};

/// Tensors with names, in a fixed order: first the weights, which are regularised, then biases, γ and β, which are not.
///
/// They lie end to end in one vector, so that one sweep, and on an adapter one launch, updates all of them; the regularised ones are its first
/// elements. Each starts at a multiple of 64 numbers, where every adapter can give it to a kernel; the numbers between are 0.
#[derive(Debug, Clone)]
pub struct Parameters {
    flat: Tensor,
    places: Vec<Place>,
    weights: usize,
}

/// A tensor's name, shape and values on the host.
pub(super) type Named = (String, Vec<usize>, Vec<f64>);

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: String,
    shape: Vec<usize>,
    start: usize,
}

impl Place {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.shape.iter().product::<usize>()
    }
}

impl Parameters {
    /// Tensors of these names, shapes and values, the first `weights` of them regularised.
    ///
    /// # Errors
    /// [`Error::Shape`] when a shape does not hold its values; [`Error::Device`] when the device cannot take them.
    pub(super) fn new(device: &Device, tensors: Vec<Named>, weights: usize) -> Result<Self> {
        let (mut flat, mut places) = (Vec::new(), Vec::with_capacity(tensors.len()));
        for (name, shape, values) in tensors {
            let place = Place { name, shape, start: flat.len() };
            if place.range().len() != values.len() {
                let problem =
                    format!("{} of {:?} does not hold {} values", place.name, place.shape, values.len());
                return Err(Error::shape("parameters", problem, "give as many values as the shape holds"));
            }
            flat.extend_from_slice(&values);
            flat.resize(flat.len().next_multiple_of(ALIGNED), 0.0);
            places.push(place);
        }
        Ok(Self { flat: Tensor::from_f64(device, &[flat.len()], &flat)?, places, weights })
    }

    /// Tensors of the same names and shapes, all 0.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has no memory.
    pub fn zeros_like(&self) -> Result<Self> {
        let flat = Tensor::from_f64(&self.device(), self.flat.shape(), &vec![0.0; self.flat.len()])?;
        Ok(Self { flat, places: self.places.clone(), weights: self.weights })
    }

    /// Where the tensors are.
    pub fn device(&self) -> Device {
        self.flat.device()
    }

    /// All tensors as one vector, each followed by zeros up to a multiple of 64 numbers.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    pub(super) fn flat_mut(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// How many numbers of [`Self::flat`], from the first on, are regularised, or 0 between those that are.
    pub fn regularized(&self) -> usize {
        self.places.get(self.weights).map_or(self.flat.len(), |place| place.start)
    }

    /// The regularised numbers and the zeros between them, as one vector.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot address them.
    pub(super) fn leading(&self) -> Result<Tensor> {
        self.flat.part(0, &[self.regularized()])
    }

    /// [`Self::leading`], to be changed in place.
    pub(super) fn leading_mut(&mut self) -> Result<RealsMut<'_>> {
        let leading = 0..self.regularized();
        let [slot] = self.flat.reals_mut("parameters")?.parts([leading])?;
        Ok(slot)
    }

    /// Whether `other` has tensors of the same names and shapes.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.weights, &self.places) == (other.weights, &other.places)
    }

    /// The tensor called `name`. It shares its memory with all of these: an update in place is in a copy while it is kept.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let place = self.place(name)?;
        self.flat.part(place.start, &place.shape)
    }

    /// Overwrites the tensor called `name` with the values of `tensor`.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are, or when shapes or devices differ; [`Error::Device`] when the device fails.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let (shape, range) = {
            let place = self.place(name)?;
            (place.shape.clone(), place.range())
        };
        let refuse =
            |problem: String| Err(Error::shape("parameters", problem, "pass a tensor like the old one"));
        if tensor.shape() != shape {
            return refuse(format!("{name} is {shape:?}, not {:?}", tensor.shape()));
        }
        let [slot] = self.flat.reals_mut("parameters")?.parts([range])?;
        if !tensor.copy_to(slot)? {
            return refuse(format!("{name} is on another device"));
        }
        Ok(())
    }

    /// Overwrites all tensors with those of `from`, which has the same names and shapes; clones of these keep theirs.
    ///
    /// # Errors
    /// [`Error::Shape`] when names, shapes or devices differ; [`Error::Device`] when the device fails.
    pub fn copy_from(&mut self, from: &Self) -> Result<()> {
        if !self.is_like(from) {
            return Err(Error::shape(
                "parameters",
                format!("{} tensors into {} of other names or shapes", from.len(), self.len()),
                "copy between nets of one architecture",
            ));
        }
        self.flat.copy_from(&from.flat)
    }

    /// The tensors called `names`, in the order of these, to be written by an operation.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are.
    pub(super) fn slots<const N: usize>(&mut self, names: [&str; N]) -> Result<[RealsMut<'_>; N]> {
        let mut ranges = [const { 0..0 }; N];
        for (range, name) in ranges.iter_mut().zip(names) {
            *range = self.place(name)?.range();
        }
        self.flat.reals_mut("parameters")?.parts(ranges)
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.iter().find(|place| place.name == name).ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            Error::shape(
                "parameters",
                format!("no tensor is called {name}"),
                format!("choose from {}", names.join(", ")),
            )
        })
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.name.as_str())
    }

    /// Names and shapes in order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.places.iter().map(|place| (place.name.as_str(), place.shape.as_slice()))
    }

    /// Where the numbers of each tensor are in [`Self::flat`], in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.places.iter().map(Place::range)
    }

    /// Names and tensors in order, which share their memory with these.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot address a part.
    pub fn tensors(&self) -> Result<Vec<(&str, Tensor)>> {
        let tensor = |place: &Place| self.flat.part(place.start, &place.shape);
        self.places.iter().map(|place| Ok((place.name.as_str(), tensor(place)?))).collect()
    }

    /// The weights: the tensors that are regularised.
    ///
    /// # Errors
    /// As [`Self::tensors`].
    pub fn weights(&self) -> Result<Vec<Tensor>> {
        self.places[..self.weights].iter().map(|place| self.flat.part(place.start, &place.shape)).collect()
    }

    /// How many tensors, from the first on, are weights.
    pub fn weight_count(&self) -> usize {
        self.weights
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Numbers in all tensors.
    pub fn elements(&self) -> usize {
        self.places.iter().map(|place| place.range().len()).sum()
    }

    /// The numbers of each tensor on the host, in one trip.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn values(&self) -> Result<Vec<Vec<f64>>> {
        let all = self.flat.to_f64()?;
        Ok(self.places.iter().map(|place| all[place.range()].to_vec()).collect())
    }

    /// All numbers on the host, end to end, in one trip.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(self.values()?.concat())
    }

    /// The same numbers on another device.
    ///
    /// # Errors
    /// [`Error::Device`] when a device fails.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let flat = Tensor::from_f64(device, self.flat.shape(), &self.flat.to_f64()?)?;
        Ok(Self { flat, places: self.places.clone(), weights: self.weights })
    }
}
