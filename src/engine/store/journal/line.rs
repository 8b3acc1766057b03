//! The lines of journals, and what stands in them.

use crate::engine::store::Store;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::files::is_file;
use crate::engine::store::names::list;
use crate::engine::store::seal::seal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What the seal of a last line is for.
const SEALED: &str = "spot journal seal v1";

/// A job that a run found done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::engine) struct Found {
    pub(in crate::engine) job: String,
    pub(in crate::engine) stage: String,
    pub(in crate::engine) kind: String,
    pub(in crate::engine) key: Key,
}

/// A line: an event, and the digest of the line before it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<E> {
    pub(super) prev: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<After>,
    pub(super) event: E,
    /// Covers the rest of a last line, which no other line names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Digest>,
}

/// The last line of the run before this one; ties whole journals together as `prev` ties lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct After {
    pub(super) run: String,
    pub(super) line: Digest,
}

/// A journal on disk.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) pipeline: String,
    pub(super) run: String,
    pub(super) path: PathBuf,
}

/// What a stub says in place of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Stub {
    /// It was damaged, and is to be found in `damaged/`.
    Aside {
        /// What was wrong with it.
        why: String,
    },
    /// It was the newest of those that are only remembered in short.
    Folded {
        /// Its last line.
        line: Option<Digest>,
        /// Every result that it and those before it named.
        uses: Vec<Use>,
    },
}

/// A result that a run named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Use {
    /// The job.
    pub job: String,
    /// The result.
    pub key: Key,
    /// When, UTC.
    pub time: String,
}

/// A run, as its journal tells it.
#[derive(Clone, Debug)]
pub struct Run {
    /// The pipeline, as in the file system.
    pub pipeline: String,
    /// The name of the journal.
    pub run: String,
    /// Its events; jobs that were found done are events of their own.
    pub events: Vec<Value>,
}

impl Run {
    /// The results that it made, found or wanted.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.events.iter().filter_map(|event| event["key"].as_str()?.parse().ok()).collect()
    }
}

/// A line with a seal at its end.
pub(super) fn sealed(line: &str) -> String {
    let open = line.strip_suffix('}').unwrap_or(line);
    format!(r#"{open},"seal":"{}"}}"#, seal(SEALED, line))
}

/// Whether a line has the seal that it should have.
pub(super) fn is_sealed(line: &str, found: &Digest) -> bool {
    let rest = line.strip_suffix(&format!(r#","seal":"{found}"}}"#));
    rest.is_some_and(|rest| seal(SEALED, &format!("{rest}}}")) == *found)
}

pub(super) fn list_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("found").join(format!("{digest}.json"))
}

/// A list of jobs; `None` if it is not there, or not what it was.
pub(super) fn read_list(path: &Path, digest: &Digest) -> Option<Vec<Found>> {
    let bytes = fs_err::read(path).ok()?;
    (Digest::of(&bytes) == *digest).then(|| serde_json::from_slice(&bytes).ok()).flatten()
}

/// The list that an event refers to.
pub(super) fn list_of(event: &Value) -> Option<Digest> {
    (event["event"] == "found").then(|| event["list"].as_str()?.parse().ok()).flatten()
}

/// The lines that were written to their end.
pub(super) fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// All journals, oldest first within each pipeline.
///
/// # Errors
/// If a folder of journals cannot be read.
pub(super) fn names(store: &Store) -> io::Result<Vec<Name>> {
    let root = store.root().join("runs");
    let mut found = Vec::new();
    for pipeline in list(&root)? {
        found.extend(names_in(&root.join(&pipeline), &pipeline)?);
    }
    Ok(found)
}

/// The journals in the folder of a pipeline, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn names_in(folder: &Path, pipeline: &str) -> io::Result<Vec<Name>> {
    let runs = list(folder)?.into_iter().filter(|name| name.ends_with(".jsonl"));
    Ok(runs.map(|run| Name { pipeline: pipeline.to_owned(), path: folder.join(&run), run }).collect())
}

/// The events of all runs, oldest first. Unreadable lines and journals are left out, and so are runs that are only remembered in
/// short.
///
/// # Errors
/// If a folder of journals cannot be read.
pub fn runs(store: &Store) -> io::Result<Vec<Run>> {
    let mut lists: BTreeMap<Digest, Vec<Found>> = BTreeMap::new();
    let mut runs = Vec::new();
    for Name { pipeline, run, path } in names(store)? {
        let Ok(bytes) = read(&path) else { continue };
        if stub(&bytes).is_some() {
            continue;
        }
        let lines = whole_lines(&bytes).filter_map(|line| serde_json::from_slice::<Line<Value>>(line).ok());
        let mut events = Vec::new();
        for event in lines.map(|line| line.event) {
            match list_of(&event) {
                Some(list) => {
                    let folder = path.parent().unwrap_or(&path);
                    let jobs = lists
                        .entry(list)
                        .or_insert_with(|| read_list(&list_path(folder, &list), &list).unwrap_or_default());
                    events.extend(jobs.iter().map(found_event));
                }
                None => events.push(event),
            }
        }
        runs.push(Run { pipeline, run, events });
    }
    Ok(runs)
}

fn found_event(found: &Found) -> Value {
    let Found { job, stage, kind, key } = found;
    json!({"event": "job", "job": job, "stage": stage, "kind": kind, "state": "cached", "key": key})
}

/// The results that runs named which are only remembered in short, with their pipelines.
///
/// # Errors
/// If a folder of journals cannot be read.
pub fn folded(store: &Store) -> io::Result<Vec<(String, Use)>> {
    let mut all = Vec::new();
    for Name { pipeline, path, .. } in names(store)? {
        if let Ok(bytes) = read(&path)
            && let Some(Stub::Folded { uses, .. }) = stub(&bytes)
        {
            all.extend(uses.into_iter().map(|used| (pipeline.clone(), used)));
        }
    }
    Ok(all)
}

/// The bytes of a journal; whatever else stands in its place is an error and not waited for.
///
/// # Errors
/// If it is not a file, or cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    is_file(path)?;
    fs_err::read(path)
}

/// The stub that stands in place of a journal.
pub(super) fn stub(bytes: &[u8]) -> Option<Stub> {
    let line = whole_lines(bytes).next()?;
    serde_json::from_slice::<Line<Stub>>(line).ok().map(|line| line.event)
}
