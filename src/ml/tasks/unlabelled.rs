//! Rows without answers: new text for a prompt that was tuned.

use super::cell::Cell;
use super::error::shortened;
use super::sheet::{Place, Sheet, SheetError, Wanted};
use super::template::Template;
use std::collections::BTreeMap;

/// The column of a complete input, which no template makes.
pub const INPUT: &str = "input";
/// The column of what identifies a row.
pub const ID: &str = "id";
/// The column of the prompt that is to answer a row.
pub const PROMPT: &str = "prompt";

/// What a row says but for its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// Its `id`, and whether that is a number.
    pub id: Option<(String, bool)>,
    /// Its `prompt`.
    pub prompt: Option<String>,
    /// Its `input`, complete.
    pub input: Option<String>,
}

/// The headings of all rows; every column may lack.
///
/// # Errors
/// If a heading is neither a text nor a number.
pub fn headings<E: From<SheetError>>(
    read: impl FnOnce(&[Wanted<'_>]) -> Result<Sheet, E>,
) -> Result<Vec<(Place, Heading)>, E> {
    let optional = |name| Wanted::optional(name);
    let sheet = read(&[optional(ID), optional(PROMPT), optional(INPUT)])?;
    let heading = |(place, cells): (Place, Vec<Cell>)| {
        let id = cells.first().cloned();
        let mut cells = cells.into_iter();
        let mut next = |name| match cells.next().unwrap_or(Cell::Missing) {
            Cell::Missing => Ok(None),
            cell => text(name, cell, place).map(Some),
        };
        let is_number = matches!(id, Some(Cell::Number(_)));
        let id = next(ID)?.map(|id| (id, is_number));
        Ok((place, Heading { id, prompt: next(PROMPT)?, input: next(INPUT)? }))
    };
    Ok(sheet.rows.into_iter().map(heading).collect::<Result<_, SheetError>>()?)
}

/// The inputs that `template` makes of the columns of all rows.
///
/// # Errors
/// If a column is not there, or is empty or a list in some row.
pub fn inputs<E: From<SheetError>>(
    template: &Template,
    read: impl FnOnce(&[Wanted<'_>]) -> Result<Sheet, E>,
) -> Result<Vec<String>, E> {
    let names = template.columns();
    let wanted: Vec<Wanted<'_>> = names.iter().map(|name| Wanted::required(name)).collect();
    let input = |(place, cells): (Place, Vec<Cell>)| {
        let mut values = BTreeMap::new();
        for (name, cell) in names.iter().zip(cells) {
            if cell == Cell::Missing {
                return Err(place.wrong(format!("`{}` is null, expected a text or a number", shortened(name))));
            }
            values.insert(*name, text(name, cell, place)?);
        }
        Ok(template.fill(|name| values.get(name).map_or("", String::as_str).into()))
    };
    Ok(read(&wanted)?.rows.into_iter().map(input).collect::<Result<_, SheetError>>()?)
}

fn text(name: &str, cell: Cell, place: Place) -> Result<String, SheetError> {
    let shown = cell.to_string();
    cell.plain().ok_or_else(|| place.wrong(format!("`{}` is {shown}, expected a text or a number", shortened(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_who_they_are_and_templates_make_their_inputs() {
        let json = br#"{"id": 7, "a": "x", "b": 1.50, "c": true}
{"prompt": "p", "a": "", "b": 2, "input": "complete"}"#;
        let rows = headings(|wanted| Sheet::from_json(json, wanted)).unwrap();
        let named = |text: &str| Some(text.to_owned());
        assert_eq!(rows[0], (Place::line(1), Heading { id: Some(("7".to_owned(), true)), ..Heading::default() }));
        let second = Heading { id: None, prompt: named("p"), input: named("complete") };
        assert_eq!(rows[1], (Place::line(2), second));
        let template = Template::parse("a: {a} b: {b}").unwrap();
        let found = inputs(&template, |wanted| Sheet::from_json(json, wanted)).unwrap();
        assert_eq!(found, ["a: x b: 1.5", "a:  b: 2"]);
    }

    #[test]
    fn what_makes_no_text_is_refused_with_its_line() {
        let template = Template::parse("{a}").unwrap();
        let error =
            |json: &str| inputs(&template, |wanted| Sheet::from_json(json.as_bytes(), wanted)).unwrap_err().to_string();
        assert_eq!(error(r#"{"a": null}"#), "line 1: `a` is null, expected a text or a number");
        assert!(error(r#"{"a": ["x"]}"#).starts_with("line 1: `a` is "));
        assert!(error(r#"{"b": "x"}"#).contains("no column `a`"), "{}", error(r#"{"b": "x"}"#));
        let error = headings(|wanted| Sheet::from_json(br#"{"id": {}}"#, wanted)).unwrap_err().to_string();
        assert!(error.starts_with("line 1: `id` is "), "{error}");
    }
}
