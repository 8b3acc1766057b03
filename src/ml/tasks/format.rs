//! Formats of published data sets: what a file holds, how a row becomes an example, and which task that is.
//!
//! A format is a row of a suite's table. Most are a [`Layout`]: named columns, put into a sentence of the form
//! `mnli hypothesis: … premise: …`. The others bring a reader of their own.

use super::cell::Cell;
use super::error::{ReadError, closest, listed};
use super::rows::{Header, Row, Rows, Window};
use super::value::Value;
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
    Ok(read_decided(format, bytes, split, reading)?.0)
}

/// As [`read`], and the number of rows that were left out because their annotators could not decide: SNLI and MNLI give them
/// the label `-`, and nobody trains or evaluates on them (Bowman et al. 2015).
pub fn read_decided(
    format: &str,
    bytes: &[u8],
    split: Split,
    reading: &Reading,
) -> Result<(Vec<Example>, usize), ReadError> {
    let Some(known) = find(format) else {
        return Err(ReadError::Format {
            found: format.to_owned(),
            near: closest(format, formats()),
            known: listed(formats()),
        });
    };
    let (examples, undecided) = match &known.source {
        Source::Rows(layout) => read_rows(known, layout, bytes, split, reading)?,
        Source::Whole { read, .. } => (read(bytes, split, reading)?, 0),
    };
    if examples.is_empty() {
        return Err(ReadError::Empty { expected: "one at least".to_owned() });
    }
    Ok((examples, undecided))
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
            format: None,
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
) -> Result<(Vec<Example>, usize), ReadError> {
    let rows = Rows::read(bytes, layout.header, reading.window(), reading.skip_malformed_rows)?;
    let (mut examples, mut undecided) = (Vec::new(), 0);
    for (at, row) in rows.iter().enumerate() {
        let answer = row.cell(layout.answer);
        if format.labels == glue::NLI && matches!(&answer, Some((_, Cell::Text(text))) if text.trim() == "-") {
            undecided += 1;
            continue;
        }
        let values: Result<Vec<_>, _> =
            layout.fields.iter().map(|field| Ok((field.name, row.text(field.columns)?))).collect();
        let values = values?;
        let values: Vec<(&str, &str)> = values.iter().map(|(name, text)| (*name, text.as_ref())).collect();
        let (target, label) = match format.answer {
            Answer::Number => (number(row, layout.answer, split)?, None),
            _ => {
                let label = label(row, layout.answer, format, split)?;
                (label.map_or(HIDDEN, |label| format.labels[label as usize]).to_owned(), label)
            }
        };
        let id = row.cell(IDS).and_then(|(_, cell)| cell.plain()).filter(|id| !id.is_empty());
        examples.push(Example {
            id: id.unwrap_or_else(|| (reading.skip + at).to_string()),
            input: join(format.word, reading.prefix, &values),
            target,
            label,
            group: None,
            answers: Vec::new(),
        });
    }
    number_if_repeated(&mut examples, reading.skip);
    Ok((examples, undecided))
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

/// The id of a row's label: a word of the set by its [`Value`], or a whole number, which is its place. In a test split nothing,
/// null, NaN and -1 hide it.
fn label(row: Row<'_>, columns: &[&'static str], format: &Format, split: Split) -> Result<Option<u32>, ReadError> {
    let Some((column, cell)) = answer(row, columns, split)? else { return Ok(None) };
    let value = cell.value();
    let word = format.labels.iter().position(|label| value.as_ref() == Some(&Value::of(label)));
    let place = match &value {
        Some(Value::Number(number)) => number.place().filter(|place| *place < format.labels.len()),
        _ => None,
    };
    match word.or(place) {
        Some(id) => Ok(Some(id as u32)),
        None => Err(ReadError::Label {
            line: row.line(),
            column,
            found: cell.to_string(),
            task: format.task,
            near: closest(&cell.plain().unwrap_or_default(), format.labels.iter().copied()),
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

/// A row's answer and its column; `None` if a test split hides it.
fn answer(row: Row<'_>, columns: &[&'static str], split: Split) -> Result<Option<(&'static str, Cell)>, ReadError> {
    let may_hide = split == Split::Test;
    let Some((column, cell)) = row.cell(columns) else {
        return if may_hide { Ok(None) } else { Err(row.missing(columns)) };
    };
    if !(cell.is_blank() || cell.says_nothing() || cell.is_minus_one()) {
        return Ok(Some((column, cell)));
    }
    if may_hide { Ok(None) } else { Err(ReadError::Hidden { line: row.line(), column, found: cell.to_string() }) }
}

/// A row's number as T5 writes it.
fn number(row: Row<'_>, columns: &[&'static str], split: Split) -> Result<String, ReadError> {
    let Some((column, cell)) = answer(row, columns, split)? else { return Ok(HIDDEN.to_owned()) };
    match cell.value() {
        Some(Value::Number(number)) if (0.0..=5.0).contains(&number.to_f32()) => Ok(glue::rounded(number.to_f32())),
        _ => Err(row.unexpected(column, &cell, "a number from 0 to 5")),
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
