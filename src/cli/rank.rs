//! `spot rank`: how alike the prompts of a folder are, whoever tuned them.

use super::JSON_VERSION;
use super::prompt::given;
use crate::error::{Exit, Usage};
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::PromptFile;
use crate::ml::similarity::Similarity;
use crate::report::similarities;
use crate::ui;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `spot rank`.
#[derive(Args)]
pub(super) struct Rank {
    /// Folder of prompts: `NAME.safetensors`, `NAME.npy`, and folders `NAME` that PEFT saved
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
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let prompts = prompts(&self.folder)?;
        let metric = Similarity::from(self.metric);
        let names: Vec<&str> = prompts.iter().map(|(name, _)| name.as_str()).collect();
        let similarity = |(a_name, a): &(String, Prompt), (b_name, b): &(String, Prompt)| {
            metric.of(a, b).map_err(|error| Usage(format!("`{a_name}` and `{b_name}`: {error}")))
        };
        let Some(target) = &self.target else {
            // If all compare with the first, they compare with each other.
            prompts.iter().try_for_each(|other| similarity(&prompts[0], other).map(drop))?;
            let all: Vec<&Prompt> = prompts.iter().map(|(_, prompt)| prompt).collect();
            let matrix = metric.matrix(&all, &all)?;
            let json = json!({"version": JSON_VERSION, "metric": metric, "prompts": names, "similarity": matrix});
            return self.print(&similarities::matrix(&names, &matrix), &json);
        };
        let known = prompts.iter().find(|(name, _)| name == target);
        let known = known.ok_or_else(|| {
            Usage(format!("no prompt `{target}` in `{}`; there are {}", self.folder.display(), names.join(", ")))
        })?;
        let others = prompts.iter().filter(|(name, _)| name != target);
        let mut ranking =
            others.map(|other| Ok((other.0.as_str(), similarity(known, other)?))).collect::<Result<Vec<_>, Usage>>()?;
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

/// The prompts of a folder by name, in the order of their names.
pub(super) fn prompts(folder: &Path) -> anyhow::Result<Vec<(String, Prompt)>> {
    let items = fs_err::read_dir(folder).map_err(|error| Usage(error.to_string()))?;
    let mut paths = items.map(|item| Ok(item?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    let mut prompts: Vec<(String, Prompt)> = Vec::new();
    for path in paths {
        // A folder has no extension, even if there is a point in its name.
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let found = match path.extension().and_then(|extension| extension.to_str()) {
            _ if given::is_adapter(&path) => vec![(name, given::adapter(&path)?)],
            Some("npy" | "safetensors") => named(&name, given::file(&path)?),
            _ => continue,
        };
        for (name, prompt) in found {
            if prompts.iter().any(|(known, _)| *known == name) {
                return Err(Usage(format!("{}: a second prompt called `{name}`", path.display())).into());
            }
            prompts.push((name, prompt));
        }
    }
    if prompts.is_empty() {
        let expected = "expected `NAME.safetensors`, `NAME.npy` or folders with `adapter_model.safetensors`";
        return Err(Usage(format!("no prompt in `{}`; {expected}", folder.display())).into());
    }
    Ok(prompts)
}

/// The only prompt of a file has the name of the file; several have their own after it.
fn named(name: &str, file: PromptFile) -> Vec<(String, Prompt)> {
    let single = file.prompts.len() == 1;
    let name = |tensor: String| if single { name.to_owned() } else { format!("{name}:{tensor}") };
    file.prompts.into_iter().map(|(tensor, prompt)| (name(tensor), prompt)).collect()
}
