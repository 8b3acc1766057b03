//! `spot prompt export`: a prompt for other programs.

use super::given::{Given, Which};
use crate::cli::output;
use crate::error::Exit;
use crate::ml::peft;
use crate::ml::prompt_file::{self, PromptFile};
use crate::ui;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

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
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let Given { name, prompt, metadata } = self.which.read()?;
        let by_ending = || match self.to.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Form::Npy,
            Some("safetensors") => Form::Safetensors,
            _ => Form::Peft,
        };
        let (length, width) = (prompt.length(), prompt.width);
        match self.format.unwrap_or_else(by_ending) {
            Form::Npy => output::write(&self.to, &prompt_file::to_npy(&prompt))?,
            Form::Safetensors => output::write(&self.to, &PromptFile::of(prompt, metadata).to_bytes())?,
            Form::Peft => {
                fs_err::create_dir_all(&self.to)?;
                output::write(&self.to.join(peft::WEIGHTS), &peft::weights(&prompt))?;
                // Last: a folder without it is no adapter.
                let config = peft::config(&prompt, self.base_model.as_deref());
                output::write(&self.to.join(peft::CONFIG), config.as_bytes())?;
            }
        }
        ui::print(&format!("wrote `{}`: `{name}`, {length} rows of {width}\n", self.to.display()))?;
        Ok(Exit::Ok)
    }
}
