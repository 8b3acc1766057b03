//! Rows of a file, as a table with tab-separated columns or as JSON lines, with cells asked for by column name.
//!
//! Tables are split here and not by polars' CSV reader. The published files know neither quotes nor escapes, so a row is a
//! split at tabs; polars fills short rows with nulls, drops a carriage return at the end of any field and skips empty
//! cells in tables of one column.

use super::error::{ReadError, closest, listed, shortened};
use serde_json::{Map, Value};

/// Which rows of a file are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Rows left out in front.
    pub(super) skip: usize,
    /// Rows read after them; all if `None`.
    pub(super) rows: Option<usize>,
}

impl Window {
    /// The part of an iterator over rows that is read.
    pub(super) fn of<I: Iterator>(self, rows: I) -> impl Iterator<Item = I::Item> {
        rows.skip(self.skip).take(self.rows.unwrap_or(usize::MAX))
    }
}

/// The rows of a file.
pub(super) enum Rows<'t> {
    Table(Table<'t>),
    Objects(Vec<(usize, Map<String, Value>)>),
}

/// A table: names of columns, and for each row its line from 1 and its cells.
pub(super) struct Table<'t> {
    names: Vec<&'t str>,
    rows: Vec<(usize, Vec<&'t str>)>,
}

/// One row.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Table(&'r [&'r str], usize, &'r [&'r str]),
    Object(usize, &'r Map<String, Value>),
}

/// A cell of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'r> {
    Text(&'r str),
    Bool(bool),
    Int(i64),
    Float(f64),
    /// JSON that no column of a row can be: a list, an object.
    Other(&'static str),
}

/// How a format's tables are headed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The first line names the columns.
    First,
    /// There is no header (CoLA): these are the columns, unless the first line holds `unless`, which is a header then.
    Absent { columns: &'static [&'static str], unless: &'static str },
}

impl<'t> Rows<'t> {
    /// Reads JSON lines if the first character is an opening brace, and a table otherwise.
    pub(super) fn read(
        bytes: &'t [u8],
        header: Header,
        window: Window,
        skip_malformed: bool,
    ) -> Result<Self, ReadError> {
        let text = utf8(bytes)?;
        if text.trim_start().starts_with('{') {
            let objects: Result<Vec<_>, _> =
                window.of(json_lines(text)).map(|(line, text)| Ok((line, json(text, line)?))).collect();
            Ok(Self::Objects(objects?))
        } else {
            Table::read(text, header, window, skip_malformed).map(Self::Table)
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = Row<'_>> + '_> {
        match self {
            Self::Table(table) => {
                Box::new(table.rows.iter().map(|(line, cells)| Row::Table(&table.names, *line, cells)))
            }
            Self::Objects(objects) => Box::new(objects.iter().map(|(line, object)| Row::Object(*line, object))),
        }
    }
}

/// The text of a file, without a byte order mark.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ReadError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let byte = error.valid_up_to();
        ReadError::Encoding { line: 1 + bytes[..byte].iter().filter(|b| **b == b'\n').count(), byte }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Lines of a file with their numbers from 1, without those that are blank.
pub(super) fn json_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Not `str::lines` on anything but LF: U+2028 and the like may stand inside JSON strings.
    text.split('\n').enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// A value of JSON that starts on line `first` of its file.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str, first: usize) -> Result<T, ReadError> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let failed = |path: String, error: &serde_json::Error| {
        // The parser appends its own position, which counts lines from this value's start.
        let full = error.to_string();
        let what = full.split(" at line ").next().unwrap_or(&full);
        let message = if path == "." { what.to_owned() } else { format!("`{path}`: {what}") };
        ReadError::Json { line: first + error.line().saturating_sub(1), column: error.column(), message }
    };
    let value = serde_path_to_error::deserialize(&mut parser)
        .map_err(|error| failed(error.path().to_string(), error.inner()))?;
    parser.end().map_err(|error| failed(".".to_owned(), &error))?;
    Ok(value)
}

impl<'t> Table<'t> {
    fn read(text: &'t str, header: Header, window: Window, skip_malformed: bool) -> Result<Self, ReadError> {
        // A newline ends the last row; what follows it is no row.
        let mut lines = text
            .split_terminator('\n')
            .enumerate()
            .map(|(i, line)| (i + 1, line.strip_suffix('\r').unwrap_or(line)))
            .peekable();
        let Some((_, first)) = lines.peek().filter(|(_, first)| !first.is_empty()) else {
            return Err(ReadError::Empty { expected: "a table with tab-separated columns, or JSON lines".to_owned() });
        };
        let mut names: Vec<&str> = first.split('\t').collect();
        match header {
            Header::Absent { columns, unless } if !names.contains(&unless) => names = columns.to_vec(),
            _ => drop(lines.next()),
        }
        let mut rows = Vec::new();
        for (line, row) in window.of(lines) {
            let cells: Vec<&str> = row.split('\t').collect();
            if cells.len() == names.len() {
                rows.push((line, cells));
            } else if !skip_malformed {
                let (found, expected) = (cells.len(), names.len());
                return Err(ReadError::Fields { line, found, expected, columns: listed(names) });
            }
        }
        Ok(Self { names, rows })
    }
}

impl<'r> Row<'r> {
    /// Line of the file, from 1.
    pub(super) fn line(self) -> usize {
        match self {
            Self::Table(_, line, _) | Self::Object(line, _) => line,
        }
    }

    /// The cell of the first of `columns` that the row has, and that column's name.
    pub(super) fn cell(self, columns: &[&'static str]) -> Option<(&'static str, Cell<'r>)> {
        columns.iter().find_map(|name| Some((*name, self.named(name)?)))
    }

    fn named(self, name: &str) -> Option<Cell<'r>> {
        match self {
            Self::Table(names, _, cells) => {
                names.iter().position(|n| *n == name).map(|column| Cell::Text(cells[column]))
            }
            Self::Object(_, object) => match object.get(name)? {
                Value::String(text) => Some(Cell::Text(text)),
                Value::Bool(value) => Some(Cell::Bool(*value)),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => Some(Cell::Int(number)),
                    None => number.as_f64().map(Cell::Float),
                },
                // Exports of tables write a missing label as null.
                Value::Null => None,
                Value::Array(_) => Some(Cell::Other("a list")),
                Value::Object(_) => Some(Cell::Other("an object")),
            },
        }
    }

    /// A text that must be there.
    pub(super) fn text(self, columns: &[&'static str]) -> Result<&'r str, ReadError> {
        match self.cell(columns) {
            Some((_, Cell::Text(text))) => Ok(text),
            Some((column, cell)) => Err(self.unexpected(column, cell, "a text")),
            None => Err(self.missing(columns)),
        }
    }

    pub(super) fn missing(self, columns: &[&'static str]) -> ReadError {
        let found: Vec<&str> = match self {
            Self::Table(names, ..) => names.to_vec(),
            Self::Object(_, object) => object.keys().map(String::as_str).collect(),
        };
        let line = match self {
            // The header is to blame, not the row.
            Self::Table(..) => 1,
            Self::Object(line, _) => line,
        };
        let expected = columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        let near = columns.iter().find_map(|name| closest(name, found.iter().copied()));
        ReadError::Column { line, expected, near, found: listed(found) }
    }

    pub(super) fn unexpected(self, column: &'static str, cell: Cell<'_>, expected: &str) -> ReadError {
        ReadError::Value { line: self.line(), column, found: cell.to_string(), expected: expected.to_owned() }
    }
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`{}`", shortened(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Result<Vec<Vec<String>>, ReadError> {
        let rows = Rows::read(text.as_bytes(), Header::First, Window::default(), false)?;
        let Rows::Table(table) = &rows else { panic!("not a table") };
        Ok(table.rows.iter().map(|(_, cells)| cells.iter().map(|cell| (*cell).to_owned()).collect()).collect())
    }

    #[test]
    fn quotes_spaces_and_empty_fields_are_text() {
        let rows = cells("a\tb\n\"x\ty \n\"\"\t\n\t\n z\t\"q\"\n#c\tNA\n").unwrap();
        assert_eq!(rows, [["\"x", "y "], ["\"\"", ""], ["", ""], [" z", "\"q\""], ["#c", "NA"]]);
    }

    #[test]
    fn the_last_row_may_lack_its_newline_and_lines_may_end_in_cr() {
        assert_eq!(cells("a\tb\r\n1\t2\r\n3\t4").unwrap(), [["1", "2"], ["3", "4"]]);
    }

    #[test]
    fn carriage_returns_inside_a_row_are_text() {
        assert_eq!(cells("a\tb\nx\ry\r\tz\r\r\n").unwrap(), [["x\ry\r", "z\r"]]);
    }

    #[test]
    fn a_table_of_one_column_may_have_empty_cells() {
        assert_eq!(cells("a\nx\n\ny\n").unwrap(), [["x"], [""], ["y"]]);
    }

    #[test]
    fn short_and_long_rows_are_named() {
        let found = cells("a\tb\n1\t2\n3\n4\t5\n").unwrap_err();
        assert_eq!(
            found.to_string(),
            "line 3: 1 tab-separated fields, expected 2 (`a`, `b`); mend the row or leave it out"
        );
        assert!(matches!(cells("a\tb\n1\t2\t3\n"), Err(ReadError::Fields { line: 2, found: 3, .. })));
        assert!(matches!(cells("a\tb\n\n1\t2\n"), Err(ReadError::Fields { line: 2, found: 1, .. })));
    }

    #[test]
    fn malformed_rows_are_left_out_on_request() {
        let rows = Rows::read(b"a\tb\n1\t2\n3\n4\t5\n", Header::First, Window::default(), true).unwrap();
        assert_eq!(rows.iter().map(Row::line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_window_is_counted_in_rows() {
        let window = Window { skip: 1, rows: Some(2) };
        let lines = |text: &str| {
            let rows = Rows::read(text.as_bytes(), Header::First, window, false).unwrap();
            rows.iter().map(Row::line).collect::<Vec<_>>()
        };
        assert_eq!(lines("a\n1\n2\n3\n4\n"), [3, 4]);
        assert_eq!(lines("{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}\n{\"a\":4}\n"), [2, 4]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named() {
        assert_eq!(utf8(b"a\nb\xff"), Err(ReadError::Encoding { line: 2, byte: 3 }));
        assert_eq!(utf8("\u{feff}a".as_bytes()), Ok("a"));
    }

    #[test]
    fn bad_json_is_named_with_line_column_and_path() {
        let error = |text: &str| json::<Map<String, Value>>(text, 7).unwrap_err().to_string();
        assert_eq!(error("{\"a\": }"), "line 7, column 7: `a`: expected value");
        assert_eq!(error("{} {}"), "line 7, column 4: trailing characters");
        assert!(error(&"[".repeat(100_000)).starts_with("line 7, column"));
    }

    #[test]
    fn an_empty_file_is_an_error() {
        assert!(matches!(cells(""), Err(ReadError::Empty { .. })));
    }
}
