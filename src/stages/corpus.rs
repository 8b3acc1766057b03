//! Text files as people have them: plain or as JSON lines, possibly compressed.

use crate::engine::context::Artifact;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::Read;

/// Decompressed text of one file; more is a mistake or an attack.
const LONGEST: u64 = 1 << 30;

/// The text of a file, UTF-8. A file whose name ends in `.zst` is decompressed.
pub(super) fn text(file: &Artifact, path: &str) -> anyhow::Result<String> {
    let bytes = file.bytes()?;
    let mut text = String::new();
    if path.ends_with(".zst") {
        let decoder = zstd::stream::read::Decoder::new(&bytes[..]).with_context(|| format!("`{path}`"))?;
        decoder.take(LONGEST + 1).read_to_string(&mut text).with_context(|| format!("`{path}`"))?;
        ensure!(text.len() as u64 <= LONGEST, "`{path}` unpacks to more than {LONGEST} bytes; split it");
    } else {
        text = String::from_utf8(bytes).with_context(|| format!("`{path}`"))?;
    }
    Ok(text)
}

/// Lines that are not blank, without white space around them.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// How a file holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Plain text; blank lines between documents.
    Plain,
    /// A JSON object on each line, its `text` a document.
    JsonLines,
}

impl Form {
    /// The form that a file's name stands for.
    pub(super) fn of(path: &str) -> Self {
        let name = path.strip_suffix(".zst").unwrap_or(path);
        if name.ends_with(".jsonl") || name.ends_with(".ndjson") { Self::JsonLines } else { Self::Plain }
    }

    /// The documents of a text in this form. Errors name the line.
    pub(super) fn documents(self, text: &str) -> Box<dyn Iterator<Item = anyhow::Result<Cow<'_, str>>> + '_> {
        match self {
            Self::Plain => Box::new(Blocks { rest: text }.map(|block| Ok(Cow::Borrowed(block)))),
            Self::JsonLines => {
                let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
                Box::new(lines.map(|(number, line)| {
                    let line: Line = serde_json::from_str(line)
                        .with_context(|| format!("line {}: expected an object with a text `text`", number + 1))?;
                    Ok(Cow::Owned(line.text))
                }))
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// Runs of lines between blank ones.
struct Blocks<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Blocks<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        self.rest = self.rest.trim_start();
        let mut end = 0;
        for line in self.rest.split_inclusive('\n') {
            if line.trim().is_empty() {
                break;
            }
            end += line.len();
        }
        let (block, rest) = self.rest.split_at(end);
        self.rest = rest;
        (end > 0).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(form: Form, text: &str) -> Vec<String> {
        form.documents(text).map(|document| document.unwrap().trim_end().to_owned()).collect()
    }

    #[test]
    fn blank_lines_separate_documents() {
        assert_eq!(documents(Form::Plain, "\n a\nb\r\n \t\r\nc\n\n\n"), ["a\nb", "c"]);
        assert_eq!(documents(Form::Plain, " \n"), [""; 0]);
    }

    #[test]
    fn json_lines_hold_a_document_each() {
        assert_eq!(Form::of("x/c4.jsonl.zst"), Form::JsonLines);
        assert_eq!(Form::of("x/c4.txt"), Form::Plain);
        assert_eq!(
            documents(Form::JsonLines, "{\"text\": \"a\\n\\nb\", \"url\": 1}\n\n{\"text\": \"\"}"),
            ["a\n\nb", ""]
        );
        let error = Form::JsonLines.documents("{\"text\": \"a\"}\n{\"txt\": 1}").last().unwrap().unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "line 2: expected an object with a text `text`: missing field `text` at line 1 column 10"
        );
    }

    #[test]
    fn paragraphs_are_lines_that_are_not_blank() {
        assert_eq!(paragraphs(" a \r\n\n\tb").collect::<Vec<_>>(), ["a", "b"]);
    }
}
