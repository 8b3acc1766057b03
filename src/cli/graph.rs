//! `spot graph`: the jobs of a pipeline and what they read from each other.

use super::hq::Tasks;
use super::pipeline::Pipeline;
use super::run::Run;
use crate::engine::plan::graph::{self, render};
use crate::engine::stage::Kind;
use crate::error::{Exit, Usage};
use crate::ui;
use anyhow::Context as _;
use clap::{Args, ValueEnum};

/// Arguments of `spot graph`.
#[derive(Args)]
pub(super) struct Graph {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "text")]
    format: Drawing,
    /// More for the `spot run` of each task of `--format hq`, such as `--device cuda --store s3://lab/spot`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    hq: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drawing {
    Text,
    Mermaid,
    Dot,
    Json,
    /// The job file of HyperQueue: a task for each job
    Hq,
}

impl Graph {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, or standard output cannot be written.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        if self.hq.is_some() && self.format != Drawing::Hq {
            return Err(Usage("`--hq` is for `--format hq`; add that, or leave it out".to_owned()).into());
        }
        let plan = self.pipeline.load(kinds)?;
        let format = match self.format {
            Drawing::Text => graph::Format::Text,
            Drawing::Mermaid => graph::Format::Mermaid,
            Drawing::Dot => graph::Format::Dot,
            Drawing::Json => graph::Format::Json,
            Drawing::Hq => {
                ui::print(self.tasks()?.of(&plan).trim_end())?;
                return Ok(Exit::Ok);
            }
        };
        ui::print(&render(&plan, format))?;
        Ok(Exit::Ok)
    }

    fn tasks(&self) -> anyhow::Result<Tasks> {
        let mut words = vec![self.pipeline.name().to_owned()];
        words.extend(self.pipeline.words());
        words.extend(self.hq.iter().flat_map(|more| more.split_whitespace()).map(str::to_owned));
        Run::read(&words).context("`--hq`")?.tasks()
    }
}
