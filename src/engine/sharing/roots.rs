//! What of a shared place is needed: what each pipeline used last, kept there as objects; and the removal of everything else.

use super::entries::{blob_name, entry_name, key_of};
use super::{Sharing, entries, told};
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::remote::lease::{CLAIMS, WORKERS};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

/// The folder of roots.
const FOLDER: &str = "roots";
/// What is not needed once it has rested: leases and beats of workers that ended without a word, failures of runs that are over, files
/// that were never named, and this program's own questions for the time.
const LEFT_OVER: [&str; 7] = [CLAIMS, WORKERS, "cancel", "failures", "tmp", "clock", "doctor"];

/// What a pipeline of a project used last.
#[derive(Debug, Serialize, Deserialize)]
struct Root {
    format: u32,
    pipeline: String,
    keys: BTreeSet<Key>,
}

/// What can go from a shared place.
#[derive(Debug, Default, Serialize)]
pub struct Unneeded {
    /// Pipelines that need something there.
    pub roots: usize,
    /// Entries that stay, and bytes of their blobs.
    pub kept: usize,
    /// Bytes of the blobs that stay.
    pub kept_bytes: u64,
    /// Names of the entries that go, of what is told of them before, of the blobs after, and then of what was left over.
    #[serde(skip)]
    pub names: Vec<String>,
    /// How many entries, blobs and other objects go.
    pub entries: usize,
    /// Blobs that go.
    pub blobs: usize,
    /// Other objects that go.
    pub others: usize,
    /// Bytes that go.
    pub bytes: u64,
}

impl Sharing {
    /// Notes what a run of a pipeline used. A run that did not see all of its jobs adds to what was noted before.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn need(&self, pipeline: &str, owner: &str, keys: &BTreeSet<Key>, is_whole: bool) -> anyhow::Result<()> {
        let name = format!("{FOLDER}/{}.json", Digest::of(format!("{owner}\n{pipeline}").as_bytes()));
        // Several workers of one run end at a time, and none may lose what another has noted.
        loop {
            let before = self.objects.get(&name).map_err(|error| self.failed(&error))?;
            let known = before.as_ref().filter(|_| !is_whole);
            let known = known.and_then(|object| serde_json::from_slice::<Root>(&object.bytes).ok());
            let keys = known.into_iter().flat_map(|root| root.keys).chain(keys.iter().copied()).collect();
            let text = serde_json::to_vec(&Root { format: super::FORMAT, pipeline: pipeline.to_owned(), keys })?;
            let written = match before {
                Some(object) => self.objects.replace(&name, &text, &object.version),
                None => self.objects.create(&name, &text),
            };
            if written.map_err(|error| self.failed(&error))?.is_some() {
                return Ok(());
            }
        }
    }

    /// What can go: entries that no pipeline used last, blobs that no other entry needs, and what was left over, all of it older than
    /// `grace` by the clock of the place.
    ///
    /// # Errors
    /// If the place cannot be asked, or there is a root or an entry that cannot be read: then nobody knows what is needed.
    pub fn sweep(&self, grace: Duration) -> anyhow::Result<Unneeded> {
        let list = |folder: &str| self.objects.list(folder).map_err(|error| self.failed(&error));
        let now = self.now()?;
        let has_rested = |written: SystemTime| now.duration_since(written).is_ok_and(|age| age >= grace);
        // Blobs before entries, and these before roots: what comes meanwhile is young, or needed by what is seen later.
        let blobs = list("blobs")?;
        let listed = list(entries::FOLDER)?;
        let told = list(told::FOLDER)?;
        let roots = list(FOLDER)?;
        let mut needed: HashSet<Key> = HashSet::new();
        for root in &roots {
            needed.extend(self.root(&root.name)?.into_iter().flat_map(|root| root.keys));
        }
        if needed.is_empty() && !listed.is_empty() {
            bail!(
                "no pipeline says what it needs (`{FOLDER}/` is empty), so everything would go; a run with this store says so"
            );
        }
        let mut sweep = Unneeded { roots: roots.len(), ..Unneeded::default() };
        let mut blobs_needed: BTreeSet<String> = BTreeSet::new();
        let mut kept: HashSet<Key> = HashSet::new();
        for listed in listed {
            let key = key_of(&listed.name);
            let goes = has_rested(listed.written) && key.is_none_or(|key| !needed.contains(&key));
            if goes {
                sweep.entries += 1;
                sweep.bytes += listed.size;
                sweep.names.push(listed.name);
            } else if let Some(entry) = self.entry(&listed.name)? {
                sweep.kept += 1;
                kept.extend(key);
                blobs_needed.extend(entry.blobs().map(|(_, digest, _)| blob_name(&digest)));
            }
        }
        for partial in list("partial")? {
            blobs_needed.extend(self.files_of(&partial.name)?);
        }
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for blob in blobs {
            if blobs_needed.contains(&blob.name) || !has_rested(blob.written) {
                sweep.kept_bytes += blob.size;
            } else {
                sizes.insert(blob.name, blob.size);
            }
        }
        sweep.blobs = sizes.len();
        sweep.bytes += sizes.values().sum::<u64>();
        sweep.names.extend(sizes.into_keys());
        let is_kept = |name: &str| told::key_of(name).is_some_and(|key| kept.contains(&key));
        let told = told.into_iter().filter(|listed| !is_kept(&listed.name) && has_rested(listed.written));
        let told: Vec<String> = told.map(|listed| listed.name).collect();
        sweep.others += told.len();
        sweep.names.splice(0..0, told);
        for folder in LEFT_OVER {
            for listed in list(folder)?.into_iter().filter(|listed| has_rested(listed.written)) {
                sweep.others += 1;
                sweep.bytes += listed.size;
                sweep.names.push(listed.name);
            }
        }
        Ok(sweep)
    }

    /// Removes what a sweep found, in its order: an entry goes before its blobs.
    ///
    /// # Errors
    /// If something cannot be removed; what is left is found by the next sweep.
    pub fn remove(&self, sweep: &Unneeded) -> anyhow::Result<()> {
        sweep.names.iter().try_for_each(|name| self.objects.remove(name).map_err(|error| self.failed(&error)))
    }

    /// The time by the clock of the place.
    fn now(&self) -> anyhow::Result<SystemTime> {
        let name = format!("clock/{}", crate::remote::lease::nonce());
        self.objects.put(&name, b"what time is it?\n").map_err(|error| self.failed(&error))?;
        let listed = self.objects.list("clock").map_err(|error| self.failed(&error))?;
        self.objects.remove(&name).map_err(|error| self.failed(&error))?;
        let found = listed.into_iter().find(|listed| listed.name == name);
        found.map(|listed| listed.written).context("the store does not list what was written there a moment ago")
    }

    fn root(&self, name: &str) -> anyhow::Result<Option<Root>> {
        // One that was removed meanwhile needs nothing.
        let Some(object) = self.objects.get(name).map_err(|error| self.failed(&error))? else { return Ok(None) };
        let root: Root = serde_json::from_slice(&object.bytes).with_context(|| {
            format!("`{name}` of `{}` cannot be read, so it is not known what is needed", self.address)
        })?;
        if root.format != super::FORMAT {
            bail!(
                "`{name}` of `{}` has format {}, and this program reads {}",
                self.address,
                root.format,
                super::FORMAT
            );
        }
        Ok(Some(root))
    }

    fn entry(&self, name: &str) -> anyhow::Result<Option<Entry>> {
        let Some(object) = self.objects.get(name).map_err(|error| self.failed(&error))? else { return Ok(None) };
        let Some(key) = key_of(name).filter(|key| entry_name(key) == name) else {
            bail!("`{name}` of `{}` is no entry; move it away", self.address)
        };
        let text = String::from_utf8_lossy(&object.bytes);
        let entry = Entry::from_text(&text, key);
        entry.map(Some).with_context(|| {
            format!("`{name}` of `{}` cannot be read, so it is not known which blobs it needs; a run that needs it replaces it", self.address)
        })
    }
}
