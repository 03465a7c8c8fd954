//! What there is to know about a data set before using it.

use std::path::Path;

use serde::Serialize;

use super::format::Format;
use super::{Dataset, ImageShape, Limits, Source, load, npy};
use crate::error::Result;
use crate::rows::{RowsRef, ValuesRef};

/// What a data set, or one array, holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// `"CIFAR-10 binary folder"`, `"idx folder"`, `"npz archive"`, `"npy array"` …; `None` where only the data set in
    /// memory is known.
    pub format: Option<String>,
    /// Train and test rows, or the one array.
    pub arrays: Vec<ArrayInfo>,
    /// Every class with its counts; empty for a lone array.
    pub classes: Vec<ClassCount>,
    /// The shape of the images, where rows are images.
    pub image: Option<ImageShape>,
}

/// One matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArrayInfo {
    /// `"train"`, `"test"` or `"array"`.
    pub name: &'static str,
    /// Rows and features; of a lone array all axes as stored.
    pub shape: Vec<usize>,
    /// Type of the values as stored in a lone .npy, like `"float64"`; else as in memory.
    pub stored: String,
    /// `"u8"` or `"f32"`: type of the values in memory.
    pub dtype: &'static str,
    /// Bytes that the values take, in memory or mapped.
    pub bytes: u64,
    /// Whether the values are mapped from the file and need not fit in memory.
    pub mapped: bool,
    /// Range of the values; `None` where there are none.
    pub range: Option<Range>,
}

/// Range of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean over all values, summed in 64 bits.
    pub mean: f64,
}

/// Rows of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the class.
    pub name: String,
    /// Training rows of this class.
    pub train: usize,
    /// Test rows of this class; `None` where the test labels are unknown.
    pub test: Option<usize>,
}

/// Reads and describes a data set, or one .npy array.
///
/// # Errors
/// Those of [`load`].
pub fn describe(source: &Source, limits: Limits) -> Result<Info> {
    let format = match source {
        Source::Bundled => "idx files, compiled in".into(),
        Source::Arrays { .. } => "npy arrays".into(),
        Source::Path { path, .. } => match Format::of(path)? {
            Format::Npy => return lone(path, limits),
            format => format.to_string(),
        },
    };
    Ok(Info { format: Some(format), ..info(&load(source, limits)?) })
}

/// Describes a data set that is loaded.
pub fn info(data: &Dataset) -> Info {
    let array = |name, rows: &crate::rows::Rows| {
        let view = rows.view();
        matrix(name, vec![view.len(), view.features()], view.dtype().into(), view, rows.is_mapped())
    };
    let counts = |labels: &[u32]| {
        let mut counts = vec![0; data.classes.len()];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    };
    let train = counts(&data.train_labels);
    let test = data.test_labels.as_deref().map(counts);
    let class = |(i, name): (usize, &String)| ClassCount {
        name: name.clone(),
        train: train[i],
        test: test.as_ref().map(|counts| counts[i]),
    };
    Info {
        name: data.name.clone(),
        format: None,
        arrays: vec![array("train", &data.train), array("test", &data.test)],
        classes: data.classes.iter().enumerate().map(class).collect(),
        image: data.image,
    }
}

impl Info {
    /// The same as text for people, lines ending in `\n`.
    pub fn text(&self) -> String {
        let format = self.format.as_ref().map_or_else(String::new, |format| format!(", {format}"));
        let mut lines = vec![format!("{}{format}", self.name)];
        for array in &self.arrays {
            let shape = array.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
            let stored =
                if array.stored == array.dtype { String::new() } else { format!(" from {}", array.stored) };
            let range = array.range.map_or_else(String::new, |Range { min, max, mean }| {
                format!(", values {min} to {max}, mean {mean:.6}")
            });
            let place = if array.mapped { "mapped" } else { "in memory" };
            let mib = array.bytes as f64 / f64::from(1 << 20);
            lines.push(format!(
                "{:<7}{shape} {}{stored}, {mib:.1} MiB {place}{range}",
                array.name, array.dtype
            ));
        }
        if let Some(ImageShape { channels, height, width }) = self.image {
            lines.push(format!("images {channels} × {height} × {width} (channels, height, width)"));
        }
        if !self.classes.is_empty() {
            let width = self.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0).max(5);
            lines.push(format!("{:<width$}  {:>9}  {:>9}", "class", "train", "test"));
            for ClassCount { name, train, test } in &self.classes {
                let test = test.map_or_else(|| "unknown".into(), |test| test.to_string());
                lines.push(format!("{name:<width$}  {train:>9}  {test:>9}"));
            }
        }
        lines.join("\n") + "\n"
    }
}

fn lone(path: &Path, limits: Limits) -> Result<Info> {
    let array = npy::open(path)?;
    let (shape, stored) = (array.header.shape.clone(), array.header.dtype.to_string());
    let rows = array.any_rows(limits.train)?;
    let image = npy::image(&shape);
    let array = matrix("array", shape, stored, rows.view(), rows.is_mapped());
    Ok(Info {
        name: super::name_of(path),
        format: Some(Format::Npy.to_string()),
        arrays: vec![array],
        classes: Vec::new(),
        image,
    })
}

fn matrix(
    name: &'static str,
    shape: Vec<usize>,
    stored: String,
    rows: RowsRef<'_>,
    mapped: bool,
) -> ArrayInfo {
    fn range<T: Copy + Into<f64>>(values: &[T]) -> Option<Range> {
        let start = Range { min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0 };
        let all = values.iter().fold(start, |r, &x| {
            let x = x.into();
            Range { min: r.min.min(x), max: r.max.max(x), mean: r.mean + x }
        });
        (!values.is_empty()).then(|| Range { mean: all.mean / values.len() as f64, ..all })
    }
    let (range, size) = match rows.values() {
        ValuesRef::U8(v) => (range(v), 1),
        ValuesRef::F32(v) => (range(v), 4),
    };
    let bytes = rows.len() as u64 * rows.features() as u64 * size;
    ArrayInfo { name, shape, stored, dtype: rows.dtype(), bytes, mapped, range }
}
