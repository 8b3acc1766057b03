//! `spot explain`: field by field, why a job would run, or where its result comes from.

use super::pipeline::{Pipeline, select};
use super::{Cache, Format, JSON_VERSION};
use crate::engine::run::reason::Reason;
use crate::engine::run::state::{JobState, Question, survey};
use crate::engine::stage::Kind;
use crate::engine::store::entry::Record;
use crate::engine::store::provenance::Origin;
use crate::engine::store::recipe::Difference;
use crate::error::{Exit, Usage};
use crate::ui;
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `spot explain`.
#[derive(Args)]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    /// A job or a stage; `*` stands for any text
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    cache: Cache,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Explain {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, the job is not in it or not known yet, or the store cannot be read.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        let wanted = select(&plan, std::slice::from_ref(&self.job))?;
        let jobs = survey(&plan, &store, &Question::default())?;
        store.files().save()?;
        let jobs: Vec<_> = jobs.iter().filter(|job| wanted.contains(&job.job)).collect();
        if jobs.is_empty() {
            return Err(Usage(format!("no job `{}` is known yet", self.job)).into());
        }
        match self.format {
            Format::Text => ui::print(&jobs.iter().map(|job| text(job)).collect::<Vec<_>>().join("\n"))?,
            Format::Json => {
                let jobs: Vec<_> = jobs.into_iter().map(json).collect();
                ui::print_json(&json!({"version": JSON_VERSION, "pipeline": plan.name, "jobs": jobs}))?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn differences(job: &JobState) -> impl Iterator<Item = &Difference> {
    job.reasons.iter().filter_map(|reason| match reason {
        Reason::Changed(difference) => Some(difference),
        _ => None,
    })
}

fn json(job: &JobState) -> Value {
    json!({
        "job": job.job,
        "stage": job.stage,
        "kind": job.kind,
        "state": job.state,
        "key": job.key,
        "reasons": job.reasons,
        "changes": differences(job).collect::<Vec<_>>(),
        "compared_with": job.compared,
        "recipe": job.recipe,
        "inputs": job.origins,
    })
}

fn text(job: &JobState) -> String {
    let key = job.key.map_or_else(|| "not known yet".to_owned(), |key| key.to_string());
    let mut text = format!("{} ({}): {}\n  key  {key}\n", job.job, job.kind, job.state);
    if let Some(compared) = &job.compared {
        text += &format!("  compared with the entry {}\n", compared.short());
    }
    let changes: Vec<_> = differences(job).collect();
    let width = changes.iter().map(|change| change.field().chars().count()).max().unwrap_or(0);
    for change in changes {
        text += &format!("  {:width$}  {} -> {}\n", change.field(), change.was(), change.is());
    }
    for reason in job.reasons.iter().filter(|reason| !matches!(reason, Reason::Changed(_))) {
        text += &format!("  {reason}\n");
    }
    let made = job.entry.as_ref().map_or_else(Vec::new, |entry| entry.artifacts.clone());
    for origin in &job.origins {
        text += &format!("  reads {}\n", origin_in_words(origin, &made));
    }
    text
}

/// An input, where it comes from and what it is; and, if it is among what the job made, that it was chosen to be handed on.
pub(super) fn origin_in_words(origin: &Origin, made: &[Record]) -> String {
    let file = origin.file.as_ref().map(|path| path.display().to_string());
    let from = origin.artifact.clone().or(file).unwrap_or_default();
    let handed_on = made.iter().find(|artifact| artifact.digest == origin.digest);
    let handed_on = handed_on.map_or_else(String::new, |artifact| format!(", handed on as `{}`", artifact.name));
    format!("{} from {from} ({}){handed_on}", origin.role, origin.digest.short())
}
