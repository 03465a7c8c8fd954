//! The idx format of MNIST and Fashion-MNIST: two zero bytes, the type, the number of axes, a big-endian 32-bit size per
//! axis, then the values (<http://yann.lecun.com/exdb/mnist/>). Files may be packed by gzip.

use std::path::{Path, PathBuf};

use super::input::Input;
use super::labels::numbered;
use super::parts::{Features, Ids, Parts};
use super::{ImageShape, Labels, Limits, name_of};
use crate::error::{Error, Result};
use crate::rows::{Rows, Values};

/// Names of Fashion-MNIST's classes, from its documentation: idx files have no names.
pub(super) const FASHION_MNIST: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A file of the set under the name it was published by: `train-images-idx3-ubyte`, with a dot where some programs
/// unpack it so, and `.gz` or not.
pub(super) struct Name(&'static str, &'static str);

pub(super) const TRAIN_IMAGES: Name = Name("train-images", "idx3-ubyte");
const TRAIN_LABELS: Name = Name("train-labels", "idx1-ubyte");
const TEST_IMAGES: Name = Name("t10k-images", "idx3-ubyte");
const TEST_LABELS: Name = Name("t10k-labels", "idx1-ubyte");

impl Name {
    /// The file in `folder`; an unpacked one is preferred.
    pub(super) fn find(&self, folder: &Path) -> Option<PathBuf> {
        let Self(set, kind) = self;
        let names =
            ["", ".gz"].map(|packed| [format!("{set}-{kind}{packed}"), format!("{set}.{kind}{packed}")]);
        names.into_iter().flatten().map(|name| folder.join(name)).find(|path| path.is_file())
    }

    fn require(&self, folder: &Path) -> Result<PathBuf> {
        self.find(folder).ok_or_else(|| {
            let Self(set, kind) = self;
            let problem = format!("no {set}-{kind} or {set}-{kind}.gz beside the other idx files");
            Error::data(folder, problem, "put all files of the set into one folder")
        })
    }
}

/// Reads an idx folder. Test labels may be missing.
pub(super) fn load(folder: &Path, limits: Limits, wanted: Labels) -> Result<Parts> {
    let open = |name: Name| Input::open(&name.require(folder)?);
    let (train_labels, test_labels) = match wanted {
        Labels::Read => {
            (Some(open(TRAIN_LABELS)?), TEST_LABELS.find(folder).map(|path| Input::open(&path)).transpose()?)
        }
        Labels::Ignored => (None, None),
    };
    let mut parts =
        read(open(TRAIN_IMAGES)?, train_labels, open(TEST_IMAGES)?, test_labels, limits, name_of(folder))?;
    // The files of Fashion-MNIST have MNIST's names, and no names of classes: the folder tells them apart.
    let plain: String = folder.to_string_lossy().to_lowercase().replace(['-', '_', ' '], "");
    if plain.contains("fashionmnist") && parts.classes.len() == FASHION_MNIST.len() {
        parts.classes = FASHION_MNIST.map(str::to_owned).to_vec();
    }
    Ok(parts)
}

/// Reads the four files of a set.
pub(super) fn read(
    train: Input<'_>,
    train_labels: Option<Input<'_>>,
    test: Input<'_>,
    test_labels: Option<Input<'_>>,
    limits: Limits,
    name: String,
) -> Result<Parts> {
    let (train, image, train_rows) = images(train, limits.train)?;
    let (test, _, test_rows) = images(test, limits.test)?;
    let mut train_labels = train_labels.map(|input| labels(input, &train, train_rows)).transpose()?;
    let mut test_labels = test_labels.map(|input| labels(input, &test, test_rows)).transpose()?;
    // All labels are read, so that the number of classes does not depend on the limits.
    let classes =
        numbered([&train_labels, &test_labels].into_iter().flatten().flat_map(|labels| &labels.ids));
    if let Some(labels) = &mut train_labels {
        labels.ids.truncate(limits.train.unwrap_or(usize::MAX));
    }
    if let Some(labels) = &mut test_labels {
        labels.ids.truncate(limits.test.unwrap_or(usize::MAX));
    }
    Ok(Parts { name, train, train_labels, test, test_labels, classes, image })
}

/// The first `limit` images, their shape, and how many the file has.
fn images(mut input: Input<'_>, limit: Option<usize>) -> Result<(Features, Option<ImageShape>, usize)> {
    let sizes = header(&mut input, 2..=4)?;
    let features = sizes[1..].iter().product::<usize>();
    if features == 0 {
        return Err(Error::data(
            &input.path,
            format!("images without pixels: {sizes:?}"),
            "fetch the file again",
        ));
    }
    let rows = limit.map_or(sizes[0], |limit| limit.min(sizes[0]));
    let pixels = input.take(rows as u64 * features as u64)?;
    if rows == sizes[0] {
        input.expect_end()?;
    }
    let image = match sizes[..] {
        [_, height, width] => Some(ImageShape { channels: 1, height, width }),
        _ => None,
    };
    Ok((Features { path: input.path, rows: Rows::new(Values::U8(pixels), features)? }, image, sizes[0]))
}

/// All labels, which must be as many as the images of `features`' file.
fn labels(mut input: Input<'_>, features: &Features, rows: usize) -> Result<Ids> {
    let sizes = header(&mut input, 1..=1)?;
    if sizes[0] != rows {
        let problem = format!("{} labels for the {rows} images of {}", sizes[0], features.path.display());
        return Err(Error::data(&input.path, problem, "take both files from the same set"));
    }
    let bytes = input.take(sizes[0] as u64)?;
    input.expect_end()?;
    Ok(Ids { path: input.path, ids: bytes.into_iter().map(u32::from).collect() })
}

/// The sizes of the axes, which fit the file's length.
fn header(input: &mut Input<'_>, axes: std::ops::RangeInclusive<usize>) -> Result<Vec<usize>> {
    let magic = input.take(4)?;
    let found = usize::from(magic[3]);
    let problem = match magic[..] {
        [0, 0, 0x08, _] if axes.contains(&found) => None,
        [0, 0, 0x08, _] => {
            Some(format!("an idx file of {found} axes, not of {} to {}", axes.start(), axes.end()))
        }
        [0, 0, 0x09..=0x0e, _] => {
            Some(format!("an idx file of type 0x{:02x}; only bytes (0x08) are read", magic[2]))
        }
        _ => Some(format!("no idx file: it begins with the bytes {magic:02x?}, not with 00 00 08")),
    };
    if let Some(problem) = problem {
        return Err(Error::data(
            &input.path,
            problem,
            "fetch the file again, or save arrays with numpy.savez",
        ));
    }
    let sizes = input.take(4 * found as u64)?;
    let sizes: Vec<u32> = sizes.as_chunks::<4>().0.iter().map(|size| u32::from_be_bytes(*size)).collect();
    // Four sizes of 32 bits cannot overflow 128 bits; beyond 64 bits no file reaches.
    let values: u128 = sizes.iter().map(|&size| u128::from(size)).product();
    let total = u64::try_from(values).unwrap_or(u64::MAX).saturating_add(4 + 4 * found as u64);
    input.expect_total(total)?;
    Ok(sizes.into_iter().map(|size| size as usize).collect())
}
