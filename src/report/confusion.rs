//! How predictions and truth go together.

use serde::Serialize;

use super::table::Table;

/// Classes beyond which a matrix no longer fits a terminal; the worst confusions are listed instead.
const MOST_COLUMNS: usize = 20;

/// Characters of a class name that a matrix's column shows.
const SHORT: usize = 6;

/// Counts of (true class, predicted class), with what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<usize>>,
    /// Share of right predictions; 0 without any.
    pub accuracy: f64,
    /// Figures of each class.
    pub classes: Vec<ClassFigures>,
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
        let mut counts = vec![vec![0; n]; n];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            counts[truth as usize][predicted as usize] += 1;
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let figures = |(class, name): (usize, &String)| {
            let (right, support) = (counts[class][class], counts[class].iter().sum());
            let (precision, recall) =
                (share(right, counts.iter().map(|row| row[class]).sum()), share(right, support));
            let both = precision + recall;
            let f1 = if both == 0.0 { 0.0 } else { 2.0 * precision * recall / both };
            ClassFigures { name: name.clone(), support, precision, recall, f1 }
        };
        let classes: Vec<ClassFigures> = classes.iter().enumerate().map(figures).collect();
        let right = (0..n).map(|class| counts[class][class]).sum();
        let accuracy = share(right, truth.len().min(predicted.len()));
        Self { counts, accuracy, classes }
    }

    /// Precision, recall, F1 and support of each class.
    pub fn per_class_table(&self) -> String {
        let mut table = Table::new(&["class", "precision", "recall", "f1", "support"]);
        let three = |value: f64| format!("{value:.3}");
        for class in &self.classes {
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

    /// The matrix, rows true and columns predicted; of many classes the most frequent confusions.
    pub fn matrix_table(&self) -> String {
        if self.classes.len() > MOST_COLUMNS {
            return self.worst_table();
        }
        let mut headers = vec!["true \\ predicted".to_owned()];
        headers.extend(self.classes.iter().map(|class| shorten(&class.name, SHORT)));
        let mut table = Table::new(&headers);
        for (class, counts) in self.classes.iter().zip(&self.counts) {
            let mut row = vec![shorten(&class.name, 16)];
            row.extend(counts.iter().map(|&count| if count == 0 { "·".into() } else { count.to_string() }));
            table.row(&row);
        }
        table.text()
    }

    fn worst_table(&self) -> String {
        let mut wrong: Vec<(usize, usize, usize)> = Vec::new();
        for (truth, counts) in self.counts.iter().enumerate() {
            let off =
                counts.iter().enumerate().filter(|&(predicted, &count)| predicted != truth && count > 0);
            wrong.extend(off.map(|(predicted, &count)| (count, truth, predicted)));
        }
        wrong.sort_by_key(|&(count, truth, predicted)| (std::cmp::Reverse(count), truth, predicted));
        let mut table = Table::new(&["most confused: true", "predicted", "rows"]);
        for (count, truth, predicted) in wrong.into_iter().take(MOST_COLUMNS) {
            let name = |class: usize| shorten(&self.classes[class].name, 24);
            table.row(&[name(truth), name(predicted), count.to_string()]);
        }
        table.text()
    }
}

fn shorten(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
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
        assert_eq!(confusion.counts, [[2, 1, 0], [1, 1, 0], [1, 0, 0]]);
        assert_eq!(confusion.accuracy, 0.5);
        let [a, b, c] = confusion.classes.as_slice() else { panic!("three classes") };
        assert_eq!((a.precision, a.recall, a.support), (0.5, 2.0 / 3.0, 3));
        assert_eq!((b.precision, b.recall, b.f1), (0.5, 0.5, 0.5));
        assert_eq!((c.precision, c.recall, c.f1, c.support), (0.0, 0.0, 0.0, 1));
    }

    #[test]
    fn tables_fit_a_terminal() {
        let many: Vec<u32> = (0..300).map(|i| i % 100).collect();
        let guess: Vec<u32> = many.iter().map(|&i| if i % 3 == 0 { (i + 1) % 100 } else { i }).collect();
        for (truth, predicted, n) in [(&[0, 1][..], &[1, 1][..], 10), (&many, &guess, 100)] {
            let confusion = Confusion::new(truth, predicted, &names(n));
            for table in [confusion.per_class_table(), confusion.matrix_table()] {
                assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
            }
        }
    }

    #[test]
    fn nothing_predicted_is_no_accuracy() {
        assert_eq!(Confusion::new(&[], &[], &names(2)).accuracy, 0.0);
    }
}
