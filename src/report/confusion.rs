//! How predictions and truth go together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::table::{Table, shorten};

/// Classes beyond which the whole matrix is not kept: its size is their square, and labels go to 65,535.
const MOST_COUNTED: usize = 256;

/// Classes beyond which a terminal shows the weakest only.
const MOST_LISTED: usize = 100;

/// Classes beyond which nobody reads a matrix; the most frequent confusions are listed instead.
pub(super) const MOST_COLUMNS: usize = 20;

/// Columns of a terminal that a matrix may take.
const WIDTH: usize = 100;

/// Characters of a class name that a matrix's column shows.
const SHORT: usize = 6;

/// Counts of (true class, predicted class), with what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// `counts[truth][predicted]`; `None` beyond 256 classes.
    pub counts: Option<Vec<Vec<usize>>>,
    /// Share of right predictions; 0 without any.
    pub accuracy: f64,
    /// Figures of each class.
    pub classes: Vec<ClassFigures>,
    /// Rows of each (true, predicted) pair that occurs.
    #[serde(skip)]
    pairs: BTreeMap<(usize, usize), usize>,
}

/// Figures of one class; a ratio with nothing under it is 0, as in scikit-learn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class's name.
    pub name: String,
    /// Rows of this class.
    pub support: usize,
    /// Right share of the predictions of this class.
    pub precision: f64,
    /// Share of the class's rows that were predicted.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

impl Confusion {
    /// Counts `truth` against `predicted`, which are class ids below `classes.len()`, one each a row.
    ///
    /// # Panics
    /// When an id has no class.
    pub fn new(truth: &[u32], predicted: &[u32], classes: &[String]) -> Self {
        let n = classes.len();
        let mut pairs = BTreeMap::new();
        let (mut right, mut support, mut named) = (vec![0; n], vec![0; n], vec![0; n]);
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            let (truth, predicted) = (truth as usize, predicted as usize);
            *pairs.entry((truth, predicted)).or_insert(0) += 1;
            support[truth] += 1;
            named[predicted] += 1;
            right[truth] += usize::from(truth == predicted);
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let figures = |(class, name): (usize, &String)| {
            let (precision, recall) =
                (share(right[class], named[class]), share(right[class], support[class]));
            let both = precision + recall;
            let f1 = if both == 0.0 { 0.0 } else { 2.0 * precision * recall / both };
            ClassFigures { name: name.clone(), support: support[class], precision, recall, f1 }
        };
        let counts = (n <= MOST_COUNTED).then(|| {
            let mut counts = vec![vec![0; n]; n];
            pairs.iter().for_each(|(&(truth, predicted), &rows)| counts[truth][predicted] = rows);
            counts
        });
        let accuracy = share(right.iter().sum(), support.iter().sum());
        Self { counts, accuracy, classes: classes.iter().enumerate().map(figures).collect(), pairs }
    }

    /// Precision, recall, F1 and support of each class; of more than 100 classes the twenty of smallest F1 that occur.
    pub fn per_class_table(&self) -> String {
        let (title, classes) = self.listed();
        let mut table = Table::new(&[title, "precision", "recall", "f1", "support"]);
        let three = |value: f64| format!("{value:.3}");
        for class in classes {
            let support = class.support.to_string();
            table.row(&[
                shorten(&class.name, 24),
                three(class.precision),
                three(class.recall),
                three(class.f1),
                support,
            ]);
        }
        table.text()
    }

    /// The matrix, rows true and columns predicted. Columns bear short names, or numbers where those would look alike
    /// or take too much room; of classes that fit neither way, the most frequent confusions.
    pub fn matrix_table(&self) -> String {
        let n = self.classes.len();
        let Some(counts) = self.counts.as_ref().filter(|_| n <= MOST_COLUMNS) else {
            return self.worst_table();
        };
        let names = |most| self.classes.iter().map(move |class| shorten(&class.name, most));
        let (columns, rows): (Vec<_>, Vec<_>) = (names(SHORT).collect(), names(16).collect());
        let distinct = columns.iter().collect::<HashSet<_>>().len() == n;
        let named = distinct.then(|| matrix(counts, &rows, &columns));
        let numbers: Vec<String> = (0..n).map(|class| class.to_string()).collect();
        let rows: Vec<String> =
            numbers.iter().zip(&rows).map(|(number, name)| format!("{number} {name}")).collect();
        let fits = |text: &String| text.lines().all(|line| line.width() <= WIDTH);
        let numbered = matrix(counts, &rows, &numbers);
        named.into_iter().chain([numbered]).find(fits).unwrap_or_else(|| self.worst_table())
    }

    /// The classes that a table shows, and what to call them: all, or of more than 100 the twenty of smallest F1 that
    /// occur.
    pub(super) fn listed(&self) -> (&'static str, Vec<&ClassFigures>) {
        let mut classes: Vec<&ClassFigures> = self.classes.iter().collect();
        if classes.len() <= MOST_LISTED {
            return ("class", classes);
        }
        classes.retain(|class| class.support > 0);
        classes.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        classes.truncate(MOST_COLUMNS);
        ("weakest classes", classes)
    }

    /// The twenty most frequent pairs of a class and another that was predicted, as (rows, true, predicted).
    pub(super) fn most_confused(&self) -> Vec<(usize, usize, usize)> {
        let mut wrong: Vec<(usize, usize, usize)> = self
            .pairs
            .iter()
            .filter(|((truth, predicted), _)| truth != predicted)
            .map(|(&(truth, predicted), &rows)| (rows, truth, predicted))
            .collect();
        wrong.sort_by_key(|&(rows, truth, predicted)| (Reverse(rows), truth, predicted));
        wrong.truncate(MOST_COLUMNS);
        wrong
    }

    fn worst_table(&self) -> String {
        let wrong = self.most_confused();
        if wrong.is_empty() {
            return "no class was taken for another\n".into();
        }
        let mut table = Table::new(&["most confused: true", "predicted", "rows"]);
        for (rows, truth, predicted) in wrong {
            let name = |class: usize| shorten(&self.classes[class].name, 24);
            table.row(&[name(truth), name(predicted), rows.to_string()]);
        }
        table.text()
    }
}

fn matrix(counts: &[Vec<usize>], rows: &[String], columns: &[String]) -> String {
    let headers: Vec<&str> =
        ["true \\ predicted"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let mut table = Table::new(&headers);
    for (name, counts) in rows.iter().zip(counts) {
        let count = |&count: &usize| if count == 0 { "·".into() } else { count.to_string() };
        table.row(&[name.clone()].into_iter().chain(counts.iter().map(count)).collect::<Vec<_>>());
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn figures_follow_from_the_counts() {
        let confusion = Confusion::new(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 0, 0], &names(3));
        assert_eq!(confusion.counts, Some(vec![vec![2, 1, 0], vec![1, 1, 0], vec![1, 0, 0]]));
        assert_eq!(confusion.accuracy, 0.5);
        let [a, b, c] = confusion.classes.as_slice() else { panic!("three classes") };
        assert_eq!((a.precision, a.recall, a.support), (0.5, 2.0 / 3.0, 3));
        assert_eq!((b.precision, b.recall, b.f1), (0.5, 0.5, 0.5));
        assert_eq!((c.precision, c.recall, c.f1, c.support), (0.0, 0.0, 0.0, 1));
    }

    #[test]
    fn tables_fit_a_terminal() {
        for n in [2, 9, 10, 11, 12, 19, 20, 21, 100, 101, 5_000] {
            // Half the rows are wrong, and counts have up to six digits where classes are few.
            let truth: Vec<u32> = (0..200_000).map(|i| i % n).collect();
            let predicted: Vec<u32> =
                truth.iter().enumerate().map(|(i, &t)| (t + i as u32 % 2) % n).collect();
            for name in ["class", "猫猫猫猫猫猫猫猫猫猫猫猫猫猫猫"] {
                let names: Vec<String> = (0..n).map(|i| format!("{i} {name}")).collect();
                let confusion = Confusion::new(&truth, &predicted, &names);
                for table in [confusion.per_class_table(), confusion.matrix_table()] {
                    assert!(table.lines().all(|line| line.width() <= WIDTH), "{table}");
                    assert!(
                        table.lines().count() <= 2 + 100,
                        "{n} classes in {} lines",
                        table.lines().count()
                    );
                }
            }
        }
    }

    #[test]
    fn columns_that_would_look_alike_bear_numbers() {
        let names = ["category-a", "category-b"].map(String::from);
        let table = Confusion::new(&[0, 1, 1], &[0, 0, 1], &names).matrix_table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["true", "\\", "predicted", "0", "1"]);
        assert_eq!(lines[2..], [["0", "category-a", "1", "·"], ["1", "category-b", "1", "1"]]);
    }

    #[test]
    fn the_largest_label_needs_no_square_of_memory() {
        let confusion = Confusion::new(&[0, 65_534, 65_534], &[0, 65_535, 65_535], &names(65_536));
        assert_eq!(confusion.counts, None);
        assert_eq!(confusion.accuracy, 1.0 / 3.0);
        assert!(
            confusion.matrix_table().contains("class 65534          class 65535     2"),
            "{}",
            confusion.matrix_table()
        );
        let weakest = confusion.per_class_table();
        assert!(weakest.lines().nth(2).is_some_and(|line| line.starts_with("class 65534 ")), "{weakest}");
    }

    #[test]
    fn without_a_mistake_nothing_is_listed() {
        let ids: Vec<u32> = (0..30).collect();
        assert_eq!(Confusion::new(&ids, &ids, &names(30)).matrix_table(), "no class was taken for another\n");
    }

    #[test]
    fn nothing_predicted_is_no_accuracy() {
        assert_eq!(Confusion::new(&[], &[], &names(2)).accuracy, 0.0);
    }
}
