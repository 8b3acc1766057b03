//! The store: blobs, entries, scratch folders, locks and views on disk.
//!
//! ```text
//! cache/v1/                CACHEDIR.TAG and .gitignore of its own
//!   blobs/ab/cdef…         read-only; written to tmp/, synced, renamed; checked against the digest when read
//!   entries/ab/<key>.json  written after its blobs
//!   runs/<pipeline>/….jsonl  journals
//!   partial/<key>/         scratch of an interrupted job
//!   locks/<key>            advisory; freed by the kernel on death
//!   locks/store            shared by runs; held alone by what removes things
//!   views/<pipeline>/<job>/… links with human names to the newest artifacts; <artifact>.parts/ has their parts
//!   damaged/               what was found damaged and set aside
//!   files.json             digests of files by their stat data
//! ```

pub mod catalog;
pub mod content;
pub mod digest;
pub mod entry;
pub mod files;
pub mod journal;
pub mod provenance;
pub mod recipe;

use crate::replace::{replace, sync_folder};
use content::Content;
use digest::{Digest, Key};
use entry::{Entry, Record};
use files::Files;
use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Blobs up to this size are hashed whenever they are served; larger ones when their stat data changed.
const SMALL: u64 = 64 << 20;

/// How long a temporary file must have rested before it counts as left over.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Where results are kept.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    files: Files,
}

/// Something in the store, or outside but recorded in it, that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A blob is gone.
    #[error("blob `{}` of `{artifact}` is missing", digest.short())]
    Missing {
        /// Its digest.
        digest: Digest,
        /// The artifact that needs it.
        artifact: String,
    },
    /// A blob has other bytes than its name says.
    #[error("blob `{}` of `{artifact}` is corrupt", digest.short())]
    Corrupt {
        /// Its digest.
        digest: Digest,
        /// The artifact that needs it.
        artifact: String,
    },
    /// A file outside the store is gone or changed.
    #[error("file `{}`, part of `{artifact}`, is {what}", path.display())]
    External {
        /// Where it is.
        path: PathBuf,
        /// The artifact that needs it.
        artifact: String,
        /// `missing` or `changed`.
        what: &'static str,
    },
    /// An entry is not what was written.
    #[error("entry `{}` is damaged: {why}", key.short())]
    Entry {
        /// Its key.
        key: Key,
        /// What is wrong with it.
        why: String,
    },
    /// The job's entry or blobs were damaged, and `audit --repair` set them aside.
    #[error("entry `{}` was set aside by `audit --repair`", key.short())]
    SetAside {
        /// Its key.
        key: Key,
    },
}

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

/// The lock of a key; free again when dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: fs_err::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that whoever waits for it sees that the name is gone and takes a new file.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// The whole store, held by runs side by side or by one process that removes things; free again when dropped.
#[derive(Debug)]
pub struct Hold {
    _file: fs_err::File,
}

/// The store cannot be held alone, since somebody works in it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is in use: a run or a repair works in it; try again once it has ended", .0.display())]
pub struct InUse(pub PathBuf);

/// Tells temporary files of one process apart.
static UNIQUE: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// The store in a cache folder. Writes nothing yet.
    pub fn new(cache: &Path) -> Arc<Self> {
        let root = std::path::absolute(cache.join("v1")).unwrap_or_else(|_| cache.join("v1"));
        Arc::new(Self { files: Files::new(root.join("files.json")), root })
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Digests of files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Makes the folder, marks it as a cache and removes what earlier runs left half-written.
    pub fn prepare(&self) -> io::Result<()> {
        fs_err::create_dir_all(self.root.join("tmp"))?;
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by spot; see https://bford.info/cachedir/\n";
        let cache = self.root.parent().unwrap_or(&self.root);
        for (folder, name, text) in [(cache, "CACHEDIR.TAG", tag), (cache, ".gitignore", "*\n")] {
            let path = folder.join(name);
            if !path.exists() {
                fs_err::write(path, text)?;
            }
        }
        self.remove_leftovers()
    }

    /// Temporary files of processes that no longer exist. Only old ones: a process of another container, which shares the
    /// cache, does not show here.
    fn remove_leftovers(&self) -> io::Result<()> {
        for item in fs_err::read_dir(self.root.join("tmp"))? {
            let path = item?.path();
            let process = path.file_name().and_then(|name| name.to_str()?.split('-').next()?.parse::<i32>().ok());
            let alive = process
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
            let rested = fs_err::metadata(&path).and_then(|meta| meta.modified()).map(|time| time.elapsed());
            if !alive && matches!(rested, Ok(Ok(age)) if age > LEFTOVER_AGE) {
                let _ = if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) };
            }
        }
        Ok(())
    }

    /// Where the blob with this digest is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(&name[2..])
    }

    /// Where the entry with this key is.
    pub fn entry_path(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        self.root.join("entries").join(&name[..2]).join(format!("{name}.json"))
    }

    /// Stores bytes. A blob that is there already is checked, so that a damaged one is replaced.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if !self.holds(&path, &digest)? {
            self.write(&path, bytes, 0o444)?;
        }
        Ok(digest)
    }

    fn holds(&self, path: &Path, digest: &Digest) -> io::Result<bool> {
        match files::hash(path) {
            Ok(found) => Ok(found == *digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file of the store; see [`replace`].
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let number = UNIQUE.fetch_add(1, Ordering::Relaxed);
        let temp = self.root.join("tmp").join(format!("{}-{number}", std::process::id()));
        for folder in [temp.parent(), path.parent()].into_iter().flatten() {
            fs_err::create_dir_all(folder)?;
        }
        replace(path, &temp, |file| {
            file.write_all(bytes)?;
            file.set_permissions(PermissionsExt::from_mode(mode))
        })
    }

    /// The bytes of a blob, checked. `artifact` is what needs it.
    ///
    /// # Errors
    /// [`Damage`] if it is missing or corrupt.
    pub fn read(&self, digest: &Digest, artifact: &str) -> anyhow::Result<Vec<u8>> {
        self.checked(digest, artifact, |path| fs_err::read(path))
    }

    /// As [`read`](Self::read), without a copy.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn map(&self, digest: &Digest, artifact: &str) -> anyhow::Result<Content> {
        self.checked(digest, artifact, Content::of)
    }

    fn checked<B: Deref<Target = [u8]>>(
        &self,
        digest: &Digest,
        artifact: &str,
        open: impl FnOnce(&Path) -> io::Result<B>,
    ) -> anyhow::Result<B> {
        let artifact = artifact.to_owned();
        match open(&self.blob_path(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(Damage::Corrupt { digest: *digest, artifact }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Damage::Missing { digest: *digest, artifact }.into())
            }
            Err(error) => Err(error.into()),
        }
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

    fn set_aside_path(&self, key: &Key) -> PathBuf {
        self.root.join("damaged").join(format!("{key}.json"))
    }

    /// Moves what is damaged out of the way; it stays in `damaged/` to be looked at. Files outside are not touched.
    pub fn set_aside(&self, damage: &Damage) -> io::Result<()> {
        match damage {
            Damage::Corrupt { digest, .. } => {
                self.move_aside(&self.blob_path(digest), &self.root.join("damaged").join(digest.to_string()))
            }
            Damage::Entry { key, .. } => self.set_entry_aside(key),
            Damage::Missing { .. } | Damage::External { .. } | Damage::SetAside { .. } => Ok(()),
        }
    }

    /// Moves an entry out of the way, so that its job runs again.
    pub fn set_entry_aside(&self, key: &Key) -> io::Result<()> {
        self.move_aside(&self.entry_path(key), &self.set_aside_path(key))
    }

    fn move_aside(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::create_dir_all(self.root.join("damaged"))?;
        remove(fs_err::rename(from, to))
    }

    /// Takes the lock of a key. `waiting` is asked now and then while another process holds it; `false` gives up.
    pub fn lock(&self, key: &Key, mut waiting: impl FnMut() -> bool) -> io::Result<Option<Lock>> {
        let path = self.root.join("locks").join(key.to_string());
        fs_err::create_dir_all(self.root.join("locks"))?;
        loop {
            let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
            match file.file().try_lock() {
                Ok(()) if still_named(&file, &path) => return Ok(Some(Lock { path, _file: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if !waiting() => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(30)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Holds the store together with other runs, so that nothing is removed from it. `waiting` is asked now and then while
    /// something is being removed; `false` gives up.
    pub fn share(&self, mut waiting: impl FnMut() -> bool) -> io::Result<Option<Hold>> {
        let file = self.hold_file()?;
        while !patiently(|| file.file().try_lock_shared())? {
            if !waiting() {
                return Ok(None);
            }
        }
        Ok(Some(Hold { _file: file }))
    }

    /// Holds the store alone, to remove something from it.
    ///
    /// # Errors
    /// [`InUse`] if anyone else holds it.
    pub fn claim(&self) -> anyhow::Result<Hold> {
        let file = self.hold_file()?;
        if patiently(|| file.file().try_lock())? {
            Ok(Hold { _file: file })
        } else {
            Err(InUse(self.root.clone()).into())
        }
    }

    /// Whether anyone holds the store.
    pub fn is_held(&self) -> bool {
        // The lock that this takes for a moment is why the others try twice.
        let opened = fs_err::File::open(self.root.join("locks/store"));
        opened.is_ok_and(|file| matches!(file.file().try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Never removed, so it needs no second look as the locks of keys do.
    fn hold_file(&self) -> io::Result<fs_err::File> {
        let folder = self.root.join("locks");
        fs_err::create_dir_all(&folder)?;
        fs_err::OpenOptions::new().create(true).append(true).open(folder.join("store"))
    }

    /// A folder for something that this process tries out; a later run removes it if this process does not.
    pub fn trial_path(&self) -> PathBuf {
        let number = UNIQUE.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{}-{number}", std::process::id()))
    }

    /// The scratch folder of a key.
    pub fn scratch_path(&self, key: &Key) -> PathBuf {
        self.root.join("partial").join(key.to_string())
    }

    /// Removes the scratch folder of a key.
    pub fn drop_scratch(&self, key: &Key) -> io::Result<()> {
        remove(fs_err::remove_dir_all(self.scratch_path(key)))
    }

    /// The step up to which an interrupted job left its work: what the file `step` of its scratch folder says.
    pub fn interrupted_at(&self, key: &Key) -> Option<u64> {
        fs_err::read_to_string(self.scratch_path(key).join("step")).ok()?.trim().parse().ok()
    }

    /// The folder of the views of a pipeline's job.
    pub fn view_path(&self, pipeline: &str, job: &str) -> PathBuf {
        self.root.join("views").join(file_name(pipeline)).join(file_name(job))
    }

    /// Points the views of a job at an entry, its artifacts and their parts.
    pub fn view(&self, pipeline: &str, job: &str, entry: &Entry) -> io::Result<()> {
        let folder = self.view_path(pipeline, job);
        fs_err::create_dir_all(&folder)?;
        let entry_path = self.entry_path(&entry.key);
        let mut links = vec![("entry.json".to_owned(), entry_path)];
        links.extend(entry.artifacts.iter().map(|a| (file_name(&a.name), self.blob_path(&a.digest))));
        for (name, target) in links {
            let inside = target.strip_prefix(&self.root).expect("entries and blobs are in the store");
            self.link(&folder.join(name), &Path::new("../../..").join(inside))?;
        }
        entry.artifacts.iter().try_for_each(|artifact| self.view_parts(&folder, artifact))
    }

    /// Links the parts of an artifact by their names in a folder beside it, which holds nothing else.
    fn view_parts(&self, folder: &Path, artifact: &Record) -> io::Result<()> {
        let folder = folder.join(format!("{}.parts", file_name(&artifact.name)));
        let names: Vec<String> = artifact.parts.iter().map(|part| file_name(&part.name)).collect();
        for old in list(&folder)?.into_iter().filter(|old| !names.contains(old)) {
            remove(fs_err::remove_file(folder.join(old)))?;
        }
        if names.is_empty() {
            return remove(fs_err::remove_dir(&folder));
        }
        fs_err::create_dir_all(&folder)?;
        for (name, part) in names.iter().zip(&artifact.parts) {
            let target = part.external.clone().unwrap_or_else(|| {
                let blob = self.blob_path(&part.digest);
                Path::new("../../../..").join(blob.strip_prefix(&self.root).expect("blobs are in the store"))
            });
            self.link(&folder.join(name), &target)?;
        }
        Ok(())
    }

    fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        if fs_err::read_link(path).is_ok_and(|now| now == target) {
            return Ok(());
        }
        // Two runs may be in one process.
        let unique = UNIQUE.fetch_add(1, Ordering::Relaxed);
        let temp = path.with_extension(format!("new-{}-{unique}", std::process::id()));
        remove(fs_err::remove_file(&temp))?;
        fs_err::os::unix::fs::symlink(target, &temp)?;
        fs_err::rename(&temp, path)
    }

    /// The key of the entry that a job's views point at.
    pub fn viewed(&self, pipeline: &str, job: &str) -> Option<Key> {
        viewed_in(&self.view_path(pipeline, job))
    }

    /// The keys of all entries, sorted.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let names = self.names("entries")?.into_iter();
        let mut keys: Vec<Key> =
            names.filter_map(|(_, name)| name.strip_suffix(".json").and_then(|stem| stem.parse().ok())).collect();
        keys.sort();
        Ok(keys)
    }

    /// The digests of all blobs with their sizes, sorted.
    pub fn blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for (folder, name) in self.names("blobs")? {
            if let Ok(digest) = format!("{folder}{name}").parse::<Digest>() {
                blobs.push((digest, fs_err::metadata(self.blob_path(&digest))?.size()));
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Names in the two-digit folders of `of`: folder and file.
    fn names(&self, of: &str) -> io::Result<Vec<(String, String)>> {
        let mut names = Vec::new();
        for folder in list(&self.root.join(of))? {
            for name in list(&self.root.join(of).join(&folder))? {
                names.push((folder.clone(), name));
            }
        }
        Ok(names)
    }

    /// The folders of all views, and the keys that they point at.
    pub fn view_folders(&self) -> io::Result<Vec<(PathBuf, Key)>> {
        let root = self.root.join("views");
        let mut folders = Vec::new();
        for pipeline in list(&root)? {
            for job in list(&root.join(&pipeline))? {
                let folder = root.join(&pipeline).join(&job);
                folders.extend(viewed_in(&folder).map(|key| (folder.clone(), key)));
            }
        }
        Ok(folders)
    }

    /// Removes a folder of views; files that somebody put there stay.
    pub fn drop_views(&self, folder: &Path) -> io::Result<()> {
        for name in list(folder)? {
            let path = folder.join(&name);
            if path.is_symlink() {
                remove(fs_err::remove_file(path))?;
            } else if name.ends_with(".parts") && path.is_dir() {
                self.drop_views(&path)?;
            }
        }
        if list(folder)?.is_empty() { remove(fs_err::remove_dir(folder)) } else { Ok(()) }
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

    /// Removes a blob, which no entry may need.
    pub fn drop_blob(&self, digest: &Digest) -> io::Result<()> {
        remove(fs_err::remove_file(self.blob_path(digest)))
    }

    /// The keys whose scratch folders are there, sorted.
    pub fn scratch_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("partial"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The keys that have a lock file, held or left behind.
    pub fn lock_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("locks"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The files that were set aside as damaged.
    pub fn damaged_files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.root.join("damaged");
        Ok(list(&folder)?.iter().map(|name| folder.join(name)).collect())
    }

    /// Every job that views show: pipeline, job and key, sorted. Names are as in the file system.
    pub fn all_views(&self) -> io::Result<Vec<(String, String, Key)>> {
        let mut views = Vec::new();
        for pipeline in list(&self.root.join("views"))? {
            for job in list(&self.root.join("views").join(&pipeline))? {
                if let Some(key) = viewed_in(&self.root.join("views").join(&pipeline).join(&job)) {
                    views.push((readable(&pipeline), readable(&job), key));
                }
            }
        }
        Ok(views)
    }
}

/// Tries to take a lock twice, with a moment in between; whether it has it.
fn patiently(take: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    for _ in 0..2 {
        match take() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(30)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// The key of the entry that the views in a folder point at.
fn viewed_in(folder: &Path) -> Option<Key> {
    fs_err::read_link(folder.join("entry.json")).ok()?.file_stem()?.to_str()?.parse().ok()
}

/// The names in a folder, sorted; none if there is no such folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let items = match fs_err::read_dir(folder) {
        Ok(items) => items,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for item in items {
        names.extend(item?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// A removal or move of something that may be gone already.
fn remove(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether the locked file is still the one that its name leads to; its last holder removed it otherwise.
fn still_named(file: &fs_err::File, path: &Path) -> bool {
    let inode = |meta: io::Result<std::fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
    let named = inode(fs_err::metadata(path));
    named.is_some() && named == inode(file.metadata())
}

/// A name as one component of a path; two names never become one. [`readable`] undoes it.
pub fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for (i, c) in name.chars().enumerate() {
        if matches!(c, '/' | '\\' | '%') || c.is_control() || (i == 0 && c == '.') {
            safe += &format!("%{:02X}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    if safe.len() <= 200 {
        return safe;
    }
    let end = (0..=150).rev().find(|&i| safe.is_char_boundary(i)).unwrap_or(0);
    format!("{}~{}", &safe[..end], Digest::of(name.as_bytes()).short())
}

/// What [`file_name`] was made from, long names excepted.
fn readable(file_name: &str) -> String {
    let mut name = String::new();
    let mut rest = file_name;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let code = after.get(..2).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        match code {
            Some(c) => {
                name.push(c);
                rest = &after[2..];
            }
            None => {
                name.push('%');
                rest = after;
            }
        }
    }
    name + rest
}
