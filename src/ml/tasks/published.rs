//! Published data sets by name: the one table of formats, gathered from the suites, and files read by it.

use super::error::{ReadError, closest, listed};
use super::format::{Format, Read, Reading, Source, join};
use super::{Example, Split, Task, drop, glue, layout, squad, superglue};

fn table() -> impl Iterator<Item = &'static Format> {
    glue::FORMATS.iter().chain(superglue::FORMATS).chain(squad::FORMATS).chain(drop::FORMATS)
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
            let holes: Vec<String> = layout.fields.iter().map(|field| format!("{{{}}}", field.name)).collect();
            let values: Vec<(&str, &str)> =
                layout.fields.iter().zip(&holes).map(|(field, hole)| (field.name, hole.as_str())).collect();
            join(format.word, reading.prefix, &values)
        }
        Source::Whole { template, .. } if reading.prefix => (*template).to_owned(),
        Source::Whole { template, .. } => taskless(format.word, template).to_owned(),
    })
}

/// Whether the template of a task says all about its inputs, so that it can be filled from columns. Where a reader of its own makes
/// them of whole files, as for MultiRC, the template is for people.
pub fn fills(task: &Task) -> bool {
    let name = task.format.as_ref().unwrap_or(&task.name);
    !table().any(|format| matches!(format.source, Source::Whole { .. }) && format.task().name == *name)
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
    let Some(known) = find(format) else {
        return Err(ReadError::Format {
            found: format.to_owned(),
            near: closest(format, formats()),
            known: listed(formats()),
        });
    };
    let read = match &known.source {
        Source::Rows(layout) => layout::read(known, layout, bytes, split, reading)?,
        Source::Whole { read, .. } => read(bytes, split, reading)?,
    };
    if read.examples.is_empty() {
        return Err(ReadError::Empty { expected: "at least one".to_owned() });
    }
    Ok(read)
}

/// An input or template without the task's name in front.
fn taskless<'a>(word: &str, text: &'a str) -> &'a str {
    match text.strip_prefix(word) {
        // `wsc: …`, `record query: …`
        Some(rest) if rest.starts_with([' ', ':']) => rest.split_once(' ').map_or(rest, |(_, rest)| rest),
        _ => text,
    }
}
