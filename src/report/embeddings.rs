//! Similarities between the runs of all tasks: by task, between sources and targets, and whether they follow tasks or seeds.

use super::prediction::Likeness;
use crate::ml::prompt::similarity::Similarity;
use crate::ml::statistics::mean;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The embedding of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its task.
    pub task: String,
    /// Its seed.
    pub seed: String,
    /// Digest of the artifact.
    pub digest: String,
}

/// The embeddings of all runs.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// How they were compared.
    pub metric: Similarity,
    /// Those of the sources, then those of the targets.
    pub runs: Vec<Run>,
    /// How many are sources.
    pub sources: usize,
    /// Similarity of every run to every run.
    pub values: Vec<Vec<f64>>,
}

/// How alike the prompts of tasks are, averaged over the runs of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSimilarity {
    /// How it was measured.
    pub metric: Similarity,
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Square and symmetric.
    pub values: Vec<Vec<f64>>,
    /// For each task the digests of its embeddings.
    pub from: Vec<Vec<String>>,
}

/// Whether similarity follows tasks or seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Separation {
    /// Mean similarity of runs of one task and different seeds.
    pub same_task: Option<f64>,
    /// Of different tasks and one seed.
    pub same_seed: Option<f64>,
    /// Of different tasks and different seeds.
    pub neither: Option<f64>,
    /// Probability that two runs of one task are more alike than two of different tasks: 0.5 says nothing of tasks, 1 tells them
    /// all apart (area under the curve; of equal ones half).
    pub told_apart: Option<f64>,
    /// Rankings whose first source has the seed of the target's run.
    pub own_seed_first: usize,
    /// Rankings.
    pub rankings: usize,
    /// How many of them that would be if seeds did not matter.
    pub own_seed_by_chance: f64,
}

impl std::fmt::Display for Separation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { own_seed_first, rankings, own_seed_by_chance, .. } = self;
        let all = [
            ("one task and different seeds", self.same_task),
            ("different tasks and one seed", self.same_seed),
            ("different tasks and seeds", self.neither),
        ];
        let known = all.iter().filter_map(|(what, mean)| Some(format!("{:.3} for {what}", (*mean)?)));
        write!(f, "Mean similarity of two runs: {}.", known.collect::<Vec<_>>().join(", "))?;
        if let Some(share) = self.told_apart {
            write!(f, " Two of one task are more alike than two of different tasks with probability {share:.2}.")?;
        }
        write!(
            f,
            " The first source has the target's own seed in {own_seed_first} of {rankings} rankings; by chance it would in \
             {own_seed_by_chance:.1}."
        )
    }
}

impl Embeddings {
    /// Every source with every target, run by run.
    pub(super) fn likeness(&self) -> Vec<Likeness> {
        let name = |run: usize| (self.runs[run].task.clone(), self.runs[run].seed.clone());
        let targets = self.sources..self.runs.len();
        let pairs = targets.flat_map(|target| (0..self.sources).map(move |source| (source, target)));
        let alike = |(source, target): (usize, usize)| Likeness {
            source: name(source),
            target: name(target),
            value: self.values[target][source],
        };
        pairs.map(alike).collect()
    }

    pub(super) fn by_task(&self) -> TaskSimilarity {
        let mut tasks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        self.runs.iter().enumerate().for_each(|(at, run)| tasks.entry(&run.task).or_default().push(at));
        let between = |a: &[usize], b: &[usize]| {
            mean(&a.iter().flat_map(|a| b.iter().map(|b| self.values[*a][*b])).collect::<Vec<f64>>())
        };
        TaskSimilarity {
            metric: self.metric,
            tasks: tasks.keys().map(|task| (*task).to_owned()).collect(),
            values: tasks.values().map(|a| tasks.values().map(|b| between(a, b)).collect()).collect(),
            from: tasks.values().map(|runs| runs.iter().map(|run| self.runs[*run].digest.clone()).collect()).collect(),
        }
    }

    pub(super) fn separation(&self) -> Separation {
        let (mut same_task, mut same_seed, mut neither) = (Vec::new(), Vec::new(), Vec::new());
        for (at, a) in self.runs.iter().enumerate() {
            for (b, value) in self.runs[..at].iter().zip(&self.values[at]) {
                match (a.task == b.task, a.seed == b.seed) {
                    // The same run, as a source and as a target.
                    (true, true) => {}
                    (true, false) => same_task.push(*value),
                    (false, true) => same_seed.push(*value),
                    (false, false) => neither.push(*value),
                }
            }
        }
        let known = |values: &[f64]| (!values.is_empty()).then(|| mean(values));
        let others: Vec<f64> = same_seed.iter().chain(&neither).copied().collect();
        let (own_seed_first, own_seed_by_chance) = self.own_seeds();
        Separation {
            same_task: known(&same_task),
            same_seed: known(&same_seed),
            neither: known(&neither),
            told_apart: told_apart(&same_task, &others),
            own_seed_first,
            rankings: self.runs.len() - self.sources,
            own_seed_by_chance,
        }
    }

    /// Target runs whose most similar source has their own seed, and how many that would be by chance.
    fn own_seeds(&self) -> (usize, f64) {
        let sources = &self.runs[..self.sources];
        let (mut first, mut by_chance) = (0, 0.0);
        for (target, values) in self.runs.iter().zip(&self.values).skip(self.sources) {
            let own = |source: &Run| source.seed == target.seed;
            let best = sources.iter().zip(values).reduce(|best, next| if next.1 > best.1 { next } else { best });
            first += usize::from(best.is_some_and(|(source, _)| own(source)));
            by_chance += sources.iter().filter(|source| own(source)).count() as f64 / sources.len().max(1) as f64;
        }
        (first, by_chance)
    }
}

/// The share of pairs of one of `alike` and one of `others` in which the former is higher; of equal ones half.
fn told_apart(alike: &[f64], others: &[f64]) -> Option<f64> {
    if alike.is_empty() || others.is_empty() {
        return None;
    }
    let wins = |value: &f64| -> f64 {
        others
            .iter()
            .map(|other| {
                if value > other {
                    1.0
                } else if value == other {
                    0.5
                } else {
                    0.0
                }
            })
            .sum()
    };
    Some(alike.iter().map(wins).sum::<f64>() / (alike.len() * others.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two source tasks and a target, two seeds each; similarity is a sum of what task and seed contribute.
    fn embeddings(task: f64, seed: f64) -> Embeddings {
        let names = [("x", "0"), ("x", "1"), ("y", "0"), ("y", "1"), ("t", "0"), ("t", "1")];
        let run = |(task, seed): &(&str, &str)| Run {
            task: (*task).to_owned(),
            seed: (*seed).to_owned(),
            digest: format!("{task}{seed}"),
        };
        let runs: Vec<Run> = names.iter().map(run).collect();
        let like = |a: &Run, b: &Run| {
            // The target is like `x`.
            let same = a.task == b.task || a.task != "y" && b.task != "y";
            task * f64::from(u8::from(same)) + seed * f64::from(u8::from(a.seed == b.seed))
        };
        let values = runs.iter().map(|a| runs.iter().map(|b| like(a, b)).collect()).collect();
        Embeddings { metric: Similarity::PerToken, runs, sources: 4, values }
    }

    #[test]
    fn tasks_are_told_from_seeds() {
        let by_task = embeddings(1.0, 0.0).separation();
        assert_eq!((by_task.same_task, by_task.same_seed), (Some(1.0), Some(1.0 / 3.0)));
        assert_eq!((by_task.rankings, by_task.own_seed_by_chance), (2, 1.0));
        let by_seed = embeddings(0.25, 1.0).separation();
        assert_eq!((by_seed.own_seed_first, by_seed.same_task), (2, Some(0.25)));
        assert!(by_seed.told_apart.unwrap() < 0.5 && by_task.told_apart.unwrap() > 0.5);
        assert_eq!(told_apart(&[1.0, 2.0], &[1.0, 0.0]), Some((0.5 + 1.0 + 2.0) / 4.0));
    }

    #[test]
    fn tasks_are_averaged_over_runs_and_sources_stand_beside_targets() {
        let all = embeddings(1.0, 0.5);
        let tasks = all.by_task();
        assert_eq!((tasks.tasks, tasks.from[0].len()), (vec!["t".to_owned(), "x".to_owned(), "y".to_owned()], 2));
        assert_eq!(tasks.values[0], [1.25, 1.25, 0.25]);
        let likeness = all.likeness();
        assert_eq!((likeness.len(), likeness[1].source.1.as_str(), likeness[1].value), (8, "1", 1.0));
    }
}
