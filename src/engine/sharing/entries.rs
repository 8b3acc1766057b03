//! Entries and blobs: pulled from a shared place into the store of this machine, and pushed from there.

use super::Sharing;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::{Entry, Unreadable};
use crate::engine::store::signed::Signature;
use crate::engine::store::{Elsewhere, Newer, Received, Store};
use crate::panic::lock;
use crate::remote::Version;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;

/// The folder of entries.
pub(super) const FOLDER: &str = "entries";
/// How often something is asked for whose bytes come out wrong, since that may be the way and not the place.
pub(super) const ATTEMPTS: usize = 4;
/// Bytes of a blob of which it is asked first whether it is there; shorter ones are sent.
const WORTH_ASKING: u64 = 256 << 10;

/// What became of a wish for a result.
#[derive(Debug)]
pub enum Pulled {
    /// It is in the store of this machine now.
    Hit(Box<Entry>),
    /// It is not there.
    Miss,
    /// It is there, but of files that this machine does not have.
    Foreign,
    /// It is there, but cannot be used: says why. The one who makes it anew replaces it.
    Refused(String),
}

/// What became of a result that was brought there.
#[derive(Debug)]
pub enum Pushed {
    /// It is there now.
    New,
    /// Somebody had brought the same.
    Same,
    /// Somebody had brought something else under this key, which counts. It is in the store of this machine now.
    Other(Box<Entry>),
}

impl Elsewhere for Sharing {
    fn bring(&self, store: &Store, digest: &Digest) -> io::Result<bool> {
        // How long it may be is not known here; what has another digest is thrown away.
        let received = self.bring_blob(store, digest, u64::MAX).map_err(io::Error::other)?;
        Ok(received == Received::Right)
    }
}

/// The name of an entry.
pub(super) fn entry_name(key: &Key) -> String {
    let name = key.to_string();
    format!("{FOLDER}/{}/{name}.json", &name[..2])
}

/// The key of an entry that is called so.
pub(super) fn key_of(name: &str) -> Option<Key> {
    name.rsplit_once('/')?.1.strip_suffix(".json")?.parse().ok()
}

/// The name of a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    let name = digest.to_string();
    format!("blobs/{}/{}", &name[..2], &name[2..])
}

/// An entry that was asked for.
enum Asked {
    Right(Box<Entry>, Version),
    Nothing,
    /// There is one, of this version, that cannot be used.
    Wrong(Version, String),
}

impl Sharing {
    /// Brings a result into the store of this machine: its blobs, each checked, and then its entry.
    ///
    /// # Errors
    /// If the place cannot be asked, or the store of this machine not be written.
    pub fn pull(&self, store: &Store, key: &Key) -> anyhow::Result<Pulled> {
        let (entry, version) = match self.ask(key)? {
            Asked::Nothing => return Ok(self.missed(key)),
            Asked::Wrong(version, why) => return Ok(self.refuse(key, version, why)),
            Asked::Right(entry, version) => (entry, version),
        };
        if let Some(why) = self.bring_blobs(store, &entry)? {
            return Ok(self.refuse(key, version, why));
        }
        for (_, part, path) in entry.external() {
            if store.lacks_file(path, part.size, &part.digest)? {
                return Ok(Pulled::Foreign);
            }
        }
        let signatures = if self.with_signatures { self.signatures(store, key)? } else { Vec::new() };
        store.save(&[&entry], signatures)?;
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Ok(Pulled::Hit(entry))
    }

    /// The entry of a result, whose blobs stay where they are, if all of them are there; asked for once.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn peek(&self, key: &Key) -> anyhow::Result<Pulled> {
        if let Some(entry) = lock(&self.peeked).get(key) {
            return Ok(Pulled::Hit(Box::new(entry.clone())));
        }
        let (entry, version) = match self.ask(key)? {
            Asked::Nothing => return Ok(self.missed(key)),
            Asked::Wrong(version, why) => return Ok(self.refuse(key, version, why)),
            Asked::Right(entry, version) => (entry, version),
        };
        if entry.external().next().is_some() {
            return Ok(Pulled::Foreign);
        }
        for (artifact, digest, size) in entry.blobs() {
            let is_wrong = lock(&self.wrong).contains(&digest);
            let found = self.objects.size(&blob_name(&digest)).map_err(|error| self.failed(&error))?;
            if is_wrong || found != Some(size) {
                let what = match found {
                    None => "is missing",
                    Some(_) if is_wrong => "has other bytes than its name says",
                    Some(_) => "has another size",
                };
                let why = format!("blob `{}` of `{artifact}` {what}", digest.short());
                lock(&self.wrong).insert(digest);
                return Ok(self.refuse(key, version, why));
            }
        }
        self.is_there(&entry);
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        lock(&self.peeked).insert(*key, Entry::clone(&entry));
        Ok(Pulled::Hit(entry))
    }

    /// The results that were peeked at and need this blob, if it turned out to be missing or wrong there; they count so from now on.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn lost(&self, digest: &Digest) -> anyhow::Result<BTreeSet<Key>> {
        let is_wrong = lock(&self.wrong).contains(digest);
        let size = self.objects.size(&blob_name(digest)).map_err(|error| self.failed(&error))?;
        if !is_wrong && size.is_some() {
            // So it is this machine's copy that is damaged.
            return Ok(BTreeSet::new());
        }
        let has_it = |entry: &Entry| entry.blobs().any(|(_, blob, _)| blob == *digest);
        let keys: BTreeSet<Key> =
            lock(&self.peeked).iter().filter(|(_, entry)| has_it(entry)).map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| self.untell(key));
        Ok(keys)
    }

    /// Brings one blob into the store of this machine; whether it is there and right.
    ///
    /// # Errors
    /// If the place cannot be asked, or the store of this machine not be written.
    pub fn bring_blob(&self, store: &Store, digest: &Digest, most: u64) -> anyhow::Result<Received> {
        self.receive(digest, |name| {
            store.receive(digest, most, |into| self.objects.copy(name, into).map_err(io::Error::other))
        })
    }

    /// Brings what has this digest through `receive`, again if its bytes come out wrong or are cut off.
    pub(super) fn receive(
        &self,
        digest: &Digest,
        mut receive: impl FnMut(&str) -> io::Result<Received>,
    ) -> anyhow::Result<Received> {
        let name = blob_name(digest);
        let mut attempt = 1;
        loop {
            match receive(&name) {
                Ok(Received::Wrong) if attempt < ATTEMPTS => {}
                Ok(Received::Wrong) => {
                    lock(&self.wrong).insert(*digest);
                    return Ok(Received::Wrong);
                }
                Ok(received) => return Ok(received),
                Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<crate::remote::Error>()) {
                    // A transfer that broke off; the client has tried requests again, but not bodies.
                    Some(crate::remote::Error::Unreachable(_)) if attempt < ATTEMPTS => {}
                    Some(error) => return Err(self.failed(error)),
                    None => return Err(error.into()),
                },
            }
            attempt += 1;
        }
    }

    /// Brings all blobs of an entry that this machine lacks; why it cannot be used, if they are not all there.
    fn bring_blobs(&self, store: &Store, entry: &Entry) -> anyhow::Result<Option<String>> {
        for (artifact, digest, size) in entry.blobs() {
            if !store.lacks(&digest, size)? {
                continue;
            }
            let what = match self.bring_blob(store, &digest, size)? {
                Received::Right => continue,
                Received::Nothing => "is missing",
                Received::Wrong => "has other bytes than its name says",
            };
            return Ok(Some(format!("blob `{}` of `{artifact}` {what}", digest.short())));
        }
        Ok(None)
    }

    fn ask(&self, key: &Key) -> anyhow::Result<Asked> {
        let name = entry_name(key);
        let mut attempt = 1;
        loop {
            let Some(object) = self.objects.get(&name).map_err(|error| self.failed(&error))? else {
                return Ok(Asked::Nothing);
            };
            let read = String::from_utf8(object.bytes).map_err(|_| "it is not text".to_owned());
            let read = read.and_then(|text| match Entry::from_text(&text, *key) {
                Ok(entry) => Ok(Ok(entry)),
                Err(Unreadable::Newer(why)) => Ok(Err(why)),
                Err(error) => Err(error.to_string()),
            });
            match read {
                Ok(Ok(entry)) => return Ok(Asked::Right(Box::new(entry), object.version)),
                Ok(Err(why)) => return Err(io::Error::other(Newer { key: *key, why }).into()),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(why) => return Ok(Asked::Wrong(object.version, format!("its entry is damaged: {why}"))),
            }
        }
    }

    /// It is not there; asked again, it counts once.
    fn missed(&self, key: &Key) -> Pulled {
        self.untell(key);
        if lock(&self.missed).insert(*key) {
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
        }
        Pulled::Miss
    }

    /// It cannot be used; that is counted and said once.
    fn refuse(&self, key: &Key, version: Version, why: String) -> Pulled {
        self.untell(key);
        if lock(&self.unusable).insert(*key, version.clone()) == Some(version) {
            return Pulled::Miss;
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        Pulled::Refused(why)
    }

    /// What keys say there of an entry.
    fn signatures(&self, store: &Store, key: &Key) -> anyhow::Result<Vec<Signature>> {
        let folder = self.signed_name(store, key);
        let mut signatures = Vec::new();
        for listed in self.objects.list(&folder).map_err(|error| self.failed(&error))? {
            let own = listed.name.strip_prefix(&folder).and_then(|name| name.strip_prefix('/'));
            let is_plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            let Some(own) = own.filter(is_plain).filter(|name| name.ends_with(".json")) else { continue };
            let Some(object) = self.objects.get(&listed.name).map_err(|error| self.failed(&error))? else { continue };
            // What it says is checked by whoever asks for signatures.
            let Ok(text) = String::from_utf8(object.bytes) else { continue };
            signatures.push(Signature { path: store.signed_folder(key).join(own), text });
        }
        Ok(signatures)
    }

    fn signed_name(&self, store: &Store, key: &Key) -> String {
        let folder = store.signed_folder(key);
        folder.strip_prefix(store.root()).unwrap_or(&folder).display().to_string()
    }

    /// Brings a result from the store of this machine there: its blobs, what keys say of it, its entry, and then the word of it.
    ///
    /// # Errors
    /// If the place cannot be written, or what is to be brought not be read.
    pub fn push(&self, store: &Store, entry: &Entry) -> anyhow::Result<Pushed> {
        let blobs: BTreeMap<Digest, (&str, u64)> =
            entry.blobs().map(|(artifact, digest, size)| (digest, (artifact, size))).collect();
        for (digest, (artifact, size)) in blobs {
            self.push_blob(store, &digest, artifact, size)?;
        }
        let folder = self.signed_name(store, &entry.key);
        for signed in store.signed_texts(&entry.key)? {
            let (name, text) = signed;
            self.objects.put(&format!("{folder}/{name}"), &text).map_err(|error| self.failed(&error))?;
        }
        let text = entry.to_text();
        let name = entry_name(&entry.key);
        loop {
            let created = self.objects.create(&name, text.as_bytes()).map_err(|error| self.failed(&error))?;
            if created.is_some() {
                self.counts.pushed.fetch_add(1, Ordering::Relaxed);
                self.tell(entry)?;
                return Ok(Pushed::New);
            }
            let unusable = lock(&self.unusable).remove(&entry.key);
            if let Some(version) = unusable {
                self.untell_all(&entry.key)?;
                let replaced = self.objects.replace(&name, text.as_bytes(), &version);
                if replaced.map_err(|error| self.failed(&error))?.is_some() {
                    self.counts.pushed.fetch_add(1, Ordering::Relaxed);
                    self.tell(entry)?;
                    return Ok(Pushed::New);
                }
                continue;
            }
            match self.ask(&entry.key)? {
                Asked::Nothing => {}
                Asked::Wrong(version, _) => drop(lock(&self.unusable).insert(entry.key, version)),
                Asked::Right(theirs, _) if theirs.artifacts == entry.artifacts => {
                    self.tell(entry)?;
                    return Ok(Pushed::Same);
                }
                Asked::Right(theirs, version) => {
                    if let Some(pushed) = self.observe(store, entry, theirs, version)? {
                        return Ok(pushed);
                    }
                }
            }
        }
    }

    /// Two entries of one key differ: the job is not deterministic. The first counts, if it is whole; the second is kept as evidence.
    fn observe(
        &self,
        store: &Store,
        ours: &Entry,
        theirs: Box<Entry>,
        version: Version,
    ) -> anyhow::Result<Option<Pushed>> {
        if self.bring_blobs(store, &theirs)?.is_some() {
            lock(&self.unusable).insert(ours.key, version);
            return Ok(None);
        }
        let text = ours.to_text();
        let name = format!("observations/{}/{}.json", ours.key, Digest::of(text.as_bytes()));
        self.objects.put(&name, text.as_bytes()).map_err(|error| self.failed(&error))?;
        store.save(&[&theirs], Vec::new())?;
        self.tell(&theirs)?;
        Ok(Some(Pushed::Other(theirs)))
    }

    fn push_blob(&self, store: &Store, digest: &Digest, artifact: &str, size: u64) -> anyhow::Result<()> {
        let name = blob_name(digest);
        let is_wrong = lock(&self.wrong).remove(digest);
        let failed = |error: crate::remote::Error| self.failed(&error);
        if size > WORTH_ASKING && !is_wrong && self.objects.size(&name).map_err(failed)? == Some(size) {
            return Ok(());
        }
        if size <= WORTH_ASKING {
            let bytes = store.read(digest, artifact)?;
            return self.objects.put(&name, &bytes).map_err(failed);
        }
        // Checked before it leaves this machine.
        drop(store.open(digest, artifact)?);
        self.objects.send(&name, &store.blob_path(digest)).map_err(failed)
    }
}
