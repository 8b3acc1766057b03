//! What a run shows of its course: losses and scores over steps.

use super::mixture::Scores;
use crate::data::{Column, Table, events};
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
        let series = |values: &[Option<f64>]| -> Vec<(u64, f64)> {
            self.steps.iter().zip(values).filter_map(|(step, value)| Some((*step, (*value)?))).collect()
        };
        let names: Vec<String> = self.tasks.keys().map(|task| format!("validation/score/{task}")).collect();
        let tasks = self.tasks.values().map(|scores| self.steps.iter().copied().zip(scores.iter().copied()).collect());
        let mut all = vec![
            ("train/loss", series(&self.loss())),
            ("train/learning_rate", series(&self.rates(settings))),
            ("validation/score", series(&self.scores)),
        ];
        all.extend(names.iter().map(String::as_str).zip(tasks));
        events(&all)
    }
}

/// Losses since the last evaluation.
#[derive(Default)]
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

    /// The means, which begin anew.
    pub(super) fn take(&mut self) -> Vec<f64> {
        let Self { sums, steps } = std::mem::take(self);
        sums.into_iter().map(|sum| sum / steps as f64).collect()
    }
}
