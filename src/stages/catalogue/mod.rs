//! The catalogue of tasks: those of the paper, which are files of the program (`tasks/*.yaml`), and those that a project describes in
//! files of the same form. `from: {task: NAME}` stands for the row of that name.

mod by_name;
mod embedded;
mod row;

pub(super) use by_name::ByName;
pub use row::{Counts, Hub, Later, Origin, Role, Row};

use crate::engine::library::Library;
use crate::engine::manifest::problem::nearest;
use row::is_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The folder of a project with its tasks, and that of the program with its own.
const FOLDER: &str = "tasks";
/// How the names of their files end.
const ENDING: &str = "yaml";

/// Whose task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// One of the tasks that come with the program.
    Program,
    /// A file of the project: `tasks/NAME.yaml`.
    Project,
}

/// A row and whose it is.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose.
    pub of: Of,
    /// What it says.
    pub row: Row,
}

/// All tasks: the program's, then the project's, each by name.
///
/// # Errors
/// The first of the project's files that cannot be read, with what is wrong and where.
pub fn all(library: &Library) -> Result<Vec<Entry>, String> {
    let own = library.names(FOLDER, ENDING).map_err(|error| error.to_string())?;
    let names = embedded::TEXTS.iter().map(|(name, _)| (Of::Program, (*name).to_owned()));
    let names = names.chain(own.into_iter().map(|name| (Of::Project, name)));
    names.filter_map(|(of, name)| get(library, of, &name).transpose()).collect()
}

/// The task of a name.
///
/// # Errors
/// If there is none, or two and `of` does not say which, or its file cannot be read.
pub fn find(library: &Library, name: &str, of: Option<Of>) -> Result<Entry, String> {
    if !is_name(name) {
        return Err(format!("is `{}`, expected the name of a task: letters, digits, `-` and `_`", name.escape_debug()));
    }
    let wanted = |whose: Of| of.is_none_or(|of| of == whose);
    let program = if wanted(Of::Program) { get(library, Of::Program, name)? } else { None };
    let project = if wanted(Of::Project) { get(library, Of::Project, name)? } else { None };
    match (program, project) {
        (Some(program), Some(project)) => Err(two(name, &program.row, &project.row)),
        (Some(entry), None) | (None, Some(entry)) => Ok(entry),
        (None, None) => Err(none(library, name, of)),
    }
}

/// The row of a name, if there is one.
fn get(library: &Library, of: Of, name: &str) -> Result<Option<Entry>, String> {
    let path = format!("{FOLDER}/{name}.{ENDING}");
    let row = match of {
        Of::Program => embedded::text(name).map(|text| Row::read(name, &path, text)),
        // A copy of the program's file, as in its own repository, is no other task.
        Of::Project => {
            let text = library.text(&path).map_err(|error| error.to_string())?;
            let own = text.filter(|text| embedded::text(name) != Some(text.as_str()));
            own.map(|text| Row::read(name, &path, &text))
        }
    };
    Ok(row.transpose()?.map(|row| Entry { of, row }))
}

fn two(name: &str, program: &Row, project: &Row) -> String {
    let about = |row: &Row| row.about.clone().unwrap_or_else(|| "without `about`".to_owned());
    format!(
        "`{name}` can be read in two ways: as the program's task ({}) and as `{FOLDER}/{name}.{ENDING}` ({}); say which: \
         `{{name: {name}, of: program}}` or `{{name: {name}, of: project}}`",
        about(program),
        about(project)
    )
}

fn none(library: &Library, name: &str, of: Option<Of>) -> String {
    let own = library.names(FOLDER, ENDING).unwrap_or_default();
    let program = embedded::TEXTS.iter().map(|(name, _)| *name).filter(|_| of != Some(Of::Project));
    let known = program.chain(own.iter().map(String::as_str).filter(|_| of != Some(Of::Program)));
    match nearest(name, known) {
        Some(near) => format!("no task `{name}`; did you mean `{near}`?"),
        None => format!(
            "no task `{name}`; `spot tasks` lists those that there are, and one of your own is a file `{FOLDER}/{name}.{ENDING}`"
        ),
    }
}

#[cfg(test)]
mod shared;
#[cfg(test)]
mod tests;
