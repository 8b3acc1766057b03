//! Text files as people have them: plain or as JSON, possibly packed.

use crate::data::{Lines, unpacked, without_packing};
use crate::engine::context::Artifact;
use crate::ml::tasks::documents::{self, is_document};
use anyhow::{Context, ensure};
use std::borrow::Cow;

/// Bytes of the text of one file; more is a mistake or an attack.
const LONGEST: usize = 1 << 30;

/// Endings of files that hold no prose, and what to do with them.
const NO_PROSE: [(&str, &str); 5] = [
    ("csv", "`from: {table: …}` reads it"),
    ("tsv", "`from: {table: …}` reads it"),
    ("parquet", "`from: {table: …}` reads it"),
    ("arrow", "write it as JSON lines"),
    ("html", "take the text out of it"),
];

/// How a file holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Plain text; blank lines between documents.
    Plain,
    /// JSON objects, the `text` of each a document: on lines, in an array, or over several lines.
    JsonLines,
}

/// What is wrong with the name of a file of text.
///
/// # Errors
/// What the file is instead of prose, and what to give instead.
pub(super) fn check_name(path: &str) -> Result<(), String> {
    let ending = ending(path);
    match NO_PROSE.into_iter().find(|(known, _)| *known == ending) {
        Some((_, what)) => Err(format!(
            "is `{path}`, but a `.{ending}` file is not prose; {what}, and text is plain, or in `.jsonl` or `.json` files"
        )),
        None => Ok(()),
    }
}

/// The ending of a file's name, behind which that of its packing may stand; in small letters.
fn ending(path: &str) -> String {
    let name = without_packing(path.rsplit(['/', '\\']).next().unwrap_or(path));
    name.rsplit_once('.').map_or_else(String::new, |(_, ending)| ending.to_ascii_lowercase())
}

/// The text of a file, UTF-8, unpacked if it is packed. Errors name the file.
///
/// # Errors
/// If it is damaged, cannot be unpacked, is too long, or is not UTF-8.
pub(super) fn text(file: &Artifact, path: &str) -> anyhow::Result<String> {
    let bytes = file.bytes()?;
    whole(&bytes, path).with_context(|| format!("`{path}`"))
}

fn whole(bytes: &[u8], path: &str) -> anyhow::Result<String> {
    let bytes = unpacked(bytes, path)?;
    ensure!(bytes.len() <= LONGEST, "holds more than {LONGEST} bytes; split it");
    Ok(documents::text(&bytes)?.to_owned())
}

/// What stands in a text from front to back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// A line that is not blank, without white space around it.
    Paragraph(String),
    /// The end of a document.
    End,
}

/// The passages of a file, as [`Form::documents`] and [`paragraphs`] have them: `take` gets some after the other. A few lines are in memory
/// at a time, but for JSON of another form than a document on each line.
///
/// # Errors
/// If the file is damaged or not in its form, a line has more than 32 MiB, and what `take` returns.
pub(super) fn each_passage(
    artifact: &Artifact,
    path: &str,
    take: &mut dyn FnMut(Vec<Passage>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let form = Form::of(path);
    let file = artifact.open()?;
    let (mut lines, mut pieces) = (Lines::open(path, &file)?, documents::Pieces::default());
    let mut is_begun = false;
    while let Some((_, bytes, is_last)) = lines.read()? {
        let mut passages = Vec::new();
        if form == Form::JsonLines {
            let Some(documents) = pieces.documents(&bytes, is_last)? else {
                return of_all(form, &whole(&artifact.bytes()?, path)?, take);
            };
            for document in documents {
                passages.extend(passages_of(&document?));
            }
        } else {
            let text = pieces.text(&bytes, is_last)?;
            if !is_begun && let Some(first) = text.lines().find(|line| !line.trim().is_empty()) {
                check_prose(first)?;
                is_begun = true;
            }
            for line in text.lines().map(str::trim) {
                passages.push(if line.is_empty() { Passage::End } else { Passage::Paragraph(line.to_owned()) });
            }
        }
        if is_last {
            passages.push(Passage::End);
        }
        take(passages)?;
    }
    Ok(())
}

/// The passages of a text that is in memory.
fn of_all(form: Form, text: &str, take: &mut dyn FnMut(Vec<Passage>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    form.documents(text)?.try_for_each(|document| take(passages_of(&document?)))
}

fn passages_of(document: &str) -> Vec<Passage> {
    paragraphs(document).map(|text| Passage::Paragraph(text.to_owned())).chain([Passage::End]).collect()
}

/// Whether a file that is read as prose begins as one.
fn check_prose(first: &str) -> anyhow::Result<()> {
    ensure!(
        !is_document(first),
        "begins with a JSON object that has a `text`, but its name ends in neither `.jsonl` nor `.json`, so that it would be read \
         as prose; rename it, or put a line of text in front"
    );
    Ok(())
}

/// Lines that are not blank, without white space around them.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Documents one after the other, or what is wrong with one.
type Documents<'t> = Box<dyn Iterator<Item = anyhow::Result<Cow<'t, str>>> + 't>;

impl Form {
    /// The form that a file's name stands for.
    pub(super) fn of(path: &str) -> Self {
        match ending(path).as_str() {
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            _ => Self::Plain,
        }
    }

    /// The documents of a text in this form. Errors name the line.
    ///
    /// # Errors
    /// If prose begins with a JSON document, or JSON lines begin with something else.
    pub(super) fn documents(self, text: &str) -> anyhow::Result<Documents<'_>> {
        if self == Self::JsonLines {
            return Ok(Box::new(documents::documents(text)?.map(|document| Ok(Cow::Owned(document?)))));
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        check_prose(first)?;
        Ok(Box::new(Blocks { rest: text }.map(|block| Ok(Cow::Borrowed(block)))))
    }
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
        form.documents(text).unwrap().map(|document| document.unwrap().trim_end().to_owned()).collect()
    }

    #[test]
    fn blank_lines_separate_documents() {
        assert_eq!(documents(Form::Plain, "\n a\nb\r\n \t\r\nc\n\n\n"), ["a\nb", "c"]);
        assert_eq!(documents(Form::Plain, " \n"), [""; 0]);
    }

    #[test]
    fn the_ending_says_what_is_inside_whatever_its_case_and_packing() {
        for name in ["x/c4.jsonl.zst", "c4.JSONL", "c4-train.00000-of-01024.json", "c4.json.gz", "C4.NDJSON.GZ"] {
            assert_eq!(Form::of(name), Form::JsonLines, "{name}");
        }
        for name in ["x/c4.txt", "json", "c4.json.d/text", "c4.txt.gz"] {
            assert_eq!(Form::of(name), Form::Plain, "{name}");
        }
        for name in ["a.csv", "b.TSV.gz", "c.parquet"] {
            assert!(check_name(name).unwrap_err().contains("is not prose"), "{name}");
        }
        assert!(check_name("a.md").is_ok() && check_name("a.json").is_ok());
    }

    /// The paragraphs of every document.
    fn passages(name: &str, text: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        let (mut documents, mut open) = (Vec::new(), Vec::new());
        each_passage(&Artifact::of_file(&path)?, name, &mut |passages| {
            for passage in passages {
                match passage {
                    Passage::Paragraph(text) => open.push(text),
                    Passage::End if open.is_empty() => {}
                    Passage::End => documents.push(std::mem::take(&mut open)),
                }
            }
            Ok(())
        })?;
        assert!(open.is_empty(), "every document ends");
        Ok(documents)
    }

    #[test]
    fn passages_are_those_of_documents_in_every_form() {
        let long = format!("{{\"text\": \"{}\"}}\n", "x y\\n".repeat(50_000)).repeat(9);
        let texts = [
            ("a.txt", "\n a\nb\r\n \t\r\nc\n\n\nd"),
            ("a.txt", " \n"),
            ("a.txt", ""),
            ("a.txt", &"one\ntwo\n\n".repeat(300_000)),
            ("a.jsonl", "{\"text\": \"a\\n\\nb\"}\n\n{\"text\": \"\"}\n{\"text\": \"c\"}"),
            ("a.json", "[{\"text\": \"a\"},\n{\"text\": \"b\\nc\"}]"),
            ("a.json", "\n\n{\n\"text\": \"a\"}\n{\"text\":\n \"b\"}\n"),
            ("a.jsonl", &long),
        ];
        for (name, text) in texts {
            let form = Form::of(name);
            let expected = form
                .documents(text)
                .unwrap()
                .map(|document| paragraphs(&document.unwrap()).map(str::to_owned).collect::<Vec<_>>());
            let expected: Vec<_> = expected.filter(|document| !document.is_empty()).collect();
            assert_eq!(passages(name, text).unwrap(), expected, "{name}");
        }
        let error = |name, text| passages(name, text).unwrap_err().to_string();
        assert!(error("a.txt", "\n{\"text\": \"The old\", \"url\": 1}\n").starts_with("begins with a JSON object"));
        assert!(error("a.jsonl", "{\"text\": \"a\"}\n\n{\"txt\": 1}\n").starts_with("line 3: expected an object with"));
        assert_eq!(error("a.txt.gz", "text"), "ends in `.gz`, but is not packed with gzip");
    }

    #[test]
    fn json_is_never_read_as_prose() {
        assert_eq!(
            documents(Form::JsonLines, "{\"text\": \"a\\n\\nb\", \"url\": 1}\n\n{\"text\": \"\"}"),
            ["a\n\nb", ""]
        );
        let error = Form::Plain.documents("\n{\"text\": \"The old\", \"url\": 1}\n").err().unwrap().to_string();
        assert!(error.starts_with("begins with a JSON object that has a `text`"), "{error}");
        assert_eq!(documents(Form::Plain, "{curly} braces\n"), ["{curly} braces"]);
    }

    #[test]
    fn paragraphs_are_lines_that_are_not_blank() {
        assert_eq!(paragraphs(" a \r\n\n\tb").collect::<Vec<_>>(), ["a", "b"]);
    }
}
