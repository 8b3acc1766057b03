//! How the files of a table are laid out, as far as it is known without looking.

use crate::data::Layout;
use crate::engine::files_input::FilesInput;
use crate::engine::input::FileInput;
use serde::Serialize;

/// How the files of one input are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Laid {
    As(Layout),
    /// As the files of a folder are, whose names are in the recipe too.
    ByName(&'static str),
}

impl Laid {
    pub(super) fn of(files: &FilesInput) -> Option<Self> {
        let known: Option<Vec<Layout>> = files.names().map(Layout::of).collect();
        match known {
            Some(layouts) => layouts.first().map(|layout| Self::As(*layout)),
            None => Some(Self::ByName("by_name")),
        }
    }
}

/// Whether files that are named, and not found in a folder, have names of tables.
///
/// # Errors
/// Which one has not, in words.
pub(super) fn check_files(files: &FilesInput) -> Result<(), String> {
    files.check()?;
    let is_odd = |file: &&FileInput| !file.name().ends_with('/') && Layout::of(file.name()).is_none();
    match files.said.iter().find(is_odd) {
        Some(file) => Err(format!(
            "is `{file}`, expected a file whose name ends in {}, or a folder, written with `/` at its end",
            Layout::ENDINGS
        )),
        None => Ok(()),
    }
}

pub(super) fn is_table(name: &str) -> bool {
    Layout::of(name).is_some()
}
