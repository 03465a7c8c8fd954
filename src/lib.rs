//! skeleton, replaced below
pub mod error;
pub mod rows;
pub use error::{Error, Result};
pub mod gpu;
