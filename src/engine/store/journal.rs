//! Journals: what each run did, a JSON line an event, each line chained to the one before by its digest.

use super::Store;
use super::digest::Digest;
use super::names;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A journal being written.
pub(in crate::engine) struct Journal {
    file: fs_err::File,
    last: Option<Digest>,
}

/// A line: an event, and the digest of the line before it.
#[derive(Serialize, Deserialize)]
struct Line<E> {
    prev: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<After>,
    event: E,
}

/// The last line of the run before this one; ties whole journals together as `prev` ties lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct After {
    run: String,
    line: Digest,
}

/// What is wrong with a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The journal.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

fn folder(store: &Store, pipeline: &str) -> PathBuf {
    store.root().join("runs").join(names::file_name(pipeline))
}

impl Journal {
    /// Starts the journal of a run.
    pub(in crate::engine) fn start(store: &Store, pipeline: &str, first: &impl Serialize) -> io::Result<Self> {
        let folder = folder(store, pipeline);
        fs_err::create_dir_all(&folder)?;
        let after = last_run(&folder)?;
        let file = create(&folder)?;
        let mut journal = Self { file, last: None };
        journal.line(&Line { prev: None, after, event: first })?;
        Ok(journal)
    }

    /// Adds an event.
    pub(in crate::engine) fn add(&mut self, event: &impl Serialize) -> io::Result<()> {
        self.line(&Line { prev: self.last, after: None, event })
    }

    /// In one write, so that a kill leaves at most one torn line at the end.
    fn line(&mut self, line: &Line<impl Serialize>) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        self.last = Some(Digest::of(text.as_bytes()));
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }

    /// Adds the last event and makes sure that all of them are on disk.
    pub(in crate::engine) fn end(mut self, event: &impl Serialize) -> io::Result<()> {
        self.add(event)?;
        self.file.sync_all()
    }
}

/// A new file named for the time; a number tells runs of one second apart.
fn create(folder: &Path) -> io::Result<fs_err::File> {
    let time = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
    let mut number = 1;
    loop {
        let path = folder.join(format!("{time}-{number:03}.jsonl"));
        match fs_err::OpenOptions::new().append(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            other => return other,
        }
    }
}

fn last_run(folder: &Path) -> io::Result<Option<After>> {
    let Some(run) = names::list(folder)?.into_iter().rfind(|name| name.ends_with(".jsonl")) else { return Ok(None) };
    let text = fs_err::read_to_string(folder.join(&run))?;
    let last = whole_lines(&text).last().map(|line| Digest::of(line.as_bytes()));
    Ok(last.map(|line| After { run, line }))
}

/// The lines that were written to their end.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// The events of all runs, oldest first: pipeline (as in the file system), run, events. Unreadable lines are left out.
///
/// # Errors
/// If a journal cannot be read.
pub fn events(store: &Store) -> io::Result<Vec<(String, String, Vec<Value>)>> {
    let mut runs = Vec::new();
    for (pipeline, run, path) in journals(store)? {
        let text = String::from_utf8_lossy(&fs_err::read(path)?).into_owned();
        let lines = whole_lines(&text).filter_map(|line| serde_json::from_str::<Line<Value>>(line).ok());
        let events = lines.map(|line| line.event).collect();
        runs.push((pipeline, run, events));
    }
    Ok(runs)
}

fn journals(store: &Store) -> io::Result<Vec<(String, String, PathBuf)>> {
    let root = store.root().join("runs");
    let mut found = Vec::new();
    for pipeline in names::list(&root)? {
        for run in names::list(&root.join(&pipeline))?.into_iter().filter(|name| name.ends_with(".jsonl")) {
            let path = root.join(&pipeline).join(&run);
            found.push((pipeline.clone(), run, path));
        }
    }
    Ok(found)
}

/// Checks the chains of all journals: their number, and what is wrong with them.
///
/// # Errors
/// If a journal cannot be read.
pub fn check(store: &Store) -> io::Result<(usize, Vec<Broken>)> {
    let journals = journals(store)?;
    let mut broken = Vec::new();
    for (pipeline, _, path) in &journals {
        let siblings: Vec<_> = journals.iter().filter(|(other, ..)| other == pipeline).collect();
        let oldest = siblings.first().map_or("", |(_, run, _)| run);
        let text = String::from_utf8_lossy(&fs_err::read(path)?).into_owned();
        if let Err(what) = check_chain(&text, path, oldest) {
            broken.push(Broken { path: path.clone(), what });
        }
    }
    Ok((journals.len(), broken))
}

fn check_chain(text: &str, path: &Path, oldest: &str) -> Result<(), String> {
    let mut last = None;
    for (i, text) in whole_lines(text).enumerate() {
        let line: Line<Value> = serde_json::from_str(text).map_err(|error| format!("line {}: {error}", i + 1))?;
        if line.prev != last {
            return Err(format!("line {} does not follow the line before it", i + 1));
        }
        if let Some(after) = line.after {
            check_after(&after, path, oldest)?;
        }
        last = Some(Digest::of(text.as_bytes()));
    }
    Ok(())
}

/// The run before must still say what it said, unless it was removed with everything before it.
fn check_after(after: &After, path: &Path, oldest: &str) -> Result<(), String> {
    let before = path.with_file_name(&after.run);
    match fs_err::read(&before) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let said = whole_lines(&text).any(|line| Digest::of(line.as_bytes()) == after.line);
            if said { Ok(()) } else { Err(format!("`{}`, the run before it, was changed", after.run)) }
        }
        Err(_) if after.run.as_str() < oldest => Ok(()),
        Err(_) => Err(format!("`{}`, the run before it, is missing", after.run)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(store: &Store, jobs: &[&str]) -> PathBuf {
        let mut journal = Journal::start(store, "p", &json!({"event": "start"})).unwrap();
        for job in jobs {
            journal.add(&json!({"event": "job", "job": job})).unwrap();
        }
        journal.end(&json!({"event": "summary"})).unwrap();
        journals(store).unwrap().pop().unwrap().2
    }

    fn broken(store: &Store) -> Vec<String> {
        check(store).unwrap().1.into_iter().map(|broken| broken.what).collect()
    }

    #[test]
    fn an_untouched_journal_is_whole_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        run(&store, &["a", "b"]);
        run(&store, &[]);
        assert_eq!(check(&store).unwrap(), (2, vec![]));
        let events = events(&store).unwrap();
        assert_eq!(events[0].2[2], json!({"event": "job", "job": "b"}));
    }

    #[test]
    fn an_edited_a_removed_and_a_reordered_line_break_the_chain() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let path = run(&store, &["a", "b"]);
        let text = fs_err::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let without = [lines[0], lines[2], lines[3]].join("\n") + "\n";
        let reordered = [lines[0], lines[2], lines[1], lines[3]].join("\n") + "\n";
        for edited in [text.replace("\"a\"", "\"c\""), without, reordered] {
            fs_err::write(&path, edited).unwrap();
            assert_eq!(broken(&store).len(), 1);
        }
    }

    #[test]
    fn a_cut_or_removed_run_is_noticed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (first, second) = (run(&store, &["a"]), run(&store, &["b"]));
        run(&store, &["c"]);
        let text = fs_err::read_to_string(&second).unwrap();
        let cut = text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
        fs_err::write(&second, cut).unwrap();
        assert!(broken(&store)[0].contains("was changed"));
        fs_err::remove_file(&second).unwrap();
        assert!(broken(&store)[0].contains("is missing"));
        fs_err::write(&second, text).unwrap();
        fs_err::remove_file(first).unwrap();
        assert_eq!(broken(&store), Vec::<String>::new());
    }

    #[test]
    fn a_line_torn_by_a_kill_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let path = run(&store, &["a"]);
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(broken(&store), Vec::<String>::new());
    }
}
