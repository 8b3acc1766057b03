//! Rows of a file, as a table with tab-separated columns or as JSON lines, with cells asked for by column name.

use super::error::{ReadError, closest, listed, shortened};
use polars::prelude::{DataType, NewChunkedArray, PlSmallStr, Schema, StringChunked};
use polars_io::SerReader;
use polars_io::csv::read::{CsvParseOptions, CsvReadOptions};
use serde_json::{Map, Value};
use std::io::Cursor;
use std::sync::Arc;

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
pub(super) enum Rows {
    Table(Table),
    Objects(Vec<(usize, Map<String, Value>)>),
}

/// A table in memory, a column of texts for each name.
pub(super) struct Table {
    names: Vec<String>,
    columns: Vec<StringChunked>,
    /// Line of each row, from 1.
    lines: Vec<usize>,
}

/// One row.
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Table(&'r Table, usize),
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

impl Rows {
    /// Reads JSON lines if the first character is an opening brace, and a table otherwise.
    pub(super) fn read(bytes: &[u8], header: Header, window: Window, skip_malformed: bool) -> Result<Self, ReadError> {
        let text = utf8(bytes)?;
        if text.trim_start().starts_with('{') {
            let objects: Result<Vec<_>, _> =
                window.of(json_lines(text)).map(|(line, text)| Ok((line, json(text, line)?))).collect();
            Ok(Self::Objects(objects?))
        } else {
            Table::read(text, header, window, skip_malformed).map(Self::Table)
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let count = match self {
            Self::Table(table) => table.lines.len(),
            Self::Objects(objects) => objects.len(),
        };
        (0..count).map(move |at| match self {
            Self::Table(table) => Row::Table(table, at),
            Self::Objects(objects) => Row::Object(objects[at].0, &objects[at].1),
        })
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

impl Table {
    /// Reads tab-separated values without quoting. polars fills short rows with nulls, so the fields of every line are
    /// counted before it sees them.
    fn read(text: &str, header: Header, window: Window, skip_malformed: bool) -> Result<Self, ReadError> {
        let mut lines = text.split('\n').enumerate().map(|(i, line)| (i + 1, line.strip_suffix('\r').unwrap_or(line)));
        let first = lines.next().map_or("", |(_, line)| line);
        if first.is_empty() {
            return Err(ReadError::Empty { expected: "a table with tab-separated columns, or JSON lines".to_owned() });
        }
        let (names, headed): (Vec<String>, bool) = match header {
            Header::Absent { columns, unless } if !first.split('\t').any(|name| name == unless) => {
                (columns.iter().map(|name| (*name).to_owned()).collect(), false)
            }
            _ => (first.split('\t').map(str::to_owned).collect(), true),
        };
        let mut kept = String::new();
        let mut numbers = Vec::new();
        let body = (!headed).then_some((1, first)).into_iter().chain(lines);
        let last = text.split('\n').count();
        // A newline ends the last row; what follows it is no row.
        for (line, row) in window.of(body.filter(|(line, row)| !(*line == last && row.is_empty()))) {
            let found = 1 + row.bytes().filter(|b| *b == b'\t').count();
            if found == names.len() {
                kept.push_str(row);
                kept.push('\n');
                numbers.push(line);
            } else if !skip_malformed {
                let columns = listed(names.iter().map(String::as_str));
                return Err(ReadError::Fields { line, found, expected: names.len(), columns });
            }
        }
        let columns = columns(kept, names.len(), numbers.len());
        Ok(Self { names, columns, lines: numbers })
    }
}

/// The columns of a text in which every line has `width` fields.
fn columns(text: String, width: usize, rows: usize) -> Vec<StringChunked> {
    if rows == 0 {
        return vec![StringChunked::from_slice(PlSmallStr::EMPTY, &[] as &[&str]); width];
    }
    // With one column an empty line is an empty cell, which polars skips.
    if width == 1 {
        let cells: Vec<&str> = text.split_terminator('\n').collect();
        return vec![StringChunked::from_slice(PlSmallStr::EMPTY, &cells)];
    }
    // Names come from the caller's header, which may repeat one.
    let schema: Schema = (0..width).map(|i| (PlSmallStr::from(i.to_string()), DataType::String)).collect();
    let parse = CsvParseOptions::default()
        .with_separator(b'\t')
        .with_quote_char(None)
        .with_eol_char(b'\n')
        .with_missing_is_null(false);
    let frame = CsvReadOptions::default()
        .with_has_header(false)
        .with_schema(Some(Arc::new(schema)))
        .with_parse_options(parse)
        .into_reader_with_file_handle(Cursor::new(text.into_bytes()))
        .finish()
        .expect("lines of equal width are a table of texts");
    assert_eq!(frame.height(), rows, "every line is a row");
    frame.columns().iter().map(|column| column.str().expect("the schema says text").clone()).collect()
}

impl<'r> Row<'r> {
    /// Line of the file, from 1.
    pub(super) fn line(self) -> usize {
        match self {
            Self::Table(table, at) => table.lines[at],
            Self::Object(line, _) => line,
        }
    }

    /// The cell of the first of `columns` that the row has, and that column's name.
    pub(super) fn cell(self, columns: &[&'static str]) -> Option<(&'static str, Cell<'r>)> {
        columns.iter().find_map(|name| Some((*name, self.named(name)?)))
    }

    fn named(self, name: &str) -> Option<Cell<'r>> {
        match self {
            Self::Table(table, at) => {
                let column = table.names.iter().position(|n| n == name)?;
                Some(Cell::Text(table.columns[column].get(at).unwrap_or_default()))
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
            Self::Table(table, _) => table.names.iter().map(String::as_str).collect(),
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

    pub(super) fn unexpected(self, column: &str, cell: Cell<'_>, expected: &str) -> ReadError {
        ReadError::Value {
            line: self.line(),
            column: column.to_owned(),
            found: cell.to_string(),
            expected: expected.to_owned(),
        }
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
    use crate::ml::random::Stream;

    fn cells(text: &str) -> Result<Vec<Vec<String>>, ReadError> {
        let rows = Rows::read(text.as_bytes(), Header::First, Window::default(), false)?;
        let Rows::Table(table) = &rows else { panic!("not a table") };
        Ok((0..table.lines.len())
            .map(|at| table.columns.iter().map(|c| c.get(at).expect("no nulls").to_owned()).collect())
            .collect())
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
    fn a_table_of_one_column_may_have_empty_cells() {
        assert_eq!(cells("a\nx\n\ny\n").unwrap(), [["x"], [""], ["y"]]);
    }

    #[test]
    fn every_table_reads_as_splitting_at_tabs_and_newlines_does() {
        let alphabet = ["a", "\"", "'", " ", ",", "\\", "#", "é", "\u{2028}", "1.5", "null", "", "\u{1}", ";"];
        let mut stream = Stream::new(1, "tables");
        for _ in 0..300 {
            let (width, height) = (1 + stream.below(4), 1 + stream.below(6));
            let table: Vec<Vec<String>> = (0..height)
                .map(|_| {
                    let cell = |stream: &mut Stream| (0..stream.below(4)).map(|_| *stream.choose(&alphabet)).collect();
                    (0..width).map(|_| cell(&mut stream)).collect()
                })
                .collect();
            let mut text = (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join("\t") + "\n";
            for row in &table {
                text.push_str(&row.join("\t"));
                text.push('\n');
            }
            assert_eq!(cells(&text).unwrap(), table, "{text:?}");
        }
    }

    #[test]
    fn short_and_long_rows_are_named() {
        let found = cells("a\tb\n1\t2\n3\n4\t5\n").unwrap_err();
        assert_eq!(
            found.to_string(),
            "line 3: 1 tab-separated fields, expected 2 (`a`, `b`); mend the row, or set `skip_malformed_rows`"
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
