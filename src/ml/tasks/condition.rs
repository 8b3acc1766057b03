//! Conditions on the rows of a table: `gold_label == "-"`, `votes < 3`, `len(options) != 4`.

use super::cell::Cell;
use super::error::shortened;
use super::sheet::{Place, SheetError};
use super::value::{Decimal, Value};
use std::cmp::Ordering;

/// A condition on a column, or on a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As it was written.
    pub text: String,
    /// The column, or the part of one.
    pub field: String,
    comparison: Comparison,
    /// What the cell is compared with; nothing if it is to be empty.
    value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    /// Signs that hold others come first.
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Is),
        ("!=", Self::IsNot),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::More),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Is => order.is_eq(),
            Self::IsNot => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = shortened(text);
        let Some((at, sign, comparison)) = sign_of(text) else {
            let signs = Comparison::ALL.map(|(sign, _)| format!("`{sign}`")).join(", ");
            return Err(format!("is `{shown}`, expected a column, one of {signs}, and a value: `gold_label == \"-\"`"));
        };
        let (field, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        if field.is_empty() {
            return Err(format!("is `{shown}`, expected a column in front of `{sign}`"));
        }
        let value = value_of(value).ok_or_else(|| {
            format!(
                "compares with `{}`, expected a text in double quotes, a number, true, false or null",
                shortened(value)
            )
        })?;
        if !matches!(comparison, Comparison::Is | Comparison::IsNot) && !matches!(value, Some(Value::Number(_))) {
            return Err(format!("is `{shown}`, but only numbers have an order; compare with one, or use `==` or `!=`"));
        }
        Ok(Self { text: text.to_owned(), field: field.to_owned(), comparison, value })
    }

    /// The text that the cell is compared with, if it is one.
    pub fn text_compared(&self) -> Option<&str> {
        match &self.value {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether the condition holds of a cell. Nothing is less or more than a cell that is empty.
    ///
    /// # Errors
    /// If a cell that is no number is to be less or more than one.
    pub(super) fn holds(&self, cell: &Cell, place: Place) -> Result<bool, SheetError> {
        let is_order = !matches!(self.comparison, Comparison::Is | Comparison::IsNot);
        match (&self.value, cell.value()) {
            (None, _) => Ok(cell.is_blank() == (self.comparison == Comparison::Is)),
            (Some(Value::Number(wanted)), Some(Value::Number(found))) => {
                Ok(self.comparison.holds(found.compare(wanted)))
            }
            _ if is_order && cell.is_blank() => Ok(false),
            _ if is_order => {
                let (text, field) = (shortened(&self.text), shortened(&self.field));
                Err(place.wrong(format!("`{field}` is {cell}, expected a number, since `drop` has `{text}`")))
            }
            (wanted, found) => Ok((*wanted == found) == (self.comparison == Comparison::Is)),
        }
    }
}

/// The first sign that stands in no quotes.
fn sign_of(text: &str) -> Option<(usize, &'static str, Comparison)> {
    let mut in_quotes = false;
    text.char_indices().find_map(|(at, letter)| {
        in_quotes ^= letter == '"';
        let (sign, comparison) = Comparison::ALL.into_iter().find(|(sign, _)| text[at..].starts_with(sign))?;
        (!in_quotes).then_some((at, sign, comparison))
    })
}

/// A value as it is written; `Some(None)` is nothing.
#[expect(clippy::option_option, reason = "no value, or the value that is nothing")]
fn value_of(text: &str) -> Option<Option<Value>> {
    match text {
        "null" => Some(None),
        "true" => Some(Some(Value::Truth(true))),
        "false" => Some(Some(Value::Truth(false))),
        _ if text.starts_with('"') => {
            let text: String = serde_json::from_str(text).ok()?;
            Some(if text.trim().is_empty() { None } else { Some(Value::of(&text)) })
        }
        _ => Some(Some(Value::Number(Decimal::parse(text)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn number(number: &str) -> Cell {
        Cell::Number(Decimal::parse(number).unwrap())
    }

    #[track_caller]
    fn holds(condition: &str, cell: &Cell) -> bool {
        Condition::parse(condition).unwrap().holds(cell, Place::line(2)).unwrap()
    }

    #[test]
    fn values_are_compared_as_those_of_labels() {
        assert!(holds("gold_label == \"-\"", &text(" - ")) && !holds("gold_label == \"-\"", &text("neutral")));
        assert!(holds("a != \"x\"", &text("y")) && holds("a != \"x\"", &Cell::Missing));
        assert!(
            holds("a == 1", &text("1.0")) && holds("a == \"1\"", &number("1")) && !holds("a == 1", &Cell::Bool(true))
        );
        assert!(holds("a == true", &text("True")) && holds("a == false", &Cell::Bool(false)));
        for empty in [Cell::Missing, text(""), text(" "), Cell::List(Vec::new())] {
            assert!(holds("a == null", &empty) && holds("a == \"\"", &empty) && !holds("a != null", &empty));
        }
        assert!(holds("a != null", &text("x")));
    }

    #[test]
    fn numbers_have_an_order() {
        let orders =
            [("a < 3", [true, false, false]), ("a <= 3", [true, true, false]), ("a > 3", [false, false, true])];
        for (condition, expected) in orders {
            assert_eq!(["-10.5", "3.0", "3.0001"].map(|n| holds(condition, &number(n))), expected, "{condition}");
        }
        assert!(holds("a >= 2", &text("20")) && !holds("a >= 2", &Cell::Missing));
        assert!(holds("a > 18446744073709551614", &number("18446744073709551615")));
        let error = Condition::parse("a < 3").unwrap().holds(&text("x"), Place::line(2)).unwrap_err().to_string();
        assert_eq!(error, "line 2: `a` is `x`, expected a number, since `drop` has `a < 3`");
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text: &str| Condition::parse(text).unwrap_err();
        assert!(error("gold_label").contains("expected a column, one of `==`"));
        assert!(error("a = 1").contains("expected a column, one of `==`"));
        assert!(error("== 1").contains("expected a column in front of `==`"));
        assert_eq!(
            error("a == -"),
            "compares with `-`, expected a text in double quotes, a number, true, false or null"
        );
        assert!(error("a == 'x'").starts_with("compares with `'x'`"));
        assert!(error("a < \"b\"").contains("only numbers have an order"));
        assert_eq!(Condition::parse(r#"options|join("==") == "x==y""#).unwrap().field, r#"options|join("==")"#);
    }
}
