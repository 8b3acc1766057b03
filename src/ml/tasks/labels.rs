//! Labels: which of a task's words a cell stands for. One rule for CSV, TSV, JSON and Parquet:
//!
//! - *A mapping is looked up by value*, never by place. What values are the same says [`Value`].
//! - *A list of words* is looked up by value too: a cell is one of the words. If no word is a number, a column that holds
//!   nothing but whole numbers has their places, from 0.
//! - *What could be read in two ways is refused*, with both readings: a truth value where neither `true` nor `false` is a label,
//!   words and places in one column, and numbers that would be other words by value than by place.
//!
//! Columns of different files are read one by one.

use super::cell::Cell;
use super::error::{closest, listed, shortened};
use super::format::HIDDEN;
use super::sheet::{Place, SheetError};
use super::value::Value;
use std::collections::BTreeMap;

/// Label words, and which value of the column stands for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The words that the column holds, or the places of which it holds.
    Words(Vec<String>),
    /// Values with their words, in the order of the labels; several values may stand for one word.
    Values(Vec<(String, String)>),
}

/// Labels that a message lists.
const LISTED: usize = 20;

impl Labels {
    /// The different words, in their order.
    pub fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = Vec::new();
        match self {
            Self::Words(all) => words.extend(all.iter().map(String::as_str)),
            Self::Values(values) => {
                for (_, word) in values {
                    if !words.contains(&word.as_str()) {
                        words.push(word);
                    }
                }
            }
        }
        words
    }

    /// What the column may hold, as written.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let (words, values) = match self {
            Self::Words(words) => (&words[..], &[][..]),
            Self::Values(values) => (&[][..], &values[..]),
        };
        words.iter().map(String::as_str).chain(values.iter().map(|(value, _)| value.as_str()))
    }

    /// The label of every value.
    fn by_value(&self) -> BTreeMap<Value, usize> {
        match self {
            Self::Words(words) => words.iter().enumerate().map(|(label, word)| (Value::of(word), label)).collect(),
            Self::Values(values) => {
                let words = self.words();
                let label = |word: &String| words.iter().position(|known| known == word).unwrap_or_default();
                values.iter().map(|(value, word)| (Value::of(value), label(word))).collect()
            }
        }
    }

    /// Whether the cell holds a value that is a label by itself, so that it cannot stand for a missing answer.
    pub(super) fn has(&self, cell: &Cell) -> bool {
        cell.value().is_some_and(|value| self.keys().any(|key| Value::of(key) == value))
    }

    /// How a column is looked up whose cells have answers; `other` is the first of them that is no whole number.
    pub(super) fn lookup<'a>(&'a self, column: &'a str, other: Option<(Place, Cell)>) -> Lookup<'a> {
        Lookup::new(self, column, other)
    }

    /// Looks for contradictions.
    ///
    /// # Errors
    /// What is wrong with the first label that cannot be one, or with the list.
    pub fn check(&self) -> Result<(), String> {
        let words = self.words();
        if words.len() < 2 {
            let count = words.len();
            return Err(format!(
                "has {count} different words, expected at least two; leave it out if answers are free text"
            ));
        }
        for (at, word) in words.iter().enumerate() {
            let shown = shortened(word);
            if words[..at].contains(word) {
                return Err(format!("has `{shown}` twice"));
            }
            if word.is_empty() || word.trim() != *word || word.chars().any(char::is_control) {
                let shown = shown.escape_debug();
                return Err(format!(
                    "has `{shown}`, which a model cannot write; expected words without white space around them"
                ));
            }
            if *word == HIDDEN {
                return Err(format!("has `{shown}`, which stands for a hidden answer"));
            }
        }
        let mut seen: BTreeMap<Value, &str> = BTreeMap::new();
        for key in self.keys() {
            if key.trim().is_empty() {
                return Err("has an empty value, but a cell that is empty has no answer".to_owned());
            }
            if let Some(other) = seen.insert(Value::of(key), key) {
                let (key, other) = (shortened(key), shortened(other));
                return Err(format!("has `{other}` and `{key}`, which are one value in every table; leave one out"));
            }
        }
        Ok(())
    }
}

/// A column, and how it is looked up.
pub(super) struct Lookup<'a> {
    labels: &'a Labels,
    words: Vec<&'a str>,
    by_value: BTreeMap<Value, usize>,
    column: &'a str,
    /// The first cell of the column that is no whole number.
    other: Option<(Place, Cell)>,
    /// Whether labels are numbers: some, all.
    some_numbers: bool,
    all_numbers: bool,
}

impl<'a> Lookup<'a> {
    fn new(labels: &'a Labels, column: &'a str, other: Option<(Place, Cell)>) -> Self {
        let by_value = labels.by_value();
        let is_number = |value: &Value| matches!(value, Value::Number(_));
        Self {
            labels,
            words: labels.words(),
            column,
            other,
            some_numbers: by_value.keys().any(is_number),
            all_numbers: by_value.keys().all(is_number),
            by_value,
        }
    }

    /// The word and the label of a cell of the column.
    ///
    /// # Errors
    /// If it stands for no label, or for two.
    pub(super) fn of(&self, place: Place, cell: &Cell) -> Result<(&'a str, u32), SheetError> {
        let label = if self.has_places() { self.by_place(place, cell) } else { self.by_value(place, cell) }?;
        Ok((self.words[label], label as u32))
    }

    /// The word of a label.
    ///
    /// # Panics
    /// If there is no such label.
    pub(super) fn word_of(&self, label: u32) -> &'a str {
        self.words[label as usize]
    }

    /// Whether the column holds places in a list of words: whole numbers alone, and no word is a number.
    fn has_places(&self) -> bool {
        matches!(self.labels, Labels::Words(_)) && self.is_whole() && !self.some_numbers
    }

    /// Whether the column holds nothing but whole numbers.
    fn is_whole(&self) -> bool {
        self.other.is_none()
    }

    fn by_place(&self, place: Place, cell: &Cell) -> Result<usize, SheetError> {
        let found = place_of(cell).filter(|at| *at < self.words.len());
        let at = found.ok_or_else(|| self.no_label(place, cell, ""))?;
        // `[True, False]`: 1 is the place of `False`, and means true to many.
        match self.by_value.get(&Value::Truth(at == 1)) {
            Some(truth) if *truth != at && at < 2 => {
                let other = format!("as a truth value `{}`", self.words[*truth]);
                Err(self.two_ways(place, cell, self.words[at], &other))
            }
            _ => Ok(at),
        }
    }

    fn by_value(&self, place: Place, cell: &Cell) -> Result<usize, SheetError> {
        let value = cell.value();
        let label = value.as_ref().and_then(|value| self.by_value.get(value)).copied();
        let is_list = matches!(self.labels, Labels::Words(_));
        let at_place = place_of(cell).filter(|_| is_list).and_then(|at| self.words.get(at));
        match (label, at_place) {
            // Some words are numbers and some are not, and the column could have their places.
            (Some(label), Some(word)) if self.is_whole() && !self.all_numbers && self.words[label] != *word => {
                Err(self.two_ways(place, cell, word, &format!("as a value `{}`", self.words[label])))
            }
            (Some(label), _) => Ok(label),
            (None, Some(word)) if !self.some_numbers => {
                let (line, other) = self.other.as_ref().map_or((place, cell), |(place, cell)| (*place, cell));
                let file = if line.file == place.file { String::new() } else { format!(" of file {}", line.file + 1) };
                Err(place.wrong(format!(
                    "`{}` is {cell}, which as a place would be `{}`, but in {line}{file} it is {other}; a column has words of \
                     `labels`, or whole numbers that are their places, not both",
                    shortened(self.column),
                    shortened(word)
                )))
            }
            (None, Some(word)) => {
                let word = shortened(word);
                let hint = format!(", by value, since words are numbers; its place would be `{word}`");
                Err(self.no_label(place, cell, &hint))
            }
            (None, None) => Err(self.no_value(place, cell)),
        }
    }

    /// No value, and what is often meant by such a cell.
    fn no_value(&self, place: Place, cell: &Cell) -> SheetError {
        match cell.value() {
            Some(Value::Truth(truth)) => self.no_truth(place, cell, truth),
            Some(Value::Number(number)) => match number.place().and_then(|at| self.word(&Value::Truth(at == 1))) {
                Some(word) if number.place() < Some(2) => place.wrong(format!(
                    "`{}` is {cell}, a number, which is not a label: as a truth value it would be `{}`; say which is meant: \
                     `labels: {{1: …, 0: …}}`",
                    shortened(self.column),
                    shortened(word)
                )),
                _ => self.no_label(place, cell, ""),
            },
            Some(Value::Text(_)) | None => self.no_label(place, cell, ""),
        }
    }

    /// A truth value that is not a label: it might be a number, or one of two words.
    fn no_truth(&self, place: Place, cell: &Cell, truth: bool) -> SheetError {
        let (column, number) = (shortened(self.column), u8::from(truth));
        let say = "say which is meant: `labels: {true: …, false: …}`";
        if let Some(word) = self.word(&Value::of(&number.to_string())) {
            let word = shortened(word);
            return place.wrong(format!(
                "`{column}` is {cell}, a truth value, which is not a label: as the number {number} it would be `{word}`; {say}"
            ));
        }
        match self.labels {
            Labels::Words(words) if words.len() == 2 => {
                let (at, other) = (usize::from(truth), usize::from(!truth));
                let (word, other) = (shortened(&words[at]), shortened(&words[other]));
                place.wrong(format!(
                    "`{column}` is {cell}, which is not one of the words of `labels`: it may stand for {at}, the place of `{word}`, or for \
                     `{other}`; {say}"
                ))
            }
            Labels::Words(_) | Labels::Values(_) => self.no_label(place, cell, &format!("; {say}")),
        }
    }

    /// The word of a value.
    fn word(&self, value: &Value) -> Option<&str> {
        self.by_value.get(value).map(|label| self.words[*label])
    }

    fn no_label(&self, place: Place, cell: &Cell, hint: &str) -> SheetError {
        let written = match cell {
            Cell::Text(text) => text.trim().to_owned(),
            _ => cell.to_string(),
        };
        let near = closest(&written, self.labels.keys());
        let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(&near)));
        let known = match self.labels {
            Labels::Words(words) if !self.some_numbers => {
                let numbered = words.iter().enumerate().take(LISTED);
                let numbered = numbered.map(|(label, word)| format!("{label} `{}`", shortened(word)));
                numbered.collect::<Vec<_>>().join(", ")
            }
            _ => listed(self.labels.keys().take(LISTED)),
        };
        let column = shortened(self.column);
        place.wrong(format!("`{column}` is {cell}, which is not a label{near}; labels are {known}{hint}"))
    }

    fn two_ways(&self, place: Place, cell: &Cell, at_place: &str, other: &str) -> SheetError {
        place.wrong(format!(
            "`{}` is {cell}, which can be read in two ways: as a place of `labels` it is `{}`, {other}; say which is meant by a \
             mapping: `labels: {{{cell}: …}}`",
            shortened(self.column),
            shortened(at_place)
        ))
    }
}

/// Whether a cell is a whole number.
pub(super) fn is_whole(cell: &Cell) -> bool {
    matches!(cell.value(), Some(Value::Number(number)) if number.is_whole())
}

fn place_of(cell: &Cell) -> Option<usize> {
    match cell.value() {
        Some(Value::Number(number)) => number.place(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::value::Decimal;

    fn words(words: &[&str]) -> Labels {
        Labels::Words(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn values(pairs: &[(&str, &str)]) -> Labels {
        Labels::Values(pairs.iter().map(|(value, word)| ((*value).to_owned(), (*word).to_owned())).collect())
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn number(text: &str) -> Cell {
        Cell::Number(Decimal::parse(text).unwrap())
    }

    const TRUE: Cell = Cell::Bool(true);
    const FALSE: Cell = Cell::Bool(false);

    /// The words that the cells of a column stand for.
    fn read(labels: &Labels, cells: &[Cell]) -> Result<Vec<String>, String> {
        labels.check().unwrap();
        let column = || cells.iter().enumerate().map(|(row, cell)| (Place::line(row + 2), cell));
        let other = column().find(|(_, cell)| !is_whole(cell)).map(|(place, cell)| (place, cell.clone()));
        let lookup = labels.lookup("y", other);
        let word = |(place, cell)| lookup.of(place, cell).map(|(word, _)| word.to_owned());
        column().map(word).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(labels: &Labels, cells: &[Cell], message: &str) {
        assert_eq!(read(labels, cells).unwrap_err(), message);
    }

    /// A value as every container may hold it.
    fn spellings(value: &str) -> Vec<Cell> {
        let mut cells = vec![text(value), text(&format!(" {value} "))];
        match Value::of(value) {
            Value::Number(exact) => {
                cells.push(Cell::Number(exact.clone()));
                if exact.is_whole() {
                    cells.push(text(&format!("{exact}.00")));
                }
            }
            Value::Truth(truth) => {
                let spelt = if truth { ["true", "True", "TRUE"] } else { ["false", "False", "FALSE"] };
                cells.extend(spelt.map(text));
                cells.push(Cell::Bool(truth));
            }
            Value::Text(_) => {}
        }
        cells
    }

    #[test]
    fn a_mapping_is_looked_up_by_value_however_both_sides_are_written() {
        for keys in [["1", "0"], ["1.0", "0.0"], ["True", "False"], ["true", "false"], ["yes", "no"], ["0.5", "2"]] {
            let labels = values(&[(keys[0], "good"), (keys[1], "bad")]);
            for (key, word) in [(keys[0], "good"), (keys[1], "bad")] {
                for cell in spellings(key) {
                    assert_eq!(read(&labels, std::slice::from_ref(&cell)).unwrap(), [word], "{keys:?} {cell:?}");
                }
            }
        }
        let several = values(&[("1", "bad"), ("2", "bad"), ("3", "good"), ("-1", "good")]);
        assert_eq!(read(&several, &[number("2"), text("3.0"), number("-1")]).unwrap(), ["bad", "good", "good"]);
        let big = values(&[("18446744073709551615", "a"), ("18446744073709551614", "b")]);
        assert_eq!(read(&big, &[number("18446744073709551614")]).unwrap(), ["b"]);
    }

    #[test]
    fn a_mapping_is_never_looked_up_by_place() {
        let labels = values(&[("pos", "good"), ("neg", "bad")]);
        for cell in [number("0"), number("1"), text("1")] {
            assert!(read(&labels, &[cell]).unwrap_err().contains("which is not a label"));
        }
        refused(&labels, &[text("good")], "line 2: `y` is `good`, which is not a label; labels are `pos`, `neg`");
    }

    #[test]
    fn truth_values_and_numbers_are_not_equal() {
        let numbers = values(&[("1", "good"), ("0", "bad")]);
        refused(
            &numbers,
            &[TRUE, FALSE],
            "line 2: `y` is true, a truth value, which is not a label: as the number 1 it would be `good`; say which is meant: \
             `labels: {true: …, false: …}`",
        );
        refused(
            &values(&[("True", "good"), ("False", "bad")]),
            &[number("0")],
            "line 2: `y` is 0, a number, which is not a label: as a truth value it would be `bad`; say which is meant: `labels: {1: \
             …, 0: …}`",
        );
        refused(
            &values(&[("pos", "good"), ("neg", "bad")]),
            &[FALSE],
            "line 2: `y` is false, which is not a label; labels are `pos`, `neg`; say which is meant: `labels: {true: …, false: …}`",
        );
        for list in [words(&["1", "0"]), words(&["0", "1"])] {
            assert!(read(&list, &[TRUE]).unwrap_err().contains("`y` is true"));
        }
    }

    #[test]
    fn words_are_looked_up_by_value() {
        assert_eq!(read(&words(&["bad", "good"]), &[text("good "), text("bad")]).unwrap(), ["good", "bad"]);
        assert_eq!(read(&words(&["True", "False"]), &[TRUE, FALSE, text("true")]).unwrap(), ["True", "False", "True"]);
        let ratings = words(&["0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(read(&ratings, &[text("1.0"), number("2"), number("0.5")]).unwrap(), ["1.0", "2.0", "0.5"]);
        let stars = words(&["1", "2", "3"]);
        assert_eq!(read(&stars, &[number("1"), text("3.0")]).unwrap(), ["1", "3"]);
        assert_eq!(read(&words(&["1", "0"]), &[number("1"), number("0")]).unwrap(), ["1", "0"]);
        let mixed = words(&["python", "2.0", "1.0"]);
        assert_eq!(read(&mixed, &[text("2.0"), text("python"), text("1.0")]).unwrap(), ["2.0", "python", "1.0"]);
        refused(
            &words(&["bad", "good"]),
            &[text("good"), text("goood")],
            "line 3: `y` is `goood`, which is not a label (did you mean `good`?); labels are 0 `bad`, 1 `good`",
        );
        refused(
            &words(&["bad", "good"]),
            &[text("Good")],
            "line 2: `y` is `Good`, which is not a label (did you mean `good`?); labels are 0 `bad`, 1 `good`",
        );
    }

    #[test]
    fn a_column_of_whole_numbers_has_places_if_no_word_is_a_number() {
        let list = words(&["bad", "good"]);
        for one in [number("1"), text("1"), text("1.0"), text("1.00"), number("1.0")] {
            assert_eq!(read(&list, &[number("0"), one]).unwrap(), ["bad", "good"]);
        }
        refused(&list, &[number("2")], "line 2: `y` is 2, which is not a label; labels are 0 `bad`, 1 `good`");
        refused(&list, &[number("0.5")], "line 2: `y` is 0.5, which is not a label; labels are 0 `bad`, 1 `good`");
        refused(
            &words(&["1", "2", "3"]),
            &[number("1"), number("0")],
            "line 3: `y` is 0, which is not a label; labels are `1`, `2`, `3`, by value, since words are numbers; its place would be `1`",
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_both() {
        let list = words(&["bad", "good"]);
        refused(
            &list,
            &[text("bad"), number("1")],
            "line 3: `y` is 1, which as a place would be `good`, but in line 2 it is `bad`; a column has words of `labels`, or \
             whole numbers that are their places, not both",
        );
        refused(
            &list,
            &[TRUE],
            "line 2: `y` is true, which is not one of the words of `labels`: it may stand for 1, the place of `good`, or for `bad`; say \
             which is meant: `labels: {true: …, false: …}`",
        );
        refused(
            &words(&["True", "False"]),
            &[number("0"), number("1")],
            "line 2: `y` is 0, which can be read in two ways: as a place of `labels` it is `True`, as a truth value `False`; say \
             which is meant by a mapping: `labels: {0: …}`",
        );
        refused(
            &words(&["python", "2.0", "1.0"]),
            &[number("1"), number("2")],
            "line 2: `y` is 1, which can be read in two ways: as a place of `labels` it is `2.0`, as a value `1.0`; say which is \
             meant by a mapping: `labels: {1: …}`",
        );
        assert_eq!(read(&words(&["False", "True"]), &[number("0"), number("1")]).unwrap(), ["False", "True"]);
        assert!(read(&words(&["a", "b", "c"]), &[TRUE]).is_err());
    }

    #[test]
    fn lists_and_objects_are_no_labels() {
        for cell in [Cell::List(vec![Cell::Text("good".to_owned())]), Cell::Other("an object")] {
            assert!(read(&words(&["bad", "good"]), &[cell]).unwrap_err().contains("which is not a label"));
        }
    }

    #[test]
    fn contradictions_are_told() {
        let told = |labels: Labels| labels.check().unwrap_err();
        assert_eq!(told(words(&["a", "a"])), "has `a` twice");
        assert_eq!(told(words(&["1", "1.0"])), "has `1` and `1.0`, which are one value in every table; leave one out");
        let values_told = |keys: [&str; 2]| told(values(&[(keys[0], "a"), (keys[1], "b")]));
        assert!(values_told(["True", "true"]).contains("has `True` and `true`, which are one value"));
        assert!(values_told(["1", "1.00"]).contains("which are one value"));
        assert!(values_told(["1", " "]).contains("has an empty value"));
        assert!(values(&[("1", "a"), ("True", "b"), ("01", "c")]).check().is_ok());
    }
}
