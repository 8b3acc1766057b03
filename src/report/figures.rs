//! The figures that a matrix of transfer scores has on a page, whoever made it.

use super::page::{Block, Cell, Colours, Dots, Format, Heatmap, Panel, Scatter, ScatterPoint, probability};
use super::results::Spread;
use super::transfer::{Correlations, Findings, Scores};
use crate::ml::clustering::{Linkage, Tree};
use crate::ml::error::Result;

/// What stands for tuning without transfer.
const NO_TRANSFER: &str = "no transfer";

/// A score with its deviation and the artifacts that it is from.
pub(super) fn score(spread: &Spread) -> Cell {
    let seeds = if spread.seeds > 1 { format!("Mean of {} seeds.", spread.seeds) } else { String::new() };
    Cell::of(spread.mean).with_deviation(spread.deviation).from(&spread.from).note(seeds)
}

/// A mean, the mean with the best source for each target, and the mean with the best single source.
pub(super) fn facts(scores: &Scores, findings: &Findings) -> Block {
    let best = findings.source_mean.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let from = everything(scores);
    let format = Format::plain(2);
    let mut facts = vec![("mean score without transfer".to_owned(), Cell::of(findings.baseline_mean))];
    let single = |name: &String| format!("always from {name}, which is best on average, known afterwards");
    facts.extend(best.map(|(name, mean)| (single(name), Cell::of(*mean))));
    let oracle = Cell::of(findings.best_per_target_mean);
    facts.push(("with the best source for each target, known afterwards".to_owned(), oracle));
    Block::Facts(facts.into_iter().map(|(name, cell)| (name, cell.from(&from), format)).collect())
}

/// How many pairs help, tie and hurt.
pub(super) fn counts(findings: &Findings) -> Block {
    let Findings { helping, hurting, tied, .. } = findings;
    let counts = [("pairs help", *helping), ("tie", *tied), ("hurt", *hurting)];
    Block::Shares(counts.map(|(name, n)| (name.to_owned(), n)).into())
}

/// Relative error reductions, source by target, the best source first.
pub(super) fn reductions(scores: &Scores, findings: &Findings) -> Heatmap {
    let order = by_mean(scores, findings);
    let cell = |source: usize, target: usize| {
        let (score, base) = (&scores.sources[source].scores[target], &scores.baseline[target]);
        let name = &scores.targets[target];
        let value = findings.relative_error_reduction[&scores.sources[source].name][name];
        let (before, after) = (Format::plain(1).write(base.mean), Format::plain(1).write(score.mean));
        let note = format!(
            "Of the error without transfer, 100 − {before}, this share was taken away when the score became {after}."
        );
        let from = base.from.iter().chain(&score.from);
        let mut from: Vec<&String> = from.collect();
        from.dedup();
        Cell { value, note, ..Cell::missing() }.from(from)
    };
    let mean = |source: usize| {
        let row = &findings.relative_error_reduction[&scores.sources[source].name];
        let known: Vec<f64> = row.values().filter_map(|value| *value).collect();
        if known.is_empty() { Cell::missing() } else { Cell::of(crate::ml::statistics::mean(&known)) }
    };
    let n_targets = scores.targets.len();
    let every = findings.relative_error_reduction.values().flat_map(|row| row.values().filter_map(|value| *value));
    Heatmap {
        caption: "Relative error reduction in percent, by source and target".to_owned(),
        axes: ("source".to_owned(), "target".to_owned()),
        rows: order.iter().map(|source| scores.sources[*source].name.clone()).collect(),
        columns: scores.targets.clone(),
        cells: order.iter().map(|source| (0..n_targets).map(|target| cell(*source, target)).collect()).collect(),
        format: Format::signed(1),
        colours: Colours::diverging(every),
        tints: None,
        unit: "error reduction, %".to_owned(),
        summary: Some(("mean".to_owned(), order.iter().map(|source| mean(*source)).collect())),
        reference: None,
        row_tree: None,
        column_tree: None,
    }
}

/// Scores, source by target below those without transfer. The colours compare with the latter.
pub(super) fn matrix(scores: &Scores, findings: &Findings) -> Heatmap {
    let order = by_mean(scores, findings);
    let row = |source: usize| scores.sources[source].scores.iter().map(score).collect::<Vec<_>>();
    let mut means: Vec<Cell> =
        order.iter().map(|source| Cell::of(findings.source_mean[&scores.sources[*source].name])).collect();
    means.push(Cell::of(findings.baseline_mean));
    let cells: Vec<Vec<Cell>> = order.iter().map(|source| row(*source)).collect();
    let difference = |(score, base): (&Spread, &Spread)| score.mean - base.mean;
    let differences = |source: &usize| {
        scores.sources[*source].scores.iter().zip(&scores.baseline).map(difference).collect::<Vec<f64>>()
    };
    let tints: Vec<Vec<f64>> = order.iter().map(differences).collect();
    let deviates = cells.iter().flatten().any(|cell| cell.deviation.is_some());
    Heatmap {
        caption: format!("Scores{}, by source and target", if deviates { ", mean and standard deviation" } else { "" }),
        axes: ("source".to_owned(), "target".to_owned()),
        rows: order.iter().map(|source| scores.sources[*source].name.clone()).collect(),
        columns: scores.targets.clone(),
        colours: Colours::diverging(tints.iter().flatten().copied()),
        tints: Some(tints),
        cells,
        format: Format::plain(1),
        unit: "points above no transfer".to_owned(),
        summary: Some(("mean".to_owned(), means)),
        reference: Some((NO_TRANSFER.to_owned(), scores.baseline.iter().map(score).collect())),
        row_tree: None,
        column_tree: None,
    }
}

/// The mean of every source beside that without transfer.
pub(super) fn source_means(scores: &Scores, findings: &Findings) -> Dots {
    let digests = |scores: &[Spread]| {
        let mut digests: Vec<String> = scores.iter().flat_map(|spread| spread.from.iter().cloned()).collect();
        digests.dedup();
        digests
    };
    let row = |source: usize| {
        let source = &scores.sources[source];
        (source.name.clone(), Cell::of(findings.source_mean[&source.name]).from(digests(&source.scores)))
    };
    Dots {
        caption: "Mean score over the targets when every prompt begins from one source".to_owned(),
        headings: ("source".to_owned(), "mean score".to_owned()),
        reference: (NO_TRANSFER.to_owned(), Cell::of(findings.baseline_mean).from(digests(&scores.baseline))),
        rows: by_mean(scores, findings).into_iter().map(row).collect(),
        format: Format::plain(2),
    }
}

/// Similarities in the order of a clustering of rows and columns. Those of a task with itself are shown but do not stretch
/// the scale of colours.
pub(super) fn similarities(
    caption: String,
    axes: [&str; 2],
    [rows, columns]: [&[String]; 2],
    cells: Vec<Vec<Cell>>,
    linkage: Linkage,
) -> Result<Heatmap> {
    let values: Vec<Vec<f64>> =
        cells.iter().map(|row| row.iter().map(|cell| cell.value.unwrap_or(0.0)).collect()).collect();
    let by_column: Vec<Vec<f64>> =
        (0..columns.len()).map(|column| values.iter().map(|row| row[column]).collect()).collect();
    let between = values.iter().enumerate().flat_map(|(i, row)| {
        row.iter().enumerate().filter(move |(j, _)| rows[i] != columns[*j]).map(|(_, value)| *value)
    });
    let between: Vec<f64> = between.collect();
    Ok(Heatmap {
        caption,
        axes: (axes[0].to_owned(), axes[1].to_owned()),
        rows: rows.to_vec(),
        columns: columns.to_vec(),
        format: Format::plain(decimals(&between)),
        colours: Colours::sequential(between),
        cells,
        tints: None,
        unit: "similarity".to_owned(),
        summary: None,
        reference: None,
        row_tree: Some(Tree::of_rows(&values, linkage)?),
        column_tree: Some(Tree::of_rows(&by_column, linkage)?),
    })
}

/// Digits that tell the numbers apart: per-token similarities are some hundredths, all alike in their first digits.
fn decimals(numbers: &[f64]) -> usize {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high - low < 0.05 { 3 } else { 2 }
}

/// Similarity against what transfer gained, a panel for each target with its points.
pub(super) fn scatter<'a>(
    targets: impl Iterator<Item = (&'a String, Vec<ScatterPoint>)>,
    correlation: impl Fn(&str) -> Option<Correlations>,
) -> Scatter {
    let panel = |(target, points): (&'a String, Vec<ScatterPoint>)| {
        let found = correlation(target);
        let note = found.map_or_else(String::new, |found| {
            let r = Format::signed(2);
            format!(
                "Pearson r {}, {}\nSpearman ρ {}, {}",
                r.write(found.pearson),
                probability(found.pearson_p),
                r.write(found.spearman),
                probability(found.spearman_p)
            )
        });
        Panel { title: target.clone(), note, is_significant: found.is_some_and(|found| found.pearson_p < 0.05), points }
    };
    Scatter {
        caption: "Does similarity tell which sources help?".to_owned(),
        x: "similarity of the prompts".to_owned(),
        y: "relative error reduction, % (scales differ)".to_owned(),
        panels: targets.map(panel).collect(),
    }
}

/// The sources, best mean first; equal ones in the order that they came in.
fn by_mean(scores: &Scores, findings: &Findings) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.sources.len()).collect();
    let mean = |source: &usize| findings.source_mean[&scores.sources[*source].name];
    order.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    order
}

/// The digests behind all scores, each once.
fn everything(scores: &Scores) -> Vec<String> {
    let rows = scores.sources.iter().map(|source| &source.scores).chain([&scores.baseline]);
    let mut digests: Vec<String> =
        rows.flat_map(|row| row.iter().flat_map(|spread| spread.from.iter().cloned())).collect();
    digests.sort();
    digests.dedup();
    digests
}
