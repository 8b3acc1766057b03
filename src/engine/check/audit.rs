//! The audit of a store: every blob hashed again, every key derived again, every seal and journal checked, and the results
//! of a pipeline followed back to the files that they were made from.

use super::require::{self, Doubt, Requirements, Trusted};
use crate::engine::plan::Plan;
use crate::engine::run::Unavailable;
use crate::engine::run::state::{Question, State, survey};
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::files::{self, again};
use crate::engine::store::journal::chain::{self, Broken};
use crate::engine::store::{Damage, Store, Wrong};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What an audit found.
#[derive(Debug, Default, Serialize)]
pub struct Audit {
    /// Entries.
    pub entries: usize,
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files outside that entries refer to.
    pub external: usize,
    /// Blobs that no entry needs.
    pub unreferenced: usize,
    /// Journals.
    pub runs: usize,
    /// Entries of a newer program, which were not looked at.
    pub newer: usize,
    /// The results of a pipeline followed to their sources, if one was named.
    pub lineage: Option<Lineage>,
    /// Whose signatures the results have, if some are required.
    pub trusted: Option<Trusted>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// How far the results of a pipeline could be followed.
#[derive(Debug, Default, Serialize)]
pub struct Lineage {
    /// Jobs of the pipeline.
    pub jobs: usize,
    /// Those of them that have a result.
    pub cached: usize,
    /// Entries on the way from the results to their sources.
    pub entries: usize,
    /// The files where all ways end.
    pub sources: Vec<PathBuf>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// What.
    pub what: String,
    /// The blob, entry, file or journal.
    pub path: PathBuf,
    /// The jobs that made or used it, with their pipelines.
    pub jobs: Vec<String>,
    /// Whether it was set aside, so that the next run makes it anew.
    pub repaired: bool,
    #[serde(skip)]
    mend: Option<Mend>,
    /// Nothing is damaged, but it is not such as is required.
    #[serde(skip)]
    is_doubt: bool,
}

/// What sets something aside that is wrong.
#[derive(Debug)]
enum Mend {
    /// A blob or an entry goes, with the entries that need it.
    Damage(Damage, Vec<Key>),
    /// A journal goes.
    Journal(Broken),
    /// What is remembered of a file goes.
    Remembered(PathBuf),
}

impl Problem {
    fn new(what: String, path: PathBuf, jobs: Vec<String>, mend: Option<Mend>) -> Self {
        Self { what, path, jobs, repaired: false, mend, is_doubt: false }
    }

    /// Whether it is whole, but not such as is required.
    pub fn is_doubt(&self) -> bool {
        self.is_doubt
    }
}

/// Audits a store, the lineage of a plan's results, and whether that lineage, or without a plan all that is there, is such as is
/// required.
///
/// # Errors
/// If the store cannot be read. What is damaged is in the result.
pub fn audit(store: &Arc<Store>, plan: Option<&Plan>, required: Option<&Requirements>) -> anyhow::Result<Audit> {
    store.is_folder().map_err(|error| Unavailable(error.to_string()))?;
    let catalog = Catalog::read(store)?;
    let blobs = store.blobs()?;
    let mut audit = Audit {
        entries: catalog.entries().len() + catalog.damaged.len(),
        blobs: blobs.len(),
        bytes: blobs.iter().map(|(_, size)| size).sum(),
        newer: catalog.newer.len(),
        ..Audit::default()
    };
    audit.check_entries(store, &catalog);
    audit.check_blobs(store, &catalog, &blobs);
    let hashed = audit.check_external(&catalog);
    audit.check_remembered(store, &hashed);
    audit.check_journals(store)?;
    audit.check_recorded(store, &catalog);
    let results = match plan {
        Some(plan) => audit.follow(store, plan, &catalog)?,
        None => catalog.entries().iter().map(|entry| entry.key).collect(),
    };
    if let Some(required) = required {
        audit.check_required(store, &catalog, &results, required)?;
    }
    Ok(audit)
}

impl Audit {
    /// Whether nothing is wrong, or everything that was is set aside.
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|problem| problem.repaired)
    }

    fn check_entries(&mut self, store: &Store, catalog: &Catalog) {
        for damage in &catalog.damaged {
            let Damage::Entry { key, why } = damage else { continue };
            let mend = Mend::Damage(Damage::Entry { key: *key, why: why.clone() }, vec![*key]);
            let what = format!("entry `{key}` is damaged: {why}");
            self.problems.push(Problem::new(what, store.entry_path(key), catalog.jobs(key), Some(mend)));
        }
    }

    fn check_blobs(&mut self, store: &Store, catalog: &Catalog, blobs: &[(Digest, u64)]) {
        let needed = catalog.entries().iter().flat_map(|entry| entry.blobs().map(|(_, digest, _)| digest));
        let needed: BTreeSet<Digest> = needed.collect();
        let there: BTreeSet<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        let unneeded = there.difference(&needed);
        self.unreferenced = unneeded.clone().count();
        let all: Vec<&Digest> = needed.iter().chain(unneeded).collect();
        let hashed = all.into_par_iter().map(|digest| (digest, files::hash(&store.blob_path(digest))));
        for (digest, found) in hashed.collect::<Vec<_>>() {
            // What is being removed by somebody else goes after the entries that need it.
            let makers = catalog.makers(digest).map(|(entry, _)| entry.key);
            let makers: Vec<Key> = makers.filter(|key| store.entry_path(key).exists()).collect();
            let artifact = artifact(catalog, digest);
            let (path, jobs) = (store.blob_path(digest), catalog.users(digest));
            match Wrong::of(found, digest) {
                Ok(None) => {}
                Ok(Some(Wrong::Missing)) if makers.is_empty() => {}
                Ok(Some(wrong)) => {
                    let damage = Damage::Blob { digest: *digest, artifact, wrong };
                    let what = damage.to_string();
                    self.problems.push(Problem::new(what, path, jobs, Some(Mend::Damage(damage, makers))));
                }
                Err(error) => self.problems.push(unreadable(&artifact, path, jobs, &error)),
            }
        }
    }

    /// Checks files outside that entries refer to; gives their digests.
    fn check_external(&mut self, catalog: &Catalog) -> BTreeMap<PathBuf, Digest> {
        let parts = catalog.entries().iter().flat_map(Entry::external);
        let paths: BTreeSet<_> = parts.map(|(_, part, path)| (path, part.digest)).collect();
        self.external = paths.len();
        let hash = |path: &PathBuf| (path.clone(), files::hash(path));
        let hashed: BTreeMap<PathBuf, io::Result<Digest>> =
            paths.iter().map(|(path, _)| *path).collect::<BTreeSet<_>>().into_par_iter().map(hash).collect();
        for (path, digest) in paths {
            let (artifact, jobs) = (artifact(catalog, &digest), catalog.users(&digest));
            let found = hashed[path].as_ref().copied().map_err(again);
            match Wrong::of(found, &digest) {
                Ok(None) => {}
                Ok(Some(wrong)) => {
                    let what = Damage::External { path: path.clone(), artifact, wrong }.to_string();
                    self.problems.push(Problem::new(what, path.clone(), jobs, None));
                }
                Err(error) => self.problems.push(unreadable(&artifact, path.clone(), jobs, &error)),
            }
        }
        hashed.into_iter().filter_map(|(path, digest)| Some((path, digest.ok()?))).collect()
    }

    /// Hashes again what runs would not, since its size and times are what they were when it was hashed last.
    fn check_remembered(&mut self, store: &Store, hashed: &BTreeMap<PathBuf, Digest>) {
        for path in store.files().mistaken(hashed) {
            let what = format!(
                "`{}` changed, but not its size and times: results of what it was are taken for up to date",
                path.display()
            );
            let mend = Mend::Remembered(path.clone());
            self.problems.push(Problem::new(what, path, Vec::new(), Some(mend)));
        }
    }

    fn check_journals(&mut self, store: &Store) -> io::Result<()> {
        let (runs, broken) = chain::check(store)?;
        self.runs = runs;
        for broken in broken {
            let name = broken.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let what = format!("journal `{name}`: {}", broken.what);
            self.problems.push(Problem::new(what, broken.path.clone(), Vec::new(), Some(Mend::Journal(broken))));
        }
        Ok(())
    }

    /// Compares what entries say that their jobs made with what the journals say.
    fn check_recorded(&mut self, store: &Store, catalog: &Catalog) {
        for entry in catalog.entries() {
            let Some(output) = catalog.contradicted(entry) else { continue };
            let job = &entry.provenance.job;
            let what =
                format!("entry `{}`: `{output}` of `{job}` is not what any run journaled that it made", entry.key);
            let path = store.entry_path(&entry.key);
            let damage = Damage::Entry { key: entry.key, why: "no run made it".to_owned() };
            let mend = Some(Mend::Damage(damage, vec![entry.key]));
            self.problems.push(Problem::new(what, path, catalog.jobs(&entry.key), mend));
        }
    }

    fn check_required(
        &mut self,
        store: &Store,
        catalog: &Catalog,
        results: &BTreeSet<Key>,
        required: &Requirements,
    ) -> anyhow::Result<()> {
        let (trusted, doubts) = require::check(store, catalog, results, required)?;
        self.trusted = Some(trusted);
        for Doubt { what, path, key } in doubts {
            let jobs = key.map_or_else(Vec::new, |key| catalog.jobs(&key));
            self.problems.push(Problem { is_doubt: true, ..Problem::new(what, path, jobs, None) });
        }
        Ok(())
    }

    /// From every result of the plan to what it was made from, until only files are left. Gives all that is on the way.
    fn follow(&mut self, store: &Arc<Store>, plan: &Plan, catalog: &Catalog) -> anyhow::Result<BTreeSet<Key>> {
        let states = survey(plan, store, &Question::default())?;
        let cached: Vec<_> = states.iter().filter(|job| job.state == State::Cached).collect();
        let mut open: Vec<Key> = cached.iter().filter_map(|job| job.key).collect();
        let mut lineage = Lineage { jobs: states.len(), cached: cached.len(), ..Lineage::default() };
        let (mut seen, mut sources) = (BTreeSet::new(), BTreeSet::new());
        while let Some(key) = open.pop() {
            let Some(entry) = catalog.entry(&key).filter(|_| seen.insert(key)) else { continue };
            for (role, digest) in &entry.recipe.inputs {
                let origin = entry.provenance.inputs.iter().find(|o| o.role == *role && o.digest == *digest);
                let maker = catalog.origins(digest).first().map(|maker| maker.key);
                match (origin.and_then(|origin| origin.file.clone()), maker) {
                    (Some(file), _) => drop(sources.insert(file)),
                    (None, Some(maker)) => open.push(maker),
                    (None, None) if !store.entry_path(&key).exists() => {}
                    (None, None) => {
                        let short = digest.short();
                        let what = format!("input `{role}` ({short}): no entry made it and it is not a file");
                        self.problems.push(Problem::new(what, store.entry_path(&key), catalog.jobs(&key), None));
                    }
                }
            }
        }
        lineage.entries = seen.len();
        lineage.sources = sources.into_iter().collect();
        self.lineage = Some(lineage);
        Ok(seen)
    }

    /// Sets aside what is damaged, with the entries that need it, so that the next run makes it anew. Files outside cannot be
    /// repaired.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn repair(&mut self, store: &Store) -> io::Result<()> {
        for problem in &mut self.problems {
            match &problem.mend {
                None => continue,
                Some(Mend::Damage(damage, keys)) => {
                    store.set_aside(damage)?;
                    keys.iter().try_for_each(|key| store.set_entry_aside(key))?;
                }
                Some(Mend::Journal(broken)) => chain::set_aside(store, broken)?,
                Some(Mend::Remembered(path)) => store.files().forget(path),
            }
            problem.repaired = true;
        }
        store.files().save()
    }
}

fn unreadable(artifact: &str, path: PathBuf, jobs: Vec<String>, error: &io::Error) -> Problem {
    Problem::new(format!("`{artifact}` cannot be read: {error}"), path, jobs, None)
}

/// What people call the artifact with this digest.
fn artifact(catalog: &Catalog, digest: &Digest) -> String {
    let maker = catalog.makers(digest).next();
    maker.map_or_else(|| "nothing known".to_owned(), |(entry, name)| format!("{}.{name}", entry.provenance.job))
}
