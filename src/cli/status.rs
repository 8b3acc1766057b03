//! `spot status`: what is cached, what would run, and why.

use super::crowd::{At, Crowd};
use super::machine::cores;
use super::pipeline::Pipeline;
use super::run::device_class;
use super::sharing::{SharedStore, home};
use super::{Cache, Format, JSON_VERSION};
use crate::engine::plan::Plan;
use crate::engine::run::forecast::{Basis, DeviceClass, Expected, Experience, Forecast};
use crate::engine::run::reason::Reason;
use crate::engine::run::state::{JobState, Question, State, survey};
use crate::engine::sharing::Access;
use crate::engine::stage::Kind;
use crate::engine::store::Store;
use crate::engine::store::digest::Key;
use crate::engine::store::live::{Live, Measured};
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
    #[command(flatten)]
    shared: SharedStore,
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
        let sharing = self.shared.open(Access::Read)?;
        let jobs = survey(&plan, &store, &Question { sharing: sharing.clone(), ..Question::default() })?;
        store.files().save()?;
        // As a run would have it that is told nothing else.
        let device = device_class("auto", cores(), None);
        let cost = Cost::of(&plan, &store, &jobs, device)?;
        let running = running(&plan, &store, &jobs);
        let crowd = Crowd::of(&plan, &*home(sharing.as_ref(), &store))?;
        match self.format {
            Format::Text => {
                let text = text(&plan, &jobs, &running, &cost, self.verbose);
                ui::print(&format!("{text}{}", crowd.in_words()))?;
            }
            Format::Json => ui::print_json(&json_with(&plan, &jobs, &running, &cost, &crowd))?,
        }
        let work = jobs.iter().any(|job| !job.state.is_done());
        Ok(if work && self.exit_code { Exit::WorkToDo } else { Exit::Ok })
    }
}

/// Jobs that a process runs right now, by their names.
pub(super) type Running = BTreeMap<String, Live>;

/// Those of a survey that are not cached.
pub(super) fn running(plan: &Plan, store: &Store, jobs: &[JobState]) -> Running {
    let open = jobs.iter().filter(|job| !job.state.is_done());
    open.filter_map(|job| Some((job.job.clone(), store.live(&plan.name, &job.job, &job.key?)?))).collect()
}

fn is_to_run(job: &JobState) -> bool {
    !job.state.is_done() && job.state != State::Blocked
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
        let is_work = jobs.iter().any(is_to_run);
        let experience = if is_work { Experience::read(store, &plan.name, device)? } else { Experience::default() };
        Ok(Self { forecast: experience.forecast(jobs), experience })
    }

    /// What one job will take.
    fn expected(&self, job: &JobState) -> Option<Expected> {
        if is_to_run(job) { self.experience.of(&job.job, job.kind, job.operations) } else { None }
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
            None => format!(
                "{} of jobs, each as long as it took beside others, and a run does several at once",
                ui::seconds(job_seconds)
            ),
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
    /// How far it is, if a process runs it right now.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<&'a Live>,
    /// Which worker does it, if there are workers on several machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
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
    /// Workers of other machines and of this one, where they know of each other.
    #[serde(skip_serializing_if = "<[At]>::is_empty")]
    workers: &'a [At],
}

pub(super) fn json<'a>(plan: &'a Plan, jobs: &'a [JobState], running: &'a Running, cost: &'a Cost) -> Json<'a> {
    json_with(plan, jobs, running, cost, Crowd::none())
}

fn json_with<'a>(
    plan: &'a Plan,
    jobs: &'a [JobState],
    running: &'a Running,
    cost: &'a Cost,
    crowd: &'a Crowd,
) -> Json<'a> {
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
        running: running.get(&job.job),
        worker: crowd.worker_of(&job.job),
    };
    Json {
        version: JSON_VERSION,
        pipeline: &plan.name,
        profile: plan.profile.as_deref(),
        counts: counts(jobs.iter(), &Running::new()),
        forecast: &cost.forecast,
        jobs: jobs.iter().map(job).collect(),
        workers: &crowd.workers,
    }
}

/// States for people: a line a stage, and below it the jobs that are not cached, those with the same reasons together.
pub(super) fn text(plan: &Plan, jobs: &[JobState], running: &Running, cost: &Cost, verbose: bool) -> String {
    let mut text = String::new();
    let width = plan.stages.iter().map(|stage| stage.chars().count()).max().unwrap_or(0);
    for stage in &plan.stages {
        let of_stage: Vec<_> = jobs.iter().filter(|job| job.stage == *stage).collect();
        if of_stage.is_empty() {
            continue;
        }
        text += &format!("{stage:width$}  {}\n", in_words(&counts(of_stage.iter().copied(), running)));
        let resting: Vec<_> = of_stage.iter().copied().filter(|job| !running.contains_key(&job.job)).collect();
        for (what, names) in grouped(&resting, verbose) {
            text += &format!("  {}: {what}\n", names_in_words(&names));
        }
        let at_work = of_stage.iter().filter_map(|job| Some((&job.job, running.get(&job.job)?)));
        at_work.for_each(|(job, live)| text += &format!("  {job}: running: {}\n", live_in_words(live)));
    }
    let most: usize = jobs.iter().filter_map(|job| job.expands_to_at_most).sum();
    let more = if most > 0 { format!(" (and up to {most} more)") } else { String::new() };
    text + &format!("{} jobs{more}: {}\n{}", jobs.len(), in_words(&counts(jobs.iter(), running)), cost.in_words())
}

/// Points of a curve that is drawn in a line.
const DRAWN: usize = 24;

/// How far a running job is, in a line: `step 120 of 300, 9.7 steps/s, 18.6 s left; loss 0.531, score 71.9, best 75.0  ▁▃▅▆█`.
fn live_in_words(live: &Live) -> String {
    let Live { step, steps, rate, values, curves, heard, process, .. } = live;
    let mut text =
        if *steps > 0 { format!("step {step} of {steps}") } else { format!("for {}", ui::seconds(live.seconds)) };
    if let Some(rate) = rate.filter(|rate| *rate > 0.0) {
        let pace = if rate >= 1.0 { format!("{rate:.1} steps/s") } else { format!("{:.1} s a step", 1.0 / rate) };
        text += &format!(", {pace}, {} left", ui::seconds(steps.saturating_sub(*step) as f64 / rate));
    }
    // Names that learners share first, then others.
    let known = ["loss", "score", "best"];
    let others = values.keys().map(String::as_str).filter(|name| !known.contains(name));
    let said = known.into_iter().chain(others).filter_map(|name| Some((name, values.get(name)?)));
    let said: Vec<String> = said
        .map(
            |(name, Measured { value, .. })| {
                if name.contains("loss") { format!("{name} {value:.3}") } else { format!("{name} {value:.1}") }
            },
        )
        .collect();
    if !said.is_empty() {
        text += &format!("; {}", said.join(", "));
    }
    if let Some(curve) = curves.get("score").filter(|curve| curve.len() > 1) {
        text += &format!("  {}", drawn(&curve.iter().map(|(_, value)| *value).collect::<Vec<_>>()));
    }
    if *heard >= SILENT {
        text += &format!(" (heard of {} ago, from `{}`)", ui::seconds(*heard), process.host);
    }
    text
}

/// Seconds after which it is said that a job has not spoken for so long.
const SILENT: f64 = 30.0;

/// The last of these numbers as bars, the smallest the lowest.
fn drawn(values: &[f64]) -> String {
    let values = &values[values.len().saturating_sub(DRAWN)..];
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = (bars.len() - 1) as f64;
    let bar =
        |value: &f64| if high > low { bars[((value - low) / (high - low) * top).round() as usize] } else { bars[0] };
    values.iter().map(bar).collect()
}

/// State and reasons, and the jobs that they hold for, in the order of their first job.
fn grouped<'a>(jobs: &[&'a JobState], verbose: bool) -> Vec<(String, Vec<&'a str>)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for job in jobs.iter().filter(|job| verbose || !job.state.is_done()) {
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

/// How many jobs are in each state; those that are `running` count as that.
fn counts<'a>(jobs: impl Iterator<Item = &'a JobState>, running: &Running) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        let state = match job.state {
            _ if running.contains_key(&job.job) => "running".to_owned(),
            State::Interrupted(_) => "interrupted".to_owned(),
            other => other.to_string(),
        };
        *counts.entry(state).or_default() += 1;
    }
    counts
}

fn in_words(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(state, n)| format!("{n} {state}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::store::live::Process;

    #[test]
    fn a_running_job_is_a_line_with_a_curve() {
        let mut live = Live::begun("ab".repeat(32).parse().unwrap(), Process::own());
        assert_eq!(live_in_words(&live), "for 0.0 s");
        (live.step, live.steps, live.rate) = (120, 300, Some(9.0));
        for (name, value) in [("loss", 0.5314), ("score", 71.93), ("best", 75.0), ("row loss", 1.0)] {
            live.values.insert(name.to_owned(), Measured { step: 100, value });
        }
        live.curves.insert("score".to_owned(), vec![(0, 50.0), (50, 75.0), (100, 71.93)]);
        let expected =
            "step 120 of 300, 9.0 steps/s, 20.0 s left; loss 0.531, score 71.9, best 75.0, row loss 1.000  ▁█▇";
        assert_eq!(live_in_words(&live), expected);
        live.rate = Some(0.25);
        live.heard = 90.0;
        assert!(live_in_words(&live).starts_with("step 120 of 300, 4.0 s a step, 12 min 00 s left; "));
        assert!(live_in_words(&live).contains("(heard of 90.0 s ago, from `"));
    }

    #[test]
    fn curves_are_drawn_from_their_smallest_to_their_largest_value() {
        assert_eq!(drawn(&[1.0, 1.0]), "▁▁");
        assert_eq!(drawn(&(0..8).map(f64::from).collect::<Vec<_>>()), "▁▂▃▄▅▆▇█");
        assert_eq!(drawn(&(0..100).map(f64::from).collect::<Vec<_>>()).chars().count(), DRAWN);
    }
}
