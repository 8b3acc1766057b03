//! Entries in the store: found, checked, saved, set aside.

use super::damage::{Damage, Newer, Wrong};
use super::digest::{Digest, Key};
use super::entry::{Entry, Unreadable};
use super::names::{remove, remove_all, two_levels};
use super::signed::Signature;
use super::{Store, files, written};
use crate::replace::{sync_file, sync_file_system, sync_folder};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Blobs up to this size are hashed whenever they are served; larger ones when their stat data changed.
const SMALL: u64 = 64 << 20;
/// So many entries are synced with all of their file system, fewer one by one.
const MANY: usize = 4;

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
    ///
    /// # Errors
    /// If the system cannot read what is there; damage is a value and no error.
    pub fn find(&self, key: &Key) -> io::Result<Found> {
        match self.entry(key)? {
            Err(damage) => Ok(Found::Damaged(vec![damage])),
            Ok(None) if self.set_aside_path(key).exists() => Ok(Found::Damaged(vec![Damage::SetAside { key: *key }])),
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(entry)) => {
                let damage = self.check(&entry)?;
                Ok(if damage.is_empty() { Found::Hit(Box::new(entry)) } else { Found::Damaged(damage) })
            }
        }
    }

    /// The entry with this key, its blobs not looked at.
    ///
    /// # Errors
    /// If it cannot be read, or is [`Newer`] than this program; that it is damaged is a result.
    pub fn entry(&self, key: &Key) -> io::Result<Result<Option<Entry>, Damage>> {
        let path = self.entry_path(key);
        let damage = |why: String| Ok(Err(Damage::Entry { key: *key, why }));
        let bytes = match files::is_file(&path).and_then(|()| fs_err::read(&path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                return match Wrong::in_place(&error) {
                    Some(Wrong::Missing) => Ok(Ok(None)),
                    Some(_) => damage("it is not a file".to_owned()),
                    None => Err(error),
                };
            }
        };
        let Ok(text) = String::from_utf8(bytes) else { return damage("it is not text".to_owned()) };
        match Entry::from_text(&text, *key) {
            Ok(entry) => Ok(Ok(Some(entry))),
            Err(Unreadable::Newer(why)) => Err(io::Error::other(Newer { key: *key, why })),
            Err(error) => damage(error.to_string()),
        }
    }

    /// What is wrong with the blobs and files of an entry.
    ///
    /// # Errors
    /// If the system cannot read what is there; damage is a value and no error.
    pub fn check(&self, entry: &Entry) -> io::Result<Vec<Damage>> {
        let mut found = Vec::new();
        for (artifact, digest, size) in entry.blobs() {
            let wrong = Wrong::of(self.hash(&self.blob_path(&digest), size), &digest)?;
            found.extend(wrong.map(|wrong| Damage::Blob { digest, artifact: artifact.to_owned(), wrong }));
        }
        for (artifact, part, path) in entry.external() {
            let wrong = Wrong::of(self.hash(path, part.size), &part.digest)?;
            found.extend(wrong.map(|wrong| Damage::External {
                path: path.clone(),
                artifact: artifact.to_owned(),
                wrong,
            }));
        }
        Ok(found)
    }

    /// Whether a file is missing, or is not what was recorded.
    ///
    /// # Errors
    /// If the system cannot read what is there.
    pub fn lacks_file(&self, path: &Path, size: u64, digest: &Digest) -> io::Result<bool> {
        Ok(Wrong::of(self.hash(path, size), digest)?.is_some())
    }

    fn hash(&self, path: &Path, size: u64) -> io::Result<Digest> {
        if size <= SMALL { files::hash(path) } else { self.files.digest(path) }
    }

    /// Writes entries, and before them what was signed of them; their blobs must be there. Whatever fails meanwhile or afterwards, be it the power, an entry is there only if
    /// its blobs are, and all are there once this returns.
    ///
    /// # Errors
    /// If something cannot be written or synced, as on a full disk.
    pub fn save(&self, entries: &[&Entry], signatures: Vec<Signature>) -> io::Result<()> {
        let mut unnamed = Vec::new();
        let signatures = signatures.into_iter().map(|signature| (signature.path, signature.text));
        let entries_too = entries.iter().map(|entry| (self.entry_path(&entry.key), entry.to_text()));
        for (path, text) in signatures.chain(entries_too) {
            let temp = self.ready(&path)?;
            let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&temp)?;
            written(&mut file, text.as_bytes(), 0o444)?;
            unnamed.push((temp, path));
        }
        let blobs = entries.iter().flat_map(|entry| entry.blobs()).map(|(_, digest, _)| self.blob_path(&digest));
        let files: BTreeSet<PathBuf> = blobs.chain(unnamed.iter().map(|(temp, _)| temp.clone())).collect();
        // To sync a file system waits for whatever others write to it too, so it has to be worth it.
        let together = entries.len() >= MANY;
        self.sync(&files, together)?;
        for (temp, path) in &unnamed {
            fs_err::rename(temp, path)?;
        }
        let named: BTreeSet<PathBuf> = unnamed.into_iter().map(|(_, path)| path).collect();
        self.sync_folders(&named, together)?;
        entries.iter().try_for_each(|entry| remove_all(&self.set_aside_path(&entry.key)))
    }

    /// Makes sure that files and their names are on disk.
    fn sync(&self, files: &BTreeSet<PathBuf>, together: bool) -> io::Result<()> {
        if together && sync_file_system(self.root())? {
            return Ok(());
        }
        files.iter().try_for_each(|path| sync_file(path))?;
        self.sync_folders(files, false)
    }

    fn sync_folders(&self, files: &BTreeSet<PathBuf>, together: bool) -> io::Result<()> {
        if together && sync_file_system(self.root())? {
            return Ok(());
        }
        let folders: BTreeSet<&Path> = files.iter().filter_map(|path| path.parent()).collect();
        folders.into_iter().try_for_each(sync_folder)
    }

    /// The keys of all entries, sorted.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let right = self.entry_files()?.into_iter().filter(|(key, path)| self.entry_path(key) == *path);
        Ok(right.map(|(key, _)| key).collect())
    }

    /// Entries in the wrong folder.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn misplaced(&self) -> io::Result<Vec<(Key, PathBuf)>> {
        let wrong = self.entry_files()?.into_iter().filter(|(key, path)| self.entry_path(key) != *path);
        Ok(wrong.collect())
    }

    fn entry_files(&self) -> io::Result<Vec<(Key, PathBuf)>> {
        let root = self.root.join("entries");
        let names = two_levels(&root)?.into_iter();
        let known = |(folder, name): (String, String)| {
            let key = name.strip_suffix(".json")?.parse::<Key>().ok()?;
            Some((key, root.join(folder).join(name)))
        };
        let mut files: Vec<(Key, PathBuf)> = names.filter_map(known).collect();
        files.sort_unstable();
        Ok(files)
    }

    /// Removes entries. Their folders are synced, so that what is removed afterwards does not go before them even if the
    /// power fails.
    ///
    /// # Errors
    /// If one is there and cannot be removed, or its folder cannot be synced.
    pub fn drop_entries(&self, keys: &[Key]) -> io::Result<()> {
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.entry_path(key)).collect();
        for (key, path) in keys.iter().zip(&paths) {
            remove(fs_err::remove_file(path))?;
            remove_all(&self.signed_folder(key))?;
        }
        let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            sync_folder(folder)?;
        }
        Ok(())
    }
}
