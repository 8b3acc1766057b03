//! The prompt that somebody names: a file, a folder that PEFT saved, or a job of the cache.

use crate::cli::{Cache, project, show};
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::{Entry, Record};
use crate::error::Usage;
use crate::ml::error::Error;
use crate::ml::pointer;
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::PromptFile;
use crate::ml::prompt::form;
use crate::ml::prompt::peft;
use crate::ml::torch;
use clap::Args;
use std::path::Path;

/// Files that torch or Python's `pickle` wrote; the last are those of Su et al. (2022).
const PICKLED: [&str; 7] = ["pt", "pth", "bin", "ckpt", "pkl", "pickle", "task_prompt"];

/// Which prompt is meant.
#[derive(Args)]
pub(super) struct Which {
    /// A file (`.safetensors`, `.npy`, or `.pt` and `.bin` of `torch.save`), a folder that PEFT saved, a job, or the first digits of a key or digest
    #[arg(value_name = "WHAT", value_parser = project::name())]
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
pub(in crate::cli) struct Given {
    /// What it is called: a path, or `source[mnli,0].prompt`.
    pub(in crate::cli) name: String,
    pub(in crate::cli) prompt: Prompt,
    pub(in crate::cli) about: About,
    /// Of its artifact, where it is one of the cache.
    pub(in crate::cli) digest: Option<Digest>,
    /// Of the entry that has it, and the job that made that.
    pub(in crate::cli) made: Option<(Key, String)>,
}

/// The prompts of a file or artifact.
struct Read {
    /// What it is called.
    name: String,
    file: PromptFile,
    /// As of [`Given`].
    digest: Option<Digest>,
    /// As of [`Given`].
    made: Option<(Key, String)>,
}

impl Which {
    /// Reads the prompt.
    ///
    /// # Errors
    /// If there is no such file, job or step, it is damaged, or it holds several prompts and none is named.
    pub(super) fn read(&self) -> anyhow::Result<Given> {
        let read = match of_path(Path::new(&self.what))? {
            Some(read) => read,
            None => {
                let store = self.cache.open();
                of_job(&self.what, self.at_step.is_some(), &store, &Catalog::read(&store)?)?
            }
        };
        let step = self.at_step.map(|step| format!("step_{step}"));
        let given = one_of(read, step.as_deref().or(self.tensor.as_deref()))?;
        let step = self.at_step.or(given.about.step);
        Ok(Given { about: About { step, ..given.about }, ..given })
    }
}

/// The prompt of that name: a file, a folder that PEFT saved, or a job of the cache.
///
/// # Errors
/// If there is no such prompt, or several.
pub(in crate::cli) fn read(what: &str, store: &Store, catalog: &Catalog) -> anyhow::Result<Given> {
    let read = of_path(Path::new(what))?.map_or_else(|| of_job(what, false, store, catalog), Ok)?;
    one_of(read, None)
}

fn of_path(path: &Path) -> anyhow::Result<Option<Read>> {
    let file = match path {
        path if path.is_file() => file(path)?,
        path if is_adapter(path) => adapter(path)?,
        _ => return Ok(None),
    };
    Ok(Some(Read { name: path.display().to_string(), file, digest: None, made: None }))
}

/// The prompt of this name, or the only one.
fn one_of(Read { name, file, digest, made }: Read, wanted: Option<&str>) -> anyhow::Result<Given> {
    let names: Vec<&str> = file.prompts.keys().map(String::as_str).collect();
    let wanted = match wanted {
        Some(wanted) => wanted,
        None if names.len() == 1 => names[0],
        None => {
            let message = format!("`{name}` has several prompts: {}; name one with `--tensor`", names.join(", "));
            return Err(Usage(message).into());
        }
    };
    let prompt = file.prompt(wanted).map_err(|error| Usage(format!("`{name}`: {error}")))?.clone();
    Ok(Given { name, prompt, about: file.about, digest, made })
}

fn of_job(what: &str, at_step: bool, store: &Store, catalog: &Catalog) -> anyhow::Result<Read> {
    let found = show::find(store, catalog, what)?;
    let wanted = if at_step { "checkpoints" } else { "prompt" };
    let fits = |record: &Record| match found.digest {
        Some(digest) if !at_step => record.digest == digest,
        _ => record.r#type == wanted,
    };
    let records = found.entries.iter().flat_map(|entry| entry.artifacts.iter().map(move |record| (*entry, record)));
    let records: Vec<(&Entry, &Record)> = records.filter(|(_, record)| fits(record)).collect();
    let Some((entry, record)) = records.first() else {
        return Err(Usage(format!("`{what}` made nothing of type {wanted}")).into());
    };
    if records.iter().any(|(_, other)| other.digest != record.digest) {
        let jobs: Vec<String> = records.iter().flat_map(|(entry, _)| catalog.jobs(&entry.key)).collect();
        let message = format!("`{what}` is several jobs: {}; name one as `pipeline:job`", jobs.join(", "));
        return Err(Usage(message).into());
    }
    let name = format!("{}.{}", entry.provenance.job, record.name);
    let bytes = store.read(&record.digest, &name)?;
    let file = PromptFile::from_bytes(&bytes).map_err(|error| Usage(format!("`{name}`: {error}")))?;
    let made = Some((entry.key, entry.provenance.job.clone()));
    Ok(Read { name, file, digest: Some(record.digest), made })
}

/// Whether PEFT saved this folder, wholly or in part.
pub(in crate::cli) fn is_adapter(folder: &Path) -> bool {
    [peft::WEIGHTS, peft::CONFIG, peft::TORCH_WEIGHTS].iter().any(|name| folder.join(name).is_file())
}

/// The prompt of a folder that PEFT saved, from its safetensors if both forms are there.
///
/// # Errors
/// If a file of the adapter is missing or damaged, or it was not made by prompt tuning.
pub(in crate::cli) fn adapter(folder: &Path) -> anyhow::Result<PromptFile> {
    let older = !folder.join(peft::WEIGHTS).is_file() && folder.join(peft::TORCH_WEIGHTS).is_file();
    adapter_of(folder, if older { peft::TORCH_WEIGHTS } else { peft::WEIGHTS })
}

/// The same from one of the two.
fn adapter_of(folder: &Path, name: &str) -> anyhow::Result<PromptFile> {
    let shown = folder.display();
    let (weights, config) = (folder.join(name), folder.join(peft::CONFIG));
    if !weights.is_file() {
        return Err(Usage(format!("{shown}: no `{name}` beside `{}`", peft::CONFIG)).into());
    }
    if !config.is_file() {
        let message = format!(
            "{shown}: no `{}` beside `{name}`; it says how many of the rows are the prompt, and how it was tuned",
            peft::CONFIG
        );
        return Err(Usage(message).into());
    }
    let read = peft::read(name, &fs_err::read(weights)?, &fs_err::read(config)?);
    let adapter = read.map_err(|error| Usage(format!("{shown}: {error}")))?;
    let about = About { base_model: adapter.base_model, ..About::default() };
    Ok(PromptFile::of(adapter.prompt, about))
}

/// The prompts of a file.
///
/// # Errors
/// If the file cannot be read, or holds no prompt in a form that is known.
pub(in crate::cli) fn file(path: &Path) -> anyhow::Result<PromptFile> {
    if let Some(name) = [peft::WEIGHTS, peft::TORCH_WEIGHTS].into_iter().find(|name| path.ends_with(name)) {
        return adapter_of(path.parent().unwrap_or(Path::new(".")), name);
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension == "npz" {
        let message = format!("{}: several arrays in one file; save each with `numpy.save` as `.npy`", path.display());
        return Err(Usage(message).into());
    }
    let bytes = fs_err::read(path)?;
    let refused = |error: Error| Usage(format!("{}: {error}", path.display()));
    if PICKLED.contains(&extension) && !torch::is(&bytes) {
        pointer::refuse(&bytes).map_err(refused)?;
        let message = format!(
            "{}: not a file that `torch.save` wrote, or it is cut off; save the prompt from Python with `torch.save`, as safetensors or \
             as `.npy`",
            path.display()
        );
        return Err(Usage(message).into());
    }
    Ok(form::read(&bytes).map_err(refused)?)
}

/// Whether a file is one that people keep prompts in, though it may be one that is refused.
pub(in crate::cli) fn is_prompt(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["npy", "npz", "safetensors"].contains(&extension) || PICKLED.contains(&extension)
}
