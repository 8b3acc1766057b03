//! A table of short texts, the first column left-aligned and the others right-aligned.

use super::page::{Column, Format, Row, Table, Value};

/// What is shown where there is no number.
pub(super) const NOTHING: &str = "–";

/// A header and rows of equal length.
pub(super) struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(super) fn new(header: Vec<String>) -> Self {
        Self { rows: vec![header] }
    }

    /// # Panics
    /// If the row is not as long as the header.
    pub(super) fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.rows[0].len(), "every row has a cell for each column");
        self.rows.push(row);
    }

    pub(super) fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }

    /// The same without the columns in which no row has anything to say.
    pub(super) fn without_empty_columns(mut self) -> Self {
        let says = |column: usize| self.rows[1..].iter().any(|row| !["", NOTHING].contains(&row[column].as_str()));
        let kept: Vec<bool> = (0..self.rows[0].len()).map(|column| column == 0 || says(column)).collect();
        for row in &mut self.rows {
            let mut kept = kept.iter();
            row.retain(|_| kept.next().is_some_and(|kept| *kept));
        }
        self
    }

    /// Aligned with spaces, the header underlined.
    pub(super) fn to_text(&self) -> String {
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let line = |row: &[String]| {
            let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
                let padding = " ".repeat(width - cell.chars().count());
                if i == 0 { format!("{cell}{padding}") } else { format!("{padding}{cell}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        let body: String = self.rows[1..].iter().map(|row| line(row)).collect();
        format!("{}{rule}\n{body}", line(&self.rows[0]))
    }

    /// For pages.
    pub(super) fn to_table(&self, caption: &str) -> Table {
        let row = |row: &Vec<String>| Row {
            name: row[0].clone(),
            values: row[1..].iter().cloned().map(Value::Text).collect(),
            ..Row::default()
        };
        Table {
            caption: caption.to_owned(),
            columns: self.rows[0].iter().map(|name| Column::new(name, Format::plain(0))).collect(),
            rows: self.rows[1..].iter().map(row).collect(),
        }
    }

    /// GitHub-flavoured Markdown.
    pub(super) fn to_markdown(&self) -> String {
        let line = |row: &[String]| {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<&str> = (0..self.rows[0].len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
        let body: String = self.rows[1..].iter().map(|row| line(row)).collect();
        format!("{}| {} |\n{body}", line(&self.rows[0]), rule.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(vec!["target".into(), "score".into()]);
        grid.push(vec!["a|b".into(), "81.2 ± 0.4".into()]);
        grid
    }

    #[test]
    fn text_is_aligned_by_characters() {
        assert_eq!(grid().to_text(), "target       score\n──────────────────\na|b     81.2 ± 0.4\n");
    }

    #[test]
    fn columns_without_anything_are_left_out_but_never_the_names() {
        let mut grid = Grid::new(["", "gain", "cost", "share"].map(str::to_owned).into());
        grid.push(["", "+1.0", "", NOTHING].map(str::to_owned).into());
        grid.push(["", NOTHING, "", ""].map(str::to_owned).into());
        assert_eq!(grid.without_empty_columns().to_markdown(), "|  | gain |\n| --- | ---: |\n|  | +1.0 |\n|  | – |\n");
    }

    #[test]
    fn markdown_escapes_bars() {
        assert_eq!(grid().to_markdown(), "| target | score |\n| --- | ---: |\n| a\\|b | 81.2 ± 0.4 |\n");
    }
}
