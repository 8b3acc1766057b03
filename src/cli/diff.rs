//! `spot diff`: what differs between two runs of a pipeline: parameters, inputs, metrics.

use super::runs::{self, Job, Run};
use super::{Cache, Format, JSON_VERSION};
use crate::data::values;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Key;
use crate::engine::store::entry::Entry;
use crate::engine::store::recipe::Difference;
use crate::error::{Exit, Usage};
use crate::ml::prompt::file::PromptFile;
use crate::ui;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Arguments of `spot diff`.
#[derive(Args)]
pub(super) struct Diff {
    /// The earlier run: the start of its name (`20261125T0932`), `last`, `last~1` and so on
    #[arg(value_name = "RUN", default_value = "last~1")]
    old: String,
    /// The later run
    #[arg(value_name = "RUN", default_value = "last")]
    new: String,
    /// The pipeline whose runs are meant, as its manifest calls it [default: that of the newest run]
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    #[command(flatten)]
    cache: Cache,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A job that is not the same in both runs.
#[derive(Serialize)]
struct Change {
    job: String,
    stage: String,
    kind: String,
    /// `changed`, `added` or `removed`.
    what: &'static str,
    /// How it ended in either run.
    states: [Option<String>; 2],
    /// Its key in either run.
    keys: [Option<Key>; 2],
    /// Whether both entries are there to be compared.
    compared: bool,
    differences: Vec<Difference>,
    /// Files among the inputs that have another content, by role.
    files: BTreeMap<String, PathBuf>,
    metrics: Vec<Metric>,
}

/// A number that says how good a result is.
#[derive(Serialize)]
struct Metric {
    metric: String,
    old: Option<f64>,
    new: Option<f64>,
}

impl Diff {
    /// Runs the command.
    ///
    /// # Errors
    /// If there are no such runs, or the store cannot be read.
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let store = self.cache.open();
        let runs = runs::all(&store)?;
        let newest = runs.iter().max_by_key(|run| (run.time.as_str(), &run.run)).map(|run| run.pipeline.clone());
        let Some(pipeline) = self.pipeline.clone().or(newest) else {
            return Err(Usage(format!("no runs in `{}`", store.root().display())).into());
        };
        let runs: Vec<Run> = runs.into_iter().filter(|run| run.pipeline == pipeline).collect();
        let (old, new) = (runs::find(&runs, &pipeline, &self.old)?, runs::find(&runs, &pipeline, &self.new)?);
        let catalog = Catalog::read(&store)?;
        let names: BTreeSet<&String> = old.jobs.keys().chain(new.jobs.keys()).collect();
        let changes =
            names.into_iter().map(|name| change(&store, &catalog, name, old.jobs.get(name), new.jobs.get(name)));
        let changes: Vec<Change> = changes.filter_map(Result::transpose).collect::<anyhow::Result<_>>()?;
        match self.format {
            Format::Text => ui::print(&text(old, new, &changes))?,
            Format::Json => {
                ui::print_json(&json!({"version": JSON_VERSION, "runs": [old, new], "jobs": changes}))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// How a job differs; `None` if it does not.
fn change(
    store: &Store,
    catalog: &Catalog,
    name: &str,
    old: Option<&Job>,
    new: Option<&Job>,
) -> anyhow::Result<Option<Change>> {
    let Some(either) = new.or(old) else { return Ok(None) };
    let what = match (old, new) {
        (Some(_), Some(_)) => "changed",
        (None, _) => "added",
        (_, None) => "removed",
    };
    let done = |state: &str| matches!(state, "executed" | "cached");
    let keys = [old, new].map(|job| job.and_then(|job| job.key));
    let states = [old, new].map(|job| job.map(|job| job.state.clone()));
    let ended_alike = states.iter().flatten().all(|state| done(state));
    if keys[0] == keys[1] && ended_alike && what == "changed" {
        return Ok(None);
    }
    let [before, after] = keys.map(|key| key.and_then(|key| catalog.entry(&key)));
    let differences = before.zip(after).map(|(before, after)| after.recipe.differences(&before.recipe));
    let differences = differences.unwrap_or_default();
    let origins = after.map_or(&[][..], |entry| &entry.provenance.inputs);
    let changed = |role: &str| {
        differences.iter().any(|difference| matches!(difference, Difference::Input { field, .. } if field == role))
    };
    let files = origins.iter().filter(|origin| changed(&origin.role));
    let files = files.filter_map(|origin| Some((origin.role.clone(), origin.file.clone()?))).collect();
    let [was, is] =
        [before, after].map(|entry| entry.map_or_else(|| Ok(BTreeMap::new()), |entry| metrics(store, entry)));
    let (was, is) = (was?, is?);
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let metrics = names.into_iter().map(|name| {
        let (old, new) = (was.get(name).copied(), is.get(name).copied());
        Metric { metric: name.clone(), old, new }
    });
    Ok(Some(Change {
        job: name.to_owned(),
        stage: either.stage.clone(),
        kind: either.kind.clone(),
        what,
        states,
        keys,
        compared: before.is_some() && after.is_some(),
        differences,
        files,
        metrics: metrics.filter(|metric| metric.old != metric.new).collect(),
    }))
}

/// The numbers of an entry: of scores all metrics, of a tuned prompt its validation score.
fn metrics(store: &Store, entry: &Entry) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    for record in &entry.artifacts {
        if !matches!(record.r#type.as_str(), "scores" | "prompt") {
            continue;
        }
        let named = || format!("{}.{}", entry.provenance.job, record.name);
        let bytes = store.read(&record.digest, &named())?;
        if record.r#type == "prompt" {
            let about = PromptFile::about_in(&bytes).with_context(named)?;
            found.extend(about.score.map(|score| ("validation score".to_owned(), score)));
        } else {
            found.extend(values(&bytes).with_context(named)?);
        }
    }
    Ok(found)
}

fn text(old: &Run, new: &Run, changes: &[Change]) -> String {
    let line = |sign: char, run: &Run| {
        let profile = run.profile.as_str().map_or_else(String::new, |profile| format!(" ({profile})"));
        let Run { pipeline, run, executed, cached, failed, .. } = run;
        format!("{sign} {pipeline}{profile} {run}: {executed} executed, {cached} cached, {failed} failed\n")
    };
    let mut text = line('-', old) + &line('+', new) + &edited(old, new);
    if changes.is_empty() {
        return text + "\nno job differs\n";
    }
    for (title, lines) in [("jobs", ended(changes)), ("recipes", recipes(changes)), ("metrics", scores(changes))] {
        if !lines.is_empty() {
            text += &format!("\n{title}\n{lines}");
        }
    }
    text
}

/// The files of the manifest that are not the same in both runs, where both say.
fn edited(old: &Run, new: &Run) -> String {
    if old.manifests.is_empty() || new.manifests.is_empty() {
        return String::new();
    }
    let of = |run: &Run, file: &Path| run.manifests.iter().find(|known| known.file == file).map(|known| known.digest);
    let files: BTreeSet<&PathBuf> = old.manifests.iter().chain(&new.manifests).map(|manifest| &manifest.file).collect();
    let what = |file: &Path| match (of(old, file), of(new, file)) {
        (Some(old), Some(new)) => (old != new).then_some("was edited"),
        (None, _) => Some("was read by the later run only"),
        (_, None) => Some("was read by the earlier run only"),
    };
    files.into_iter().filter_map(|file| Some(format!("manifest `{}` {}\n", file.display(), what(file)?))).collect()
}

/// Jobs of one run only, and those that did not end well.
fn ended(changes: &[Change]) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for change in changes {
        let shown = |state: &Option<String>| state.clone().unwrap_or_default();
        let [was, is] = [shown(&change.states[0]), shown(&change.states[1])];
        let done = |state: &str| matches!(state, "executed" | "cached");
        let what = match change.what {
            "added" => "only in the later run".to_owned(),
            "removed" => "only in the earlier run".to_owned(),
            _ if !done(&was) || !done(&is) => format!("{was} -> {is}"),
            _ if !change.compared => "differ, but their entries are gone".to_owned(),
            _ => continue,
        };
        groups.entry(format!("{}: {what}", change.stage)).or_default().push(&change.job);
    }
    grouped(groups)
}

/// Where recipes differ: the same of several jobs of a stage in one line. What is another only because a job before it made
/// something else is counted.
fn recipes(changes: &[Change]) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut follow = 0;
    for change in changes {
        let causes: Vec<String> =
            change.differences.iter().filter_map(|difference| cause(change, difference)).collect();
        follow += usize::from(causes.is_empty() && !change.differences.is_empty());
        for cause in causes {
            groups.entry(format!("{}: {cause}", change.stage)).or_default().push(&change.job);
        }
    }
    let follow = if follow > 0 { format!("  {follow} jobs read other results of these\n") } else { String::new() };
    grouped(groups) + &follow
}

/// A difference that somebody made; `None` for an input that a job made.
fn cause(change: &Change, difference: &Difference) -> Option<String> {
    match difference {
        Difference::Input { field, .. } => {
            let path = change.files.get(field)?;
            Some(format!("{field}: `{}` has different content", path.display()))
        }
        Difference::Param { .. } | Difference::Version { .. } => Some(difference.to_string()),
    }
}

fn grouped(groups: BTreeMap<String, Vec<&str>>) -> String {
    let jobs = |jobs: &[&str]| match jobs {
        [one] => (*one).to_owned(),
        [first, ..] => format!("{first} and {} more", jobs.len() - 1),
        [] => String::new(),
    };
    groups.into_iter().map(|(what, names)| format!("  {what} ({})\n", jobs(&names))).collect()
}

fn scores(changes: &[Change]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.2}"));
    let mut lines = Vec::new();
    for change in changes {
        for Metric { metric, old, new } in &change.metrics {
            let by = old.zip(*new).map_or_else(String::new, |(old, new)| format!(" ({:+.2})", new - old));
            lines.push((format!("{} {metric}", change.job), format!("{} -> {}{by}", number(*old), number(*new))));
        }
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.into_iter().map(|(name, values)| format!("  {name:width$}  {values}\n")).collect()
}
