//! All entries of a store at once: who made what, from what, and what used it.

use super::digest::{Digest, Key};
use super::entry::Entry;
use super::journal;
use super::{Damage, Newer, Store};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// All entries of a store, and the jobs that they belong to.
pub struct Catalog {
    entries: Vec<Entry>,
    /// Entries that cannot be read.
    pub damaged: Vec<Damage>,
    /// Entries that a newer program wrote.
    pub newer: Vec<Key>,
    jobs: BTreeMap<Key, BTreeSet<(String, String)>>,
    makers: BTreeMap<Digest, Vec<(usize, String)>>,
    readers: BTreeMap<Digest, Vec<(usize, String)>>,
    recorded: BTreeMap<Key, Vec<Recorded>>,
    /// When the last run began that has no end, be it at work or killed.
    unfinished: Option<String>,
}

/// What a run journaled that a job made.
struct Recorded {
    /// When the run began.
    time: String,
    outputs: BTreeMap<String, Digest>,
}

impl Catalog {
    /// Reads all entries, views and journals of a store.
    ///
    /// # Errors
    /// If it cannot be read; damaged entries are not an error.
    pub fn read(store: &Store) -> io::Result<Self> {
        let mut catalog = Self {
            entries: Vec::new(),
            damaged: Vec::new(),
            newer: Vec::new(),
            jobs: BTreeMap::new(),
            makers: BTreeMap::new(),
            readers: BTreeMap::new(),
            recorded: BTreeMap::new(),
            unfinished: None,
        };
        for key in store.keys()? {
            match store.entry(&key) {
                Ok(Ok(Some(entry))) => catalog.add(entry),
                // It is just being removed.
                Ok(Ok(None)) => {}
                Ok(Err(damage)) => catalog.damaged.push(damage),
                Err(error) if Newer::is(&error) => catalog.newer.push(key),
                Err(error) => catalog.damaged.push(Damage::Entry { key, why: format!("it cannot be read: {error}") }),
            }
        }
        let misplaced = store.misplaced()?.into_iter();
        let why = "it is in the wrong folder";
        catalog.damaged.extend(misplaced.map(|(key, _)| Damage::Entry { key, why: why.to_owned() }));
        for (pipeline, job, key) in store.all_views()? {
            catalog.jobs.entry(key).or_default().insert((pipeline, job));
        }
        catalog.read_journals(store)?;
        Ok(catalog)
    }

    fn add(&mut self, entry: Entry) {
        let at = self.entries.len();
        for artifact in &entry.artifacts {
            let parts = artifact.parts.iter().map(|part| (part.digest, format!("{}/{}", artifact.name, part.name)));
            for (digest, name) in std::iter::once((artifact.digest, artifact.name.clone())).chain(parts) {
                self.makers.entry(digest).or_default().push((at, name));
            }
        }
        for (role, digest) in &entry.recipe.inputs {
            self.readers.entry(*digest).or_default().push((at, role.clone()));
        }
        let provenance = &entry.provenance;
        let job = (provenance.pipeline.clone(), provenance.job.clone());
        self.jobs.entry(entry.key).or_default().insert(job);
        self.entries.push(entry);
    }

    fn read_journals(&mut self, store: &Store) -> io::Result<()> {
        for run in journal::runs(store)? {
            let time = run.events.first().and_then(|start| start["time"].as_str()).unwrap_or_default().to_owned();
            if run.events.last().is_none_or(|last| last["event"] != "summary") {
                self.unfinished = self.unfinished.take().max(Some(time.clone()));
            }
            for event in run.events {
                self.record(&time, &event);
                let key = event["key"].as_str().and_then(|key| key.parse().ok());
                if let (Some(job), Some(key)) = (event["job"].as_str(), key) {
                    self.jobs.entry(key).or_default().insert((run.pipeline.clone(), job.to_owned()));
                }
            }
        }
        for (pipeline, used) in journal::folded(store)? {
            // What a run made of which only the uses are remembered is not known any more.
            self.recorded.remove(&used.key);
            self.jobs.entry(used.key).or_default().insert((pipeline, used.job));
        }
        Ok(())
    }

    fn record(&mut self, time: &str, event: &Value) {
        let Some(outputs) = event["outputs"].as_object() else { return };
        let outputs: Option<BTreeMap<String, Digest>> =
            outputs.iter().map(|(name, digest)| Some((name.clone(), digest.as_str()?.parse().ok()?))).collect();
        let key = event["key"].as_str().and_then(|key| key.parse().ok());
        if let (Some(key), Some(outputs)) = (key, outputs) {
            self.recorded.entry(key).or_default().push(Recorded { time: time.to_owned(), outputs });
        }
    }

    /// An output of an entry that no run journaled, though runs journaled its job. Runs that did not come to their end may have made
    /// it without a word, and so may those of which only the uses are remembered.
    pub fn contradicted<'e>(&self, entry: &'e Entry) -> Option<&'e str> {
        let recorded = self.recorded.get(&entry.key)?;
        let first = recorded.iter().map(|recorded| &recorded.time).min()?;
        if self.unfinished.as_ref().is_some_and(|time| time >= first) {
            return None;
        }
        let differs = |recorded: &Recorded| {
            let other =
                entry.artifacts.iter().find(|record| recorded.outputs.get(&record.name) != Some(&record.digest));
            other.map(|record| record.name.as_str())
        };
        recorded.iter().map(differs).reduce(Option::and).flatten()
    }

    /// The entries, by key.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this key.
    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.entries.binary_search_by_key(key, |entry| entry.key).ok().map(|at| &self.entries[at])
    }

    /// The jobs, with their pipelines, that made, found or wanted the entry with this key: `pipeline: job`.
    pub fn jobs(&self, key: &Key) -> Vec<String> {
        let jobs = self.jobs.get(key).into_iter().flatten();
        jobs.map(|(pipeline, job)| format!("{pipeline}: {job}")).collect()
    }

    /// The entries whose artifacts have this digest, and the names of those (`prompt`, `backbone/weights`).
    pub fn makers(&self, digest: &Digest) -> impl Iterator<Item = (&Entry, &str)> {
        self.makers.get(digest).into_iter().flatten().map(|(at, name)| (&self.entries[*at], name.as_str()))
    }

    /// As [`makers`](Self::makers), without those that have it from another and only pass it on, unless there are no others.
    pub fn origins(&self, digest: &Digest) -> Vec<&Entry> {
        let reads = |entry: &Entry| entry.recipe.inputs.iter().any(|(_, read)| read == digest);
        let makers: Vec<&Entry> = self.makers(digest).map(|(entry, _)| entry).collect();
        let origins: Vec<&Entry> = makers.iter().copied().filter(|entry| !reads(entry)).collect();
        if origins.is_empty() { makers } else { origins }
    }

    /// The entries that read something with this digest, and in what role.
    pub fn readers(&self, digest: &Digest) -> impl Iterator<Item = (&Entry, &str)> {
        self.readers.get(digest).into_iter().flatten().map(|(at, role)| (&self.entries[*at], role.as_str()))
    }

    /// The jobs that made or read something with this digest.
    pub fn users(&self, digest: &Digest) -> Vec<String> {
        let entries = self.makers(digest).chain(self.readers(digest)).map(|(entry, _)| entry.key);
        let keys: BTreeSet<Key> = entries.collect();
        let jobs: BTreeSet<String> = keys.iter().flat_map(|key| self.jobs(key)).collect();
        jobs.into_iter().collect()
    }
}
