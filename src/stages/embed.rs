//! `embed`: a prompt at a fixed early step is the embedding of its task (SPoT, section 3).

use super::{CHECKPOINTS, EMBEDDING, PROMPT};
use crate::data::{Column, PromptFile, Table, Tensors};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Output, Ref, Stage};
use crate::ml::prompt::Prompt;
use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The embedding of a task.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// The tuning of the prompt.
    prompt: Ref,
    /// The step, one of the tuning's `keep_at` (the paper: 10,000); without it the best checkpoint is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_step: Option<u64>,
}

impl Stage for Embed {
    const KIND: &'static str = "embed";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "embedding", of: EMBEDDING }];

    fn inputs(&self) -> Vec<Input> {
        let of = if self.at_step.is_some() { CHECKPOINTS } else { PROMPT };
        vec![Input::one("prompt", &self.prompt, of)]
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let bytes = cx.one("prompt")?.bytes()?;
        let file = match self.at_step {
            None => PromptFile::read(&bytes)?,
            Some(step) => kept(Tensors::read(&bytes)?, step)?,
        };
        let Prompt { values, width } = &file.prompt;
        let mut table = Table::new(vec![("vector", Column::Vectors { width: *width, values: values.clone() })]);
        for (key, value) in &file.metadata {
            table = table.with(key, value);
        }
        cx.write("embedding", &table.to_bytes()?)
    }
}

fn kept(file: Tensors, step: u64) -> anyhow::Result<PromptFile> {
    let name = format!("step_{step}");
    let mut metadata = file.metadata;
    metadata.insert("step".to_owned(), step.to_string());
    let known: Vec<&str> = file.tensors.iter().map(|(name, ..)| name.as_str()).collect();
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    let tensor = file.tensors.into_iter().find(|(n, ..)| *n == name).with_context(|| {
        format!("`at_step` is {step}, but the tuning kept {known}; add {step} to its `keep_at`")
    })?;
    let (_, shape, values) = tensor;
    let [_, width] = shape[..] else { bail!("`{name}` has shape {shape:?}, expected [P, E]") };
    Ok(PromptFile { prompt: Prompt { values, width }, metadata })
}

/// An embedding artifact, read back.
pub struct Embedding {
    /// `[P, E]`.
    pub prompt: Prompt,
    /// Its task.
    pub task: String,
    /// Seed of its tuning.
    pub seed: String,
    /// Digest of the backbone that it belongs to.
    pub backbone: String,
}

impl Embedding {
    /// Reads an artifact.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let table = Table::read(bytes)?;
        let (width, values) = table.vectors("vector")?;
        let get = |key: &str| table.get(key).unwrap_or_default().to_owned();
        Ok(Self {
            prompt: Prompt { values: values.to_vec(), width },
            task: get("task"),
            seed: get("seed"),
            backbone: get("backbone"),
        })
    }
}
