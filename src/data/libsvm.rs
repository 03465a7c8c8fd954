//! The text format of LIBSVM (<https://www.csie.ntu.edu.tw/~cjlin/libsvm/>): `label index:value …` a line, indices from 1,
//! strictly ascending, what is absent is 0, `#` begins a comment. Rows are made dense; the largest index of training and
//! test rows together is the number of features.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::csv::{finish, number, split};
use super::input::{broken, file_length, reserve};
use super::labels::Names;
use super::parts::{Features, Ids, Parts};
use super::{Labels, Limits, TableOptions, TestRows, name_of};
use crate::error::{Error, Result};
use crate::rows::{Rows, Values};

/// Rows before they are made dense.
#[derive(Default)]
struct Sparse {
    /// Where each row ends in `entries`.
    ends: Vec<usize>,
    /// Index from 0, and value.
    entries: Vec<(u32, f32)>,
    /// Absent where labels are ignored.
    ids: Option<Vec<u32>>,
    features: usize,
}

/// Reads a file, and splits it or reads the test rows from another one.
pub(super) fn load(path: &Path, table: &TableOptions, limits: Limits, labels: Labels) -> Result<Parts> {
    if table.label.is_some() {
        let problem =
            format!("{}: a libsvm file has its labels in front and no columns to name", path.display());
        return Err(Error::usage(problem, "leave --label out"));
    }
    let mut names = (labels == Labels::Read).then(Names::default);
    let parts = match table.test.as_ref().unwrap_or(&TestRows::DEFAULT) {
        TestRows::File(test_path) => {
            let train = Sparse::read(path, limits.train, &mut names)?;
            let test = Sparse::read(test_path, limits.test, &mut names)?;
            let features = train.features.max(test.features);
            let (train, train_labels) = train.dense(path, features)?;
            let (test, test_labels) = test.dense(test_path, features)?;
            (train, train_labels, test, test_labels)
        }
        &TestRows::Fraction { fraction, seed } => {
            let all = Sparse::read(path, None, &mut names)?;
            let features = all.features;
            let (all, labels) = all.dense(path, features)?;
            split(all, labels, fraction, seed, limits)?
        }
    };
    Ok(finish(name_of(path), parts, names))
}

impl Sparse {
    fn read(path: &Path, limit: Option<usize>, names: &mut Option<Names>) -> Result<Self> {
        file_length(path)?;
        let mut reader = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
        let mut rows = Self { ids: names.as_ref().map(|_| Vec::new()), ..Self::default() };
        let (mut line, mut number) = (String::new(), 0);
        while limit.is_none_or(|limit| rows.ends.len() < limit) {
            line.clear();
            number += 1;
            let read = reader.read_line(&mut line).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => {
                    Error::data(path, format!("line {number}: no text"), "is this a libsvm file?")
                }
                _ => broken(path)(error),
            })?;
            if read == 0 {
                break;
            }
            let text = line.split('#').next().unwrap_or_default();
            rows.line(text, path, names, number).map_err(|refused| refused.at(path, number))?;
        }
        Ok(rows)
    }

    fn line(
        &mut self,
        text: &str,
        path: &Path,
        names: &mut Option<Names>,
        number: usize,
    ) -> Result<(), Refused> {
        let mut words = text.split_whitespace().peekable();
        let Some(&label) = words.peek() else { return Ok(()) };
        match (names, &mut self.ids) {
            (Some(names), Some(ids)) => {
                words.next();
                ids.push(class(label, path, names, number)?);
            }
            // A row without a label begins with its first feature.
            _ => drop(words.next_if(|word| !word.contains(':'))),
        }
        let mut last = 0;
        for (i, word) in words.enumerate() {
            let place = || format!("column {} ('{word}')", i + 1);
            let refuse = |problem: &str, hint| Refused::new(format!("{}: {problem}", place()), hint);
            let Some((index, value)) = word.split_once(':') else {
                return Err(refuse("not of the form index:value", "write index:value, separated by spaces"));
            };
            let index: u32 = index.parse().map_err(|_| {
                refuse("the index is no whole number of 32 bits", "number the features from 1")
            })?;
            if index == 0 {
                let hint =
                    "number the features from 1 (scikit-learn: dump_svmlight_file(…, zero_based=False))";
                return Err(refuse("index 0", hint));
            }
            if index <= last {
                let problem = if index == last { "the index comes twice" } else { "the indices descend" };
                return Err(refuse(problem, "give each index once, in ascending order"));
            }
            let value = self::number(value).map_err(|(problem, hint)| refuse(&problem, hint))?;
            last = index;
            self.entries.push((index - 1, value));
        }
        self.features = self.features.max(last as usize);
        self.ends.push(self.entries.len());
        Ok(())
    }

    fn dense(self, path: &Path, features: usize) -> Result<(Features, Option<Ids>)> {
        if features == 0 && self.ends.is_empty() {
            return Err(Error::data(path, "the training set is empty", "give at least one row with a value"));
        }
        if features == 0 {
            return Err(Error::data(path, "no row has a feature", "write label index:value …"));
        }
        let count = self.ends.len() as u64 * features as u64;
        let mut values = reserve(path, count)?;
        values.resize(count as usize, 0.0);
        let mut start = 0;
        for (row, end) in values.chunks_exact_mut(features).zip(self.ends) {
            for &(index, value) in &self.entries[start..end] {
                row[index as usize] = value;
            }
            start = end;
        }
        let rows = Rows::new(Values::F32(values), features)?;
        let ids = self.ids.map(|ids| Ids { path: path.to_owned(), ids });
        Ok((Features { path: path.to_owned(), rows }, ids))
    }
}

/// The provisional id of a label.
fn class(label: &str, path: &Path, names: &mut Names, number: usize) -> Result<u32, Refused> {
    // By value, so that 1, +1 and 1.0 are one class; adding 0 makes -0 the same class as 0.
    let value = label.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(|| {
        Refused::new(
            format!("label '{label}' is no number"),
            "give one number as the label; is this a libsvm file?",
        )
    })? + 0.0;
    names.id(&value.to_string(), path, || format!("line {number}")).map_err(Refused::Whole)
}

/// Why a line is refused, before its place is known.
enum Refused {
    Here(String, &'static str),
    Whole(Error),
}

impl Refused {
    fn new(problem: String, hint: &'static str) -> Self {
        Self::Here(problem, hint)
    }

    fn at(self, path: &Path, line: usize) -> Error {
        match self {
            Self::Here(problem, hint) => Error::data(path, format!("line {line}, {problem}"), hint),
            Self::Whole(error) => error,
        }
    }
}
