//! What the readers hand over, and the checks that every format shares.

use std::path::{Path, PathBuf};

use super::labels::{Names, numbered, renumber};
use super::npy::{self, Archive, Array, Labels};
use super::{Dataset, ImageShape, Labels as Wanted, Limits, name_of};
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
    /// Absent where labels are ignored and the format has none, or holds them apart.
    pub(super) train_labels: Option<Ids>,
    pub(super) test: Features,
    pub(super) test_labels: Option<Ids>,
    pub(super) classes: Vec<String>,
    pub(super) image: Option<ImageShape>,
}

impl Parts {
    /// The checks between rows and labels, training and test. Labels that are ignored are dropped here at the latest.
    pub(super) fn assemble(mut self, labels: Wanted) -> Result<Dataset> {
        let (mut train, mut test) = (self.train, self.test);
        match (&self.train_labels, labels) {
            (Some(labels), Wanted::Read) => labels.expect(&train, self.classes.len())?,
            (None, Wanted::Read) => {
                let hint = "give training labels: --train-y for arrays";
                return Err(Error::data(&train.path, "the classes of the training rows are unknown", hint));
            }
            (_, Wanted::Ignored) => {
                (self.train_labels, self.test_labels, self.classes) = (None, None, Vec::new())
            }
        }
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
            train_labels: self.train_labels.map(|labels| labels.ids).unwrap_or_default(),
            test: test.rows,
            test_labels: self.test_labels.map(|labels| labels.ids),
            classes: self.classes,
            image: self.image,
        })
    }

    /// From a .npy file each.
    pub(super) fn from_arrays(
        train_x: &Path,
        train_y: Option<&Path>,
        test_x: Option<&Path>,
        test_y: Option<&Path>,
        limits: Limits,
    ) -> Result<Self> {
        let vector = |path: Option<&Path>| path.map(|path| Vector::read(npy::open(path)?)).transpose();
        let train = Matrix::read(npy::open(train_x)?, limits.train)?;
        let train_labels = vector(train_y)?;
        let test = match test_x {
            Some(path) => Matrix::read(npy::open(path)?, limits.test)?,
            None => train.without_rows(),
        };
        let arrays = Arrays { train, train_labels, test, test_labels: vector(test_y)? };
        arrays.parts(
            train_x.file_stem().map_or_else(|| name_of(train_x), |s| s.to_string_lossy().into()),
            limits,
        )
    }

    /// From x_train, y_train, x_test and, where there is one, y_test of a .npz archive.
    pub(super) fn from_archive(path: &Path, limits: Limits, labels: Wanted) -> Result<Self> {
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
        let (train_labels, test_labels) = match labels {
            Wanted::Read => (vector("y_train")?, vector("y_test")?),
            Wanted::Ignored => (None, None),
        };
        let train = train.ok_or_else(|| missing(&archive, "x_train"))?;
        if labels == Wanted::Read && train_labels.is_none() {
            return Err(missing(&archive, "y_train"));
        }
        let test = match (test, labels) {
            (Some(test), _) => test,
            (None, Wanted::Ignored) => train.without_rows(),
            (None, Wanted::Read) => return Err(missing(&archive, "x_test")),
        };
        let arrays = Arrays { train, train_labels, test, test_labels };
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

    /// No rows, as wide as these.
    fn without_rows(&self) -> Self {
        let Features { path, rows } = &self.features;
        Self { features: Features { path: path.clone(), rows: rows.gather(&[]) }, shape: self.shape.clone() }
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
    train_labels: Option<Vector>,
    test: Matrix,
    test_labels: Option<Vector>,
}

impl Arrays {
    fn parts(self, name: String, limits: Limits) -> Result<Parts> {
        let named = |labels: &Vector| matches!(labels.labels, Labels::Names(_));
        for (rows, labels) in [(&self.train, &self.train_labels), (&self.test, &self.test_labels)] {
            labels.iter().try_for_each(|labels| rows.expect_labels(labels))?;
        }
        if let (Some(train), Some(test)) = (&self.train_labels, &self.test_labels)
            && named(train) != named(test)
        {
            let problem = format!("integers and strings mixed with the labels of {}", train.path.display());
            return Err(Error::data(&test.path, problem, "save both as integers or both as strings"));
        }
        let are_names = self.train_labels.as_ref().is_some_and(named);
        let mut names = Names::default();
        let mut ids = |labels: Option<Vector>| labels.map(|labels| labels.ids(&mut names)).transpose();
        let (mut train_labels, mut test_labels) = (ids(self.train_labels)?, ids(self.test_labels)?);
        let classes = if are_names {
            let (classes, class) = names.finish();
            for labels in [&mut train_labels, &mut test_labels].into_iter().flatten() {
                renumber(&mut labels.ids, &class);
            }
            classes
        } else {
            numbered([&train_labels, &test_labels].into_iter().flatten().flat_map(|labels| &labels.ids))
        };
        for (labels, limit) in [(&mut train_labels, limits.train), (&mut test_labels, limits.test)] {
            if let Some(labels) = labels {
                labels.ids.truncate(limit.unwrap_or(usize::MAX));
            }
        }
        let image = npy::image(&self.train.shape);
        let (train, test) = (self.train.features, self.test.features);
        Ok(Parts { name, train, train_labels, test, test_labels, classes, image })
    }
}
