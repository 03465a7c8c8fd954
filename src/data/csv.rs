//! Tables of numbers with a label column: comma- or tab-separated text (RFC 4180), with or without a header line.
//!
//! The first line is a header when the label column is asked for by a name, or when none of its feature cells is a
//! number. Values are decimal and become the nearest `f32`.

use std::fs::File;
use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use super::input::file_length;
use super::labels::{Names, renumber};
use super::parts::{Features, Ids, Parts};
use super::{Labels, Limits, NOT_FINITE, TableOptions, TestRows, name_of};
use crate::error::{Error, Result};
use crate::rows::{Rows, Values};

/// Names of the label column that need no option.
const USUAL: [&str; 4] = ["label", "class", "target", "y"];

/// How the lines of a file are laid out.
#[derive(Debug, Clone)]
struct Layout {
    width: usize,
    /// Position of the label; test rows may have none.
    label: Option<usize>,
    header: Option<StringRecord>,
}

impl Layout {
    fn features(&self) -> usize {
        self.width - usize::from(self.label.is_some())
    }

    /// How a message calls a column.
    fn column(&self, column: usize) -> String {
        match self.header.as_ref().and_then(|header| header.get(column)) {
            Some(name) => format!("column {column} ('{name}')"),
            None => format!("column {column} (from 0)"),
        }
    }
}

/// Reads a table, and splits it or reads the test rows from another file.
pub(super) fn load(
    path: &Path,
    delimiter: u8,
    table: &TableOptions,
    limits: Limits,
    labels: Labels,
) -> Result<Parts> {
    let layout = layout(path, delimiter, table.label.as_deref(), labels)?;
    let mut names = (labels == Labels::Read).then(Names::default);
    let parts = match table.test.as_ref().unwrap_or(&TestRows::DEFAULT) {
        TestRows::File(test) => {
            let test_layout = matching(test, delimiter, path, &layout)?;
            let (train, train_labels) = read(path, delimiter, &layout, limits.train, &mut names)?;
            let (test, ids) = read(test, delimiter, &test_layout, limits.test, &mut names)?;
            let test_labels = test_layout.label.and(ids);
            (train, train_labels, test, test_labels)
        }
        &TestRows::Fraction { fraction, seed } => {
            let (all, labels) = read(path, delimiter, &layout, None, &mut names)?;
            split(all, labels, fraction, seed, limits)?
        }
    };
    Ok(finish(name_of(path), parts, names))
}

/// Training rows and labels, test rows and labels.
pub(super) type Read = (Features, Option<Ids>, Features, Option<Ids>);

/// Divides the rows of one file.
pub(super) fn split(
    all: Features,
    labels: Option<Ids>,
    fraction: f64,
    seed: Option<u64>,
    limits: Limits,
) -> Result<Read> {
    let (mut train, mut test) = super::split::holdout(all.rows.len(), fraction, seed)?;
    train.truncate(limits.train.unwrap_or(usize::MAX));
    test.truncate(limits.test.unwrap_or(usize::MAX));
    let rows = |order: &[usize]| Features { path: all.path.clone(), rows: all.rows.gather(order) };
    let ids = |order: &[usize]| {
        let labels = labels.as_ref()?;
        Some(Ids { path: labels.path.clone(), ids: order.iter().map(|&i| labels.ids[i]).collect() })
    };
    Ok((rows(&train), ids(&train), rows(&test), ids(&test)))
}

/// Puts the classes into order. Without `names`, labels were ignored.
pub(super) fn finish(name: String, read: Read, names: Option<Names>) -> Parts {
    let (train, mut train_labels, test, mut test_labels) = read;
    let (classes, class) = names.unwrap_or_default().finish();
    for labels in [&mut train_labels, &mut test_labels].into_iter().flatten() {
        renumber(&mut labels.ids, &class);
    }
    Parts { name, train, train_labels, test, test_labels, classes, image: None }
}

fn open(path: &Path, delimiter: u8) -> Result<::csv::Reader<File>> {
    file_length(path)?;
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter);
    Ok(builder.from_reader(file))
}

/// Reads the next line; `false` at the end.
fn next(path: &Path, reader: &mut ::csv::Reader<File>, record: &mut StringRecord) -> Result<bool> {
    reader.read_record(record).map_err(|error| {
        let line =
            error.position().map_or_else(String::new, |position| format!("line {}: ", position.line()));
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => Error::io("read", path)(error),
            ::csv::ErrorKind::Utf8 { err, .. } => Error::data(
                path,
                format!("{line}column {}: no UTF-8 text", err.field()),
                "save the file as UTF-8",
            ),
            _ => Error::data(path, format!("{line}no table"), "save the file as plain CSV"),
        }
    })
}

fn first(path: &Path, delimiter: u8) -> Result<StringRecord> {
    let mut record = StringRecord::new();
    if next(path, &mut open(path, delimiter)?, &mut record)? {
        return Ok(record);
    }
    Err(Error::data(path, "an empty file: no row", "give at least one row"))
}

fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok()
}

/// Finds the label column and whether there is a header. Where labels are ignored there need be no such column.
fn layout(path: &Path, delimiter: u8, label: Option<&str>, labels: Labels) -> Result<Layout> {
    let first = first(path, delimiter)?;
    let width = first.len();
    let named = |name: &str| first.iter().position(|cell| cell == name);
    let unknown = |problem: String| {
        let hint = format!("--label takes one of these columns: {}", columns(&first));
        Err(Error::data(path, problem, hint))
    };
    let (column, by_name) = match label {
        Some(name) => match (named(name), name.parse::<usize>()) {
            // A row of numbers is data, not a header, whatever number the label column is asked for by.
            (Some(column), Err(_)) => (Some(column), true),
            (Some(column), Ok(_)) if !first.iter().all(is_number) => (Some(column), true),
            (_, Ok(column)) if column < width => (Some(column), false),
            _ => return unknown(format!("no column '{name}' among the {width} of line 1")),
        },
        None => {
            let usual = |cell: &&str| USUAL.iter().any(|name| name.eq_ignore_ascii_case(cell));
            let found: Vec<&str> = first.iter().filter(usual).collect();
            match (found.as_slice(), found.first().and_then(|cell| named(cell))) {
                ([_], Some(column)) => (Some(column), true),
                ([], _) if labels == Labels::Ignored => (None, false),
                _ => return unknown("which column is the label?".into()),
            }
        }
    };
    if width < 1 + usize::from(column.is_some()) {
        return Err(Error::data(
            path,
            "no column besides the label",
            "give features, separated as the ending says",
        ));
    }
    let features = || first.iter().enumerate().filter(|&(i, _)| Some(i) != column);
    let header = by_name || features().all(|(_, cell)| !is_number(cell));
    Ok(Layout { width, label: column, header: header.then_some(first.clone()) })
}

/// The columns as a message lists them.
fn columns(record: &StringRecord) -> String {
    let mut list: Vec<String> =
        record.iter().take(20).enumerate().map(|(i, name)| format!("{i} '{name}'")).collect();
    if record.len() > list.len() {
        list.push(format!("… {} in all", record.len()));
    }
    list.join(", ")
}

/// The layout of test rows: that of the training rows, or the same without the label.
fn matching(path: &Path, delimiter: u8, train_path: &Path, train: &Layout) -> Result<Layout> {
    let first = match first(path, delimiter) {
        Ok(first) => first,
        // An empty query set is fine.
        Err(Error::Data { problem, .. }) if problem.starts_with("an empty file") => {
            return Ok(Layout { header: None, ..train.clone() });
        }
        Err(error) => return Err(error),
    };
    let label = if first.len() == train.width {
        train.label
    } else if train.label.is_some() && first.len() + 1 == train.width {
        None
    } else {
        let problem = format!("{} columns, but {} in {}", first.len(), train.width, train_path.display());
        return Err(Error::data(path, problem, "training and test rows must have the same columns"));
    };
    let keep = |&(i, _): &(usize, &str)| label.is_some() || Some(i) != train.label;
    let expected: Option<StringRecord> = train
        .header
        .as_ref()
        .map(|header| header.iter().enumerate().filter(keep).map(|(_, name)| name).collect());
    let header = match expected {
        Some(expected) if expected == first => Some(expected),
        Some(expected) if !first.iter().enumerate().any(|(i, cell)| Some(i) != label && is_number(cell)) => {
            let at = expected.iter().zip(&first).position(|(a, b)| a != b).unwrap_or(0);
            let problem = format!(
                "line 1: column {at} is '{}', but '{}' in {}",
                &first[at],
                &expected[at],
                train_path.display()
            );
            return Err(Error::data(
                path,
                problem,
                "training and test rows must have the same columns in the same order",
            ));
        }
        _ => None,
    };
    Ok(Layout { width: first.len(), label, header })
}

/// The first `limit` rows and their provisional labels, which without `names` are not looked at.
fn read(
    path: &Path,
    delimiter: u8,
    layout: &Layout,
    limit: Option<usize>,
    names: &mut Option<Names>,
) -> Result<(Features, Option<Ids>)> {
    let mut reader = open(path, delimiter)?;
    let mut record = StringRecord::new();
    if layout.header.is_some() {
        next(path, &mut reader, &mut record)?;
    }
    let (mut values, mut ids, mut rows) = (Vec::new(), Vec::new(), 0);
    while limit.is_none_or(|limit| rows < limit) && next(path, &mut reader, &mut record)? {
        let line = record.position().map_or(0, ::csv::Position::line);
        if record.len() != layout.width {
            let problem = format!("line {line}: {} columns, not {} as in line 1", record.len(), layout.width);
            return Err(Error::data(
                path,
                problem,
                "give every row the same columns; quote cells that hold the separator",
            ));
        }
        for (i, cell) in record.iter().enumerate() {
            if Some(i) == layout.label {
                let Some(names) = names else { continue };
                if cell.is_empty() {
                    let problem = format!("line {line}, {}: no label", layout.column(i));
                    return Err(Error::data(path, problem, "fill the cell or remove the row"));
                }
                ids.push(names.id(cell, path, || format!("line {line}"))?);
            } else {
                values.push(number(cell).map_err(|(problem, hint)| {
                    Error::data(path, format!("line {line}, {}: {problem}", layout.column(i)), hint)
                })?);
            }
        }
        rows += 1;
    }
    let rows = Rows::new(Values::F32(values), layout.features())?;
    let ids = names.as_ref().map(|_| Ids { path: path.to_owned(), ids });
    Ok((Features { path: path.to_owned(), rows }, ids))
}

/// A finite number, or what is wrong and what to do.
pub(super) fn number(cell: &str) -> Result<f32, (String, &'static str)> {
    match (cell.parse::<f32>(), cell.parse::<f64>()) {
        (Ok(value), _) if value.is_finite() => Ok(value),
        (Ok(_), Ok(wide)) if wide.is_finite() => {
            Err((format!("{cell} is beyond the range of 32-bit floats"), "rescale the features"))
        }
        (Ok(value), _) if value.is_nan() || !cell.bytes().any(|b| b.is_ascii_digit()) => {
            Err((format!("{cell} is not a finite number"), NOT_FINITE))
        }
        (Ok(_), _) => Err((format!("{cell} is beyond the range of 32-bit floats"), "rescale the features")),
        _ if cell.is_empty() => Err(("no value".into(), "fill the cell or remove the row")),
        _ => Err((
            format!("'{cell}' is no number"),
            "encode text as numbers, or name the label column with --label",
        )),
    }
}
