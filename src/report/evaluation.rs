//! What was measured: the score of a prompt on a target, and what it cost.

use crate::data::{ScoresFile, Trials};
use std::collections::{BTreeMap, BTreeSet};

/// The task and the seed of a source prompt.
pub type Prompt = (String, String);

/// The scores of one prompt on one target.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Target task.
    pub task: String,
    /// The split that was answered.
    pub split: String,
    /// Digest of the examples that were answered; empty if unknown.
    pub examples: String,
    /// Seed of the tuning; empty for what is of no single one.
    pub seed: String,
    /// The task and the seed of the prompt that the tuning began from; empty if from none.
    pub source: Prompt,
    /// Score of always giving the most common answer.
    pub majority: Option<f64>,
    /// The score.
    pub score: f64,
    /// The score on the split on which checkpoints were chosen.
    pub validation: Option<f64>,
    /// Percentage of answers that are none: not a label, not a number.
    pub illegal: f64,
    /// The label that every legal answer was, if the task has others.
    pub only_label: Option<String>,
    /// Updates of the tuning, if they are known.
    pub steps: Option<u64>,
    /// Updates of the tunings that it began from, if they are known.
    pub source_steps: Option<u64>,
    /// Digest of the artifact.
    pub digest: String,
}

impl Evaluation {
    /// What a file of scores says, whose digest this is; `None` if it has no score.
    pub fn of(scores: ScoresFile, digest: String) -> Option<Self> {
        let word = |seed: Option<u64>| seed.map_or_else(String::new, |seed| seed.to_string());
        let mut said = scores.predicted.iter().filter(|(_, count)| *count > 0);
        let only_label = match (said.next(), said.next()) {
            (Some((label, _)), None) if scores.predicted.len() > 1 => Some(label.clone()),
            _ => None,
        };
        Some(Self {
            task: scores.task,
            split: scores.split.name().to_owned(),
            examples: scores.answered,
            seed: word(scores.seed),
            source: (scores.source.unwrap_or_default(), word(scores.source_seed)),
            majority: scores.majority,
            score: scores.score?,
            validation: scores.validation,
            illegal: 100.0 * scores.illegal as f64 / scores.examples.max(1) as f64,
            only_label,
            steps: scores.steps,
            source_steps: scores.source_steps,
            digest,
        })
    }
}

/// What a method spends. Steps are updates of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Target tunings for each target and seed.
    pub tunings: usize,
    /// Source prompts among which it chose; 0 where there was nothing to choose.
    pub candidates: usize,
    /// Steps for each target and seed, the run behind its embedding included.
    pub target_steps: Option<f64>,
    /// Steps of one target tuning.
    pub tuning_steps: Option<f64>,
    /// Steps of the sources that it needs, spent once for all targets.
    pub source_steps: Option<f64>,
    /// Steps of all candidates.
    pub library_steps: Option<f64>,
}

impl Cost {
    /// What a transfer says.
    pub fn of_trials(trials: &Trials) -> Self {
        let steps = |steps: Option<u64>| steps.map(|steps| steps as f64);
        Self {
            tunings: trials.tunings,
            candidates: trials.candidates,
            target_steps: steps(trials.target_steps),
            tuning_steps: trials.tuning_steps,
            source_steps: steps(trials.source_steps),
            library_steps: steps(trials.library_steps),
        }
    }

    /// Of evaluations of which nothing else is known: one tuning each, if all of them say how long it took.
    pub fn of(evaluations: &[Evaluation]) -> Option<Self> {
        let steps: Vec<u64> = evaluations.iter().map(|e| e.steps).collect::<Option<_>>()?;
        let mut sources: BTreeMap<&Prompt, Option<u64>> = BTreeMap::new();
        for e in evaluations.iter().filter(|e| !e.source.0.is_empty()) {
            sources.insert(&e.source, e.source_steps);
        }
        let seeds: BTreeSet<&String> = evaluations.iter().map(|e| &e.seed).collect();
        let all = sources.into_values().sum::<Option<u64>>();
        let tuning_steps = Some(steps.iter().sum::<u64>() as f64 / steps.len().max(1) as f64);
        Some(Self {
            tunings: 1,
            candidates: 0,
            target_steps: tuning_steps,
            tuning_steps,
            // Every seed has sources of its own, which serve all its targets.
            source_steps: all.map(|all| all as f64 / seeds.len().max(1) as f64),
            library_steps: None,
        })
    }

    /// Steps for this many targets under one seed.
    pub(super) fn total(&self, targets: usize) -> Option<f64> {
        Some(self.source_steps? + targets as f64 * self.target_steps?)
    }

    /// Steps if every candidate were tried on every target.
    pub(super) fn brute_force(&self, targets: usize) -> Option<f64> {
        Some(self.library_steps? + targets as f64 * self.candidates as f64 * self.tuning_steps?)
    }
}
