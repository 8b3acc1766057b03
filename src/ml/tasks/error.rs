//! What can be wrong with a file of task rows: where, what was found, and what was expected.

/// A file that does not hold what its format says. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// No format has this name.
    #[error("unknown format `{found}`{}; known are {known}", nearest(.near))]
    Format {
        /// The name that was asked for.
        found: String,
        /// The known name most like it.
        near: Option<String>,
        /// All known names.
        known: String,
    },
    /// Bytes that are not UTF-8.
    #[error("line {line}: not UTF-8 at byte {byte} of the file; convert the file, or check that it is not compressed")]
    Encoding {
        /// Line, from 1.
        line: usize,
        /// Offset of the first bad byte in the file, from 0.
        byte: usize,
    },
    /// Bytes in another encoding, as their first ones say.
    #[error("UTF-16 text; convert the file to UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`")]
    Utf16,
    /// Lines that end in carriage returns alone.
    #[error(
        "line 1: lines end in carriage returns alone, as on old Macs; convert them, for instance with `tr '\\r' '\\n'`"
    )]
    Returns,
    /// A file without a single row.
    #[error("no rows; expected {expected}")]
    Empty {
        /// What a row would have been.
        expected: String,
    },
    /// A table or object without a column that the template needs.
    #[error("line {line}: no column {expected}{}; found {found}", nearest(.near))]
    Column {
        /// Line of the header or object, from 1.
        line: usize,
        /// Accepted names.
        expected: String,
        /// The present column most like it.
        near: Option<String>,
        /// Columns that are there.
        found: String,
    },
    /// A row of a table with too few or too many fields.
    #[error(
        "line {line}: {found} tab-separated fields, expected {expected} ({columns}); correct the row or leave it out"
    )]
    Fields {
        /// Line, from 1.
        line: usize,
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
        /// Names of the columns.
        columns: String,
    },
    /// A line that is not a word with a text behind it.
    #[error("line {line}: {found}, expected {expected}")]
    Line {
        /// Line, from 1.
        line: usize,
        /// What is there, cut if long.
        found: String,
        /// What a line is.
        expected: String,
    },
    /// A line or file that is not the JSON it should be.
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column of the line in bytes, from 1; 0 if the whole line is meant.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A value that is not a document.
    #[error("line {line}: expected an object with a text `text`: {message}")]
    Document {
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A value that its column cannot have.
    #[error("line {line}: column `{column}` is {found}, expected {expected}")]
    Value {
        /// Line, from 1.
        line: usize,
        /// Name of the column.
        column: &'static str,
        /// What is there, cut if long.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A row that hides its answer where none may.
    #[error(
        "line {line}: column `{column}` is {found}, which hides the answer; only a test split may hide it: leave the row out"
    )]
    Hidden {
        /// Line, from 1.
        line: usize,
        /// Name of the column.
        column: &'static str,
        /// What is there, cut if long.
        found: String,
    },
    /// A label outside the task's set.
    #[error("line {line}: column `{column}` is {found}, which is not a label of `{task}`{}; labels are {known}", nearest(.near))]
    Label {
        /// Line, from 1.
        line: usize,
        /// Name of the column.
        column: &'static str,
        /// What is there, cut if long.
        found: String,
        /// Name of the task.
        task: &'static str,
        /// The label most like it.
        near: Option<String>,
        /// All labels with their ids.
        known: String,
    },
}

impl ReadError {
    /// The line that is meant; the first if it is the file as a whole.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::Encoding { line, .. }
            | Self::Column { line, .. }
            | Self::Fields { line, .. }
            | Self::Line { line, .. }
            | Self::Json { line, .. }
            | Self::Document { line, .. }
            | Self::Value { line, .. }
            | Self::Hidden { line, .. }
            | Self::Label { line, .. } => *line,
            Self::Format { .. } | Self::Utf16 | Self::Returns | Self::Empty { .. } => 1,
        }
    }
}

fn nearest(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// The name most like `found`, if any is like it at all.
pub(super) fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name.to_owned())
}

/// Names that a message lists.
const LISTED: usize = 40;

/// Names in backticks, with commas; of very many the first.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter().map(|name| format!("`{}`", shortened(name)));
    let shown: Vec<String> = names.by_ref().take(LISTED).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A text that may be long, cut for a message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
