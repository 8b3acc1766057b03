//! Rows of a file, as a table with tab-separated columns or as JSON lines, with cells asked for by column name.
//!
//! Tables are split here and not by polars' CSV reader. The published files know neither quotes nor escapes, so a row is a
//! split at tabs; polars fills short rows with nulls, drops a carriage return at the end of any field and skips empty
//! cells in tables of one column.

use super::cell::Cell;
use super::error::{ReadError, closest, listed, shortened};
use super::json::Object;
use super::piece::Piece;
use std::borrow::Cow;

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
    Objects(Vec<(usize, Object<'t>)>),
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
    Object(usize, &'r Object<'r>),
}

/// How a format's tables are headed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The first line names the columns.
    First,
    /// There is no header (CoLA): these are the columns, unless the first line holds `unless`, which is a header then.
    Absent { columns: &'static [&'static str], unless: &'static str },
    /// There is none: a line is a word and, behind a blank, a text (CR, MR); these are the columns.
    Leading { columns: [&'static str; 2] },
}

impl Header {
    /// The cells of a line.
    fn cells(self, line: &str) -> Vec<&str> {
        match self {
            Self::First | Self::Absent { .. } => line.split('\t').collect(),
            Self::Leading { .. } => line.splitn(2, ' ').collect(),
        }
    }

    /// The error of a line with too few or too many cells.
    fn wrong(self, line: usize, text: &str, names: &[&str]) -> ReadError {
        match self {
            Self::First | Self::Absent { .. } => ReadError::Fields {
                line,
                found: text.split('\t').count(),
                expected: names.len(),
                columns: listed(names.iter().copied()),
            },
            Self::Leading { columns: [word, rest] } => ReadError::Line {
                line,
                found: format!("`{}`", shortened(text)),
                expected: format!("`{word}`, a blank and `{rest}`"),
            },
        }
    }
}

/// How the bytes of a file are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As UTF-8.
    Utf8,
    /// As UTF-8 or, where they are not that, as Windows-1252. What calls itself ISO-8859-1 is read so too, as on the web (the WHATWG's
    /// Encoding Standard): the two differ in control characters, which no text has.
    Windows1252,
}

/// The characters of Windows-1252 for the bytes from 80 to 9F; where there is none, that byte as a control character.
const FROM_0X80: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

impl Encoding {
    /// The bytes as UTF-8, unless UTF-8 is expected and they are not.
    ///
    /// # Errors
    /// If a byte is no character.
    pub(super) fn decoded(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
        if self == Self::Utf8 || std::str::from_utf8(bytes).is_ok() {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
        for (at, byte) in bytes.iter().enumerate() {
            let character = match byte {
                0x80..=0x9f => FROM_0X80[usize::from(byte - 0x80)],
                _ => char::from(*byte),
            };
            if matches!(character, '\u{80}'..='\u{9f}') {
                let (line, found) = (1 + newlines(&bytes[..at]), format!("the byte {byte:02X}"));
                let expected = "UTF-8 or Windows-1252, which has no such character".to_owned();
                return Err(ReadError::Line { line, found, expected });
            }
            text.push(character);
        }
        Ok(Cow::Owned(text.into_bytes()))
    }
}

impl<'t> Rows<'t> {
    /// Reads JSON if the first character is a brace or a bracket, and a table otherwise.
    ///
    /// # Errors
    /// If there is a row that is not a JSON object or does not fit the table.
    pub(super) fn read(
        piece: &Piece<'t>,
        header: Header,
        window: Window,
        skip_malformed: bool,
    ) -> Result<Self, ReadError> {
        if piece.is_json() {
            let rows = piece.records()?;
            let objects = window.of(rows.iter()).map(|row| Ok((row.line, row.object()?)));
            Ok(Self::Objects(objects.collect::<Result<_, _>>()?))
        } else {
            Table::read(piece, header, window, skip_malformed).map(Self::Table)
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
///
/// # Errors
/// If it is not UTF-8, or its lines end in carriage returns alone.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ReadError> {
    Decoding::default().text(bytes, true)
}

/// A text that comes in pieces: where the next one stands in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoding {
    /// The line in which the piece begins, from 1.
    pub(super) line: usize,
    /// Bytes in front of it.
    byte: usize,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { line: 1, byte: 0 }
    }
}

impl Decoding {
    /// The text of a piece that ends with a line or, if it `is_last`, with the text; without a byte order mark.
    ///
    /// # Errors
    /// If it is not UTF-8, or it is a whole text whose lines end in carriage returns alone.
    pub(super) fn text<'t>(&self, bytes: &'t [u8], is_last: bool) -> Result<&'t str, ReadError> {
        let is_first = self.byte == 0;
        if is_first && (bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])) {
            return Err(ReadError::Utf16);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let byte = error.valid_up_to();
            ReadError::Encoding { line: self.line + newlines(&bytes[..byte]), byte: self.byte + byte }
        })?;
        if !is_first {
            return Ok(text);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_one_line = is_last && !text.contains('\n');
        if is_one_line && text.trim_end().contains('\r') {
            return Err(ReadError::Returns);
        }
        Ok(text)
    }

    /// Goes on behind some bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.line += newlines(bytes);
        self.byte += bytes.len();
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

impl<'t> Table<'t> {
    fn read(piece: &Piece<'t>, header: Header, window: Window, skip_malformed: bool) -> Result<Self, ReadError> {
        // A newline ends the last row; what follows it is not a row.
        let mut lines = piece
            .text
            .split_terminator('\n')
            .enumerate()
            .map(|(i, line)| (i + piece.line, line.strip_suffix('\r').unwrap_or(line)))
            .peekable();
        let first = piece.first.map(|first| first.strip_suffix('\r').unwrap_or(first));
        let is_begun = first.is_some();
        let Some(first) = first.or_else(|| Some(lines.peek()?.1)).filter(|first| !first.is_empty()) else {
            return Err(ReadError::Empty { expected: "a table with tab-separated columns, or JSON".to_owned() });
        };
        let mut names: Vec<&str> = header.cells(first);
        match header {
            Header::Absent { columns, unless } if !names.contains(&unless) => names = columns.to_vec(),
            Header::Leading { columns } => names = columns.to_vec(),
            Header::First | Header::Absent { .. } if is_begun => {}
            Header::First | Header::Absent { .. } => drop(lines.next()),
        }
        let mut rows = Vec::new();
        for (line, row) in window.of(lines) {
            let cells = header.cells(row);
            if cells.len() == names.len() {
                rows.push((line, cells));
            } else if !skip_malformed {
                return Err(header.wrong(line, row, &names));
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
    pub(super) fn cell(self, columns: &[&'static str]) -> Option<(&'static str, Cell)> {
        columns.iter().find_map(|name| Some((*name, self.named(name)?)))
    }

    fn named(self, name: &str) -> Option<Cell> {
        match self {
            Self::Table(names, _, cells) => {
                names.iter().position(|n| *n == name).map(|column| Cell::Text(cells[column].to_owned()))
            }
            Self::Object(_, object) => object.cell(name),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// If it is missing, or not text.
    pub(super) fn text(self, columns: &[&'static str]) -> Result<Cow<'r, str>, ReadError> {
        if let Self::Table(names, _, cells) = self {
            let column = columns.iter().find_map(|name| names.iter().position(|known| known == name));
            return column.map(|column| Cow::Borrowed(cells[column])).ok_or_else(|| self.missing(columns));
        }
        match self.cell(columns) {
            Some((_, Cell::Text(text))) => Ok(Cow::Owned(text)),
            Some((column, cell)) => Err(self.unexpected(column, &cell, "a text")),
            None => Err(self.missing(columns)),
        }
    }

    pub(super) fn missing(self, columns: &[&'static str]) -> ReadError {
        let found: Vec<&str> = match self {
            Self::Table(names, ..) => names.to_vec(),
            Self::Object(_, object) => object.names().collect(),
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

    pub(super) fn unexpected(self, column: &'static str, cell: &Cell, expected: &str) -> ReadError {
        ReadError::Value { line: self.line(), column, found: cell.to_string(), expected: expected.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, window: Window, skip_malformed: bool) -> Result<Rows<'_>, ReadError> {
        Rows::read(&Piece::whole(text.as_bytes())?, Header::First, window, skip_malformed)
    }

    fn cells(text: &str) -> Result<Vec<Vec<String>>, ReadError> {
        let rows = read(text, Window::default(), false)?;
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
            "line 3: 1 tab-separated fields, expected 2 (`a`, `b`); correct the row or leave it out"
        );
        assert!(matches!(cells("a\tb\n1\t2\t3\n"), Err(ReadError::Fields { line: 2, found: 3, .. })));
        assert!(matches!(cells("a\tb\n\n1\t2\n"), Err(ReadError::Fields { line: 2, found: 1, .. })));
    }

    #[test]
    fn malformed_rows_are_left_out_on_request() {
        let rows = read("a\tb\n1\t2\n3\n4\t5\n", Window::default(), true).unwrap();
        assert_eq!(rows.iter().map(Row::line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_window_is_counted_in_rows() {
        let window = Window { skip: 1, rows: Some(2) };
        let lines = |text: &str| {
            let rows = read(text, window, false).unwrap();
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
    fn other_encodings_and_line_ends_are_named() {
        assert_eq!(utf8(b"\xff\xfea\0"), Err(ReadError::Utf16));
        assert_eq!(utf8(b"a\tb\r1\t2\r"), Err(ReadError::Returns));
        assert!(utf8(b"a\tb\r").is_ok() && utf8(b"a\rb\n").is_ok());
    }

    #[test]
    fn objects_may_stand_in_an_array() {
        let rows = read("[{\"a\": \"x\"},\n {\"a\": \"y\", \"b\": null}]", Window::default(), false);
        let rows = rows.unwrap();
        let rows: Vec<Row<'_>> = rows.iter().collect();
        assert_eq!(
            rows.iter().map(|row| (row.line(), row.text(&["a"]).unwrap())).collect::<Vec<_>>(),
            [(1, "x".into()), (2, "y".into())]
        );
        assert_eq!((rows[0].cell(&["b"]), rows[1].cell(&["b"])), (None, Some(("b", Cell::Missing))));
    }

    #[test]
    fn an_empty_file_is_an_error() {
        assert!(matches!(cells(""), Err(ReadError::Empty { .. })));
    }
}
