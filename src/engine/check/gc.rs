//! What of a store can go. Results stay that a manifest or a recent run names, with everything that they were made from;
//! these are its *roots*.
//!
//! A kill at any instant leaves a whole store: entries go first, and only what no entry needs goes after them. Whoever
//! removes holds the store alone, so nothing goes that a run has found or is writing.

use crate::engine::plan::Plan;
use crate::engine::run::state::{Question, survey};
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::journal::fold::{Fold, foldable};
use crate::engine::store::journal::{self, Use};
use crate::engine::store::names::remove_all;
use crate::engine::store::provenance;
use crate::engine::store::{Hold, Store};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A blob without an entry must have rested so long: on file systems without locks its job may be at work elsewhere.
const REST: Duration = Duration::from_secs(3600);
/// Journals of each pipeline that stay as they are, for `spot diff`.
const WHOLE_RUNS: usize = 20;

/// What stays beside what the manifests need.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What a given number of last runs of each pipeline named.
    pub keep_runs: usize,
    /// What was made, or used by a run, within this time.
    pub younger_than: Option<Duration>,
    /// The most bytes that may stay: beyond, results go even if roots keep them, the least recently used first.
    pub max_size: Option<u64>,
    /// The saved work of interrupted jobs goes too.
    pub partial: bool,
}

/// A reason for results to stay.
#[derive(Clone, Debug)]
pub struct Root {
    /// What people call it.
    pub name: String,
    /// The results that it names.
    keys: BTreeSet<Key>,
    /// Jobs whose saved work it needs.
    resumable: BTreeSet<Key>,
}

/// An entry.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// The jobs that made or found it, with their pipelines.
    pub jobs: Vec<String>,
    /// The kind of its job.
    pub kind: String,
    /// When it was made or a run last found it.
    pub used: String,
    /// Bytes of its blobs, those that others need included.
    pub bytes: u64,
    /// The roots that keep it. Only `max_size` makes something go that a root keeps.
    pub kept_by: Vec<String>,
}

/// Something that goes and is not an entry.
#[derive(Clone, Debug, Serialize)]
pub struct Extra {
    /// What it is.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

/// What stays in a store and what goes.
#[derive(Debug, Default, Serialize)]
pub struct Sweep {
    /// Entries that stay.
    pub stays: Vec<Item>,
    /// Entries that go, in this order: what was made from others before them.
    pub goes: Vec<Item>,
    /// Saved work of jobs, and files that were set aside as damaged, that go.
    pub extras: Vec<Extra>,
    /// Bytes of entries and blobs that stay.
    pub bytes: u64,
    /// Bytes that become free.
    pub freed: u64,
    /// Number of blobs that stay.
    pub blobs: usize,
    /// Number of blobs that go.
    pub dropped_blobs: usize,
    /// Blobs without an entry that stay, since they are young or an entry cannot be read.
    pub waiting_blobs: usize,
    /// Folders of saved work of interrupted jobs that stay.
    pub resumable: usize,
    /// Entries that cannot be read.
    pub unreadable: usize,
    /// Folders of views that lead nowhere.
    pub views: usize,
    /// Journals of old runs that are folded into one.
    pub runs: usize,
    #[serde(skip)]
    blobs_to_drop: Vec<Digest>,
    #[serde(skip)]
    views_to_drop: Vec<PathBuf>,
    #[serde(skip)]
    fold: Fold,
}

impl Root {
    /// A manifest under one profile: what its jobs would be served. Of jobs that are to run, the last result stays, and that
    /// of jobs whose turn is not known yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn of_plan(plan: &Plan, store: &Arc<Store>) -> anyhow::Result<Self> {
        let profile = plan.profile.as_ref().map_or_else(String::new, |profile| format!(" ({profile})"));
        let name = format!("`{}`{profile}", plan.path.display());
        let mut root = Self { name, keys: BTreeSet::new(), resumable: BTreeSet::new() };
        let views = store.all_views()?.into_iter().filter(|(pipeline, ..)| *pipeline == plan.name);
        let views: BTreeMap<String, Key> = views.map(|(_, job, key)| (job, key)).collect();
        for job in survey(plan, store, &Question::default())? {
            root.keys.extend(job.key);
            root.resumable.extend(job.key);
            if job.entry.is_none() {
                root.keys.extend(store.viewed(&plan.name, &job.job));
                root.keys.extend(views.get(&job.job));
                let asked_for = format!("{}/", job.job);
                let children = views.range(asked_for.clone()..).take_while(|(name, _)| name.starts_with(&asked_for));
                root.keys.extend(children.map(|(_, key)| *key));
            }
        }
        Ok(root)
    }
}

impl Root {
    /// What the views of a pipeline show and what its last runs named, for a manifest that cannot be planned. `None` stands for all
    /// pipelines but `others`, where not even the name of the pipeline can be read. Nothing that could be resumed goes either.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn of_unplanned(
        path: &Path,
        pipeline: Option<&str>,
        others: &BTreeSet<String>,
        store: &Store,
    ) -> io::Result<Self> {
        let name = format!("`{}`, which cannot be planned", path.display());
        let is_meant = |known: &str| pipeline.map_or(!others.contains(known), |pipeline| pipeline == known);
        let views = store.all_views()?.into_iter().filter(|(known, ..)| is_meant(known));
        let mut keys: BTreeSet<Key> = views.map(|(.., key)| key).collect();
        for run in journal::runs(store)?.iter().filter(|run| is_meant(&run.pipeline)) {
            keys.extend(run.keys());
        }
        Ok(Self { name, keys, resumable: store.scratch_keys()?.into_iter().collect() })
    }
}

/// Decides what goes. Nothing is changed.
///
/// # Errors
/// If the store cannot be read.
pub fn sweep(store: &Store, mut roots: Vec<Root>, policy: &Policy) -> io::Result<Sweep> {
    let catalog = Catalog::read(store)?;
    let used = Uses::read(store, &catalog, &mut roots, policy)?;
    roots.push(made_from(&catalog, &roots));
    let kept: BTreeSet<Key> = roots.iter().flat_map(|root| root.keys.iter().copied()).collect();
    let mut stock = Stock::take(store, &catalog, &kept)?;
    if let Some(most) = policy.max_size {
        stock.shrink(&catalog, &used, most);
    }
    let mut sweep =
        Sweep { bytes: stock.bytes, unreadable: catalog.damaged.len() + catalog.newer.len(), ..Sweep::default() };
    for entry in catalog.entries() {
        let item = item(&catalog, entry, &used, &roots);
        if stock.stays.contains(&entry.key) { sweep.stays.push(item) } else { sweep.goes.push(item) }
    }
    sweep.blobs(store, &catalog, &stock, policy)?;
    sweep.extras(store, &catalog, &roots, policy)?;
    let gone: BTreeSet<Key> = sweep.goes.iter().map(|item| item.key).collect();
    let order: BTreeMap<Key, usize> = Unread::of(&catalog, &used, &gone).zip(0..).collect();
    sweep.goes.sort_by_key(|item| order.get(&item.key).copied().unwrap_or(usize::MAX));
    for (folder, key) in store.view_folders()? {
        if gone.contains(&key) || !store.entry_path(&key).exists() {
            sweep.views_to_drop.push(folder);
        }
    }
    sweep.views = sweep.views_to_drop.len();
    sweep.fold = foldable(store, WHOLE_RUNS.max(policy.keep_runs))?;
    sweep.runs = sweep.fold.runs;
    sweep.freed += sweep.fold.bytes;
    Ok(sweep)
}

fn item(catalog: &Catalog, entry: &Entry, used: &Uses, roots: &[Root]) -> Item {
    let keeping = roots.iter().filter(|root| root.keys.contains(&entry.key));
    Item {
        key: entry.key,
        jobs: catalog.jobs(&entry.key),
        kind: entry.recipe.kind.clone(),
        used: used.of(entry).to_owned(),
        bytes: entry.blobs().map(|(_, _, size)| size).sum(),
        kept_by: keeping.map(|root| root.name.clone()).collect(),
    }
}

/// When entries were used last, in the form of [`provenance::now`], which sorts as text.
struct Uses(BTreeMap<Key, String>);

impl Uses {
    /// Reads the journals; what the last runs named, and what was used of late, become roots.
    fn read(store: &Store, catalog: &Catalog, roots: &mut Vec<Root>, policy: &Policy) -> io::Result<Self> {
        let mut used: BTreeMap<Key, String> =
            catalog.entries().iter().map(|entry| (entry.key, entry.provenance.end.clone())).collect();
        let mut runs: BTreeMap<String, Vec<BTreeSet<Key>>> = BTreeMap::new();
        let mut note = |key: &Key, time: &str| {
            if let Some(last) = used.get_mut(key).filter(|last| last.as_str() < time) {
                time.clone_into(last);
            }
        };
        for (_, Use { key, time, .. }) in journal::folded(store)? {
            note(&key, &time);
        }
        for run in journal::runs(store)? {
            let (pipeline, keys) = (run.pipeline.clone(), run.keys());
            let time = run.events.first().and_then(|start| start["time"].as_str()).unwrap_or_default();
            keys.iter().for_each(|key| note(key, time));
            runs.entry(pipeline).or_default().push(keys);
        }
        for (pipeline, runs) in runs {
            let last = runs.into_iter().rev().take(policy.keep_runs);
            let (mut count, mut keys) = (0, BTreeSet::new());
            last.for_each(|run| {
                count += 1;
                keys.extend(run);
            });
            let name = if count == 1 {
                format!("the last run of `{pipeline}`")
            } else {
                format!("the last {count} runs of `{pipeline}`")
            };
            roots.push(Root { name, keys, resumable: BTreeSet::new() });
        }
        if let Some(age) = policy.younger_than {
            let since = provenance::ago(age);
            let keys = used.iter().filter(|(_, last)| **last >= since).map(|(key, _)| *key).collect();
            roots.push(Root { name: format!("used since {since}"), keys, resumable: BTreeSet::new() });
        }
        Ok(Self(used))
    }

    fn of(&self, entry: &Entry) -> &str {
        self.0.get(&entry.key).map_or("", String::as_str)
    }
}

/// What the results of the other roots were made from, back to the sources, where no root names it itself: without it they
/// could not be audited. Of several entries that made the same bytes, the newest is taken.
fn made_from(catalog: &Catalog, roots: &[Root]) -> Root {
    let mut kept: BTreeSet<Key> = roots.iter().flat_map(|root| root.keys.iter().copied()).collect();
    let mut open: Vec<Key> = kept.iter().copied().collect();
    let mut keys = BTreeSet::new();
    while let Some(entry) = open.pop().and_then(|key| catalog.entry(&key)) {
        for (_, digest) in &entry.recipe.inputs {
            let makers = catalog.origins(digest);
            if makers.iter().any(|maker| kept.contains(&maker.key)) {
                continue;
            }
            let newest = makers.into_iter().max_by(|a, b| (&a.provenance.end, a.key).cmp(&(&b.provenance.end, b.key)));
            if let Some(newest) = newest {
                kept.insert(newest.key);
                keys.insert(newest.key);
                open.push(newest.key);
            }
        }
    }
    Root { name: "what these were made from".to_owned(), keys, resumable: BTreeSet::new() }
}

/// The entries that stay, and what they take.
struct Stock {
    stays: BTreeSet<Key>,
    /// Blobs with their size and the number of entries that stay and need them.
    blobs: BTreeMap<Digest, (u64, usize)>,
    /// Bytes of the files of entries.
    files: BTreeMap<Key, u64>,
    bytes: u64,
}

impl Stock {
    fn take(store: &Store, catalog: &Catalog, kept: &BTreeSet<Key>) -> io::Result<Self> {
        let mut stock = Self { stays: BTreeSet::new(), blobs: BTreeMap::new(), files: BTreeMap::new(), bytes: 0 };
        for entry in catalog.entries().iter().filter(|entry| kept.contains(&entry.key)) {
            let size = size(&store.entry_path(&entry.key))?;
            stock.bytes += size;
            stock.files.insert(entry.key, size);
            stock.stays.insert(entry.key);
            for (digest, size) in blobs(entry) {
                let (_, needed) = stock.blobs.entry(digest).or_insert((size, 0));
                stock.bytes += if *needed == 0 { size } else { 0 };
                *needed += 1;
            }
        }
        Ok(stock)
    }

    /// Lets entries go until the rest takes no more than `most` bytes.
    fn shrink(&mut self, catalog: &Catalog, used: &Uses, most: u64) {
        let mut unread = Unread::of(catalog, used, &self.stays);
        while self.bytes > most {
            let Some(key) = unread.next() else { return };
            self.let_go(catalog, &key);
        }
    }

    fn let_go(&mut self, catalog: &Catalog, key: &Key) {
        self.stays.remove(key);
        self.bytes -= self.files.remove(key).unwrap_or(0);
        for (digest, size) in catalog.entry(key).into_iter().flat_map(blobs) {
            let Some((_, needed)) = self.blobs.get_mut(&digest) else { continue };
            *needed -= 1;
            if *needed == 0 {
                self.bytes -= size;
            }
        }
    }
}

/// Some entries, those first that none of the rest was made from; among these the one that was used longest ago. So whatever
/// is left at any instant can be followed to its sources. What is made from itself in a circle never comes.
struct Unread<'a> {
    catalog: &'a Catalog,
    used: &'a Uses,
    /// What each entry was made from, of those that are left.
    sources: BTreeMap<Key, BTreeSet<Key>>,
    /// How many of those that are left were made from each.
    readers: BTreeMap<Key, usize>,
    /// Those that none was made from, by their last use.
    free: BTreeSet<(&'a str, Key)>,
}

impl<'a> Unread<'a> {
    fn of(catalog: &'a Catalog, used: &'a Uses, keys: &BTreeSet<Key>) -> Self {
        let mut unread =
            Self { catalog, used, sources: BTreeMap::new(), readers: BTreeMap::new(), free: BTreeSet::new() };
        for entry in keys.iter().filter_map(|key| catalog.entry(key)) {
            let makers = entry.recipe.inputs.iter().flat_map(|(_, digest)| catalog.origins(digest));
            let makers = makers.map(|maker| maker.key).filter(|key| *key != entry.key && keys.contains(key));
            let makers: BTreeSet<Key> = makers.collect();
            makers.iter().for_each(|maker| *unread.readers.entry(*maker).or_default() += 1);
            unread.sources.insert(entry.key, makers);
        }
        for key in keys.iter().filter(|key| !unread.readers.contains_key(key)) {
            unread.free.extend(dated(catalog, used, *key));
        }
        unread
    }
}

impl Iterator for Unread<'_> {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        let (_, key) = self.free.pop_first()?;
        for maker in self.sources.remove(&key).unwrap_or_default() {
            let left = self.readers.entry(maker).or_default();
            *left -= 1;
            if *left == 0 {
                self.free.extend(dated(self.catalog, self.used, maker));
            }
        }
        Some(key)
    }
}

/// An entry with its last use.
fn dated<'a>(catalog: &'a Catalog, used: &'a Uses, key: Key) -> Option<(&'a str, Key)> {
    Some((used.of(catalog.entry(&key)?), key))
}

/// The blobs of an entry, each once.
fn blobs(entry: &Entry) -> BTreeMap<Digest, u64> {
    entry.blobs().map(|(_, digest, size)| (digest, size)).collect()
}

impl Sweep {
    /// Which blobs go: those of entries that go, and those that have had no entry for a while.
    fn blobs(&mut self, store: &Store, catalog: &Catalog, stock: &Stock, policy: &Policy) -> io::Result<()> {
        let known: BTreeSet<Digest> = catalog.entries().iter().flat_map(|entry| blobs(entry).into_keys()).collect();
        let rest = REST.max(policy.younger_than.unwrap_or_default());
        for (digest, size) in store.blobs()? {
            let needed = stock.blobs.get(&digest).is_some_and(|(_, needed)| *needed > 0);
            let waits = !needed
                && !known.contains(&digest)
                && (self.unreadable > 0 || !rested(&store.blob_path(&digest), rest)?);
            if needed || waits {
                self.blobs += 1;
                self.waiting_blobs += usize::from(waits);
            } else {
                self.blobs_to_drop.push(digest);
                self.freed += size;
            }
        }
        self.dropped_blobs = self.blobs_to_drop.len();
        for item in &self.goes {
            self.freed += size(&store.entry_path(&item.key))?;
        }
        Ok(())
    }

    /// Which saved work goes, and which damaged files.
    fn extras(&mut self, store: &Store, catalog: &Catalog, roots: &[Root], policy: &Policy) -> io::Result<()> {
        let old = |path: &Path| policy.younger_than.map_or(Ok(false), |age| rested(path, age));
        for key in store.scratch_keys()? {
            let path = store.scratch_path(&key);
            let wanted = roots.iter().any(|root| root.resumable.contains(&key));
            let what = match catalog.entry(&key) {
                Some(_) => "saved work of a job that is done",
                None if policy.partial || !wanted && old(&path)? => "saved work of an interrupted job",
                None => {
                    self.resumable += 1;
                    continue;
                }
            };
            let bytes = size(&path)?;
            self.freed += bytes;
            self.extras.push(Extra { what, path, bytes });
        }
        for path in store.damaged_files()? {
            if old(&path)? {
                let bytes = size(&path)?;
                self.freed += bytes;
                self.extras.push(Extra { what: "set aside as damaged", path, bytes });
            }
        }
        Ok(())
    }

    /// Removes what goes. The store must be held alone since before it was decided.
    ///
    /// # Errors
    /// If something cannot be removed; what is left is whole, and the next try goes on.
    pub fn apply(&self, store: &Store, _alone: &Hold) -> io::Result<()> {
        let keys: Vec<Key> = self.goes.iter().map(|item| item.key).collect();
        store.drop_entries(&keys)?;
        self.blobs_to_drop.iter().try_for_each(|digest| store.drop_blob(digest))?;
        self.views_to_drop.iter().try_for_each(|folder| store.drop_views(folder))?;
        self.extras.iter().try_for_each(|extra| remove_all(&extra.path))?;
        let stays: BTreeSet<Key> = self.stays.iter().map(|item| item.key).collect();
        self.fold.apply(store, &|key| stays.contains(key))?;
        // While the store is held alone no job runs; what they show of themselves was left by those that were killed.
        remove_all(&store.curves())?;
        for key in store.lock_keys()? {
            // Left behind by a kill; to give a lock back is to remove it.
            drop(store.lock(&key, || false)?);
        }
        store.prepare()
    }
}

/// Whether nothing in a file or folder changed for so long.
fn rested(path: &Path, rest: Duration) -> io::Result<bool> {
    let Some(meta) = there(fs_err::symlink_metadata(path))? else { return Ok(true) };
    if meta.is_dir() {
        for item in there(fs_err::read_dir(path))?.into_iter().flatten() {
            if !rested(&item?.path(), rest)? {
                return Ok(false);
            }
        }
    }
    Ok(SystemTime::now().duration_since(meta.modified()?).unwrap_or_default() >= rest)
}

/// Bytes of a file, or of the files in a folder; links are not followed.
fn size(path: &Path) -> io::Result<u64> {
    let Some(meta) = there(fs_err::symlink_metadata(path))? else { return Ok(0) };
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    there(fs_err::read_dir(path))?.into_iter().flatten().map(|item| size(&item?.path())).sum()
}

/// What there is, if it is not just being removed by somebody else.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
