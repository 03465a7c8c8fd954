//! Which format a path holds, by its name or, for a folder, by what is in it.

use std::fmt;
use std::path::Path;

use super::idx;
use crate::error::{Error, Result};

/// The formats of files and folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cifar10,
    Cifar100,
    Idx,
    Npz,
    Npy,
    Csv { delimiter: u8 },
    Libsvm,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "CIFAR-10 binary folder",
            Self::Cifar100 => "CIFAR-100 binary folder",
            Self::Idx => "idx folder",
            Self::Npz => "npz archive",
            Self::Npy => "npy array",
            Self::Csv { delimiter: b'\t' } => "TSV file",
            Self::Csv { .. } => "CSV file",
            Self::Libsvm => "libsvm file",
        })
    }
}

const KNOWN: &str =
    "a CIFAR-10 or CIFAR-100 binary folder, an idx folder, .npz, .csv, .tsv, .svm, .libsvm or .txt";

impl Format {
    /// Recognises what `path` holds.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Error::data(path, "no such file or folder", "check the path")
            } else {
                Error::io("read", path)(error)
            }
        })?;
        if meta.is_dir() { Self::of_folder(path) } else { Self::of_file(path) }
    }

    fn of_folder(path: &Path) -> Result<Self> {
        let has = |name: &str| path.join(name).is_file();
        if has("test_batch.bin") || has("data_batch_1.bin") || !super::cifar::batches(path)?.is_empty() {
            Ok(Self::Cifar10)
        } else if has("train.bin") && has("test.bin") {
            Ok(Self::Cifar100)
        } else if idx::TRAIN_IMAGES.find(path).is_some() {
            Ok(Self::Idx)
        } else {
            let problem = "no data set in this folder: looked for data_batch_*.bin and test_batch.bin (CIFAR-10), \
                           train.bin and test.bin (CIFAR-100), train-images-idx3-ubyte or \
                           train-images-idx3-ubyte.gz (MNIST, Fashion-MNIST)";
            Err(Error::data(path, problem, "name the folder that holds these files, or a file"))
        }
    }

    fn of_file(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match extension.as_str() {
            "npz" => Ok(Self::Npz),
            "npy" => Ok(Self::Npy),
            "csv" => Ok(Self::Csv { delimiter: b',' }),
            "tsv" => Ok(Self::Csv { delimiter: b'\t' }),
            "svm" | "libsvm" | "txt" => Ok(Self::Libsvm),
            "pickle" | "pkl" => Err(Error::data(
                path,
                "pickle files are not read: reading one runs whatever code it holds",
                "take the binary version of CIFAR (cifar-10-binary.tar.gz), or save arrays with numpy.savez",
            )),
            "gz" | "zip" | "tgz" | "tar" | "bz2" | "xz" => {
                let hint = format!("unpack it; known are {KNOWN}");
                Err(Error::data(
                    path,
                    "packed files are not read, except .gz files inside an idx folder",
                    hint,
                ))
            }
            "bin" => {
                let hint = "name the folder that holds data_batch_*.bin and test_batch.bin";
                Err(Error::data(path, "a single binary batch is no data set", hint))
            }
            _ => {
                let problem = format!("the ending '.{extension}' names no known format");
                Err(Error::data(path, problem, format!("known are {KNOWN}")))
            }
        }
    }
}
