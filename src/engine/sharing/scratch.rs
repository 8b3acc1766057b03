//! The saved steps of an interrupted job, for whoever goes on with it on another machine.

use super::Sharing;
use super::entries::blob_name;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::{Received, Store};
use serde::{Deserialize, Serialize};
use std::io;

/// Files of a scratch folder: more than a job ever leaves.
const MOST_FILES: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct Saved {
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
struct File {
    name: String,
    digest: Digest,
    size: u64,
}

fn name(key: &Key) -> String {
    format!("partial/{key}.json")
}

impl Sharing {
    /// Brings what an interrupted job saved there.
    ///
    /// # Errors
    /// If it cannot be read here, or not be written there.
    pub fn push_scratch(&self, store: &Store, key: &Key) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for (name, path) in store.scratch_files(key)? {
            let bytes = fs_err::metadata(&path)?.len();
            let digest = crate::engine::store::files::hash(&path)?;
            let there = self.objects.size(&blob_name(&digest)).map_err(|error| self.failed(&error))?;
            if there != Some(bytes) {
                self.objects.send(&blob_name(&digest), &path).map_err(|error| self.failed(&error))?;
            }
            files.push(File { name, digest, size: bytes });
        }
        if files.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(&Saved { files })?;
        self.objects.put(&name(key), &text).map_err(|error| self.failed(&error))
    }

    /// Takes up what somebody saved of a job, if this machine has nothing of it; whether there was something whole.
    ///
    /// # Errors
    /// If the place cannot be asked, or the store of this machine not be written.
    pub fn pull_scratch(&self, store: &Store, key: &Key) -> anyhow::Result<bool> {
        if store.scratch_path(key).exists() {
            return Ok(false);
        }
        let Some(object) = self.objects.get(&name(key)).map_err(|error| self.failed(&error))? else { return Ok(false) };
        let Ok(Saved { files }) = serde_json::from_slice(&object.bytes) else { return Ok(false) };
        let is_plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if files.len() > MOST_FILES || files.iter().any(|file| !is_plain(&file.name)) {
            return Ok(false);
        }
        let folder = store.temp_path();
        fs_err::create_dir_all(&folder)?;
        let taken = || -> anyhow::Result<bool> {
            for file in &files {
                let path = folder.join(&file.name);
                let received = self.receive(&file.digest, |name| {
                    store.receive_as(&path, &file.digest, file.size, |into| {
                        self.objects.copy(name, into).map_err(io::Error::other)
                    })
                })?;
                if received != Received::Right {
                    return Ok(false);
                }
            }
            store.take_scratch(key, &folder)?;
            Ok(true)
        };
        let taken = taken();
        let _ = fs_err::remove_dir_all(&folder);
        taken
    }

    /// Names of the blobs that an interrupted job needs.
    pub(super) fn files_of(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let object = self.objects.get(name).map_err(|error| self.failed(&error))?;
        let saved = object.and_then(|object| serde_json::from_slice::<Saved>(&object.bytes).ok());
        Ok(saved.into_iter().flat_map(|saved| saved.files).map(|file| blob_name(&file.digest)).collect())
    }

    /// Nobody needs what was saved of a job any more.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn drop_scratch(&self, key: &Key) -> anyhow::Result<()> {
        self.objects.remove(&name(key)).map_err(|error| self.failed(&error))
    }
}
