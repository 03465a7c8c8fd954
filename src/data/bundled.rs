//! The bundled subset of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747), compiled in under its MIT licence:
//! see `assets/fashion-mnist`.

use std::path::Path;

use super::Limits;
use super::idx;
use super::input::Input;
use super::parts::Parts;
use crate::error::Result;

macro_rules! asset {
    ($name:literal) => {
        Input::bytes(
            Path::new(concat!("bundled/", $name)),
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion-mnist/", $name)),
        )
    };
}

/// The first 5,000 training and the first 500 test images.
pub(super) fn load(limits: Limits) -> Result<Parts> {
    let mut parts = idx::read(
        asset!("train-images-idx3-ubyte.gz"),
        Some(asset!("train-labels-idx1-ubyte.gz")),
        asset!("t10k-images-idx3-ubyte.gz"),
        Some(asset!("t10k-labels-idx1-ubyte.gz")),
        limits,
        "Fashion-MNIST (bundled subset)".into(),
    )?;
    parts.classes = idx::FASHION_MNIST.map(str::to_owned).to_vec();
    Ok(parts)
}
