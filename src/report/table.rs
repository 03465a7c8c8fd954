//! Aligned tables, for terminals and for Markdown.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of cells under headers. Columns whose cells are all numbers are aligned to the right.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headers: &[impl ToString]) -> Self {
        Self { headers: headers.iter().map(|cell| printable(&cell.to_string())).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus cells are dropped. Control characters are shown as `�`: names come
    /// from files, and must neither break a line nor command the terminal.
    pub fn row(&mut self, cells: &[impl ToString]) {
        let mut cells: Vec<String> = cells.iter().map(|cell| printable(&cell.to_string())).collect();
        cells.resize(self.headers.len(), String::new());
        self.rows.push(cells);
    }

    /// The table for a terminal: columns two spaces apart, a line under the headers.
    pub fn text(&self) -> String {
        let widths = self.widths(UnicodeWidthStr::width);
        let line: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        let mut text = self.line(&self.headers, &widths, "", "  ", "");
        text += &self.line(&line, &widths, "", "  ", "");
        for row in &self.rows {
            text += &self.line(row, &widths, "", "  ", "");
        }
        text
    }

    /// The table as GitHub's Markdown shows it.
    pub fn markdown(&self) -> String {
        let escaped =
            |cells: &[String]| cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>();
        let widths = self.widths(|cell| cell.replace('|', "\\|").width());
        let rule = |(column, width): (usize, &usize)| match self.numeric(column) {
            true => format!("{}:", "-".repeat(width.saturating_sub(1).max(2))),
            false => "-".repeat((*width).max(3)),
        };
        let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
        let mut text = self.line(&escaped(&self.headers), &widths, "| ", " | ", " |");
        text += &self.line(&rules, &widths, "| ", " | ", " |");
        for row in &self.rows {
            text += &self.line(&escaped(row), &widths, "| ", " | ", " |");
        }
        text
    }

    fn widths(&self, width: impl Fn(&str) -> usize) -> Vec<usize> {
        let cells =
            |column: usize| self.rows.iter().map(move |row| &row[column]).chain([&self.headers[column]]);
        (0..self.headers.len())
            .map(|column| cells(column).map(|cell| width(cell)).max().unwrap_or(0))
            .collect()
    }

    fn numeric(&self, column: usize) -> bool {
        let number = |cell: &str| {
            let cell = cell.trim_end_matches(['%', '×', ' ']).replace(',', "");
            ["", "–", "·"].contains(&cell.as_str()) || cell.parse::<f64>().is_ok()
        };
        self.rows.iter().any(|row| !row[column].is_empty())
            && self.rows.iter().all(|row| number(&row[column]))
    }

    fn line(&self, cells: &[String], widths: &[usize], start: &str, between: &str, end: &str) -> String {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            if self.numeric(column) { gap + cell } else { cell.clone() + &gap }
        });
        let line = padded.collect::<Vec<_>>().join(between);
        let line = format!("{start}{line}{end}");
        format!("{}\n", line.trim_end())
    }
}

/// 60000 as "60,000".
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// At most `most` columns of `text`, the cut marked with `…`.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.width() <= most {
        return text;
    }
    let mut width = 1;
    let kept = text.chars().take_while(|char| {
        width += char.width().unwrap_or(0);
        width <= most
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{Table, shorten, thousands};

    fn sample() -> Table {
        let mut table = Table::new(&["name", "n"]);
        table.row(&["a|b", "7"]);
        table.row(&["long", "1,024"]);
        table
    }

    #[test]
    fn numbers_align_to_the_right_and_words_to_the_left() {
        assert_eq!(sample().text(), "name      n\n────  ─────\na|b       7\nlong  1,024\n");
    }

    #[test]
    fn markdown_escapes_bars_and_marks_numbers() {
        let want = "| name |     n |\n| ---- | ----: |\n| a\\|b |     7 |\n| long | 1,024 |\n";
        assert_eq!(sample().markdown(), want);
    }

    #[test]
    fn short_rows_are_filled() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["x"]);
        assert_eq!(table.text(), "a  b\n─\nx\n".replace("─\n", "─  ─\n"));
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let mut table = Table::new(&["name", "n"]);
        table.row(&["猫猫猫", "1"]);
        table.row(&["dog", "2"]);
        assert_eq!(table.text(), "name    n\n──────  ─\n猫猫猫  1\ndog     2\n");
        assert_eq!(
            [shorten("猫猫猫", 6), shorten("猫猫猫", 5), shorten("a cat", 4)],
            ["猫猫猫", "猫猫…", "a c…"]
        );
    }

    #[test]
    fn names_cannot_break_lines_or_command_the_terminal() {
        let mut table = Table::new(&["name"]);
        table.row(&["a\n\x1b[31mb"]);
        assert_eq!(table.text(), "name\n───────\na��[31mb\n".replace("───────", &"─".repeat(8)));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
