//! The classifiers of the course: what a library user calls first.

pub mod knn;
pub mod linear;
mod network;
