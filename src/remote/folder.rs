//! A folder that several machines mount: names are paths, and to create is to link, which even NFS does once.

use super::{Error, LONGEST, Listed, Object, Objects, Version};
use crate::panic::lock;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Where files are written before they get their names.
const TEMP: &str = "tmp";
/// What need not outlive a loss of power, which nobody who holds it does.
const FLEETING: [&str; 2] = ["claims/", "workers/"];

/// How long a replacement has been seen unfinished before it is finished for whoever began it, who needs a moment and not seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Objects in a folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Tells this process from those of other machines.
    nonce: String,
    patience: Duration,
    /// Replacements that others began, and since when they are seen.
    begun: Mutex<HashMap<PathBuf, (Version, Instant)>>,
}

/// Tells temporary files of one process apart.
static UNIQUE: AtomicU64 = AtomicU64::new(0);

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), nonce: super::lease::nonce(), patience: PATIENCE, begun: Mutex::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A new file with this content, as yet without its name.
    fn written(&self, name: &str, write: impl FnOnce(&mut fs_err::File) -> io::Result<()>) -> io::Result<PathBuf> {
        let path = self.path(name);
        let temp = self.path(TEMP).join(format!("{}-{}", self.nonce, UNIQUE.fetch_add(1, Ordering::Relaxed)));
        for folder in [temp.parent(), path.parent()].into_iter().flatten() {
            fs_err::create_dir_all(folder)?;
        }
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&temp)?;
        let done = write(&mut file).and_then(|()| if is_fleeting(name) { Ok(()) } else { file.sync_all() });
        match done {
            Ok(()) => Ok(temp),
            Err(error) => {
                let _ = fs_err::remove_file(&temp);
                Err(error)
            }
        }
    }

    /// Gives a new file its name, over another; on disk for sure afterwards.
    fn rename(&self, temp: &Path, name: &str) -> io::Result<()> {
        fs_err::rename(temp, self.path(name))?;
        self.sync(name)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        match self.path(name).parent() {
            Some(folder) if !is_fleeting(name) => crate::replace::sync_folder(folder),
            _ => Ok(()),
        }
    }

    fn created(&self, name: &str, bytes: &[u8]) -> io::Result<Option<Version>> {
        let temp = self.written(name, |file| file.write_all(bytes))?;
        let linked = fs_err::hard_link(&temp, self.path(name));
        let version = fs_err::metadata(&temp).map(|meta| version(&meta));
        // An answer of NFS may be lost after the link was made; the file knows how many names it has.
        let has_name = fs_err::metadata(&temp).is_ok_and(|meta| meta.nlink() == 2);
        let _ = fs_err::remove_file(&temp);
        match linked {
            Ok(()) => self.sync(name)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !has_name => return Ok(None),
            Err(_) if has_name => self.sync(name)?,
            Err(error) => return Err(error),
        }
        version.map(Some)
    }

    /// To replace is to link the new file to the one name that says which content it follows, which only one process can, and to
    /// rename it then. Whoever finds such a name whose owner went away renames it for him. Two replacements of one content take a process that
    /// sleeps for [`PATIENCE`] between two calls and wakes between two of another's.
    fn replaced(&self, name: &str, bytes: &[u8], old: &Version) -> io::Result<Option<Version>> {
        let path = self.path(name);
        let next = self.path(TEMP).join(format!("{}.{}.next", name.replace('/', "-"), old.0));
        let is_old = || fs_err::metadata(&path).is_ok_and(|meta| version(&meta) == *old);
        if !is_old() {
            return Ok(None);
        }
        let temp = self.written(name, |file| file.write_all(bytes))?;
        let linked = fs_err::hard_link(&temp, &next);
        let new = fs_err::metadata(&temp).map(|meta| version(&meta));
        let _ = fs_err::remove_file(&temp);
        if let Err(error) = linked {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            if self.is_abandoned(&next) && is_old() {
                let _ = fs_err::rename(&next, &path);
            }
            return Ok(None);
        }
        let new = new?;
        let found = fs_err::metadata(&path).map(|meta| version(&meta)).ok();
        if found.as_ref() == Some(&new) {
            // Somebody has renamed it for this process already.
            self.sync(name)?;
            return Ok(Some(new));
        }
        if found.as_ref() != Some(old) {
            let _ = fs_err::remove_file(&next);
            return Ok(None);
        }
        match fs_err::rename(&next, &path) {
            // Somebody renamed it for this process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.sync(name)?;
        Ok(Some(new))
    }

    /// Whether a replacement that another began is the same for long.
    fn is_abandoned(&self, next: &Path) -> bool {
        let Ok(found) = fs_err::metadata(next).map(|meta| version(&meta)) else { return false };
        let mut begun = lock(&self.begun);
        begun.retain(|_, (_, since)| since.elapsed() < 100 * self.patience);
        match begun.get(next) {
            Some((known, since)) if *known == found => since.elapsed() >= self.patience,
            _ => {
                begun.insert(next.to_owned(), (found, Instant::now()));
                false
            }
        }
    }

    fn walk(&self, folder: &Path, name: &str, found: &mut Vec<Listed>) -> io::Result<()> {
        let items = match fs_err::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            items => items?,
        };
        for item in items {
            let item = item?;
            let Ok(own) = item.file_name().into_string() else { continue };
            let name = format!("{name}/{own}");
            // Links are not followed, and what is removed meanwhile is not there.
            let Ok(meta) = fs_err::symlink_metadata(item.path()) else { continue };
            if meta.is_dir() {
                self.walk(&item.path(), &name, found)?;
            } else if meta.is_file() {
                let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push(Listed { name, version: version(&meta), size: meta.len(), written });
            }
        }
        Ok(())
    }
}

fn is_fleeting(name: &str) -> bool {
    FLEETING.iter().any(|folder| name.starts_with(folder))
}

/// Every content is a file of its own, so its number and when it was written tell it from the one before.
fn version(meta: &std::fs::Metadata) -> Version {
    Version(format!("{:x}-{:x}{:09}-{:x}", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// What went wrong, of something that may not be there.
fn present<T>(result: io::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

fn wrong(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::Refused(error.to_string()),
        _ => Error::Unreachable(error.to_string()),
    }
}

impl Objects for Folder {
    fn get(&self, name: &str) -> Result<Option<Object>, Error> {
        let Some(file) = present(fs_err::File::open(self.path(name)))? else { return Ok(None) };
        let meta = file.metadata().map_err(|error| wrong(&error))?;
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        if bytes.len() as u64 > LONGEST {
            return Err(Error::Unreachable(format!("`{}` is longer than {LONGEST} bytes", self.path(name).display())));
        }
        Ok(Some(Object { bytes, version: version(&meta) }))
    }

    fn copy(&self, name: &str, into: &mut dyn Write) -> Result<bool, Error> {
        let Some(mut file) = present(fs_err::File::open(self.path(name)))? else { return Ok(false) };
        io::copy(&mut file, into).map_err(|error| wrong(&error))?;
        Ok(true)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(present(fs_err::metadata(self.path(name)))?.map(|meta| meta.len()))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let written = self.written(name, |file| file.write_all(bytes));
        written.and_then(|temp| self.rename(&temp, name)).map_err(|error| wrong(&error))
    }

    fn send(&self, name: &str, file: &Path) -> Result<(), Error> {
        let copy = |to: &mut fs_err::File| io::copy(&mut fs_err::File::open(file)?, to).map(drop);
        let written = self.written(name, copy);
        written.and_then(|temp| self.rename(&temp, name)).map_err(|error| wrong(&error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error> {
        self.created(name, bytes).map_err(|error| wrong(&error))
    }

    fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, Error> {
        self.replaced(name, bytes, version).map_err(|error| wrong(&error))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        present(fs_err::remove_file(self.path(name))).map(drop)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let mut found = Vec::new();
        self.walk(&self.path(folder), folder, &mut found).map_err(|error| wrong(&error))?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        (root, folder)
    }

    #[test]
    fn what_is_written_is_read_and_listed() {
        let (_root, folder) = folder();
        assert_eq!(folder.get("claims/a").unwrap(), None);
        folder.put("blobs/ab/c", b"one").unwrap();
        folder.put("blobs/ab/c", b"two!").unwrap();
        let object = folder.get("blobs/ab/c").unwrap().unwrap();
        assert_eq!(object.bytes, b"two!");
        let listed = folder.list("blobs").unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].name.as_str(), listed[0].size), ("blobs/ab/c", 4));
        assert_eq!(listed[0].version, object.version);
        assert_eq!(folder.size("blobs/ab/c").unwrap(), Some(4));
        folder.remove("blobs/ab/c").unwrap();
        folder.remove("blobs/ab/c").unwrap();
        assert!(folder.list("blobs").unwrap().is_empty() && folder.list("none").unwrap().is_empty());
    }

    #[test]
    fn of_many_that_create_one_does() {
        let (_root, folder) = folder();
        for round in 0..20 {
            let barrier = Barrier::new(8);
            let won = std::thread::scope(|scope| {
                let one = |i: usize| {
                    barrier.wait();
                    folder.create(&format!("claims/{round}"), format!("{i}").as_bytes()).unwrap().is_some()
                };
                let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || one(i))).collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
            });
            assert_eq!(won, 1);
        }
    }

    #[test]
    fn of_many_that_replace_one_content_one_does() {
        let (_root, folder) = folder();
        let mut version = folder.create("claims/a", b"first").unwrap().unwrap();
        for _ in 0..500 {
            let barrier = Barrier::new(8);
            let won: Vec<Version> = std::thread::scope(|scope| {
                let one = |i: usize| {
                    barrier.wait();
                    folder.replace("claims/a", format!("{i}").as_bytes(), &version).unwrap()
                };
                let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || one(i))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(won.len(), 1);
            assert_eq!(folder.get("claims/a").unwrap().unwrap().version, won[0]);
            version = won[0].clone();
        }
        folder.remove("claims/a").unwrap();
        assert_eq!(folder.replace("claims/a", b"x", &version).unwrap(), None);
        assert!(folder.list("tmp").unwrap().is_empty());
    }

    #[test]
    fn a_replacement_whose_owner_went_away_is_finished_by_the_next() {
        let (root, mut folder) = folder();
        folder.patience = Duration::from_millis(20);
        let version = folder.create("claims/a", b"old").unwrap().unwrap();
        fs_err::write(root.path().join("tmp").join(format!("claims-a.{}.next", version.0)), "his").unwrap();
        assert_eq!(folder.replace("claims/a", b"mine", &version).unwrap(), None);
        assert_eq!(folder.get("claims/a").unwrap().unwrap().bytes, b"old", "he may be about to finish it");
        std::thread::sleep(folder.patience);
        assert_eq!(folder.replace("claims/a", b"mine", &version).unwrap(), None);
        assert_eq!(folder.get("claims/a").unwrap().unwrap().bytes, b"his");
    }
}
