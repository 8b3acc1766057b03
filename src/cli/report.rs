//! `spot report`: the newest report of a pipeline.

use super::Cache;
use super::pipeline::Pipeline;
use crate::engine::stage::Kind;
use crate::engine::state::{JobState, Question, State, survey};
use crate::error::Exit;
use crate::ui;
use clap::{Args, ValueEnum};

/// The kind whose outputs are printed.
const KIND: &str = "report";

/// Arguments of `spot report`.
#[derive(Args)]
pub(super) struct Report {
    #[command(flatten)]
    pipeline: Pipeline,
    #[command(flatten)]
    cache: Cache,
    /// Which of its forms
    #[arg(long, value_enum, default_value = "markdown")]
    format: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Markdown,
    Text,
    Json,
}

impl Report {
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let output = match self.format {
            Form::Markdown => "markdown",
            Form::Text => "text",
            Form::Json => "json",
        };
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        let jobs = survey(&plan, &store, &Question::default())?;
        let reports: Vec<&JobState> = jobs.iter().filter(|job| job.kind == KIND).collect();
        let mut printed = 0;
        for job in &reports {
            let Some(artifact) = job.entry.as_ref().and_then(|entry| entry.artifact(output)) else { continue };
            let bytes = store.read(&artifact.digest, &format!("{}.{output}", job.job))?;
            ui::print(&String::from_utf8_lossy(&bytes))?;
            printed += 1;
        }
        if printed > 0 {
            return Ok(Exit::Ok);
        }
        let why = match reports.iter().find(|job| job.state != State::Cached) {
            Some(job) => format!("`{}` is not made yet ({}); `spot run` makes it", job.job, job.state),
            None if reports.is_empty() => format!("`{}` has no stage of the kind `{KIND}`", plan.path.display()),
            None => format!("the reports of `{}` have no output `{output}`", plan.path.display()),
        };
        anyhow::bail!("no report: {why}")
    }
}
