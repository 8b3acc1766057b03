//! `spot prompt`: soft prompts to and from other programs, and a look at one.

mod card;
mod export;
pub(super) mod given;
mod import;
mod show;
mod words;

use crate::error::Exit;
use clap::Subcommand;

/// Commands of `spot prompt`.
#[derive(Subcommand)]
pub(super) enum Prompt {
    /// Make a file that a stage of the kind `prompt` takes into a manifest
    Import(import::Import),
    /// Write a prompt as a PEFT adapter with a model card, `.npy` or safetensors, and the words that its rows are like
    Export(export::Export),
    /// Print shape, metadata and norms of a prompt, and the words that its rows are like
    Show(show::Show),
}

impl Prompt {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        match self {
            Self::Import(import) => import.execute(),
            Self::Export(export) => export.execute(),
            Self::Show(show) => show.execute(),
        }
    }
}
