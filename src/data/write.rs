//! Writing files so that a crash leaves the old file or the new one: under a temporary name in the same folder, synced,
//! then renamed.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A file that appears under its name when [`AtomicFile::commit`] succeeds, and leaves nothing behind when dropped before.
///
/// A link is followed, so that the file it names is replaced and not the link. Something that is neither a file nor a
/// folder (`/dev/stdout`, a pipe) is written to directly: a rename would replace the device.
pub struct AtomicFile {
    target: PathBuf,
    sink: Sink,
}

enum Sink {
    Temporary(BufWriter<NamedTempFile>),
    Direct(BufWriter<File>),
}

impl AtomicFile {
    /// Starts to write `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when `path` is a folder or its folder cannot be written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let sink = match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(Error::io("write", path)(ErrorKind::IsADirectory.into()));
            }
            Ok(meta) if !meta.is_file() => {
                let file = File::options().write(true).open(path).map_err(Error::io("write", path))?;
                Sink::Direct(BufWriter::new(file))
            }
            _ => Sink::Temporary(BufWriter::new(temporary(&target).map_err(Error::io("create", path))?)),
        };
        Ok(Self { target, sink })
    }

    /// Syncs the contents and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full or the rename is refused; the old file then stays as it was.
    pub fn commit(self) -> Result<()> {
        let target = self.target;
        let done = match self.sink {
            Sink::Direct(mut file) => file.flush(),
            Sink::Temporary(file) => {
                file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
                    file.as_file().sync_all()?;
                    file.persist(&target)?;
                    sync_folder(&target);
                    Ok(())
                })
            }
        };
        done.map_err(Error::io("write", target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Temporary(file) => file.write(bytes),
            Sink::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Temporary(file) => file.flush(),
            Sink::Direct(file) => file.flush(),
        }
    }
}

fn temporary(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cs231n-gpu-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Results are as readable as the umask lets new files be; the default for temporary files is the owner alone.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Makes the rename itself last. Not every file system can sync a folder, and the file is whole either way.
fn sync_folder(target: &Path) {
    #[cfg(unix)]
    if let Some(folder) = target.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = target;
}

/// Writes `bytes` to `path`.
///
/// # Errors
/// [`Error::Io`]; the old file then stays as it was.
pub fn bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit()
}

/// Writes `text` to `path`.
///
/// # Errors
/// [`Error::Io`]; the old file then stays as it was.
pub fn text(path: impl AsRef<Path>, text: &str) -> Result<()> {
    bytes(path, text.as_bytes())
}

/// What a .npy file may hold.
pub trait Element: Pod {
    /// Kind and size as numpy writes them, without the byte order.
    const KIND: &'static str;
}

impl Element for u8 {
    const KIND: &'static str = "u1";
}
impl Element for u32 {
    const KIND: &'static str = "u4";
}
impl Element for i32 {
    const KIND: &'static str = "i4";
}
impl Element for i64 {
    const KIND: &'static str = "i8";
}
impl Element for f32 {
    const KIND: &'static str = "f4";
}
impl Element for f64 {
    const KIND: &'static str = "f8";
}

/// Writes `values` as a .npy array of `shape`, C order.
///
/// # Errors
/// [`Error::Shape`] when `shape` does not hold as many values; [`Error::Io`], and the old file then stays as it was.
pub fn npy<T: Element>(path: impl AsRef<Path>, shape: &[usize], values: &[T]) -> Result<()> {
    let mut writer = NpyWriter::create(path, shape)?;
    writer.push(values)?;
    writer.finish()
}

/// Writes a .npy array block by block, so that a matrix larger than memory can be written as it comes.
pub struct NpyWriter<T> {
    file: AtomicFile,
    path: PathBuf,
    /// Values still missing.
    missing: usize,
    element: PhantomData<T>,
}

impl<T: Element> NpyWriter<T> {
    /// Starts an array of `shape`, C order.
    ///
    /// # Errors
    /// [`Error::Shape`] for more values than can be counted; [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, shape: &[usize]) -> Result<Self> {
        let path = path.as_ref();
        let count = shape.iter().try_fold(1usize, |count, &d| count.checked_mul(d));
        let Some(missing) = count else {
            return Err(Error::shape("npy", format!("{shape:?} is too large"), "write it in parts"));
        };
        let mut file = AtomicFile::create(path)?;
        file.write_all(&header::<T>(shape)).map_err(Error::io("write", path))?;
        Ok(Self { file, path: path.to_owned(), missing, element: PhantomData })
    }

    /// Appends the next values, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] when they are more than the shape has room for; [`Error::Io`].
    pub fn push(&mut self, values: &[T]) -> Result<()> {
        if values.len() > self.missing {
            let problem = format!("{} values where {} are missing", values.len(), self.missing);
            return Err(Error::shape("npy", problem, "write as many values as the shape says"));
        }
        self.missing -= values.len();
        self.file.write_all(bytemuck::cast_slice(values)).map_err(Error::io("write", &self.path))
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Shape`] when values are missing; [`Error::Io`]. The old file then stays as it was.
    pub fn finish(self) -> Result<()> {
        if self.missing > 0 {
            let problem = format!("{} values are missing", self.missing);
            return Err(Error::shape("npy", problem, "write as many values as the shape says"));
        }
        self.file.commit()
    }
}

/// The header of format 1.0 (numpy's NEP 1): magic, version, length, a Python dict, padded so that the data start at a
/// multiple of 64 bytes and can be mapped.
fn header<T: Element>(shape: &[usize]) -> Vec<u8> {
    let order = match (size_of::<T>(), cfg!(target_endian = "little")) {
        (1, _) => '|',
        (_, true) => '<',
        (_, false) => '>',
    };
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut dict =
        format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({shape}{comma}), }}", T::KIND);
    let prefix = 10;
    while (prefix + dict.len() + 1) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.bytes());
    bytes
}
