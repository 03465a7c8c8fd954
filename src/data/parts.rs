//! What the readers hand over, and the checks that every format shares.

use std::path::{Path, PathBuf};

use super::labels::{Names, numbered, renumber};
use super::npy::{self, Archive, Array, Labels};
use super::{Dataset, ImageShape, Limits, name_of};
use crate::error::{Error, Result};
use crate::rows::Rows;

/// Rows and the file to name in messages about them.
pub(super) struct Features {
    pub(super) path: PathBuf,
    pub(super) rows: Rows,
}

/// Class ids and the file to name in messages about them.
pub(super) struct Ids {
    pub(super) path: PathBuf,
    pub(super) ids: Vec<u32>,
}

/// A data set that is read and not yet checked as a whole.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) train: Features,
    pub(super) train_labels: Ids,
    pub(super) test: Features,
    pub(super) test_labels: Option<Ids>,
    pub(super) classes: Vec<String>,
    pub(super) image: Option<ImageShape>,
}

impl Parts {
    /// The checks between rows and labels, training and test.
    pub(super) fn assemble(self) -> Result<Dataset> {
        let (mut train, mut test) = (self.train, self.test);
        self.train_labels.expect(&train, self.classes.len())?;
        if let Some(labels) = &self.test_labels {
            labels.expect(&test, self.classes.len())?;
        }
        if train.rows.is_empty() {
            return Err(Error::data(
                &train.path,
                "the training set is empty",
                "give at least one training row",
            ));
        }
        let (ours, theirs) = (train.rows.features(), test.rows.features());
        if ours != theirs {
            let problem = format!("rows of {theirs} features, but of {ours} in {}", train.path.display());
            return Err(Error::data(
                &test.path,
                problem,
                "training and test rows must have the same features",
            ));
        }
        // One kernel takes one dtype; every u8 is exact as f32.
        if train.rows.view().dtype() != test.rows.view().dtype() {
            (train.rows, test.rows) = (train.rows.into_f32(), test.rows.into_f32());
        }
        Ok(Dataset {
            name: self.name,
            train: train.rows,
            train_labels: self.train_labels.ids,
            test: test.rows,
            test_labels: self.test_labels.map(|labels| labels.ids),
            classes: self.classes,
            image: self.image,
        })
    }

    /// From a .npy file each.
    pub(super) fn from_arrays(
        train_x: &Path,
        train_y: &Path,
        test_x: &Path,
        test_y: Option<&Path>,
        limits: Limits,
    ) -> Result<Self> {
        let arrays = Arrays {
            train: Matrix::read(npy::open(train_x)?, limits.train)?,
            train_labels: Vector::read(npy::open(train_y)?)?,
            test: Matrix::read(npy::open(test_x)?, limits.test)?,
            test_labels: test_y.map(|path| Vector::read(npy::open(path)?)).transpose()?,
        };
        arrays.parts(
            train_x.file_stem().map_or_else(|| name_of(train_x), |s| s.to_string_lossy().into()),
            limits,
        )
    }

    /// From x_train, y_train, x_test and, where there is one, y_test of a .npz archive.
    pub(super) fn from_archive(path: &Path, limits: Limits) -> Result<Self> {
        let mut archive = Archive::open(path)?;
        let missing = |archive: &Archive, name: &str| {
            let problem =
                format!("no array '{name}' in the archive, which holds: {}", archive.names().join(", "));
            Error::data(path, problem, "numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)")
        };
        let mut matrix = |name: &str, limit| match archive.array(name)? {
            Some(array) => Matrix::read(array, limit).map(Some),
            None => Ok(None),
        };
        let (train, test) = (matrix("x_train", limits.train)?, matrix("x_test", limits.test)?);
        let mut vector = |name: &str| archive.array(name)?.map(Vector::read).transpose();
        let (train_labels, test_labels) = (vector("y_train")?, vector("y_test")?);
        let arrays = Arrays {
            train: train.ok_or_else(|| missing(&archive, "x_train"))?,
            train_labels: train_labels.ok_or_else(|| missing(&archive, "y_train"))?,
            test: test.ok_or_else(|| missing(&archive, "x_test"))?,
            test_labels,
        };
        arrays.parts(name_of(path), limits)
    }
}

impl Ids {
    /// Checks that there is one label per row, and the class of each is known.
    fn expect(&self, features: &Features, classes: usize) -> Result<()> {
        let (labels, rows) = (self.ids.len(), features.rows.len());
        if labels != rows {
            let problem = format!("{labels} labels for the {rows} rows of {}", features.path.display());
            return Err(Error::data(&self.path, problem, "give one label per row"));
        }
        // The readers have checked each label with its place; this holds them to it.
        match self.ids.iter().position(|&id| id as usize >= classes) {
            None => Ok(()),
            Some(row) => {
                let problem = format!("row {row} (from 0): label {} of {classes} classes", self.ids[row]);
                Err(Error::data(&self.path, problem, "number the classes from 0"))
            }
        }
    }
}

/// Rows of an array, with the number it has without a limit.
struct Matrix {
    features: Features,
    shape: Vec<usize>,
}

impl Matrix {
    fn read(array: Array<'_>, limit: Option<usize>) -> Result<Self> {
        let (path, shape) = (array.path.clone(), array.header.shape.clone());
        Ok(Self { features: Features { path, rows: array.rows(limit)? }, shape })
    }

    /// Checks the counts of the whole arrays, which a limit would hide.
    fn expect_labels(&self, labels: &Vector) -> Result<()> {
        let (rows, count) = (self.shape[0], labels.len());
        if rows == count {
            return Ok(());
        }
        let problem = format!("{count} labels for the {rows} rows of {}", self.features.path.display());
        Err(Error::data(&labels.path, problem, "give one label per row"))
    }
}

struct Vector {
    path: PathBuf,
    labels: Labels,
}

impl Vector {
    fn read(array: Array<'_>) -> Result<Self> {
        Ok(Self { path: array.path.clone(), labels: array.labels()? })
    }

    fn len(&self) -> usize {
        match &self.labels {
            Labels::Ids(ids) => ids.len(),
            Labels::Names(names) => names.len(),
        }
    }

    /// Class ids, provisional ones for names.
    fn ids(self, names: &mut Names) -> Result<Ids> {
        let Self { path, labels } = self;
        let ids = match labels {
            Labels::Ids(ids) => ids,
            Labels::Names(labels) => labels
                .iter()
                .enumerate()
                .map(|(row, name)| names.id(name, &path, || format!("row {row} (from 0)")))
                .collect::<Result<_>>()?,
        };
        Ok(Ids { path, ids })
    }
}

struct Arrays {
    train: Matrix,
    train_labels: Vector,
    test: Matrix,
    test_labels: Option<Vector>,
}

impl Arrays {
    fn parts(self, name: String, limits: Limits) -> Result<Parts> {
        self.train.expect_labels(&self.train_labels)?;
        let named = matches!(self.train_labels.labels, Labels::Names(_));
        if let Some(labels) = &self.test_labels {
            self.test.expect_labels(labels)?;
            if matches!(labels.labels, Labels::Names(_)) != named {
                let problem = format!(
                    "integers and strings mixed with the labels of {}",
                    self.train_labels.path.display()
                );
                return Err(Error::data(&labels.path, problem, "save both as integers or both as strings"));
            }
        }
        let mut names = Names::default();
        let mut train_labels = self.train_labels.ids(&mut names)?;
        let mut test_labels = self.test_labels.map(|labels| labels.ids(&mut names)).transpose()?;
        let classes = if named {
            let (classes, class) = names.finish();
            renumber(&mut train_labels.ids, &class);
            if let Some(labels) = &mut test_labels {
                renumber(&mut labels.ids, &class);
            }
            classes
        } else {
            numbered(train_labels.ids.iter().chain(test_labels.iter().flat_map(|labels| &labels.ids)))
        };
        train_labels.ids.truncate(limits.train.unwrap_or(usize::MAX));
        if let Some(labels) = &mut test_labels {
            labels.ids.truncate(limits.test.unwrap_or(usize::MAX));
        }
        let image = npy::image(&self.train.shape);
        Ok(Parts {
            name,
            train: self.train.features,
            train_labels,
            test: self.test.features,
            test_labels,
            classes,
            image,
        })
    }
}
