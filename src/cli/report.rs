//! `spot report`: the newest report of a pipeline.

use super::output::Output;
use super::page::Joining;
use super::pipeline::Pipeline;
use super::{Cache, page};
use crate::engine::plan::Plan;
use crate::engine::run::state::{JobState, Question, State, survey};
use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::provenance;
use crate::error::Exit;
use crate::report::results::{Results, VERSION};
use crate::report::study::Study;
use anyhow::Context;
use clap::{Args, ValueEnum};

/// The kind whose outputs are printed.
const KIND: &str = "report";

/// Arguments of `spot report`.
#[derive(Args)]
pub(super) struct Report {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    cache: Cache,
    /// Which of its forms; `html` is a page with figures, which needs nothing but itself
    #[arg(long, value_enum, default_value = "markdown")]
    format: Form,
    /// How similar tasks are clustered in the page
    #[arg(long, value_enum, default_value = "average")]
    linkage: Joining,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Markdown,
    Text,
    Json,
    Html,
}

impl Report {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, no report has been made yet, or the store or the output fails.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let output = match self.format {
            Form::Markdown => "markdown",
            Form::Text => "text",
            Form::Json | Form::Html => "json",
        };
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        let jobs = survey(&plan, &store, &Question::default())?;
        let reports: Vec<&JobState> = jobs.iter().filter(|job| job.kind == KIND).collect();
        let mut found = Vec::new();
        for job in &reports {
            let Some(artifact) = job.entry.as_ref().and_then(|entry| entry.artifact(output)) else { continue };
            found.push((*job, store.read(&artifact.digest, &format!("{}.{output}", job.job))?));
        }
        if found.is_empty() {
            return Err(none(&plan, &reports, output));
        }
        let text = match self.format {
            Form::Html => html(kinds, &plan, &store, &jobs, &found, self.linkage)?,
            _ => found.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect(),
        };
        match self.format {
            Form::Json => self.output.json(&text)?,
            Form::Markdown | Form::Text | Form::Html => self.output.text(&text)?,
        }
        Ok(Exit::Ok)
    }
}

/// Why there is no report.
fn none(plan: &Plan, reports: &[&JobState], output: &str) -> anyhow::Error {
    let why = match reports.iter().find(|job| job.state != State::Cached) {
        Some(job) => format!("`{}` is not made yet ({}); `spot run` makes it", job.job, job.state),
        None if reports.is_empty() => format!("`{}` has no stage of the kind `{KIND}`", plan.path.display()),
        None => format!("the reports of `{}` have no output `{output}`", plan.path.display()),
    };
    anyhow::anyhow!("no report: {why}")
}

/// The page of the only report that there is.
fn html(
    kinds: &[Kind],
    plan: &Plan,
    store: &Store,
    jobs: &[JobState],
    found: &[(&JobState, Vec<u8>)],
    linkage: Joining,
) -> anyhow::Result<String> {
    let [(job, bytes)] = found else {
        let names: Vec<&str> = found.iter().map(|(job, _)| job.job.as_str()).collect();
        anyhow::bail!("a page is of one report, and there are {}: {}", names.len(), names.join(", "));
    };
    let results: Results = serde_json::from_slice(bytes).with_context(|| {
        format!("`{}` has results of another layout than version {VERSION}; `spot run` makes them anew", job.job)
    })?;
    let catalog = Catalog::read(store)?;
    let curves = page::curves(store, kinds, jobs)?;
    let mut digests = page::digests(&results);
    digests.extend(curves.iter().flat_map(|curves| {
        curves.panels.iter().flat_map(|panel| panel.lines.iter().flat_map(|line| line.from.iter().cloned()))
    }));
    let mut about = vec![("pipeline".to_owned(), plan.path.display().to_string())];
    about.extend(plan.profile.iter().map(|profile| ("profile".to_owned(), profile.clone())));
    if let Some(entry) = &job.entry {
        about.push(("report made".to_owned(), entry.provenance.end.clone()));
        about.push(("key".to_owned(), entry.key.short()));
    }
    about.push(("page by".to_owned(), format!("spot {}", provenance::program())));
    let study = Study {
        name: plan.name.clone(),
        about,
        results,
        linkage: linkage.into(),
        curves,
        dag: page::dag(plan, jobs),
        records: page::records(&catalog, &digests),
    };
    Ok(study.page()?.to_html())
}
