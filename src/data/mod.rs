//! Data sets from files, the bundled one, and files of results.
//!
//! | [`Source`] | what is read |
//! |---|---|
//! | [`Source::Bundled`] | the first 5,000 training and 500 test images of Fashion-MNIST, compiled in |
//! | folder with `data_batch_*.bin`, `test_batch.bin` | CIFAR-10, binary version, any number of records |
//! | folder with `train.bin`, `test.bin` | CIFAR-100, binary version, fine labels |
//! | folder with `train-images-idx3-ubyte` … | MNIST, Fashion-MNIST: idx files, plain or `.gz` |
//! | `.npz` | arrays `x_train`, `y_train`, `x_test` and, where known, `y_test` |
//! | `.csv`, `.tsv` | one row per line, `--label COLUMN` |
//! | `.svm`, `.libsvm`, `.txt` | libsvm's `label index:value …`, made dense |
//! | [`Source::Arrays`] | a .npy file each for rows and labels |
//!
//! Bytes stay `u8`, everything else becomes `f32` and must be finite. Nothing is believed before it is checked: sizes in
//! headers against the file's real length, labels against the classes, rows against labels. Every refusal is an
//! [`Error::Data`] that names the file, the row and the column where there are any, and what to do. Rows and columns
//! of binary formats count from 0 as numpy does; lines of text files count from 1 as editors do.
//!
//! Uncompressed .npy files of uint8 or little-endian float32 from 64 MiB on are mapped instead of read: training sets
//! larger than memory then stream from disk. Such a file must not be cut short while the program runs.

mod bundled;
mod cifar;
mod csv;
mod format;
mod idx;
mod info;
mod input;
mod labels;
mod libsvm;
mod npy;
mod npy_header;
mod parts;
pub mod preprocess;
pub mod split;
pub mod write;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::rows::{Rows, RowsRef, ValuesRef};
use format::Format;
pub use info::{ArrayInfo, ClassCount, Info, Range, describe, info};
use parts::Parts;

/// What to do about a value that is NaN or infinite.
const NOT_FINITE: &str = "remove or fill such rows: distances and losses need finite numbers";

/// Where a data set comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The bundled subset of Fashion-MNIST.
    Bundled,
    /// A file or folder whose name or contents say what it is; see the table of this module.
    Path {
        /// The file or folder.
        path: PathBuf,
        /// For formats that hold one table without a test set: CSV and libsvm.
        table: TableOptions,
    },
    /// One .npy file each.
    Arrays {
        /// Training rows.
        train_x: PathBuf,
        /// Training labels, which only [`load_rows`] can do without.
        train_y: Option<PathBuf>,
        /// Test rows; without them there are none.
        test_x: Option<PathBuf>,
        /// Test labels; without them nothing can be scored.
        test_y: Option<PathBuf>,
    },
}

impl Source {
    /// A file or folder, with [`TableOptions::default`].
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path { path: path.into(), table: TableOptions::default() }
    }
}

/// How a single table becomes training and test rows with labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableOptions {
    /// Label column of a CSV: its name, or its position from 0. Without it, the only column that is named `label`,
    /// `class`, `target` or `y`.
    pub label: Option<String>,
    /// Where test rows come from; `None` is [`TestRows::Fraction`] 0.2 with seed 231.
    pub test: Option<TestRows>,
}

/// Test rows of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum TestRows {
    /// A second file of the same format.
    File(PathBuf),
    /// ⌈`fraction` · rows⌉ of the file itself.
    Fraction {
        /// At least 0, below 1.
        fraction: f64,
        /// Draws the rows ([`split::holdout`]); without it the last rows are taken, which is wrong for files that are
        /// sorted by class.
        seed: Option<u64>,
    },
}

impl TestRows {
    /// A fifth of the rows, drawn by the program's default seed.
    pub const DEFAULT: Self = Self::Fraction { fraction: 0.2, seed: Some(231) };
}

/// How many rows to take from the front; `None` takes all. What lies beyond is not read, where the format allows,
/// and then not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Training rows.
    pub train: Option<usize>,
    /// Test rows.
    pub test: Option<usize>,
}

/// What the features of a row are, when they are an image: planes of `channels`, each row-major (CHW).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

/// Training and test rows with their classes. Both have the same width and dtype, all values are finite, there is at
/// least one training row, and every label is below the number of classes. What [`load_rows`] has read knows no labels and no classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// What to call it: the file's or folder's name.
    pub name: String,
    /// Training rows, N × D, N ≥ 1.
    pub train: Rows,
    /// Class of every training row; empty where labels were not read.
    pub train_labels: Vec<u32>,
    /// Test rows, M × D; M may be 0.
    pub test: Rows,
    /// Class of every test row, where it is known.
    pub test_labels: Option<Vec<u32>>,
    /// Name of every class: labels as written where they are strings, else their numbers. Formats without names have as
    /// many classes as the largest label says, in the whole file whatever the limits.
    pub classes: Vec<String>,
    /// The shape of the images, where rows are images.
    pub image: Option<ImageShape>,
}

/// Whether a reader looks at labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Labels {
    Read,
    Ignored,
}

/// Reads a data set with its labels.
///
/// # Errors
/// [`Error::Data`] naming file, row, column and remedy for whatever is not as the format says; [`Error::Io`] when the
/// system refuses to read; [`Error::Usage`] for options that the format does not take.
pub fn load(source: &Source, limits: Limits) -> Result<Dataset> {
    read(source, limits, Labels::Read)
}

/// Reads the rows of a data set alone: labels may be missing, and are not looked at where they are there. In the files whose rows hold their
/// label (CIFAR, libsvm, a CSV's label column) it is left out of the features.
///
/// # Errors
/// As [`load`].
pub fn load_rows(source: &Source, limits: Limits) -> Result<Dataset> {
    read(source, limits, Labels::Ignored)
}

fn read(source: &Source, limits: Limits, labels: Labels) -> Result<Dataset> {
    let parts = match source {
        Source::Bundled => bundled::load(limits)?,
        Source::Arrays { train_x, train_y, test_x, test_y } => {
            let [train_y, test_y] =
                [train_y, test_y].map(|path| path.as_deref().filter(|_| labels == Labels::Read));
            Parts::from_arrays(train_x, train_y, test_x.as_deref(), test_y, limits)?
        }
        Source::Path { path, table } => {
            let format = Format::of(path)?;
            if *table != TableOptions::default() && !matches!(format, Format::Csv { .. } | Format::Libsvm) {
                return Err(Error::usage(
                    format!("{}: {format} has labels and test rows of its own", path.display()),
                    "give a label column, test file or fraction for CSV and libsvm files alone",
                ));
            }
            match format {
                Format::Cifar10 => cifar::load(path, cifar::Kind::Ten, limits)?,
                Format::Cifar100 => cifar::load(path, cifar::Kind::Hundred, limits)?,
                Format::Idx => idx::load(path, limits, labels)?,
                Format::Npz => Parts::from_archive(path, limits, labels)?,
                Format::Npy => {
                    let hint = "give all of --train-x, --train-y and --test-x";
                    return Err(Error::data(path, "one array alone is no data set", hint));
                }
                Format::Csv { delimiter } => csv::load(path, delimiter, table, limits, labels)?,
                Format::Libsvm => libsvm::load(path, table, limits, labels)?,
            }
        }
    };
    parts.assemble(labels)
}

/// Refuses the first value that is not finite.
fn check_finite(path: &Path, rows: RowsRef<'_>) -> Result<()> {
    if let ValuesRef::F32(values) = rows.values()
        && let Some(i) = values.iter().position(|x| !x.is_finite())
    {
        let (row, column) = (i / rows.features(), i % rows.features());
        let problem = format!("row {row}, column {column} (from 0): {} is not a finite number", values[i]);
        return Err(Error::data(path, problem, NOT_FINITE));
    }
    Ok(())
}

/// The last part of a path, as a name.
fn name_of(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    full.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
