//! What jobs read: the one place that says what is missing and what changed.

use crate::engine::context::{Artifact, ChangedInput, Read};
use crate::engine::remote::{Presence, Remote};
use crate::engine::stage::{Input, Pick, Source};
use crate::engine::store::{Store, files, names};
use std::io;
use std::path::{Path, PathBuf};

/// A file that a job reads and that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("input `{role}`")]
pub(super) struct UnreadableInput {
    role: String,
    #[source]
    error: io::Error,
}

/// Everything that inputs stand for, in the order in which it is hashed; files are digested here.
///
/// # Errors
/// The role whose file cannot be read, or is kept elsewhere and is not here yet.
pub(super) fn read(inputs: &[Input<Vec<Artifact>>], store: &Store) -> Result<Vec<Read>, UnreadableInput> {
    let mut reads = Vec::new();
    for input in inputs {
        let role = &input.role;
        match &input.from {
            Source::Made(artifacts) => reads.extend(set(role, artifacts)),
            Source::File(path) => {
                let digest = store.files().digest(path).map_err(|error| unreadable(role, error))?;
                reads.push(Read { role: role.clone(), artifact: Artifact::file(path, digest) });
            }
            Source::Folder(path, pick) => {
                reads.extend(folder(store, role, path, pick).map_err(|error| unreadable(role, error))?);
            }
            Source::Remote(remote) => {
                let files = here(&**remote).and_then(|files| named(store, role, files));
                reads.extend(files.map_err(|error| unreadable(role, error))?);
            }
        }
    }
    Ok(reads)
}

/// Files among inputs that are not there.
pub(super) fn missing<M>(inputs: &[Input<M>]) -> Option<UnreadableInput> {
    inputs.iter().find_map(|input| {
        let found = match &input.from {
            Source::File(path) => files::is_there(path),
            Source::Folder(path, pick) => picked(path, pick).map(drop),
            Source::Remote(remote) => here(&**remote).map(drop),
            Source::Made(_) => Ok(()),
        };
        found.err().map(|error| unreadable(&input.role, error))
    })
}

/// What of inputs is kept elsewhere, by role.
pub(super) fn remotes<M>(inputs: &[Input<M>]) -> impl Iterator<Item = (&str, &dyn Remote)> {
    inputs.iter().filter_map(|input| match &input.from {
        Source::Remote(remote) => Some((input.role.as_str(), &**remote)),
        Source::Made(_) | Source::File(_) | Source::Folder(..) => None,
    })
}

/// Whether every file still has the content that entered the key.
///
/// # Errors
/// The first file whose content changed or that cannot be read any more.
pub(super) fn unchanged(store: &Store, reads: &[Read]) -> Result<(), ChangedInput> {
    let changed = |path: &&Path, read: &Read| store.files().digest(path).ok() != Some(read.artifact.digest);
    let changed = reads.iter().find_map(|read| read.artifact.path().filter(|path| changed(path, read)));
    changed.map_or(Ok(()), |path| Err(ChangedInput(path.to_owned())))
}

fn unreadable(role: &str, error: io::Error) -> UnreadableInput {
    UnreadableInput { role: role.to_owned(), error }
}

/// Artifacts of one role are a set: in the order of their digests.
fn set(role: &str, artifacts: &[Artifact]) -> Vec<Read> {
    let read = |artifact: &Artifact| Read { role: role.to_owned(), artifact: artifact.clone() };
    let mut reads: Vec<Read> = artifacts.iter().map(read).collect();
    reads.sort_by_key(|read| read.artifact.digest);
    reads
}

fn folder_is_there(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("`{}` is not a folder", path.display())))
}

/// The names of the files of a folder that are read.
fn picked(path: &Path, pick: &Pick) -> io::Result<Vec<String>> {
    folder_is_there(path)?;
    let mut names = names::list(path)?;
    names.retain(|name| path.join(name).is_file());
    pick.of(&names)
        .map_err(|message| io::Error::new(io::ErrorKind::NotFound, format!("`{}`: {message}", path.display())))
}

fn folder(store: &Store, role: &str, path: &Path, pick: &Pick) -> io::Result<Vec<Read>> {
    let picked = picked(path, pick)?.into_iter().map(|name| (name.clone(), path.join(name)));
    named(store, role, picked.collect())
}

/// The files of a remote that is here.
fn here(remote: &dyn Remote) -> io::Result<Vec<(String, PathBuf)>> {
    match remote.look() {
        Ok(Presence::Here { files, .. }) => Ok(files),
        Ok(Presence::Away(why)) => Err(io::Error::new(io::ErrorKind::NotFound, why)),
        Err(error) => Err(io::Error::other(format!("{error:#}"))),
    }
}

/// Files by name and path, in the order of their names.
fn named(store: &Store, role: &str, mut files: Vec<(String, PathBuf)>) -> io::Result<Vec<Read>> {
    files.sort();
    let read = |(name, path): (String, PathBuf)| {
        let artifact = Artifact::file(&path, store.files().digest(&path)?);
        Ok(Read { role: format!("{role}/{name}"), artifact })
    };
    files.into_iter().map(read).collect()
}
