//! What a store must show before somebody else believes it: every result made by keys that are trusted, by a program that is new enough,
//! from a backbone that is known, and executed again by another key. Nothing here believes the store; it only compares signatures.

use crate::engine::signing::again::Again;
use crate::engine::signing::runs::{self, Runs};
use crate::engine::signing::{Named, made};
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::engine::store::signed::Signed;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is required.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// One of these keys made every result.
    pub made_by: Vec<Named>,
    /// This version of the program made it, or a newer one.
    pub program: Option<Version>,
    /// All artifacts of a type have digests that begin so.
    pub artifacts: Option<(String, Vec<String>)>,
    /// One of these keys, and not the one that made it, executed a job of each kind again, and the same bytes came out.
    pub rerun_by: Vec<Named>,
    /// The folder where the project notes the last signed run of each pipeline, a file for each store.
    pub ends: PathBuf,
}

/// A version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u64; 3]);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trusted {
    /// Results that were looked at.
    pub results: usize,
    /// By name of the key, how many of them it made.
    pub made_by: BTreeMap<String, usize>,
    /// By name of the key, how many of them it executed again.
    pub rerun_by: BTreeMap<String, usize>,
    /// Signed runs.
    pub runs: usize,
}

/// What is not as it is required.
pub(super) struct Doubt {
    pub(super) what: String,
    pub(super) path: PathBuf,
    pub(super) key: Option<Key>,
}

impl Version {
    /// Reads `0.1.0`; what follows a `-` or `+` does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?.split('.');
        let numbers: Option<Vec<u64>> = numbers.map(|number| number.parse().ok()).collect();
        numbers?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Looks at results, and at the signed runs of a store.
///
/// # Errors
/// If the store, or what the project notes, cannot be read.
pub(super) fn check(
    store: &Store,
    catalog: &Catalog,
    results: &BTreeSet<Key>,
    required: &Requirements,
) -> anyhow::Result<(Trusted, Vec<Doubt>)> {
    let needs_runs = !results.is_empty() && !required.made_by.is_empty();
    let mut runs = if needs_runs { runs::check(store, &required.made_by, &required.ends)? } else { Runs::default() };
    let wrong = std::mem::take(&mut runs.wrong).into_iter();
    let doubts = wrong.map(|wrong| Doubt { what: wrong.what, path: wrong.path, key: None }).collect();
    let trusted = Trusted { runs: runs.count, ..Trusted::default() };
    let mut checking = Checking { store, required, runs, trusted, doubts };
    let mut kinds: BTreeMap<&str, bool> = BTreeMap::new();
    for entry in results.iter().filter_map(|key| catalog.entry(key)) {
        let was_rerun = checking.entry(entry)?;
        *kinds.entry(&entry.recipe.kind).or_default() |= was_rerun;
    }
    if !required.rerun_by.is_empty() {
        for (kind, _) in kinds.iter().filter(|(_, was_rerun)| !**was_rerun) {
            let names = named(&required.rerun_by);
            let what = format!(
                "no job of the kind `{kind}` was executed again by {names} and by whoever made it not; `spot audit PIPE --rerun N \
                 --sign KEY` does that"
            );
            checking.doubts.push(Doubt { what, path: store.root().join("signed"), key: None });
        }
    }
    Ok((checking.trusted, checking.doubts))
}

struct Checking<'a> {
    store: &'a Store,
    required: &'a Requirements,
    runs: Runs,
    trusted: Trusted,
    doubts: Vec<Doubt>,
}

impl Checking<'_> {
    /// Checks a result. Whether it was executed again as it should be.
    fn entry(&mut self, entry: &Entry) -> anyhow::Result<bool> {
        // It is just being removed.
        let Some(text) = self.store.entry_bytes(&entry.key)? else { return Ok(false) };
        self.trusted.results += 1;
        let (made, again) = self.store.signatures(&entry.key)?;
        self.made_by(entry, &text, &made);
        self.program(entry);
        self.artifacts(entry);
        Ok(self.again(entry, &text, &made, &again))
    }

    fn doubt(&mut self, entry: &Entry, what: String) {
        let path = self.store.entry_path(&entry.key);
        self.doubts.push(Doubt { what, path, key: Some(entry.key) });
    }

    fn made_by(&mut self, entry: &Entry, text: &[u8], made: &[Signed]) {
        if self.required.made_by.is_empty() {
            return;
        }
        let makers = makers(&self.required.made_by, entry, text, made);
        let is_replaced = self.runs.replaced(&entry.key, &Digest::of(text), &entry.provenance.end);
        if let Some(maker) = makers.first().filter(|_| is_replaced) {
            let (job, key, name) = (&entry.provenance.job, entry.key, &maker.name);
            self.doubt(
                entry,
                format!("entry `{key}` of `{job}` is an older one by `{name}`, which a signed run replaced"),
            );
            return;
        }
        if let Some(maker) = makers.first() {
            *self.trusted.made_by.entry(maker.name.clone()).or_default() += 1;
            return;
        }
        let names = named(&self.required.made_by);
        let job = &entry.provenance.job;
        let signed = |named: &Named| made.iter().any(|signed| signed.statement_by(&named.key).is_some());
        let what = match self.required.made_by.iter().find(|named| signed(named)) {
            Some(Named { name, .. }) => {
                format!("entry `{}` of `{job}` is not the one that `{name}` signed", entry.key)
            }
            None if made.is_empty() => {
                format!("entry `{}` of `{job}` is signed by nobody; required: {names}", entry.key)
            }
            None => {
                format!("entry `{}` of `{job}` is signed by none of the keys that are required: {names}", entry.key)
            }
        };
        self.doubt(entry, what);
    }

    fn program(&mut self, entry: &Entry) {
        let Some(required) = self.required.program else { return };
        let found = &entry.provenance.program;
        if Version::parse(found).is_none_or(|found| found < required) {
            let job = &entry.provenance.job;
            self.doubt(entry, format!("`{job}` was made by spot {found}; required: {required} or newer"));
        }
    }

    fn artifacts(&mut self, entry: &Entry) {
        let Some((of_type, digests)) = &self.required.artifacts else { return };
        let is_known = |digest: &Digest| digests.iter().any(|known| digest.to_string().starts_with(known.as_str()));
        let unknown = entry.artifacts.iter().find(|record| record.r#type == *of_type && !is_known(&record.digest));
        if let Some(record) = unknown {
            let (job, name, digest) = (&entry.provenance.job, &record.name, record.digest.short());
            let what = format!("`{job}.{name}` is the {of_type} `{digest}`; required: `{}`", digests.join("`, `"));
            self.doubt(entry, what);
        }
    }

    /// Whether somebody else executed it again, to the same bytes.
    fn again(&mut self, entry: &Entry, text: &[u8], made: &[Signed], again: &[Signed]) -> bool {
        let mut was_rerun = false;
        for named in &self.required.rerun_by {
            let Named { name, key } = named;
            let payload = again.iter().find_map(|signed| signed.statement_by(key));
            let Some(said) = payload.and_then(|payload| Again::read(&payload).ok()) else { continue };
            let is_own = !makers(std::slice::from_ref(named), entry, text, made).is_empty();
            if said.key != entry.key || said.entry != Digest::of(text) || is_own {
                continue;
            }
            if let Some((output, ..)) = said.differs.first() {
                let job = &entry.provenance.job;
                self.doubts.push(Doubt {
                    what: format!("`{name}` executed `{job}` again, and `{output}` came out otherwise"),
                    path: self.store.entry_path(&entry.key),
                    key: Some(entry.key),
                });
                continue;
            }
            *self.trusted.rerun_by.entry(name.clone()).or_default() += 1;
            was_rerun = true;
        }
        was_rerun
    }
}

/// Those of some keys that signed this very entry as made by them.
fn makers<'k>(keys: &'k [Named], entry: &Entry, text: &[u8], made: &[Signed]) -> Vec<&'k Named> {
    let is_maker = |named: &&Named| {
        let payloads = made.iter().filter_map(|signed| signed.statement_by(&named.key));
        payloads.into_iter().any(|payload| made::is_about(&payload, &entry.key, text))
    };
    keys.iter().filter(is_maker).collect()
}

fn named(keys: &[Named]) -> String {
    keys.iter().map(|named| format!("`{}`", named.name)).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("0.10.0") > version("0.9.1") && version("1.0.0-rc.1+abc") == version("1.0.0"));
        assert_eq!(version("0.1.0").to_string(), "0.1.0");
        assert!(["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.-3"].iter().all(|text| Version::parse(text).is_none()));
    }
}
