//! `prompt`: a soft prompt from a file, wherever it was tuned, as one of a pipeline's own.

use super::{PROMPT, backbone};
use crate::engine::context::Cx;
use crate::engine::input::FileInput;
use crate::engine::stage::{Input, Known, Output, Ref, Stage, Subject, Type};
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::PromptFile;
use crate::ml::prompt::form;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A prompt that is there already.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The model that it was tuned on.
    backbone: Ref,
    /// Safetensors with one prompt, as `spot prompt import` and `spot prompt export` write it, `.npy`, or a file of `torch.save`; also
    /// an output of a `command`, as `{output: stage.name}`.
    #[serde(skip_serializing)]
    file: FileInput,
    /// Its task, if the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// The seed of its tuning, if the file does not say; 0 if nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl Stage for Given {
    const KIND: &'static str = "prompt";
    const VERSION: u32 = 1;
    const OUTPUTS: &'static [Output] = &[Output { name: "prompt", of: PROMPT }];

    fn inputs(&self) -> Vec<Input> {
        vec![backbone::input(&self.backbone), self.file.input("file", Type::FILE)]
    }

    fn subject(&self, _: &dyn Fn(&str) -> Vec<Known>) -> Option<Subject> {
        let run = self.seed.unwrap_or(0).to_string();
        Some(Subject { name: self.task.clone()?, run: Some(run), origin: None, source: None })
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?;
        let (digest, width) = (backbone.digest.to_string(), backbone::width(backbone)?);
        let shown = || format!("`{}`", self.file);
        let read = form::read(&cx.one("file")?.bytes()?).with_context(shown)?;
        read.about.check_backbone(&digest).with_context(shown)?;
        let names: Vec<&str> = read.prompts.keys().map(String::as_str).collect();
        ensure!(
            names.len() == 1,
            "{} has {} prompts: {}; take one out with `spot prompt import --tensor NAME`",
            shown(),
            names.len(),
            names.join(", ")
        );
        let prompt = read.prompts.values().next().expect("one was counted").clone();
        prompt.fits(width).with_context(shown)?;
        let task = agreed(&shown(), "task", read.about.task, self.task.clone())?;
        ensure!(task.is_some(), "{} does not say which task its prompt is of; say it with `task`", shown());
        let seed = agreed(&shown(), "seed", read.about.seed, self.seed)?.unwrap_or(0);
        let about = About { task, seed: Some(seed), backbone: Some(digest), ..read.about };
        cx.write("prompt", &PromptFile::of(prompt, about).to_bytes())
    }
}

/// What the file says, or else the manifest; both may say the same.
fn agreed<T: PartialEq + fmt::Display>(
    file: &str,
    key: &str,
    known: Option<T>,
    value: Option<T>,
) -> anyhow::Result<Option<T>> {
    if let (Some(known), Some(value)) = (&known, &value) {
        ensure!(known == value, "{file} says `{key}` is `{known}`, but the manifest says `{value}`");
    }
    Ok(known.or(value))
}
