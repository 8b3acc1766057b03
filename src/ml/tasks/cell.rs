//! A cell of a table, whatever file it is from.

use super::error::shortened;
use super::value::{Decimal, Value};
use std::fmt;

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing: null, NaN, or a column that is not there.
    Missing,
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// Several values; texts, where the list as a whole is asked for.
    List(Vec<Cell>),
    /// Names and values, of which templates ask for parts.
    Object(Vec<(String, Cell)>),
    /// What no column of a row can be, in words: `a number beyond all bounds`.
    Other(&'static str),
}

/// Texts by which programs say that there is no value: R, pandas, Python, databases, spreadsheets.
const NOTHING: [&str; 10] = ["NA", "<NA>", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None"];

impl Cell {
    /// A floating-point number of the machine; what is not a number is missing.
    pub fn float<N: fmt::Display>(number: N, is_nan: bool) -> Self {
        if is_nan {
            return Self::Missing;
        }
        // What is left without a decimal is infinite.
        Decimal::of(&number).map_or_else(|| Self::Text(number.to_string()), Self::Number)
    }

    /// A whole number.
    pub(super) fn count(number: usize) -> Self {
        Self::float(number, false)
    }

    /// What the cell says; `None` of lists, objects and what is missing.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(Value::of(text)),
            Self::Bool(truth) => Some(Value::Truth(*truth)),
            Self::Number(number) => Some(Value::Number(number.clone())),
            Self::Missing | Self::List(_) | Self::Object(_) | Self::Other(_) => None,
        }
    }

    /// The texts of a list; `None` if it has anything else, or is none.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Self::List(items) = self else { return None };
        let text = |item: &Self| if let Self::Text(text) = item { Some(text.clone()) } else { None };
        items.iter().map(text).collect()
    }

    /// Whether nothing is there: null, an empty text, a list without elements.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::Object(_) | Self::Other(_) => false,
        }
    }

    /// Whether this is a text that stands for nothing: `NA`, `NaN`, `null`.
    pub(super) fn says_nothing(&self) -> bool {
        matches!(self, Self::Text(text) if NOTHING.contains(&text.trim()))
    }

    /// Whether this is the number -1, by which published test splits hide their answers.
    pub(super) fn is_minus_one(&self) -> bool {
        matches!(self.value(), Some(Value::Number(number)) if number.is_minus_one())
    }

    /// The cell as a text; a missing one is empty. `None` of lists and objects.
    pub(super) fn plain(self) -> Option<String> {
        match self {
            Self::Missing => Some(String::new()),
            Self::Text(text) => Some(text),
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::List(_) | Self::Object(_) | Self::Other(_) => None,
        }
    }
}

/// As it stands in a message.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Text(text) if text.trim().is_empty() => f.write_str("empty"),
            Self::Text(text) => write!(f, "`{}`", shortened(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(items) if items.is_empty() => f.write_str("an empty list"),
            Self::List(items) if items.contains(&Self::Missing) => f.write_str("a list with a gap"),
            Self::List(_) if self.texts().is_none() => f.write_str("a list with something else than texts"),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_many_forms() {
        let text = |text: &str| Cell::Text(text.to_owned());
        for blank in [Cell::Missing, text(""), text(" \t"), Cell::List(Vec::new()), Cell::float(f64::NAN, true)] {
            assert!(blank.is_blank() && !blank.says_nothing(), "{blank:?}");
        }
        for nothing in ["NA", " NaN ", "null", "None", "<NA>"] {
            assert!(text(nothing).says_nothing() && !text(nothing).is_blank(), "{nothing}");
        }
        for something in [text("0"), text("Na"), text("none"), Cell::Bool(false), Cell::float(0.0, false)] {
            assert!(!something.is_blank() && !something.says_nothing(), "{something:?}");
        }
        for minus_one in [text("-1"), text("-1.0"), Cell::float(-1.0, false)] {
            assert!(minus_one.is_minus_one());
        }
    }

    #[test]
    fn infinity_is_a_text_that_is_no_number() {
        assert_eq!(Cell::float(f64::INFINITY, false), Cell::Text("inf".to_owned()));
        assert_eq!(Cell::float(2.5_f32, false), Cell::Number(Decimal::parse("2.5").unwrap()));
    }
}
