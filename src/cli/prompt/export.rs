//! `spot prompt export`: a prompt for other programs.

use super::given::{Given, Which};
use crate::cli::output;
use crate::error::Exit;
use crate::ml::prompt::file::PromptFile;
use crate::ml::prompt::{npy, peft};
use crate::ui;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `spot prompt export`.
#[derive(Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    which: Which,
    /// What to write: `NAME.npy`, `NAME.safetensors`, or a folder for PEFT
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// In which form [default: by the ending of `--to`]
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// The name or folder of the model, for PEFT to find it by itself
    #[arg(long, value_name = "MODEL")]
    base_model: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Peft,
    Npy,
    Safetensors,
}

impl Export {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such prompt, or the file is there with other content or cannot be written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let Given { name, prompt, about, .. } = self.which.read()?;
        let by_ending = || match self.to.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Form::Npy,
            Some("safetensors") => Form::Safetensors,
            _ => Form::Peft,
        };
        let (length, width) = (prompt.length(), prompt.width);
        let write = |files: &[(&Path, &[u8])]| output::write_new(files, self.overwrite);
        let written = match self.format.unwrap_or_else(by_ending) {
            Form::Npy => write(&[(&self.to, &npy::write(&prompt))])?,
            Form::Safetensors => write(&[(&self.to, &PromptFile::of(prompt, about).to_bytes())])?,
            Form::Peft => {
                fs_err::create_dir_all(&self.to)?;
                let config = peft::config(&prompt, self.base_model.as_deref());
                let [weights, settings] = [peft::WEIGHTS, peft::CONFIG].map(|name| self.to.join(name));
                // The settings last: a folder without them is not an adapter.
                write(&[(&weights, &peft::weights(&prompt)), (&settings, config.as_bytes())])?
            }
        };
        let done = if written { "wrote" } else { "unchanged:" };
        ui::print(&format!("{done} `{}`: `{name}`, {length} rows of {width}\n", self.to.display()))?;
        Ok(Exit::Ok)
    }
}
