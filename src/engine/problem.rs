//! What is wrong with a manifest, shown where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a YAML text; lines and columns from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line; 0 for values that do not come from the file (`--set`).
    pub line: usize,
    /// Column.
    pub column: usize,
    /// Number of characters to underline.
    pub width: usize,
}

/// One problem of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found, what was expected, what to do.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

/// All problems of a manifest, with the lines they stand in.
#[derive(Debug)]
pub struct Problems {
    path: PathBuf,
    text: String,
    found: Vec<Problem>,
}

impl Problems {
    /// The problems of the manifest at `path` with this `text`; sorted by place, each once.
    pub fn new(path: &Path, text: &str, mut found: Vec<Problem>) -> Self {
        found.sort();
        found.dedup();
        Self { path: path.to_owned(), text: text.to_owned(), found }
    }

    /// The problems by place.
    pub fn found(&self) -> &[Problem] {
        &self.found
    }

    /// The manifest.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { place, message }) in self.found.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            if place.line == 0 {
                write!(f, "--set: {message}")?;
                continue;
            }
            write!(f, "{}:{}:{}: {message}", self.path.display(), place.line, place.column)?;
            if let Some(line) = self.text.lines().nth(place.line - 1) {
                let number = place.line.to_string();
                let gutter = " ".repeat(number.len());
                let indent = " ".repeat(place.column.saturating_sub(1));
                let rest = line.chars().count().saturating_sub(place.column - 1).max(1);
                let marks = "^".repeat(place.width.clamp(1, rest));
                write!(f, "\n {number} | {line}\n {gutter} | {indent}{marks}")?;
            }
        }
        Ok(())
    }
}

/// The known name nearest to what was written, if one is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.chars().count().max(written.chars().count()) / 3)
        .map(|(_, name)| name)
}

/// "; did you mean `x`?" where a near name is known, otherwise the known names.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => {
            let names: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { String::new() } else { format!("; known: {}", names.join(", ")) }
        }
    }
}
