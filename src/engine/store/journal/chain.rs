//! The chain of journals: checked, and repaired by stubs where it is broken.

use super::line::whole_lines;
use super::line::{
    After, Line, Name, Stub, is_sealed, list_of, list_path, names, names_in, read, read_list, sealed, stub,
};
use crate::engine::store::Store;
use crate::engine::store::digest::Digest;
use crate::replace::{sync_file, sync_folder};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The journal.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// A journal that is whole in itself.
pub(super) struct Whole {
    after: Option<After>,
    pub(super) lines: Vec<Digest>,
    pub(super) stub: Option<Stub>,
    /// Whether its run came to its end, and so made sure that it is on disk.
    is_ended: bool,
}

impl Whole {
    /// Reads a journal and checks all of it.
    ///
    /// # Errors
    /// What is wrong with it and in which line: not text, not an event, a line that does not follow the one before, a broken
    /// seal, a lost list of jobs.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = read(path).map_err(|error| error.to_string())?;
        let mut whole = Self { after: None, lines: Vec::new(), stub: stub(&bytes), is_ended: false };
        for (i, bytes) in whole_lines(&bytes).enumerate() {
            let number = i + 1;
            let text = std::str::from_utf8(bytes).map_err(|_| format!("line {number} is not text"))?;
            let line: Line<Value> = serde_json::from_str(text).map_err(|error| format!("line {number}: {error}"))?;
            if line.prev != whole.lines.last().copied() {
                return Err(format!("line {number} does not follow the line before it"));
            }
            if line.seal.is_some_and(|seal| !is_sealed(text, &seal)) {
                return Err(format!("the seal of line {number} does not fit: it was edited or damaged"));
            }
            if let Some(list) = list_of(&line.event) {
                let path = list_path(path.parent().unwrap_or(path), &list);
                let lost =
                    || format!("the list of jobs that line {number} names, `{}`, is missing or damaged", list.short());
                read_list(&path, &list).ok_or_else(lost)?;
            }
            whole.is_ended = line.seal.is_some();
            whole.after = whole.after.or(line.after);
            whole.lines.push(Digest::of(bytes));
        }
        Ok(whole)
    }

    /// Whether the run after it may have found this line at its end.
    fn ended_with(&self, line: &Digest) -> bool {
        match &self.stub {
            Some(Stub::Aside { .. }) => true,
            Some(Stub::Folded { line: last, .. }) => last.as_ref() == Some(line) || self.lines.contains(line),
            None => self.lines.contains(line),
        }
    }
}

/// The end of the newest journal in a folder. A damaged one is set aside, and its stub is the end. What a killed run left is brought to
/// the disk, since the journal after it, which will be there, names its last line.
///
/// # Errors
/// If the folder cannot be read, the damaged one cannot be set aside, or the other one cannot be synced.
pub(super) fn last_run(store: &Store, folder: &Path) -> io::Result<(Option<After>, Option<Broken>)> {
    let Some(Name { run, path, .. }) = names_in(folder, "")?.pop() else { return Ok((None, None)) };
    let (whole, broken) = match Whole::read(&path) {
        Ok(whole) => (Ok(whole), None),
        Err(what) => {
            let broken = Broken { path: path.clone(), what };
            set_aside(store, &broken)?;
            (Whole::read(&path), Some(broken))
        }
    };
    let mut whole = whole.map_err(io::Error::other)?;
    if !whole.is_ended {
        sync_file(&path)?;
        sync_folder(folder)?;
    }
    let last = whole.lines.pop();
    Ok((last.map(|line| After { run, line }), broken))
}

/// Checks the chains of all journals: their number, and what is wrong with them.
///
/// # Errors
/// If a folder of journals cannot be read.
pub fn check(store: &Store) -> io::Result<(usize, Vec<Broken>)> {
    let mut pipelines: BTreeMap<String, Vec<Name>> = BTreeMap::new();
    let mut runs = 0;
    for name in names(store)? {
        runs += 1;
        pipelines.entry(name.pipeline.clone()).or_default().push(name);
    }
    let broken = pipelines.values().flat_map(|journals| check_chain(journals)).collect();
    Ok((runs, broken))
}

fn check_chain(journals: &[Name]) -> Vec<Broken> {
    let mut broken: BTreeMap<PathBuf, String> = BTreeMap::new();
    let read = journals.iter().map(|name| (name.run.as_str(), Whole::read(&name.path)));
    let wholes: BTreeMap<&str, Result<Whole, String>> = read.collect();
    let oldest = journals.first().map_or("", |name| &name.run);
    for Name { run, path, .. } in journals {
        let after = match &wholes[run.as_str()] {
            Ok(whole) => whole.after.as_ref(),
            Err(what) => {
                broken.insert(path.clone(), what.clone());
                continue;
            }
        };
        let Some(After { run: before, line }) = after else { continue };
        let what = match wholes.get(before.as_str()) {
            Some(Ok(whole)) if whole.ended_with(line) => continue,
            Some(Ok(_)) => format!("was changed: `{run}`, the run after it, found another end"),
            // It is told of itself.
            Some(Err(_)) => continue,
            // It was removed with everything before it.
            None if before.as_str() < oldest => continue,
            None => format!("is missing, though `{run}` came after it"),
        };
        broken.entry(path.with_file_name(before)).or_insert(what);
    }
    broken.into_iter().map(|(path, what)| Broken { path, what }).collect()
}

/// Moves a journal to `damaged/`, and leaves a stub in its place that says so; then the chain is whole again.
///
/// # Errors
/// If the store cannot be written.
pub fn set_aside(store: &Store, broken: &Broken) -> io::Result<()> {
    let part = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let pipeline = broken.path.parent().map(part).unwrap_or_default();
    store.move_aside(&broken.path, &format!("{pipeline}~{}", part(&broken.path)))?;
    put_stub(store, &broken.path, Stub::Aside { why: broken.what.clone() })
}

/// Puts a stub in the place of a journal.
///
/// # Errors
/// If it cannot be written.
pub(super) fn put_stub(store: &Store, path: &Path, stub: Stub) -> io::Result<()> {
    let line = serde_json::to_string(&Line { prev: None, after: None, event: stub, seal: None })?;
    store.write(path, format!("{}\n", sealed(&line)).as_bytes(), 0o644)
}
