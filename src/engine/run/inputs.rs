//! What jobs read: the one place that says what is missing and what changed.

use crate::engine::context::{Artifact, ChangedInput, Read};
use crate::engine::stage::{Input, Pick, Source};
use crate::engine::store::{Store, files, names};
use std::io;
use std::path::Path;

/// A file that a job reads and that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("input `{role}`")]
pub(super) struct UnreadableInput {
    role: String,
    #[source]
    error: io::Error,
}

/// Everything that inputs stand for, in the order in which it is hashed; files are digested here.
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
                reads.extend(folder(store, role, path, *pick).map_err(|error| unreadable(role, error))?);
            }
        }
    }
    Ok(reads)
}

/// A file or folder among inputs that is not there.
pub(super) fn missing<M>(inputs: &[Input<M>]) -> Option<UnreadableInput> {
    inputs.iter().find_map(|input| {
        let found = match &input.from {
            Source::File(path) => files::is_there(path),
            Source::Folder(path, _) => folder_is_there(path),
            Source::Made(_) => Ok(()),
        };
        found.err().map(|error| unreadable(&input.role, error))
    })
}

/// Whether every file still has the content that entered the key.
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

fn folder(store: &Store, role: &str, path: &Path, pick: Pick) -> io::Result<Vec<Read>> {
    folder_is_there(path)?;
    let mut names = names::list(path)?;
    names.retain(|name| path.join(name).is_file());
    let mut picked = pick(&names);
    picked.sort();
    let mut reads = Vec::new();
    for name in picked {
        let file = path.join(&name);
        let artifact = Artifact::file(&file, store.files().digest(&file)?);
        reads.push(Read { role: format!("{role}/{name}"), artifact });
    }
    Ok(reads)
}
