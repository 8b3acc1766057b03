//! The state of an interrupted job in its scratch folder: named vectors and words, replaced in one step.

use crate::engine::context::Cx;
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::PromptFile;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::Path;

/// What a job needs to go on.
#[derive(Default)]
pub(super) struct Checkpoint {
    /// Steps done.
    pub(super) step: u64,
    /// Vectors by name.
    pub(super) vectors: BTreeMap<String, Vec<f32>>,
    /// Words by name.
    pub(super) words: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Saves the state; `step` in a file of its own, where `spot status` finds it.
    pub(super) fn save(self, cx: &Cx<'_>) -> anyhow::Result<()> {
        let scratch = cx.scratch()?;
        // Empty vectors have no place in the file; they are restored from their absence.
        let vectors = self.vectors.into_iter().filter(|(_, values)| !values.is_empty());
        let prompts = vectors.map(|(name, values)| (name, Prompt { values, width: 1 })).collect();
        let mut metadata = self.words;
        metadata.insert("step".to_owned(), self.step.to_string());
        let bytes = PromptFile { prompts, metadata }.to_bytes();
        let sealed = [blake3::hash(&bytes).as_bytes().as_slice(), &bytes].concat();
        replace(&scratch.join("state"), &sealed)?;
        replace(&scratch.join("step"), self.step.to_string().as_bytes())
    }

    /// The saved state, if there is one that is whole; what a crash left half-written counts as nothing.
    pub(super) fn load(cx: &Cx<'_>) -> anyhow::Result<Option<Self>> {
        let path = cx.scratch()?.join("state");
        if !path.exists() {
            return Ok(None);
        }
        let sealed = fs_err::read(&path)?;
        let Some((seal, bytes)) = sealed.split_at_checked(32) else { return Ok(None) };
        if blake3::hash(bytes).as_bytes() != seal {
            cx.progress().warn("the saved state of this job is damaged; it starts over");
            return Ok(None);
        }
        let file = PromptFile::from_bytes(bytes)?;
        let mut words = file.metadata;
        let step = words.remove("step").and_then(|step| step.parse().ok()).context("a saved state without its step")?;
        let vectors = file.prompts.into_iter().map(|(name, prompt)| (name, prompt.values)).collect();
        Ok(Some(Self { step, vectors, words }))
    }

    /// Takes a vector out.
    pub(super) fn take(&mut self, name: &str) -> Vec<f32> {
        self.vectors.remove(name).unwrap_or_default()
    }

    /// Takes `moment_0`, `moment_1` and so on out.
    pub(super) fn take_moments(&mut self) -> Vec<Vec<f32>> {
        (0..).map_while(|i| self.vectors.remove(&format!("moment_{i}"))).collect()
    }

    /// Puts an optimiser's moments in.
    pub(super) fn put_moments(&mut self, moments: &[Vec<f32>]) {
        for (i, moment) in moments.iter().enumerate() {
            self.vectors.insert(format!("moment_{i}"), moment.clone());
        }
    }

    /// A word, read as JSON.
    pub(super) fn word<T: serde::de::DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let word = self.words.get(name).with_context(|| format!("a saved state without `{name}`"))?;
        serde_json::from_str(word).with_context(|| format!("`{name}` of a saved state"))
    }

    /// Puts a word in, as JSON.
    pub(super) fn put_word(&mut self, name: &str, value: &impl serde::Serialize) -> anyhow::Result<()> {
        self.words.insert(name.to_owned(), serde_json::to_string(value)?);
        Ok(())
    }
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs_err::write(&temporary, bytes)?;
    fs_err::rename(&temporary, path)?;
    Ok(())
}
