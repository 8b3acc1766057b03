//! A run for people, on standard error: what runs below lines that stay, on a terminal; lines alone elsewhere.

use super::progress::{Progress, Ticker};
use super::{Colour, paint, printable, reasons, seconds};
use crate::engine::plan::Plan;
use crate::engine::run::{Ending, Outcome, Watch};
use crate::engine::store::Store;
use crate::panic::lock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often what runs is drawn anew on a terminal.
const REDRAWN: Duration = Duration::from_millis(500);
/// Jobs shown of those that run.
const MOST_RUNNING: usize = 6;
/// Letters of a stage's bar.
const BAR: usize = 24;
/// Letters of a line that is drawn over.
const WIDTH: usize = 100;
/// Jobs that took less are shown together, if their stage has many.
const CHEAP: f64 = 1.0;
const MANY: usize = 5;

/// Shows a run to people.
pub struct Lines {
    verbose: bool,
    bar: ProgressBar,
    progress: Arc<Mutex<Progress>>,
    cheap: Arc<Mutex<Vec<Cheap>>>,
    ticker: Option<Ticker>,
}

/// Jobs of one stage that cost little and ran for one reason, to be shown in one line.
struct Cheap {
    stage: String,
    jobs: usize,
    seconds: f64,
    why: String,
}

impl Lines {
    /// For jobs of which nothing is known before; `verbose` shows hits too.
    pub fn new(verbose: bool) -> Self {
        let target =
            if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} {msg}");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style.expect("the template is well-formed"));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let progress = Arc::new(Mutex::new(Progress::new(None)));
        Self { verbose, bar, progress, cheap: Arc::default(), ticker: None }
    }

    /// For the jobs of a plan, `all` of them or some; off a terminal with a line on how far the run is at every interval, if there
    /// is one.
    pub fn of_plan(verbose: bool, plan: &Plan, all: bool, store: &Arc<Store>, every: Option<Duration>) -> Self {
        let mut lines = Self::new(verbose);
        lines.progress = Arc::new(Mutex::new(Progress::new(Some(plan).filter(|_| all))));
        let (bar, is_terminal, cheap) = (lines.bar.clone(), !lines.bar.is_hidden(), lines.cheap.clone());
        let every = if is_terminal { Some(REDRAWN) } else { every };
        let tick = move |progress: &Progress| {
            if is_terminal {
                bar.set_message(drawn(progress));
            } else {
                std::mem::take(&mut *lock(&cheap)).iter().for_each(|cheap| cheap.tell(&bar));
                // Nobody is left to be told if standard error is closed.
                let _ = writeln!(io::stderr(), "progress: {}", printable(&progress.in_words(Instant::now())));
            }
        };
        let ticker = |every| Ticker::new(every, lines.progress.clone(), store.clone(), plan.name.clone(), tick);
        lines.ticker = every.map(ticker);
        lines
    }

    /// Says what was not said yet, and removes what was drawn.
    pub fn finish(mut self) {
        self.ticker = None;
        self.tell_cheap(|_| true);
        self.bar.finish_and_clear();
    }

    /// A line of its own, above what is drawn; `word` in front of it may be painted.
    fn line(&self, word: &str, text: &str) {
        line(&self.bar, word, text);
    }

    fn executed(&self, outcome: &Outcome, is_last: bool) {
        let (stage, why) = (&outcome.stage, reasons(&outcome.reasons));
        let is_one_of_many = lock(&self.progress).stages.iter().any(|known| known.name == *stage && known.jobs >= MANY);
        if self.verbose || outcome.seconds >= CHEAP || !is_one_of_many {
            tell_executed(&self.bar, &outcome.job, outcome.seconds, &why);
        } else {
            let mut all = lock(&self.cheap);
            match all.iter_mut().find(|cheap| cheap.stage == *stage && cheap.why == why) {
                Some(cheap) => {
                    cheap.jobs += 1;
                    cheap.seconds += outcome.seconds;
                }
                None => all.push(Cheap { stage: stage.clone(), jobs: 1, seconds: outcome.seconds, why }),
            }
        }
        if is_last {
            self.tell_cheap(|cheap| cheap.stage == *stage);
        }
    }

    /// Says what was gathered of some stages.
    fn tell_cheap(&self, is_one: impl Fn(&Cheap) -> bool) {
        let mut all = lock(&self.cheap);
        let (told, kept) = std::mem::take(&mut *all).into_iter().partition(is_one);
        *all = kept;
        let told: Vec<Cheap> = told;
        told.iter().for_each(|cheap| cheap.tell(&self.bar));
    }
}

impl Cheap {
    fn tell(&self, bar: &ProgressBar) {
        let Self { stage, jobs, seconds, why } = self;
        let what = if *jobs == 1 { format!("a job of `{stage}`") } else { format!("{jobs} jobs of `{stage}`") };
        tell_executed(bar, &what, *seconds, why);
    }
}

fn tell_executed(bar: &ProgressBar, what: &str, took: f64, why: &str) {
    line(bar, &paint("executed", Colour::Green), &format!("  {what} in {}: {why}", seconds(took)));
}

fn line(bar: &ProgressBar, word: &str, text: &str) {
    let line = format!("{word}{}", printable(text));
    if bar.is_hidden() {
        let _ = writeln!(io::stderr(), "{line}");
    } else {
        bar.println(line);
    }
}

/// What is drawn on a terminal: the run, its stages that are begun and not done, and the jobs at work.
fn drawn(progress: &Progress) -> String {
    let now = Instant::now();
    let left = progress.time_left(now).map_or_else(String::new, |left| format!(", {}", left.in_words()));
    let failed = if progress.failed > 0 { format!(", {} failed", progress.failed) } else { String::new() };
    let mut text = format!("{} of {} jobs{failed}{left}", progress.done, progress.jobs);
    let width = progress.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    let begun = |name: &str| {
        progress
            .running
            .keys()
            .any(|job| job.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '/'])))
    };
    let open = progress.stages.iter().filter(|stage| stage.done < stage.jobs && (stage.done > 0 || begun(&stage.name)));
    for stage in open {
        let filled = BAR * stage.done / stage.jobs.max(1);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        write!(text, "\n  {:width$} {bar} {}/{}", stage.name, stage.done, stage.jobs)
            .expect("a string takes everything");
    }
    for (job, running) in progress.running.iter().take(MOST_RUNNING) {
        let line: String = format!("  · {job}{}", running.in_words(now)).chars().take(WIDTH).collect();
        text = text + "\n" + &line;
    }
    if progress.running.len() > MOST_RUNNING {
        text += &format!("\n  · and {} more", progress.running.len() - MOST_RUNNING);
    }
    printable(&text).into_owned()
}

impl Watch for Lines {
    fn known(&self, jobs: usize) {
        lock(&self.progress).jobs = jobs;
    }

    fn started(&self, job: &str) {
        lock(&self.progress).start(job);
    }

    fn step(&self, job: &str, done: u64, total: u64, note: &str) {
        lock(&self.progress).step(job, done, total, note);
    }

    fn say(&self, job: &str, message: &str) {
        self.line("", &format!("{job}: {message}"));
    }

    fn warn(&self, job: &str, message: &str) {
        self.line(&paint("warning:", Colour::Yellow), &format!(" {job}: {message}"));
    }

    fn ended(&self, outcome: &Outcome) {
        let is_last = lock(&self.progress).end(outcome);
        let (job, why) = (&outcome.job, reasons(&outcome.reasons));
        match outcome.ending {
            // The summary counts them; a line each would bury the error that blocks them.
            Ending::Cached | Ending::Blocked if !self.verbose => {}
            Ending::Cached => self.line("cached", &format!("    {job}: {why}")),
            Ending::Executed => self.executed(outcome, is_last),
            Ending::Blocked => self.line(&paint("blocked", Colour::Yellow), &format!("   {job}: {why}")),
            Ending::Interrupted(step) => self.line("interrupted", &format!("  {job} at step {step}")),
            Ending::Failed => {
                let error = outcome.error.as_deref().unwrap_or("failed");
                self.line(&paint("error:", Colour::Red), &format!(" job `{job}` failed: {error}"));
            }
        }
    }
}
