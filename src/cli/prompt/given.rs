//! The prompt that somebody names: a file, a folder that PEFT saved, or a job of the cache.

use crate::cli::Cache;
use crate::cli::show;
use crate::engine::catalog::Catalog;
use crate::engine::entry::{Entry, Record};
use crate::engine::store::Store;
use crate::error::Usage;
use crate::ml::peft;
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::{self, PromptFile};
use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;

/// Files that Python's `pickle` wrote.
const PICKLED: [&str; 6] = ["pt", "pth", "bin", "ckpt", "pkl", "pickle"];

/// Which prompt is meant.
#[derive(Args)]
pub(super) struct Which {
    /// A file (`.safetensors`, `.npy`), a folder that PEFT saved, a job, or the first digits of a key or digest
    #[arg(value_name = "WHAT")]
    what: String,
    /// Of a tuning, the prompt at this step, one of its `keep_at`
    #[arg(long, value_name = "STEP")]
    at_step: Option<u64>,
    /// Of a file with several prompts, the one with this name
    #[arg(long, value_name = "NAME", conflicts_with = "at_step")]
    tensor: Option<String>,
    #[command(flatten)]
    pub(super) cache: Cache,
}

/// A prompt, and what is known of it.
pub(super) struct Given {
    /// What it is called: a path, or `source[mnli,0].prompt`.
    pub(super) name: String,
    pub(super) prompt: Prompt,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Which {
    pub(super) fn read(&self) -> anyhow::Result<Given> {
        let path = Path::new(&self.what);
        let (name, read) = if path.is_file() {
            (path.display().to_string(), file(path)?)
        } else if is_adapter(path) {
            (path.display().to_string(), PromptFile::of(adapter(path)?, BTreeMap::new()))
        } else {
            self.of_job(&self.cache.open())?
        };
        let step = self.at_step.map(|step| format!("step_{step}"));
        let names: Vec<&str> = read.prompts.keys().map(String::as_str).collect();
        let wanted = match step.as_deref().or(self.tensor.as_deref()) {
            Some(wanted) => wanted,
            None if names.len() == 1 => names[0],
            None => {
                let message = format!("`{name}` has several prompts: {}; name one with `--tensor`", names.join(", "));
                return Err(Usage(message).into());
            }
        };
        let prompt = read.prompt(wanted).map_err(|error| Usage(format!("`{name}`: {error}")))?.clone();
        let mut metadata = read.metadata;
        metadata.extend(self.at_step.map(|step| ("step".to_owned(), step.to_string())));
        Ok(Given { name, prompt, metadata })
    }

    fn of_job(&self, store: &Store) -> anyhow::Result<(String, PromptFile)> {
        let catalog = Catalog::read(store)?;
        let found = show::find(store, &catalog, &self.what)?;
        let wanted = if self.at_step.is_some() { "checkpoints" } else { "prompt" };
        let fits = |record: &Record| match found.digest {
            Some(digest) if self.at_step.is_none() => record.digest == digest,
            _ => record.r#type == wanted,
        };
        let records = found.entries.iter().flat_map(|entry| entry.artifacts.iter().map(move |record| (*entry, record)));
        let records: Vec<(&Entry, &Record)> = records.filter(|(_, record)| fits(record)).collect();
        let Some((entry, record)) = records.first() else {
            return Err(Usage(format!("`{}` made nothing of type {wanted}", self.what)).into());
        };
        if records.iter().any(|(_, other)| other.digest != record.digest) {
            let jobs: Vec<String> = records.iter().flat_map(|(entry, _)| catalog.jobs(&entry.key)).collect();
            let message = format!("`{}` is several jobs: {}; name one as `pipeline:job`", self.what, jobs.join(", "));
            return Err(Usage(message).into());
        }
        let name = format!("{}.{}", entry.provenance.job, record.name);
        let bytes = store.read(&record.digest, &name)?;
        let read = PromptFile::from_bytes(&bytes).map_err(|error| Usage(format!("`{name}`: {error}")))?;
        Ok((name, read))
    }
}

/// Whether PEFT saved this folder.
pub(in crate::cli) fn is_adapter(folder: &Path) -> bool {
    folder.join(peft::WEIGHTS).is_file()
}

/// The prompt of a folder that PEFT saved.
pub(in crate::cli) fn adapter(folder: &Path) -> anyhow::Result<Prompt> {
    let weights = fs_err::read(folder.join(peft::WEIGHTS))?;
    let config = folder.join(peft::CONFIG);
    let config = if config.is_file() { Some(fs_err::read(config)?) } else { None };
    peft::read(&weights, config.as_deref()).map_err(|error| Usage(format!("{}: {error}", folder.display())).into())
}

/// The prompts of a file.
pub(in crate::cli) fn file(path: &Path) -> anyhow::Result<PromptFile> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if PICKLED.contains(&extension) {
        let message = format!(
            "{}: a pickle, which can run any code when it is read; save it from Python as safetensors or `.npy`",
            path.display()
        );
        return Err(Usage(message).into());
    }
    prompt_file::read(&fs_err::read(path)?).map_err(|error| Usage(format!("{}: {error}", path.display())).into())
}
