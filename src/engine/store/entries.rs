//! Entries in the store: found, checked, saved, set aside.

use super::damage::Damage;
use super::digest::{Digest, Key};
use super::entry::Entry;
use super::names::{remove, two_levels};
use super::{Store, files};
use crate::replace::sync_folder;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Blobs up to this size are hashed whenever they are served; larger ones when their stat data changed.
const SMALL: u64 = 64 << 20;

/// What the store has for a key.
#[derive(Debug)]
pub enum Found {
    /// An entry, every blob of it present and right.
    Hit(Box<Entry>),
    /// Nothing.
    Nothing,
    /// Something that cannot be used.
    Damaged(Vec<Damage>),
}

impl Store {
    /// Where the entry with this key is.
    pub fn entry_path(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        self.root.join("entries").join(&name[..2]).join(format!("{name}.json"))
    }

    /// What there is for a key; everything that a hit would serve is checked.
    pub fn find(&self, key: &Key) -> io::Result<Found> {
        match self.entry(key)? {
            Err(damage) => Ok(Found::Damaged(vec![damage])),
            Ok(None) if self.set_aside_path(key).exists() => Ok(Found::Damaged(vec![Damage::SetAside { key: *key }])),
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(entry)) => {
                let damage = self.check(&entry, false)?;
                Ok(if damage.is_empty() { Found::Hit(Box::new(entry)) } else { Found::Damaged(damage) })
            }
        }
    }

    /// The entry with this key, its blobs not looked at.
    pub fn entry(&self, key: &Key) -> io::Result<Result<Option<Entry>, Damage>> {
        let bytes = match fs_err::read(self.entry_path(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
            Err(error) => return Err(error),
        };
        let damage = |why: String| Damage::Entry { key: *key, why };
        let text = String::from_utf8(bytes).map_err(|_| damage("it is not text".to_owned()));
        Ok(text.and_then(|text| Entry::from_text(&text, *key).map(Some).map_err(|error| damage(error.to_string()))))
    }

    /// What is wrong with the blobs and files of an entry. `fresh` hashes all of them, whatever is remembered.
    pub fn check(&self, entry: &Entry, fresh: bool) -> io::Result<Vec<Damage>> {
        let mut found = Vec::new();
        for (artifact, digest, size) in entry.blobs() {
            found.extend(self.check_blob(artifact, digest, size, fresh)?);
        }
        for (artifact, part, path) in entry.external() {
            let what = match self.hash(path, part.size, fresh) {
                Ok(digest) if digest == part.digest => continue,
                Ok(_) => "changed",
                Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
                Err(error) => return Err(error),
            };
            found.push(Damage::External { path: path.clone(), artifact: artifact.to_owned(), what });
        }
        Ok(found)
    }

    fn check_blob(&self, artifact: &str, digest: Digest, size: u64, fresh: bool) -> io::Result<Option<Damage>> {
        let artifact = artifact.to_owned();
        match self.hash(&self.blob_path(&digest), size, fresh) {
            Ok(found) if found == digest => Ok(None),
            Ok(_) => Ok(Some(Damage::Corrupt { digest, artifact })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Damage::Missing { digest, artifact })),
            Err(error) => Err(error),
        }
    }

    fn hash(&self, path: &Path, size: u64, fresh: bool) -> io::Result<Digest> {
        if fresh || size <= SMALL { files::hash(path) } else { self.files.digest(path) }
    }

    /// Writes an entry; its blobs must be there. Whatever fails afterwards, be it the power, they are there as well as it is.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        let parts = entry.artifacts.iter().flat_map(|artifact| &artifact.parts).filter(|part| part.external.is_none());
        let blobs = entry.artifacts.iter().map(|artifact| &artifact.digest).chain(parts.map(|part| &part.digest));
        let folders = blobs.filter_map(|digest| self.blob_path(digest).parent().map(Path::to_owned));
        folders.collect::<BTreeSet<PathBuf>>().iter().try_for_each(|folder| sync_folder(folder))?;
        let path = self.entry_path(&entry.key);
        self.write(&path, entry.to_text().as_bytes(), 0o444)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        remove(fs_err::remove_file(self.set_aside_path(&entry.key)))
    }

    /// The keys of all entries, sorted.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let names = two_levels(&self.root.join("entries"))?.into_iter();
        let mut keys: Vec<Key> =
            names.filter_map(|(_, name)| name.strip_suffix(".json").and_then(|stem| stem.parse().ok())).collect();
        keys.sort();
        Ok(keys)
    }

    /// Removes entries. Their folders are synced, so that what is removed afterwards does not go before them even if the
    /// power fails.
    pub fn drop_entries(&self, keys: &[Key]) -> io::Result<()> {
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.entry_path(key)).collect();
        for path in &paths {
            remove(fs_err::remove_file(path))?;
        }
        let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            sync_folder(folder)?;
        }
        Ok(())
    }
}
