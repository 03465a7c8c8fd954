//! skeleton, replaced below
pub mod cpu;
pub mod data;
pub mod error;
pub mod order;
pub mod rng;
pub mod rows;
pub use error::{Error, Result};
pub mod gpu;
