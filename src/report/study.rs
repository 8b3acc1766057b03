//! The page of a whole study, from its results, the records behind them and the state of its pipeline.

use super::choices;
use super::columns::Role;
use super::embeddings::{Separation, TaskSimilarity};
use super::figures;
use super::page::{
    Block, Cell, Colours, Curves, Dag, Format, Gain, Heatmap, Page, Record, Row, ScatterPoint, Section, Table, Value,
};
use super::results::{Matrix, Results};
use super::spread::Spread;
use super::tables;
use crate::ml::error::Result;
use crate::ml::prompt::clustering::Linkage;
use crate::ml::prompt::similarity::Similarity;
use std::collections::BTreeSet;

/// What is shown.
pub struct Study {
    /// Name of the pipeline.
    pub name: String,
    /// Where it comes from: profile, key of the report, version of the program.
    pub about: Vec<(String, String)>,
    /// What it found out.
    pub results: Results,
    /// How similar tasks are clustered.
    pub linkage: Linkage,
    /// Learning curves, as far as there are any, for each way to learn.
    pub curves: Vec<Curves>,
    /// The stages.
    pub dag: Dag,
    /// What the numbers were computed from.
    pub records: Vec<Record>,
}

impl Study {
    /// The page.
    ///
    /// # Errors
    /// If similarities cannot be clustered.
    pub fn page(&self) -> Result<Page> {
        let results = &self.results;
        let mut sections = vec![self.methods()];
        if !results.suites.is_empty() {
            sections.push(self.suites());
        }
        sections.push(self.targets());
        if let Some(matrix) = &results.matrix {
            sections.push(transfer(matrix));
        }
        if let Some(similarity) = &results.similarity {
            sections.push(self.similarity(similarity)?);
        }
        if !results.points.is_empty() {
            sections.push(self.prediction());
        }
        sections.extend(self.ranking());
        if !self.curves.is_empty() {
            sections.push(curves(&self.curves));
        }
        sections.push(self.pipeline());
        Ok(Page {
            title: format!("Prompt transfer: {}", self.name),
            lead: self.lead(),
            about: self.about.clone(),
            notices: results.notices(),
            sections,
            records: self.records.clone(),
        })
    }

    fn lead(&self) -> String {
        let Results { methods, targets, split, .. } = &self.results;
        let gain =
            |method: &&super::results::Method| method.change.as_ref().map_or(f64::NEG_INFINITY, |gain| gain.mean);
        let real = methods.iter().filter(|method| method.role == Role::Method);
        let best = real.max_by(|a, b| gain(a).total_cmp(&gain(b)));
        let tasks = if targets.len() == 1 { "task" } else { "tasks" };
        let what =
            format!("{} ways to learn {} target {tasks}, scored on the {split} split.", methods.len(), targets.len());
        let Some((best, change)) = best.and_then(|best| Some((best, best.change.as_ref()?))) else { return what };
        let baseline = &methods[0].name;
        let points = Format::signed(1).write(change.mean);
        format!("{what} The largest mean gain over {baseline} is that of {}: {points} points.", best.name)
    }

    fn methods(&self) -> Section {
        let gain = |(at, method): (usize, &super::results::Method)| Gain {
            group: String::new(),
            method: method.name.clone(),
            absolute: number(method.change.as_ref()),
            relative: number(method.relative_error_reduction.as_ref()),
            score: figures::score(&method.score),
            is_reference: at == 0 || method.role.is_known_afterwards(),
        };
        let gains = self.results.methods.iter().enumerate().map(gain).collect();
        let caption = "Gain over the baseline, mean over targets; standard deviations over seeds";
        let mut blocks = vec![Block::Table(Table::of_gains(caption, gains).without_empty_columns())];
        if self.results.methods.len() > 1 {
            let caption =
                format!("What is gained over {}, how sure that is, and what it costs", self.results.methods[0].name);
            blocks.push(Block::Table(tables::gains(&self.results.methods).to_table(&caption)));
        }
        if !self.results.controls.is_empty() {
            let table = tables::controls(&self.results.controls);
            blocks.push(Block::Table(table.to_table("Methods beside rows of the same budget")));
        }
        if !self.results.choices.is_empty() {
            blocks.push(Block::Table(choices::table(&self.results.choices, &self.results.split)));
        }
        Section {
            id: "methods",
            title: "Methods".to_owned(),
            lead: "What every method gains over the baseline in the first row. The best of a column is bold, but for that of an \
                   oracle, which is known only afterwards. Intervals are by Student's t over targets, p-values by exchanging \
                   the signs of the targets' gains, corrected for the number of methods (Holm). Steps are updates of a prompt: \
                   those of the sources are spent once for all targets, those of a target include the run behind its embedding."
                .to_owned(),
            blocks,
        }
    }

    fn suites(&self) -> Section {
        let Results { suites, methods, .. } = &self.results;
        let row = |(at, method): (usize, &super::results::Method)| {
            let value = |suite: &super::results::Suite| {
                Value::Number(suite.scores.get(at).map_or_else(Cell::missing, figures::score))
            };
            let values = suites.iter().map(value).collect();
            let is_reference = at == 0 || method.role.is_known_afterwards();
            Row { name: method.name.clone(), values, is_reference, ..Row::default() }
        };
        let rows = methods.iter().enumerate().map(row).collect();
        let names: Vec<String> = suites.iter().map(|suite| suite.name.clone()).collect();
        let of = suites.iter().map(|suite| format!("{}: {}", suite.name, suite.targets.join(", ")));
        Section {
            id: "suites",
            title: "Suites".to_owned(),
            lead: of.collect::<Vec<_>>().join(". ") + ".",
            blocks: vec![Block::Table(Table::of_suites(
                "Mean scores over suites, mean and standard deviation",
                &names,
                rows,
            ))],
        }
    }

    /// Methods by targets; the colours are relative error reductions.
    fn targets(&self) -> Section {
        let Results { targets, methods, split, .. } = &self.results;
        let cell = |cell: &super::results::Cell| {
            let reduction = cell
                .relative_error_reduction
                .map(|reduction| format!("Relative error reduction {} %.", Format::signed(1).write(reduction)));
            let parts: Vec<String> = reduction.into_iter().chain(cell.note.clone()).collect();
            figures::score(&cell.score).note(parts.join(" "))
        };
        let tint = |cell: &super::results::Cell| cell.relative_error_reduction.unwrap_or(0.0);
        let rows = 0..methods.len();
        let tints: Vec<Vec<f64>> =
            rows.clone().map(|at| targets.iter().map(|target| tint(&target.cells[at])).collect()).collect();
        let majority = targets.iter().map(|target| Cell { value: target.majority, ..Cell::missing() }).collect();
        let has_majority = targets.iter().any(|target| target.majority.is_some());
        let means = methods.iter().map(|method| figures::score(&method.score)).collect();
        Section {
            id: "targets",
            title: "Targets".to_owned(),
            lead: "Every method on every target. Blue is better than the baseline, orange worse; what lies near the score of \
                   always giving the most common answer was not learnt."
                .to_owned(),
            blocks: vec![Block::Heatmap(Heatmap {
                caption: format!("Scores on the {split} split, mean and standard deviation"),
                axes: ("method".to_owned(), "target".to_owned()),
                rows: methods.iter().map(|method| method.name.clone()).collect(),
                columns: targets.iter().map(|target| target.task.clone()).collect(),
                cells: rows.map(|at| targets.iter().map(|target| cell(&target.cells[at])).collect()).collect(),
                format: Format::plain(1),
                colours: Colours::diverging(tints.iter().flatten().copied()),
                tints: Some(tints),
                unit: "error reduction, %".to_owned(),
                summary: Some(("mean".to_owned(), means)),
                reference: has_majority.then_some(("most common answer".to_owned(), majority)),
                row_tree: None,
                column_tree: None,
            })],
        }
    }

    fn similarity(&self, similarity: &TaskSimilarity) -> Result<Section> {
        let TaskSimilarity { metric, tasks, values, from } = similarity;
        let digests = |i: usize, j: usize| {
            let both: BTreeSet<&String> = [i, j].iter().filter_map(|task| from.get(*task)).flatten().collect();
            both.into_iter().cloned().collect::<Vec<String>>()
        };
        let cell = |i: usize, j: usize, value: f64| Cell::of(value).from(digests(i, j));
        let row = |(i, row): (usize, &Vec<f64>)| row.iter().enumerate().map(|(j, value)| cell(i, j, *value)).collect();
        let cells = values.iter().enumerate().map(row).collect();
        let measured = match metric {
            Similarity::AverageTokens => "the cosine of mean tokens",
            Similarity::PerToken => "the mean cosine over all pairs of tokens",
        };
        let caption = format!("Similarity of the prompts by {measured}, averaged over runs");
        let heatmap = figures::similarities(caption, ["task", "task"], [tasks, tasks], cells, self.linkage)?;
        Ok(Section {
            id: "similarity",
            title: "Similarity of tasks".to_owned(),
            lead: "Tasks are clustered by the Euclidean distance of their similarities to all others.".to_owned(),
            blocks: vec![Block::Heatmap(heatmap)],
        })
    }

    fn prediction(&self) -> Section {
        let Results { points, prediction, .. } = &self.results;
        let targets: BTreeSet<&String> = points.iter().map(|point| &point.target).collect();
        let of = |target: &String| {
            let points = points.iter().filter(|point| point.target == *target);
            let point = |point: &super::results::Point| ScatterPoint {
                name: format!("{}, seed {}", point.source, point.source_seed),
                x: point.similarity,
                y: point.relative_error_reduction,
                from: point.from.clone(),
            };
            points.map(point).collect()
        };
        let panels = targets.into_iter().map(|target| (target, of(target)));
        Section {
            id: "prediction",
            title: "Similarity and transfer".to_owned(),
            lead: "A dot is a source prompt. Where similarity tells what helps, the dots rise to the right; a dashed line may \
                   be chance (p of Pearson's correlation at 0.05 or more)."
                .to_owned(),
            blocks: vec![Block::Scatter(figures::scatter(panels, figures::REDUCTION, |target| prediction.correlation.get(target).copied()))],
        }
    }

    /// What bounds any prediction, and how good the order by similarity is.
    fn ranking(&self) -> Option<Section> {
        let targets: Vec<String> = self.results.targets.iter().map(|target| target.task.clone()).collect();
        let separation = self.results.separation.as_ref();
        figures::prediction(&self.results.prediction, &targets, separation.map(Separation::to_string))
    }

    fn pipeline(&self) -> Section {
        Section {
            id: "pipeline",
            title: "Pipeline".to_owned(),
            lead: "Every stage below those whose results it reads. Lines that follow from others are left out of the drawing; \
                   the table has them all. Times are those of the runs that made the results, added up over jobs that may have run \
                   side by side."
                .to_owned(),
            blocks: vec![Block::Dag(self.dag.clone())],
        }
    }
}

fn transfer(matrix: &Matrix) -> Section {
    let Matrix { scores, findings } = matrix;
    Section {
        id: "transfer",
        title: "Every source on every target".to_owned(),
        lead: "How much of a target's error goes away when its prompt begins from that of a source: blue helps, orange hurts. \
               Sources stand in the order of their mean scores."
            .to_owned(),
        blocks: [
            vec![figures::facts(scores, findings)],
            figures::transfer(scores, findings),
            vec![
                Block::Dots(figures::source_means(scores, findings)),
                Block::Heatmap(figures::matrix(scores, findings)),
            ],
        ]
        .concat(),
    }
}

fn curves(curves: &[Curves]) -> Section {
    Section {
        id: "curves",
        title: "Learning curves".to_owned(),
        lead: "A line is a run. Scores are those of the part of the data that checkpoints are chosen on.".to_owned(),
        blocks: curves.iter().cloned().map(Block::Curves).collect(),
    }
}

fn number(spread: Option<&Spread>) -> Cell {
    spread.map_or_else(Cell::missing, figures::score)
}
