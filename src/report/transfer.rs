//! What a matrix of transfer scores says, whoever made it: the numbers of SPoT's section 2 and 3 and its tables 6 and 7.

use super::grid::{Grid, NOTHING};
use super::spread::Spread;
use super::transfers::Transfers;
use crate::data::{Column, DataError, Table};
use crate::ml::statistics::{mean, relative_error_reduction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scores in -100..=100 of targets: without transfer, and begun from the prompts of each source task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Names of the targets.
    pub targets: Vec<String>,
    /// Without transfer, one for each target; `null` where nobody tried.
    pub baseline: Option<Vec<Spread>>,
    /// The sources.
    pub sources: Vec<Source>,
}

/// Scores of the targets when begun from the prompts of one source task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name.
    pub name: String,
    /// One for each target; `null` where nobody tried.
    pub scores: Vec<Option<Spread>>,
}

impl Scores {
    /// Those of single transfers: means over the prompts of a source task, with deviations over the target's seeds.
    pub fn of(transfers: &Transfers<'_>, baseline: Option<Vec<Spread>>) -> Self {
        let cell = |source: &str, target: &str| {
            let mut seeds = Vec::new();
            let mut from = Vec::new();
            for (_, run) in transfers.runs(target) {
                let chosen: Vec<_> = run.iter().filter(|(prompt, _)| prompt.0 == source).map(|(_, e)| e).collect();
                if !chosen.is_empty() {
                    seeds.push(mean(&chosen.iter().map(|e| e.score).collect::<Vec<_>>()));
                    from.extend(chosen.iter().map(|e| e.digest.clone()));
                }
            }
            (!seeds.is_empty()).then(|| Spread::of(&seeds).from(from))
        };
        let row = |source: &&str| Source {
            name: (*source).to_owned(),
            scores: transfers.targets.iter().map(|target| cell(source, target)).collect(),
        };
        Self {
            targets: transfers.targets.iter().map(|target| (*target).to_owned()).collect(),
            baseline,
            sources: transfers.sources.iter().map(row).collect(),
        }
    }

    /// The score of a target without transfer.
    pub(super) fn base(&self, target: usize) -> Option<&Spread> {
        self.baseline.as_ref().map(|baseline| &baseline[target])
    }

    /// The share of a target's error that a source takes away, in percent.
    fn reduction(&self, source: &Source, target: usize) -> Option<f64> {
        relative_error_reduction(source.scores[target].as_ref()?.mean, self.base(target)?.mean)
    }
}

/// The findings. Scripts rely on these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Mean over targets without transfer; null where nobody tried.
    pub baseline_mean: Option<f64>,
    /// Mean over targets of the best source for each: what an oracle would get.
    pub best_per_target_mean: f64,
    /// Mean over targets of each source, over those that it was tried on.
    pub source_mean: BTreeMap<String, f64>,
    /// Percent of the baseline's error that a source takes away, by source and target; null where there is no error, no baseline or
    /// no score.
    pub relative_error_reduction: BTreeMap<String, BTreeMap<String, Option<f64>>>,
    /// Pairs of source and target above the baseline.
    pub helping: usize,
    /// Below it.
    pub hurting: usize,
    /// Equal to it.
    pub tied: usize,
    /// Standard deviations of the scores by source and target, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<BTreeMap<String, BTreeMap<String, f64>>>,
}

impl Findings {
    /// What `scores` say.
    ///
    /// # Panics
    /// If there is no source or target, a source without any score, or rows are not as long as there are targets.
    pub fn of(scores: &Scores) -> Self {
        let Scores { targets, sources, .. } = scores;
        let known = |source: &Source| -> Vec<f64> { source.scores.iter().flatten().map(|score| score.mean).collect() };
        let pairs = || {
            let cells = sources.iter().flat_map(|source| source.scores.iter().enumerate());
            cells.filter_map(|(target, score)| Some((score.as_ref()?.mean, scores.base(target)?.mean)))
        };
        let best = |target: usize| {
            let column = sources.iter().filter_map(|source| Some(source.scores[target].as_ref()?.mean));
            column.reduce(f64::max)
        };
        let reductions = |source: &Source| -> BTreeMap<String, Option<f64>> {
            let cells = targets.iter().enumerate();
            cells.map(|(at, target)| (target.clone(), scores.reduction(source, at))).collect()
        };
        let deviation = |source: &Source| -> BTreeMap<String, f64> {
            let cells = targets.iter().zip(&source.scores);
            cells.filter_map(|(target, score)| Some((target.clone(), score.as_ref()?.deviation?))).collect()
        };
        let deviations: BTreeMap<String, _> =
            sources.iter().map(|source| (source.name.clone(), deviation(source))).collect();
        Self {
            baseline_mean: scores
                .baseline
                .as_ref()
                .map(|baseline| mean(&baseline.iter().map(|score| score.mean).collect::<Vec<_>>())),
            best_per_target_mean: mean(&(0..targets.len()).filter_map(best).collect::<Vec<_>>()),
            source_mean: sources.iter().map(|source| (source.name.clone(), mean(&known(source)))).collect(),
            relative_error_reduction: sources.iter().map(|source| (source.name.clone(), reductions(source))).collect(),
            helping: pairs().filter(|(score, base)| score > base).count(),
            hurting: pairs().filter(|(score, base)| score < base).count(),
            tied: pairs().filter(|(score, base)| score == base).count(),
            deviation: deviations.values().any(|row| !row.is_empty()).then_some(deviations),
        }
    }

    /// What every source took away of every target's error, and how many pairs that helped; nothing without a baseline.
    pub(super) fn reductions(&self, scores: &Scores) -> Grid {
        let header = ["source".to_owned()].into_iter().chain(scores.targets.iter().cloned());
        let mut grid = Grid::new(header.collect());
        for source in &scores.sources {
            let row = &self.relative_error_reduction[&source.name];
            let cells =
                scores.targets.iter().map(|target| row[target].map_or_else(|| NOTHING.to_owned(), super::signed));
            grid.push([source.name.clone()].into_iter().chain(cells).collect());
        }
        grid
    }

    /// Best first, the baseline among them.
    pub(super) fn means(&self, scores: &Scores) -> Grid {
        let mut rows: Vec<(&str, f64)> =
            scores.sources.iter().map(|source| (source.name.as_str(), self.source_mean[&source.name])).collect();
        rows.extend(self.baseline_mean.map(|mean| ("no transfer", mean)));
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut grid = Grid::new(vec!["always from".to_owned(), "mean".to_owned()]);
        rows.into_iter().for_each(|(name, mean)| grid.push(vec![name.to_owned(), format!("{mean:.2}")]));
        grid
    }
}

/// Scores of every source on every target.
pub(super) fn matrix(scores: &Scores) -> Grid {
    let header = ["source".to_owned()].into_iter().chain(scores.targets.iter().cloned());
    let mut grid = Grid::new(header.collect());
    let shown = |score: &Option<Spread>| score.as_ref().map_or_else(|| NOTHING.to_owned(), Spread::to_string);
    if let Some(baseline) = &scores.baseline {
        let cells = baseline.iter().map(Spread::to_string);
        grid.push(["no transfer".to_owned()].into_iter().chain(cells).collect());
    }
    for source in &scores.sources {
        grid.push([source.name.clone()].into_iter().chain(source.scores.iter().map(shown)).collect());
    }
    grid
}

/// A source, the place of a target, and the score of the one on the other.
type Pair<'s> = (&'s Source, usize, &'s Spread);

/// A row for each pair of source and target that was tried, as Parquet; `similarity` is that of the pair, if it is known.
///
/// # Errors
/// If it cannot be written.
pub fn to_parquet(scores: &Scores, similarity: impl Fn(&str, &str) -> Option<f64>) -> Result<Vec<u8>, DataError> {
    let cells = scores.sources.iter().flat_map(|source| {
        let cells = source.scores.iter().enumerate();
        cells.filter_map(move |(target, score)| Some((source, target, score.as_ref()?)))
    });
    let cells: Vec<Pair<'_>> = cells.collect();
    let text = |of: &dyn Fn(&Pair<'_>) -> String| Column::Text(cells.iter().map(of).collect());
    let number = |of: &dyn Fn(&Pair<'_>) -> Option<f64>| Column::OptFloat(cells.iter().map(of).collect());
    let mut columns = vec![
        ("source", text(&|(source, ..)| source.name.clone())),
        ("target", text(&|(_, target, _)| scores.targets[*target].clone())),
        ("score", number(&|(.., score)| Some(score.mean))),
        ("deviation", number(&|(.., score)| score.deviation)),
        ("baseline", number(&|(_, target, _)| Some(scores.base(*target)?.mean))),
        ("baseline_deviation", number(&|(_, target, _)| scores.base(*target)?.deviation)),
        ("relative_error_reduction", number(&|(source, target, _)| scores.reduction(source, *target))),
    ];
    let similarities: Vec<Option<f64>> =
        cells.iter().map(|(source, target, _)| similarity(&source.name, &scores.targets[*target])).collect();
    if similarities.iter().any(Option::is_some) {
        columns.push(("similarity", Column::OptFloat(similarities)));
    }
    Table::new(columns).to_parquet()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let row = |scores: [f64; 2]| scores.iter().map(|score| Some(Spread::of(&[*score]))).collect();
        let source = |name: &str, scores| Source { name: name.to_owned(), scores: row(scores) };
        Scores {
            targets: vec!["a".into(), "b".into()],
            baseline: Some(vec![Spread::of(&[50.0]), Spread::of(&[100.0])]),
            sources: vec![source("x", [75.0, 99.0]), source("y", [50.0, 100.0]), source("z", [40.0, 90.0])],
        }
    }

    #[test]
    fn pairs_are_counted_and_means_taken() {
        let found = Findings::of(&scores());
        assert_eq!((found.helping, found.hurting, found.tied), (1, 3, 2));
        assert_eq!((found.baseline_mean, found.best_per_target_mean), (Some(75.0), 87.5));
        assert_eq!(found.source_mean["x"], 87.0);
        assert_eq!(found.relative_error_reduction["x"]["a"], Some(50.0));
        assert_eq!(found.relative_error_reduction["x"]["b"], None, "there is no error to reduce");
        assert_eq!(found.deviation, None);
    }

    #[test]
    fn what_nobody_tried_counts_nowhere() {
        let mut scores = scores();
        scores.sources[0].scores[0] = None;
        let found = Findings::of(&scores);
        assert_eq!((found.helping, found.hurting, found.tied), (0, 3, 2));
        assert_eq!((found.source_mean["x"], found.best_per_target_mean), (99.0, 75.0));
        assert!(found.reductions(&scores).to_markdown().contains("| x | – | – |"));
        scores.baseline = None;
        let found = Findings::of(&scores);
        assert_eq!((found.baseline_mean, found.helping + found.hurting + found.tied), (None, 0));
        assert!(!matrix(&scores).to_text().contains("no transfer"));
    }
}
