//! Arrays in .npy files and in .npz archives of them.
//!
//! `uint8` stays `u8`; every other dtype becomes `f32`. 64-bit floats are rounded to the nearest `f32`; integers that an
//! `f32` cannot hold exactly (beyond 2²⁴), and values beyond the range of `f32`, are refused, because distances between
//! silently changed values would be wrong without a sign of it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::input::{self, broken, expect_end, expect_unpacked, file_length, reserve, truncated};
use super::labels::{MAX_CLASSES, checked};
use super::npy_header::{Dtype, Header, Kind};
use super::{ImageShape, check_finite};
use crate::error::{Error, Result};
use crate::rows::{Rows, Values};

/// Files from this size on are mapped instead of read, so that training sets larger than memory stream from disk.
/// Smaller ones are read: a file that another program cuts short while it is mapped kills the process.
const MAP_FROM: u64 = 64 << 20;

/// Elements that are read and converted at a time.
const CHUNK: usize = 1 << 16;

/// Labels as an array holds them.
#[derive(Debug, PartialEq)]
pub(super) enum Labels {
    /// Integers, checked to be class ids.
    Ids(Vec<u32>),
    /// Strings.
    Names(Vec<String>),
}

/// One array, opened: its header is read and agrees with the file's length.
pub(super) struct Array<'a> {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    reader: Box<dyn Read + 'a>,
    /// The whole file, where it is one.
    file: Option<PathBuf>,
}

/// Opens a .npy file.
pub(super) fn open(path: &Path) -> Result<Array<'static>> {
    let length = file_length(path)?;
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let header = Header::read(path, &mut reader)?;
    expect_length(path, &header, length)?;
    Ok(Array { path: path.to_owned(), header, reader: Box::new(reader), file: Some(path.to_owned()) })
}

/// An archive of arrays.
pub(super) struct Archive {
    path: PathBuf,
    zip: zip::ZipArchive<BufReader<File>>,
}

impl Archive {
    /// Opens a .npz file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        file_length(path)?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        let zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| no_archive(path, error))?;
        Ok(Self { path: path.to_owned(), zip })
    }

    /// Names of the arrays.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.zip.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned());
        names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned)).collect()
    }

    /// The array `name`, or `None` when the archive has none of that name.
    pub(super) fn array(&mut self, name: &str) -> Result<Option<Array<'_>>> {
        // Messages name the array as a file inside the archive.
        let path = self.path.join(format!("{name}.npy"));
        let mut entry = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(no_archive(&path, error)),
        };
        let (length, packed) = (entry.size(), entry.compressed_size());
        expect_unpacked(&path, length, packed)?;
        let header = Header::read(&path, &mut entry)?;
        expect_length(&path, &header, length)?;
        Ok(Some(Array {
            path,
            header,
            reader: Box::new(BufReader::with_capacity(1 << 16, entry)),
            file: None,
        }))
    }
}

fn no_archive(path: &Path, error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::Io(error) => broken(path)(error),
        error => {
            let hint = "write the archive again with numpy.savez or numpy.savez_compressed";
            Error::data(path, format!("damaged, or no .npz archive: {error}"), hint)
        }
    }
}

fn expect_length(path: &Path, header: &Header, length: u64) -> Result<()> {
    let total = header.total();
    if length == total {
        return Ok(());
    }
    let kind = if length < total { "truncated" } else { "trailing bytes" };
    let problem =
        format!("{kind}: its header {:?} announces {total} bytes, there are {length}", header.shape);
    Err(Error::data(path, problem, "write the file again"))
}

impl Array<'_> {
    /// The first `limit` rows, all further axes flattened into features.
    pub(super) fn rows(self, limit: Option<usize>) -> Result<Rows> {
        self.rows_mapped_from(limit, MAP_FROM)
    }

    /// Like [`Array::rows`], and a vector counts as rows of one feature.
    pub(super) fn any_rows(mut self, limit: Option<usize>) -> Result<Rows> {
        if self.header.shape.len() == 1 {
            self.header.shape.push(1);
        }
        self.rows(limit)
    }

    fn rows_mapped_from(mut self, limit: Option<usize>, map_from: u64) -> Result<Rows> {
        let shape = self.header.shape.clone();
        let dtype = self.header.dtype;
        let features = match shape.get(1..) {
            Some(sizes) if !sizes.is_empty() => sizes.iter().product::<usize>(),
            _ => {
                let problem = format!("an array of shape {shape:?} has no rows of features");
                return Err(Error::data(&self.path, problem, "save a matrix: x.reshape(len(x), -1)"));
            }
        };
        if features == 0 {
            return Err(Error::data(
                &self.path,
                format!("rows of no features: shape {shape:?}"),
                "give features",
            ));
        }
        if matches!(dtype.kind, Kind::Bytes | Kind::Text) {
            let problem = format!("rows of strings ({dtype})");
            return Err(Error::data(&self.path, problem, "save numbers, e.g. x.astype('float32')"));
        }
        let rows = limit.map_or(shape[0], |limit| limit.min(shape[0]));
        let fortran = self.header.fortran && shape[0] > 1 && features > 1;
        if fortran && shape.len() > 2 {
            let hint = "save it in C order: numpy.save(path, numpy.ascontiguousarray(x))";
            return Err(Error::data(&self.path, format!("shape {shape:?} in Fortran order"), hint));
        }
        if !fortran
            && self.header.total() >= map_from
            && let Some(rows) = self.map(rows, features)?
        {
            return Ok(rows);
        }
        if fortran {
            let all = self.values(shape[0], features, true)?;
            let mut all = Rows::new(transpose(&self.path, &all, shape[0], features)?, features)?;
            all.truncate(rows);
            return Ok(all);
        }
        Rows::new(self.values(rows, features, rows == shape[0])?, features)
    }

    /// The rows mapped from disk, where their bytes are as the machine needs them.
    fn map(&self, rows: usize, features: usize) -> Result<Option<Rows>> {
        let Some(path) = &self.file else { return Ok(None) };
        let header = &self.header;
        let size = header.dtype.size;
        let usable = match (header.dtype.kind, size) {
            (Kind::Uint, 1) => true,
            (Kind::Float, 4) => !header.dtype.big_endian && cfg!(target_endian = "little"),
            _ => false,
        };
        if !usable {
            return Ok(None);
        }
        let start = header.offset as usize;
        let span = start..start + rows * features * size;
        let Some(mapped) = map_file(path, span, size == 4, features)? else { return Ok(None) };
        check_finite(&self.path, mapped.view())?;
        Ok(Some(mapped))
    }

    /// Reads `rows · features` elements; `whole` when nothing may follow them.
    fn values(&mut self, rows: usize, features: usize, whole: bool) -> Result<Values> {
        let count = rows as u64 * features as u64;
        let dtype = self.header.dtype;
        let values = if (dtype.kind, dtype.size) == (Kind::Uint, 1) {
            let mut bytes = reserve(&self.path, count)?;
            let got = (&mut self.reader).take(count).read_to_end(&mut bytes).map_err(broken(&self.path))?;
            if (got as u64) < count {
                return Err(truncated(&self.path));
            }
            Values::U8(bytes)
        } else {
            let mut values: Vec<f32> = reserve(&self.path, count)?;
            let (path, shape, fortran) = (self.path.clone(), self.header.shape.clone(), self.header.fortran);
            self.chunks(count, |bytes| {
                let before = values.len();
                to_f32(dtype, bytes, &mut values).map_err(|(at, problem, hint)| {
                    let i = before + at;
                    let (row, column) =
                        if fortran { (i % shape[0], i / shape[0]) } else { (i / features, i % features) };
                    Error::data(&path, format!("row {row}, column {column} (from 0): {problem}"), hint)
                })
            })?;
            Values::F32(values)
        };
        if whole {
            expect_end(&self.path, &mut self.reader)?;
        }
        Ok(values)
    }

    /// The labels of a vector, or of a matrix with one column. All are read whatever the limit on rows, so that the number
    /// of classes does not depend on it.
    pub(super) fn labels(mut self) -> Result<Labels> {
        let shape = &self.header.shape;
        let rows = match shape[..] {
            [rows] | [rows, 1] => rows,
            _ => {
                let problem = format!("labels of shape {shape:?}");
                return Err(Error::data(
                    &self.path,
                    problem,
                    "save one label per row: a vector, y.argmax(1) if one-hot",
                ));
            }
        };
        let (dtype, path) = (self.header.dtype, self.path.clone());
        let strings = matches!(dtype.kind, Kind::Bytes | Kind::Text);
        if dtype.kind == Kind::Float {
            let hint = "save class ids: y.astype('int64')";
            return Err(Error::data(
                &path,
                format!("labels of dtype {dtype}, not integers or strings"),
                hint,
            ));
        }
        let (mut ids, mut names) = (Vec::new(), Vec::new());
        self.chunks(rows as u64, |bytes| {
            for element in bytes.chunks_exact(dtype.size) {
                if strings {
                    let name = to_text(dtype, element).ok_or_else(|| {
                        let problem = format!("row {} (from 0): a label that is no text", names.len());
                        Error::data(&path, problem, "save labels as UTF-8 or as integers")
                    })?;
                    names.push(name);
                } else {
                    ids.push(checked(&path, ids.len(), to_integer(dtype, element), MAX_CLASSES)?);
                }
            }
            Ok(())
        })?;
        expect_end(&self.path, &mut self.reader)?;
        Ok(if strings { Labels::Names(names) } else { Labels::Ids(ids) })
    }

    /// Hands out `count` elements in pieces, little endian.
    fn chunks(&mut self, count: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Dtype { size, big_endian, kind } = self.header.dtype;
        let unit = if kind == Kind::Text { 4 } else { size };
        let mut buffer = vec![0; (CHUNK as u64).min(count) as usize * size];
        let mut left = count;
        while left > 0 {
            let now = left.min(CHUNK as u64);
            let bytes = &mut buffer[..now as usize * size];
            self.reader.read_exact(bytes).map_err(input::broken(&self.path))?;
            if big_endian && kind != Kind::Bytes {
                bytes.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
            take(bytes)?;
            left -= now;
        }
        Ok(())
    }
}

/// The shape of the images of an array of shape (N, H, W), (N, C, H, W) or (N, H, W, 1), with C = 1 or 3.
pub(super) fn image(shape: &[usize]) -> Option<ImageShape> {
    match *shape {
        [_, height, width] | [_, 1, height, width] | [_, height, width, 1] => {
            Some(ImageShape { channels: 1, height, width })
        }
        [_, 3, height, width] => Some(ImageShape { channels: 3, height, width }),
        _ => None,
    }
}

/// Maps bytes `span` of a file as rows of `u8` or `f32`; `None` where they are not aligned or the system cannot map.
fn map_file(path: &Path, span: Range<usize>, floats: bool, features: usize) -> Result<Option<Rows>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // SAFETY: a mapping is a slice whose bytes must not change while it is borrowed. The file is opened to read and
    // nothing here writes to it (results are renamed into place, so that even an output of the same name leaves this
    // file's bytes alone). Another program that changes the file can change the values read, which every bit pattern of
    // u8 and f32 allows for, or end this process by cutting the file short; MAP_FROM keeps the latter to files that may
    // not fit in memory, and the documentation of `data` says so.
    match unsafe { memmap2::Mmap::map(&file) } {
        Ok(map) => Ok(Rows::mapped(Arc::new(map), span, floats, features)),
        Err(_) => Ok(None),
    }
}

fn transpose(path: &Path, columns: &Values, rows: usize, features: usize) -> Result<Values> {
    fn by_rows<T: Copy>(path: &Path, columns: &[T], rows: usize, features: usize) -> Result<Vec<T>> {
        let mut values = reserve(path, columns.len() as u64)?;
        values
            .extend((0..rows).flat_map(|row| (0..features).map(move |column| columns[column * rows + row])));
        Ok(values)
    }
    Ok(match columns {
        Values::U8(v) => Values::U8(by_rows(path, v, rows, features)?),
        Values::F32(v) => Values::F32(by_rows(path, v, rows, features)?),
    })
}

/// Where in the chunk, what is wrong, what to do.
type Refused = (usize, String, &'static str);

/// Appends little-endian elements as `f32`.
fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), Refused> {
    /// Appends `value` of each element, where there is one.
    fn each<const N: usize>(
        bytes: &[u8],
        out: &mut Vec<f32>,
        value: impl Fn([u8; N]) -> Result<f32, (String, &'static str)>,
    ) -> Result<(), Refused> {
        for (i, element) in bytes.as_chunks::<N>().0.iter().enumerate() {
            out.push(value(*element).map_err(|(problem, hint)| (i, problem, hint))?);
        }
        Ok(())
    }
    match (dtype.kind, dtype.size) {
        (Kind::Float, 2) => each(bytes, out, |b| float(f64::from(half(u16::from_le_bytes(b))))),
        (Kind::Float, 4) => each(bytes, out, |b| {
            let value = f32::from_le_bytes(b);
            if value.is_finite() { Ok(value) } else { float(f64::from(value)) }
        }),
        (Kind::Float, _) => each(bytes, out, |b| float(f64::from_le_bytes(b))),
        (Kind::Int, 1) => each(bytes, out, |b| Ok(f32::from(i8::from_le_bytes(b)))),
        (Kind::Int, 2) => each(bytes, out, |b| Ok(f32::from(i16::from_le_bytes(b)))),
        (Kind::Int, 4) => each(bytes, out, |b| integer(i32::from_le_bytes(b).into())),
        (Kind::Int, _) => each(bytes, out, |b| integer(i64::from_le_bytes(b).into())),
        (Kind::Uint, 2) => each(bytes, out, |b| Ok(f32::from(u16::from_le_bytes(b)))),
        (Kind::Uint, 4) => each(bytes, out, |b| integer(u32::from_le_bytes(b).into())),
        (Kind::Uint, 8) => each(bytes, out, |b| integer(u64::from_le_bytes(b).into())),
        // Strings were refused; what is left is bool and uint8.
        _ => each(bytes, out, |[b]| Ok(f32::from(b))),
    }
}

fn float(value: f64) -> Result<f32, (String, &'static str)> {
    let narrow = value as f32;
    match (value.is_finite(), narrow.is_finite()) {
        (_, true) => Ok(narrow),
        (false, _) => Err((format!("{value} is not a finite number"), super::NOT_FINITE)),
        (true, false) => {
            Err((format!("{value:e} is beyond the range of 32-bit floats"), "rescale the features"))
        }
    }
}

fn integer(value: i128) -> Result<f32, (String, &'static str)> {
    let narrow = value as f32;
    if narrow as i128 == value {
        return Ok(narrow);
    }
    let hint = "subtract an offset, or round on purpose: x.astype('float32')";
    Err((format!("{value} is not exact as a 32-bit float"), hint))
}

/// An IEEE 754 half (binary16), exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (fraction + 1024.0) * 2f32.powi(exponent - 25),
    }
}

/// A little-endian integer or bool of up to 8 bytes.
fn to_integer(dtype: Dtype, element: &[u8]) -> i128 {
    let negative = dtype.kind == Kind::Int && element.last().is_some_and(|b| b >> 7 == 1);
    let mut bytes = [if negative { 255 } else { 0 }; 16];
    bytes[..element.len()].copy_from_slice(element);
    i128::from_le_bytes(bytes)
}

/// A string without its padding.
fn to_text(dtype: Dtype, element: &[u8]) -> Option<String> {
    let text = if dtype.kind == Kind::Text {
        let codes = element.as_chunks::<4>().0.iter().map(|b| char::from_u32(u32::from_le_bytes(*b)));
        codes.collect::<Option<String>>()?
    } else {
        String::from_utf8(element.to_vec()).ok()?
    };
    Some(text.trim_end_matches('\0').to_owned())
}
