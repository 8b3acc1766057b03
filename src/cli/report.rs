//! `spot report`: the newest report of a pipeline.

use super::output::Output;
use super::page::Joining;
use super::pipeline::Pipeline;
use super::runs::{self, Run};
use super::{Cache, page};
use crate::engine::plan::Plan;
use crate::engine::run::state::{JobState, Question, State, survey};
use crate::engine::stage::Kind;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::entry::Entry;
use crate::engine::store::{Found, Store, provenance};
use crate::error::Exit;
use crate::report::results::{Results, VERSION};
use crate::report::study::Study;
use crate::ui::{self, Colour};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::sync::Arc;

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

/// A report that was made.
struct Made {
    job: String,
    entry: Entry,
    bytes: Vec<u8>,
}

impl Report {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, no report has been made yet, or the store or the output fails.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let store = self.cache.open();
        let run = if self.pipeline.is_set() { None } else { self.newest(&store)? };
        let of_run = run.as_ref().map_or_else(|| Ok(Vec::new()), |run| self.of_run(&store, run))?;
        match run.filter(|_| !of_run.is_empty()) {
            Some(run) => {
                self.print_of_run(kinds, &store, &run, &of_run)?;
                ui::remark(&format!("the report of run {}: {}", run.run, run.command()));
            }
            None => self.print_of_plan(kinds, &store)?,
        }
        Ok(Exit::Ok)
    }

    /// Prints what a run reported. Only a page needs the plan, as the run read it.
    fn print_of_run(&self, kinds: &[Kind], store: &Arc<Store>, run: &Run, made: &[Made]) -> anyhow::Result<()> {
        if self.format != Form::Html {
            return self.print(made);
        }
        let settings = super::settings_of_run(&run.words());
        let plan = match &settings {
            Some(settings) => self.pipeline.load_as(settings, kinds)?,
            None => self.pipeline.load(kinds)?,
        };
        let jobs = survey(&plan, store, &Question::default())?;
        let is_now = |made: &Made| jobs.iter().any(|job| job.key == Some(made.entry.key));
        if !made.iter().all(is_now) {
            ui::tell(
                "warning:",
                Colour::Yellow,
                "the manifest is not what it was in that run: its results are shown with the stages and curves of now; `spot run` makes \
                 the report anew",
            );
        }
        self.output.text(&html(kinds, &plan, store, &jobs, made, self.linkage)?)
    }

    /// Prints the reports of the plan as it stands.
    fn print_of_plan(&self, kinds: &[Kind], store: &Arc<Store>) -> anyhow::Result<()> {
        let plan = self.pipeline.load(kinds)?;
        let jobs = survey(&plan, store, &Question::default())?;
        let made = self.of_plan(store, &jobs)?;
        if made.is_empty() {
            let reports: Vec<&JobState> = jobs.iter().filter(|job| job.kind == KIND).collect();
            return Err(none(&plan, &reports, self.form()));
        }
        match self.format {
            Form::Html => self.output.text(&html(kinds, &plan, store, &jobs, &made, self.linkage)?),
            Form::Json | Form::Markdown | Form::Text => self.print(&made),
        }
    }

    /// Prints reports as they were made.
    fn print(&self, made: &[Made]) -> anyhow::Result<()> {
        let text: String = made.iter().map(|made| String::from_utf8_lossy(&made.bytes)).collect();
        if self.format == Form::Json { self.output.json(&text) } else { self.output.text(&text) }
    }

    /// The output that has the form.
    fn form(&self) -> &'static str {
        match self.format {
            Form::Markdown => "markdown",
            Form::Text => "text",
            Form::Json | Form::Html => "json",
        }
    }

    /// The newest run of the manifest that made or found a report, whatever its flags.
    fn newest(&self, store: &Store) -> anyhow::Result<Option<Run>> {
        let manifest = self.pipeline.manifest()?;
        let reports = |run: &Run| run.jobs.values().any(|job| is_report(job) && job.key.is_some());
        let runs = runs::all(store)?.into_iter().filter(|run| run.is_of(&manifest) && reports(run));
        Ok(runs.max_by(|a, b| (a.time.as_str(), &a.run).cmp(&(b.time.as_str(), &b.run))))
    }

    /// The reports of a run that are still there.
    fn of_run(&self, store: &Store, run: &Run) -> anyhow::Result<Vec<Made>> {
        let keys = run.jobs.iter().filter(|(_, job)| is_report(job)).filter_map(|(name, job)| Some((name, job.key?)));
        let mut made = Vec::new();
        for (name, key) in keys {
            if let Found::Hit(entry) = store.find(&key)? {
                made.extend(self.made(store, name, &entry)?);
            }
        }
        Ok(made)
    }

    /// The reports of a plan that are made.
    fn of_plan(&self, store: &Store, jobs: &[JobState]) -> anyhow::Result<Vec<Made>> {
        let reports = jobs.iter().filter(|job| job.kind == KIND);
        let made = reports.filter_map(|job| self.made(store, &job.job, job.entry.as_ref()?).transpose());
        made.collect()
    }

    fn made(&self, store: &Store, job: &str, entry: &Entry) -> anyhow::Result<Option<Made>> {
        let output = self.form();
        let Some(artifact) = entry.artifact(output) else { return Ok(None) };
        let bytes = store.read(&artifact.digest, &format!("{job}.{output}"))?;
        Ok(Some(Made { job: job.to_owned(), entry: entry.clone(), bytes }))
    }
}

fn is_report(job: &runs::Job) -> bool {
    job.kind == KIND && matches!(job.state.as_str(), "executed" | "cached")
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
    made: &[Made],
    linkage: Joining,
) -> anyhow::Result<String> {
    let [Made { job, entry, bytes }] = made else {
        let names: Vec<&str> = made.iter().map(|made| made.job.as_str()).collect();
        anyhow::bail!("a page is of one report, and there are {}: {}", names.len(), names.join(", "));
    };
    let results: Results = serde_json::from_slice(bytes).with_context(|| {
        format!("`{job}` has results of another layout than version {VERSION}; `spot run` makes them anew")
    })?;
    let catalog = Catalog::read(store)?;
    let curves = page::curves(store, kinds, jobs)?;
    let mut digests = page::digests(&results);
    digests.extend(curves.iter().flat_map(|curves| {
        curves.panels.iter().flat_map(|panel| panel.lines.iter().flat_map(|line| line.from.iter().cloned()))
    }));
    let mut about = vec![("pipeline".to_owned(), plan.path.display().to_string())];
    about.extend(plan.profile.iter().map(|profile| ("profile".to_owned(), profile.clone())));
    about.push(("report made".to_owned(), entry.provenance.end.clone()));
    about.push(("key".to_owned(), entry.key.short()));
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
