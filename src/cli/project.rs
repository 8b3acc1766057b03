//! The project that a command works in, from wherever in it, or outside of it, it is typed: paths in manifests and the cache are
//! relative to the project, paths on the command line to the folder where they are typed.

use crate::engine::manifest::project::above;
use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// The folder where the command was typed, and the project, if that is another folder.
static MOVED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();

/// Goes to the project: that of the manifest, if `pipe` is the path of one, otherwise that of the current folder. Whether this is
/// another folder, so that what was typed has to be read anew.
///
/// # Errors
/// If the folder cannot be entered.
pub(super) fn enter(pipe: Option<&str>) -> anyhow::Result<bool> {
    // Where there is no current folder there are no relative paths.
    let Ok(here) = std::env::current_dir() else { return Ok(false) };
    let manifest = pipe.and_then(|pipe| manifest(&here, pipe)).and_then(|path| fs_err::canonicalize(path).ok());
    let project = manifest.as_deref().and_then(above).or_else(|| above(&here)).map(Path::to_owned);
    let Some(project) = project.filter(|project| *project != here) else { return Ok(false) };
    std::env::set_current_dir(&project)?;
    Ok(MOVED.set((here, project)).is_ok())
}

/// Reads a path from the command line.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| typed(&path).unwrap_or(path))
}

/// Reads the name of something, or the path of a file or folder.
pub(super) fn name() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|name| found(&name).unwrap_or(name))
}

/// The path of a manifest that is typed in a folder, with or without its ending.
pub(super) fn manifest(folder: &Path, pipe: &str) -> Option<PathBuf> {
    [pipe.to_owned(), format!("{pipe}.yaml")].into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// A typed path, as seen from the project, if the command is not typed there.
fn typed(path: &Path) -> Option<PathBuf> {
    let (here, project) = MOVED.get()?;
    (path != Path::new("-")).then(|| seen(path, here, project))
}

/// A typed name, if the command is not typed in the project and it is that of a file or a folder.
fn found(name: &str) -> Option<String> {
    let (here, _) = MOVED.get()?;
    let is_path = !name.is_empty() && (here.join(name).exists() || manifest(here, name).is_some());
    typed(Path::new(name)).filter(|_| is_path)?.into_os_string().into_string().ok()
}

/// A path that is relative to a folder as one that is relative to the project, if it leads into it.
fn seen(path: &Path, here: &Path, project: &Path) -> PathBuf {
    // The current folder is known without symbolic links, so that what is above it is what its path says.
    let up = path.components().take_while(|component| !matches!(component, Component::Normal(_)));
    let mut whole = here.to_owned();
    for component in up.clone() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(whole.pop()),
            other => whole.push(other),
        }
    }
    whole.extend(path.components().skip(up.count()));
    match whole.strip_prefix(project) {
        Ok(inside) if inside == Path::new("") => PathBuf::from("."),
        Ok(inside) => inside.to_owned(),
        Err(_) => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths_are_seen_from_the_project() {
        let seen = |path: &str| seen(Path::new(path), Path::new("/p/notes/old"), Path::new("/p")).display().to_string();
        let cases = [
            ("x.csv", "notes/old/x.csv"),
            ("./x.csv", "notes/old/x.csv"),
            ("../x.csv", "notes/x.csv"),
            ("../../data/x.csv", "data/x.csv"),
            ("../..", "."),
            ("../../../x", "/x"),
            ("/tmp/x", "/tmp/x"),
            ("/p/data/x", "data/x"),
            ("a/../x", "notes/old/a/../x"),
        ];
        assert_eq!(cases.map(|(typed, _)| seen(typed)), cases.map(|(_, expected)| expected.to_owned()));
    }
}
