//! Signed runs, a chain for each key, pipeline and store. The end of every chain is noted in the project, where whoever can write the
//! store cannot reach it, so that no run can be taken away: neither from the middle of a chain nor from its end. Every store has a name
//! and a file there of its own, so that several machines can work for one project.

use crate::engine::signing::{Named, Signer};
use crate::engine::store::Store;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::journal;
use crate::engine::store::names::file_name;
use crate::engine::store::provenance;
use crate::engine::store::signed::{Signature, Signed};
use crate::replace::replace;
use crate::trust::key::random_name;
use crate::trust::statement::Subject;
use crate::trust::{PublicKey, Statement};
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What kind of statement it is.
const PREDICATE: &str = "urn:spot:run:v1";
/// Version of the format of the file of ends.
const VERSION: u32 = 1;

/// A run as a key signs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    pipeline: String,
    /// The name of its journal.
    run: String,
    /// Of the journal's last line, to which all others are chained.
    line: Digest,
    program: String,
    time: String,
    made: Vec<Made>,
    /// Its place in the chain, from 1.
    number: u64,
    /// The first run of the chain, and the one before this; the first has neither.
    first: Option<Digest>,
    before: Option<Digest>,
}

/// A result that a run made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::engine) struct Made {
    /// The job.
    pub(in crate::engine) job: String,
    /// Names the entry.
    pub(in crate::engine) key: Key,
    /// Of the entry's text.
    pub(in crate::engine) entry: Digest,
}

/// The end of a chain, as the project notes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// The id of the key.
    key: String,
    pipeline: String,
    first: Digest,
    /// How many runs the chain has.
    number: u64,
    last: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    version: u32,
    chains: Vec<End>,
}

impl Ends {
    /// The ends of chains that a project notes of a store; `None` if it knows of no such store.
    fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs_err::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let ends: Self = serde_json::from_str(&text).with_context(|| {
            format!("`{}` is not the list of signed runs that spot keeps; take it from version control", path.display())
        })?;
        ensure!(
            ends.version == VERSION,
            "`{}` has version {}, and this program reads {VERSION}",
            path.display(),
            ends.version
        );
        Ok(Some(ends))
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        let temp = path.with_extension(format!("{}.new", std::process::id()));
        Ok(replace(path, &temp, |file| file.write_all(text.as_bytes()))?)
    }
}

/// The signed runs of a key and a pipeline in a store: by the first run of their chain, and their number.
type Chains = BTreeMap<Digest, BTreeMap<u64, Link>>;

/// A signed run in its chain.
struct Link {
    digest: Digest,
    said: Said,
    path: PathBuf,
}

fn chains(signed: &[Signed], pipeline: &str, key: &PublicKey) -> Chains {
    let mut chains = Chains::new();
    for signed in signed {
        let Some(payload) = signed.statement_by(key) else { continue };
        let said = Statement::from_json(&payload, PREDICATE).ok();
        let said = said.and_then(|statement| serde_json::from_value::<Said>(statement.predicate).ok());
        let Some(said) = said.filter(|said| file_name(&said.pipeline) == pipeline) else { continue };
        let digest = Digest::of(&payload);
        let link = Link { digest, said, path: signed.path.clone() };
        chains.entry(link.said.first.unwrap_or(digest)).or_default().insert(link.said.number, link);
    }
    chains
}

impl Signer {
    /// Makes the store known to the project, before anything in it is signed.
    ///
    /// # Errors
    /// If the store or the project cannot be written, or the system has no randomness.
    pub fn introduce(&self, store: &Store) -> anyhow::Result<()> {
        let name = match store.name()? {
            Some(name) => name,
            None => {
                let name = random_name()?;
                store.set_name(&name)?;
                name
            }
        };
        let path = of_store(&self.ends, &name);
        if Ends::read(&path)?.is_none() {
            Ends { version: VERSION, chains: Vec::new() }.write(&path)?;
        }
        Ok(())
    }

    /// Signs a run that has ended, and notes in the project that it is the last one.
    ///
    /// # Errors
    /// If the store or the project cannot be written, or the system has no randomness.
    pub(in crate::engine) fn ran(
        &self,
        store: &Store,
        pipeline: &str,
        ended: &journal::Ended,
        made: Vec<Made>,
    ) -> anyhow::Result<()> {
        let key = Key::of(format!("signed runs of {pipeline}").as_bytes());
        let _lock = store.lock(&key, || true)?;
        let name = store.name()?.context("the store has lost its name while it was at work")?;
        let path = of_store(&self.ends, &name);
        let mut ends = Ends::read(&path)?.with_context(|| format!("`{}` is gone", path.display()))?;
        let folder = file_name(pipeline);
        let signed = store.signed_runs()?.into_iter().find(|(name, _)| *name == folder);
        let chains = signed.map(|(name, signed)| chains(&signed, &name, &self.public)).unwrap_or_default();
        let before = self.goes_on_from(&chains, &ends, pipeline);
        let said = Said {
            pipeline: pipeline.to_owned(),
            run: ended.run.clone(),
            line: ended.line,
            program: provenance::program(),
            time: provenance::now(),
            made,
            number: before.map_or(1, |(_, link)| link.said.number + 1),
            first: before.map(|(first, _)| *first),
            before: before.map(|(_, link)| link.digest),
        };
        let (number, first) = (said.number, said.first);
        let subject = Subject::new(format!("{pipeline}/{}", ended.run), [("blake3", ended.line.to_string())]);
        let statement = Statement::new(vec![subject], PREDICATE, serde_json::to_value(said)?);
        let last = Digest::of(statement.to_json().as_bytes());
        // What the project notes must be there.
        store.sync_names(&store.root().join("runs").join(&folder).join(&ended.run))?;
        let signed_path = store.signed_run_path(pipeline, &ended.run, &self.public);
        store.keep_signature(&Signature { path: signed_path, text: self.sign(&statement)? })?;
        let end =
            End { key: self.public.id(), pipeline: pipeline.to_owned(), first: first.unwrap_or(last), number, last };
        ends.chains.retain(|chain| chain.first != end.first);
        ends.chains.push(end);
        ends.write(&path)
    }

    /// The end of the newest chain of this store, if it is whole: the project knows of no run after it.
    fn goes_on_from<'a>(&self, chains: &'a Chains, ends: &Ends, pipeline: &str) -> Option<(&'a Digest, &'a Link)> {
        let mut last: Vec<(&Digest, &Link)> =
            chains.iter().filter_map(|(first, chain)| Some((first, chain.last_key_value()?.1))).collect();
        last.sort_by(|a, b| (&a.1.said.time, a.0).cmp(&(&b.1.said.time, b.0)));
        let (first, link) = last.pop()?;
        let id = self.public.id();
        let end = ends.chains.iter().find(|end| end.first == *first && end.key == id && end.pipeline == pipeline);
        end.is_none_or(|end| end.last == link.digest).then_some((first, link))
    }
}

/// Something that is wrong with signed runs.
#[derive(Debug, PartialEq)]
pub(in crate::engine) struct Wrong {
    pub(in crate::engine) path: PathBuf,
    pub(in crate::engine) what: String,
}

/// The signed runs of a store.
#[derive(Default)]
pub(in crate::engine) struct Runs {
    /// How many.
    pub(in crate::engine) count: usize,
    /// What is wrong with them.
    pub(in crate::engine) wrong: Vec<Wrong>,
    /// The entry that the last of them made of each key, and when that run ended.
    made: BTreeMap<Key, (String, Digest)>,
}

impl Runs {
    fn add(&mut self, said: &Said) {
        for Made { key, entry, .. } in &said.made {
            let last = self.made.entry(*key).or_insert_with(|| (said.time.clone(), *entry));
            *last = last.clone().max((said.time.clone(), *entry));
        }
    }

    /// Whether an entry, with this digest of its text and made at this time, was replaced by a signed run.
    pub(in crate::engine) fn replaced(&self, key: &Key, entry: &Digest, end: &str) -> bool {
        self.made.get(key).is_some_and(|(time, last)| last != entry && end <= time.as_str())
    }
}

/// Where a project notes the ends of the chains of a store.
fn of_store(ends: &Path, name: &str) -> PathBuf {
    ends.join(format!("{name}.json"))
}

/// Checks the signed runs of these keys against each other, against their journals, and against what the project notes.
///
/// # Errors
/// If the store or the file of ends cannot be read.
pub(in crate::engine) fn check(store: &Store, keys: &[Named], ends: &Path) -> anyhow::Result<Runs> {
    let (name, all) = (store.name()?, store.signed_runs()?);
    let mut runs = Runs::default();
    let path = of_store(ends, name.as_deref().unwrap_or("none"));
    let Some(ends) = name.as_ref().map_or(Ok(None), |_| Ends::read(&path))? else {
        let what = match name {
            Some(name) => format!("the project knows no store `{name}`: it has no `{}`", path.display()),
            None => "nothing was ever signed in this store, or it has lost its name".to_owned(),
        };
        runs.wrong.push(Wrong { path: store.root().join("signed"), what });
        return Ok(runs);
    };
    for Named { name, key } in keys {
        let id = key.id();
        let mut known: Vec<&End> = ends.chains.iter().filter(|end| end.key == id).collect();
        for (pipeline, signed) in &all {
            for (first, chain) in chains(signed, pipeline, key) {
                runs.count += chain.len();
                chain.values().for_each(|link| runs.add(&link.said));
                let at = known.iter().position(|end| end.first == first && file_name(&end.pipeline) == *pipeline);
                let end = at.map(|at| known.swap_remove(at));
                runs.wrong.extend(check_chain(name, &first, &chain, end));
                runs.wrong.extend(chain.values().filter_map(|link| check_journal(store, name, link)));
            }
        }
        for end in known {
            let (number, pipeline) = (end.number, &end.pipeline);
            let what = format!(
                "{number} signed runs of `{pipeline}` by `{name}`, which the project notes, were removed; if you know why, take \
                 them out of the file"
            );
            runs.wrong.push(Wrong { path: path.clone(), what });
        }
    }
    Ok(runs)
}

/// Whether a chain has all its links, up to the end that the project notes.
fn check_chain(name: &str, first: &Digest, chain: &BTreeMap<u64, Link>, end: Option<&End>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut before: Option<Digest> = None;
    let mut expected = 1;
    for (number, link) in chain {
        let Link { digest, said, path } = link;
        let follows = *number == expected && said.before == before && said.first == before.and(Some(*first));
        if !follows {
            let what = format!("signed run {expected} of `{}` by `{name}` was removed or replaced", said.pipeline);
            wrong.push(Wrong { path: path.clone(), what });
        }
        (before, expected) = (Some(*digest), number + 1);
    }
    if let (Some(end), Some((_, last))) = (end, chain.last_key_value())
        && (last.said.number < end.number || last.said.number == end.number && last.digest != end.last)
    {
        let (pipeline, number) = (&end.pipeline, end.number);
        let what = format!(
            "signed run {number} of `{pipeline}` by `{name}`, which the project notes, was removed or replaced"
        );
        wrong.push(Wrong { path: last.path.clone(), what });
    }
    wrong
}

/// Whether the journal of a signed run is the one that was signed. Old ones are folded.
fn check_journal(store: &Store, name: &str, link: &Link) -> Option<Wrong> {
    let Said { pipeline, run, line, .. } = &link.said;
    let wrong = |path: &Path, how: &str| {
        let what = format!("the journal `{run}` of `{pipeline}` {how} after `{name}` had signed it");
        Some(Wrong { path: path.to_owned(), what })
    };
    let path = store.root().join("runs").join(file_name(pipeline)).join(run);
    match journal::last_line(store, pipeline, run) {
        journal::Last::Line(last) if last == *line => None,
        journal::Last::Folded => None,
        journal::Last::Line(_) | journal::Last::Damaged => wrong(&path, "was changed"),
        journal::Last::Missing => wrong(&path, "was removed"),
    }
}
