//! What a matrix of transfer scores says, whoever made it: the numbers of SPoT's section 2 and 3 and its tables 6 and 7.

use super::grid::Grid;
use super::results::Spread;
use crate::data::{Column, DataError, Table};
use crate::ml::statistics::{Correlation, mean, pearson, relative_error_reduction, spearman};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scores in 0..=100 of targets: without transfer, and begun from the prompt of each source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Names of the targets.
    pub targets: Vec<String>,
    /// Without transfer, one for each target.
    pub baseline: Vec<Spread>,
    /// The sources.
    pub sources: Vec<Source>,
}

/// Scores of the targets when begun from the prompt of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name.
    pub name: String,
    /// One for each target.
    pub scores: Vec<Spread>,
}

/// Similarity with transfer, over the sources of a target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    /// Pearson's correlation of similarity and relative error reduction.
    pub pearson: f64,
    /// Its p-value, two-sided.
    pub pearson_p: f64,
    /// Spearman's.
    pub spearman: f64,
    /// Its p-value.
    pub spearman_p: f64,
}

impl Correlations {
    /// Of similarities and relative error reductions, pair by pair.
    pub fn of(similarity: &[f64], reduction: &[f64]) -> Self {
        let Correlation { r: pearson, p: pearson_p } = pearson(similarity, reduction);
        let Correlation { r: spearman, p: spearman_p } = spearman(similarity, reduction);
        Self { pearson, pearson_p, spearman, spearman_p }
    }
}

/// The findings. Scripts rely on these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Mean over targets without transfer.
    pub baseline_mean: f64,
    /// Mean over targets of the best source for each: what an oracle would get.
    pub best_per_target_mean: f64,
    /// Mean over targets of each source.
    pub source_mean: BTreeMap<String, f64>,
    /// Percent of the baseline's error that a source takes away, by source and target; null where there is no error.
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
    /// By target, if similarities were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<BTreeMap<String, Correlations>>,
}

impl Findings {
    /// What `scores` say; `similarities` are in the order of its sources and targets.
    ///
    /// # Panics
    /// If there is no source or target, or rows are not as long as there are targets.
    pub fn of(scores: &Scores, similarities: Option<&[Vec<f64>]>) -> Self {
        let Scores { targets, baseline, sources } = scores;
        let means = |row: &[Spread]| row.iter().map(|score| score.mean).collect::<Vec<f64>>();
        let (baseline, sources): (_, Vec<(&String, Vec<f64>)>) =
            (means(baseline), sources.iter().map(|source| (&source.name, means(&source.scores))).collect());
        let pairs = || sources.iter().flat_map(|(_, row)| row.iter().zip(&baseline));
        let best = |target: usize| sources.iter().map(|(_, row)| row[target]).fold(f64::NEG_INFINITY, f64::max);
        let reductions = |row: &[f64]| -> BTreeMap<String, Option<f64>> {
            let cells = targets.iter().zip(row).zip(&baseline);
            cells.map(|((target, score), base)| (target.clone(), relative_error_reduction(*score, *base))).collect()
        };
        Self {
            baseline_mean: mean(&baseline),
            best_per_target_mean: mean(&(0..targets.len()).map(best).collect::<Vec<_>>()),
            source_mean: sources.iter().map(|(source, row)| ((*source).clone(), mean(row))).collect(),
            relative_error_reduction: sources
                .iter()
                .map(|(source, row)| ((*source).clone(), reductions(row)))
                .collect(),
            helping: pairs().filter(|(score, base)| score > base).count(),
            hurting: pairs().filter(|(score, base)| score < base).count(),
            tied: pairs().filter(|(score, base)| score == base).count(),
            deviation: None,
            correlation: similarities.map(|similarities| correlations(scores, similarities)),
        }
    }

    /// The same with the standard deviations of the scores.
    pub fn with_deviations(mut self, scores: &Scores) -> Self {
        let row = |source: &Source| {
            let cells = scores.targets.iter().zip(&source.scores);
            let known = cells.filter_map(|(target, score)| Some((target.clone(), score.deviation?)));
            (source.name.clone(), known.collect())
        };
        self.deviation = Some(scores.sources.iter().map(row).collect());
        self
    }

    /// For machines; ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("findings are strings and finite numbers");
        json.push('\n');
        json
    }

    /// For terminals.
    pub fn to_text(&self, scores: &Scores) -> String {
        self.lay_out(scores, Grid::to_text, "")
    }

    /// For documents.
    pub fn to_markdown(&self, scores: &Scores) -> String {
        self.lay_out(scores, Grid::to_markdown, "## ")
    }

    fn lay_out(&self, scores: &Scores, draw: fn(&Grid) -> String, heading: &str) -> String {
        let Self { baseline_mean, best_per_target_mean, helping, hurting, tied, .. } = self;
        let mut out = format!("{heading}Relative error reduction in %, source by target\n\n");
        out += &draw(&self.reductions(scores));
        if self.deviation.is_some() {
            out += &format!("\n{heading}Scores (mean ± sd)\n\n");
            out += &draw(&matrix(scores));
        }
        out += &format!("\n{heading}Mean scores\n\n");
        out += &draw(&self.means(scores));
        out += &format!(
            "\nWithout transfer {baseline_mean:.2}; with the best source for each target {best_per_target_mean:.2}. Of {} pairs \
             {helping} help, {hurting} hurt, {tied} tie.\n",
            helping + hurting + tied
        );
        if let Some(correlation) = &self.correlation {
            out += &format!("\n{heading}Similarity and relative error reduction, over the sources of a target\n\n");
            let header = ["target", "Pearson", "p", "Spearman", "p"].map(str::to_owned);
            let mut grid = Grid::new(header.into());
            for target in &scores.targets {
                let found = &correlation[target];
                let values = [found.pearson, found.pearson_p, found.spearman, found.spearman_p];
                let cells = values.map(|value| format!("{value:.3}"));
                grid.push([target.clone()].into_iter().chain(cells).collect());
            }
            out += &draw(&grid);
        }
        out
    }

    pub(super) fn reductions(&self, scores: &Scores) -> Grid {
        let header = ["source".to_owned()].into_iter().chain(scores.targets.iter().cloned());
        let mut grid = Grid::new(header.collect());
        for source in &scores.sources {
            let row = &self.relative_error_reduction[&source.name];
            let cells = scores.targets.iter().map(|target| row[target].map_or_else(|| "–".to_owned(), super::signed));
            grid.push([source.name.clone()].into_iter().chain(cells).collect());
        }
        grid
    }

    /// Best first, the baseline among them.
    fn means(&self, scores: &Scores) -> Grid {
        let mut rows: Vec<(&str, f64)> =
            scores.sources.iter().map(|source| (source.name.as_str(), self.source_mean[&source.name])).collect();
        rows.push(("no transfer", self.baseline_mean));
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut grid = Grid::new(vec!["always from".to_owned(), "mean".to_owned()]);
        rows.into_iter().for_each(|(name, mean)| grid.push(vec![name.to_owned(), format!("{mean:.2}")]));
        grid
    }
}

fn matrix(scores: &Scores) -> Grid {
    let header = ["source".to_owned()].into_iter().chain(scores.targets.iter().cloned());
    let mut grid = Grid::new(header.collect());
    let rows = scores.sources.iter().map(|source| (source.name.as_str(), &source.scores));
    for (name, row) in [("no transfer", &scores.baseline)].into_iter().chain(rows) {
        grid.push([name.to_owned()].into_iter().chain(row.iter().map(Spread::to_string)).collect());
    }
    grid
}

/// A row for each pair of source and target, as Parquet.
///
/// # Errors
/// If it cannot be written.
pub fn to_parquet(scores: &Scores, similarities: Option<&[Vec<f64>]>) -> Result<Vec<u8>, DataError> {
    let pairs =
        || scores.sources.iter().flat_map(|source| (0..scores.targets.len()).map(move |target| (source, target)));
    let reduction = |(source, target): (&Source, usize)| {
        relative_error_reduction(source.scores[target].mean, scores.baseline[target].mean)
    };
    let mut columns = vec![
        ("source", Column::Text(pairs().map(|(source, _)| source.name.clone()).collect())),
        ("target", Column::Text(pairs().map(|(_, target)| scores.targets[target].clone()).collect())),
        ("score", Column::Float(pairs().map(|(source, target)| source.scores[target].mean).collect())),
        ("deviation", Column::OptFloat(pairs().map(|(source, target)| source.scores[target].deviation).collect())),
        ("baseline", Column::Float(pairs().map(|(_, target)| scores.baseline[target].mean).collect())),
        (
            "baseline_deviation",
            Column::OptFloat(pairs().map(|(_, target)| scores.baseline[target].deviation).collect()),
        ),
        ("relative_error_reduction", Column::OptFloat(pairs().map(reduction).collect())),
    ];
    if let Some(similarities) = similarities {
        columns.push(("similarity", Column::Float(similarities.iter().flatten().copied().collect())));
    }
    Table::new(columns).to_parquet()
}

fn correlations(scores: &Scores, similarities: &[Vec<f64>]) -> BTreeMap<String, Correlations> {
    let of = |target: usize| {
        let (mut similarity, mut reduction) = (Vec::new(), Vec::new());
        for (source, similarities) in scores.sources.iter().zip(similarities) {
            if let Some(value) = relative_error_reduction(source.scores[target].mean, scores.baseline[target].mean) {
                similarity.push(similarities[target]);
                reduction.push(value);
            }
        }
        Correlations::of(&similarity, &reduction)
    };
    scores.targets.iter().enumerate().map(|(i, target)| (target.clone(), of(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let row = |scores: [f64; 2]| scores.iter().map(|score| Spread::of(&[*score])).collect::<Vec<_>>();
        let source = |name: &str, scores| Source { name: name.to_owned(), scores: row(scores) };
        Scores {
            targets: vec!["a".into(), "b".into()],
            baseline: row([50.0, 100.0]),
            sources: vec![source("x", [75.0, 99.0]), source("y", [50.0, 100.0]), source("z", [40.0, 90.0])],
        }
    }

    #[test]
    fn pairs_are_counted_and_means_taken() {
        let found = Findings::of(&scores(), None);
        assert_eq!((found.helping, found.hurting, found.tied), (1, 3, 2));
        assert_eq!((found.baseline_mean, found.best_per_target_mean), (75.0, 87.5));
        assert_eq!(found.source_mean["x"], 87.0);
        assert_eq!(found.relative_error_reduction["x"]["a"], Some(50.0));
        assert_eq!(found.relative_error_reduction["x"]["b"], None, "there is no error to reduce");
        assert!(!found.to_json().contains("correlation"));
    }

    #[test]
    fn similarity_that_follows_transfer_correlates() {
        let found = Findings::of(&scores(), Some(&[vec![0.9, 0.1], vec![0.5, 0.2], vec![0.4, 0.3]]));
        let correlation = found.correlation.as_ref().unwrap();
        assert_eq!(correlation["a"].spearman, 1.0);
        assert_eq!(correlation["b"].pearson, 0.0, "no pair has an error to reduce");
        assert!(found.to_text(&scores()).contains("Of 6 pairs 1 help, 3 hurt, 2 tie."));
    }
}
