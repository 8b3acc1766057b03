//! Rows of a table on their way to examples: piece by piece, since a table may be larger than memory. What an answer is, only the whole
//! column says (places of labels, or numbers; a test split that hides all answers), so a [`Draft`] keeps the cell until all were seen.

use super::cell::Cell;
use super::error::shortened;
use super::format::{HIDDEN, LeftOut};
use super::labels::{Lookup, is_whole};
use super::own::{Own, behind, plain};
use super::several;
use super::sheet::{At, Place, Sheet, SheetError};
use super::value::Decimal;
use super::{Answer, Example, Split};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An example without its answer, and the cell that holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Where the row is.
    pub place: Place,
    /// The example; target, label and answers are not there yet.
    pub example: Example,
    answer: Cell,
}

/// What becomes of the rows of a split, one piece of the table after the other.
pub struct Drafts<'o> {
    own: &'o Own,
    split: Split,
    prefix: bool,
    /// Rows so far.
    rows: usize,
    /// Rows that each condition left out.
    left_out: Vec<usize>,
    last: Option<Place>,
    seen: Seen,
}

/// What is known of a column of answers once all its cells were seen.
struct Seen {
    /// Whether no cell has an answer for sure.
    may_all_hide: bool,
    /// The first cell with an answer that is no whole number.
    other: Option<(Place, Cell)>,
    /// Rows.
    count: usize,
    /// Cells without an answer, by themselves.
    hidden: usize,
}

/// How cells of a column become answers.
pub struct Answers<'o> {
    own: &'o Own,
    split: Split,
    /// Whether all answers of the split are hidden.
    hides_all: bool,
    lookup: Option<Lookup<'o>>,
    /// Rows without an answer.
    hidden: usize,
}

/// An answer as target, label and accepted answers.
pub(super) type Known = (String, Option<u32>, Vec<String>);

/// A row: left out by a condition, or a draft.
enum Row {
    LeftOut(usize),
    Kept(Box<Draft>),
}

impl<'o> Drafts<'o> {
    /// Of a split. `prefix` puts the task's name in front of inputs.
    pub fn new(own: &'o Own, split: Split, prefix: bool) -> Self {
        let seen = Seen { may_all_hide: true, other: None, count: 0, hidden: 0 };
        Self { own, split, prefix, rows: 0, left_out: vec![0; own.drop.len()], last: None, seen }
    }

    /// The drafts of the next rows of the split. A row without an id is called by its number among all.
    ///
    /// # Errors
    /// The first row that no example can be made of.
    pub fn of(&mut self, sheet: Sheet) -> Result<Vec<Draft>, SheetError> {
        self.last = sheet.rows.last().map(|(place, _)| *place).or(self.last);
        let (own, prefix, first) = (self.own, self.prefix, self.rows);
        self.rows += sheet.rows.len();
        let numbered: Vec<_> = sheet.rows.into_iter().enumerate().collect();
        let rows: Vec<_> =
            numbered.into_par_iter().map(|(at, (place, cells))| own.row(place, cells, first + at, prefix)).collect();
        let mut drafts = Vec::with_capacity(rows.len());
        for row in rows {
            match row? {
                Row::LeftOut(condition) => self.left_out[condition] += 1,
                Row::Kept(draft) => {
                    self.seen.see(own, draft.place, &draft.answer);
                    drafts.push(*draft);
                }
            }
        }
        Ok(drafts)
    }

    /// How answers are read, once all rows were seen, and how many rows each condition left out.
    ///
    /// # Errors
    /// If no row is left.
    pub fn finish(self) -> Result<(Answers<'o>, Vec<LeftOut>), SheetError> {
        let Self { own, split, seen, .. } = self;
        if let (0, Some(last)) = (seen.count, self.last) {
            return Err(last.wrong("no row is left; `drop` leaves all of them out"));
        }
        let reason = |text: &str| format!("`drop` has `{}`", shortened(text));
        let counts = own.drop.iter().zip(self.left_out);
        let left_out = counts.flat_map(|(condition, rows)| LeftOut::of(rows, &reason(&condition.text))).collect();
        let hides_all = split == Split::Test && seen.may_all_hide;
        let lookup = own.labels.as_ref().map(|labels| labels.lookup(&own.label, seen.other));
        let hidden = if hides_all { seen.count } else { seen.hidden };
        Ok((Answers { own, split, hides_all, lookup, hidden }, left_out))
    }
}

impl Seen {
    fn see(&mut self, own: &Own, place: Place, cell: &Cell) {
        self.count += 1;
        self.may_all_hide &= own.may_hide(cell);
        let hides = own.hides(cell);
        self.hidden += usize::from(hides);
        if self.other.is_none() && !hides && own.labels.is_some() {
            let items = if own.several { several::items(cell) } else { std::slice::from_ref(cell) };
            self.other = items.iter().find(|item| !is_whole(item)).map(|item| (place, item.clone()));
        }
    }
}

impl Answers<'_> {
    /// Rows without an answer.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The example of a draft.
    ///
    /// # Errors
    /// If its answer is not one of the task's. Only a test split may hide some.
    pub fn example(&self, draft: Draft) -> Result<Example, SheetError> {
        let Draft { place, mut example, answer } = draft;
        let hides = self.hides_all || self.own.hides(&answer);
        if hides && self.split != Split::Test {
            return Err(self.own.hidden(place, &answer));
        }
        let known =
            if hides { (HIDDEN.to_owned(), None, Vec::new()) } else { self.known(place, &answer, &example.choices)? };
        (example.target, example.label, example.answers) = known;
        Ok(example)
    }

    fn known(&self, place: Place, cell: &Cell, choices: &[String]) -> Result<Known, SheetError> {
        match (&self.lookup, self.own.answer) {
            (None, Answer::Choice) => self.own.choice(place, cell, choices),
            (Some(lookup), _) if self.own.several => several::answer(lookup, &self.own.label, place, cell),
            (Some(lookup), _) => lookup.of(place, cell).map(|(word, label)| (word.to_owned(), Some(label), Vec::new())),
            (None, Answer::Number) => self.own.number(place, cell),
            (None, _) => self.own.text(place, cell),
        }
    }
}

impl Own {
    /// What becomes of a row with the number `number` among all.
    fn row(&self, place: Place, mut cells: Vec<Cell>, number: usize, prefix: bool) -> Result<Row, SheetError> {
        let compared = cells.split_off(cells.len() - self.drop.len());
        let mut dropped = None;
        for (at, (condition, cell)) in self.drop.iter().zip(&compared).enumerate() {
            if condition.holds(cell, place)? {
                dropped = dropped.or(Some(at));
            }
        }
        if let Some(at) = dropped {
            return Ok(Row::LeftOut(at));
        }
        let choices = match &self.choices {
            Some(choices) => choices.of(cells.split_off(cells.len() - choices.from.len()), place)?,
            None => Vec::new(),
        };
        let mut cells = cells.into_iter();
        let answer = cells.next().unwrap_or(Cell::Missing);
        let names = self.template.columns();
        let values = names.iter().zip(cells.by_ref()).map(|(name, cell)| Ok((*name, plain(name, cell, place)?)));
        let values = values.collect::<Result<BTreeMap<&str, String>, SheetError>>()?;
        let input = self.template.fill(|name| Cow::Borrowed(values.get(name).map_or("", String::as_str)));
        let mut named = |name: &Option<String>| -> Result<Option<String>, SheetError> {
            let Some(name) = name else { return Ok(None) };
            let text = plain(name, cells.next().unwrap_or(Cell::Missing), place)?;
            if text.is_empty() {
                return Err(place.wrong(format!("`{}` is empty, expected a value in every row", shortened(name))));
            }
            Ok(Some(text))
        };
        let (group, id) = (named(&self.group)?, named(&self.id)?);
        let example = Example {
            id: id.unwrap_or_else(|| number.to_string()),
            input: if prefix { behind(self.word(), &input) } else { input },
            target: String::new(),
            label: None,
            group,
            answers: Vec::new(),
            choices,
        };
        Ok(Row::Kept(Box::new(Draft { place, example, answer })))
    }

    /// The error of an id that is there a second time.
    pub fn repeated(&self, place: Place, id: &str, first: Place) -> SheetError {
        let (name, id) = (shortened(self.id.as_deref().unwrap_or_default()), shortened(id));
        let file = if first.file == place.file { String::new() } else { format!(" of file {}", first.file + 1) };
        place.wrong(format!("`{name}` is `{id}`, as in {first}{file}; expected different values"))
    }
}

impl Draft {
    /// Appends the draft to a file of them.
    ///
    /// # Panics
    /// If a text has 4 GiB or more.
    pub fn write(&self, to: &mut Vec<u8>) {
        let Self { place, example, answer } = self;
        let (kind, number) = match place.at {
            At::Line(line) => (0, line),
            At::Row(row) => (1, row),
        };
        to.push(kind);
        put(to, place.file);
        put(to, number);
        put_text(to, &example.id);
        put_text(to, &example.input);
        put_texts(to, example.group.as_slice());
        put_texts(to, &example.choices);
        put_cell(to, answer);
    }

    /// The draft at the front of what was written, which it takes off; `None` if there is none.
    pub fn read(from: &mut &[u8]) -> Option<Self> {
        let kind = byte(from)?;
        let file = take(from)?;
        let at = if kind == 0 { At::Line(take(from)?) } else { At::Row(take(from)?) };
        let example = Example {
            id: take_text(from)?,
            input: take_text(from)?,
            target: String::new(),
            label: None,
            group: take_texts(from)?.pop(),
            answers: Vec::new(),
            choices: take_texts(from)?,
        };
        let answer = take_cell(from)?;
        Some(Self { place: Place { file, at }, example, answer })
    }
}

impl Example {
    /// Appends the example to a file of them.
    ///
    /// # Panics
    /// If a text has 4 GiB or more.
    pub fn write(&self, to: &mut Vec<u8>) {
        let Self { id, input, target, label, group, answers, choices } = self;
        [id, input, target].into_iter().for_each(|text| put_text(to, text));
        put(to, label.map_or(0, |label| label as usize + 1));
        put_texts(to, group.as_slice());
        put_texts(to, answers);
        put_texts(to, choices);
    }

    /// The example at the front of what was written, which it takes off; `None` if there is none.
    pub fn read(from: &mut &[u8]) -> Option<Self> {
        let (id, input, target) = (take_text(from)?, take_text(from)?, take_text(from)?);
        let label = take(from)?.checked_sub(1).map(|label| label as u32);
        Some(Self {
            id,
            input,
            target,
            label,
            group: take_texts(from)?.pop(),
            answers: take_texts(from)?,
            choices: take_texts(from)?,
        })
    }
}

fn put(to: &mut Vec<u8>, number: usize) {
    to.extend((number as u64).to_le_bytes());
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend(u32::try_from(text.len()).expect("a text of less than 4 GiB").to_le_bytes());
    to.extend(text.as_bytes());
}

fn put_texts(to: &mut Vec<u8>, texts: &[String]) {
    put(to, texts.len());
    texts.iter().for_each(|text| put_text(to, text));
}

fn put_cell(to: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Text(text) => {
            to.push(1);
            put_text(to, text);
        }
        Cell::Bool(truth) => to.extend([2, u8::from(*truth)]),
        Cell::Number(number) => {
            let (negative, digits, exponent) = number.parts();
            to.extend([3, u8::from(negative)]);
            put_text(to, digits);
            to.extend(exponent.to_le_bytes());
        }
        Cell::List(items) => {
            to.push(4);
            put(to, items.len());
            items.iter().for_each(|item| put_cell(to, item));
        }
        // Rows have no others.
        Cell::Missing | Cell::Object(_) | Cell::Other(_) => to.push(0),
    }
}

fn byte(from: &mut &[u8]) -> Option<u8> {
    from.split_off_first().copied()
}

fn take(from: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*from.split_off(..8)?.first_chunk()?)).ok()
}

fn take_text(from: &mut &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(*from.split_off(..4)?.first_chunk()?) as usize;
    String::from_utf8(from.split_off(..length)?.to_vec()).ok()
}

fn take_texts(from: &mut &[u8]) -> Option<Vec<String>> {
    let count = take(from)?;
    (0..count).map(|_| take_text(from)).collect()
}

fn take_cell(from: &mut &[u8]) -> Option<Cell> {
    Some(match byte(from)? {
        1 => Cell::Text(take_text(from)?),
        2 => Cell::Bool(byte(from)? == 1),
        3 => {
            let (negative, digits) = (byte(from)? == 1, take_text(from)?);
            let exponent = i64::from_le_bytes(*from.split_off(..8)?.first_chunk()?);
            Cell::Number(Decimal::from_parts(negative, digits, exponent))
        }
        4 => {
            let count = take(from)?;
            Cell::List((0..count).map(|_| take_cell(from)).collect::<Option<_>>()?)
        }
        _ => Cell::Missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_come_back_as_they_were_written() {
        let example = |number: usize| Example {
            id: number.to_string(),
            input: "ö\n".repeat(number),
            target: "é".repeat(number % 2),
            label: [None, Some(0), Some(u32::MAX)][number % 3],
            group: number.is_multiple_of(2).then(String::new),
            answers: vec!["a".to_owned(), String::new()][..number % 3].to_vec(),
            choices: vec!["x".to_owned(); number % 4],
        };
        let examples: Vec<Example> = (0..12).map(example).collect();
        let mut bytes = Vec::new();
        examples.iter().for_each(|example| example.write(&mut bytes));
        let mut rest = &bytes[..];
        let found: Vec<Example> = std::iter::from_fn(|| Example::read(&mut rest)).collect();
        assert_eq!((found, rest), (examples, &[][..]));
    }

    #[test]
    fn drafts_come_back_as_they_were_written() {
        let answers = [
            Cell::Missing,
            Cell::Text("é \n".to_owned()),
            Cell::Bool(true),
            Cell::Bool(false),
            Cell::Number(Decimal::parse("-12.50e-7").unwrap()),
            Cell::Number(Decimal::parse("9e999999999").unwrap()),
            Cell::List(vec![Cell::Text("a".to_owned()), Cell::Text(String::new())]),
            Cell::List(Vec::new()),
            Cell::List(vec![Cell::Bool(true), Cell::List(vec![Cell::Number(Decimal::parse("2").unwrap())])]),
        ];
        let draft = |(number, answer): (usize, Cell)| Draft {
            place: Place { file: number, at: if number % 2 == 0 { At::Line(number + 1) } else { At::Row(number) } },
            example: Example {
                id: number.to_string(),
                input: "ö".repeat(number),
                target: String::new(),
                label: None,
                group: (number % 3 == 0).then(|| "g".to_owned()),
                answers: Vec::new(),
                choices: vec!["x".to_owned(); number % 4],
            },
            answer,
        };
        let drafts: Vec<Draft> = answers.into_iter().enumerate().map(draft).collect();
        let mut bytes = Vec::new();
        drafts.iter().for_each(|draft| draft.write(&mut bytes));
        let mut rest = &bytes[..];
        let found: Vec<Draft> = drafts.iter().map(|_| Draft::read(&mut rest).unwrap()).collect();
        assert_eq!(found, drafts);
        assert!(rest.is_empty() && Draft::read(&mut rest).is_none());
    }
}
