//! Results as tables: for a terminal, as Markdown, as JSON.

pub mod analysis;
mod figures;
mod grid;
pub mod page;
pub mod results;
pub mod similarities;
pub mod study;
pub mod transfer;

use grid::Grid;
use serde::Serialize;

/// What a pipeline found out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// Version of this layout.
    pub version: u32,
    /// The split that the scores belong to.
    pub split: String,
    /// Names of the strategies, in the order of the columns.
    pub strategies: Vec<String>,
    /// A row for each target.
    pub targets: Vec<Target>,
    /// The row of means over the targets.
    pub mean: Target,
    /// Single transfers, source by source.
    pub pairs: Vec<Pair>,
}

/// Scores of a target, 0 to 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Task.
    pub task: String,
    /// Score of always giving the most common answer; the floor that learning must pass.
    pub majority: Option<f64>,
    /// Prompt tuning without transfer.
    pub baseline: Spread,
    /// A cell for each strategy.
    pub cells: Vec<Cell>,
}

/// Scores over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; `null` for a single seed.
    pub deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
}

/// A strategy on a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Scores.
    pub score: Spread,
    /// Relative error reduction against the baseline in percent: negative where transfer hurt. `null` where the baseline
    /// makes no error.
    pub relative_error_reduction: Option<f64>,
}

/// A target tuned from the prompt of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Source task.
    pub source: String,
    /// Target task.
    pub target: String,
    /// Scores.
    pub score: Spread,
    /// As in [`Cell`].
    pub relative_error_reduction: Option<f64>,
}

impl Results {
    /// For machines; ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("results are strings and finite numbers");
        json.push('\n');
        json
    }

    /// For documents.
    pub fn to_markdown(&self) -> String {
        self.lay_out(Grid::to_markdown, "## ")
    }

    /// For terminals.
    pub fn to_text(&self) -> String {
        self.lay_out(Grid::to_text, "")
    }

    fn lay_out(&self, draw: fn(&Grid) -> String, heading: &str) -> String {
        let split = &self.split;
        let mut out = format!(
            "{heading}Target scores on the {split} split (mean ± sd over seeds; in brackets relative error reduction)\n\n"
        );
        out += &draw(&self.scores());
        if !self.pairs.is_empty() {
            out += &format!("\n{heading}Which sources helped: relative error reduction in %, source by target\n\n");
            out += &draw(&self.matrix());
        }
        out
    }

    fn scores(&self) -> Grid {
        let mut header = vec!["target".to_owned(), "majority".to_owned(), "prompt tuning".to_owned()];
        header.extend(self.strategies.iter().cloned());
        let mut grid = Grid::new(header);
        for target in self.targets.iter().chain([&self.mean]) {
            let mut row = vec![
                target.task.clone(),
                target.majority.map_or_else(String::new, |score| format!("{score:.1}")),
                target.baseline.to_string(),
            ];
            row.extend(target.cells.iter().map(|cell| {
                let reduction = cell.relative_error_reduction.map_or_else(|| "–".to_owned(), signed);
                format!("{} ({reduction} %)", cell.score)
            }));
            grid.push(row);
        }
        grid
    }

    fn matrix(&self) -> Grid {
        let targets: Vec<&str> = self.targets.iter().map(|target| target.task.as_str()).collect();
        let mut sources: Vec<&str> = self.pairs.iter().map(|pair| pair.source.as_str()).collect();
        sources.dedup();
        let mut header = vec!["source".to_owned()];
        header.extend(targets.iter().map(|&target| target.to_owned()));
        let mut grid = Grid::new(header);
        for source in sources {
            let mut row = vec![source.to_owned()];
            row.extend(targets.iter().map(|&target| {
                let pair = self.pairs.iter().find(|pair| pair.source == source && pair.target == target);
                pair.and_then(|pair| pair.relative_error_reduction).map_or_else(String::new, signed)
            }));
            grid.push(row);
        }
        grid
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}", self.mean)?;
        match self.deviation {
            Some(deviation) => write!(f, " ± {deviation:.1}"),
            None => Ok(()),
        }
    }
}

fn signed(percent: f64) -> String {
    format!("{percent:+.1}")
}
