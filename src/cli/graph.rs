//! `spot graph`: the jobs of a pipeline and what they read from each other.

use super::pipeline::Pipeline;
use crate::engine::plan::graph::{self, render};
use crate::engine::stage::Kind;
use crate::error::Exit;
use crate::ui;
use clap::{Args, ValueEnum};

/// Arguments of `spot graph`.
#[derive(Args)]
pub(super) struct Graph {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "text")]
    format: Drawing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Drawing {
    Text,
    Mermaid,
    Dot,
    Json,
}

impl Graph {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, or standard output cannot be written.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipeline.load(kinds)?;
        let format = match self.format {
            Drawing::Text => graph::Format::Text,
            Drawing::Mermaid => graph::Format::Mermaid,
            Drawing::Dot => graph::Format::Dot,
            Drawing::Json => graph::Format::Json,
        };
        ui::print(&render(&plan, format))?;
        Ok(Exit::Ok)
    }
}
