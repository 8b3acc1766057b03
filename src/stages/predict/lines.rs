//! The rows to answer, some at a time: lines of text, JSON lines, or a table.

use super::voice::{Refused, Voice};
use crate::data::{DataError, Layout, is_packed, unpacked, without_packing};
use crate::ml::tasks::unlabelled::{self, Heading, INPUT};
use crate::ml::tasks::{Dialect, Place, Quotes, Sheet, SheetError, Template, Wanted};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Cursor};

/// The form of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Form {
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
    /// Arrow
    Arrow,
}

/// Bytes of the longest line. A longer one is not a text that anybody wants to have answered.
const LONGEST_LINE: u64 = 1 << 24;

impl Form {
    /// By the ending of a file's name, packed or not, else text.
    pub fn of(name: &str) -> Self {
        let is_json = without_packing(name).to_ascii_lowercase().ends_with(".json");
        match Layout::of(name) {
            Some(Layout::JsonLines) if is_json => Self::Json,
            Some(Layout::JsonLines) => Self::Jsonl,
            Some(Layout::Csv) => Self::Csv,
            Some(Layout::Tsv) => Self::Tsv,
            Some(Layout::Parquet) => Self::Parquet,
            Some(Layout::Arrow) => Self::Arrow,
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
            Self::Arrow => Some(Layout::Arrow),
        }
    }
}

/// How the inputs of rows come about.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    /// What makes them of columns, if anything does.
    pub(super) template: Option<&'a Template>,
    /// Whether a setting says so, and not the prompt's task.
    pub(super) asked: bool,
    /// Whether lines of text are whole inputs.
    pub(super) complete: bool,
}

/// A row to answer.
pub struct Row {
    /// Where it is.
    pub place: Place,
    /// What it says of itself.
    pub heading: Heading,
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
pub struct Lines {
    /// What messages call the file.
    name: String,
    source: Source,
    /// The first row, where somebody looked at it.
    seen: Option<Row>,
    voice: Voice,
}

enum Source {
    Lines { reader: Box<dyn BufRead>, form: Form, line: usize },
    Table(Table),
}

/// A table, read whole.
struct Table {
    voice: Voice,
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
    fn new(
        bytes: Vec<u8>,
        name: &str,
        layout: Layout,
        quotes: Option<Quotes>,
        voice: Voice,
    ) -> Result<Self, DataError> {
        let dialect = Dialect { quotes, columns: None };
        let rows = unlabelled::headings(|columns| layout.read(name, &bytes, dialect, columns))?;
        let (count, name) = (rows.len(), name.to_owned());
        Ok(Self { voice, bytes, name, layout, quotes, rows: rows.into_iter(), count, next: 0, inputs: Vec::new() })
    }

    fn input(&mut self, at: usize, template: &Template) -> anyhow::Result<String> {
        let known = match self.inputs.iter().position(|(made_by, _)| made_by == template) {
            Some(known) => known,
            None => {
                let dialect = Dialect { quotes: self.quotes, columns: None };
                let read = |columns: &[Wanted<'_>]| self.layout.read(&self.name, &self.bytes, dialect, columns);
                let inputs = unlabelled::inputs(template, read)?;
                // TSV whose quotes may be letters is read by what the wanted columns say.
                anyhow::ensure!(
                    inputs.len() == self.count,
                    "{} rows by some columns and {} by others; say what a quote is: {} or {}",
                    self.count,
                    inputs.len(),
                    self.voice.with("quotes", "text"),
                    self.voice.with("quotes", "fields")
                );
                self.inputs.push((template.clone(), inputs));
                self.inputs.len() - 1
            }
        };
        Ok(self.inputs[known].1[at].clone())
    }
}

impl Lines {
    /// The rows of what is read; messages call it `name`. A form that is not said shows in the name.
    ///
    /// # Errors
    /// If it cannot be read, or is not a table of its form.
    pub fn new(
        mut reader: Box<dyn BufRead>,
        name: &str,
        form: Option<Form>,
        quotes: Option<Quotes>,
        voice: Voice,
    ) -> anyhow::Result<Self> {
        let form = form.unwrap_or_else(|| Form::of(name));
        let packed = without_packing(name) != name || is_packed(reader.fill_buf()?);
        let source = match form.layout() {
            None if packed => {
                let bytes = unpacked(&whole(&mut reader)?, name).with_context(|| name.to_owned())?.into_owned();
                Source::Lines { reader: Box::new(Cursor::new(bytes)), form, line: 0 }
            }
            None => Source::Lines { reader, form, line: 0 },
            Some(layout) => {
                let table = Table::new(whole(&mut reader)?, name, layout, quotes, voice);
                Source::Table(table.with_context(|| name.to_owned())?)
            }
        };
        Ok(Self { name: name.to_owned(), source, seen: None, voice })
    }

    /// The first row, which [`next`](Self::next) gives too; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn first(&mut self) -> anyhow::Result<Option<&Row>> {
        if self.seen.is_none() {
            self.seen = self.next(1)?.pop();
        }
        Ok(self.seen.as_ref())
    }

    /// What messages call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next rows, `most` of them at most; none at the end.
    ///
    /// # Errors
    /// If a row cannot be read in its form.
    pub(super) fn next(&mut self, most: usize) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(most.min(1 << 12));
        rows.extend(self.seen.take());
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
                let place = Place::line(*line);
                if *form == Form::Text {
                    return Ok(Some(Row { place, heading: Heading::default(), rest: Rest::Text(text) }));
                }
                if !text.trim().is_empty() {
                    let headings = unlabelled::headings(|columns| Sheet::from_json(text.as_bytes(), columns));
                    let (_, heading) = one(headings.map_err(|error| at(place, error))?, place, self.voice)?;
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
                return Err(Refused(format!(
                    "{}: an `input`, which is whole by itself, beside a {} of other columns; leave one of them out",
                    row.place,
                    self.voice.setting("template")
                ))
                .into());
            }
            (Some(input), _) => return Ok(input.clone()),
            (None, _) => {}
        }
        let Some(template) = making.template else { return self.whole_input(row, making) };
        match (&row.rest, &mut self.source) {
            (Rest::Table(at), Source::Table(table)) => table.input(*at, template),
            (Rest::Table(_), Source::Lines { .. }) => unreachable!("rows of a table are from one"),
            (Rest::Json(text), _) => one_input(template, text, row.place, self.voice),
            (Rest::Text(text), _) => {
                let columns = template.columns();
                let [column] = columns[..] else {
                    let (count, columns) = (columns.len(), columns.join("`, `"));
                    return Err(Refused(format!(
                        "a line of text for a template of {count} columns (`{columns}`); give JSON lines or a table with them, or \
                         complete inputs and {}",
                        self.voice.switch("complete")
                    ))
                    .into());
                };
                one_input(template, &serde_json::json!({ column: text }).to_string(), row.place, self.voice)
            }
        }
    }

    /// The input of a row without a template, which is a line of text or nothing.
    fn whole_input(&self, row: &Row, making: Making<'_>) -> anyhow::Result<String> {
        let template = self.voice.with("template", "sst2 sentence: {sentence}");
        match &row.rest {
            Rest::Text(text) if making.complete => Ok(text.clone()),
            Rest::Text(_) => Err(Refused(format!(
                "nothing says what a line of text is; give {} if it is a whole input, or the template of the prompt's task: {template}",
                self.voice.switch("complete")
            ))
            .into()),
            Rest::Json(_) | Rest::Table(_) => {
                anyhow::bail!("{}: no `input`, and nothing says which columns make one; give {template}", row.place)
            }
        }
    }
}

/// The input of a row that is an object by itself.
fn one_input(template: &Template, object: &str, place: Place, voice: Voice) -> anyhow::Result<String> {
    let inputs = unlabelled::inputs(template, |columns| Sheet::from_json(object.as_bytes(), columns));
    one(inputs.map_err(|error| at(place, error))?, place, voice)
}

/// The only row that a line should have.
fn one<T>(mut rows: Vec<T>, place: Place, voice: Voice) -> anyhow::Result<T> {
    let count = rows.len();
    let row = rows.pop().filter(|_| count == 1);
    row.with_context(|| {
        format!("{place}: {count} objects, expected one on a line; {} reads arrays", voice.with("input", "json"))
    })
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
