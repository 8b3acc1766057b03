//! `embed`: a prompt at a fixed early step is the embedding of its task (SPoT, section 3).

use super::{CHECKPOINTS, EMBEDDING, PROMPT};
use crate::data::{Column, Table};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Known, Output, Ref, Stage, Subject};
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::{self, PromptFile};
use crate::ml::similarity::Similarity;
use anyhow::{Context, ensure};
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

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        inputs("prompt").pop().map(|known| known.subject)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let file = PromptFile::from_bytes(&cx.one("prompt")?.bytes()?).context("`prompt`")?;
        let (prompt, step) = match self.at_step {
            None => (file.prompt(prompt_file::PROMPT)?, file.get("step").unwrap_or_default().to_owned()),
            Some(step) => (kept(&file, step)?, step.to_string()),
        };
        let vectors = Column::Vector { width: prompt.width, values: prompt.values.clone() };
        let mut table = Table::new([("vector", vectors)]);
        table.metadata = file.metadata.clone();
        table.metadata.insert("step".to_owned(), step);
        cx.write("embedding", &table.to_parquet()?)
    }
}

fn kept(file: &PromptFile, step: u64) -> anyhow::Result<&Prompt> {
    file.prompts.get(&format!("step_{step}")).with_context(|| {
        let steps: Vec<&str> = file.prompts.keys().filter_map(|name| name.strip_prefix("step_")).collect();
        let kept = if steps.is_empty() { "no step".to_owned() } else { format!("step {}", steps.join(", ")) };
        format!("`at_step` is {step}, but the tuning kept {kept}; add {step} to its `keep_at`")
    })
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
    /// Checks that similarity with another one means something.
    pub fn comparable(&self, other: &Self) -> anyhow::Result<()> {
        ensure!(
            other.backbone == self.backbone && other.prompt.width == self.prompt.width,
            "the embeddings of `{}` and `{}` belong to different backbones and cannot be compared",
            self.task,
            other.task
        );
        Ok(())
    }

    /// How alike every one of `rows` is to every one of `columns`.
    pub fn similarities(metric: Similarity, rows: &[Self], columns: &[Self]) -> anyhow::Result<Vec<Vec<f64>>> {
        let [rows, columns] = [rows, columns].map(|of| of.iter().map(|e| &e.prompt).collect::<Vec<&Prompt>>());
        Ok(metric.matrix(&rows, &columns)?)
    }

    /// Reads an artifact.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut table = Table::from_parquet(bytes)?;
        let (width, values) = table.take_vectors("vector")?;
        let get = |key: &str| table.metadata.get(key).cloned().unwrap_or_default();
        Ok(Self { prompt: Prompt { values, width }, task: get("task"), seed: get("seed"), backbone: get("backbone") })
    }
}
