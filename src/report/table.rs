//! Aligned tables, for terminals and for Markdown.

/// Rows of cells under headers. Columns whose cells are all numbers are aligned to the right.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headers: &[impl ToString]) -> Self {
        Self { headers: headers.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus cells are dropped.
    pub fn row(&mut self, cells: &[impl ToString]) {
        let mut cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
        cells.resize(self.headers.len(), String::new());
        self.rows.push(cells);
    }

    /// The table for a terminal: columns two spaces apart, a line under the headers.
    pub fn text(&self) -> String {
        let widths = self.widths(|cell| cell.chars().count());
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
        let widths = self.widths(|cell| cell.replace('|', "\\|").chars().count());
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
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            if self.numeric(column) { gap + cell } else { cell.clone() + &gap }
        });
        let line = padded.collect::<Vec<_>>().join(between);
        let line = format!("{start}{line}{end}");
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

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
}
