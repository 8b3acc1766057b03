//! Digests of files, hashed once for as long as their stat data stay the same.

use super::digest::Digest;
use super::seal::seal;
use crate::panic::lock;
use crate::replace::replace_unsynced;
use crate::trust::statement::{Sha256, Sha256Hasher};
use rayon::prelude::*;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file must have rested this long before it was hashed for its stat data to stand for its content. Some file systems
/// count time in steps of two seconds: a write within the same step would not show (git calls such an entry racy).
const REST_NS: i64 = 2_000_000_000;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Digests by path and stat data, kept in a file between runs.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    loaded: bool,
    changed: bool,
    seen: BTreeMap<PathBuf, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    stat: Stat,
    hashed_ns: i64,
    digest: Digest,
}

impl Seen {
    fn stands_for(&self, stat: &Stat) -> bool {
        self.stat == *stat && stat.mtime_ns.max(stat.ctime_ns) + REST_NS < self.hashed_ns
    }
}

impl Files {
    /// The digests remembered in the file at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, table: Mutex::default() }
    }

    /// The digest of a file; hashes it only if it is new or may have changed.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        let path = std::path::absolute(path)?;
        let stat = stat(&path)?;
        if let Some(seen) = self.table().seen.get(&path).filter(|seen| seen.stands_for(&stat)) {
            return Ok(seen.digest);
        }
        let hashed_ns = now_ns();
        let digest = hash(&path)?;
        let mut table = self.table();
        table.changed = true;
        table.seen.insert(path, Seen { stat, hashed_ns, digest });
        Ok(digest)
    }

    /// Writes what was learned. Losing it costs time only, so the file is neither locked nor synced, a store that cannot be written
    /// goes without, and one that is not as it was written counts as none.
    ///
    /// # Errors
    /// If it cannot be written for a reason other than missing permission.
    pub fn save(&self) -> io::Result<()> {
        let mut table = self.table();
        let folder_exists = self.path.parent().is_some_and(Path::is_dir);
        if !table.changed || !folder_exists {
            return Ok(());
        }
        let temp = self.path.with_extension(format!("json.{}", std::process::id()));
        let json = serde_json::to_string(&table.seen)?;
        let text = format!("{}{}\n{json}\n", BEGINNING, seal(SEALED, &json));
        match replace_unsynced(&self.path, &temp, |file| file.write_all(text.as_bytes())) {
            Err(error) if is_read_only(&error) => {}
            other => other?,
        }
        table.changed = false;
        Ok(())
    }

    /// The remembered files that would be taken for what they are not: they have the size and times with which another content is
    /// remembered. `known` are digests that were just found.
    pub fn mistaken(&self, known: &BTreeMap<PathBuf, Digest>) -> Vec<PathBuf> {
        let seen: Vec<(PathBuf, Seen)> = self.table().seen.iter().map(|(path, seen)| (path.clone(), *seen)).collect();
        // Blobs are known by their names.
        let is_own = |path: &Path| self.path.parent().is_some_and(|root| path.starts_with(root));
        let is_mistaken = |(path, seen): &(PathBuf, Seen)| {
            let counts = stat(path).is_ok_and(|stat| seen.stands_for(&stat));
            let now = || known.get(path).copied().or_else(|| hash(path).ok());
            counts && !is_own(path) && now().is_some_and(|now| now != seen.digest)
        };
        seen.into_par_iter().filter(is_mistaken).map(|(path, _)| path).collect()
    }

    /// Forgets a file, so that it is hashed when it is next asked for.
    pub fn forget(&self, path: &Path) {
        let mut table = self.table();
        table.changed |= table.seen.remove(path).is_some();
    }

    /// The table, read from disk on first use; one that is not as it was written is as good as none.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = lock(&self.table);
        if !table.loaded {
            table.loaded = true;
            if let Ok(stored) = read(&self.path) {
                let seen = opened(&stored);
                // A new one takes the place of one that is no good.
                table.changed = seen.is_none();
                table.seen = seen.unwrap_or_default();
            }
        }
        table
    }
}

/// How the file begins; then comes the seal of the second line.
const BEGINNING: &str = "spot files v1 ";
/// What that seal is for.
const SEALED: &str = "spot files seal v1";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    is_file(path)?;
    fs_err::read(path)
}

/// The table in a file, if it is as it was written.
fn opened(stored: &[u8]) -> Option<BTreeMap<PathBuf, Seen>> {
    let (seal_of, json) = std::str::from_utf8(stored).ok()?.strip_prefix(BEGINNING)?.split_once('\n')?;
    let json = json.strip_suffix('\n')?;
    (seal(SEALED, json).to_string() == seal_of).then(|| serde_json::from_str(json).ok()).flatten()
}

/// The same error once more.
pub(in crate::engine) fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Whether an error says that somebody may not write there, and not that something went wrong.
pub(in crate::engine) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Whether there is a file and nothing else: opening a pipe would block for ever.
///
/// # Errors
/// If nothing is there, or something other than a file.
pub(super) fn is_file(path: &Path) -> io::Result<()> {
    let is_circle = || matches!(rustix::fs::stat(path), Err(Errno::LOOP));
    match fs_err::metadata(path) {
        Ok(meta) if meta.is_file() => return Ok(()),
        Err(error) if !is_circle() => return Err(error),
        _ => {}
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` is not a file", path.display())))
}

/// The digest of a file's bytes as they are now.
///
/// # Errors
/// If there is no such file, or it cannot be read.
pub fn hash(path: &Path) -> io::Result<Digest> {
    hashed(path).map(|(_, digest)| digest)
}

/// Both digests of the same bytes: those that a file has while it is read, once.
///
/// # Errors
/// If there is no such file, or it cannot be read.
pub(in crate::engine) fn digests(path: &Path) -> io::Result<(Digest, Sha256)> {
    is_file(path)?;
    let mut file = fs_err::File::open(path)?;
    let (mut blake3, mut sha256) = (blake3::Hasher::new(), Sha256Hasher::default());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((Digest::from_hasher(&blake3), sha256.finish())),
            read => {
                blake3.update(&piece[..read]);
                sha256.update(&piece[..read]);
            }
        }
    }
}

/// A file, at its beginning, and the digest of its content.
///
/// # Errors
/// If it cannot be read.
pub(in crate::engine) fn hashed(path: &Path) -> io::Result<(fs_err::File, Digest)> {
    is_file(path)?;
    let mut file = fs_err::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file)?;
    file.rewind()?;
    Ok((file, Digest::from_hasher(&hasher)))
}

/// Whether there is a file, with an error that says what to do if not.
///
/// # Errors
/// If nothing is there, or something other than a file.
pub(in crate::engine) fn is_there(path: &Path) -> io::Result<()> {
    stat(path).map(drop)
}

fn absent(path: &Path) -> String {
    format!("there is no file `{}`; put it there, or change the path or the variable that leads to it", path.display())
}

fn stat(path: &Path) -> io::Result<Stat> {
    let meta = fs_err::metadata(path).map_err(|error| match error.kind() {
        // What people meet most often, in their words.
        io::ErrorKind::NotFound => io::Error::new(error.kind(), absent(path)),
        _ => error,
    })?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` is not a file", path.display())));
    }
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Ok(Stat {
        size: meta.size(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
    })
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Files {
        Files::new(folder.join("files.json"))
    }

    #[test]
    fn a_file_changed_within_the_resolution_of_the_clock_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let files = files(folder.path());
        for content in ["a", "b", "c"] {
            fs_err::write(&path, content).unwrap();
            assert_eq!(files.digest(&path).unwrap(), Digest::of(content.as_bytes()));
        }
    }

    #[test]
    fn a_rested_file_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, "content").unwrap();
        let (stat, wrong) = (stat(&path).unwrap(), Digest::of(b"not the content"));
        let rested = Seen { stat, hashed_ns: stat.ctime_ns + REST_NS + 1, digest: wrong };
        let first = files(folder.path());
        *lock(&first.table) = Table { loaded: true, changed: true, seen: BTreeMap::from([(path.clone(), rested)]) };
        first.save().unwrap();
        assert_eq!(files(folder.path()).digest(&path).unwrap(), wrong);
        fs_err::write(&path, "longer content").unwrap();
        assert_eq!(files(folder.path()).digest(&path).unwrap(), Digest::of(b"longer content"));
    }

    #[test]
    fn what_was_learned_is_kept_and_a_broken_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, "content").unwrap();
        let first = files(folder.path());
        first.digest(&path).unwrap();
        first.save().unwrap();
        assert!(fs_err::read_to_string(folder.path().join("files.json")).unwrap().contains("hashed_ns"));
        fs_err::write(folder.path().join("files.json"), "{").unwrap();
        assert_eq!(files(folder.path()).digest(&path).unwrap(), Digest::of(b"content"));
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = files(folder.path()).digest(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not a file"), "{error}");
    }
}
