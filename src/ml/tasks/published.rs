//! Published data sets by name: the one table of formats, gathered from the suites, and files read by it.

use super::error::{ReadError, closest, listed};
use super::format::{Format, Read, Reading, Source, join};
use super::piece::Piece;
use super::rows::Decoding;
use super::{Example, Split, Task, drop, glue, layout, reviews, squad, superglue};

fn table() -> impl Iterator<Item = &'static Format> {
    glue::FORMATS.iter().chain(superglue::FORMATS).chain(squad::FORMATS).chain(drop::FORMATS).chain(reviews::FORMATS)
}

fn find(name: &str) -> Option<&'static Format> {
    table().find(|format| format.name == name)
}

/// Names of all known formats, such as `glue/mnli`.
pub fn formats() -> impl Iterator<Item = &'static str> {
    table().map(|format| format.name)
}

/// The task that a format's examples make up.
pub fn task(format: &str) -> Option<Task> {
    find(format).map(Format::task)
}

/// How a format's inputs are put together, for people: `mnli hypothesis: {hypothesis} premise: {premise}`.
pub fn template(format: &str, reading: &Reading) -> Option<String> {
    let format = find(format)?;
    Some(match &format.source {
        Source::Rows(layout) => {
            let holes: Vec<String> = layout.fields.iter().map(|field| format!("{{{}}}", field.columns[0])).collect();
            let values: Vec<(&str, &str)> =
                layout.fields.iter().zip(&holes).map(|(field, hole)| (field.name, hole.as_str())).collect();
            join(format.word, reading.prefix, &values)
        }
        Source::Other { template, .. } if reading.prefix => (*template).to_owned(),
        Source::Other { template, .. } => taskless(format.word, template).to_owned(),
    })
}

/// Whether the template of a task says all about its inputs, so that it can be filled from columns. Where a reader of its own makes
/// them of whole files, as for MultiRC, the template is for people.
pub fn fills(task: &Task) -> bool {
    let name = task.format.as_ref().unwrap_or(&task.name);
    !table().any(|format| matches!(format.source, Source::Other { .. }) && format.task().name == *name)
}

/// The examples of a file in the given format. Test splits may hide their labels; others must not.
///
/// # Errors
/// If there is no such format, or the file is not in it or has no example.
pub fn read(format: &str, bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    Ok(read_file(format, bytes, split, reading)?.examples)
}

/// As [`read`], and what was left out: rows whose annotators could not decide, to which SNLI and MNLI give the label `-` and on which
/// nobody trains or evaluates (Bowman et al. 2015), and in training the wrong nouns of WSC (Raffel et al. 2020, section 2.4).
///
/// # Errors
/// As [`read`].
pub fn read_file(format: &str, bytes: &[u8], split: Split, reading: &Reading) -> Result<Read, ReadError> {
    let known = known(format)?;
    let bytes = known.encoding().decoded(bytes)?;
    let mut read = known.read(&Piece::whole(&bytes)?, split, reading)?;
    if read.examples.is_empty() {
        return Err(none());
    }
    if known.may_repeat_ids() {
        layout::number_if_repeated(&mut read.examples, reading.skip);
    }
    Ok(read)
}

fn known(format: &str) -> Result<&'static Format, ReadError> {
    find(format).ok_or_else(|| ReadError::Format {
        found: format.to_owned(),
        near: closest(format, formats()),
        known: listed(formats()),
    })
}

/// The error of a file without examples.
fn none() -> ReadError {
    ReadError::Empty { expected: "at least one".to_owned() }
}

/// A file that is read piece by piece, to the same examples as [`read_file`] makes of it.
pub struct FileInPieces {
    format: &'static Format,
    split: Split,
    reading: Reading,
    decoding: Decoding,
    /// How the file begins, once a piece was read.
    beginning: Option<String>,
    /// Rows so far, and whether one was an example.
    rows: usize,
    has_examples: bool,
}

impl FileInPieces {
    /// A file in a format, with all its rows. `None` if files in this format can only be read as a whole.
    ///
    /// # Errors
    /// If there is no such format.
    pub fn new(format: &str, split: Split, prefix: bool) -> Result<Option<Self>, ReadError> {
        let format = known(format)?;
        let reading = Reading { prefix, ..Reading::default() };
        let (decoding, beginning) = (Decoding::default(), None);
        Ok(format.streams().then_some(Self {
            format,
            split,
            reading,
            decoding,
            beginning,
            rows: 0,
            has_examples: false,
        }))
    }

    /// Whether all examples are called by their numbers from 0 if two have one id.
    pub fn may_repeat_ids(&self) -> bool {
        self.format.may_repeat_ids()
    }

    /// The examples of the next piece, which ends with a line or, if it `is_last`, with the file. `None` if the file is JSON whose values
    /// do not stand on a line each: then it can only be read as a whole.
    ///
    /// # Errors
    /// As [`read_file`].
    pub fn take(&mut self, bytes: &[u8], is_last: bool) -> Result<Option<Read>, ReadError> {
        let (line, first) = (self.decoding.line, self.beginning.as_deref());
        let piece = Piece { text: self.decoding.text(bytes, is_last)?, line, rows: self.rows, first };
        if piece.needs_all() {
            return Ok(None);
        }
        let read = self.format.read(&piece, self.split, &self.reading)?;
        self.decoding.pass(bytes);
        self.rows += read.examples.len() + read.left_out.iter().map(|left| left.rows).sum::<usize>();
        self.has_examples |= !read.examples.is_empty();
        if self.beginning.is_none() {
            self.beginning = Some(Piece { first: None, ..piece }.beginning().to_owned());
        }
        if is_last && !self.has_examples {
            return Err(none());
        }
        Ok(Some(read))
    }
}

/// An input or template without the task's name in front.
fn taskless<'a>(word: &str, text: &'a str) -> &'a str {
    match text.strip_prefix(word) {
        // `wsc: …`, `record query: …`
        Some(rest) if rest.starts_with([' ', ':']) => rest.split_once(' ').map_or(rest, |(_, rest)| rest),
        _ => text,
    }
}
