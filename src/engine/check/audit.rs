//! The audit of a store: every blob hashed again, every key derived again, every seal and journal checked, and the results
//! of a pipeline followed back to the files that they were made from.

use crate::engine::plan::Plan;
use crate::engine::run::state::{Question, State, survey};
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::files;
use crate::engine::store::journal;
use crate::engine::store::{Damage, Store};
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
    /// The results of a pipeline followed to their sources, if one was named.
    pub lineage: Option<Lineage>,
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
    damage: Option<(Damage, Vec<Key>)>,
}

/// Audits a store, and the lineage of a plan's results.
///
/// # Errors
/// If the store cannot be read. What is damaged is in the result.
pub fn audit(store: &Arc<Store>, plan: Option<&Plan>) -> anyhow::Result<Audit> {
    let catalog = Catalog::read(store)?;
    let blobs = store.blobs()?;
    let mut audit = Audit {
        entries: catalog.entries().len() + catalog.damaged.len(),
        blobs: blobs.len(),
        bytes: blobs.iter().map(|(_, size)| size).sum(),
        ..Audit::default()
    };
    audit.check_entries(store, &catalog);
    audit.check_blobs(store, &catalog, &blobs)?;
    audit.check_external(&catalog)?;
    audit.check_journals(store)?;
    if let Some(plan) = plan {
        audit.follow(store, plan, &catalog)?;
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
            let damage = Damage::Entry { key: *key, why: why.clone() };
            self.problems.push(Problem {
                what: format!("entry `{key}` is damaged: {why}"),
                path: store.entry_path(key),
                jobs: catalog.jobs(key),
                repaired: false,
                damage: Some((damage, vec![*key])),
            });
        }
    }

    fn check_blobs(&mut self, store: &Store, catalog: &Catalog, blobs: &[(Digest, u64)]) -> io::Result<()> {
        let hashed: io::Result<Vec<(Digest, Digest)>> =
            blobs.par_iter().map(|(digest, _)| Ok((*digest, files::hash(&store.blob_path(digest))?))).collect();
        let hashed: BTreeMap<Digest, Digest> = hashed?.into_iter().collect();
        let needed: BTreeSet<Digest> =
            catalog.entries().iter().flat_map(|entry| entry.blobs().map(|(_, digest, _)| digest)).collect();
        self.unreferenced = hashed.keys().filter(|digest| !needed.contains(digest)).count();
        for digest in needed.iter().chain(hashed.keys().filter(|digest| !needed.contains(digest))) {
            let artifact = artifact(catalog, digest);
            let damage = match hashed.get(digest) {
                Some(found) if found == digest => continue,
                Some(_) => Damage::Corrupt { digest: *digest, artifact },
                None => Damage::Missing { digest: *digest, artifact },
            };
            self.problems.push(Problem {
                what: damage.to_string(),
                path: store.blob_path(digest),
                jobs: catalog.users(digest),
                repaired: false,
                damage: Some((damage, catalog.makers(digest).map(|(entry, _)| entry.key).collect())),
            });
        }
        Ok(())
    }

    fn check_external(&mut self, catalog: &Catalog) -> io::Result<()> {
        let parts = catalog.entries().iter().flat_map(Entry::external);
        let paths: BTreeSet<_> = parts.map(|(_, part, path)| (path, part.digest)).collect();
        self.external = paths.len();
        for (path, digest) in paths {
            let what = match files::hash(path) {
                Ok(found) if found == digest => continue,
                Ok(_) => "changed",
                Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
                Err(error) => return Err(error),
            };
            let damage = Damage::External { path: path.clone(), artifact: artifact(catalog, &digest), what };
            let (what, path, jobs) = (damage.to_string(), path.clone(), catalog.users(&digest));
            self.problems.push(Problem { what, path, jobs, repaired: false, damage: None });
        }
        Ok(())
    }

    fn check_journals(&mut self, store: &Store) -> io::Result<()> {
        let (runs, broken) = journal::check(store)?;
        self.runs = runs;
        for journal::Broken { path, what } in broken {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let what = format!("journal `{name}`: {what}");
            self.problems.push(Problem { what, path, jobs: Vec::new(), repaired: false, damage: None });
        }
        Ok(())
    }

    /// From every result of the plan to what it was made from, until only files are left.
    fn follow(&mut self, store: &Arc<Store>, plan: &Plan, catalog: &Catalog) -> anyhow::Result<()> {
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
                    (None, None) => self.problems.push(Problem {
                        what: format!("input `{role}` ({}): no entry made it and it is no file", digest.short()),
                        path: store.entry_path(&key),
                        jobs: catalog.jobs(&key),
                        repaired: false,
                        damage: None,
                    }),
                }
            }
        }
        lineage.entries = seen.len();
        lineage.sources = sources.into_iter().collect();
        self.lineage = Some(lineage);
        Ok(())
    }

    /// Sets aside what is damaged, with the entries that need it, so that the next run makes it anew. Journals and files
    /// outside cannot be repaired.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn repair(&mut self, store: &Store) -> io::Result<()> {
        for problem in &mut self.problems {
            let Some((damage, keys)) = &problem.damage else { continue };
            store.set_aside(damage)?;
            for key in keys {
                store.set_entry_aside(key)?;
            }
            problem.repaired = true;
        }
        Ok(())
    }
}

/// What people call the artifact with this digest.
fn artifact(catalog: &Catalog, digest: &Digest) -> String {
    let maker = catalog.makers(digest).next();
    maker.map_or_else(|| "nothing known".to_owned(), |(entry, name)| format!("{}.{name}", entry.provenance.job))
}
