//! From labels as they are written to class ids 0..C.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Most classes. More of them means that the column is no label: a price, an index, a time.
pub(super) const MAX_CLASSES: usize = 1 << 16;

/// Numbers the labels of training and test rows together in the order of their first appearance; [`Names::finish`]
/// then puts the classes into order.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// The provisional id of `name`; `path` and `row` are for the error message alone.
    pub(super) fn id(&mut self, name: &str, path: &Path, row: impl FnOnce() -> String) -> Result<u32> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        if self.names.len() == MAX_CLASSES {
            return Err(Error::data(
                path,
                format!(
                    "{}: label '{name}' would be class {}; at most {MAX_CLASSES} are taken",
                    row(),
                    MAX_CLASSES + 1
                ),
                "is this column really the label? Real-valued targets are not classes",
            ));
        }
        let id = self.names.len() as u32;
        self.ids.insert(name.to_owned(), id);
        self.names.push(name.to_owned());
        Ok(id)
    }

    /// The class names in order, and the class of every provisional id. Names that are all numbers sort by value, others
    /// as text; they are kept as written.
    pub(super) fn finish(self) -> (Vec<String>, Vec<u32>) {
        let numbers: Option<Vec<f64>> =
            self.names.iter().map(|name| name.parse().ok().filter(|x: &f64| x.is_finite())).collect();
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|&a, &b| {
            let by_value = numbers.as_ref().map_or(Ordering::Equal, |x| x[a].total_cmp(&x[b]));
            by_value.then_with(|| self.names[a].cmp(&self.names[b]))
        });
        let mut class = vec![0; order.len()];
        for (rank, &id) in order.iter().enumerate() {
            class[id] = rank as u32;
        }
        let mut names = self.names;
        let sorted = order.iter().map(|&id| std::mem::take(&mut names[id])).collect();
        (sorted, class)
    }
}

/// Replaces provisional ids by classes.
pub(super) fn renumber(labels: &mut [u32], class: &[u32]) {
    for label in labels {
        *label = class[*label as usize];
    }
}

/// Names for labels that are numbers already: `"0"`, `"1"` … up to the largest that occurs.
pub(super) fn numbered<'a>(labels: impl Iterator<Item = &'a u32>) -> Vec<String> {
    labels.max().map_or_else(Vec::new, |&largest| (0..=largest).map(|class| class.to_string()).collect())
}

/// Checks that label `value` of `row` is one of `classes` classes.
pub(super) fn checked(path: &Path, row: usize, value: i128, classes: usize) -> Result<u32> {
    u32::try_from(value).ok().filter(|&label| (label as usize) < classes).ok_or_else(|| {
        Error::data(
            path,
            format!("row {row} (from 0): label {value} is out of range, 0 to {} are taken", classes - 1),
            "number the classes from 0",
        )
    })
}
