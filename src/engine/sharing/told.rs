//! What names alone tell: for each entry an empty object whose name has the digests of what the job made.
//!
//! A worker that walks a plan needs of the jobs before its own nothing but these digests, which enter the keys of those after them.
//! One listing has a thousand of them, so workers do not ask for every entry of every other. What is told is a hint: whoever takes an
//! entry checks it, and takes back what was told of one that is not there or cannot be used.

use super::Sharing;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::Entry;
use crate::panic::lock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of these objects.
pub(super) const FOLDER: &str = "told";
/// As many digests as a file's name of 255 bytes has room for beside the key.
const MOST: usize = 4;
/// Bytes of a digest or key.
const WIDTH: usize = 32;
/// Names in one answer of a bucket.
const PAGE: usize = 1000;

/// What was told at the last look.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The last look at all, and how long it took.
    all_at: Option<Instant>,
    took: Duration,
    /// The last look at keys that begin so, since then.
    near_at: HashMap<u8, Instant>,
    /// By key; more than one of a key if others told different things.
    outputs: HashMap<Key, Vec<Outputs>>,
    /// Of results that are there and were not told of at the last look.
    untold: HashMap<Key, Outputs>,
}

/// The digests of what a job made, in the order of its kind; of none it is only told that there is a result.
type Outputs = Arc<[Digest]>;

/// The name that tells of a result.
fn name_of(key: &Key, outputs: &[Digest]) -> String {
    let bytes: Vec<u8> = key.bytes().iter().chain(outputs.iter().flat_map(Digest::bytes)).copied().collect();
    format!("{FOLDER}/{}/{}", &key.to_string()[..2], URL_SAFE_NO_PAD.encode(bytes))
}

/// What a name tells.
fn read(name: &str) -> Option<(Key, Outputs)> {
    let bytes = URL_SAFE_NO_PAD.decode(name.rsplit_once('/')?.1).ok()?;
    let (hashes, rest) = bytes.as_chunks::<WIDTH>();
    let (key, outputs) = hashes.split_first()?;
    let outputs: Outputs = outputs.iter().map(|bytes| Digest::from_bytes(*bytes)).collect();
    (rest.is_empty() && outputs.len() <= MOST).then(|| (Key::from_bytes(*key), outputs))
}

/// The key of the result that a name tells of.
pub(super) fn key_of(name: &str) -> Option<Key> {
    read(name).map(|(key, _)| key)
}

/// What is told of an entry; of files that only some machines have, and of many outputs, nothing but that it is there.
fn outputs_of(entry: &Entry) -> Outputs {
    let is_plain = entry.artifacts.len() <= MOST && entry.external().next().is_none();
    entry.artifacts.iter().filter(|_| is_plain).map(|record| record.digest).collect()
}

impl Sharing {
    /// Looks which results are there, unless that was done a moment ago: less than `rest`, or than many times what it takes. If only
    /// results are of interest whose keys begin with these bytes, only they are looked for, where that is less to list.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn look(&self, rest: Duration, beginnings: Option<&BTreeSet<u8>>) -> anyhow::Result<()> {
        const SELDOM: u32 = 10;
        let (few, is_due) = {
            let told = lock(&self.told);
            let few = beginnings.filter(|bytes| told.all_at.is_some() && bytes.len() < told.outputs.len() / PAGE);
            let took = if told.outputs.len() < PAGE { Duration::ZERO } else { told.took };
            (few, told.all_at.is_none_or(|at| at.elapsed() >= rest.max(took * SELDOM)))
        };
        match few {
            Some(bytes) => self.look_for(bytes, rest),
            None if is_due => self.look_at_all(),
            None => Ok(()),
        }
    }

    /// Looks whether one result is there, and others whose keys begin alike, unless that was done less than `rest` ago.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn look_near(&self, key: &Key, rest: Duration) -> anyhow::Result<()> {
        self.look_for(&BTreeSet::from([key.bytes()[0]]), rest)
    }

    fn listed(&self, folder: &str, outputs: &mut HashMap<Key, Vec<Outputs>>) -> anyhow::Result<()> {
        for listed in self.objects.list(folder).map_err(|error| self.failed(&error))? {
            let Some((key, made)) = read(&listed.name) else { continue };
            outputs.entry(key).or_default().push(made);
        }
        Ok(())
    }

    fn look_for(&self, beginnings: &BTreeSet<u8>, rest: Duration) -> anyhow::Result<()> {
        let due: BTreeSet<u8> = {
            let told = lock(&self.told);
            let last = |byte: &u8| told.near_at.get(byte).copied().max(told.all_at);
            let is_due = |byte: &&u8| last(byte).is_none_or(|at| at.elapsed() >= rest);
            beginnings.iter().filter(is_due).copied().collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let mut outputs = HashMap::new();
        for byte in &due {
            self.listed(&format!("{FOLDER}/{byte:02x}"), &mut outputs)?;
        }
        let (mut told, now) = (lock(&self.told), Instant::now());
        told.outputs.retain(|key, _| !due.contains(&key.bytes()[0]));
        told.outputs.extend(outputs);
        told.near_at.extend(due.into_iter().map(|byte| (byte, now)));
        Ok(())
    }

    fn look_at_all(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut outputs = HashMap::new();
        self.listed(FOLDER, &mut outputs)?;
        let now = Instant::now();
        let untold = {
            let mut told = lock(&self.told);
            let untold = std::mem::take(&mut told.untold);
            *told = Told { all_at: Some(now), took: now - start, outputs, ..Told::default() };
            untold
        };
        // Who brought them has not told by now: he was killed between the two, or is an earlier program.
        for (key, outputs) in untold {
            self.tell_outputs(&key, outputs)?;
        }
        Ok(())
    }

    /// Tells of what is there and was not told of, if anything of that kind was seen since the last look.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn tell_untold(&self) -> anyhow::Result<()> {
        if lock(&self.told).untold.is_empty() { Ok(()) } else { self.look_at_all() }
    }

    /// An entry is there; if that is not told by the next look, it is told then.
    pub(super) fn is_there(&self, entry: &Entry) {
        let mut told = lock(&self.told);
        if self.writes() && !told.outputs.contains_key(&entry.key) {
            told.untold.insert(entry.key, outputs_of(entry));
        }
    }

    /// Whether a result was there at the last look.
    pub fn is_listed(&self, key: &Key) -> bool {
        lock(&self.told).outputs.contains_key(key)
    }

    /// The digests of what a job made, if they were told at the last look, and one thing only.
    pub fn told(&self, key: &Key) -> Option<Arc<[Digest]>> {
        match lock(&self.told).outputs.get(key)?.as_slice() {
            [outputs] if !outputs.is_empty() => Some(outputs.clone()),
            _ => None,
        }
    }

    /// Tells the others of an entry that is there, unless that was done.
    pub(super) fn tell(&self, entry: &Entry) -> anyhow::Result<()> {
        self.tell_outputs(&entry.key, outputs_of(entry))
    }

    fn tell_outputs(&self, key: &Key, outputs: Outputs) -> anyhow::Result<()> {
        if lock(&self.told).outputs.get(key).is_some_and(|told| **told == [outputs.clone()]) {
            return Ok(());
        }
        self.objects.put(&name_of(key, &outputs), b"").map_err(|error| self.failed(&error))?;
        lock(&self.told).outputs.insert(*key, vec![outputs]);
        Ok(())
    }

    /// Takes back what was told of a result which is not there, cannot be used or is another: otherwise workers would take its job for
    /// done. That this fails is no error, since the next who finds out does it.
    pub fn untell(&self, key: &Key) {
        lock(&self.peeked).remove(key);
        let told = {
            let mut told = lock(&self.told);
            told.untold.remove(key);
            told.outputs.remove(key)
        };
        if self.writes() {
            for outputs in told.unwrap_or_default() {
                let _ = self.objects.remove(&name_of(key, &outputs));
            }
        }
    }

    /// As [`untell`](Self::untell), of one that is about to be replaced by another, whatever others told of it.
    pub(super) fn untell_all(&self, key: &Key) -> anyhow::Result<()> {
        self.untell(key);
        let folder = format!("{FOLDER}/{}", &key.to_string()[..2]);
        for listed in self.objects.list(&folder).map_err(|error| self.failed(&error))? {
            if key_of(&listed.name) == Some(*key) {
                self.objects.remove(&listed.name).map_err(|error| self.failed(&error))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_results_only_those_are_looked_for_that_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let sharing = Sharing::over(crate::remote::folder(folder.path()));
        let key = |i: usize| Key::of(&i.to_le_bytes());
        let name = |key: &Key| name_of(key, &[Digest::of(b"made")]);
        // Files without more ado: a place would sync each.
        let put = |key: &Key| {
            let path = folder.path().join(name(key));
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        };
        let known: Vec<Key> = (0..2 * PAGE).map(key).collect();
        known.iter().for_each(put);
        let byte = known[0].bytes()[0];
        let new = (2 * PAGE..).map(key).find(|key| key.bytes()[0] == byte).unwrap();
        let other = *known.iter().find(|key| key.bytes()[0] != byte).unwrap();
        let beginnings = BTreeSet::from([byte]);
        sharing.look(Duration::ZERO, Some(&beginnings)).unwrap();
        assert!(known.iter().all(|key| sharing.is_listed(key)), "the first look is at all");
        put(&new);
        fs_err::remove_file(folder.path().join(name(&known[0]))).unwrap();
        fs_err::remove_file(folder.path().join(name(&other))).unwrap();
        sharing.look(Duration::ZERO, Some(&beginnings)).unwrap();
        assert!(sharing.is_listed(&new) && !sharing.is_listed(&known[0]));
        assert!(sharing.is_listed(&other), "it was not looked for");
        sharing.look_near(&other, Duration::ZERO).unwrap();
        assert!(!sharing.is_listed(&other) && sharing.told(&new).is_some());
    }

    #[test]
    fn names_tell_keys_and_outputs_and_fit_any_file_system() {
        let key = Key::of(b"recipe");
        let digests: Vec<Digest> = (0..MOST as u8).map(|i| Digest::of(&[i])).collect();
        for n in 0..=MOST {
            let name = name_of(&key, &digests[..n]);
            assert!(name.rsplit_once('/').unwrap().1.len() <= 255, "{name}");
            let (read_key, outputs) = read(&name).unwrap();
            assert_eq!((read_key, &*outputs), (key, &digests[..n]));
        }
        let name = name_of(&key, &digests);
        for wrong in ["told/ab/", "told", "told/ab/x", &name[..name.len() - 2], &format!("{name}{}", "A".repeat(43))] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
