//! Text of a target that a source has learned from: what transfer gains on it may be memory.

use super::evaluation::Evaluation;
use crate::data::Inputs;
use crate::ml::tasks::Split;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What the data sets of a study say.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Of its sources.
    pub sources: Vec<Inputs>,
    /// Of its targets.
    pub targets: Vec<Inputs>,
}

/// Examples of a target whose input is among the training inputs of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Target task.
    pub target: String,
    /// The split of it.
    pub split: String,
    /// Source task.
    pub source: String,
    /// So many of its examples.
    pub shared: usize,
    /// Of so many.
    pub examples: usize,
}

/// What `transfer` calls the source of a mean of prompts, each of which is of a source by itself.
const AVERAGE: &str = "average";

impl Data {
    /// Every leak from a source to a target, those of a target's split together, the largest first. Within a task the card of its data
    /// set says it.
    pub fn leaks(&self) -> Vec<Leak> {
        let pairs = self.targets.iter().flat_map(|target| self.sources.iter().map(move |source| (target, source)));
        let pairs = pairs.filter(|(target, source)| target.task != source.task);
        let splits = [Split::Test, Split::Validation];
        let leaks = pairs.flat_map(|(target, source)| splits.map(|split| Leak::of(target, split, source)));
        let mut leaks: Vec<Leak> = leaks.flatten().collect();
        let place = |leak: &Leak| (leak.target.clone(), leak.split.clone(), Reverse(leak.shared), leak.source.clone());
        leaks.sort_by_cached_key(place);
        leaks
    }

    /// Tasks of evaluations whose data sets were not looked at.
    pub(super) fn missing<'e>(&self, evaluations: impl Iterator<Item = &'e Evaluation>) -> Option<String> {
        let known = |of: &[Inputs]| of.iter().map(|inputs| inputs.task.clone()).collect::<BTreeSet<String>>();
        let (sources, targets) = (known(&self.sources), known(&self.targets));
        let mut missing: BTreeSet<&str> = BTreeSet::new();
        for evaluation in evaluations {
            let (task, source) = (evaluation.task.as_str(), evaluation.source.0.as_str());
            missing.extend(Some(task).filter(|task| !targets.contains(*task)));
            // The source of a mixture has the names of all, that of the target among them if it is mixed in.
            let parts = if sources.contains(source) { "" } else { source }.split('+');
            let is_known = |part: &str| part.is_empty() || part == AVERAGE || part == task || sources.contains(part);
            missing.extend(parts.filter(|part| !is_known(part)));
        }
        let names: Vec<&str> = missing.into_iter().collect();
        let message = || {
            format!(
                "Text that targets share with sources was not looked for in {}: `data` lacks them.",
                names.join(", ")
            )
        };
        (!names.is_empty()).then(message)
    }
}

impl Leak {
    fn of(target: &Inputs, split: Split, source: &Inputs) -> Option<Self> {
        let shared = target.shared(split, source);
        (shared > 0).then(|| Self {
            target: target.task.clone(),
            split: split.name().to_owned(),
            source: source.task.clone(),
            shared,
            examples: target.digests(split).len(),
        })
    }

    fn count(&self) -> String {
        let share = 100.0 * self.shared as f64 / self.examples as f64;
        format!("{} ({share:.1} %)", self.shared)
    }
}

/// A sentence for each split of a target with leaks, which names all sources.
pub fn warnings(leaks: &[Leak]) -> Vec<String> {
    leaks.chunk_by(|a, b| (&a.target, &a.split) == (&b.target, &b.split)).map(warning).collect()
}

fn warning(leaks: &[Leak]) -> String {
    let Leak { target, split, examples, .. } = &leaks[0];
    let counts: Vec<String> = leaks.iter().map(|leak| format!("{} in that of {}", leak.count(), leak.source)).collect();
    let means = if split == Split::Validation.name() {
        "checkpoints are chosen by text that these sources have seen"
    } else {
        "what transfer from these sources gains may be memory"
    };
    format!(
        "Of the {examples} {split} inputs of {target} some are in the training text of sources, {}: {means}.",
        counts.join(", ")
    )
}
