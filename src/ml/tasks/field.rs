//! Parts of nested columns, as templates and `label` name them: `options[0]`, `answers.text[0]`, `len(options)`,
//! `options|join(", ")`.

use super::cell::Cell;
use super::error::{closest, listed, shortened};
use super::value::Decimal;

/// How parts are written, for messages.
pub(super) const FORMS: &str = "`options[0]`, `answers.text[0]`, `len(options)`, `options|join(\", \")`";

/// A part of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<'t> {
    /// The column that it is a part of.
    pub(super) column: &'t str,
    steps: Vec<Step<'t>>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'t> {
    /// The value of a name in an object.
    Name(&'t str),
    /// An element of a list, from 0.
    Element(usize),
}

/// What is made of the value that the steps lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Value,
    /// The number of elements of a list.
    Length,
    /// The elements of a list with a text between them.
    Joined(String),
}

impl<'t> Field<'t> {
    /// The part that a text names; `None` if it can be nothing but the name of a column.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("len(").and_then(|rest| rest.strip_suffix(')')) {
            let (column, steps) = path_of(path)?;
            return Some(Self { column, steps, form: Form::Length });
        }
        let Some((path, form)) = text.split_once('|') else {
            let (column, steps) = path_of(text)?;
            return (!steps.is_empty()).then_some(Self { column, steps, form: Form::Value });
        };
        let between = form.trim().strip_prefix("join(")?.strip_suffix(')')?;
        let (column, steps) = path_of(path)?;
        Some(Self { column, steps, form: Form::Joined(serde_json::from_str(between.trim()).ok()?) })
    }

    /// This part of a column's cell.
    ///
    /// # Errors
    /// What is there instead, in words.
    pub(super) fn of(&self, cell: Cell) -> Result<Cell, String> {
        let mut path = self.column.to_owned();
        let mut cell = cell;
        for step in &self.steps {
            cell = step.of(cell, &path)?;
            path = match step {
                Step::Name(name) => format!("{path}.{name}"),
                Step::Element(at) => format!("{path}[{at}]"),
            };
        }
        match (&self.form, cell) {
            (Form::Value, cell) => Ok(cell),
            (_, Cell::Missing) => Ok(Cell::Missing),
            (Form::Length, Cell::List(items)) => Ok(Cell::count(items.len())),
            (Form::Joined(between), Cell::List(items)) => joined(items, between, &path),
            (_, other) => Err(other_than(&other, &path, "a list")),
        }
    }
}

impl Step<'_> {
    fn of(self, cell: Cell, path: &str) -> Result<Cell, String> {
        match (self, cell) {
            (_, Cell::Missing) => Ok(Cell::Missing),
            (Self::Element(at), Cell::List(items)) => {
                let count = items.len();
                let path = shortened(path);
                items
                    .into_iter()
                    .nth(at)
                    .ok_or_else(|| format!("`{path}` has {count} elements, so there is no `[{at}]`"))
            }
            (Self::Name(name), Cell::Object(mut fields)) => match fields.iter().position(|(known, _)| known == name) {
                Some(at) => Ok(fields.swap_remove(at).1),
                None => Err(no_name(name, &fields, path)),
            },
            (Self::Element(_), other) => Err(other_than(&other, path, "a list")),
            (Self::Name(_), other) => Err(other_than(&other, path, "an object")),
        }
    }
}

fn no_name(name: &str, fields: &[(String, Cell)], path: &str) -> String {
    let known = || fields.iter().map(|(name, _)| name.as_str());
    let near = closest(name, known());
    let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(&near)));
    format!("`{}` has no `{}`{near}; found {}", shortened(path), shortened(name), listed(known()))
}

fn other_than(cell: &Cell, path: &str, expected: &str) -> String {
    let path = shortened(path);
    let hint = match cell {
        Cell::Text(_) => "; JSON lines, Parquet and Arrow files have nested values, CSV has none",
        _ => "",
    };
    format!("`{path}` is {cell}, expected {expected}{hint}")
}

fn joined(items: Vec<Cell>, between: &str, path: &str) -> Result<Cell, String> {
    let text = |(at, item): (usize, Cell)| match item {
        Cell::Missing => Err(format!("`{}[{at}]` is missing, expected a text or a number", shortened(path))),
        item => {
            let found = item.to_string();
            item.plain().ok_or_else(|| format!("`{}[{at}]` is {found}, expected a text or a number", shortened(path)))
        }
    };
    let texts: Vec<String> = items.into_iter().enumerate().map(text).collect::<Result<_, _>>()?;
    Ok(Cell::Text(texts.join(between)))
}

/// A column and steps into it: `answers.text[0]`.
fn path_of(text: &str) -> Option<(&str, Vec<Step<'_>>)> {
    const MARKS: [char; 6] = ['.', '[', ']', '|', '(', ')'];
    let text = text.trim();
    let end = text.find(MARKS).unwrap_or(text.len());
    let (column, mut rest) = (text[..end].trim_end(), &text[end..]);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(MARKS).unwrap_or(name.len());
            (Step::Name(Some(&name[..end]).filter(|name| !name.is_empty())?), &name[end..])
        } else {
            let (place, after) = rest.strip_prefix('[')?.split_once(']')?;
            let is_place = Decimal::parse(place).is_some_and(|_| place.bytes().all(|byte| byte.is_ascii_digit()));
            (Step::Element(place.parse().ok().filter(|_| is_place)?), after)
        };
        steps.push(step);
        rest = after;
    }
    (!column.is_empty()).then_some((column, steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn options() -> Cell {
        Cell::List(vec![text("red"), text("blue"), Cell::count(3)])
    }

    fn answers() -> Cell {
        Cell::Object(vec![("text".to_owned(), Cell::List(vec![text("x")])), ("start".to_owned(), Cell::List(vec![]))])
    }

    #[track_caller]
    fn of(part: &str, cell: Cell) -> Result<Cell, String> {
        Field::parse(part).unwrap().of(cell)
    }

    #[test]
    fn parts_are_taken_from_lists_and_objects() {
        assert_eq!(of("options[1]", options()), Ok(text("blue")));
        assert_eq!(of("answers.text[0]", answers()), Ok(text("x")));
        assert_eq!(of("len( options )", options()), Ok(Cell::count(3)));
        assert_eq!(of("len(answers.start)", answers()), Ok(Cell::count(0)));
        assert_eq!(of(r#"options | join(", ")"#, options()), Ok(text("red, blue, 3")));
        assert_eq!(of(r#"answers.text|join("\n")"#, answers()), Ok(text("x")));
        for part in ["options[0]", "answers.text[0]", "len(options)", r#"options|join("")"#] {
            assert_eq!(of(part, Cell::Missing), Ok(Cell::Missing));
        }
    }

    #[test]
    fn other_texts_are_names_of_columns() {
        for name in [
            "options",
            "long name",
            "options[-1]",
            "options[x]",
            "options[01]",
            "options[]",
            "options[1",
            "a..b",
            ".a",
            "[0]",
            "len()",
            "a|b",
            "a|join(x)",
            "f(a)",
            "a[0]b",
            "",
            "options[1.0]",
            "options[99999999999999999999]",
        ] {
            assert_eq!(Field::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = |part: &str, cell: Cell| of(part, cell).unwrap_err();
        assert_eq!(error("options[3]", options()), "`options` has 3 elements, so there is no `[3]`");
        assert_eq!(
            error("answers.txt[0]", answers()),
            "`answers` has no `txt` (did you mean `text`?); found `text`, `start`"
        );
        assert_eq!(error("answers[0]", answers()), "`answers` is an object, expected a list");
        assert_eq!(
            error("options[0][1]", options()),
            "`options[0]` is `red`, expected a list; JSON lines, Parquet and Arrow files have nested values, CSV has none"
        );
        assert_eq!(error("len(x)", Cell::Bool(true)), "`x` is true, expected a list");
        let gap = Cell::List(vec![text("a"), Cell::Missing]);
        assert_eq!(error(r#"x|join(" ")"#, gap), "`x[1]` is missing, expected a text or a number");
    }
}
