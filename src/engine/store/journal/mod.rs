//! Journals: what each run did, a JSON line an event, each line chained to the one before by its digest, and the last one sealed.
//!
//! ```text
//! runs/<pipeline>/20261129T012658Z-001.jsonl
//!   {"prev":null,"after":{"run":"20261128….jsonl","line":"3f2a…"},"event":{"event":"start",…}}
//!   {"prev":"91c0…","event":{"event":"job","state":"executed",…}}
//!   {"prev":"ab12…","event":{"event":"found","jobs":38,"list":"77aa…"}}
//!   {"prev":"c31f…","event":{"event":"summary",…},"seal":"5d0e…"}
//! runs/<pipeline>/found/77aa….json    the jobs that were found done; runs that find the same share it
//! ```
//!
//! In place of a journal there may be its *stub*, one line that says that it was set aside as damaged, or what it and those before
//! it said in short ([`chain`], [`fold`]).

pub mod chain;
pub mod fold;
mod line;

use super::Store;
use super::digest::Digest;
use super::names::file_name;
pub(in crate::engine) use line::Found;
use line::{Line, list_path, read_list, sealed};
pub use line::{Run, Use, folded, runs};
use line::{Stub, names_in, read, stub, whole_lines};
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A journal being written.
pub(in crate::engine) struct Journal {
    file: fs_err::File,
    folder: PathBuf,
    last: Option<Digest>,
    found: Vec<Found>,
}

/// A journal that was written to its end.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Ended {
    /// Its name.
    pub(in crate::engine) run: String,
    /// Its last line.
    pub(in crate::engine) line: Digest,
}

/// How a journal ends.
pub(in crate::engine) enum Last {
    /// With this line.
    Line(Digest),
    /// In what it said in short, with others.
    Folded,
    /// It is not what it was, or was set aside.
    Damaged,
    /// There is none.
    Missing,
}

/// How the journal of a run ends.
pub(in crate::engine) fn last_line(store: &Store, pipeline: &str, run: &str) -> Last {
    let folder = folder(store, pipeline);
    let Ok(bytes) = read(&folder.join(run)) else {
        // Those that are gone stand in the stub of the newest of them.
        let later = names_in(&folder, pipeline).unwrap_or_default().into_iter().filter(|name| name.run.as_str() > run);
        let is_folded =
            later.filter_map(|name| stub(&read(&name.path).ok()?)).any(|stub| matches!(stub, Stub::Folded { .. }));
        return if is_folded { Last::Folded } else { Last::Missing };
    };
    match stub(&bytes) {
        Some(Stub::Folded { .. }) => Last::Folded,
        Some(Stub::Aside { .. }) => Last::Damaged,
        None => whole_lines(&bytes).last().map_or(Last::Damaged, |line| Last::Line(Digest::of(line))),
    }
}

impl Journal {
    /// Starts the journal of a run. The newest before it is set aside if it is damaged; what was wrong with it is told.
    ///
    /// # Errors
    /// If the folder cannot be read, or the journal cannot be written.
    pub(in crate::engine) fn start(
        store: &Store,
        pipeline: &str,
        first: &impl Serialize,
    ) -> io::Result<(Self, Option<chain::Broken>)> {
        let folder = folder(store, pipeline);
        fs_err::create_dir_all(&folder)?;
        let (after, broken) = chain::last_run(store, &folder)?;
        let file = create(&folder)?;
        let mut journal = Self { file, folder, last: None, found: Vec::new() };
        journal.line(&Line { prev: None, after, event: first, seal: None })?;
        Ok((journal, broken))
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(in crate::engine) fn add(&mut self, event: &impl Serialize) -> io::Result<()> {
        self.line(&Line { prev: self.last, after: None, event, seal: None })
    }

    /// Notes a job that was found done. All of them are one event, at the end.
    pub(in crate::engine) fn found(&mut self, job: Found) {
        self.found.push(job);
    }

    /// In one write, so that a kill leaves at most one torn line at the end.
    fn line(&mut self, line: &Line<impl Serialize>) -> io::Result<()> {
        self.text(serde_json::to_string(line)?)
    }

    fn text(&mut self, mut text: String) -> io::Result<()> {
        self.last = Some(Digest::of(text.as_bytes()));
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }

    /// Adds the last events and makes sure that all of them are on disk.
    ///
    /// # Errors
    /// If they cannot be written or synced.
    pub(in crate::engine) fn end(mut self, store: &Store, event: &impl Serialize) -> io::Result<Ended> {
        if !self.found.is_empty() {
            let list = self.list(store)?;
            let jobs = self.found.len();
            self.add(&json!({"event": "found", "jobs": jobs, "list": list}))?;
        }
        let line = Line { prev: self.last, after: None, event, seal: None };
        let text = sealed(&serde_json::to_string(&line)?);
        let line = Digest::of(text.as_bytes());
        self.text(text)?;
        self.file.sync_all()?;
        let run = self.file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Ended { run, line })
    }

    /// Writes the list of jobs that were found done, if it is a new one.
    fn list(&mut self, store: &Store) -> io::Result<Digest> {
        self.found.sort();
        let text = serde_json::to_string(&self.found)?;
        let digest = Digest::of(text.as_bytes());
        let path = list_path(&self.folder, &digest);
        if read_list(&path, &digest).is_none() {
            store.write(&path, text.as_bytes(), 0o444)?;
        }
        Ok(digest)
    }
}

fn folder(store: &Store, pipeline: &str) -> PathBuf {
    store.root().join("runs").join(file_name(pipeline))
}

/// A new file named for the time; a number tells runs of one second apart. It comes after all that are there, whatever the clock
/// says.
fn create(folder: &Path) -> io::Result<fs_err::File> {
    loop {
        let now = (chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string(), 1);
        let newest = line::names_in(folder, "")?.pop().and_then(|newest| after(&newest.run));
        let (time, number) = newest.map_or(now.clone(), |next| now.max(next));
        let path = folder.join(format!("{time}-{number:03}.jsonl"));
        match fs_err::OpenOptions::new().append(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

/// The time and number that come after those of a journal.
fn after(run: &str) -> Option<(String, u32)> {
    let (time, number) = run.strip_suffix(".jsonl")?.split_once('-')?;
    Some((time.to_owned(), number.parse::<u32>().ok()? + 1))
}

#[cfg(test)]
mod tests {
    use super::chain::{check, set_aside};
    use super::fold::foldable;
    use super::*;
    use crate::engine::store::digest::Key;
    use serde_json::json;

    fn run(store: &Store, jobs: &[&str]) -> PathBuf {
        let (mut journal, broken) = Journal::start(store, "p", &json!({"event": "start", "time": "2026"})).unwrap();
        assert_eq!(broken, None);
        for job in jobs {
            journal.add(&json!({"event": "job", "job": job})).unwrap();
        }
        journal.end(store, &json!({"event": "summary"})).unwrap();
        line::names(store).unwrap().pop().unwrap().path
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
        assert_eq!(runs(&store).unwrap()[0].events[2], json!({"event": "job", "job": "b"}));
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

    #[test]
    fn no_byte_of_a_finished_journal_can_be_changed_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let path = run(&store, &["a"]);
        let bytes = fs_err::read(&path).unwrap();
        for at in 0..bytes.len() - 1 {
            for flip in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                fs_err::write(&path, changed).unwrap();
                // A line that was never ended is not damage, and neither is the end of a line in place of another byte.
                assert!(broken(&store).len() == 1, "byte {at}");
            }
        }
    }

    #[test]
    fn a_damaged_newest_journal_is_set_aside_and_the_chain_goes_on() {
        let ruin: [&dyn Fn(&Path); 3] = [
            &|path| {
                let mut bytes = fs_err::read(path).unwrap();
                bytes[10] ^= 0x80;
                fs_err::write(path, bytes).unwrap();
            },
            &|path| {
                fs_err::remove_file(path).unwrap();
                fs_err::create_dir(path).unwrap();
            },
            &|path| {
                fs_err::remove_file(path).unwrap();
                fs_err::os::unix::fs::symlink(path, path).unwrap();
            },
        ];
        for ruin in ruin {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path());
            run(&store, &["a"]);
            let path = run(&store, &["b"]);
            ruin(&path);
            assert_eq!(broken(&store).len(), 1);
            let (journal, told) = Journal::start(&store, "p", &json!({"event": "start"})).unwrap();
            journal.end(&store, &json!({"event": "summary"})).unwrap();
            assert_eq!(told.unwrap().path, path);
            run(&store, &["c"]);
            assert_eq!(broken(&store), Vec::<String>::new());
            assert_eq!(store.damaged_files().unwrap().len(), 1);
            assert_eq!(runs(&store).unwrap().len(), 3, "all but the damaged one");
        }
    }

    #[test]
    fn a_changed_and_a_missing_journal_are_mended_by_stubs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let paths = ["a", "b", "c", "d"].map(|job| run(&store, &[job]));
        let cut: String =
            fs_err::read_to_string(&paths[1]).unwrap().lines().take(1).map(|line| format!("{line}\n")).collect();
        fs_err::write(&paths[1], cut).unwrap();
        fs_err::remove_file(&paths[2]).unwrap();
        let (_, found) = check(&store).unwrap();
        assert_eq!(found.iter().map(|broken| &broken.path).collect::<Vec<_>>(), [&paths[2]]);
        found.iter().for_each(|broken| set_aside(&store, broken).unwrap());
        assert_eq!(broken(&store), Vec::<String>::new());
    }

    #[test]
    fn jobs_that_were_found_done_are_listed_once_for_all_runs_that_find_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let found = |job: &str| Found {
            job: job.to_owned(),
            stage: "s".to_owned(),
            kind: "k".to_owned(),
            key: Key::of(job.as_bytes()),
        };
        for jobs in [["a", "b"], ["b", "a"], ["a", "c"]] {
            let (mut journal, _) = Journal::start(&store, "p", &json!({"event": "start"})).unwrap();
            jobs.iter().for_each(|job| journal.found(found(job)));
            journal.end(&store, &json!({"event": "summary"})).unwrap();
        }
        let lists = fs_err::read_dir(store.root().join("runs/p/found")).unwrap();
        let lists: Vec<PathBuf> = lists.map(|item| item.unwrap().path()).collect();
        assert_eq!(lists.len(), 2);
        let runs = runs(&store).unwrap();
        assert_eq!((&runs[1].events[1]["job"], &runs[1].events[1]["state"]), (&json!("a"), &json!("cached")));
        lists.iter().for_each(|list| fs_err::remove_file(list).unwrap());
        assert!(broken(&store).iter().all(|what| what.contains("the list of jobs")) && broken(&store).len() == 3);
    }

    #[test]
    fn old_journals_are_folded_into_what_they_named_and_the_chain_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let named = |job: &str| json!({"event": "job", "job": job, "key": Key::of(job.as_bytes())});
        for round in 1..=4 {
            for job in ["a", "b"] {
                let start = json!({"event": "start", "time": format!("2026-0{round}")});
                let (mut journal, _) = Journal::start(&store, "p", &start).unwrap();
                journal.add(&named(job)).unwrap();
                journal.end(&store, &json!({"event": "summary"})).unwrap();
            }
            let fold = foldable(&store, 1).unwrap();
            assert_eq!(fold.runs, if round == 1 { 1 } else { 3 });
            fold.apply(&store, &|_| true).unwrap();
            assert_eq!(broken(&store), Vec::<String>::new());
            assert_eq!(foldable(&store, 1).unwrap().runs, 0);
        }
        let uses: Vec<String> =
            folded(&store).unwrap().into_iter().map(|(_, used)| used.job + " " + &used.time).collect();
        assert_eq!(uses, ["a 2026-04", "b 2026-03"]);
        // The fold attests the end of the last journal that is gone.
        let newest = line::names(&store).unwrap().pop().unwrap().path;
        let text = fs_err::read_to_string(&newest).unwrap();
        let after = text.split("\"line\":\"").nth(1).unwrap()[..64].to_owned();
        fs_err::write(&newest, text.replace(&after, &"0".repeat(64))).unwrap();
        assert!(!broken(&store).is_empty());
    }
}
