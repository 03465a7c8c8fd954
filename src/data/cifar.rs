//! The binary versions of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>): records of one label
//! byte (two in CIFAR-100: coarse, then fine) and 3,072 pixels, the planes red, green and blue of 32 rows of 32.

use std::path::{Path, PathBuf};

use super::input::{Input, file_length, reserve};
use super::labels::checked;
use super::parts::{Features, Ids, Parts};
use super::{ImageShape, Limits, name_of};
use crate::error::{Error, Result};
use crate::rows::{Rows, Values};

const PIXELS: usize = 3 * 32 * 32;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ten,
    Hundred,
}

/// The training batches of a CIFAR-10 folder, in the order of their numbers.
pub(super) fn batches(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("data_batch_")?.strip_suffix(".bin"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, folder.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reads a folder. Any subset of the training batches will do, of any number of records.
pub(super) fn load(folder: &Path, kind: Kind, limits: Limits) -> Result<Parts> {
    let (train, test, names) = match kind {
        Kind::Ten => (batches(folder)?, folder.join("test_batch.bin"), "batches.meta.txt"),
        Kind::Hundred => (vec![folder.join("train.bin")], folder.join("test.bin"), "fine_label_names.txt"),
    };
    if train.is_empty() {
        let hint = "put data_batch_1.bin (and 2 to 5) beside test_batch.bin";
        return Err(Error::data(folder, "no data_batch_*.bin: the training set is empty", hint));
    }
    let (train, train_labels) = read(&train, folder, kind, limits.train)?;
    let (test, test_labels) = read(std::slice::from_ref(&test), &test, kind, limits.test)?;
    let image = Some(ImageShape { channels: 3, height: 32, width: 32 });
    let classes = class_names(&folder.join(names), kind)?;
    Ok(Parts {
        name: name_of(folder),
        train,
        train_labels: Some(train_labels),
        test,
        test_labels: Some(test_labels),
        classes,
        image,
    })
}

impl Kind {
    fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }
}

/// The first `limit` records of `paths` together; `name` is how messages call them.
fn read(paths: &[PathBuf], name: &Path, kind: Kind, limit: Option<usize>) -> Result<(Features, Ids)> {
    let record = kind.label_bytes() + PIXELS;
    let mut files = Vec::with_capacity(paths.len());
    let mut left = limit.unwrap_or(usize::MAX);
    for path in paths {
        let length = file_length(path)?;
        if length % record as u64 != 0 {
            let problem = format!(
                "truncated, or no CIFAR batch: {length} bytes are {} records of {record} bytes and {} bytes more",
                length / record as u64,
                length % record as u64
            );
            return Err(Error::data(path, problem, "fetch the file again"));
        }
        let records = usize::try_from(length / record as u64).unwrap_or(usize::MAX).min(left);
        left -= records;
        files.push((path, records));
    }
    let total: usize = files.iter().map(|(_, records)| records).sum();
    let mut pixels = reserve(name, total as u64 * PIXELS as u64)?;
    let mut ids = Vec::with_capacity(total);
    for (path, records) in files {
        let mut input = Input::open(path)?;
        let mut first = 0;
        while first < records {
            let now = (records - first).min(256);
            let bytes = input.take((now * record) as u64)?;
            for (i, bytes) in bytes.chunks_exact(record).enumerate() {
                let (labels, image) = bytes.split_at(kind.label_bytes());
                // The last label byte is the fine one.
                let label = labels[labels.len() - 1];
                ids.push(checked(path, first + i, label.into(), kind.classes())?);
                pixels.extend_from_slice(image);
            }
            first += now;
        }
    }
    let rows = Rows::new(Values::U8(pixels), PIXELS)?;
    Ok((Features { path: name.to_owned(), rows }, Ids { path: name.to_owned(), ids }))
}

/// The names that lie beside the batches, one a line; without that file those of CIFAR-10, or numbers.
fn class_names(path: &Path, kind: Kind) -> Result<Vec<String>> {
    if !path.is_file() {
        return Ok(match kind {
            Kind::Ten => CLASSES.map(str::to_owned).to_vec(),
            Kind::Hundred => (0..100).map(|class| class.to_string()).collect(),
        });
    }
    let length = file_length(path)?;
    let wrong = |problem| Error::data(path, problem, "fetch the file again, or remove it");
    if length > 1 << 16 {
        return Err(wrong(format!("{length} bytes are no list of {} class names", kind.classes())));
    }
    let bytes = Input::open(path)?.take(length)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("class names that are no UTF-8".into()))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() != kind.classes() {
        return Err(wrong(format!("{} class names, not {}", names.len(), kind.classes())));
    }
    Ok(names)
}
