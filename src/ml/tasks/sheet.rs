//! Tables that people have: CSV and TSV, JSON, or columns from elsewhere, as rows of the wanted cells.
//!
//! CSV is split here, strictly by RFC 4180: the csv crate takes a quote that is never closed as the rest of the file, and
//! so would make one example of thousands without a word. The columns that nobody asks for are not kept.
//!
//! TSV has two traditions: that of GLUE, in which a quote is a letter like any other, and that of spreadsheets and pandas, in
//! which a field may stand in quotes as in CSV. Where both would read a file, and not alike, somebody has to say which is meant.

use super::cell::Cell;
use super::error::{ReadError, closest, listed, shortened};
use super::field::{FORMS, Field};
use super::json::{self, Record, records_from};
use super::rows::{Decoding, utf8};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::iter::Peekable;

/// Something in a table that a task cannot be made of. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SheetError {
    /// Where it is.
    pub place: Place,
    /// What was found and what was expected.
    pub message: String,
}

/// A place in a table, which may be in several files. Shown without the file, whose name the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the files, from 0.
    pub file: usize,
    /// Where in it.
    pub at: At,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A line of a text file, from 1.
    Line(usize),
    /// A row of a file without lines, from 0.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Line(line) => write!(f, "line {line}"),
            At::Row(row) => write!(f, "row {row}"),
        }
    }
}

impl Place {
    /// A line of the only file, from 1.
    pub fn line(number: usize) -> Self {
        Self { file: 0, at: At::Line(number) }
    }

    /// A row of the only file, from 0.
    pub fn row(number: usize) -> Self {
        Self { file: 0, at: At::Row(number) }
    }

    pub(super) fn wrong(self, message: impl Into<String>) -> SheetError {
        SheetError { place: self, message: message.into() }
    }
}

/// How a table of delimited text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect<'n> {
    /// What a quote at the beginning of a field of a TSV file is; the file decides if it can.
    pub quotes: Option<Quotes>,
    /// The names of the columns of a file without a header.
    pub columns: Option<&'n [String]>,
}

/// A column that is asked for, or a part of one: `options[0]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'n> {
    /// Its name in the header or in the objects, or the name of a part.
    pub name: &'n str,
    /// Whether a table without it is an error.
    pub required: bool,
    /// Whether a list may have numbers and truth values beside texts.
    pub values: bool,
}

/// What a quote at the beginning of a field of a TSV file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quotes {
    /// A letter like any other, as in the files of GLUE: a line is a row.
    Text,
    /// The beginning of a field in quotes, as in CSV, which may hold tabs, newlines and doubled quotes.
    Fields,
}

/// The wanted cells of every row, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    pub(super) rows: Vec<(Place, Vec<Cell>)>,
}

/// A line from 1, and the fields of the row that begins on it.
pub(super) type Fields<'t> = (usize, Vec<Cow<'t, str>>);

impl Sheet {
    /// A table of CSV, its first line naming the columns. Fields may stand in quotes, and then hold commas, newlines and doubled
    /// quotes. Blank lines are not rows.
    ///
    /// # Errors
    /// If it is not UTF-8, a quote or a row is malformed, a wanted column is missing, or there are no rows.
    pub fn from_csv(bytes: &[u8], dialect: Dialect<'_>, wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        Pieces::csv(dialect, wanted).whole(bytes)
    }

    /// A table with tabs between fields, its first line naming the columns. Blank lines are not rows.
    ///
    /// Without [`Dialect::quotes`] the file decides. A quote is a letter if every line by itself is a row and quotes around fields would not
    /// make rows of the file, or would run over the ends of lines that are rows by themselves. Quotes stand around fields if
    /// they make rows of the file, and lines by themselves do not.
    ///
    /// # Errors
    /// Also if both ways to read the file make rows of it, as many, with different cells among those that are wanted.
    pub fn from_tsv(bytes: &[u8], dialect: Dialect<'_>, wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        let plain = || Pieces::lines(dialect, wanted).whole(bytes);
        let quoted = || Pieces::records(dialect, wanted).whole(bytes);
        match dialect.quotes {
            Some(Quotes::Text) => plain(),
            Some(Quotes::Fields) => quoted(),
            None if !may_be_quoted(bytes) => plain(),
            None => match (plain(), quoted()) {
                (Ok(plain), Ok(quoted)) if plain.rows.len() == quoted.rows.len() => plain.agrees(&quoted, wanted),
                (Ok(plain), _) => Ok(plain),
                (Err(_), Ok(quoted)) => Ok(quoted),
                (Err(plain), Err(quoted)) => {
                    let SheetError { place, message } = plain;
                    Err(place.wrong(format!("{message} (with quotes around fields as in CSV: {quoted})")))
                }
            },
        }
    }

    /// The table, if another way to read the same file gives the same.
    fn agrees(self, quoted: &Self, wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        for ((place, plain), (_, quoted)) in self.rows.iter().zip(&quoted.rows) {
            for ((plain, quoted), column) in plain.iter().zip(quoted).zip(wanted) {
                if plain != quoted {
                    let column = shortened(column.name);
                    return Err(place.wrong(format!(
                        "`{column}` can be read in two ways: with the quote as a letter, as in GLUE's files, it is {plain}, with quotes \
                         around fields, as in CSV, {quoted}; say which is meant: `quotes: text` or `quotes: fields`"
                    )));
                }
            }
        }
        Ok(self)
    }

    /// A table of JSON: an object on each line, an array of objects, or objects over several lines.
    ///
    /// # Errors
    /// If it is not UTF-8, its values are not JSON objects, one lacks a wanted column, or there are none.
    pub fn from_json(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        Pieces::json(wanted).whole(bytes)
    }

    /// A table of columns, each with its name; they must have equal lengths.
    ///
    /// # Errors
    /// If a wanted column is missing, two have one name, or there are no rows.
    pub fn from_columns(columns: &[(String, Vec<Cell>)], wanted: &[Wanted<'_>]) -> Result<Self, SheetError> {
        Self::piece_of_columns(columns, wanted, 0)?.not_empty(Place::row(0))
    }

    /// Some rows of such a table, of which the first has the number `first`.
    ///
    /// # Errors
    /// If a wanted column is missing, or two have one name.
    pub fn piece_of_columns(
        columns: &[(String, Vec<Cell>)],
        wanted: &[Wanted<'_>],
        first: usize,
    ) -> Result<Self, SheetError> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let sources = Wanted::locate(wanted, &names, Place::row(0))?;
        let count = columns.first().map_or(0, |(_, cells)| cells.len());
        let row = |number: usize| {
            let place = Place::row(first + number);
            let cells = sources.iter().zip(wanted).map(|(source, column)| {
                take(source.as_ref(), source.as_ref().map(|source| columns[source.at].1[number].clone()), column, place)
            });
            Ok((place, cells.collect::<Result<_, _>>()?))
        };
        Ok(Self { rows: (0..count).map(row).collect::<Result<_, SheetError>>()? })
    }

    /// Rows of it.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The same rows as those of one of several files, counted from 0.
    pub fn in_file(mut self, file: usize) -> Self {
        self.rows.iter_mut().for_each(|(place, _)| place.file = file);
        self
    }

    /// The rows of this table and then those of others, each of which is another file.
    pub fn of_files(sheets: impl IntoIterator<Item = Self>) -> Self {
        let of_file = |(file, sheet): (usize, Self)| sheet.in_file(file).rows;
        Self { rows: sheets.into_iter().enumerate().flat_map(of_file).collect() }
    }

    /// Pieces of so many rows.
    #[cfg(test)]
    pub(crate) fn pieces_of(self, rows: usize) -> Vec<Self> {
        self.rows.chunks(rows).map(|rows| Self { rows: rows.to_vec() }).collect()
    }

    /// The rows of pieces of a table, one after the other.
    pub fn joined(pieces: impl IntoIterator<Item = Self>) -> Self {
        Self { rows: pieces.into_iter().flat_map(|piece| piece.rows).collect() }
    }

    fn not_empty(self, header: Place) -> Result<Self, SheetError> {
        if self.rows.is_empty() { Err(no_rows(header)) } else { Ok(self) }
    }
}

/// The error of a table without rows.
pub fn no_rows(header: Place) -> SheetError {
    header.wrong("no rows; expected at least one")
}

/// Whether a field of a text with tabs begins with a quote, so that quotes might stand around fields.
pub fn may_be_quoted(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    text.starts_with(b"\"") || text.windows(2).any(|pair| pair[1] == b'"' && matches!(pair[0], b'\t' | b'\n'))
}

/// Delimited text or JSON that comes in pieces, of which each gives the rows that are whole. What comes of all pieces together does not
/// depend on where they were cut.
pub struct Pieces<'w> {
    form: Form,
    dialect: Dialect<'w>,
    wanted: &'w [Wanted<'w>],
    header: Option<Header<'w>>,
    decoding: Decoding,
    needs_all: bool,
    has_rows: bool,
}

/// Rows that are not worth several threads.
const FEW: usize = 64;

/// How rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// By RFC 4180, with this delimiter.
    Records(char),
    /// A line is a row, tabs end fields.
    Lines,
    /// JSON of some form.
    Json,
    /// A value on each line.
    JsonLines,
}

/// The columns of a table, and where those are that are wanted.
struct Header<'w> {
    names: Vec<String>,
    sources: Vec<Option<Source<'w>>>,
    place: Place,
}

impl<'w> Pieces<'w> {
    fn new(form: Form, dialect: Dialect<'w>, wanted: &'w [Wanted<'w>]) -> Self {
        Self { form, dialect, wanted, header: None, decoding: Decoding::default(), needs_all: false, has_rows: false }
    }

    /// Of [CSV](Sheet::from_csv).
    pub fn csv(dialect: Dialect<'w>, wanted: &'w [Wanted<'w>]) -> Self {
        Self::new(Form::Records(','), dialect, wanted)
    }

    /// Of text with tabs in which a quote is a letter.
    pub fn lines(dialect: Dialect<'w>, wanted: &'w [Wanted<'w>]) -> Self {
        Self::new(Form::Lines, dialect, wanted)
    }

    /// Of text with tabs in which quotes stand around fields.
    pub fn records(dialect: Dialect<'w>, wanted: &'w [Wanted<'w>]) -> Self {
        Self::new(Form::Records('\t'), dialect, wanted)
    }

    /// Of [JSON](Sheet::from_json).
    pub fn json(wanted: &'w [Wanted<'w>]) -> Self {
        Self::new(Form::Json, Dialect::default(), wanted)
    }

    /// Whether rows can only be told apart once all is there: JSON in an array, or over several lines.
    pub fn needs_all(&self) -> bool {
        self.needs_all
    }

    /// The line that comes next, from 1.
    pub fn line(&self) -> usize {
        self.decoding.line
    }

    /// The rows that are whole in a piece, and how many of its bytes they are; the next piece begins behind these. None are taken of a
    /// piece in which nothing is whole. `is_last` says that nothing follows.
    ///
    /// # Errors
    /// As those of the table as a whole, but that it has no rows.
    pub fn take(&mut self, bytes: &[u8], is_last: bool) -> Result<(Sheet, usize), SheetError> {
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if is_last { bytes.len() } else { end };
        if whole == 0 && !is_last {
            self.needs_all |= self.form == Form::Json && json::is_array(bytes);
            return Ok((Sheet::default(), 0));
        }
        let text = self.decoding.text(&bytes[..whole], is_last).map_err(|error| wrong(&error))?;
        let (sheet, left) = match self.form {
            Form::Records(delimiter) => {
                let mut records = Records { rest: text, delimiter, line: self.decoding.line, is_last };
                let sheet = self.rows(records.by_ref(), is_last)?;
                (sheet, records.rest.len())
            }
            Form::Lines => (self.rows(lines(text, self.decoding.line), is_last)?, 0),
            Form::Json | Form::JsonLines => self.objects(text, is_last)?,
        };
        self.has_rows |= !sheet.is_empty();
        // A mark in front of the text belongs to what is behind it.
        let taken = if left == text.len() { 0 } else { whole - left };
        self.decoding.pass(&bytes[..taken]);
        Ok((sheet, taken))
    }

    /// Says what is wrong with a table of which all pieces were taken.
    ///
    /// # Errors
    /// If it had no rows.
    pub fn finish(self) -> Result<(), SheetError> {
        if self.has_rows { Ok(()) } else { Err(no_rows(self.header.map_or(Place::line(1), |header| header.place))) }
    }

    /// A table that is one piece.
    fn whole(mut self, bytes: &[u8]) -> Result<Sheet, SheetError> {
        let (sheet, _) = self.take(bytes, true)?;
        self.finish()?;
        Ok(sheet)
    }

    /// The wanted cells of rows; the first of a table names the columns, if nothing else does.
    fn rows<'t>(
        &mut self,
        rows: impl Iterator<Item = Result<Fields<'t>, SheetError>>,
        is_last: bool,
    ) -> Result<Sheet, SheetError> {
        let mut rows = rows.peekable();
        let header = match self.header.take() {
            Some(header) => header,
            None if rows.peek().is_none() && !is_last => return Ok(Sheet::default()),
            None => Header::read(&mut rows, self.dialect, self.wanted)?,
        };
        let sheet = header.sheet(rows, self.wanted);
        self.header = Some(header);
        sheet
    }

    /// The wanted cells of values of JSON, and how many bytes of the text are left.
    fn objects(&mut self, text: &str, is_last: bool) -> Result<(Sheet, usize), SheetError> {
        if self.form == Form::Json && !is_last {
            match json::is_lines(text) {
                None => return Ok((Sheet::default(), 0)),
                Some(true) => self.form = Form::JsonLines,
                Some(false) => {
                    self.needs_all = true;
                    return Ok((Sheet::default(), text.len()));
                }
            }
        }
        let first = self.decoding.line;
        let records: Vec<Record<'_>> = match self.form {
            Form::JsonLines => json::lines(text, first).collect(),
            _ => records_from(text, first).map_err(|error| wrong(&error))?,
        };
        let row = |record: &Record<'_>| object(record, self.wanted);
        let rows: Vec<_> =
            if records.len() < FEW { records.iter().map(row).collect() } else { records.par_iter().map(row).collect() };
        Ok((Sheet { rows: rows.into_iter().collect::<Result<_, _>>()? }, 0))
    }
}

/// The wanted cells of an object.
fn object(record: &Record<'_>, wanted: &[Wanted<'_>]) -> Result<(Place, Vec<Cell>), SheetError> {
    let place = Place::line(record.line);
    let object = record.object().map_err(|error| wrong(&error))?;
    let sources = Wanted::sources(wanted, &object.names().collect::<Vec<_>>(), place)?;
    let cells = sources.iter().zip(wanted).map(|(source, column)| {
        let cell = source.as_ref().and_then(|source| object.cell(source.column(column)));
        take(source.as_ref(), cell, column, place)
    });
    Ok((place, cells.collect::<Result<_, _>>()?))
}

/// A line is a row, a tab ends a field, and nothing else means anything. The first has the number `first`.
pub(super) fn lines(text: &str, first: usize) -> impl Iterator<Item = Result<Fields<'_>, SheetError>> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    let filled = lines.filter(|(_, line)| !line.is_empty());
    filled.map(move |(number, line)| Ok((number + first, line.split('\t').map(Cow::Borrowed).collect())))
}

impl<'w> Header<'w> {
    /// The names of the columns: in the first row, if nobody gave them.
    fn read<'t>(
        rows: &mut Peekable<impl Iterator<Item = Result<Fields<'t>, SheetError>>>,
        dialect: Dialect<'w>,
        wanted: &[Wanted<'w>],
    ) -> Result<Self, SheetError> {
        let (place, names) = header(rows, dialect)?;
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let sources = Wanted::locate(wanted, &known, place).map_err(|error| {
            let is_there = |column: &Wanted<'_>| column.source(&known, place).is_ok_and(|source| source.is_some());
            // Where nothing is called as it should, the first line may be a row.
            let is_header = dialect.columns.is_some() || wanted.iter().any(is_there);
            let hint = if is_header { "" } else { "; if the file has no header, name its columns: `columns: […]`" };
            SheetError { message: format!("{}{hint}", error.message), ..error }
        })?;
        Ok(Self { names, sources, place })
    }

    /// The wanted cells of the rows below.
    fn sheet<'t>(
        &self,
        rows: impl Iterator<Item = Result<Fields<'t>, SheetError>>,
        wanted: &[Wanted<'_>],
    ) -> Result<Sheet, SheetError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let mut kept = Vec::new();
        for row in rows {
            let (line, fields) = row?;
            let place = Place::line(line);
            check_count(place, &fields, &names)?;
            let cells = self.sources.iter().zip(wanted).map(|(source, column)| {
                let cell = source.as_ref().map(|source| Cell::Text(fields[source.at].clone().into_owned()));
                take(source.as_ref(), cell, column, place)
            });
            kept.push((place, cells.collect::<Result<_, _>>()?));
        }
        Ok(Sheet { rows: kept })
    }
}

/// The names of columns and where they are: in the first row, which is taken off, or in a dialect.
pub(super) fn header<'t>(
    rows: &mut Peekable<impl Iterator<Item = Result<Fields<'t>, SheetError>>>,
    dialect: Dialect<'_>,
) -> Result<(Place, Vec<String>), SheetError> {
    let place = match rows.peek() {
        Some(Ok((line, _))) => Place::line(*line),
        Some(Err(_)) | None => Place::line(1),
    };
    let names = match dialect.columns {
        Some(columns) => without_header(columns, rows.peek(), place)?,
        None => header_of(rows.next())?,
    };
    Ok((place, names.iter().map(|name| name.trim().to_owned()).collect()))
}

/// Whether a row has a field for every column.
///
/// # Errors
/// If it has not.
pub(super) fn check_count(place: Place, fields: &[Cow<'_, str>], names: &[&str]) -> Result<(), SheetError> {
    if fields.len() == names.len() { Ok(()) } else { Err(place.wrong(other_count(fields.len(), names))) }
}

/// The names of columns in the first row of a table.
fn header_of(row: Option<Result<Fields<'_>, SheetError>>) -> Result<Vec<Cow<'_, str>>, SheetError> {
    match row.transpose()? {
        Some((_, names)) => Ok(names),
        None => Err(Place::line(1).wrong("the file is empty; expected a line with the names of columns")),
    }
}

/// The names of columns that somebody gave; the first row must be none.
fn without_header<'n>(
    columns: &'n [String],
    first: Option<&Result<Fields<'_>, SheetError>>,
    place: Place,
) -> Result<Vec<Cow<'n, str>>, SheetError> {
    let is_header = matches!(first, Some(Ok((_, fields))) if fields.iter().map(|field| field.trim()).eq(columns.iter().map(|name| name.trim())));
    if is_header {
        return Err(place.wrong(
            "the line can be read in two ways: as the header, since it holds the names in `columns`, or as a row, since `columns` says \
             that the file has no header; leave out `columns`, or remove the line",
        ));
    }
    Ok(columns.iter().map(|name| Cow::Borrowed(name.as_str())).collect())
}

fn other_count(found: usize, names: &[&str]) -> String {
    let fields = if found == 1 { "field" } else { "fields" };
    format!(
        "{found} {fields}, expected {} ({}); correct the row, or put quotes around a field that holds the delimiter or a newline",
        names.len(),
        listed(names.iter().copied())
    )
}

/// The text of a whole file.
///
/// # Errors
/// If it is not UTF-8, or its lines end in carriage returns alone.
pub(super) fn text(bytes: &[u8]) -> Result<&str, SheetError> {
    utf8(bytes).map_err(|error| wrong(&error))
}

/// What is wrong with a file, at its place.
pub(super) fn wrong(error: &ReadError) -> SheetError {
    let (place, full) = (Place::line(error.line()), error.to_string());
    let message = full.strip_prefix(&place.to_string()).map_or(&*full, |rest| rest.trim_start_matches([':', ',', ' ']));
    place.wrong(message)
}

/// Where a wanted column is: a column that is there, or a part of one.
pub struct Source<'n> {
    /// The place of the column among all.
    pub at: usize,
    part: Option<Field<'n>>,
}

impl<'n> Source<'n> {
    fn column(&self, wanted: &Wanted<'n>) -> &'n str {
        self.part.as_ref().map_or(wanted.name, |part| part.column)
    }
}

impl<'n> Wanted<'n> {
    /// A column that has to be there.
    pub const fn required(name: &'n str) -> Self {
        Self { name, required: true, values: false }
    }

    /// A column that may be missing.
    pub const fn optional(name: &'n str) -> Self {
        Self { name, required: false, values: false }
    }

    /// Where the wanted columns are in a header, whose names must differ. Those that need not be there may be `None`.
    ///
    /// # Errors
    /// If two columns have one name, a required one is missing, or a name is that of a column and of a part of another.
    pub fn locate(wanted: &[Self], names: &[&str], place: Place) -> Result<Vec<Option<Source<'n>>>, SheetError> {
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if let Some(first) = seen.insert(name, at) {
                let (name, first) = (shortened(name), first + 1);
                return Err(place.wrong(format!("column {} is called `{name}`, and so is column {first}", at + 1)));
            }
        }
        Self::sources(wanted, names, place)
    }

    /// The same for names that are known to differ.
    fn sources(wanted: &[Self], names: &[&str], place: Place) -> Result<Vec<Option<Source<'n>>>, SheetError> {
        wanted.iter().map(|column| column.source(names, place)).collect()
    }

    fn source(&self, names: &[&str], place: Place) -> Result<Option<Source<'n>>, SheetError> {
        let position = |wanted: &str| names.iter().position(|name| *name == wanted);
        let part =
            Field::parse(self.name).and_then(|part| Some(Source { at: position(part.column)?, part: Some(part) }));
        match (position(self.name), part) {
            (Some(at), None) => Ok(Some(Source { at, part: None })),
            (None, Some(part)) => Ok(Some(part)),
            (Some(_), Some(part)) => {
                let (name, of) = (shortened(self.name), shortened(names[part.at]));
                Err(place.wrong(format!(
                    "`{name}` can be read in two ways: as the column of that name, and as a part of the column `{of}`; rename one of them"
                )))
            }
            (None, None) if !self.required => Ok(None),
            (None, None) => Err(place.wrong(self.missing(names))),
        }
    }

    fn missing(&self, names: &[&str]) -> String {
        let near = closest(self.name, names.iter().copied());
        let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(&near)));
        let of = match Field::parse(self.name) {
            Some(part) => format!(", nor `{}`, of which it would be a part", shortened(part.column)),
            None if self.name.contains(['[', '|', '(']) => format!("; parts of columns are written {FORMS}"),
            None => String::new(),
        };
        format!("no column `{}`{near}{of}; found {}", shortened(self.name), listed(names.iter().copied()))
    }
}

/// The wanted part of a cell, of a kind that a row can have; one that is not there is missing.
fn take(
    source: Option<&Source<'_>>,
    cell: Option<Cell>,
    column: &Wanted<'_>,
    place: Place,
) -> Result<Cell, SheetError> {
    let mut cell = cell.unwrap_or(Cell::Missing);
    if let Some(part) = source.and_then(|source| source.part.as_ref()) {
        cell = part.of(cell).map_err(|message| place.wrong(message))?;
    }
    let is_odd = match &cell {
        Cell::Object(_) | Cell::Other(_) => true,
        Cell::List(items) if column.values => {
            items.iter().any(|item| !matches!(item, Cell::Text(_) | Cell::Bool(_) | Cell::Number(_)))
        }
        Cell::List(_) => cell.texts().is_none(),
        Cell::Missing | Cell::Text(_) | Cell::Bool(_) | Cell::Number(_) => false,
    };
    if is_odd {
        let column = shortened(column.name);
        let parts = if matches!(cell, Cell::List(_) | Cell::Object(_)) {
            format!("; parts are written {FORMS}")
        } else {
            String::new()
        };
        return Err(place.wrong(format!(
            "`{column}` is {cell}, expected a text, a number, true or false, or a list of texts{parts}"
        )));
    }
    Ok(cell)
}

/// Records of a delimited text, each with the line it begins on.
pub(super) struct Records<'t> {
    rest: &'t str,
    delimiter: char,
    line: usize,
    /// Whether nothing follows the text, so that a quote that is not closed here is never closed.
    is_last: bool,
}

/// What the front of a text is, if it is no field.
enum Odd {
    /// A field in quotes whose end is not there yet.
    Open,
    Wrong(SheetError),
}

impl From<SheetError> for Odd {
    fn from(error: SheetError) -> Self {
        Self::Wrong(error)
    }
}

impl<'t> Records<'t> {
    /// Those of a whole text.
    pub(super) fn new(text: &'t str, delimiter: char) -> Self {
        Self { rest: text, delimiter, line: 1, is_last: true }
    }

    /// The field at the front, and whether it is the last of its record.
    fn field(&mut self) -> Result<(Cow<'t, str>, bool), Odd> {
        if !self.rest.starts_with('"') {
            let end = self.rest.find([self.delimiter, '\n']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            // A carriage return before a newline belongs to the line end.
            let line_ends = !rest.starts_with(self.delimiter);
            let field = if line_ends { field.strip_suffix('\r').unwrap_or(field) } else { field };
            if field.contains('\r') {
                let error = Place::line(self.line).wrong(
                    "a carriage return in a field without quotes, which may be a letter or the end of a line; put quotes around the \
                     field, or convert the line ends",
                );
                return Err(error.into());
            }
            return Ok((Cow::Borrowed(field), self.close(end)));
        }
        let opened = self.line;
        let (mut field, mut at) = (String::new(), 1);
        loop {
            let Some(end) = self.rest[at..].find('"').map(|end| at + end) else {
                if !self.is_last {
                    return Err(Odd::Open);
                }
                let message = "a quote is opened here and never closed; double a quote that is text";
                return Err(Place::line(opened).wrong(message).into());
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
                let error = Place::line(self.line).wrong(format!(
                    "`{found}` follows the quote that closes a field, expected the delimiter or the end of the line; \
                     double a quote that is text"
                ));
                return Err(error.into());
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
    type Item = Result<Fields<'t>, SheetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix('\n').or_else(|| self.rest.strip_prefix("\r\n")) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (start, line, mut fields) = (self.rest, self.line, Vec::new());
        loop {
            match self.field() {
                Ok((field, last)) => {
                    fields.push(field);
                    if last {
                        return Some(Ok((line, fields)));
                    }
                }
                Err(Odd::Open) => {
                    (self.rest, self.line) = (start, line);
                    return None;
                }
                Err(Odd::Wrong(error)) => {
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
    use crate::ml::tasks::value::Decimal;

    const AB: &[Wanted<'_>] = &[Wanted::required("a"), Wanted::optional("b")];

    fn cells(text: &str) -> Vec<[String; 2]> {
        let sheet = Sheet::from_csv(text.as_bytes(), Dialect::default(), AB).unwrap();
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        sheet.rows.iter().map(|(_, cells)| [text(&cells[0]), text(&cells[1])]).collect()
    }

    #[track_caller]
    fn refused(text: &[u8], message: &str) {
        assert_eq!(Sheet::from_csv(text, Dialect::default(), AB).unwrap_err().to_string(), message);
    }

    #[test]
    fn quoted_fields_hold_delimiters_newlines_and_quotes() {
        let text = "\u{feff}a,b\r\n\"one, \"\"two\"\"\r\nthree\",\"\"\r\n\r\n x \"y\" ,z\r\n";
        assert_eq!(cells(text), [["one, \"two\"\r\nthree", ""], [" x \"y\" ", "z"]]);
        // The line of a row is that on which it begins.
        let sheet = Sheet::from_csv(text.as_bytes(), Dialect::default(), AB).unwrap();
        assert_eq!(sheet.rows.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [Place::line(2), Place::line(5)]);
    }

    #[test]
    fn the_last_line_may_lack_its_newline_and_end_in_an_empty_field() {
        assert_eq!(cells("a,b\n1,"), [["1", ""]]);
        assert_eq!(cells("a,b\n1,\"2\"\r"), [["1", "2"]]);
        assert_eq!(cells("b,c,a\n1,2,3"), [["3", "1"]]);
    }

    #[test]
    fn tabs_may_be_the_delimiter() {
        let sheet = Sheet::from_tsv(b"a\tb\nx, y\t2\n", Dialect::default(), AB).unwrap();
        assert_eq!(sheet.rows, [(Place::line(2), vec![Cell::Text("x, y".into()), Cell::Text("2".into())])]);
    }

    /// The cells of a table with tabs, and the lines of its rows.
    fn tsv(text: &str, quotes: Option<Quotes>) -> Result<Vec<(usize, String, String)>, String> {
        let sheet = Sheet::from_tsv(text.as_bytes(), Dialect { quotes, columns: None }, AB)
            .map_err(|error| error.to_string())?;
        let shown = |cell: &Cell| cell.clone().plain().unwrap();
        let row = |(place, cells): &(Place, Vec<Cell>)| match place {
            Place { at: At::Line(line), .. } => (*line, shown(&cells[0]), shown(&cells[1])),
            Place { at: At::Row(_), .. } => panic!("no line"),
        };
        Ok(sheet.rows.iter().map(row).collect())
    }

    fn row(line: usize, a: &str, b: &str) -> (usize, String, String) {
        (line, a.to_owned(), b.to_owned())
    }

    #[test]
    fn quotes_in_a_file_with_tabs_are_letters_where_lines_are_rows() {
        // As CSV these were two rows, of three lines and of one.
        let glue = "a\tb\n\"He said.\t1\nx\t2\n\"He went.\"\t3\n\"Oh\" my\t4\n";
        let rows = [row(2, "\"He said.", "1"), row(3, "x", "2"), row(4, "\"He went.\"", "3"), row(5, "\"Oh\" my", "4")];
        assert_eq!(tsv(glue, None).unwrap(), rows);
        let merged = "a\tb\n\"one\t1\ntwo\"\t2\n\"three\t3\nfour\"\t4\n";
        assert_eq!(tsv(merged, None).unwrap().len(), 4);
        assert_eq!(
            tsv(merged, Some(Quotes::Fields)).unwrap(),
            [row(2, "one\t1\ntwo", "2"), row(4, "three\t3\nfour", "4")]
        );
    }

    #[test]
    fn quotes_are_around_fields_where_lines_are_no_rows() {
        let pandas = "a\tb\n\"one\ttwo\"\t1\n\"x\ny \"\"z\"\"\"\t2\n";
        assert_eq!(tsv(pandas, None).unwrap(), [row(2, "one\ttwo", "1"), row(3, "x\ny \"z\"", "2")]);
        let error = tsv(pandas, Some(Quotes::Text)).unwrap_err();
        assert!(error.starts_with("line 2: 3 fields, expected 2"), "{error}");
        let neither = tsv("a\tb\n\"x\t1\n2\n", None).unwrap_err();
        assert!(neither.starts_with("line 3: 1 field, expected 2"), "{neither}");
        assert!(neither.ends_with("(with quotes around fields as in CSV: line 2: a quote is opened here and never closed; double a quote that is text)"), "{neither}");
    }

    #[test]
    fn a_file_with_tabs_that_can_be_read_in_two_ways_is_refused_with_both() {
        let text = "b\ta\nx\ty\n1\t\"He said \"\"no\"\"\"\n";
        assert_eq!(
            tsv(text, None).unwrap_err(),
            "line 3: `a` can be read in two ways: with the quote as a letter, as in GLUE's files, it is `\"He said \"\"no\"\"\"`, with \
             quotes around fields, as in CSV, `He said \"no\"`; say which is meant: `quotes: text` or `quotes: fields`"
        );
        assert_eq!(tsv(text, Some(Quotes::Text)).unwrap()[1], row(3, "\"He said \"\"no\"\"\"", "1"));
        assert_eq!(tsv(text, Some(Quotes::Fields)).unwrap()[1], row(3, "He said \"no\"", "1"));
        // Nobody asks for the column that differs.
        assert_eq!(tsv("a\tc\n1\t\"x\"\n", None).unwrap(), [row(2, "1", "")]);
    }

    #[test]
    fn files_without_a_header_have_the_columns_that_are_named() {
        let names = ["a", "b"].map(str::to_owned);
        let dialect = Dialect { quotes: None, columns: Some(&names) };
        let sheet = Sheet::from_csv(b"1,2\n3,4\n", dialect, AB).unwrap();
        assert_eq!(sheet.rows.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [Place::line(1), Place::line(2)]);
        assert_eq!(Sheet::from_tsv(b"1\t2\n", dialect, AB).unwrap().rows.len(), 1);
        let error = |text: &[u8]| Sheet::from_csv(text, dialect, AB).unwrap_err().to_string();
        assert!(error(b"a,b\n1,2\n").starts_with("line 1: the line can be read in two ways: as the header"));
        assert!(error(b"1,2,3\n").starts_with("line 1: 3 fields, expected 2 (`a`, `b`)"));
        assert_eq!(error(b""), "line 1: no rows; expected at least one");
        let error = Sheet::from_csv(b"1,2\n", Dialect::default(), AB).unwrap_err().to_string();
        assert_eq!(
            error,
            "line 1: no column `a`; found `1`, `2`; if the file has no header, name its columns: `columns: […]`"
        );
    }

    #[test]
    fn a_name_that_is_a_column_and_a_part_of_one_is_refused() {
        let wanted = [Wanted::required("a[0]")];
        let read = |text: &str| Sheet::from_json(text.as_bytes(), &wanted);
        assert_eq!(read("{\"a\": [\"x\"]}").unwrap().rows[0].1, [Cell::Text("x".into())]);
        assert_eq!(read("{\"a[0]\": \"y\"}").unwrap().rows[0].1, [Cell::Text("y".into())]);
        assert_eq!(
            read("{\"a[0]\": \"y\", \"a\": [\"x\"]}").err().unwrap().to_string(),
            "line 1: `a[0]` can be read in two ways: as the column of that name, and as a part of the column `a`; rename one of them"
        );
        let error = read("{\"b\": 1}").err().unwrap().to_string();
        assert_eq!(error, "line 1: no column `a[0]`, nor `a`, of which it would be a part; found `b`");
    }

    #[test]
    fn line_ends_that_are_none_are_refused() {
        refused(
            b"a,b\n1,2\r3,4\n",
            "line 2: a carriage return in a field without quotes, which may be a letter or the end of a line; put quotes around the \
             field, or convert the line ends",
        );
        refused(
            b"a,b\r1,2\r",
            "line 1: lines end in carriage returns alone, as on old Macs; convert them, for instance with `tr '\\r' '\\n'`",
        );
        refused(
            b"\xff\xfea\0",
            "line 1: UTF-16 text; convert the file to UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`",
        );
    }

    #[test]
    fn optional_columns_may_be_absent() {
        let sheet = Sheet::from_csv(b"a\n1\n", Dialect::default(), AB).unwrap();
        assert_eq!(sheet.rows, [(Place::line(2), vec![Cell::Text("1".into()), Cell::Missing])]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        refused(b"", "line 1: the file is empty; expected a line with the names of columns");
        refused(b"a,b\n", "line 1: no rows; expected at least one");
        refused(b"aa,b\n1,2\n", "line 1: no column `a` (did you mean `aa`?); found `aa`, `b`");
        refused(b"a,b,a\n1,2,3\n", "line 1: column 3 is called `a`, and so is column 1");
        refused(
            b"a,b\n1,2\n\"x\ny\",2\n3\n",
            "line 5: 1 field, expected 2 (`a`, `b`); correct the row, or put quotes around a field that holds the delimiter \
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
            let sheet = Sheet::from_csv(format!("a,b\n{text}").as_bytes(), Dialect::default(), AB);
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
        let number = |text: &str| Cell::Number(Decimal::parse(text).unwrap());
        let text = "{\"a\": 1, \"b\": [\"x\", \"y\"], \"c\": {}}\n\n{\"b\": null, \"a\": 1.5}\n{\"a\": true}\n{\"a\": \"\u{2028}\"}\n";
        let sheet = Sheet::from_json(text.as_bytes(), AB).unwrap();
        let expected = [
            (1, vec![number("1"), Cell::List(vec![Cell::Text("x".into()), Cell::Text("y".into())])]),
            (3, vec![number("1.5"), Cell::Missing]),
            (4, vec![Cell::Bool(true), Cell::Missing]),
            (5, vec![Cell::Text("\u{2028}".into()), Cell::Missing]),
        ];
        assert_eq!(sheet.rows, expected.map(|(line, cells)| (Place::line(line), cells)));
    }

    #[test]
    fn json_lines_are_refused_with_their_places() {
        let error = |text: &str| Sheet::from_json(text.as_bytes(), AB).unwrap_err().to_string();
        assert_eq!(error("{\"a\": 1}\n{\"a\": }\n"), "line 2: column 7: `a`: expected value");
        assert_eq!(error("{\"a\": 1}\n{\"A\": 1}\n"), "line 2: no column `a`; found `A`");
        assert_eq!(
            error("{\"a\": {\"x\": 1}}"),
            "line 1: `a` is an object, expected a text, a number, true or false, or a list of texts; parts are written `options[0]`, \
             `answers.text[0]`, `len(options)`, `options|join(\", \")`"
        );
        assert_eq!(error("\n\n"), "line 1: no rows; expected at least one");
        assert!(error(&format!("{{\"a\": {}", "[".repeat(100_000))).starts_with("line 1: column"));
    }

    #[test]
    fn columns_become_rows() {
        let columns =
            vec![("b".to_owned(), vec![Cell::Bool(true), Cell::Bool(false)]), ("a".to_owned(), vec![Cell::Missing; 2])];
        let sheet = Sheet::from_columns(&columns, AB).unwrap();
        assert_eq!(sheet.rows[1], (Place::row(1), vec![Cell::Missing, Cell::Bool(false)]));
        let error = Sheet::from_columns(&[("b".to_owned(), vec![])], AB).unwrap_err().to_string();
        assert_eq!(error, "row 0: no column `a`; found `b`");
    }
}
