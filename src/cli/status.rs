//! `spot status`: what is cached, what would run, and why.

use super::pipeline::Pipeline;
use super::run::{cores, device_class};
use super::{Cache, Format, JSON_VERSION};
use crate::engine::plan::Plan;
use crate::engine::run::forecast::{Basis, DeviceClass, Expected, Experience, Forecast};
use crate::engine::run::reason::Reason;
use crate::engine::run::state::{JobState, Question, State, survey};
use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::error::Exit;
use crate::ui;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

/// Jobs named in one line of text; the rest are counted.
const MOST_NAMES: usize = 3;

/// Arguments of `spot status`.
#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) pipeline: Pipeline,
    #[command(flatten)]
    cache: Cache,
    /// Exit with 10 if there is work to do
    #[arg(long)]
    exit_code: bool,
    /// Say for cached jobs too where their result comes from
    #[arg(short, long)]
    verbose: bool,
    /// Text or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// If the manifest is wrong, or the store cannot be read.
    pub(super) fn execute(&self, kinds: &[Kind]) -> anyhow::Result<Exit> {
        let plan = self.pipeline.load(kinds)?;
        let store = self.cache.open();
        let jobs = survey(&plan, &store, &Question::default())?;
        store.files().save()?;
        // As a run would have it that is told nothing else.
        let device = device_class("auto", cores(), None);
        let cost = Cost::of(&plan, &store, &jobs, device)?;
        match self.format {
            Format::Text => ui::print(&text(&plan, &jobs, &cost, self.verbose))?,
            Format::Json => ui::print_json(&json(&plan, &jobs, &cost))?,
        }
        let work = jobs.iter().any(|job| job.state != State::Cached);
        Ok(if work && self.exit_code { Exit::WorkToDo } else { Exit::Ok })
    }
}

/// What the jobs that are not cached will take.
pub(super) struct Cost {
    experience: Experience,
    forecast: Forecast,
}

impl Cost {
    /// On a device, by earlier jobs in the store; these are looked at only if there is work to do.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn of(plan: &Plan, store: &Store, jobs: &[JobState], device: DeviceClass) -> io::Result<Self> {
        let is_work = jobs.iter().any(|job| !matches!(job.state, State::Cached | State::Blocked));
        let experience = if is_work { Experience::read(store, &plan.name, device)? } else { Experience::default() };
        Ok(Self { forecast: experience.forecast(jobs), experience })
    }

    /// What one job will take.
    fn expected(&self, job: &JobState) -> Option<Expected> {
        let is_work = !matches!(job.state, State::Cached | State::Blocked);
        if is_work { self.experience.of(&job.job, job.kind, job.operations) } else { None }
    }

    /// In a line; nothing if nothing is to be done or known.
    fn in_words(&self) -> String {
        let Forecast { job_seconds, seconds, bytes, by, unknown } = self.forecast;
        if by.iter().sum::<usize>() == 0 {
            return String::new();
        }
        let time = match seconds {
            Some(seconds) => {
                format!(
                    "about {} at the pace of earlier runs, {} of jobs",
                    ui::seconds(seconds),
                    ui::seconds(job_seconds)
                )
            }
            None => format!("{} of jobs one after the other", ui::seconds(job_seconds)),
        };
        let bases = [
            "by their own last time",
            "by others of their stage",
            "by others of their kind",
            "by their size and the speed of others, least sure",
        ];
        let bases = by.iter().zip(bases).filter(|(n, _)| **n > 0).map(|(n, by)| format!("{n} {by}"));
        let bases: Vec<String> = bases.collect();
        let more = if unknown > 0 { format!("; {unknown} more of which nothing is known") } else { String::new() };
        format!("work: {time}, {} on disk ({}){more}\n", ui::bytes(bytes), bases.join(", "))
    }
}

/// A job for programs. Scripts rely on the fields.
#[derive(Serialize)]
struct Job<'a> {
    job: &'a str,
    stage: &'a str,
    kind: &'a str,
    state: State,
    key: Option<Key>,
    reasons: &'a [Reason],
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    /// How long it is expected to take, if it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// By what that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_by: Option<Basis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expands_to_at_most: Option<usize>,
}

/// States for programs.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    version: u32,
    pipeline: &'a str,
    profile: Option<&'a str>,
    counts: BTreeMap<String, usize>,
    forecast: &'a Forecast,
    jobs: Vec<Job<'a>>,
}

pub(super) fn json<'a>(plan: &'a Plan, jobs: &'a [JobState], cost: &'a Cost) -> Json<'a> {
    let job = |job: &'a JobState| Job {
        job: &job.job,
        stage: &job.stage,
        kind: job.kind,
        state: job.state,
        key: job.key,
        reasons: &job.reasons,
        step: if let State::Interrupted(step) = job.state { Some(step) } else { None },
        seconds: cost.expected(job).map(|expected| expected.seconds),
        seconds_by: cost.expected(job).map(|expected| expected.basis),
        expands_to_at_most: job.expands_to_at_most,
    };
    Json {
        version: JSON_VERSION,
        pipeline: &plan.name,
        profile: plan.profile.as_deref(),
        counts: counts(jobs.iter()),
        forecast: &cost.forecast,
        jobs: jobs.iter().map(job).collect(),
    }
}

/// States for people: a line a stage, and below it the jobs that are not cached, those with the same reasons together.
pub(super) fn text(plan: &Plan, jobs: &[JobState], cost: &Cost, verbose: bool) -> String {
    let mut text = String::new();
    let width = plan.stages.iter().map(|stage| stage.chars().count()).max().unwrap_or(0);
    for stage in &plan.stages {
        let of_stage: Vec<_> = jobs.iter().filter(|job| job.stage == *stage).collect();
        if of_stage.is_empty() {
            continue;
        }
        text += &format!("{stage:width$}  {}\n", in_words(&counts(of_stage.iter().copied())));
        for (what, names) in grouped(&of_stage, verbose) {
            text += &format!("  {}: {what}\n", names_in_words(&names));
        }
    }
    let most: usize = jobs.iter().filter_map(|job| job.expands_to_at_most).sum();
    let more = if most > 0 { format!(" (and up to {most} more)") } else { String::new() };
    text + &format!("{} jobs{more}: {}\n{}", jobs.len(), in_words(&counts(jobs.iter())), cost.in_words())
}

/// State and reasons, and the jobs that they hold for, in the order of their first job.
fn grouped<'a>(jobs: &[&'a JobState], verbose: bool) -> Vec<(String, Vec<&'a str>)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for job in jobs.iter().filter(|job| verbose || job.state != State::Cached) {
        let what = format!("{}: {}", job.state, ui::reasons(&job.reasons));
        match groups.iter_mut().find(|(known, _)| *known == what) {
            Some((_, names)) => names.push(&job.job),
            None => groups.push((what, vec![&job.job])),
        }
    }
    groups
}

fn names_in_words(names: &[&str]) -> String {
    let shown = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES { format!("{shown} and {} more", names.len() - MOST_NAMES) } else { shown }
}

/// How many jobs are in each state.
fn counts<'a>(jobs: impl Iterator<Item = &'a JobState>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        let state =
            if let State::Interrupted(_) = job.state { "interrupted".to_owned() } else { job.state.to_string() };
        *counts.entry(state).or_default() += 1;
    }
    counts
}

fn in_words(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(state, n)| format!("{n} {state}")).collect::<Vec<_>>().join(", ")
}
