//! The cache on disk, as the Python tools lay it out:
//!
//! ```text
//! models--org--name/refs/main                       the commit that a revision stood for last
//! models--org--name/snapshots/<commit>/config.json  a link to ../../blobs/<checksum>
//! models--org--name/blobs/<checksum>                what is still coming is <checksum>.incomplete
//! .locks/models--org--name/<checksum>.lock          held while a blob is written
//! ```
//!
//! Beside these, `listings/<commit>.json` is what the hub said of a commit: names and sizes, for those who may not ask.

use super::checksum::Checksum;
use super::listing::Listing;
use super::patience::until;
use super::repo::{Repo, is_commit, is_file_name};
use super::{Choice, Choose, Error, Extent, Missing, Offer, Watch};
use crate::replace::replace;
use fs_err::os::unix::fs as unix;
use std::fs::TryLockError;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The part of a cache that a repository has.
pub(super) struct Cache<'a> {
    root: &'a Path,
    repo: &'a Repo,
    folder: PathBuf,
}

/// Held while a blob is written; the kernel frees it.
pub(super) struct Lock {
    _file: fs_err::File,
}

/// Folders within folders of a snapshot that are looked into.
const DEEPEST: usize = 8;
/// What tells programs that make backups to leave a folder out (<https://bford.info/cachedir/>).
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";
/// Bytes of a reference or listing that are read.
const LARGEST: u64 = 32 << 20;

impl<'a> Cache<'a> {
    pub(super) fn new(root: &'a Path, repo: &'a Repo) -> Self {
        Self { root, repo, folder: root.join(repo.folder()) }
    }

    /// Makes the folders that files are written to.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs_err::create_dir_all(self.folder.join("blobs"))?;
        fs_err::create_dir_all(self.locks())?;
        let tag = self.root.join("CACHEDIR.TAG");
        if tag.exists() { Ok(()) } else { self.write(&tag, TAG) }
    }

    fn locks(&self) -> PathBuf {
        self.root.join(".locks").join(self.repo.folder())
    }

    /// The commit that the revision stands for here.
    ///
    /// # Errors
    /// If the note of it is there and cannot be read.
    pub(super) fn commit(&self) -> io::Result<Option<String>> {
        if let Some(commit) = self.repo.pinned() {
            return Ok(Some(commit.to_owned()));
        }
        let text = read(&self.reference())?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| is_commit(text)))
    }

    /// Remembers what the revision stands for.
    ///
    /// # Errors
    /// If the note of it cannot be read or written.
    pub(super) fn set_commit(&self, commit: &str) -> io::Result<()> {
        let path = self.reference();
        if self.commit()?.as_deref() == Some(commit) {
            return Ok(());
        }
        self.write(&path, commit.as_bytes())
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(self.repo.revision())
    }

    /// What the hub said of a commit, if it was asked.
    pub(super) fn listing(&self, commit: &str) -> Option<Listing> {
        let bytes = read(&self.listing_path(commit)).ok()??;
        Listing::of(&bytes).ok().filter(|listing| listing.sha == commit)
    }

    /// Keeps what the hub said of a commit.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn keep_listing(&self, listing: &Listing) -> io::Result<()> {
        self.write(&self.listing_path(&listing.sha), &serde_json::to_vec(listing)?)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        // Not beside the path: whatever is below `refs` is a reference.
        let temp = self.folder.join(format!(".{}.{:?}.temp", std::process::id(), std::thread::current().id()));
        replace(path, &temp, |file| file.write_all(bytes))
    }

    /// Where a file of a commit lies, or will.
    pub(super) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(name)
    }

    /// Names of the files of a commit that are here with their content.
    ///
    /// # Errors
    /// If a folder of the commit cannot be read.
    pub(super) fn names(&self, commit: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        collect(&self.folder.join("snapshots").join(commit), "", DEEPEST, &mut names)?;
        names.sort();
        Ok(names)
    }

    pub(super) fn blob(&self, checksum: &Checksum) -> PathBuf {
        self.folder.join("blobs").join(checksum.as_str())
    }

    pub(super) fn incomplete(&self, checksum: &Checksum) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", checksum.as_str()))
    }

    /// Bytes that have come of files of a commit that are not here yet.
    pub(super) fn begun(&self, listing: &Listing, names: &[&str]) -> u64 {
        let come = |name: &&str| {
            let file = self.incomplete(&listing.checksum(name)?);
            Some(fs_err::metadata(file).ok()?.len().min(listing.size(name)?))
        };
        names.iter().filter_map(come).sum()
    }

    /// The content of a small file of a commit, if it is here.
    pub(super) fn content(&self, commit: &str, name: &str) -> Option<Vec<u8>> {
        read(&self.file(commit, name)).ok()?
    }

    /// Whether a file of the repository has begun to come and is not here yet.
    ///
    /// # Errors
    /// If the folder of blobs cannot be read.
    pub(super) fn has_begun(&self) -> io::Result<bool> {
        let items = match fs_err::read_dir(self.folder.join("blobs")) {
            Ok(items) => items,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        for item in items {
            if item?.path().extension().is_some_and(|ending| ending == "incomplete") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The files that are needed of all that the hub has.
    ///
    /// # Errors
    /// What `choose` lacks.
    pub(super) fn choose(&self, listing: &Listing, choose: &dyn Choose) -> Result<Choice, String> {
        let read = |name: &str| self.content(&listing.sha, name);
        choose.choose(&Offer::new(&listing.names(), Extent::Whole, &read))
    }

    /// What is missing here of the files of a commit that are needed.
    pub(super) fn missing(&self, listing: &Listing, choose: &dyn Choose) -> Missing {
        let Ok(Choice::All(names)) = self.choose(listing, choose) else { return Missing::default() };
        let absent = |name: &&str| !self.file(&listing.sha, name).is_file();
        let left: Vec<&str> = names.iter().map(String::as_str).filter(absent).collect();
        let sizes = |names: &mut dyn Iterator<Item = &str>| names.map(|name| listing.size(name)).sum::<Option<u64>>();
        let all = sizes(&mut names.iter().map(String::as_str));
        let come = self.begun(listing, &left);
        let bytes = all.zip(sizes(&mut left.into_iter()));
        Missing { bytes: bytes.map(|(all, left)| (all, left.saturating_sub(come))), names, why: None }
    }

    /// Waits until nobody else writes a blob, the Python tools included.
    ///
    /// # Errors
    /// [`Error::Stopped`] if somebody asked to stop; if the lock file cannot be made, or the file system has no locks.
    pub(super) fn lock(&self, checksum: &Checksum, watch: &dyn Watch) -> Result<Lock, Error> {
        let path = self.locks().join(format!("{}.lock", checksum.as_str()));
        let waiting = format!("somebody else is downloading the same file of {}; waiting for it", self.repo);
        until(watch, &waiting, || {
            let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match file.file().try_lock() {
                // Some versions of the Python tools remove the file when they are done.
                Ok(()) if same(&file, &path) => Ok(Some(Lock { _file: file })),
                Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        })
    }

    /// Makes a blob a file of a commit: by a link, or where the disk has none, as the file itself.
    ///
    /// # Errors
    /// If neither the link nor the file can be made.
    pub(super) fn link(&self, commit: &str, name: &str, checksum: &Checksum) -> io::Result<()> {
        self.link_by(commit, name, checksum, &|target, path| unix::symlink(target, path))
    }

    fn link_by(
        &self,
        commit: &str,
        name: &str,
        checksum: &Checksum,
        symlink: &dyn Fn(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.file(commit, name);
        let up = "../".repeat(name.split('/').count() + 1);
        let target = Path::new(&up).join("blobs").join(checksum.as_str());
        // Others may be reading through a link that is there already.
        if fs_err::read_link(&path).is_ok_and(|found| found == target) && path.is_file() {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match symlink(&target, &path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_file() => Ok(()),
            Err(_) => fs_err::rename(self.blob(checksum), &path),
        }
    }
}

fn same(file: &fs_err::File, path: &Path) -> bool {
    let (held, named) = (file.metadata(), fs_err::metadata(path));
    matches!((held, named), (Ok(held), Ok(named)) if (held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// The content of a small file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs_err::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() <= LARGEST => fs_err::read(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn collect(folder: &Path, prefix: &str, deeper: usize, names: &mut Vec<String>) -> io::Result<()> {
    let items = match fs_err::read_dir(folder) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for item in items {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        let (path, name) = (item.path(), format!("{prefix}{name}"));
        if path.is_file() && is_file_name(&name) {
            names.push(name);
        } else if deeper > 0 && item.file_type()?.is_dir() {
            collect(&path, &format!("{name}/"), deeper - 1, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn checksum() -> Checksum {
        Checksum::of_etag(&"b".repeat(40)).unwrap()
    }

    fn repo() -> Repo {
        Repo::new(Kind::Model, "org/name", "refs/pr/2").unwrap()
    }

    #[test]
    fn links_lead_to_blobs_by_relative_paths() {
        let (root, repo, commit) = (tempfile::tempdir().unwrap(), repo(), "c".repeat(40));
        let cache = Cache::new(root.path(), &repo);
        cache.prepare().unwrap();
        fs_err::write(cache.blob(&checksum()), "content").unwrap();
        for (name, target) in [("a.txt", "../../blobs/"), ("deep/er/b.txt", "../../../../blobs/")] {
            cache.link(&commit, name, &checksum()).unwrap();
            cache.link(&commit, name, &checksum()).unwrap();
            let path = cache.file(&commit, name);
            assert_eq!(fs_err::read_to_string(&path).unwrap(), "content");
            assert_eq!(fs_err::read_link(path).unwrap(), Path::new(target).join("b".repeat(40)));
        }
        assert_eq!(cache.names(&commit).unwrap(), ["a.txt", "deep/er/b.txt"]);
        // A file whose blob is gone is not here.
        fs_err::remove_file(cache.blob(&checksum())).unwrap();
        assert_eq!(cache.names(&commit).unwrap(), [""; 0]);
    }

    #[test]
    fn without_links_a_file_lies_in_its_snapshot() {
        let (root, repo, commit) = (tempfile::tempdir().unwrap(), repo(), "c".repeat(40));
        let cache = Cache::new(root.path(), &repo);
        cache.prepare().unwrap();
        fs_err::write(cache.blob(&checksum()), "content").unwrap();
        cache.link_by(&commit, "a.txt", &checksum(), &|_, _| Err(io::ErrorKind::Unsupported.into())).unwrap();
        assert!(!cache.file(&commit, "a.txt").is_symlink() && !cache.blob(&checksum()).exists());
        assert_eq!(cache.names(&commit).unwrap(), ["a.txt"]);
    }

    #[test]
    fn a_reference_is_a_commit_or_nothing() {
        let (root, repo, commit) = (tempfile::tempdir().unwrap(), repo(), "c".repeat(40));
        let cache = Cache::new(root.path(), &repo);
        assert_eq!(cache.commit().unwrap(), None);
        cache.set_commit(&commit).unwrap();
        assert_eq!(cache.commit().unwrap().unwrap(), commit);
        let file = root.path().join("models--org--name/refs/refs/pr/2");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), commit);
        fs_err::write(&file, "../../../etc").unwrap();
        assert_eq!(cache.commit().unwrap(), None);
    }
}
