//! The header of a .npy file (numpy's NEP 1, format versions 1 to 3).
//!
//! A header is a Python literal. Only the one form that numpy writes is read, a flat dict of three keys, by a loop:
//! a general parser would recurse on what a hostile file nests, and multiply shapes without looking.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::input::{broken, truncated};
use crate::error::{Error, Result};

/// Longest header that is read; numpy itself refuses longer ones than this by default.
const LONGEST: usize = 10_000;

/// What the elements of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    /// Bytes, padded with zeros.
    Bytes,
    /// UTF-32, padded with zeros.
    Text,
}

/// Kind, bytes per element and byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dtype {
    pub(super) kind: Kind,
    pub(super) size: usize,
    pub(super) big_endian: bool,
}

impl Dtype {
    /// From numpy's type string, like `<f4`.
    fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        let big_endian = match chars.next()? {
            '<' | '|' => false,
            '>' => true,
            '=' => cfg!(target_endian = "big"),
            _ => return None,
        };
        let kind = match chars.next()? {
            'b' => Kind::Bool,
            'i' => Kind::Int,
            'u' => Kind::Uint,
            'f' => Kind::Float,
            'S' | 'a' => Kind::Bytes,
            'U' => Kind::Text,
            _ => return None,
        };
        let digits = chars.as_str();
        let count: usize = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        let size = if kind == Kind::Text { count.checked_mul(4)? } else { count };
        let known = match kind {
            Kind::Bool => size == 1,
            Kind::Int | Kind::Uint => matches!(size, 1 | 2 | 4 | 8),
            Kind::Float => matches!(size, 2 | 4 | 8),
            // Longer strings are no labels, and a chunk of them must fit in memory.
            Kind::Bytes | Kind::Text => (1..=4096).contains(&size),
        };
        known.then_some(Self { kind, size, big_endian })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, count) = match self.kind {
            Kind::Bool => return f.write_str("bool"),
            Kind::Int => ("int", self.size * 8),
            Kind::Uint => ("uint", self.size * 8),
            Kind::Float => ("float", self.size * 8),
            Kind::Bytes => ("bytes", self.size),
            Kind::Text => ("str", self.size / 4),
        };
        write!(f, "{name}{count}")?;
        if self.big_endian && self.size > 1 { f.write_str(" (big endian)") } else { Ok(()) }
    }
}

/// A header whose sizes cannot overflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dtype: Dtype,
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
    /// Bytes before the first element.
    pub(super) offset: u64,
    /// Bytes of all elements.
    pub(super) bytes: u64,
}

impl Header {
    /// Reads a header and leaves `reader` at the first element.
    pub(super) fn read(path: &Path, reader: &mut dyn Read) -> Result<Self> {
        let no_array = || {
            Error::data(path, "no .npy array: it does not begin with \\x93NUMPY", "save it with numpy.save")
        };
        let mut start = [0; 8];
        fill(path, reader, &mut start).map_err(|_| no_array())?;
        if start[..6] != *b"\x93NUMPY" {
            return Err(no_array());
        }
        let (length, prefix) = match start[6] {
            1 => {
                let mut length = [0; 2];
                fill(path, reader, &mut length)?;
                (u32::from(u16::from_le_bytes(length)), 10)
            }
            2 | 3 => {
                let mut length = [0; 4];
                fill(path, reader, &mut length)?;
                (u32::from_le_bytes(length), 12)
            }
            version => {
                let problem = format!("a .npy of format version {version}; 1 to 3 are known");
                return Err(Error::data(path, problem, "save it with numpy.save"));
            }
        };
        if length as usize > LONGEST {
            let problem = format!("its header of {length} bytes is longer than the {LONGEST} that are read");
            return Err(Error::data(path, problem, "save a plain array of numbers"));
        }
        let mut text = vec![0; length as usize];
        fill(path, reader, &mut text)?;
        let fields = std::str::from_utf8(&text).ok().and_then(parse).ok_or_else(|| {
            Error::data(
                path,
                "its header is no dict of descr, fortran_order and shape with one plain dtype",
                "save a plain array of numbers: structured arrays are not read",
            )
        })?;
        let Some(dtype) = Dtype::parse(&fields.descr) else {
            let problem = format!("elements of dtype '{}' are not read", fields.descr);
            let hint =
                "save numbers, e.g. x.astype('float32'); objects would need pickle, which can run any code";
            return Err(Error::data(path, problem, hint));
        };
        let bytes = fields
            .shape
            .iter()
            .try_fold(dtype.size as u64, |bytes, &d| bytes.checked_mul(d as u64))
            .ok_or_else(|| {
                let problem = format!("its header's shape {:?} is absurdly large", fields.shape);
                Error::data(path, problem, "the header is damaged: write the file again")
            })?;
        let offset = prefix + u64::from(length);
        Ok(Self { dtype, fortran: fields.fortran, shape: fields.shape, offset, bytes })
    }

    /// Bytes of the whole file.
    pub(super) fn total(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

fn fill(path: &Path, reader: &mut dyn Read, bytes: &mut [u8]) -> Result<()> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated(path),
        _ => broken(path)(error),
    })
}

struct Fields {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

fn parse(text: &str) -> Option<Fields> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let after = match key {
            "descr" => {
                let (text, after) = quoted(value)?;
                descr = Some(text.to_owned());
                after
            }
            "fortran_order" => {
                let yes = value.strip_prefix("True");
                fortran = Some(yes.is_some());
                yes.or_else(|| value.strip_prefix("False"))?
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                let mut sizes: Vec<&str> = inside.split(',').map(str::trim).collect();
                // The comma after the last size, and the empty tuple.
                if sizes.last() == Some(&"") {
                    sizes.pop();
                }
                // Python 2 wrote long integers as 10L.
                let sizes = sizes.iter().map(|d| d.strip_suffix('L').unwrap_or(d).parse().ok());
                shape = Some(sizes.collect::<Option<Vec<usize>>>()?);
                after
            }
            _ => return None,
        };
        let after = after.trim_start();
        rest = if after.is_empty() { after } else { after.strip_prefix(',')?.trim_start() };
    }
    Some(Fields { descr: descr?, fortran: fortran?, shape: shape? })
}

/// The string literal that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dict: &str) -> Result<Header> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dict.len() as u16).to_le_bytes());
        bytes.extend(dict.bytes());
        Header::read(Path::new("x.npy"), &mut bytes.as_slice())
    }

    #[test]
    fn what_numpy_writes_is_read() {
        let header = read("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }     \n").unwrap();
        assert_eq!((header.shape, header.fortran, header.bytes), (vec![3, 4], false, 48));
        let header = read("{\"shape\":(5L,),\"fortran_order\":True,\"descr\":\">i8\"}").unwrap();
        assert_eq!(
            (header.shape, header.fortran, header.dtype.to_string()),
            (vec![5], true, "int64 (big endian)".into())
        );
        assert_eq!(read("{'descr': '|b1', 'fortran_order': False, 'shape': (), }").unwrap().bytes, 1);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let max = u64::MAX;
        for dict in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,,4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
            "{'descr': '<f3', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<é4', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<U99999999999999999999', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
            &format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({max}, {max})}}"),
            &format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({max}0,)}}"),
            &"(".repeat(9_000),
            &" ".repeat(10_001),
        ] {
            let error = read(dict).unwrap_err();
            assert!(matches!(error, Error::Data { .. }) && error.hint().is_some(), "{dict}: {error}");
        }
    }
}
