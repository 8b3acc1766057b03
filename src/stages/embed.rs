//! `embed`: a prompt at a fixed early step is the embedding of its task (SPoT, section 3). Of runs that begin from a common origin
//! it is what they learned, the prompt minus the origin (as task vectors are, Ilharco et al. 2023, for weights).

use super::reading::read;
use super::{CHECKPOINTS, EMBEDDING, PROMPT};
use crate::data::{Column, DataError, Table};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Known, Output, Ref, Stage, Subject};
use crate::ml::metadata::Metadata;
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::{self, ORIGIN, PromptFile};
use crate::ml::prompt::similarity::Similarity;
use anyhow::{Context, bail, ensure};
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
    const VERSION: u32 = 3;
    const OUTPUTS: &'static [Output] = &[Output { name: "embedding", of: EMBEDDING }];

    fn inputs(&self) -> Vec<Input> {
        let of = if self.at_step.is_some() { CHECKPOINTS } else { PROMPT };
        vec![Input::one("prompt", &self.prompt, of)]
    }

    fn subject(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        inputs("prompt").pop().map(|known| known.subject)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let file = read("prompt", cx.one("prompt")?, PromptFile::from_bytes)?;
        let (prompt, step) = match self.at_step {
            None if file.about.origin.is_some() => {
                bail!("`at_step` is missing: the best prompt does not hold the origin of its run; the kept ones do")
            }
            None => (file.prompt(file::PROMPT)?, file.about.step),
            Some(step) => (kept(&file, step)?, Some(step)),
        };
        let prompt = match file.prompts.get(ORIGIN) {
            Some(origin) => prompt.minus(origin).context("`prompt`: its origin")?,
            None => prompt.clone(),
        };
        // What it cost: an early step need not be followed by others.
        let spent = self.at_step.or(file.about.steps);
        cx.write("embedding", &to_parquet(prompt, &About { step, ..file.about }, spent)?)
    }
}

fn kept(file: &PromptFile, step: u64) -> anyhow::Result<&Prompt> {
    file.prompts.get(&format!("step_{step}")).with_context(|| {
        let steps: Vec<&str> = file.prompts.keys().filter_map(|name| name.strip_prefix("step_")).collect();
        let kept = if steps.is_empty() { "no step".to_owned() } else { format!("step {}", steps.join(", ")) };
        format!("`at_step` is {step}, but the tuning kept {kept}; add {step} to its `keep_at`")
    })
}

/// The file of an embedding: what the prompt says of itself, and the updates that it took.
fn to_parquet(prompt: Prompt, about: &About, spent: Option<u64>) -> Result<Vec<u8>, DataError> {
    let rows = prompt.length();
    let mut table = Table::new([
        ("task", Column::OptText(vec![about.task.clone(); rows])),
        ("seed", Column::OptUnsigned(vec![about.seed; rows])),
        ("vector", Column::Vector { width: prompt.width, values: prompt.values }),
    ]);
    let said = about.metadata().with_or_empty("step", about.step.as_ref());
    table.metadata = said.with_known("embedding_steps", spent.as_ref()).into();
    table.to_parquet()
}

/// An embedding artifact, read back.
pub struct Embedding {
    /// `[P, E]`.
    pub prompt: Prompt,
    /// Its task.
    pub task: String,
    /// Seed of its tuning.
    pub seed: u64,
    /// Digest of the backbone that it belongs to.
    pub backbone: String,
    /// Digest of the common origin that was taken off it, if one was.
    pub origin: Option<String>,
    /// Updates that it took, if that is known.
    pub steps: Option<u64>,
}

impl Embedding {
    /// Checks that similarity with another one means something.
    ///
    /// # Errors
    /// If they are of different backbones, or measured from different origins.
    pub fn comparable(&self, other: &Self) -> anyhow::Result<()> {
        ensure!(
            other.backbone == self.backbone && other.prompt.width == self.prompt.width,
            "the embeddings of `{}` and `{}` belong to different backbones and cannot be compared",
            self.task,
            other.task
        );
        let begins = |e: &Self| match &e.origin {
            None => format!("`{},{}` from a prompt of its own", e.task, e.seed),
            Some(origin) => format!("`{},{}` from the origin {origin:.12}", e.task, e.seed),
        };
        ensure!(
            other.origin == self.origin,
            "{} and {} cannot be compared: what they learned is measured from different places; give all of them the same \
             `origin`, or none",
            begins(self),
            begins(other)
        );
        Ok(())
    }

    /// How alike every one of `rows` is to every one of `columns`.
    ///
    /// # Errors
    /// If two prompts differ in width, or a cosine is undefined.
    pub fn similarities(metric: Similarity, rows: &[Self], columns: &[Self]) -> anyhow::Result<Vec<Vec<f64>>> {
        let [rows, columns] = [rows, columns].map(|of| of.iter().map(|e| &e.prompt).collect::<Vec<&Prompt>>());
        Ok(metric.matrix(&rows, &columns)?)
    }

    /// Reads an artifact.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn read(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let (width, values) = table.take_vectors("vector")?;
        let mut said = Metadata::from(table.metadata);
        Ok(Self {
            prompt: Prompt { values, width },
            task: said.need("task")?,
            seed: said.need("seed")?,
            backbone: said.need("backbone")?,
            origin: said.take(ORIGIN)?,
            steps: said.take("embedding_steps")?,
        })
    }
}
