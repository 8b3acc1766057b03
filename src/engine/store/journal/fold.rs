//! Old journals folded into one line: what they named, when, and how they ended.

use super::chain::{Whole, put_stub};
use super::line::{Line, Name, Stub, Use, list_of, list_path, names_in, read, read_list, stub, whole_lines};
use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::engine::store::names::list;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Old journals that can be folded.
#[derive(Debug, Default)]
pub struct Fold {
    /// Those of one pipeline, oldest first.
    pipelines: Vec<Vec<Name>>,
    /// Lists of jobs that no journal names any more.
    lists: Vec<PathBuf>,
    /// How many journals go.
    pub runs: usize,
    /// Bytes of what goes.
    pub bytes: u64,
}

/// What can be folded: of each pipeline all whole journals but the newest `keep`, up to the first that is damaged.
///
/// # Errors
/// If the store cannot be read.
pub fn foldable(store: &Store, keep: usize) -> io::Result<Fold> {
    let mut fold = Fold::default();
    let root = store.root().join("runs");
    for pipeline in list(&root)? {
        let mut old = names_in(&root.join(&pipeline), &pipeline)?;
        let kept = old.split_off(old.len().saturating_sub(keep));
        let whole = old.iter().take_while(|name| Whole::read(&name.path).is_ok()).count();
        let kept: Vec<Name> = old.split_off(whole).into_iter().chain(kept).collect();
        fold.lists.extend(unnamed_lists(&root.join(&pipeline), &kept)?);
        // A stub alone stays as it is.
        if old.len() > 1 || old.iter().any(|name| read(&name.path).is_ok_and(|bytes| stub(&bytes).is_none())) {
            fold.runs += old.len();
            fold.pipelines.push(old);
        }
    }
    let paths = fold.pipelines.iter().flatten().map(|name| &name.path).chain(&fold.lists);
    fold.bytes = paths.filter_map(|path| Some(fs_err::symlink_metadata(path).ok()?.len())).sum();
    Ok(fold)
}

fn unnamed_lists(folder: &Path, journals: &[Name]) -> io::Result<Vec<PathBuf>> {
    let mut named = BTreeSet::new();
    for name in journals {
        let bytes = read(&name.path).unwrap_or_default();
        let events = whole_lines(&bytes).filter_map(|line| serde_json::from_slice::<Line<Value>>(line).ok());
        named.extend(events.filter_map(|line| list_of(&line.event)).map(|list| list_path(folder, &list)));
    }
    let lists = list(&folder.join("found"))?.into_iter().map(|name| folder.join("found").join(name));
    Ok(lists.filter(|path| !named.contains(path)).collect())
}

impl Fold {
    /// Folds them: the newest of each pipeline becomes a stub that has its last line and every result that they named, of those
    /// that `stays` still knows; then the others go.
    ///
    /// # Errors
    /// If the store cannot be written. What is left is whole, and the next try goes on.
    pub(in crate::engine) fn apply(&self, store: &Store, stays: &dyn Fn(&Key) -> bool) -> io::Result<()> {
        for old in &self.pipelines {
            let Some((newest, others)) = old.split_last() else { continue };
            let mut uses: BTreeMap<(String, Key), String> = BTreeMap::new();
            let mut line = None;
            for name in old {
                let whole = Whole::read(&name.path).map_err(io::Error::other)?;
                line = match whole.stub {
                    Some(Stub::Folded { line, .. }) => line,
                    _ => whole.lines.last().copied(),
                };
                for Use { job, key, time } in named_by(name)?.into_iter().filter(|used| stays(&used.key)) {
                    let last = uses.entry((job, key)).or_default();
                    *last = time.max(std::mem::take(last));
                }
            }
            let uses = uses.into_iter().map(|((job, key), time)| Use { job, key, time }).collect();
            put_stub(store, &newest.path, Stub::Folded { line, uses })?;
            others.iter().try_for_each(|name| fs_err::remove_file(&name.path))?;
        }
        self.lists.iter().try_for_each(fs_err::remove_file)
    }
}

/// The results that a journal names.
fn named_by(name: &Name) -> io::Result<Vec<Use>> {
    let bytes = read(&name.path)?;
    match stub(&bytes) {
        Some(Stub::Folded { uses, .. }) => return Ok(uses),
        Some(Stub::Aside { .. }) => return Ok(Vec::new()),
        None => {}
    }
    let folder = name.path.parent().unwrap_or(&name.path);
    let events = whole_lines(&bytes).filter_map(|line| serde_json::from_slice::<Line<Value>>(line).ok());
    let (mut uses, mut time) = (Vec::new(), String::new());
    for event in events.map(|line| line.event) {
        if let Some(start) = event["time"].as_str() {
            start.clone_into(&mut time);
        }
        if let Some(list) = list_of(&event) {
            let jobs = read_list(&list_path(folder, &list), &list).unwrap_or_default();
            uses.extend(jobs.into_iter().map(|found| Use { job: found.job, key: found.key, time: time.clone() }));
        }
        let key = event["key"].as_str().and_then(|key| key.parse().ok());
        if let (Some(job), Some(key)) = (event["job"].as_str(), key) {
            uses.push(Use { job: job.to_owned(), key, time: time.clone() });
        }
    }
    Ok(uses)
}
