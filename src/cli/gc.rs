//! `spot gc`: removes results that neither a manifest nor a recent run needs; without `--apply` it only says which.

use super::pipeline;
use super::project;
use super::sharing::SharedStore;
use super::{Cache, Format, JSON_VERSION};
use crate::engine::check::gc::{Item, Policy, Root, Sweep, sweep};
use crate::engine::manifest::{self, LoadError, Outline};
use crate::engine::plan::Plan;
use crate::engine::sharing::{Access, Unneeded};
use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::error::{Exit, Usage};
use crate::ui::{self, Colour, tell};
use crate::units::{duration, size};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Jobs named in one line of text; the rest are counted.
const MOST_NAMES: usize = 3;

/// Arguments of `spot gc`.
#[derive(Args)]
pub(super) struct Gc {
    /// More manifests whose results stay, besides those in `pipelines/`
    #[arg(value_name = "PIPE", value_parser = project::name())]
    pub(super) pipes: Vec<String>,
    /// Remove what is listed
    #[arg(long)]
    apply: bool,
    /// Keep what the last N runs of each pipeline made or found
    #[arg(long, value_name = "N", default_value_t = 5)]
    keep_runs: usize,
    /// Remove only what was neither made nor used for that long: `30d`, `12h`, `45m`, `0s`; saved work of interrupted jobs too
    #[arg(long, value_name = "AGE", value_parser = duration)]
    older_than: Option<Duration>,
    /// If more than this is left, also remove what is kept, the least recently used first: `20GiB`, `500MiB`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<usize>,
    /// Remove the saved work of all interrupted jobs
    #[arg(long)]
    partial: bool,
    /// Look at the store that machines share, and not at the one of this machine: what no pipeline used last goes, if it is older than a
    /// week or `--older-than`
    #[arg(long, conflicts_with_all = ["keep_runs", "max_size", "partial", "pipes", "verbose"])]
    shared: bool,
    #[command(flatten)]
    store: SharedStore,
    #[command(flatten)]
    cache: Cache,
    /// Name every result that stays or goes
    #[arg(short, long)]
    verbose: bool,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Gc {
    /// Runs the command.
    ///
    /// # Errors
    /// If a manifest is wrong, the store cannot be read or changed, or with `--apply` another process uses it.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        if self.shared {
            return self.execute_shared();
        }
        let store = self.cache.open();
        let alone = if self.apply && store.root().is_dir() { Some(store.claim()?) } else { None };
        let policy = Policy {
            keep_runs: self.keep_runs,
            younger_than: self.older_than,
            max_size: self.max_size.map(|size| size as u64),
            partial: self.partial,
        };
        let found = sweep(&store, self.roots(&store, kinds)?, &policy)?;
        if let Some(alone) = &alone {
            found.apply(&store, alone)?;
        }
        match self.format {
            Format::Text => ui::print(&self.text(&found))?,
            Format::Json => ui::print_json(&self.json(&found)?)?,
        }
        Ok(Exit::Ok)
    }

    /// Looks at the shared store, and removes what can go.
    fn execute_shared(&self) -> anyhow::Result<Exit> {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
        // Even to look needs to write: that is how the clock of the place is read.
        let sharing = self.store.required("`spot gc --shared`", Access::Write)?;
        let found = sharing.sweep(self.older_than.unwrap_or(WEEK))?;
        if self.apply {
            sharing.remove(&found)?;
        }
        match self.format {
            Format::Json => ui::print_json(&json!({"version": JSON_VERSION, "applied": self.apply, "found": found}))?,
            Format::Text => {
                let Unneeded { roots, kept, kept_bytes, entries, blobs, others, bytes, .. } = &found;
                let (kept_bytes, bytes) = (ui::bytes(*kept_bytes), ui::bytes(*bytes));
                let goes = if self.apply { "removed" } else { "to go" };
                let how = if self.apply { "" } else { "; nothing is removed without `--apply`" };
                ui::print(&format!(
                    "{kept} results stay for {roots} pipelines, {kept_bytes}\n{goes}: {entries} results, {blobs} blobs, {others} others, {bytes}{how}"
                ))?;
            }
        }
        Ok(Exit::Ok)
    }

    /// Every manifest under each of its profiles. One that cannot be planned keeps what its last runs used, and that is said.
    fn roots(&self, store: &Arc<Store>, kinds: &[Kind]) -> anyhow::Result<Vec<Root>> {
        let mut paths: Vec<PathBuf> = pipeline::manifests();
        for pipe in &self.pipes {
            let path = pipeline::find(pipe)?;
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let message = "no manifest in `pipelines/`, so nothing would be needed; go to the folder of the project, or name \
                           manifests: `spot gc PIPE`";
            return Err(Usage(message.to_owned()).into());
        }
        let (mut roots, mut planned, mut unplanned) = (Vec::new(), BTreeSet::new(), Vec::new());
        for path in paths {
            match manifest::outline(&path) {
                Ok(outline) => {
                    for plan in plans(&path, &outline, kinds) {
                        match plan {
                            Ok(plan) => {
                                planned.insert(plan.name.clone());
                                roots.push(Root::of_plan(&plan, store)?);
                            }
                            Err(warning) => unplanned.push((path.clone(), outline.name.clone(), warning)),
                        }
                    }
                }
                Err(error) => unplanned.push((path.clone(), None, warning(&path, None, &error))),
            }
        }
        for (path, pipeline, warning) in unplanned {
            tell("warning:", Colour::Yellow, &warning);
            roots.push(Root::of_unplanned(&path, pipeline.as_deref(), &planned, store)?);
        }
        Ok(roots)
    }

    fn json(&self, found: &Sweep) -> anyhow::Result<Value> {
        let mut value = serde_json::to_value(found)?;
        value["version"] = json!(JSON_VERSION);
        value["applied"] = json!(self.apply);
        Ok(value)
    }

    fn text(&self, found: &Sweep) -> String {
        let mut text = format!(
            "stays: {} entries, {} blobs, {}\n{}",
            found.stays.len(),
            found.blobs,
            ui::bytes(found.bytes),
            by_root(&found.stays)
        );
        if self.verbose {
            text += &found.stays.iter().map(line).collect::<String>();
        }
        if found.resumable > 0 {
            text += &format!("  saved work of {} interrupted jobs; `--partial` removes it\n", found.resumable);
        }
        text += &waiting(found);
        let (gone, dropped) = (found.goes.len(), found.dropped_blobs);
        text += &format!("goes: {gone} entries, {dropped} blobs, {} in all\n", ui::bytes(found.freed));
        if self.verbose {
            text += &found.goes.iter().map(line).collect::<String>();
        } else {
            text += &by_stage(&found.goes);
        }
        for extra in &found.extras {
            text += &format!("  {}: `{}`, {}\n", extra.what, extra.path.display(), ui::bytes(extra.bytes));
        }
        if found.runs > 0 {
            text += &format!("  journals of {} old runs: only what they named is remembered, and when\n", found.runs);
        }
        let nothing = gone + dropped + found.extras.len() + found.views + found.runs == 0;
        text + match (nothing, self.apply) {
            (true, _) => "there is nothing to remove\n",
            (false, true) => "removed\n",
            (false, false) => "nothing was removed\n\nhint: `spot gc --apply` with the same options removes it\n",
        }
    }
}

/// The plans of a manifest, one for each of its profiles, or why there is none.
fn plans(path: &Path, outline: &Outline, kinds: &[Kind]) -> Vec<Result<Plan, String>> {
    let environment = |name: &str| std::env::var(name).ok();
    let plan = |profile: Option<&str>| {
        let options = manifest::Options { profile, set: &[], environment: &environment };
        manifest::load(path, kinds, &options).map_err(|error| warning(path, profile, &error))
    };
    match outline.profiles.as_slice() {
        [] => vec![plan(None)],
        profiles => profiles.iter().map(|profile| plan(Some(profile))).collect(),
    }
}

fn warning(path: &Path, profile: Option<&str>, error: &LoadError) -> String {
    let profile = profile.map_or_else(String::new, |profile| format!(" (profile `{profile}`)"));
    let path = path.display();
    format!("what `{path}`{profile} needs cannot be determined, so what its last runs used stays: {error}")
}

/// Blobs without an entry that stay.
fn waiting(found: &Sweep) -> String {
    match (found.waiting_blobs, found.unreadable) {
        (0, 0) => String::new(),
        (blobs, 0) => {
            format!("  {blobs} blobs without an entry; they are recent, and a job may be about to write it\n")
        }
        (blobs, entries) => format!(
            "  {entries} entries that cannot be read, and {blobs} blobs that may be theirs; see `spot audit --repair`\n"
        ),
    }
}

/// How much each root keeps, and how much of that it alone.
fn by_root(items: &[Item]) -> String {
    let mut roots: Vec<(&str, usize, usize)> = Vec::new();
    for item in items {
        for name in &item.kept_by {
            let at = roots.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                roots.push((name, 0, 0));
                roots.len() - 1
            });
            roots[at].1 += 1;
            roots[at].2 += usize::from(item.kept_by.len() == 1);
        }
    }
    roots.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let alone = |alone| if alone > 0 { format!(", {alone} of them by nothing else") } else { String::new() };
    roots.iter().map(|(name, all, only)| format!("  {all} by {name}{}\n", alone(*only))).collect()
}

/// The entries that go, those of one stage in a line.
fn by_stage(items: &[Item]) -> String {
    let mut stages: BTreeMap<&str, Vec<(&str, &Item)>> = BTreeMap::new();
    for item in items {
        let job = item.jobs.first().map_or("", String::as_str);
        let stage = job.split(['[', '/']).next().unwrap_or(job);
        stages.entry(stage).or_default().push((job, item));
    }
    let line = |(_, items): (&str, Vec<(&str, &Item)>)| {
        let mut names: Vec<&str> = items.iter().map(|(job, _)| *job).collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let bytes = items.iter().map(|(_, item)| item.bytes).sum();
        let used = items.iter().map(|(_, item)| item.used.as_str()).max().unwrap_or_default();
        let kept = items.iter().filter(|(_, item)| !item.kept_by.is_empty()).count();
        let kept = if kept > 0 { format!(", {kept} of them kept but for `--max-size`") } else { String::new() };
        format!("  {}{more}: {}, last used {used}{kept}\n", names.join(", "), ui::bytes(bytes))
    };
    stages.into_iter().map(line).collect()
}

fn line(item: &Item) -> String {
    let Item { key, kind, used, bytes, .. } = item;
    let kept = if item.kept_by.is_empty() { String::new() } else { format!(", kept by {}", item.kept_by.join(", ")) };
    let bytes = ui::bytes(*bytes);
    format!("  {} {kind} {}: {bytes}, last used {used}{kept}\n", key.short(), item.jobs.join(", "))
}
