//! Rows of named columns as examples of a published task.

use super::cell::Cell;
use super::error::{ReadError, closest};
use super::format::{Format, HIDDEN, Layout, LeftOut, Read, Reading, join};
use super::piece::Piece;
use super::rows::{Row, Rows};
use super::value::Value;
use super::{Answer, Example, Split};
use std::collections::BTreeSet;

/// Columns that hold a row's identifier.
const IDS: &[&str] = &["idx", "index", "id"];

/// The examples of a file or a piece of it. Rows whose annotators could not decide are left out.
///
/// # Errors
/// If the file cannot be read as rows, or a row lacks a text or has an answer that the format does not know.
pub(super) fn read(
    format: &Format,
    layout: &Layout,
    piece: &Piece<'_>,
    split: Split,
    reading: &Reading,
) -> Result<Read, ReadError> {
    let rows = Rows::read(piece, layout.header, reading.window(), reading.skip_malformed_rows)?;
    let (mut examples, mut undecided) = (Vec::new(), 0);
    for (at, row) in rows.iter().enumerate() {
        let answer = row.cell(layout.answer);
        let mark =
            answer.as_ref().and_then(|(_, cell)| if let Cell::Text(text) = cell { Some(text.trim()) } else { None });
        if layout.undecided.is_some() && layout.undecided == mark {
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
            id: id.unwrap_or_else(|| (reading.skip + piece.rows + at).to_string()),
            input: join(format.word, reading.prefix, &values),
            target,
            label,
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        });
    }
    let why = "their gold label is `-`, since their annotators did not agree";
    Ok(Read { examples, left_out: LeftOut::of(undecided, why) })
}

/// Files joined from several others repeat identifiers; their rows are numbered instead.
pub(super) fn number_if_repeated(examples: &mut [Example], first: usize) {
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
        Some(Value::Number(number)) if (0.0..=5.0).contains(&number.to_f32()) => Ok(rounded(number.to_f32())),
        _ => Err(row.unexpected(column, &cell, "a number from 0 to 5")),
    }
}

/// A similarity as T5 writes it: the nearest fifth, halves to even, with one decimal. In f32, as in T5.
fn rounded(number: f32) -> String {
    format!("{:.1}", (number * 5.0).round_ties_even() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarities_are_rounded_to_even_fifths() {
        let cases = [(2.8, "2.8"), (1.66, "1.6"), (2.5, "2.4"), (0.1, "0.0"), (0.3, "0.4"), (5.0, "5.0"), (0.0, "0.0")];
        for (number, expected) in cases {
            assert_eq!(rounded(number), expected, "{number}");
        }
    }
}
