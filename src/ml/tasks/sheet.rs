//! Tables that people have: CSV and TSV with quotes, JSON lines, or columns from elsewhere, as rows of the wanted cells.
//!
//! CSV is split here, strictly by RFC 4180: the csv crate takes a quote that is never closed as the rest of the file, and
//! so would make one example of thousands without a word. The columns that nobody asks for are not kept.

use super::error::{closest, listed, shortened};
use super::rows::{json, json_lines, utf8};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Something in a table that a task cannot be made of. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SheetError {
    /// Where it is.
    pub place: Place,
    /// What was found and what was expected.
    pub message: String,
}

/// A place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, from 1.
    Line(usize),
    /// A row of a file without lines, from 0.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

impl Place {
    pub(super) fn wrong(self, message: impl Into<String>) -> SheetError {
        SheetError { place: self, message: message.into() }
    }
}

/// A column that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'n> {
    /// Its name in the header or in the objects.
    pub name: &'n str,
    /// Whether a table without it is an error.
    pub required: bool,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing: null, or a column that is not there.
    Missing,
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Several texts.
    Texts(Vec<String>),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Text(text) => write!(f, "`{}`", shortened(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Texts(_) => f.write_str("a list"),
        }
    }
}

/// The wanted cells of every row, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    pub(super) rows: Vec<(Place, Vec<Cell>)>,
}

impl Sheet {
    /// A table with fields between `delimiter`s, its first line naming the columns. Fields may stand in quotes, and then
    /// hold delimiters, newlines and doubled quotes. Blank lines are no rows.
    pub fn from_delimited(bytes: &[u8], delimiter: char, wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        let mut records = Records { rest: text(bytes)?, delimiter, line: 1 };
        let Some((line, names)) = records.next().transpose()? else {
            return Err(Place::Line(1).wrong("the file is empty; expected a line with the names of columns"));
        };
        let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
        let line = Place::Line(line);
        let columns = Wanted::locate(wanted, &names, line)?;
        let mut rows = Vec::new();
        for record in records {
            let (line, fields) = record?;
            if fields.len() != names.len() {
                let (found, expected) = (fields.len(), names.len());
                let fields = if found == 1 { "field" } else { "fields" };
                return Err(Place::Line(line).wrong(format!(
                    "{found} {fields}, expected {expected} ({}); mend the row, or put quotes around a field that holds the \
                     delimiter or a newline",
                    listed(names.iter().copied())
                )));
            }
            let cell = |at: &Option<usize>| at.map_or(Cell::Missing, |at| Cell::Text(fields[at].clone().into_owned()));
            rows.push((Place::Line(line), columns.iter().map(cell).collect()));
        }
        Self { rows }.not_empty(line)
    }

    /// A table with a JSON object on each line.
    pub fn from_json_lines(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        let mut rows = Vec::new();
        for (number, line) in json_lines(text(bytes)?) {
            let place = Place::Line(number);
            let object: Map<String, Value> = json(line, number).map_err(|error| SheetError {
                place,
                // The error names the line itself.
                message: error.to_string().trim_start_matches(&format!("{place}, ")).to_owned(),
            })?;
            let names: Vec<&str> = object.keys().map(String::as_str).collect();
            positions(place, &names, wanted)?;
            let cells = wanted.iter().map(|column| cell(object.get(column.name), column.name, place));
            rows.push((place, cells.collect::<Result<_, _>>()?));
        }
        Self { rows }.not_empty(Place::Line(1))
    }

    /// A table of columns, each with its name; they must have equal lengths.
    pub fn from_columns(columns: &[(String, Vec<Cell>)], wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let order = Wanted::locate(wanted, &names, Place::Row(0))?;
        let count = columns.first().map_or(0, |(_, cells)| cells.len());
        let cell = |row: usize, at: &Option<usize>| at.map_or(Cell::Missing, |at| columns[at].1[row].clone());
        let rows = (0..count).map(|row| (Place::Row(row), order.iter().map(|at| cell(row, at)).collect())).collect();
        Self { rows }.not_empty(Place::Row(0))
    }

    fn not_empty(self, header: Place) -> Result<Self, SheetError> {
        if self.rows.is_empty() { Err(header.wrong("no rows; expected one at least")) } else { Ok(self) }
    }
}

fn text(bytes: &[u8]) -> Result<&str, SheetError> {
    utf8(bytes).map_err(|error| {
        let place = match error {
            super::ReadError::Encoding { line, .. } => Place::Line(line),
            _ => Place::Line(1),
        };
        let message = error.to_string();
        let message = message.trim_start_matches(&format!("{place}: ")).to_owned();
        SheetError { place, message }
    })
}

impl Wanted<'_> {
    /// Where the wanted columns are in a header, whose names must differ. Those that need not be there may be `None`.
    pub fn locate(wanted: &[Wanted<'_>], names: &[&str], place: Place) -> Result<Vec<Option<usize>>, SheetError> {
        if let Some((at, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(*name)) {
            let first = names.iter().position(|other| other == name).unwrap_or_default() + 1;
            let name = shortened(name);
            return Err(place.wrong(format!("column {} is called `{name}`, and so is column {first}", at + 1)));
        }
        positions(place, names, wanted)
    }
}

/// Where the wanted columns are among those that are there.
fn positions(place: Place, names: &[&str], wanted: &[Wanted<'_>]) -> Result<Vec<Option<usize>>, SheetError> {
    let position = |column: &Wanted<'_>| {
        let at = names.iter().position(|name| *name == column.name);
        if at.is_none() && column.required {
            let near = closest(column.name, names.iter().copied());
            let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(&near)));
            let found = listed(names.iter().copied());
            return Err(place.wrong(format!("no column `{}`{near}; found {found}", shortened(column.name))));
        }
        Ok(at)
    };
    wanted.iter().map(position).collect()
}

fn cell(value: Option<&Value>, column: &str, place: Place) -> Result<Cell, SheetError> {
    let unexpected = |what: &str| {
        let column = shortened(column);
        place.wrong(format!("`{column}` is {what}, expected a text, a number, true or false, or a list of texts"))
    };
    Ok(match value {
        None | Some(Value::Null) => Cell::Missing,
        Some(Value::String(text)) => Cell::Text(text.clone()),
        Some(Value::Bool(value)) => Cell::Bool(*value),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            Cell::Texts(texts.ok_or_else(|| unexpected("a list with something else than texts"))?)
        }
        Some(Value::Object(_)) => return Err(unexpected("an object")),
    })
}

/// Records of a delimited text, each with the line it begins on.
struct Records<'t> {
    rest: &'t str,
    delimiter: char,
    line: usize,
}

impl<'t> Records<'t> {
    /// The field at the front, and whether it is the last of its record.
    fn field(&mut self) -> Result<(Cow<'t, str>, bool), SheetError> {
        if !self.rest.starts_with('"') {
            let end = self.rest.find([self.delimiter, '\n']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            // A carriage return before a newline belongs to the line end.
            let line_ends = !rest.starts_with(self.delimiter);
            let field = if line_ends { field.strip_suffix('\r').unwrap_or(field) } else { field };
            return Ok((Cow::Borrowed(field), self.close(end)));
        }
        let opened = self.line;
        let (mut field, mut at) = (String::new(), 1);
        loop {
            let Some(end) = self.rest[at..].find('"').map(|end| at + end) else {
                return Err(
                    Place::Line(opened).wrong("a quote is opened here and never closed; double a quote that is text")
                );
            };
            field.push_str(&self.rest[at..end]);
            let after = &self.rest[end + 1..];
            if after.starts_with('"') {
                field.push('"');
                at = end + 2;
                continue;
            }
            self.line += field.matches('\n').count();
            let after =
                after.strip_prefix('\r').filter(|rest| rest.is_empty() || rest.starts_with('\n')).unwrap_or(after);
            if !(after.is_empty() || after.starts_with([self.delimiter, '\n'])) {
                let found: String = after.chars().take(1).collect();
                return Err(Place::Line(self.line).wrong(format!(
                    "`{found}` follows the quote that closes a field, expected the delimiter or the end of the line; \
                     double a quote that is text"
                )));
            }
            return Ok((Cow::Owned(field), self.close(self.rest.len() - after.len())));
        }
    }

    /// Leaves a field that ends at `end` and what closes it; whether that ended the record.
    fn close(&mut self, end: usize) -> bool {
        let mut rest = self.rest[end..].chars();
        let last = rest.next() != Some(self.delimiter);
        self.rest = rest.as_str();
        self.line += usize::from(last);
        last
    }
}

impl<'t> Iterator for Records<'t> {
    type Item = Result<(usize, Vec<Cow<'t, str>>), SheetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix('\n').or_else(|| self.rest.strip_prefix("\r\n")) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (line, mut fields) = (self.line, Vec::new());
        loop {
            match self.field() {
                Ok((field, last)) => {
                    fields.push(field);
                    if last {
                        return Some(Ok((line, fields)));
                    }
                }
                Err(error) => {
                    self.rest = "";
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AB: &[Wanted<'_>] = &[Wanted { name: "a", required: true }, Wanted { name: "b", required: false }];

    fn cells(text: &str) -> Vec<[String; 2]> {
        let sheet = Sheet::from_delimited(text.as_bytes(), ',', AB).unwrap();
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        sheet.rows.iter().map(|(_, cells)| [text(&cells[0]), text(&cells[1])]).collect()
    }

    #[track_caller]
    fn refused(text: &[u8], message: &str) {
        assert_eq!(Sheet::from_delimited(text, ',', AB).unwrap_err().to_string(), message);
    }

    #[test]
    fn quoted_fields_hold_delimiters_newlines_and_quotes() {
        let text = "\u{feff}a,b\r\n\"one, \"\"two\"\"\r\nthree\",\"\"\r\n\r\n x \"y\" ,z\r\n";
        assert_eq!(cells(text), [["one, \"two\"\r\nthree", ""], [" x \"y\" ", "z"]]);
        // The line of a row is that on which it begins.
        let sheet = Sheet::from_delimited(text.as_bytes(), ',', AB).unwrap();
        assert_eq!(sheet.rows.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [Place::Line(2), Place::Line(5)]);
    }

    #[test]
    fn the_last_line_may_lack_its_newline_and_end_in_an_empty_field() {
        assert_eq!(cells("a,b\n1,"), [["1", ""]]);
        assert_eq!(cells("a,b\n1,\"2\"\r"), [["1", "2"]]);
        assert_eq!(cells("b,c,a\n1,2,3"), [["3", "1"]]);
    }

    #[test]
    fn tabs_may_be_the_delimiter() {
        let sheet = Sheet::from_delimited(b"a\tb\nx, y\t2\n", '\t', AB).unwrap();
        assert_eq!(sheet.rows, [(Place::Line(2), vec![Cell::Text("x, y".into()), Cell::Text("2".into())])]);
    }

    #[test]
    fn optional_columns_may_be_absent() {
        let sheet = Sheet::from_delimited(b"a\n1\n", ',', AB).unwrap();
        assert_eq!(sheet.rows, [(Place::Line(2), vec![Cell::Text("1".into()), Cell::Missing])]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        refused(b"", "line 1: the file is empty; expected a line with the names of columns");
        refused(b"a,b\n", "line 1: no rows; expected one at least");
        refused(b"aa,b\n1,2\n", "line 1: no column `a` (did you mean `aa`?); found `aa`, `b`");
        refused(b"a,b,a\n1,2,3\n", "line 1: column 3 is called `a`, and so is column 1");
        refused(
            b"a,b\n1,2\n\"x\ny\",2\n3\n",
            "line 5: 1 field, expected 2 (`a`, `b`); mend the row, or put quotes around a field that holds the delimiter \
             or a newline",
        );
        refused(
            b"a,b\n1,\"2\n3,4\n5,6\n",
            "line 2: a quote is opened here and never closed; double a quote that is text",
        );
        refused(
            b"a,b\n\"x\ny\" z,2\n",
            "line 3: ` ` follows the quote that closes a field, expected the delimiter or the end of the line; double a \
             quote that is text",
        );
        refused(
            b"a,b\n1,\xff\n",
            "line 2: not UTF-8 at byte 6 of the file; convert the file, or check that it is not compressed",
        );
    }

    #[test]
    fn any_text_is_read_or_refused() {
        let mut stream = crate::ml::random::Stream::new(0, "delimited texts");
        let mut read = 0;
        for _ in 0..3000 {
            let text: String =
                (0..stream.below(14)).map(|_| *stream.choose(&['a', ',', '"', '\n', '\r', 'é'])).collect();
            let sheet = Sheet::from_delimited(format!("a,b\n{text}").as_bytes(), ',', AB);
            read += usize::from(sheet.is_ok_and(|sheet| sheet.rows.iter().all(|(_, cells)| cells.len() == 2)));
        }
        assert!((50..2900).contains(&read), "{read}");
    }

    #[test]
    fn quoted_tables_are_those_of_the_csv_crate() {
        let mut stream = crate::ml::random::Stream::new(1, "delimited texts");
        for _ in 0..300 {
            let mut field = || {
                (0..stream.below(6)).map(|_| *stream.choose(&["x", ",", "\"", "\n", "\r\n", "é "])).collect::<String>()
            };
            let rows: Vec<[String; 2]> = (0..4).map(|_| [field(), field()]).collect();
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b"]).unwrap();
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            assert_eq!(cells(&String::from_utf8(writer.into_inner().unwrap()).unwrap()), rows);
        }
    }

    #[test]
    fn json_lines_keep_their_types() {
        let text = "{\"a\": 1, \"b\": [\"x\", \"y\"], \"c\": {}}\n\n{\"b\": null, \"a\": 1.5}\n{\"a\": true}\n{\"a\": \"\u{2028}\"}\n";
        let sheet = Sheet::from_json_lines(text.as_bytes(), AB).unwrap();
        let expected = [
            (1, vec![Cell::Int(1), Cell::Texts(vec!["x".into(), "y".into()])]),
            (3, vec![Cell::Float(1.5), Cell::Missing]),
            (4, vec![Cell::Bool(true), Cell::Missing]),
            (5, vec![Cell::Text("\u{2028}".into()), Cell::Missing]),
        ];
        assert_eq!(sheet.rows, expected.map(|(line, cells)| (Place::Line(line), cells)));
    }

    #[test]
    fn json_lines_are_refused_with_their_places() {
        let error = |text: &str| Sheet::from_json_lines(text.as_bytes(), AB).unwrap_err().to_string();
        assert_eq!(error("{\"a\": 1}\n{\"a\": }\n"), "line 2: column 7: `a`: expected value");
        assert_eq!(error("{\"a\": 1}\n{\"A\": 1}\n"), "line 2: no column `a`; found `A`");
        assert_eq!(
            error("{\"a\": {\"x\": 1}}"),
            "line 1: `a` is an object, expected a text, a number, true or false, or a list of texts"
        );
        assert_eq!(error("\n\n"), "line 1: no rows; expected one at least");
        assert!(error(&format!("{{\"a\": {}", "[".repeat(100_000))).starts_with("line 1: column"));
    }

    #[test]
    fn columns_become_rows() {
        let columns =
            vec![("b".to_owned(), vec![Cell::Int(1), Cell::Int(2)]), ("a".to_owned(), vec![Cell::Missing; 2])];
        let sheet = Sheet::from_columns(&columns, AB).unwrap();
        assert_eq!(sheet.rows[1], (Place::Row(1), vec![Cell::Missing, Cell::Int(2)]));
        let error = Sheet::from_columns(&[("b".to_owned(), vec![])], AB).unwrap_err().to_string();
        assert_eq!(error, "row 0: no column `a`; found `b`");
    }
}
