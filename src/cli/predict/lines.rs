//! The rows to answer, some at a time: lines of text, JSON lines, or a table.

use crate::data::{DataError, Layout, unpacked, without_packing};
use crate::error::Usage;
use crate::ml::tasks::unlabelled::{self, Heading, INPUT};
use crate::ml::tasks::{Place, Quotes, Sheet, SheetError, Template, Wanted};
use anyhow::Context as _;
use clap::ValueEnum;
use std::io::{self, BufRead, BufReader, Cursor};
use std::path::Path;

/// The form of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// A text on each line
    Text,
    /// A JSON object on each line
    Jsonl,
    /// JSON of another form: an array of objects, or objects over several lines
    Json,
    /// CSV, its first line naming the columns
    Csv,
    /// Fields between tabs, the first line naming the columns
    Tsv,
    /// Parquet
    Parquet,
}

/// Bytes of the longest line. A longer one is not a text that anybody wants to have answered.
const LONGEST_LINE: u64 = 1 << 24;

impl Form {
    /// By the ending of a file's name, packed or not, else text.
    fn of(name: &str) -> Self {
        let is_json = without_packing(name).to_ascii_lowercase().ends_with(".json");
        match Layout::of(name) {
            Some(Layout::JsonLines) if is_json => Self::Json,
            Some(Layout::JsonLines) => Self::Jsonl,
            Some(Layout::Csv) => Self::Csv,
            Some(Layout::Tsv) => Self::Tsv,
            Some(Layout::Parquet) => Self::Parquet,
            None => Self::Text,
        }
    }

    /// That of a table that is read whole.
    fn layout(self) -> Option<Layout> {
        match self {
            Self::Text | Self::Jsonl => None,
            Self::Json => Some(Layout::JsonLines),
            Self::Csv => Some(Layout::Csv),
            Self::Tsv => Some(Layout::Tsv),
            Self::Parquet => Some(Layout::Parquet),
        }
    }
}

/// What a quote in TSV is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Quoting {
    /// A letter like any other
    Text,
    /// The beginning of a field in quotes
    Fields,
}

impl From<Quoting> for Quotes {
    fn from(quoting: Quoting) -> Self {
        match quoting {
            Quoting::Text => Self::Text,
            Quoting::Fields => Self::Fields,
        }
    }
}

/// How the inputs of rows come about.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    /// What makes them of columns, if anything does.
    pub(super) template: Option<&'a Template>,
    /// Whether the command line says so, and not the prompt's task.
    pub(super) asked: bool,
    /// Whether lines of text are whole inputs.
    pub(super) complete: bool,
}

/// A row to answer.
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) heading: Heading,
    rest: Rest,
}

/// What a row says beside its heading.
enum Rest {
    /// Nothing: a line of text.
    Text(String),
    /// An object.
    Json(String),
    /// The inputs are made of a whole table at a time.
    Table(usize),
}

/// All rows, in their order.
pub(super) struct Lines {
    /// What messages call the file.
    name: String,
    source: Source,
}

enum Source {
    Lines { reader: Box<dyn BufRead>, form: Form, line: usize },
    Table(Table),
}

/// A table, read whole.
struct Table {
    bytes: Vec<u8>,
    /// By which packed files are known.
    name: String,
    layout: Layout,
    quotes: Option<Quotes>,
    rows: std::vec::IntoIter<(Place, Heading)>,
    /// All rows, and how many of them were taken.
    count: usize,
    next: usize,
    /// The inputs of all rows, by the template that made them.
    inputs: Vec<(Template, Vec<String>)>,
}

impl Table {
    fn new(bytes: Vec<u8>, name: &str, layout: Layout, quotes: Option<Quotes>) -> Result<Self, DataError> {
        let rows = unlabelled::headings(|columns| layout.read(name, &bytes, quotes, columns))?;
        let (count, name) = (rows.len(), name.to_owned());
        Ok(Self { bytes, name, layout, quotes, rows: rows.into_iter(), count, next: 0, inputs: Vec::new() })
    }

    fn input(&mut self, at: usize, template: &Template) -> anyhow::Result<String> {
        let known = match self.inputs.iter().position(|(made_by, _)| made_by == template) {
            Some(known) => known,
            None => {
                let read = |columns: &[Wanted<'_>]| self.layout.read(&self.name, &self.bytes, self.quotes, columns);
                let inputs = unlabelled::inputs(template, read)?;
                // TSV whose quotes may be letters is read by what the wanted columns say.
                anyhow::ensure!(
                    inputs.len() == self.count,
                    "{} rows by some columns and {} by others; say what a quote is: `--quotes text` or `--quotes fields`",
                    self.count,
                    inputs.len()
                );
                self.inputs.push((template.clone(), inputs));
                self.inputs.len() - 1
            }
        };
        Ok(self.inputs[known].1[at].clone())
    }
}

impl Lines {
    /// Opens a file; `-` is the standard input.
    ///
    /// # Errors
    /// If the file cannot be opened, unpacked or read as its form, or standard input may have two forms.
    pub(super) fn open(path: &Path, form: Option<Form>, quotes: Option<Quotes>) -> anyhow::Result<Self> {
        let standard = path == Path::new("-");
        let name = if standard { "standard input".to_owned() } else { path.display().to_string() };
        let wanted = form.unwrap_or_else(|| if standard { Form::Text } else { Form::of(&name) });
        let open = || -> io::Result<Box<dyn BufRead>> {
            if standard {
                return Ok(Box::new(BufReader::new(io::stdin())));
            }
            Ok(Box::new(BufReader::new(fs_err::File::open(path)?)))
        };
        let mut reader = open().map_err(|error| Usage(error.to_string()))?;
        let is_packed = !standard && without_packing(&name) != name;
        let Some(layout) = wanted.layout() else {
            if form.is_none() && standard && reader.fill_buf()?.trim_ascii_start().starts_with(b"{") {
                let message =
                    "standard input begins with `{`: is it JSON lines, or text? Say `--input jsonl` or `--input text`";
                return Err(Usage(message.to_owned()).into());
            }
            if is_packed {
                let bytes = whole(&mut reader)?;
                let bytes = unpacked(&bytes, &name).with_context(|| name.clone())?.into_owned();
                reader = Box::new(Cursor::new(bytes));
            }
            return Ok(Self { name, source: Source::Lines { reader, form: wanted, line: 0 } });
        };
        let bytes = whole(&mut reader)?;
        let table = Table::new(bytes, &name, layout, quotes).with_context(|| name.clone())?;
        Ok(Self { name, source: Source::Table(table) })
    }

    /// What messages call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next rows, `most` of them at most; none at the end.
    ///
    /// # Errors
    /// If a row cannot be read in its form.
    pub(super) fn next(&mut self, most: usize) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(most.min(1 << 12));
        while rows.len() < most {
            let Some(row) = self.row().with_context(|| self.name.clone())? else { break };
            rows.push(row);
        }
        Ok(rows)
    }

    fn row(&mut self) -> anyhow::Result<Option<Row>> {
        match &mut self.source {
            Source::Table(Table { rows, next, .. }) => Ok(rows.next().map(|(place, heading)| {
                *next += 1;
                Row { place, heading, rest: Rest::Table(*next - 1) }
            })),
            Source::Lines { reader, form, line } => loop {
                let Some(text) = next_line(reader, line)? else { return Ok(None) };
                let place = Place::Line(*line);
                if *form == Form::Text {
                    return Ok(Some(Row { place, heading: Heading::default(), rest: Rest::Text(text) }));
                }
                if !text.trim().is_empty() {
                    let headings = unlabelled::headings(|columns| Sheet::from_json(text.as_bytes(), columns));
                    let (_, heading) = one(headings.map_err(|error| at(place, error))?, place)?;
                    return Ok(Some(Row { place, heading, rest: Rest::Json(text) }));
                }
            },
        }
    }

    /// The input of a row: what it says itself, or what a template makes of its columns.
    ///
    /// # Errors
    /// If the row lacks a column of the template, or the input is empty.
    pub(super) fn input(&mut self, row: &Row, making: Making<'_>) -> anyhow::Result<String> {
        let input = self.input_of(row, making).with_context(|| self.name.clone())?;
        anyhow::ensure!(!input.trim().is_empty(), "{}: {}: the input is empty, expected a text", self.name, row.place);
        Ok(input)
    }

    fn input_of(&mut self, row: &Row, making: Making<'_>) -> anyhow::Result<String> {
        let names_it = |template: &Template| template.columns().contains(&INPUT);
        match (&row.heading.input, making.template) {
            (Some(_), Some(template)) if names_it(template) => {}
            (Some(_), Some(_)) if making.asked => {
                let message = "an `input`, which is whole by itself, beside a `--template` of other columns; leave one of them out";
                return Err(Usage(format!("{}: {message}", row.place)).into());
            }
            (Some(input), _) => return Ok(input.clone()),
            (None, _) => {}
        }
        let Some(template) = making.template else {
            return match &row.rest {
                Rest::Text(text) if making.complete => Ok(text.clone()),
                Rest::Text(_) => {
                    let message = "nothing says what a line of text is; give `--complete` if it is a whole input, or the template of the \
                                   prompt's task: `--template 'sst2 sentence: {sentence}'`";
                    Err(Usage(message.to_owned()).into())
                }
                Rest::Json(_) | Rest::Table(_) => {
                    let message = "no `input`, and nothing says which columns make one; give `--template 'sst2 sentence: {sentence}'`";
                    anyhow::bail!("{}: {message}", row.place)
                }
            };
        };
        match (&row.rest, &mut self.source) {
            (Rest::Table(at), Source::Table(table)) => table.input(*at, template),
            (Rest::Table(_), Source::Lines { .. }) => unreachable!("rows of a table are from one"),
            (Rest::Json(text), _) => one_input(template, text, row.place),
            (Rest::Text(text), _) => {
                let columns = template.columns();
                let [column] = columns[..] else {
                    let (count, columns) = (columns.len(), columns.join("`, `"));
                    let message = format!(
                        "a line of text for a template of {count} columns (`{columns}`); give JSON lines or a table with them, or \
                         complete inputs and `--complete`"
                    );
                    return Err(Usage(message).into());
                };
                one_input(template, &serde_json::json!({ column: text }).to_string(), row.place)
            }
        }
    }
}

/// The input of a row that is an object by itself.
fn one_input(template: &Template, object: &str, place: Place) -> anyhow::Result<String> {
    let inputs = unlabelled::inputs(template, |columns| Sheet::from_json(object.as_bytes(), columns));
    one(inputs.map_err(|error| at(place, error))?, place)
}

/// The only row that a line should have.
fn one<T>(mut rows: Vec<T>, place: Place) -> anyhow::Result<T> {
    let count = rows.len();
    let row = rows.pop().filter(|_| count == 1);
    row.with_context(|| format!("{place}: {count} objects, expected one on a line; `--input json` reads arrays"))
}

fn whole(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A line without its end; `None` after the last.
fn next_line(reader: &mut impl BufRead, line: &mut usize) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = io::Read::take(&mut *reader, LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    *line += 1;
    if *line == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if read as u64 == LONGEST_LINE {
        anyhow::bail!("line {line}: longer than {} MiB; expected one text", LONGEST_LINE >> 20);
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|error| anyhow::anyhow!("line {line}: not UTF-8 at its byte {}", error.utf8_error().valid_up_to()))
}

/// What is wrong with a row that was read by itself, at its place in the file.
fn at(place: Place, error: SheetError) -> SheetError {
    SheetError { place, ..error }
}
