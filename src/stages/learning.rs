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
    /// Updates done.
    pub(super) step: u64,
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
        loop {
            let (step, left) = (self.step, settings.steps.saturating_sub(self.step));
            if self.look(course, &settings)? {
                pace.note = self.curve.note(course.losses);
                cx.progress().measured(step, &self.curve.last_values(course.losses));
                cx.progress().log(&self.curve.last_events(course.losses, &settings));
                cx.progress().step(step, settings.steps, &pace.text(left));
                if self.is_stale(course, &settings) {
                    return Ok(());
                }
                // Evaluations are where nothing but the parameters and the optimiser is under way.
                if left > 0 {
                    self.save(cx)?;
                }
            }
            if left == 0 {
                return Ok(());
            }
            if cx.stopped() {
                let step = self.curve.steps.last().copied().unwrap_or(0);
                return Err(Interrupted { step }.into());
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
        // A run that goes on was evaluated before it was saved.
        let evaluates = settings.evaluates_at(self.step) && self.curve.steps.last() != Some(&self.step);
        if keeps || evaluates {
            self.learner.fetch()?;
        }
        if keeps {
            self.kept.insert(self.step, self.learner.parameters().to_vec());
        }
        if evaluates {
            self.evaluate(course)?;
        }
        Ok(evaluates)
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

    fn save(&self, cx: &Cx<'_>) -> anyhow::Result<()> {
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
        state.put_word("progress", &(seen, best, &self.curve, self.stale_evaluations))?;
        state.save(cx)
    }

    /// Takes up a saved state.
    fn restore(&mut self, mut saved: Checkpoint<'_>) -> anyhow::Result<()> {
        let (seen, (score, step, best_seen), curve, stale_evaluations) = saved.word("progress")?;
        let (parameters, moments) = (saved.take("parameters"), saved.take_all("moment"));
        self.learner.restore(&parameters, seen, moments)?;
        self.step = saved.step;
        let (parameters, moments) = (saved.take("best"), saved.take_all("best_moment"));
        self.best = Kept { parameters, seen: best_seen, moments, step, score };
        self.curve = curve;
        self.stale_evaluations = stale_evaluations;
        for (name, values) in saved.vectors {
            let step = name.strip_prefix("kept_").and_then(|step| step.parse().ok());
            self.kept.insert(step.with_context(|| format!("`{name}` in a saved state"))?, values.into_owned());
        }
        Ok(())
    }
}
