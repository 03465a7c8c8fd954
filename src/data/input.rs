//! Opening files and reading them in bounds: no header is believed before the file's real length bears it out.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// Most bytes that one array may unpack to or fill in memory. A compressed bomb or a sparse file with one absurd index
/// is refused here instead of driving the machine out of memory.
pub(super) const MAX_BYTES: u64 = 16 << 30;

/// Deflate packs at most 258 bytes into two bits and a little, 1,032 : 1: a claim beyond that is a lie.
const DEFLATE_RATIO: u64 = 1032;

/// An opened file, unpacked on the fly where its name ends in `.gz`.
pub(super) struct Input<'a> {
    pub(super) path: PathBuf,
    reader: Box<dyn Read + 'a>,
    /// Length on disk, and whether it is packed.
    length: u64,
    packed: bool,
}

impl<'a> Input<'a> {
    /// Opens a regular file. The kind is looked at before opening, because opening a pipe waits for ever.
    pub(super) fn open(path: &Path) -> Result<Input<'static>> {
        let length = file_length(path)?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(Input::new(path, BufReader::with_capacity(1 << 16, file), length))
    }

    /// Reads bytes that are already in memory under the name `path`.
    pub(super) fn bytes(path: &Path, bytes: &'a [u8]) -> Self {
        Self::new(path, bytes, bytes.len() as u64)
    }

    fn new(path: &Path, reader: impl Read + 'a, length: u64) -> Self {
        let packed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let reader: Box<dyn Read + 'a> =
            if packed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
        Self { path: path.to_owned(), reader, length, packed }
    }

    /// Checks that a file whose header announces `total` bytes can have them, before anything of that size is
    /// allocated.
    pub(super) fn expect_total(&self, total: u64) -> Result<()> {
        let problem = if !self.packed && self.length < total {
            format!("truncated: its header announces {total} bytes, the file has {}", self.length)
        } else if !self.packed && self.length > total {
            format!("{} trailing bytes after the {total} that its header announces", self.length - total)
        } else {
            return expect_unpacked(&self.path, total, self.length);
        };
        Err(Error::data(&self.path, problem, "fetch or write the file again"))
    }

    /// Reads exactly `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = reserve(&self.path, count)?;
        let got = self.reader.by_ref().take(count).read_to_end(&mut bytes).map_err(broken(&self.path))?;
        if (got as u64) < count {
            return Err(truncated(&self.path));
        }
        Ok(bytes)
    }

    /// Refuses bytes after the last that belongs there.
    pub(super) fn expect_end(&mut self) -> Result<()> {
        expect_end(&self.path, &mut self.reader)
    }
}

/// Length of the regular file `path`.
pub(super) fn file_length(path: &Path) -> Result<u64> {
    let meta = std::fs::metadata(path).map_err(|source| {
        if source.kind() == ErrorKind::NotFound {
            Error::data(path, "no such file or folder", "check the path")
        } else {
            Error::io("read", path)(source)
        }
    })?;
    if !meta.is_file() {
        return Err(Error::data(path, "not a regular file", "name a file, not a folder, pipe or device"));
    }
    Ok(meta.len())
}

/// Checks that `packed` bytes can unpack to `total`.
pub(super) fn expect_unpacked(path: &Path, total: u64, packed: u64) -> Result<()> {
    if total > packed.saturating_mul(DEFLATE_RATIO).max(1 << 16) {
        let problem =
            format!("its header announces {total} bytes, more than its {packed} bytes can unpack to");
        return Err(Error::data(path, problem, "the header is damaged: fetch or write the file again"));
    }
    Ok(())
}

/// Room for `count` values, or an error where the machine has none.
pub(super) fn reserve<T>(path: &Path, count: u64) -> Result<Vec<T>> {
    let bytes = count.saturating_mul(size_of::<T>() as u64);
    let mut values = Vec::new();
    let fits = bytes <= MAX_BYTES
        && usize::try_from(count).is_ok_and(|count| values.try_reserve_exact(count).is_ok());
    if !fits {
        let problem =
            format!("{:.1} GiB in memory are more than can be held", bytes as f64 / f64::powi(2.0, 30));
        let hint =
            "use --train-limit, or store the rows as .npy of uint8 or float32, which is mapped from disk";
        return Err(Error::data(path, problem, hint));
    }
    Ok(values)
}

/// Refuses bytes after the last that belongs there. Reading on to the end also makes gzip and zip verify their sums.
pub(super) fn expect_end(path: &Path, reader: &mut dyn Read) -> Result<()> {
    loop {
        return match reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::data(
                path,
                "trailing bytes after the last value that its header announces",
                "fetch or write the file again",
            )),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(broken(path)(error)),
        };
    }
}

/// The error of a file that ends too soon.
pub(super) fn truncated(path: &Path) -> Error {
    Error::data(
        path,
        "truncated: it ends before the last value that its header announces",
        "fetch or write it again",
    )
}

/// What a failed read means: damaged contents, or a system that refuses.
pub(super) fn broken(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| match error.kind() {
        ErrorKind::UnexpectedEof => truncated(&path),
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
            Error::data(&path, format!("damaged: {error}"), "fetch or write the file again")
        }
        _ => Error::io("read", &path)(error),
    }
}
