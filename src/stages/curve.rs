//! What a run shows of its course: losses and scores over steps.

use super::mixture::Scores;
use crate::data::{Column, Series, Table, events, more_events};
use crate::ml::train::Step;
use crate::ml::train::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row for each evaluation.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Curve {
    pub(super) steps: Vec<u64>,
    /// Mean training losses of a token since the last evaluation; none at the first.
    pub(super) losses: Vec<Vec<f64>>,
    /// On the validation splits.
    scores: Vec<Option<f64>>,
    /// Of a mixture the score of each task that has one.
    tasks: BTreeMap<String, Vec<f64>>,
}

impl Curve {
    /// Adds the row of a step.
    pub(super) fn push(&mut self, step: u64, losses: Vec<f64>, scores: &Scores) {
        self.steps.push(step);
        self.losses.push(losses);
        self.scores.push(scores.mean);
        for (task, score) in &scores.tasks {
            self.tasks.entry(task.clone()).or_default().push(*score);
        }
    }

    /// The score of the last row.
    pub(super) fn last_score(&self) -> Option<f64> {
        self.scores.last().copied().flatten()
    }

    /// The last row in words; `names` are those of the losses.
    pub(super) fn note(&self, names: &[&str]) -> String {
        let losses = names.iter().zip(self.losses.last().into_iter().flatten());
        let losses = losses.map(|(name, loss)| format!("{name} {loss:.3}"));
        let score = self.last_score().map(|score| format!("score {score:.1}"));
        losses.chain(score).collect::<Vec<_>>().join(" · ")
    }

    fn loss(&self) -> Vec<Option<f64>> {
        self.losses.iter().map(|losses| losses.first().copied()).collect()
    }

    /// The learning rate of the last update before each evaluation.
    fn rates(&self, settings: &Settings) -> Vec<Option<f64>> {
        self.steps.iter().map(|step| (*step > 0).then(|| settings.schedule().rate(*step))).collect()
    }

    /// The curve of a tuning, with a column `score_TASK` for each task of a mixture.
    pub(super) fn table(&self, settings: &Settings) -> Table {
        let names: Vec<String> = self.tasks.keys().map(|task| format!("score_{task}")).collect();
        let mut columns = vec![
            ("step", Column::Int(self.steps.iter().map(|step| *step as i64).collect())),
            ("loss", Column::OptFloat(self.loss())),
            ("score", Column::OptFloat(self.scores.clone())),
            ("learning_rate", Column::OptFloat(self.rates(settings))),
        ];
        columns
            .extend(names.iter().zip(self.tasks.values()).map(|(name, s)| (name.as_str(), Column::Float(s.clone()))));
        Table::new(columns)
    }

    /// The same for TensorBoard.
    pub(super) fn events(&self, settings: &Settings) -> Vec<u8> {
        self.log(&["loss"], settings, events)
    }

    /// A whole log of what is known so far, to which the next rows are added.
    pub(super) fn live_events(&self, names: &[&str], settings: &Settings) -> Vec<u8> {
        self.log(names, settings, events)
    }

    /// The last row as what is added to such a log.
    pub(super) fn last_events(&self, names: &[&str], settings: &Settings) -> Vec<u8> {
        let last = self.steps.last().copied();
        self.log(names, settings, |series| {
            more_events(&series.iter().map(|series| at_step(series, last)).collect::<Vec<_>>())
        })
    }

    /// Losses, the learning rate and scores as series; `names` are those of the losses.
    fn log(&self, names: &[&str], settings: &Settings, write: impl Fn(&[Series<'_>]) -> Vec<u8>) -> Vec<u8> {
        let series = |values: &[Option<f64>]| -> Vec<(u64, f64)> {
            self.steps.iter().zip(values).filter_map(|(step, value)| Some((*step, (*value)?))).collect()
        };
        let losses: Vec<String> = names.iter().map(|name| format!("train/{name}")).collect();
        let loss = |at: usize| -> Vec<Option<f64>> { self.losses.iter().map(|row| row.get(at).copied()).collect() };
        let tasks: Vec<String> = self.tasks.keys().map(|task| format!("validation/score/{task}")).collect();
        let scores = self.tasks.values().map(|scores| self.steps.iter().copied().zip(scores.iter().copied()).collect());
        let mut all: Vec<Series<'_>> =
            losses.iter().enumerate().map(|(at, name)| (name.as_str(), series(&loss(at)))).collect();
        all.push(("train/learning_rate", series(&self.rates(settings))));
        all.push(("validation/score", series(&self.scores)));
        all.extend(tasks.iter().map(String::as_str).zip(scores));
        write(&all)
    }

    /// What the last row says, by names: the losses, the score, and the best score so far.
    pub(super) fn last_values<'n>(&self, names: &[&'n str]) -> Vec<(&'n str, f64)> {
        let losses = names.iter().copied().zip(self.losses.last().into_iter().flatten().copied());
        let best = self.scores.iter().flatten().copied().max_by(f64::total_cmp);
        let scores = [("score", self.last_score()), ("best", best)];
        losses.chain(scores.into_iter().filter_map(|(name, score)| Some((name, score?)))).collect()
    }
}

/// The points of a series at one step.
fn at_step<'a>((name, points): &Series<'a>, step: Option<u64>) -> Series<'a> {
    (name, points.iter().copied().filter(|(known, _)| Some(*known) == step).collect())
}

/// Losses since the last evaluation.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Losses {
    sums: Vec<f64>,
    steps: usize,
}

impl Losses {
    /// Counts a step.
    pub(super) fn add(&mut self, step: &Step) {
        self.sums.resize(step.losses.len(), 0.0);
        self.sums.iter_mut().zip(&step.losses).for_each(|(sum, loss)| *sum += loss.mean());
        self.steps += 1;
    }

    /// The means so far; none before the first step.
    pub(super) fn means(&self) -> impl Iterator<Item = f64> {
        self.sums.iter().map(|sum| sum / self.steps as f64)
    }

    /// The means, which begin anew.
    pub(super) fn take(&mut self) -> Vec<f64> {
        let Self { sums, steps } = std::mem::take(self);
        sums.into_iter().map(|sum| sum / steps as f64).collect()
    }
}
