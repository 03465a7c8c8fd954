//! skeleton, replaced below
pub mod cpu;
pub mod error;
pub mod order;
pub mod rows;
pub use error::{Error, Result};
pub mod gpu;
