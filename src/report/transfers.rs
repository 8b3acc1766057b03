//! Single transfers, every one from a source prompt to a target: what there is of them, and what they say of ways to choose.

use super::evaluation::{Evaluation, Prompt};
use crate::ml::statistics::{mean, standard_deviation};
use std::collections::{BTreeMap, BTreeSet};

/// The transfers to a target under one seed, by source prompt.
pub(super) type Run<'e> = BTreeMap<&'e Prompt, &'e Evaluation>;

/// Single transfers by target, seed and source prompt.
pub struct Transfers<'e> {
    /// In the order in which they came in.
    pub(super) targets: Vec<&'e str>,
    /// Source tasks, in the order in which they came in.
    pub(super) sources: Vec<&'e str>,
    /// Source prompts, those of a task side by side in the order of their seeds.
    pub(super) prompts: Vec<&'e Prompt>,
    runs: BTreeMap<&'e str, BTreeMap<&'e str, Run<'e>>>,
}

impl<'e> Transfers<'e> {
    /// Those of these evaluations; a transfer that is there twice is an error, described.
    ///
    /// # Errors
    /// The target, seed and source prompt that are there twice.
    pub fn of(evaluations: impl IntoIterator<Item = &'e Evaluation>) -> Result<Self, String> {
        let mut found = Self { targets: Vec::new(), sources: Vec::new(), prompts: Vec::new(), runs: BTreeMap::new() };
        let mut prompts: BTreeMap<&str, BTreeSet<&'e Prompt>> = BTreeMap::new();
        for e in evaluations {
            let (source, seed) = &e.source;
            if !found.targets.contains(&e.task.as_str()) {
                found.targets.push(&e.task);
            }
            if !found.sources.contains(&source.as_str()) {
                found.sources.push(source);
            }
            prompts.entry(source).or_default().insert(&e.source);
            let run = found.runs.entry(&e.task).or_default().entry(&e.seed).or_default();
            if run.insert(&e.source, e).is_some() {
                let named = |seed: &str| if seed.is_empty() { String::new() } else { format!(", seed {seed},") };
                return Err(format!("`{}`{} from `{source}`{} twice", e.task, named(&e.seed), named(seed)));
            }
        }
        found.prompts = found.sources.iter().flat_map(|source| prompts[source].iter().copied()).collect();
        Ok(found)
    }

    /// Brings targets and sources into the order of their names.
    pub(super) fn sort(&mut self) {
        self.targets.sort_unstable();
        self.sources.sort_unstable();
        self.prompts.sort_unstable();
    }

    /// Source prompts among which a target can choose; a task is not its own source.
    pub(super) fn candidates(&self) -> usize {
        self.runs.values().flat_map(|runs| runs.values().map(BTreeMap::len)).max().unwrap_or(0)
    }

    /// The first transfer that a complete grid would have and this one lacks: a target, its seed, a source prompt.
    pub(super) fn gap(&self) -> Option<(&'e str, &'e str, &'e Prompt)> {
        let mut runs =
            self.runs.iter().flat_map(|(target, runs)| runs.iter().map(move |(seed, run)| (target, seed, run)));
        runs.find_map(|(target, seed, run)| {
            let missing = self.prompts.iter().find(|prompt| !run.contains_key(*prompt))?;
            Some((*target, *seed, *missing))
        })
    }

    /// The runs of a target by seed.
    pub(super) fn runs(&self, target: &str) -> impl Iterator<Item = (&'e str, &Run<'e>)> {
        self.runs.get(target).into_iter().flatten().map(|(seed, run)| (*seed, run))
    }

    /// The scores of a prompt on a target, over its seeds.
    pub(super) fn scores(&self, target: &str, prompt: &Prompt) -> Vec<&'e Evaluation> {
        self.runs(target).filter_map(|(_, run)| run.get(prompt).copied()).collect()
    }

    /// The source prompt that is best on the other targets: by the mean of its standardised scores on the validation split, or
    /// on the reported one where the former is not known. What a target thinks of it does not count, so it can be judged there.
    /// `None` where there is no other target.
    pub(super) fn best_elsewhere(&self, target: &str) -> Option<&'e Prompt> {
        let mut standings: BTreeMap<&'e Prompt, Vec<f64>> = BTreeMap::new();
        for other in self.targets.iter().filter(|other| **other != target) {
            let all: Vec<(&'e Prompt, f64)> =
                self.prompts.iter().filter_map(|prompt| Some((*prompt, self.chosen_by(other, prompt)?))).collect();
            let values: Vec<f64> = all.iter().map(|(_, value)| *value).collect();
            let Some(deviation) = standard_deviation(&values).filter(|deviation| *deviation > 0.0) else { continue };
            let center = mean(&values);
            for (prompt, value) in all {
                standings.entry(prompt).or_default().push((value - center) / deviation);
            }
        }
        // It has to have been tried on this target.
        let tried = |prompt: &Prompt| self.runs(target).all(|(_, run)| run.contains_key(prompt));
        let foreign = standings.iter().filter(|(prompt, _)| tried(prompt));
        let means: Vec<(&'e Prompt, f64)> = foreign.map(|(prompt, values)| (*prompt, mean(values))).collect();
        means.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(prompt, _)| prompt)
    }

    fn chosen_by(&self, target: &str, prompt: &Prompt) -> Option<f64> {
        let scores = self.scores(target, prompt);
        let validation: Option<Vec<f64>> = scores.iter().map(|e| e.validation).collect();
        let scores = validation.unwrap_or_else(|| scores.iter().map(|e| e.score).collect());
        (!scores.is_empty()).then(|| mean(&scores))
    }

    /// The prompt with the best mean on a target over its seeds other than `seed`. `None` if there is no other seed.
    pub(super) fn best_by_other_seeds(&self, target: &str, seed: &str) -> Option<&'e Prompt> {
        let others: Vec<&Run<'e>> = self.runs(target).filter(|(other, _)| *other != seed).map(|(_, run)| run).collect();
        let score = |prompt: &&'e Prompt| -> Option<(&'e Prompt, f64)> {
            let scores: Option<Vec<f64>> = others.iter().map(|run| Some(run.get(*prompt)?.score)).collect();
            scores.filter(|scores| !scores.is_empty()).map(|scores| (*prompt, mean(&scores)))
        };
        let scored = self.prompts.iter().filter_map(score);
        scored.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(prompt, _)| prompt)
    }
}
