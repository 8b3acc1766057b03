//! Rows with several labels: their answer is the set of them, as one text.

use super::cell::Cell;
use super::error::shortened;
use super::labels::Labels;
use super::own::Known;
use super::sheet::{Place, SheetError};
use crate::ml::metrics::{BETWEEN_LABELS, NO_LABEL};
use std::collections::BTreeSet;

/// Whether the words of labels can stand in such a text.
///
/// # Errors
/// The word that cannot.
pub(super) fn check(labels: &Labels) -> Result<(), String> {
    let mark = BETWEEN_LABELS.trim();
    match labels.words().into_iter().find(|word| word.contains(mark) || *word == NO_LABEL) {
        Some(word) => Err(format!(
            "has `{}`, but of several labels an answer is their words with `{mark}` between them, and `{NO_LABEL}` where there are none",
            shortened(word)
        )),
        None => Ok(()),
    }
}

/// Whether a cell has no answer; an empty list is one.
pub(super) fn hides(cell: &Cell) -> bool {
    !matches!(cell, Cell::List(_)) && cell.is_blank()
}

/// The answers of a column of lists, in the order of the labels, whatever that of a list is.
///
/// # Errors
/// The first cell that is no list of labels.
pub(super) fn answers(labels: &Labels, column: &str, cells: &[(Place, &Cell)]) -> Result<Vec<Known>, SheetError> {
    let mut items = Vec::new();
    let mut counts = Vec::new();
    for (place, cell) in cells {
        let Cell::List(list) = cell else {
            return Err(place.wrong(format!(
                "`{}` is {cell}, expected a list of labels; `query` makes lists of texts: `string_to_array(labels, ',')`",
                shortened(column)
            )));
        };
        items.extend(list.iter().map(|item| (*place, item)));
        counts.push(list.len());
    }
    let words = labels.words();
    let mut ids = labels.of(column, &items)?.into_iter();
    let answer = |count: usize| {
        let set: BTreeSet<u32> = ids.by_ref().take(count).collect();
        let words: Vec<&str> = set.into_iter().map(|id| words[id as usize]).collect();
        let text = if words.is_empty() { NO_LABEL.to_owned() } else { words.join(BETWEEN_LABELS) };
        (text, None, Vec::new())
    };
    Ok(counts.into_iter().map(answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::Decimal;

    fn labels() -> Labels {
        Labels::Words(["joy", "anger", "fear"].map(str::to_owned).to_vec())
    }

    fn read(cells: &[Cell]) -> Result<Vec<String>, String> {
        let cells: Vec<(Place, &Cell)> = cells.iter().enumerate().map(|(row, cell)| (Place::row(row), cell)).collect();
        let answers = answers(&labels(), "mood", &cells).map_err(|error| error.to_string())?;
        Ok(answers.into_iter().map(|(text, ..)| text).collect())
    }

    fn numbers(numbers: &[&str]) -> Cell {
        Cell::List(numbers.iter().map(|number| Cell::Number(Decimal::parse(number).unwrap())).collect())
    }

    fn texts(texts: &[&str]) -> Cell {
        Cell::List(texts.iter().map(|text| Cell::Text((*text).to_owned())).collect())
    }

    #[test]
    fn sets_of_places_and_of_words_are_one_text() {
        assert_eq!(
            read(&[numbers(&["2", "0"]), numbers(&[]), numbers(&["1", "1"])]).unwrap(),
            ["joy, fear", "none", "anger"]
        );
        assert_eq!(read(&[texts(&["fear", "joy"]), texts(&["joy"])]).unwrap(), ["joy, fear", "joy"]);
    }

    #[test]
    fn what_is_no_set_of_labels_is_named() {
        assert!(read(&[texts(&["joy"]), texts(&["job"])]).unwrap_err().starts_with("row 1: `mood` is `job`"));
        assert!(read(&[numbers(&["3"])]).unwrap_err().starts_with("row 0: `mood` is 3"));
        assert!(read(&[Cell::Text("joy".to_owned())]).unwrap_err().contains("expected a list of labels"));
        assert!(read(&[texts(&["joy"]), numbers(&["1"])]).is_err(), "words and places in one column");
        assert!(hides(&Cell::Missing) && !hides(&texts(&[])));
    }

    #[test]
    fn words_that_would_run_into_each_other_are_refused() {
        let with = |word: &str| check(&Labels::Words(vec!["joy".to_owned(), word.to_owned()]));
        assert!(with("anger").is_ok() && with("no label").is_ok());
        assert!(with("joy, anger").is_err() && with("none").is_err());
    }
}
