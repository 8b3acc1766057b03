//! The figures that a matrix of transfer scores has on a page, whoever made it.

use super::page::{Block, Cell, Colours, Dots, Format, Heatmap, Panel, Scatter, ScatterPoint, Section, probability};
use super::prediction::{Correlations, Prediction};
use super::spread::Spread;
use super::transfer::{Findings, Scores};
use crate::ml::error::Result;
use crate::ml::prompt::clustering::{Linkage, Tree};

/// What scatter plots show where it is known what is gained without transfer, and where not.
pub(super) const REDUCTION: &str = "relative error reduction, % (scales differ)";
pub(super) const SCORE: &str = "score (scales differ)";

/// What stands for tuning without transfer.
const NO_TRANSFER: &str = "no transfer";

/// A score with its deviation and the artifacts that it is from.
pub(super) fn score(spread: &Spread) -> Cell {
    let seeds = if spread.seeds > 1 { format!("Mean of {} seeds.", spread.seeds) } else { String::new() };
    Cell::of(spread.mean).with_deviation(spread.deviation).from(&spread.from).note(seeds)
}

fn maybe(spread: Option<&Spread>) -> Cell {
    spread.map_or_else(Cell::missing, score)
}

/// A mean, the mean with the best source for each target, and the mean with the best single source.
pub(super) fn facts(scores: &Scores, findings: &Findings) -> Block {
    let best = findings.source_mean.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let from = everything(scores);
    let format = Format::plain(2);
    let without = |mean| ("mean score without transfer".to_owned(), Cell::of(mean));
    let mut facts: Vec<(String, Cell)> = findings.baseline_mean.map(without).into_iter().collect();
    let single = |name: &String| format!("always from {name}, which is best on average, known afterwards");
    facts.extend(best.map(|(name, mean)| (single(name), Cell::of(*mean))));
    let oracle = Cell::of(findings.best_per_target_mean);
    facts.push(("with the best source for each target, known afterwards".to_owned(), oracle));
    Block::Facts(facts.into_iter().map(|(name, cell)| (name, cell.from(&from), format)).collect())
}

/// How many pairs help, tie and hurt, and what every source took away of every target's error; nothing without a baseline.
pub(super) fn transfer(scores: &Scores, findings: &Findings) -> Vec<Block> {
    let Findings { helping, hurting, tied, .. } = findings;
    if scores.baseline.is_none() {
        return Vec::new();
    }
    let counts = [("pairs help", *helping), ("tie", *tied), ("hurt", *hurting)];
    let counts = counts.map(|(name, n)| (name.to_owned(), n)).into();
    vec![Block::Shares(counts), Block::Heatmap(reductions(scores, findings))]
}

/// Relative error reductions, source by target, the best source first.
fn reductions(scores: &Scores, findings: &Findings) -> Heatmap {
    let order = by_mean(scores, findings);
    let cell = |source: usize, target: usize| {
        let (Some(score), Some(base)) = (&scores.sources[source].scores[target], scores.base(target)) else {
            return Cell::missing();
        };
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
    let row = |source: usize| scores.sources[source].scores.iter().map(|cell| maybe(cell.as_ref())).collect::<Vec<_>>();
    let mut means: Vec<Cell> =
        order.iter().map(|source| Cell::of(findings.source_mean[&scores.sources[*source].name])).collect();
    means.extend(findings.baseline_mean.map(Cell::of));
    let cells: Vec<Vec<Cell>> = order.iter().map(|source| row(*source)).collect();
    // Without a baseline a target's scores are compared with their mean.
    let compared_with = |target: usize| {
        let column = scores.sources.iter().filter_map(|source| Some(source.scores[target].as_ref()?.mean));
        scores.base(target).map_or_else(|| crate::ml::statistics::mean(&column.collect::<Vec<_>>()), |base| base.mean)
    };
    let differences = |source: &usize| {
        let row = scores.sources[*source].scores.iter().enumerate();
        let difference = |(target, score): (usize, &Option<Spread>)| {
            score.as_ref().map_or(0.0, |score| score.mean - compared_with(target))
        };
        row.map(difference).collect::<Vec<f64>>()
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
        unit: if scores.baseline.is_some() { "points above no transfer" } else { "points above the mean" }.to_owned(),
        summary: Some(("mean".to_owned(), means)),
        reference: scores
            .baseline
            .as_ref()
            .map(|baseline| (NO_TRANSFER.to_owned(), baseline.iter().map(score).collect())),
        row_tree: None,
        column_tree: None,
    }
}

/// The mean of every source beside that without transfer.
pub(super) fn source_means(scores: &Scores, findings: &Findings) -> Dots {
    let digests = |scores: &mut dyn Iterator<Item = &Spread>| {
        let mut digests: Vec<String> = scores.flat_map(|spread| spread.from.iter().cloned()).collect();
        digests.dedup();
        digests
    };
    let row = |source: usize| {
        let source = &scores.sources[source];
        (
            source.name.clone(),
            Cell::of(findings.source_mean[&source.name]).from(digests(&mut source.scores.iter().flatten())),
        )
    };
    let means: Vec<f64> = findings.source_mean.values().copied().collect();
    let reference = match (&scores.baseline, findings.baseline_mean) {
        (Some(baseline), Some(mean)) => (NO_TRANSFER.to_owned(), Cell::of(mean).from(digests(&mut baseline.iter()))),
        _ => ("mean of all sources".to_owned(), Cell::of(crate::ml::statistics::mean(&means))),
    };
    Dots {
        caption: "Mean score over the targets when every prompt begins from one source".to_owned(),
        headings: ("source".to_owned(), "mean score".to_owned()),
        reference,
        rows: by_mean(scores, findings).into_iter().map(row).collect(),
        format: Format::plain(2),
    }
}

/// Similarities in the order of a clustering of rows and columns. Those of a task with itself are shown but do not stretch
/// the scale of colours.
///
/// # Errors
/// If rows differ in length, or a similarity is not finite.
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
    y: &str,
    correlation: impl Fn(&str) -> Option<Correlations>,
) -> Scatter {
    let panel = |(target, points): (&'a String, Vec<ScatterPoint>)| {
        let found = correlation(target);
        let line = |name: &str, r: Option<f64>, p: Option<f64>| {
            Some(format!("{name} {}, {}", Format::signed(2).write(r?), probability(p?)))
        };
        let lines = found.map_or([None, None], |found| {
            [line("Spearman ρ", found.spearman, found.spearman_p), line("Pearson r", found.pearson, found.pearson_p)]
        });
        let note = lines.into_iter().flatten().collect::<Vec<String>>().join("\n");
        let p = found.and_then(|found| found.pearson_p);
        Panel { title: target.clone(), note, is_significant: p.is_some_and(|p| p < 0.05), points }
    };
    Scatter {
        caption: "Does similarity tell which sources help?".to_owned(),
        x: "similarity of the prompts".to_owned(),
        y: y.to_owned(),
        panels: targets.map(panel).collect(),
    }
}

/// Correlations with what bounds them, rankings with what chance gets, and what similarity follows.
pub(super) fn prediction(prediction: &Prediction, targets: &[String], separation: Option<String>) -> Option<Section> {
    let shown = prediction.show(targets)?;
    let caption = "Correlation of similarity and score over source prompts; p-values by exchanging source tasks; no correlation \
                   can be expected to pass the ceiling, the root of the reliability of the target's scores";
    let mut blocks = vec![Block::Table(shown.correlations.to_table(caption))];
    blocks.extend(shown.rankings.map(|rankings| {
        let caption = "How far a choice stays behind the best source, in percent: at 1 of the best score, for the most similar \
                       source, for the one that is best elsewhere, that is on the other targets, and for a random one; then of the \
                       span from the mean of all to the best, for the best of the first k and of k random ones";
        Block::Table(rankings.to_table(caption))
    }));
    let sentences = [Some(shown.summary), separation].into_iter().flatten().filter(|text| !text.is_empty());
    blocks.extend(sentences.map(Block::Text));
    Some(Section {
        id: "retrieval",
        title: "Ranking".to_owned(),
        lead: "An nDCG of 1 is the perfect order; beside it stands what a random order gets.".to_owned(),
        blocks,
    })
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
    let cells = scores.sources.iter().flat_map(|source| source.scores.iter().flatten());
    let all = cells.chain(scores.baseline.iter().flatten());
    let mut digests: Vec<String> = all.flat_map(|spread| spread.from.iter().cloned()).collect();
    digests.sort();
    digests.dedup();
    digests
}
