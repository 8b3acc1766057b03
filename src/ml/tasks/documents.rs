//! Documents in JSON: objects whose `text` is prose, as in C4.

use super::error::ReadError;
use super::json::{Record, is_lines, lines, records};
use super::rows::{Decoding, utf8};
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    text: String,
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// If it is in another encoding, or its lines end in carriage returns alone.
pub fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    utf8(bytes)
}

/// The documents of a file of JSON in any of its forms.
///
/// # Errors
/// At the first place that holds no document.
pub fn documents(text: &str) -> Result<impl Iterator<Item = Result<String, ReadError>>, ReadError> {
    Ok(records(text)?.into_iter().map(document))
}

/// A text that comes in pieces, each of which ends with a line or with the text.
#[derive(Default)]
pub struct Pieces {
    decoding: Decoding,
    /// Whether documents stand on a line each; not known before one was seen.
    is_lines: Option<bool>,
}

impl Pieces {
    /// The text of the next piece, without a byte order mark; `is_last` says that nothing follows.
    ///
    /// # Errors
    /// As [`text`].
    pub fn text<'t>(&mut self, bytes: &'t [u8], is_last: bool) -> Result<&'t str, ReadError> {
        let text = self.decoding.text(bytes, is_last)?;
        self.decoding.pass(bytes);
        Ok(text)
    }

    /// The documents of the next piece of a file of JSON with one on each line, and what is wrong with the first that is none. `None` if
    /// the file is JSON of another form, whose documents can only be told apart once all is there.
    ///
    /// # Errors
    /// As [`text`].
    pub fn documents(
        &mut self,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<Option<Vec<Result<String, ReadError>>>, ReadError> {
        let first = self.decoding.line;
        let text = self.text(bytes, is_last)?;
        if self.is_lines.is_none() {
            self.is_lines = is_lines(text);
        }
        match self.is_lines {
            Some(false) => Ok(None),
            _ => Ok(Some(lines(text, first).map(document).collect())),
        }
    }
}

/// Whether a line is a document of such a file.
pub fn is_document(line: &str) -> bool {
    line.trim_start().starts_with('{') && serde_json::from_str::<Document>(line).is_ok()
}

fn document(record: Record<'_>) -> Result<String, ReadError> {
    let what = |error| match error {
        ReadError::Json { line, message, .. } => ReadError::Document { line, message },
        other => other,
    };
    record.read::<Document>().map(|document| document.text).map_err(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, ReadError> {
        documents(text)?.collect()
    }

    #[test]
    fn every_object_has_a_document() {
        let expected = ["a\n\nb", ""];
        assert_eq!(read("{\"text\": \"a\\n\\nb\", \"url\": 1}\n\n{\"text\": \"\"}").unwrap(), expected);
        assert_eq!(read("[{\"text\": \"a\\n\\nb\"},\n{\"text\": \"\"}]").unwrap(), expected);
        assert_eq!(read("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_document_is_named_with_its_place() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            error("{\"text\": \"a\"}\n{\"txt\": 1}"),
            "line 2: expected an object with a text `text`: missing field `text`"
        );
        assert_eq!(
            error("{\"text\": \"a\", \"text\": \"b\"}"),
            "line 1: expected an object with a text `text`: duplicate field `text`"
        );
        assert!(is_document(" {\"url\": 1, \"text\": \"a\"}\r") && !is_document("{\"txt\": 1}") && !is_document("{a}"));
    }
}
