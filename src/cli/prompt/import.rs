//! `spot prompt import`: a prompt from elsewhere, as the file that a manifest takes.

use super::given::Which;
use crate::cli::{output, project};
use crate::error::{Exit, Usage};
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::PromptFile;
use crate::ui;
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `spot prompt import`.
#[derive(Args)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    which: Which,
    /// The file to write: `NAME.safetensors`
    #[arg(long, value_name = "FILE", value_parser = project::path())]
    to: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// The task that it was tuned on [default: what the file says, or its name]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// The seed of its tuning [default: what the file says, or 0]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

impl Import {
    /// Runs the command.
    ///
    /// # Errors
    /// If the new file is not a `.safetensors`, there is no such prompt, or the file is there with other content or cannot be
    /// written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        if self.to.extension().is_none_or(|extension| extension != "safetensors") {
            return Err(Usage(format!("`--to {}`: expected `NAME.safetensors`", self.to.display())).into());
        }
        let given = self.which.read()?;
        let stem = Path::new(&given.name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let task = self.task.clone().or_else(|| given.about.task.clone()).unwrap_or(stem);
        let seed = self.seed.or(given.about.seed).unwrap_or(0);
        let about = About { task: Some(task.clone()), seed: Some(seed), ..given.about };
        let (length, width) = (given.prompt.length(), given.prompt.width);
        let bytes = PromptFile::of(given.prompt, about).to_bytes();
        let done = if output::write_new(&[(&self.to, &bytes)], self.overwrite)? { "wrote" } else { "unchanged:" };
        let to = self.to.display();
        ui::print(&format!(
            "{done} `{to}`: {length} rows of {width}, task `{task}`, seed {seed}\n\nhint: this stage takes it into a manifest, \
             where `init: {{prompt: given}}` and `prompt: given` use it:\n\n  \
             given: {{kind: prompt, backbone: backbone, file: {to}}}\n"
        ))?;
        Ok(Exit::Ok)
    }
}
