//! `spot query`: SQL over the tables that a run made or found.

use super::output::Output;
use super::runs::{self, Run};
use super::show::aligned;
use super::{Cache, JSON_VERSION, pipeline, project};
use crate::data::{Answer, Table, Tables, names_in};
use crate::engine::manifest::problem::listed;
use crate::engine::store::{Found, Store};
use crate::error::{Exit, Usage};
use crate::ui::{self, Colour};
use anyhow::Context;
use clap::{Args, ValueEnum, ValueHint};
use serde_json::json;
use std::collections::BTreeSet;

/// Arguments of `spot query`.
#[derive(Args)]
pub(super) struct Query {
    /// One query: `select source, avg(value) from scores where stage = 'transfer_scores' group by source order by 2 desc`
    #[arg(value_name = "SQL")]
    sql: String,
    /// A manifest: a path, or a name in `pipelines/` [default: that of the newest run in this cache]
    #[arg(value_name = "PIPE", value_hint = ValueHint::FilePath, value_parser = project::name())]
    pub(super) pipe: Option<String>,
    /// Over what this run made or found: the beginning of its name, `last`, `last~1` (`spot log` lists them)
    #[arg(long, value_name = "RUN", default_value = "last")]
    run: String,
    #[command(flatten)]
    cache: Cache,
    /// Which form
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Csv,
    Json,
    Parquet,
}

impl Query {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no such run, no such table in it, the query has no answer, or the store or the output fails.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let store = self.cache.open();
        let runs = self.runs(&store)?;
        let name = self.pipe.as_deref().or(runs.last().map(|run| run.pipeline.as_str())).unwrap_or("any pipeline");
        let run = runs::find(&runs, name, &self.run)?;
        let named = names_in(&self.sql).map_err(|why| Usage(format!("the query {why}")))?;
        tell_gone(&store, run)?;
        let mut tables = Vec::new();
        for name in &named {
            let parts = parts(&store, run, name)?;
            if !parts.is_empty() {
                tables.push((name.as_str(), parts));
            }
        }
        let answer = Answer::of(&self.sql, tables).map_err(|why| {
            let known = known(&store, run)
                .map_or_else(|error| error.to_string(), |known| listed(known.iter().map(String::as_str)));
            Usage(format!("{why}; run {} has the tables {known}", run.run))
        })?;
        self.print(&answer, run)?;
        ui::remark(&format!("of run {}: {}", run.run, run.command()));
        Ok(Exit::Ok)
    }

    /// The runs of the manifest, or of that which ran last, from the oldest to the newest.
    fn runs(&self, store: &Store) -> anyhow::Result<Vec<Run>> {
        let manifest = self.pipe.as_deref().map(pipeline::find).transpose()?;
        let mut runs = runs::all(store)?;
        runs.sort_by(|a, b| (a.time.as_str(), &a.run).cmp(&(b.time.as_str(), &b.run)));
        let last = runs.last().map(|run| run.pipeline.clone());
        runs.retain(|run| match &manifest {
            Some(manifest) => run.is_of(manifest),
            None => Some(&run.pipeline) == last.as_ref(),
        });
        Ok(runs)
    }

    fn print(&self, answer: &Answer, run: &Run) -> anyhow::Result<()> {
        match self.format {
            Form::Text => self.output.text(&aligned(&answer.texts()?)),
            Form::Json => {
                let rows = answer.json()?;
                let whole = json!({"version": JSON_VERSION, "pipeline": run.pipeline, "run": run.run, "rows": rows});
                self.output.json(&(serde_json::to_string_pretty(&whole)? + "\n"))
            }
            Form::Csv => {
                let (csv, lists) = answer.csv()?;
                if !lists.is_empty() {
                    let lists = format!("left out, since CSV has no lists: `{}`", lists.join("`, `"));
                    ui::tell("warning:", Colour::Yellow, &lists);
                }
                self.output.data(&csv)
            }
            Form::Parquet => self.output.bytes(&answer.parquet()?, "Parquet"),
        }
    }
}

/// Warns of jobs of a run without a result, since an answer is then of the others alone.
fn tell_gone(store: &Store, run: &Run) -> anyhow::Result<()> {
    let mut gone = Vec::new();
    for (job, of) in &run.jobs {
        let is_there = of.key.map_or(Ok(false), |key| store.find(&key).map(|found| matches!(found, Found::Hit(_))))?;
        if !is_there {
            gone.push(job.as_str());
        }
    }
    if !gone.is_empty() {
        let message = format!(
            "{} of {} jobs of the run have no result, or one that is no longer in the cache, and are not in the answer: {}",
            gone.len(),
            run.jobs.len(),
            listed(gone.into_iter())
        );
        ui::tell("warning:", Colour::Yellow, &message);
    }
    if run.seconds.is_none() {
        ui::tell("warning:", Colour::Yellow, "the run did not come to its end; the answer is of what it had done");
    }
    Ok(())
}

/// The tables of one name, each with the job that made it and its stage.
fn parts(store: &Store, run: &Run, name: &str) -> anyhow::Result<Tables> {
    let mut parts = Vec::new();
    for (job, of) in &run.jobs {
        let Some(key) = of.key else { continue };
        let Found::Hit(entry) = store.find(&key)? else { continue };
        let Some(artifact) = entry.artifact(name) else { continue };
        let full = format!("{job}.{name}");
        let table = Table::from_parquet(&store.read(&artifact.digest, &full)?).with_context(|| full.clone())?;
        parts.push(([job.clone(), of.stage.clone()], table));
    }
    Ok(parts)
}

/// The names of all tables that the jobs of a run made.
fn known(store: &Store, run: &Run) -> anyhow::Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for key in run.jobs.values().filter_map(|job| job.key) {
        let Found::Hit(entry) = store.find(&key)? else { continue };
        for artifact in &entry.artifacts {
            if !known.contains(&artifact.name) && store.map(&artifact.digest, &artifact.name)?.starts_with(b"PAR1") {
                known.insert(artifact.name.clone());
            }
        }
    }
    Ok(known)
}
