//! `spot completions`: what a shell needs to complete command lines of `spot`.

use super::Cli;
use crate::error::Exit;
use crate::ui;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

/// Arguments of `spot completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Known,
}

#[derive(Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// Runs the command.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "spot", &mut script);
        ui::print(&String::from_utf8(script)?)?;
        Ok(Exit::Ok)
    }
}
