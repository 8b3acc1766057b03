//! The state of an interrupted job in its scratch folder: named vectors and words, replaced in one step.

use crate::engine::context::Cx;
use crate::ml::prompt::file::{self, Matrices};
use crate::replace::{replace, replace_unsynced};
use anyhow::Context;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

/// What a job needs to go on.
#[derive(Default)]
pub(super) struct Checkpoint<'a> {
    /// Steps done.
    pub(super) step: u64,
    /// Vectors by name. To save them none is copied: they may be all weights of a model.
    pub(super) vectors: BTreeMap<String, Cow<'a, [f32]>>,
    /// Words by name.
    pub(super) words: BTreeMap<String, String>,
}

/// The layout of what jobs save; what another version of the program saved is not taken up.
const LAYOUT: &str = "4";

/// The length of the hash in front of a saved state.
const SEAL: usize = 32;

impl<'a> Checkpoint<'a> {
    /// Saves the state; `step` in a file of its own, where `spot status` finds it.
    ///
    /// # Errors
    /// If the scratch folder cannot be written to.
    pub(super) fn save(self, cx: &Cx<'_>) -> anyhow::Result<()> {
        self.save_in(cx.scratch()?)?;
        cx.saved()
    }

    fn save_in(mut self, scratch: &Path) -> anyhow::Result<()> {
        self.words.insert("step".to_owned(), self.step.to_string());
        self.words.insert("layout".to_owned(), LAYOUT.to_owned());
        // Empty vectors have no place in the file; they are restored from their absence.
        let vectors = self.vectors.iter().filter(|(_, values)| !values.is_empty());
        let tensors = vectors.map(|(name, values)| (name.as_str(), (&**values, 1))).collect();
        let path = scratch.join("state");
        replace(&path, &beside(&path), |file| {
            file.write_all(&[0; SEAL])?;
            let mut sealing = Sealing { hasher: blake3::Hasher::new(), inner: BufWriter::new(file) };
            file::write(&tensors, &self.words, &mut sealing)?;
            sealing.inner.flush()?;
            let seal = sealing.hasher.finalize();
            let file = sealing.inner.get_mut();
            file.rewind()?;
            file.write_all(seal.as_bytes())
        })?;
        // For people to see; the state has it too.
        let (path, text) = (scratch.join("step"), self.step.to_string());
        Ok(replace_unsynced(&path, &beside(&path), |file| file.write_all(text.as_bytes()))?)
    }

    /// The saved state, if there is one that is whole; what a crash left half-written counts as nothing.
    ///
    /// # Errors
    /// If the scratch folder cannot be read, or a complete state cannot be parsed.
    pub(super) fn load(cx: &Cx<'_>) -> anyhow::Result<Option<Self>> {
        Self::load_from(cx.scratch()?, |message| cx.progress().warn(message))
    }

    fn load_from(scratch: &Path, warn: impl Fn(&str)) -> anyhow::Result<Option<Self>> {
        let path = scratch.join("state");
        if !path.exists() {
            return Ok(None);
        }
        let sealed = fs_err::read(&path)?;
        let Some((seal, bytes)) = sealed.split_at_checked(SEAL) else { return Ok(None) };
        if blake3::hash(bytes).as_bytes() != seal {
            warn("the saved state of this job is damaged; it starts over");
            return Ok(None);
        }
        let file = Matrices::from_bytes(bytes)?;
        let mut words = BTreeMap::from(file.metadata);
        if words.remove("layout").as_deref() != Some(LAYOUT) {
            warn("the saved state of this job was written by another version of the program; it starts over");
            return Ok(None);
        }
        let step = words.remove("step").and_then(|step| step.parse().ok()).context("a saved state without its step")?;
        let vectors = file.by_name.into_iter().map(|(name, prompt)| (name, prompt.values.into())).collect();
        Ok(Some(Self { step, vectors, words }))
    }

    /// Puts a vector in.
    pub(super) fn put(&mut self, name: &str, values: &'a [f32]) {
        self.vectors.insert(name.to_owned(), values.into());
    }

    /// Takes a vector out.
    pub(super) fn take(&mut self, name: &str) -> Vec<f32> {
        self.vectors.remove(name).unwrap_or_default().into_owned()
    }

    /// Puts vectors in as `name_0`, `name_1` and so on.
    pub(super) fn put_all(&mut self, name: &str, vectors: impl IntoIterator<Item = &'a [f32]>) {
        for (i, values) in vectors.into_iter().enumerate() {
            self.put(&format!("{name}_{i}"), values);
        }
    }

    /// Takes `name_0`, `name_1` and so on out.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<Vec<f32>> {
        (0..).map_while(|i| self.vectors.remove(&format!("{name}_{i}"))).map(Cow::into_owned).collect()
    }

    /// A word, read as JSON.
    ///
    /// # Errors
    /// If there is none of this name, or it is another type's.
    pub(super) fn word<T: serde::de::DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let word = self.words.get(name).with_context(|| format!("a saved state without `{name}`"))?;
        serde_json::from_str(word).with_context(|| format!("`{name}` of a saved state"))
    }

    /// Puts a word in, as JSON.
    ///
    /// # Errors
    /// If JSON has no form for it.
    pub(super) fn put_word(&mut self, name: &str, value: &impl serde::Serialize) -> anyhow::Result<()> {
        self.words.insert(name.to_owned(), serde_json::to_string(value)?);
        Ok(())
    }
}

/// Hashes what is written.
struct Sealing<W> {
    hasher: blake3::Hasher,
    inner: W,
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a file of a scratch folder so that it is there whole or not at all.
///
/// # Errors
/// If the folder cannot be written to.
pub(super) fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, &beside(path), |file| file.write_all(bytes))
}

/// Always the same, so that what kills leave does not pile up; the folder is one job's, which runs under a lock.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn saved(folder: &TempDir, step: u64, values: &[f32]) {
        let mut state = Checkpoint { step, ..Checkpoint::default() };
        state.put("weights", values);
        state.put("nothing", &[]);
        state.put_all("moment", [&values[..1], &values[1..]]);
        state.put_word("curve", &vec![0.1, 0.7]).unwrap();
        state.save_in(folder.path()).unwrap();
    }

    fn loaded(folder: &TempDir) -> Option<Checkpoint<'static>> {
        Checkpoint::load_from(folder.path(), |_| {}).unwrap()
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_takes_no_more_room_than_its_vectors() {
        let folder = TempDir::new().unwrap();
        assert!(loaded(&folder).is_none());
        let values: Vec<f32> = (0..10_000).map(|i| (i as f32).sqrt()).collect();
        for step in [3, 4] {
            saved(&folder, step, &values);
        }
        let size = fs_err::metadata(folder.path().join("state")).unwrap().len();
        assert!(size < 2 * 4 * 10_000 + 1000, "{size}");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2, "`state` and `step`, nothing else");
        let mut state = loaded(&folder).unwrap();
        assert_eq!((state.step, state.take("weights"), state.take("nothing")), (4, values.clone(), Vec::new()));
        assert_eq!(state.take_all("moment"), [values[..1].to_vec(), values[1..].to_vec()]);
        assert_eq!(state.word::<Vec<f64>>("curve").unwrap(), [0.1, 0.7]);
    }

    #[test]
    fn what_a_killed_job_was_writing_is_not_taken_for_its_state() {
        let folder = TempDir::new().unwrap();
        saved(&folder, 7, &[1.0, 2.0, 3.0]);
        let whole = fs_err::read(folder.path().join("state")).unwrap();
        fs_err::write(folder.path().join("state.new"), &whole[..50]).unwrap();
        assert_eq!(loaded(&folder).unwrap().step, 7);
        for damage in [&whole[..whole.len() - 1], &whole[..40], &whole[..10], &[]] {
            fs_err::write(folder.path().join("state"), damage).unwrap();
            assert!(loaded(&folder).is_none(), "{} bytes of {}", damage.len(), whole.len());
        }
        saved(&folder, 8, &[1.0, 2.0, 3.0]);
        assert_eq!(loaded(&folder).unwrap().step, 8);
    }

    #[test]
    fn a_state_of_another_layout_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let tensors = BTreeMap::from([("prompt", (&[1.0_f32][..], 1))]);
        let mut bytes = Vec::new();
        file::write(&tensors, &BTreeMap::from([("step".to_owned(), "5".to_owned())]), &mut bytes).unwrap();
        let sealed = [blake3::hash(&bytes).as_bytes().as_slice(), &bytes].concat();
        fs_err::write(folder.path().join("state"), sealed).unwrap();
        assert!(loaded(&folder).is_none());
    }
}
