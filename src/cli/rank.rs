//! `spot rank`: how alike the prompts of a folder are, whoever tuned them.

use super::JSON_VERSION;
use super::prompt::given;
use crate::error::{Exit, Usage};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::PromptFile;
use crate::ml::prompt::similarity::Similarity;
use crate::report::similarities;
use crate::ui;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `spot rank`.
#[derive(Args)]
pub(super) struct Rank {
    /// Folder of prompts of one model: `NAME.safetensors`, `NAME.npy`, `NAME.pt` or `NAME.bin`, and folders `NAME` that PEFT saved
    folder: PathBuf,
    /// Rank the others by their similarity to this one
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Cosine of the mean rows, or mean cosine over all pairs of rows
    #[arg(long, value_enum, default_value = "average-tokens")]
    metric: Metric,
    /// Which form
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
}

/// [`Similarity`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Metric {
    AverageTokens,
    PerToken,
}

impl From<Metric> for Similarity {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::AverageTokens => Self::AverageTokens,
            Metric::PerToken => Self::PerToken,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Text,
    Markdown,
    Json,
}

impl Rank {
    /// Runs the command.
    ///
    /// # Errors
    /// If the folder has no prompts, no target of that name, or prompts that cannot be compared.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let prompts = prompts(&self.folder)?;
        let metric = Similarity::from(self.metric);
        let names: Vec<&str> = prompts.iter().map(|known| known.name.as_str()).collect();
        let similarity = |a: &Known, b: &Known| {
            metric.of(&a.prompt, &b.prompt).map_err(|error| Usage(format!("`{}` and `{}`: {error}", a.name, b.name)))
        };
        let Some(target) = &self.target else {
            // If all compare with the first, they compare with each other.
            prompts.iter().try_for_each(|other| similarity(&prompts[0], other).map(drop))?;
            let all: Vec<&Prompt> = prompts.iter().map(|known| &known.prompt).collect();
            let matrix = metric.matrix(&all, &all)?;
            let json = json!({"version": JSON_VERSION, "metric": metric, "prompts": names, "similarity": matrix});
            return self.print(&similarities::matrix(&names, &matrix), &json);
        };
        let known = prompts.iter().find(|known| known.name == *target);
        let known = known.ok_or_else(|| {
            Usage(format!("no prompt `{target}` in `{}`; there are {}", self.folder.display(), names.join(", ")))
        })?;
        let others = prompts.iter().filter(|other| other.name != *target);
        let mut ranking = others
            .map(|other| Ok((other.name.as_str(), similarity(known, other)?)))
            .collect::<Result<Vec<_>, Usage>>()?;
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
        let json = ranking.iter().map(|(name, similarity)| json!({"source": name, "similarity": similarity}));
        let json =
            json!({"version": JSON_VERSION, "metric": metric, "target": target, "ranking": json.collect::<Vec<_>>()});
        self.print(&similarities::ranking(&ranking), &json)
    }

    fn print(&self, table: &similarities::Table, json: &serde_json::Value) -> anyhow::Result<Exit> {
        match self.format {
            Form::Text => ui::print(&table.to_text())?,
            Form::Markdown => ui::print(&table.to_markdown())?,
            Form::Json => ui::print_json(json)?,
        }
        Ok(Exit::Ok)
    }
}

/// A prompt of the folder, and what it says of itself.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) prompt: Prompt,
    about: About,
}

/// Checks that no two prompts say that they were tuned on different models.
fn check_backbones(prompts: &[Known]) -> Result<(), Usage> {
    let said: Vec<(&str, &About)> = prompts.iter().map(|known| (known.name.as_str(), &known.about)).collect();
    let Some([(a, on_a), (b, on_b)]) = About::different_models(&said) else { return Ok(()) };
    Err(Usage(format!(
        "`{a}` was tuned on the model {on_a:.40} and `{b}` on {on_b:.40}; only prompts of one backbone can be compared"
    )))
}

/// The prompts of a folder, in the order of their names; all of one backbone, as far as they say of which.
///
/// # Errors
/// If the folder has none, is a single adapter, has two of one name, one that cannot be read, or prompts of different
/// backbones.
pub(super) fn prompts(folder: &Path) -> anyhow::Result<Vec<Known>> {
    if given::is_adapter(folder) {
        let message = format!("`{}` is a single adapter, expected a folder with several prompts", folder.display());
        return Err(Usage(message).into());
    }
    let items = fs_err::read_dir(folder).map_err(|error| Usage(error.to_string()))?;
    let mut paths = items.map(|item| Ok(item?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    let mut prompts: Vec<Known> = Vec::new();
    for path in paths {
        // A folder has no extension, even if there is a point in its name.
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let file = match given::is_adapter(&path) {
            true => given::adapter(&path)?,
            false if path.is_file() && given::is_prompt(&path) => given::file(&path)?,
            false => continue,
        };
        for known in named(&name, file) {
            if prompts.iter().any(|other| other.name == known.name) {
                return Err(Usage(format!("{}: a second prompt called `{}`", path.display(), known.name)).into());
            }
            prompts.push(known);
        }
    }
    if prompts.is_empty() {
        let expected = "expected `NAME.safetensors`, `NAME.npy`, `NAME.pt` or folders with `adapter_model.safetensors`";
        return Err(Usage(format!("no prompt in `{}`; {expected}", folder.display())).into());
    }
    check_backbones(&prompts)?;
    Ok(prompts)
}

/// The only prompt of a file has the name of the file; several have their own after it.
fn named(name: &str, file: PromptFile) -> Vec<Known> {
    let single = file.prompts.len() == 1;
    let name = |tensor: String| if single { name.to_owned() } else { format!("{name}:{tensor}") };
    let known = |(tensor, prompt): (String, Prompt)| Known { name: name(tensor), prompt, about: file.about.clone() };
    file.prompts.into_iter().map(known).collect()
}
