//! The one loop that prompts and models learn in, and that models are pretrained in: evaluate, keep, save, step. Who learns is a
//! [`Learner`].

use super::checkpoint::{Checkpoint, keep};
use super::curve::{Curve, Losses};
use super::mixture::Scores;
use super::pace::Pace;
use super::training::WhichCheckpoint;
use crate::engine::context::{Cx, Interrupted};
use crate::ml::error::Error;
use crate::ml::train::settings::Settings;
use crate::ml::train::{Learner, Moments};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time between two saved states, beside those of evaluations: what a kill may cost.
const OFTEN: Duration = Duration::from_secs(300);
/// A run saves for at most one part in so many of its time, however large the state is.
const MODEST: u32 = 20;

/// Makes a file of parameters, their step and their score.
type File<'a> = dyn Fn(&[f32], u64, Option<f64>) -> anyhow::Result<Vec<u8>> + 'a;

/// What a stage wants of a run.
pub(super) struct Course<'a, L> {
    /// Steps after which the parameters are kept besides the best ones.
    pub(super) keep_at: &'a [u64],
    /// What the losses of a step are called.
    pub(super) losses: &'a [&'a str],
    /// How good what was learned is.
    pub(super) scores: &'a dyn Fn(&L) -> anyhow::Result<Scores>,
    /// A file for people, of parameters that are worth keeping although the job fails.
    pub(super) file: &'a File<'a>,
}

/// A state that somebody may ask for.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) parameters: Vec<f32>,
    /// Updates that the moments have seen.
    pub(super) seen: u64,
    /// None if no later job may want the optimiser as it was.
    pub(super) moments: Vec<Vec<f32>>,
    pub(super) step: u64,
    pub(super) score: Option<f64>,
}

/// A learner at work, and what is kept of it.
pub(super) struct Loop<L> {
    pub(super) learner: L,
    keeps_moments: bool,
    /// Updates done, and how many of them are known of here, if what learns is elsewhere.
    pub(super) step: u64,
    fetched: Option<u64>,
    best: Kept,
    pub(super) kept: BTreeMap<u64, Vec<f32>>,
    pub(super) curve: Curve,
    losses: Losses,
    /// Evaluations since the best one.
    stale_evaluations: u64,
}

impl<L: Learner> Loop<L> {
    /// A run that has done nothing yet.
    pub(super) fn new(learner: L) -> Self {
        Self {
            learner,
            keeps_moments: false,
            step: 0,
            fetched: None,
            best: Kept::default(),
            kept: BTreeMap::new(),
            curve: Curve::default(),
            losses: Losses::default(),
            stale_evaluations: 0,
        }
    }

    /// Keeps the optimiser as it was at the chosen checkpoint, as a later job may want it.
    pub(super) fn keep_moments(self) -> Self {
        Self { keeps_moments: true, ..self }
    }

    /// Evaluate if due, keep if asked, save, step: until the end.
    ///
    /// # Errors
    /// [`Interrupted`] if somebody asked to stop; what the learner, `course` and the scratch folder fail with.
    pub(super) fn go(&mut self, cx: &Cx<'_>, course: &Course<'_, L>) -> anyhow::Result<()> {
        let settings = self.learner.settings().clone();
        let mut pace = Pace::new();
        match Checkpoint::load(cx)? {
            Some(saved) => self.restore(saved)?,
            None => self.best = self.state(None),
        }
        self.show_beginning(cx, course, &settings);
        let mut saves = Saves::default();
        loop {
            let (step, left) = (self.step, settings.steps.saturating_sub(self.step));
            // Somebody may be about to end this program, and an evaluation takes long.
            if cx.stopped() {
                saves.save(self, cx)?;
                return Err(Interrupted { step }.into());
            }
            if saves.is_due() {
                saves.save(self, cx)?;
            }
            if self.look(course, &settings)? {
                pace.note = self.curve.note(course.losses);
                cx.progress().measured(step, &self.curve.last_values(course.losses));
                cx.progress().log(&self.curve.last_events(course.losses, &settings));
                cx.progress().step(step, settings.steps, &pace.text(left));
                if self.is_stale(course, &settings) {
                    return Ok(());
                }
                if left > 0 {
                    saves.save(self, cx)?;
                }
            }
            if left == 0 {
                return Ok(());
            }
            let learned = self.learner.step(step).map_err(|error| self.keep_best(cx, course, error))?;
            self.step += 1;
            self.losses.add(&learned);
            if pace.count(learned.tokens) {
                let losses: Vec<(&str, f64)> = course.losses.iter().copied().zip(self.losses.means()).collect();
                cx.progress().measured(self.step, &losses);
                cx.progress().step(self.step, settings.steps, &pace.text(left - 1));
            }
        }
    }

    /// What others see before the first step: nothing, or what was done before an interruption.
    fn show_beginning(&self, cx: &Cx<'_>, course: &Course<'_, L>, settings: &Settings) {
        cx.progress().step(self.step, settings.steps, "");
        cx.progress().log(&self.curve.live_events(course.losses, settings));
        if let Some(step) = self.curve.steps.last() {
            cx.progress().measured(*step, &self.curve.last_values(course.losses));
        }
    }

    /// How much was done of the steps that were asked for, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.step as f64 / self.learner.settings().steps.max(1) as f64
    }

    /// The checkpoint that was asked for, once the run is done.
    pub(super) fn chosen(&mut self, which: WhichCheckpoint) -> Kept {
        match which {
            WhichCheckpoint::Best => std::mem::take(&mut self.best),
            // The last step is always evaluated.
            WhichCheckpoint::Final => self.state(self.curve.last_score()),
        }
    }

    /// What is due after this step: keeping and evaluating; whether it was evaluated.
    fn look(&mut self, course: &Course<'_, L>, settings: &Settings) -> anyhow::Result<bool> {
        let keeps = course.keep_at.contains(&self.step);
        // What was saved at this step may have been evaluated before.
        let evaluates = settings.evaluates_at(self.step) && self.curve.steps.last() != Some(&self.step);
        if keeps || evaluates {
            self.fetch()?;
        }
        if keeps {
            self.kept.insert(self.step, self.learner.parameters().to_vec());
        }
        if evaluates {
            self.evaluate(course)?;
        }
        Ok(evaluates)
    }

    /// Gets what was learned from where it learns, once a step.
    fn fetch(&mut self) -> anyhow::Result<()> {
        if self.fetched != Some(self.step) {
            self.learner.fetch()?;
            self.fetched = Some(self.step);
        }
        Ok(())
    }

    /// Scores what was learned, and keeps it if it is the best so far. Without scores the last is best.
    fn evaluate(&mut self, course: &Course<'_, L>) -> anyhow::Result<()> {
        let scores = (course.scores)(&self.learner)?;
        let (score, best) = (scores.mean, &self.best);
        let losses = self.losses.take();
        self.curve.push(self.step, losses, &scores);
        let improved = score.is_none_or(|score| best.score.is_none_or(|best| score > best));
        // Of equal scores the earlier one is best, but one that has learned nothing only if it is better than all that follow.
        if improved || best.step == 0 && score == best.score {
            self.best = self.state(score);
        }
        self.stale_evaluations = if improved { 0 } else { self.stale_evaluations + 1 };
        Ok(())
    }

    /// Whether to stop early. Steps that must be kept are reached whatever the score does.
    fn is_stale(&self, course: &Course<'_, L>, settings: &Settings) -> bool {
        let patient = settings.patience == 0 || self.stale_evaluations < settings.patience;
        !patient && course.keep_at.iter().all(|keep| *keep <= self.step)
    }

    /// Before a run that diverged fails, keeps the best that it had.
    fn keep_best(&self, cx: &Cx<'_>, course: &Course<'_, L>, error: Error) -> anyhow::Error {
        if !matches!(error, Error::Diverged { .. }) {
            return error.into();
        }
        let Kept { parameters, step, score, .. } = &self.best;
        let kept = cx.scratch().and_then(|scratch| {
            let path = scratch.join("best.safetensors");
            keep(&path, &(course.file)(parameters, *step, *score)?)?;
            Ok(path)
        });
        match kept {
            Ok(path) => anyhow!("{error}; the best so far, of step {step}, is kept as `{}`", path.display()),
            Err(_) => error.into(),
        }
    }

    /// What is learned, as it is now.
    fn state(&self, score: Option<f64>) -> Kept {
        let Moments { seen, values } = self.learner.moments();
        let moments = values.into_iter().filter(|_| self.keeps_moments).map(<[f32]>::to_vec).collect();
        Kept { parameters: self.learner.parameters().to_vec(), seen, moments, step: self.step, score }
    }

    fn save(&mut self, cx: &Cx<'_>) -> anyhow::Result<()> {
        self.fetch()?;
        let mut state = Checkpoint { step: self.step, ..Checkpoint::default() };
        let Moments { seen, values } = self.learner.moments();
        state.put("parameters", self.learner.parameters());
        state.put_all("moment", values);
        state.put("best", &self.best.parameters);
        state.put_all("best_moment", self.best.moments.iter().map(Vec::as_slice));
        for (step, parameters) in &self.kept {
            state.put(&format!("kept_{step}"), parameters);
        }
        let best = (self.best.score, self.best.step, self.best.seen);
        state.put_word("progress", &(seen, best, &self.curve, &self.losses, self.stale_evaluations))?;
        state.save(cx)
    }

    /// Takes up a saved state.
    fn restore(&mut self, mut saved: Checkpoint<'_>) -> anyhow::Result<()> {
        let (seen, (score, step, best_seen), curve, losses, stale_evaluations) = saved.word("progress")?;
        let (parameters, moments) = (saved.take("parameters"), saved.take_all("moment"));
        self.learner.restore(&parameters, seen, moments)?;
        self.step = saved.step;
        let (parameters, moments) = (saved.take("best"), saved.take_all("best_moment"));
        self.best = Kept { parameters, seen: best_seen, moments, step, score };
        self.curve = curve;
        self.losses = losses;
        self.stale_evaluations = stale_evaluations;
        for (name, values) in saved.vectors {
            let step = name.strip_prefix("kept_").and_then(|step| step.parse().ok());
            self.kept.insert(step.with_context(|| format!("`{name}` in a saved state"))?, values.into_owned());
        }
        Ok(())
    }
}

/// What was saved of a run, and when that is due again.
struct Saves {
    /// The step of the last one, and the evaluations before it.
    at: Option<(u64, usize)>,
    ended: Instant,
    took: Duration,
}

impl Default for Saves {
    fn default() -> Self {
        Self { at: None, ended: Instant::now(), took: Duration::ZERO }
    }
}

impl Saves {
    fn is_due(&self) -> bool {
        self.ended.elapsed() >= OFTEN.max(self.took * MODEST)
    }

    /// Saves a run as it is now, unless that was done.
    fn save<L: Learner>(&mut self, run: &mut Loop<L>, cx: &Cx<'_>) -> anyhow::Result<()> {
        let at = Some((run.step, run.curve.steps.len()));
        if self.at != at {
            let began = Instant::now();
            run.save(cx)?;
            *self = Self { at, ended: Instant::now(), took: began.elapsed() };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::context::Progress;
    use crate::engine::manifest::{self, Options};
    use crate::engine::run::{self, Ending, Outcome, Watch};
    use crate::engine::stage::{Input, Kind, Output, Stage, Type};
    use crate::engine::store::Store;
    use crate::ml::model::cpu::Loss;
    use crate::ml::train::Step;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Learns a number, of which every update keeps all that went before, and says so after each.
    struct Counter<'a> {
        settings: Settings,
        progress: &'a dyn Progress,
        number: [f32; 1],
        moment: [f32; 1],
        seen: u64,
    }

    impl Learner for Counter<'_> {
        fn settings(&self) -> &Settings {
            &self.settings
        }

        fn gradients(&mut self, step: u64) -> crate::ml::error::Result<Step> {
            self.moment[0] = self.moment[0] * 0.9 + (step as f32).sin();
            self.progress.say(&format!("learns step {step}"));
            Ok(Step { losses: vec![Loss { sum: f64::from(self.moment[0]) / 3.0, tokens: 1 }], tokens: 1 })
        }

        fn is_finite(&self) -> crate::ml::error::Result<bool> {
            Ok(true)
        }

        fn update(&mut self, rate: f64) -> crate::ml::error::Result<()> {
            self.number[0] += self.moment[0] * rate as f32;
            self.seen += 1;
            Ok(())
        }

        fn parameters(&self) -> &[f32] {
            &self.number
        }

        fn moments(&self) -> Moments<'_> {
            Moments { seen: self.seen, values: vec![&self.moment] }
        }

        fn restore(&mut self, parameters: &[f32], seen: u64, moments: Vec<Vec<f32>>) -> crate::ml::error::Result<()> {
            self.number.copy_from_slice(parameters);
            self.moment.copy_from_slice(&moments[0]);
            self.seen = seen;
            Ok(())
        }
    }

    const OUT: Type = Type::new("text", "json");

    /// Runs the loop, and writes all that came of it.
    #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
    struct Counts {
        steps: u64,
        evaluate_every: u64,
    }

    impl Stage for Counts {
        const KIND: &'static str = "counts";
        const VERSION: u32 = 1;
        const OUTPUTS: &'static [Output] = &[Output { name: "all", of: OUT }];

        fn inputs(&self) -> Vec<Input> {
            Vec::new()
        }

        fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
            let settings = Settings { steps: self.steps, evaluate_every: self.evaluate_every, ..Settings::default() };
            let counter = Counter { settings, progress: cx.progress(), number: [0.0], moment: [0.0], seen: 0 };
            let mut run = Loop::new(counter).keep_moments();
            let course = Course {
                keep_at: &[3, 5],
                losses: &["loss"],
                scores: &|learner: &Counter<'_>| {
                    Ok(Scores { mean: Some(f64::from(learner.number[0]).cos()), tasks: Vec::new() })
                },
                file: &|_, _, _| Ok(Vec::new()),
            };
            run.go(cx, &course)?;
            let kept = serde_json::to_value(&run.kept)?;
            let Kept { parameters, seen, moments, step, score } = run.chosen(WhichCheckpoint::Best);
            let all = serde_json::json!([parameters, seen, moments, step, score, kept, run.curve, run.learner.number]);
            cx.write("all", all.to_string().as_bytes())
        }
    }

    const KINDS: &[Kind] = &[Kind::of::<Counts>()];

    /// Asks a run to stop when it learns one of these steps.
    struct Stopper {
        at: Vec<u64>,
        stop: AtomicBool,
        learned: Mutex<Vec<u64>>,
        ended: Mutex<Vec<Ending>>,
    }

    impl Watch for Stopper {
        fn known(&self, _jobs: usize) {}

        fn started(&self, _job: &str) {}

        fn say(&self, _job: &str, message: &str) {
            let step = message.strip_prefix("learns step ").unwrap().parse().unwrap();
            self.learned.lock().unwrap().push(step);
            self.stop.fetch_or(self.at.contains(&step), Ordering::Relaxed);
        }

        fn step(&self, _job: &str, _done: u64, _total: u64, _note: &str) {}

        fn warn(&self, _job: &str, message: &str) {
            panic!("{message}");
        }

        fn ended(&self, outcome: &Outcome) {
            self.ended.lock().unwrap().push(outcome.ending);
        }
    }

    /// What came of a run that was stopped in these steps and went on each time, and the steps that it learned.
    fn stopped_in(at: &[u64]) -> (String, Vec<u64>, Vec<Ending>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counting.yaml");
        let text = "version: 1
name: counting
stages: {counted: {kind: counts, steps: 11, evaluate_every: 4}}
";
        fs_err::write(&path, text).unwrap();
        let plan = manifest::load(&path, KINDS, &Options { profile: None, set: &[], environment: &|_| None }).unwrap();
        let store = Store::new(&folder.path().join("cache"));
        let stop = AtomicBool::new(false);
        let watch = Stopper { at: at.to_vec(), stop, learned: Mutex::default(), ended: Mutex::default() };
        for _ in 0..=at.len() {
            watch.stop.store(false, Ordering::Relaxed);
            run::run(&plan, &store, &run::Settings::default(), &watch, &watch.stop).unwrap();
        }
        let all = fs_err::read_to_string(store.view_path("counting", "counted").join("all.json")).unwrap();
        (all, watch.learned.into_inner().unwrap(), watch.ended.into_inner().unwrap())
    }

    #[test]
    fn a_run_that_is_stopped_between_evaluations_loses_no_step_and_no_bit() {
        let (whole, learned, _) = stopped_in(&[]);
        assert_eq!(learned, (0..11).collect::<Vec<_>>());
        // Right before an evaluation, within, at a step that is kept, and twice between two evaluations; and before the last one.
        for at in [&[3][..], &[1], &[2], &[4, 5], &[0, 3, 8], &[10]] {
            let (all, learned, ended) = stopped_in(at);
            assert_eq!(all, whole, "{at:?}");
            assert_eq!(learned, (0..11).collect::<Vec<_>>(), "{at:?}");
            let stops: Vec<Ending> = at.iter().map(|step| Ending::Interrupted(step + 1)).collect();
            assert_eq!(ended[..at.len()], stops, "{at:?}");
        }
    }

    #[test]
    fn a_state_is_saved_once_and_again_when_that_costs_little() {
        let now = Saves::default();
        assert!(!now.is_due());
        let ended = Instant::now().checked_sub(OFTEN).unwrap();
        assert!(Saves { ended, ..Saves::default() }.is_due());
        assert!(!Saves { ended, took: OFTEN / 10, at: None }.is_due(), "half a minute every five would be a tenth");
    }
}
