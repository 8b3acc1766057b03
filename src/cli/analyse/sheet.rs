//! A CSV file of numbers: a header, and rows that know their lines.

use super::{name, wrong};
use crate::engine::store::digest::Digest;
use crate::error::Usage;
use crate::report::page::Record;
use std::path::{Path, PathBuf};

/// The largest table that is read: matrices of scores are small, and every pair of names is compared.
const MOST_COLUMNS: usize = 1_000;

/// Names of columns, and rows of cells as text.
pub(super) struct Sheet {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    /// The first names the rows of a matrix.
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A row, as long as the header.
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) cells: Vec<String>,
}

impl Sheet {
    /// Reads a table with a header.
    ///
    /// # Errors
    /// If the file cannot be read or is not CSV, or its header has one column, too many, or a name twice.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read(path).map_err(|error| Usage(error.to_string()))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_slice());
        let header: Vec<String> =
            reader.headers().map_err(|error| wrong(path, error))?.iter().map(str::to_owned).collect();
        if header.len() < 2 {
            let other = header.first().and_then(|names| names.chars().find(|c| matches!(c, ';' | '\t' | '|')));
            let hint = other.map_or_else(String::new, |other| {
                format!("; `{}` does not separate columns, a comma does", other.escape_default())
            });
            return Err(wrong(
                path,
                format!("one column; expected the names of rows and then a column for each target{hint}"),
            ));
        }
        if header.len() > MOST_COLUMNS {
            return Err(wrong(path, format!("{} columns, expected at most {MOST_COLUMNS}", header.len())));
        }
        if let Some(name) = repeated(&header[1..]) {
            return Err(wrong(path, format!("two columns `{name}`")));
        }
        let row = |record: Result<csv::StringRecord, csv::Error>| {
            let record = record.map_err(|error| wrong(path, error))?;
            let line = record.position().map_or(0, csv::Position::line);
            Ok(Row { line, cells: record.iter().map(str::to_owned).collect() })
        };
        let rows = reader.records().map(row).collect::<anyhow::Result<_>>()?;
        Ok(Self { path: path.to_owned(), digest: Digest::of(&text), header, rows })
    }

    /// The number in a cell; `None` if it is empty.
    ///
    /// # Errors
    /// If the cell holds anything but a number from `low` to `high`.
    pub(super) fn number(&self, row: &Row, column: usize, low: f64, high: f64) -> anyhow::Result<Option<f64>> {
        let cell = &row.cells[column];
        if cell.is_empty() {
            return Ok(None);
        }
        let number = cell.parse::<f64>().ok().filter(|number| (low..=high).contains(number));
        let wrong = || {
            let (line, column) = (row.line, &self.header[column]);
            wrong(
                &self.path,
                format!("line {line}, column `{column}`: `{cell}`, expected a number from {low} to {high}, or nothing"),
            )
        };
        number.map(Some).ok_or_else(wrong)
    }

    /// Rows of a matrix, whose names must differ and be there.
    ///
    /// # Errors
    /// If a row has no name, or two have the same.
    pub(super) fn named(&self) -> anyhow::Result<Vec<(&str, &Row)>> {
        let names: Vec<String> = self.rows.iter().map(|row| row.cells[0].clone()).collect();
        if let Some(name) = repeated(&names) {
            return Err(wrong(&self.path, format!("two rows `{name}`")));
        }
        if let Some(row) = self.rows.iter().find(|row| row.cells[0].is_empty()) {
            return Err(wrong(&self.path, format!("line {}: the row has no name", row.line)));
        }
        Ok(self.rows.iter().map(|row| (row.cells[0].as_str(), row)).collect())
    }

    /// Where a column is.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    pub(super) fn record(&self) -> Record {
        let shape = format!("{} rows, {} columns", self.rows.len(), self.header.len());
        Record {
            digest: self.digest.to_string(),
            name: name(&self.path),
            kind: "CSV file".to_owned(),
            notes: vec![("holds".to_owned(), shape)],
            ..Record::default()
        }
    }
}

/// A name that stands there a second time.
fn repeated(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().find(|name| !seen.insert(*name))
}
