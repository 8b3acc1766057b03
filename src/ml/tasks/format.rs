//! Formats of published data sets: what a file holds, how a row becomes an example, and which task that is.
//!
//! A format is a row of a suite's table. Most are a [`Layout`]: named columns, put into a sentence of the form
//! `mnli hypothesis: … premise: …`. The others bring a reader of their own.

use super::error::{ReadError, closest, listed};
use super::rows::{Cell, Header, Row, Rows, Window};
use super::{Answer, Example, Metric, Split, Task, glue, squad, superglue};
use std::collections::BTreeSet;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether inputs begin with the task's name, as T5's do. Without it they are what Lester et al. 2021 call taskless.
    pub prefix: bool,
    /// Rows of the file that are left out in front, so that one file can serve as two splits.
    pub skip: usize,
    /// Rows that are read after them; all if `None`. A row is a line of a table or of JSON lines (MultiRC and ReCoRD: a
    /// passage), and a question of SQuAD.
    pub rows: Option<usize>,
    /// Whether table rows with too few or too many fields are left out, as TFDS does for QQP; they are an error otherwise.
    pub skip_malformed_rows: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { prefix: true, skip: 0, rows: None, skip_malformed_rows: false }
    }
}

impl Reading {
    pub(super) fn window(&self) -> Window {
        Window { skip: self.skip, rows: self.rows }
    }
}

/// Names of all known formats, such as `glue/mnli`.
pub fn formats() -> impl Iterator<Item = &'static str> {
    table().map(|format| format.name)
}

/// The task that a format's examples make up.
pub fn task(format: &str) -> Option<Task> {
    find(format).map(Format::task)
}

/// How a format's inputs are put together, for people: `mnli hypothesis: {hypothesis} premise: {premise}`.
pub fn template(format: &str, reading: &Reading) -> Option<String> {
    let format = find(format)?;
    Some(match &format.source {
        Source::Rows(layout) => {
            let holes: Vec<String> = layout.fields.iter().map(|field| format!("{{{}}}", field.name)).collect();
            let values: Vec<(&str, &str)> =
                layout.fields.iter().zip(&holes).map(|(field, hole)| (field.name, hole.as_str())).collect();
            join(format.word, reading.prefix, &values)
        }
        Source::Whole { template, .. } if reading.prefix => (*template).to_owned(),
        Source::Whole { template, .. } => taskless(format.word, template).to_owned(),
    })
}

/// The examples of a file in the given format. Test splits may hide their labels; others must not.
pub fn read(format: &str, bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    let Some(known) = find(format) else {
        return Err(ReadError::Format {
            found: format.to_owned(),
            near: closest(format, formats()),
            known: listed(formats()),
        });
    };
    match &known.source {
        Source::Rows(layout) => read_rows(known, layout, bytes, split, reading),
        Source::Whole { read, .. } => read(bytes, split, reading),
    }
}

/// A row of a suite's table.
pub(super) struct Format {
    pub(super) name: &'static str,
    /// Name of the task.
    pub(super) task: &'static str,
    /// The first word of an input: T5's name of the task, or of the one that it is a test for.
    pub(super) word: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) answer: Answer,
    pub(super) metrics: &'static [Metric],
    pub(super) source: Source,
}

/// Where a format's examples come from.
pub(super) enum Source {
    /// Rows with named columns, in a table or as JSON lines.
    Rows(Layout),
    /// Whatever this function reads.
    Whole { template: &'static str, read: Reader },
}

type Reader = fn(&[u8], Split, &Reading) -> Result<Vec<Example>, ReadError>;

/// Columns of a row.
pub(super) struct Layout {
    pub(super) header: Header,
    /// Fields of the input, in their order.
    pub(super) fields: &'static [Field],
    /// Accepted names of the column with the answer.
    pub(super) answer: &'static [&'static str],
}

/// A field of an input, and the columns in which files keep it.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// The target of an example whose label is hidden.
pub const HIDDEN: &str = "<unk>";

/// Columns that hold a row's identifier.
const IDS: &[&str] = &["idx", "index", "id"];

fn table() -> impl Iterator<Item = &'static Format> {
    glue::FORMATS.iter().chain(superglue::FORMATS).chain(squad::FORMATS)
}

fn find(name: &str) -> Option<&'static Format> {
    table().find(|format| format.name == name)
}

impl Format {
    fn task(&self) -> Task {
        Task {
            name: self.task.to_owned(),
            labels: self.labels.iter().map(|label| (*label).to_owned()).collect(),
            answer: self.answer,
            metrics: self.metrics.to_vec(),
        }
    }
}

fn read_rows(
    format: &Format,
    layout: &Layout,
    bytes: &[u8],
    split: Split,
    reading: &Reading,
) -> Result<Vec<Example>, ReadError> {
    let rows = Rows::read(bytes, layout.header, reading.window(), reading.skip_malformed_rows)?;
    let mut examples = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let values: Result<Vec<_>, _> =
            layout.fields.iter().map(|field| Ok((field.name, row.text(field.columns)?))).collect();
        let (target, label) = match format.answer {
            Answer::Number => (number(row, layout.answer, split)?, None),
            _ => {
                let label = label(row, layout.answer, format, split)?;
                (label.map_or(HIDDEN, |label| format.labels[label as usize]).to_owned(), label)
            }
        };
        examples.push(Example {
            id: row.cell(IDS).map_or_else(|| (reading.skip + at).to_string(), |(_, cell)| plain(cell)),
            input: join(format.word, reading.prefix, &values?),
            target,
            label,
            group: None,
            answers: Vec::new(),
        });
    }
    number_if_repeated(&mut examples, reading.skip);
    Ok(examples)
}

fn plain(cell: Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => text.to_owned(),
        other => other.to_string(),
    }
}

/// Files joined from several others repeat identifiers; their rows are numbered instead.
fn number_if_repeated(examples: &mut [Example], first: usize) {
    let different: BTreeSet<&str> = examples.iter().map(|example| example.id.as_str()).collect();
    if different.len() < examples.len() {
        for (at, example) in examples.iter_mut().enumerate() {
            example.id = (first + at).to_string();
        }
    }
}

/// The id of a row's label: a word of the set, its number, or a boolean; -1 and, in a test split, nothing is hidden.
pub(super) fn label(
    row: Row<'_>,
    columns: &[&'static str],
    format: &Format,
    split: Split,
) -> Result<Option<u32>, ReadError> {
    let Some((column, cell)) = row.cell(columns) else {
        return if split == Split::Test { Ok(None) } else { Err(row.missing(columns)) };
    };
    let id = match cell {
        Cell::Text(text) => match format.labels.iter().position(|label| *label == text) {
            Some(id) => Some(id as i64),
            None => text.parse().ok(),
        },
        Cell::Bool(value) if format.labels.len() == 2 => Some(i64::from(value)),
        Cell::Int(id) => Some(id),
        _ => None,
    };
    match id {
        Some(-1) => Ok(None),
        Some(id) if (0..format.labels.len() as i64).contains(&id) => Ok(Some(id as u32)),
        _ => Err(ReadError::Label {
            line: row.line(),
            column,
            found: cell.to_string(),
            task: format.task,
            near: closest(&plain(cell), format.labels.iter().copied()),
            known: format
                .labels
                .iter()
                .enumerate()
                .map(|(id, label)| format!("{id} `{label}`"))
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// A row's number as T5 writes it.
fn number(row: Row<'_>, columns: &[&'static str], split: Split) -> Result<String, ReadError> {
    let Some((column, cell)) = row.cell(columns) else {
        return if split == Split::Test { Ok(HIDDEN.to_owned()) } else { Err(row.missing(columns)) };
    };
    let number = match cell {
        Cell::Text(text) => text.trim().parse().ok(),
        Cell::Int(number) => Some(number as f32),
        Cell::Float(number) => Some(number as f32),
        _ => None,
    };
    match number {
        Some(-1.0) => Ok(HIDDEN.to_owned()),
        Some(number) if (0.0..=5.0).contains(&number) => Ok(glue::rounded(number)),
        _ => Err(row.unexpected(column, cell, "a number from 0 to 5")),
    }
}

/// Puts fields in a row: `mnli hypothesis: H premise: P`.
pub(super) fn join(word: &str, prefix: bool, fields: &[(&str, &str)]) -> String {
    let mut input = String::new();
    if prefix {
        input.push_str(word);
    }
    for (name, value) in fields {
        if !input.is_empty() {
            input.push(' ');
        }
        input.push_str(name);
        input.push_str(": ");
        input.push_str(value);
    }
    input
}

/// An input or template without the task's name in front.
fn taskless<'a>(word: &str, text: &'a str) -> &'a str {
    match text.strip_prefix(word) {
        // `wsc: …`, `record query: …`
        Some(rest) if rest.starts_with([' ', ':']) => rest.split_once(' ').map_or(rest, |(_, rest)| rest),
        _ => text,
    }
}
