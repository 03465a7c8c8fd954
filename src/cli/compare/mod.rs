//! `compare`: the forms that an exercise asks for, timed side by side on the same data, with the proof that they agree.

mod batchnorm;
mod knn;
mod linear;

use std::time::Instant;

use clap::{Args, Subcommand};

use crate::device::{Device, Selection};
use crate::error::Result;
use crate::gpu::{self, Gpu};
use crate::rows::{RowsRef, ValuesRef};

/// Time the course's forms of an exercise side by side and show that they agree.
#[derive(Debug, Args)]
pub(super) struct Compare {
    #[command(subcommand)]
    exercise: Exercise,
}

#[derive(Debug, Subcommand)]
enum Exercise {
    /// Distances by two loops, one loop and no loop (assignment 1), then exact neighbours on the CPU and the GPU.
    Knn(Box<knn::Knn>),
    /// The multiclass SVM loss and its gradient by loops and in matrices (assignment 1), on the reference, the CPU and the GPU.
    Svm(Box<linear::Linear>),
    /// The softmax loss and its gradient by loops and in matrices (assignment 1), on the reference, the CPU and the GPU.
    Softmax(Box<linear::Linear>),
    /// The backward pass of batch normalisation by the graph and by one formula (assignment 2), on the reference, the CPU and the GPU.
    Batchnorm(Box<batchnorm::BatchNorm>),
}

impl Compare {
    pub(super) fn run(self) -> Result<()> {
        match self.exercise {
            Exercise::Knn(knn) => knn.run(),
            Exercise::Svm(linear) => linear.run(linear::Loss::Svm),
            Exercise::Softmax(linear) => linear.run(linear::Loss::Softmax),
            Exercise::Batchnorm(norm) => norm.run(),
        }
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed().as_secs_f64()))
}

/// The median of five runs after one that starts threads and compiles kernels.
fn steady<T>(mut work: impl FnMut() -> Result<T>) -> Result<(T, f64)> {
    work()?;
    let (mut result, first) = timed(&mut work)?;
    let mut seconds = vec![first];
    for _ in 0..4 {
        let (again, next) = timed(&mut work)?;
        (result, _) = (again, seconds.push(next));
    }
    seconds.sort_by(f64::total_cmp);
    Ok((result, seconds[seconds.len() / 2]))
}

/// The CPU, and the GPU that was chosen. `auto` keeps off software adapters, but a comparison wants to show every path there is.
fn devices(chosen: &Device, selection: &Selection) -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    match chosen {
        Device::Gpu(_) => devices.push(chosen.clone()),
        _ if *selection == Selection::Auto => {
            if let Ok(gpu) = Gpu::open(&gpu::Choice::Any, &gpu::Options::default()) {
                devices.push(Device::Gpu(gpu));
            }
        }
        _ => {}
    }
    devices
}

/// A device in a few words.
fn label(device: &Device) -> String {
    match device {
        Device::Gpu(gpu) => gpu.info().name.clone(),
        device => device.describe(),
    }
}

/// How many times as quick.
fn speed_up(slow: f64, quick: f64) -> String {
    let times = slow / quick;
    match times {
        times if times < 1.0 => format!("{times:.2}×"),
        times if times < 9.95 => format!("{times:.1}×"),
        times => format!("{times:.0}×"),
    }
}

fn wide(rows: RowsRef<'_>) -> Vec<f64> {
    match rows.values() {
        ValuesRef::U8(values) => values.iter().copied().map(f64::from).collect(),
        ValuesRef::F32(values) => values.iter().copied().map(f64::from).collect(),
    }
}

fn narrow(rows: RowsRef<'_>) -> Vec<f32> {
    match rows.values() {
        ValuesRef::U8(values) => values.iter().copied().map(f32::from).collect(),
        ValuesRef::F32(values) => values.to_vec(),
    }
}

/// Rows less their mean, rounded to 32 bit, so that all forms start from the same values.
fn centred(mut values: Vec<f64>, features: usize) -> Vec<f64> {
    let mut mean = vec![0.0; features];
    for row in values.chunks_exact(features) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
    }
    let rows = (values.len() / features).max(1) as f64;
    for row in values.chunks_exact_mut(features) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x = rounded(*x - mean / rows));
    }
    values
}

/// The nearest number that 32 bit hold.
fn rounded(x: f64) -> f64 {
    f64::from(x as f32)
}

/// ‖a − b‖ over all elements, ‖b‖.
fn frobenius(a: &[f64], b: &[f64]) -> [f64; 2] {
    let norm = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>().sqrt();
    [norm(&mut a.iter().zip(b).map(|(a, b)| (a - b) * (a - b))), norm(&mut b.iter().map(|b| b * b))]
}
