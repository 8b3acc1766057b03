//! Scratch folders: the work of interrupted jobs.

use super::Store;
use super::digest::Key;
use super::files::hash;
use super::names::{list, remove, remove_all};
use crate::replace::replace_unsynced;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

impl Store {
    /// The scratch folder of a key.
    pub fn scratch_path(&self, key: &Key) -> PathBuf {
        self.root.join("partial").join(key.to_string())
    }

    /// Removes the scratch folder of a key.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn drop_scratch(&self, key: &Key) -> io::Result<()> {
        remove(fs_err::remove_dir_all(self.scratch_path(key)))
    }

    /// The step up to which an interrupted job left its work: what the file `step` of its scratch folder says.
    pub fn interrupted_at(&self, key: &Key) -> Option<u64> {
        fs_err::read_to_string(self.scratch_path(key).join("step")).ok()?.trim().parse().ok()
    }

    /// The files of the scratch folder of a key: names and paths.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn scratch_files(&self, key: &Key) -> io::Result<Vec<(String, PathBuf)>> {
        let folder = self.scratch_path(key);
        let is_file = |name: &String| folder.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
        Ok(list(&folder)?.into_iter().filter(is_file).map(|name| (name.clone(), folder.join(name))).collect())
    }

    /// Makes a folder of this store's disk the scratch folder of a key that has none.
    ///
    /// # Errors
    /// If there is one, or it cannot be moved.
    pub fn take_scratch(&self, key: &Key, folder: &Path) -> io::Result<()> {
        let path = self.scratch_path(key);
        fs_err::create_dir_all(self.root.join("partial"))?;
        fs_err::rename(folder, path)
    }

    /// The keys whose scratch folders are there, sorted.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn scratch_keys(&self) -> io::Result<Vec<Key>> {
        Ok(list(&self.root.join("partial"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// The file of a sealed scratch folder that says what else is in it.
const SEAL: &str = "sealed";
/// What changes without the state: how often a job was started.
const UNSEALED: [&str; 2] = [SEAL, "attempts"];

/// Seals what is in a scratch folder with a secret: a line for each file, and a keyed hash of these lines.
///
/// # Errors
/// If the folder cannot be read or written.
pub(in crate::engine) fn seal(folder: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let mut text = String::new();
    for name in files_in(folder)? {
        text += &format!("{} {name}\n", hash(&folder.join(&name))?);
    }
    let seal = blake3::keyed_hash(secret, text.as_bytes()).to_hex();
    replace_unsynced(&folder.join(SEAL), &folder.join("sealed.new"), |file| {
        file.write_all(format!("{seal}\n{text}").as_bytes())
    })
}

/// Whether a scratch folder has what was in it when it was sealed with this secret. What came in since goes, such as what a kill left.
///
/// # Errors
/// If the folder cannot be read, or what came in not be removed.
pub(in crate::engine) fn is_sealed(folder: &Path, secret: &[u8; 32]) -> io::Result<bool> {
    let Ok(sealed) = fs_err::read_to_string(folder.join(SEAL)) else { return Ok(false) };
    let Some((seal, text)) = sealed.split_once('\n') else { return Ok(false) };
    let expected = blake3::keyed_hash(secret, text.as_bytes());
    // Compared as hashes, in constant time.
    if blake3::Hash::from_hex(seal).ok() != Some(expected) {
        return Ok(false);
    }
    let mut unknown: BTreeSet<String> = list(folder)?.into_iter().filter(|name| !is_unsealed(name)).collect();
    for line in text.lines() {
        let Some((digest, name)) = line.split_once(' ') else { return Ok(false) };
        let is_right = unknown.remove(name) && hash(&folder.join(name)).is_ok_and(|found| found.to_string() == digest);
        if !is_right {
            return Ok(false);
        }
    }
    unknown.iter().try_for_each(|name| remove_all(&folder.join(name)))?;
    Ok(true)
}

fn files_in(folder: &Path) -> io::Result<Vec<String>> {
    let is_file = |name: &String| folder.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
    Ok(list(folder)?.into_iter().filter(|name| !is_unsealed(name) && is_file(name)).collect())
}

fn is_unsealed(name: &str) -> bool {
    UNSEALED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_folder_is_taken_up_as_it_was_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path(), [7; 32]);
        assert!(!is_sealed(path, &secret).unwrap());
        fs_err::write(path.join("state"), "at step 3").unwrap();
        fs_err::write(path.join("step"), "3").unwrap();
        seal(path, &secret).unwrap();
        fs_err::write(path.join("attempts"), "2").unwrap();
        fs_err::write(path.join("state.new"), "at st").unwrap();
        assert!(is_sealed(path, &secret).unwrap());
        assert!(!path.join("state.new").exists(), "what a kill left");
        assert!(!is_sealed(path, &[8; 32]).unwrap(), "another key");
        let sealed = fs_err::read_to_string(path.join(SEAL)).unwrap();
        for (file, text) in [("state", "at step 4"), ("step", "4"), (SEAL, &*sealed.replace("step", "stop"))] {
            let before = fs_err::read(path.join(file)).unwrap();
            fs_err::write(path.join(file), text).unwrap();
            assert!(!is_sealed(path, &secret).unwrap(), "{file}");
            fs_err::write(path.join(file), before).unwrap();
        }
        assert!(is_sealed(path, &secret).unwrap());
        fs_err::remove_file(path.join("state")).unwrap();
        assert!(!is_sealed(path, &secret).unwrap());
        std::os::unix::fs::symlink("/etc/hostname", path.join("state")).unwrap();
        assert!(!is_sealed(path, &secret).unwrap());
    }
}
