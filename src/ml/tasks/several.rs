//! Rows with several labels: their answer is the set of them, as one text.

use super::cell::Cell;
use super::draft::Known;
use super::error::shortened;
use super::labels::{Labels, Lookup};
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

/// The answer of a cell with a list, in the order of the labels, whatever that of the list is.
///
/// # Errors
/// If it is no list of labels.
pub(super) fn answer(lookup: &Lookup<'_>, column: &str, place: Place, cell: &Cell) -> Result<Known, SheetError> {
    let Cell::List(list) = cell else {
        return Err(place.wrong(format!(
            "`{}` is {cell}, expected a list of labels; `query` makes lists of texts: `string_to_array(labels, ',')`",
            shortened(column)
        )));
    };
    let set = list.iter().map(|item| Ok(lookup.of(place, item)?.1)).collect::<Result<BTreeSet<u32>, SheetError>>()?;
    let words: Vec<&str> = set.into_iter().map(|id| lookup.word_of(id)).collect();
    let text = if words.is_empty() { NO_LABEL.to_owned() } else { words.join(BETWEEN_LABELS) };
    Ok((text, None, Vec::new()))
}

/// The cells that are labels: those of a list.
pub(super) fn items(cell: &Cell) -> &[Cell] {
    if let Cell::List(items) = cell { items } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::Decimal;
    use crate::ml::tasks::labels::is_whole;

    fn labels() -> Labels {
        Labels::Words(["joy", "anger", "fear"].map(str::to_owned).to_vec())
    }

    fn read(cells: &[Cell]) -> Result<Vec<String>, String> {
        let labels = labels();
        let cells = || cells.iter().enumerate().map(|(row, cell)| (Place::row(row), cell));
        let mut all = cells().flat_map(|(place, cell)| items(cell).iter().map(move |item| (place, item)));
        let other = all.find(|(_, item)| !is_whole(item)).map(|(place, item)| (place, item.clone()));
        let lookup = labels.lookup("mood", other);
        let text = |(place, cell)| answer(&lookup, "mood", place, cell).map(|(text, ..)| text);
        cells().map(text).collect::<Result<_, _>>().map_err(|error| error.to_string())
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
