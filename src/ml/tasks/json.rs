//! JSON as people have it: an object on each line, an array of objects, or objects over several lines. What a file is shows in
//! its first characters, not in its name.

use super::cell::Cell;
use super::error::{ReadError, shortened};
use super::value::Decimal;
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// One value of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'t> {
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// Bytes of that line in front of it.
    column: usize,
    text: &'t str,
}

/// The values of a file, of which each is a row or a passage:
///
/// - in an array, its items;
/// - if the first line is a value of its own, one on each line, and blank lines are not;
/// - otherwise one after the other, each over as many lines as it takes.
///
/// # Errors
/// The line in which the file stops being JSON.
pub(super) fn records(text: &str) -> Result<Vec<Record<'_>>, ReadError> {
    records_from(text, 1)
}

/// The same of a text whose first line has the number `first`.
///
/// # Errors
/// As [`records`].
pub(super) fn records_from(text: &str, first: usize) -> Result<Vec<Record<'_>>, ReadError> {
    if is_array(text.as_bytes()) {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| broken(text, first, 0, ".", &error))?;
        return Ok(placed(text, first, items.into_iter().map(RawValue::get)));
    }
    match is_lines(text) {
        None => Ok(Vec::new()),
        Some(false) => {
            let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
            let values: Result<Vec<&RawValue>, _> = values.collect();
            let values = values.map_err(|error| broken(text, first, 0, ".", &error))?;
            Ok(placed(text, first, values.into_iter().map(RawValue::get)))
        }
        Some(true) => Ok(lines(text, first).collect()),
    }
}

/// Whether a text begins with an array of JSON.
pub fn is_array(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(b"[")
}

/// Whether the values of a text stand on a line each: whether the first line that is not blank is a value of its own, and no array of all.
/// `None` if all lines are blank.
pub(super) fn is_lines(text: &str) -> Option<bool> {
    let first = lines(text, 1).next()?;
    let is_whole = || !matches!(serde_json::from_str::<IgnoredAny>(first.text), Err(error) if error.is_eof());
    Some(!is_array(first.text.as_bytes()) && is_whole())
}

/// Lines that are not blank, of which the first has the number `first`.
pub(super) fn lines(text: &str, first: usize) -> impl Iterator<Item = Record<'_>> {
    // Not `str::lines` on anything but LF: U+2028 and the like may stand inside JSON strings.
    let lines = text.split('\n').enumerate().map(move |(i, text)| Record { line: i + first, column: 0, text });
    lines.filter(|record| !record.text.trim_ascii().is_empty())
}

/// Where parts of a text begin that stand in it one after the other.
fn placed<'t>(text: &'t str, first: usize, parts: impl Iterator<Item = &'t str>) -> Vec<Record<'t>> {
    let (mut line, mut line_start, mut at) = (first, 0, 0);
    let mut placed = Vec::new();
    for part in parts {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        for (end, _) in text[at..start].match_indices('\n') {
            line += 1;
            line_start = at + end + 1;
        }
        at = start;
        placed.push(Record { line, column: start - line_start, text: part });
    }
    placed
}

impl<'t> Record<'t> {
    /// The value as a type of its format.
    ///
    /// # Errors
    /// If it is not JSON, or not of this type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        self.parse()
    }

    /// The value as a row.
    ///
    /// # Errors
    /// If it is not a JSON object, or has a name twice.
    pub(super) fn object(&self) -> Result<Object<'t>, ReadError> {
        self.parse()
    }

    fn parse<T: Deserialize<'t>>(&self) -> Result<T, ReadError> {
        let mut parser = serde_json::Deserializer::from_str(self.text);
        let failed = |path: &str, error: &serde_json::Error| broken(self.text, self.line, self.column, path, error);
        let value = serde_path_to_error::deserialize(&mut parser)
            .map_err(|error| failed(&error.path().to_string(), error.inner()))?;
        parser.end().map_err(|error| failed(".", &error))?;
        Ok(value)
    }
}

/// What the parser says of a text that begins on `line` behind `column` bytes.
fn broken(text: &str, line: usize, column: usize, path: &str, error: &serde_json::Error) -> ReadError {
    let (down, along) = (error.line().saturating_sub(1), error.column());
    // The parser appends its own position, which counts from this text's start.
    let full = error.to_string();
    let what = full.split(" at line ").next().unwrap_or(&full);
    let what = what.replace("invalid type: sequence", "a list").replace("invalid type: ", "");
    let found = text.split('\n').nth(down).and_then(|line| line.get(along.saturating_sub(1)..)).unwrap_or_default();
    let constant = ["NaN", "Infinity", "-Infinity"].into_iter().find(|constant| found.starts_with(constant));
    let what = match constant {
        Some(constant) => format!("`{constant}`, which Python writes, is not JSON; write `null`"),
        None => what,
    };
    let message = if matches!(path, "." | "?") { what } else { format!("`{path}`: {what}") };
    ReadError::Json { line: line + down, column: if down == 0 { column + along } else { along }, message }
}

/// An object: names and values in their order. A name twice is an error, since nobody can tell which value counts.
pub(super) struct Object<'t>(Vec<(String, &'t RawValue)>);

impl Object<'_> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a name; `None` if it is not there.
    pub(super) fn cell(&self, name: &str) -> Option<Cell> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(cell(value.get(), DEEPEST))
    }
}

/// Lists and objects within each other, beyond which nothing is read.
const DEEPEST: usize = 32;

/// A value as a cell. The text is known to be JSON, and may be nested `deeper` levels more.
fn cell(json: &str, deeper: usize) -> Cell {
    match json.as_bytes().first() {
        Some(b'n') => Cell::Missing,
        Some(b't') => Cell::Bool(true),
        Some(b'f') => Cell::Bool(false),
        // What is not text after all has half of a pair of surrogates.
        Some(b'"') => serde_json::from_str(json).map_or(Cell::Other("a text with half a character"), Cell::Text),
        Some(b'[' | b'{') if deeper == 0 => Cell::Other("nested deeper than anything that is read"),
        Some(b'[') => serde_json::from_str(json)
            .map_or(Cell::Other("a list that cannot be read"), |items: Vec<&RawValue>| {
                Cell::List(items.into_iter().map(|item| cell(item.get(), deeper - 1)).collect())
            }),
        Some(b'{') => {
            serde_json::from_str(json).map_or(Cell::Other("an object with a name twice"), |object: Object<'_>| {
                let field = |(name, value): (String, &RawValue)| (name, cell(value.get(), deeper - 1));
                Cell::Object(object.0.into_iter().map(field).collect())
            })
        }
        _ => Decimal::parse(json).map_or(Cell::Other("a number beyond all bounds"), Cell::Number),
    }
}

impl<'de: 't, 't> Deserialize<'de> for Object<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
                let (mut fields, mut seen) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = entries.next_entry::<String, &RawValue>()? {
                    if !seen.insert(name.clone()) {
                        let name = shortened(&name);
                        return Err(A::Error::custom(format!("the name `{name}` appears in the object a second time")));
                    }
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of an object, its names, and the cell `a`.
    type Seen = (usize, Vec<String>, Option<Cell>);

    fn objects(text: &str) -> Result<Vec<Seen>, ReadError> {
        let object = |record: &Record<'_>| {
            let object = record.object()?;
            Ok((record.line, object.names().map(str::to_owned).collect(), object.cell("a")))
        };
        records(text)?.iter().map(object).collect()
    }

    fn lines_and_cells(text: &str) -> Vec<(usize, String)> {
        objects(text).unwrap().into_iter().map(|(line, _, cell)| (line, cell.unwrap().to_string())).collect()
    }

    #[test]
    fn lines_arrays_and_objects_over_several_lines_are_one() {
        let expected = |lines: [usize; 2]| vec![(lines[0], "1".to_owned()), (lines[1], "`x`".to_owned())];
        assert_eq!(lines_and_cells("{\"a\": 1}\n\n{\"a\": \"x\"}"), expected([1, 3]));
        assert_eq!(lines_and_cells("{\"a\": 1}\r\n{\"a\": \"x\"}\r\n"), expected([1, 2]));
        assert_eq!(lines_and_cells(" [{\"a\": 1}, {\"a\": \"x\"}]\n"), expected([1, 1]));
        assert_eq!(lines_and_cells("\n[\n {\"a\": 1},\n {\n  \"a\": \"x\"\n }\n]\n"), expected([3, 4]));
        assert_eq!(lines_and_cells("{\n  \"a\": 1\n}\n{\n  \"a\": \"x\"\n}\n"), expected([1, 4]));
        assert_eq!(lines_and_cells("{\"a\":\n1}{\"a\": \"x\"}"), expected([1, 2]));
        assert_eq!(objects("{\"a\": 1, \"é\": [[{}]]}").unwrap()[0].1, ["a", "é"]);
        for empty in ["", "\n \r\n", "[]"] {
            assert!(records(empty).unwrap().is_empty());
        }
    }

    #[test]
    fn values_keep_what_they_are() {
        let cell = |value: &str| objects(&format!("{{\"a\": {value}}}")).unwrap().remove(0).2.unwrap();
        let number = |text: &str| Cell::Number(Decimal::parse(text).unwrap());
        assert_eq!(cell("18446744073709551615"), number("18446744073709551615"));
        assert_ne!(cell("18446744073709551615"), cell("18446744073709551614"));
        assert_eq!(cell("-1.50e2"), number("-150"));
        assert_eq!((cell("true"), cell("false"), cell("null")), (Cell::Bool(true), Cell::Bool(false), Cell::Missing));
        assert_eq!(cell(r#""\u00e9\n \u2028""#), Cell::Text("é\n \u{2028}".to_owned()));
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(cell(r#"["x", "y"]"#), Cell::List(vec![text("x"), text("y")]));
        assert_eq!(cell("[1, null]"), Cell::List(vec![number("1"), Cell::Missing]));
        assert_eq!(cell(r#"{"b": ["x"]}"#), Cell::Object(vec![("b".to_owned(), Cell::List(vec![text("x")]))]));
        assert_eq!(cell(r#"{"b": 1, "b": 2}"#), Cell::Other("an object with a name twice"));
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(format!("{:?}", cell(&deep)).contains("nested deeper"));
        assert_eq!(cell(r#""\ud800""#), Cell::Other("a text with half a character"));
        assert_eq!(cell("1e9999999999"), Cell::Other("a number beyond all bounds"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        #[track_caller]
        fn refused(text: &str, expected: &str) {
            assert_eq!(objects(text).unwrap_err().to_string(), expected);
        }
        refused("{\"a\": 1}\n{\"a\": }\n", "line 2, column 7: `a`: expected value");
        refused("{\"a\": 1} {\"a\": 2}\n", "line 1, column 10: trailing characters");
        refused("{\"a\": 1,\n \"b\": }", "line 2, column 7: expected value");
        refused("[{\"a\": 1},\n {\"a\": 1]", "line 2, column 9: expected `,` or `}`");
        refused("[{\"a\": 1}]\n[2]", "line 2, column 1: trailing characters");
        refused("[[1], {}]", "line 1, column 1: a list, expected an object with names and values");
        refused("\"a\"", "line 1, column 3: string \"a\", expected an object with names and values");
        refused(
            "{\"b\": 0, \"a\": 1, \"b\": 2}",
            "line 1, column 24: the name `b` appears in the object a second time",
        );
        refused(
            "{\"a\": 0}\n{\"a\": NaN}",
            "line 2, column 7: `a`: `NaN`, which Python writes, is not JSON; write `null`",
        );
        assert!(objects(&format!("{{\"a\": {}", "[".repeat(100_000))).is_err());
    }
}
