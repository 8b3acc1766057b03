//! Choices: tasks whose rows bring the answers among which one is right, as many as each has.

use super::cell::Cell;
use super::error::{listed, shortened};
use super::sheet::{Place, SheetError};
use super::value::Value;

/// Where a row has its choices, and how the column with the answer names the right one.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// One column with a list, or several with a choice each.
    pub from: Vec<String>,
    /// How the answer counts.
    pub named: Named,
}

/// How an answer names a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its text.
    Text,
    /// By its place; so the first one is called.
    Place(usize),
    /// By a letter; so the first one is called.
    Letter(char),
}

impl Named {
    /// What the first choice is called: a number or a letter.
    ///
    /// # Errors
    /// If it is neither.
    pub fn by(first: &str) -> Result<Self, String> {
        let mut letters = first.chars();
        match (first.parse(), letters.next(), letters.next()) {
            (Ok(place @ (0 | 1)), ..) => Ok(Self::Place(place)),
            (_, Some(letter @ ('A' | 'a')), None) => Ok(Self::Letter(letter)),
            _ => Err(format!(
                "is `{}`, expected what the answer calls the first choice: 0, 1, `A` or `a`; without it answers are texts of choices",
                shortened(first)
            )),
        }
    }

    /// The place of the choice that is called so.
    fn place_of(self, answer: &Cell, choices: &[String]) -> Option<usize> {
        let value = answer.value()?;
        let place = match (self, &value) {
            (Self::Text, _) => choices.iter().position(|choice| Value::of(choice) == value),
            (Self::Place(first), Value::Number(number)) => number.place()?.checked_sub(first),
            (Self::Letter(first), Value::Text(text)) => {
                let mut letters = text.chars();
                let letter = letters.next().filter(|_| letters.next().is_none())?;
                u32::from(letter).checked_sub(u32::from(first)).map(|place| place as usize)
            }
            (Self::Place(_) | Self::Letter(_), _) => None,
        };
        place.filter(|place| *place < choices.len())
    }

    fn expected(self, choices: &[String]) -> String {
        let last = choices.len() - 1;
        match self {
            Self::Text => format!("one of the choices {}", listed(choices.iter().map(String::as_str))),
            Self::Place(first) => format!("{first} to {}", first + last),
            Self::Letter(first) => {
                let last = char::from_u32(u32::from(first) + u32::try_from(last).unwrap_or(0)).unwrap_or(first);
                format!("`{first}` to `{last}`")
            }
        }
    }
}

impl Choices {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self, label: &str) -> Result<(), String> {
        if self.from.is_empty() {
            return Err("names no column, expected one with a list, or several with a choice each".to_owned());
        }
        for (at, name) in self.from.iter().enumerate() {
            if self.from[..at].contains(name) {
                return Err(format!("has `{}` twice", shortened(name)));
            }
            if name == label {
                return Err(format!("has `{}`, the column with the answer", shortened(name)));
            }
        }
        Ok(())
    }

    /// The choices of a row, from the cells of [`from`](Self::from).
    ///
    /// # Errors
    /// If a cell is no text, there are fewer than two choices, or two are equal.
    pub(super) fn of(&self, cells: Vec<Cell>, place: Place) -> Result<Vec<String>, SheetError> {
        let name = || listed(self.from.iter().map(String::as_str));
        let mut cells = match (&self.from[..], cells) {
            ([_], cells) => match cells.into_iter().next() {
                Some(Cell::List(items)) => items,
                other => {
                    let found = other.unwrap_or(Cell::Missing);
                    return Err(place.wrong(format!("{} is {found}, expected a list of choices", name())));
                }
            },
            (_, cells) => cells,
        };
        // Rows of a table have as many columns as the one with the most choices needs.
        while self.from.len() > 1 && cells.last().is_some_and(Cell::is_blank) {
            cells.pop();
        }
        let mut choices: Vec<String> = Vec::with_capacity(cells.len());
        for (at, cell) in cells.into_iter().enumerate() {
            let found = cell.to_string();
            let text =
                Some(cell).filter(|cell| !cell.is_blank()).and_then(Cell::plain).map(|text| text.trim().to_owned());
            let text = text
                .ok_or_else(|| place.wrong(format!("choice {} of {} is {found}, expected a text", at + 1, name())))?;
            if let Some(same) = choices.iter().position(|known| *known == text) {
                let (text, first, second) = (shortened(&text), same + 1, at + 1);
                return Err(place.wrong(format!(
                    "choices {first} and {second} are both `{text}`, so nobody can tell which is meant"
                )));
            }
            choices.push(text);
        }
        if choices.len() < 2 {
            return Err(place.wrong(format!("{} has {} choices, expected at least two", name(), choices.len())));
        }
        Ok(choices)
    }

    /// The place of the right choice.
    ///
    /// # Errors
    /// If the answer names none of them.
    pub(super) fn right(
        &self,
        answer: &Cell,
        choices: &[String],
        label: &str,
        place: Place,
    ) -> Result<usize, SheetError> {
        self.named.place_of(answer, choices).ok_or_else(|| {
            let expected = self.named.expected(choices);
            let hint = match self.named {
                Named::Text => {
                    "; if it is a number or a letter, say what the first choice is called: `first: 0`, `1`, `A` or `a`"
                }
                Named::Place(_) | Named::Letter(_) => "",
            };
            place.wrong(format!("`{}` is {answer}, expected {expected}{hint}", shortened(label)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::value::Decimal;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn number(text: &str) -> Cell {
        Cell::Number(Decimal::parse(text).unwrap())
    }

    fn choices(named: Named, from: &[&str]) -> Choices {
        Choices { from: from.iter().map(|name| (*name).to_owned()).collect(), named }
    }

    #[test]
    fn rows_have_as_many_choices_as_they_have() {
        let list = choices(Named::Text, &["options"]);
        let of = |cells: Vec<Cell>| list.of(cells, Place::line(3));
        assert_eq!(of(vec![Cell::List(vec![text("red "), number("3")])]).unwrap(), ["red", "3"]);
        let error = |cells: Vec<Cell>| of(cells).unwrap_err().to_string();
        assert_eq!(error(vec![text("red")]), "line 3: `options` is `red`, expected a list of choices");
        assert_eq!(error(vec![Cell::List(vec![text("a")])]), "line 3: `options` has 1 choices, expected at least two");
        assert_eq!(
            error(vec![Cell::List(vec![text("a"), text("")])]),
            "line 3: choice 2 of `options` is empty, expected a text"
        );
        assert_eq!(
            error(vec![Cell::List(vec![text("a"), text(" a")])]),
            "line 3: choices 1 and 2 are both `a`, so nobody can tell which is meant"
        );
        let columns = choices(Named::Text, &["a", "b", "c"]);
        assert_eq!(columns.of(vec![text("x"), text("y"), Cell::Missing], Place::line(3)).unwrap(), ["x", "y"]);
        assert!(columns.of(vec![text("x"), text(""), text("z")], Place::line(3)).is_err());
    }

    #[test]
    fn answers_name_a_choice_in_one_way() {
        let options = ["red".to_owned(), "1".to_owned(), "True".to_owned()];
        let right =
            |named: Named, answer: &Cell| choices(named, &["o"]).right(answer, &options, "y", Place::line(3)).ok();
        assert_eq!(right(Named::Text, &text("red")), Some(0));
        assert_eq!((right(Named::Text, &number("1.0")), right(Named::Text, &Cell::Bool(true))), (Some(1), Some(2)));
        assert_eq!((right(Named::Place(0), &number("0")), right(Named::Place(0), &number("3"))), (Some(0), None));
        assert_eq!((right(Named::Place(1), &text("1")), right(Named::Place(1), &number("0"))), (Some(0), None));
        assert_eq!((right(Named::Letter('A'), &text("C")), right(Named::Letter('A'), &text("D"))), (Some(2), None));
        assert_eq!((right(Named::Letter('A'), &text("a")), right(Named::Letter('a'), &text("b"))), (None, Some(1)));
        for odd in [number("-1"), number("0.5"), Cell::Bool(true), Cell::Missing, text("AB")] {
            assert_eq!((right(Named::Place(0), &odd), right(Named::Letter('A'), &odd)), (None, None), "{odd}");
        }
        let error =
            choices(Named::Text, &["o"]).right(&number("0"), &options, "y", Place::line(3)).unwrap_err().to_string();
        assert!(
            error.starts_with("line 3: `y` is 0, expected one of the choices `red`, `1`, `True`; if it is a number"),
            "{error}"
        );
        let error = choices(Named::Letter('A'), &["o"])
            .right(&text("E"), &options, "y", Place::line(3))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "line 3: `y` is `E`, expected `A` to `C`");
    }

    #[test]
    fn what_the_first_is_called_is_one_of_four() {
        assert_eq!(
            ["0", "1", "A", "a"].map(|first| Named::by(first).unwrap()),
            [Named::Place(0), Named::Place(1), Named::Letter('A'), Named::Letter('a')]
        );
        for odd in ["2", "-1", "B", "", "true", "AA", "01x"] {
            assert!(Named::by(odd).is_err(), "{odd}");
        }
    }
}
