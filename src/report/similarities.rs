//! Similarities of prompts as tables.

use super::grid::Grid;

/// A table to be printed.
pub struct Table(Grid);

impl Table {
    /// For terminals.
    pub fn to_text(&self) -> String {
        self.0.to_text()
    }

    /// For documents.
    pub fn to_markdown(&self) -> String {
        self.0.to_markdown()
    }
}

/// Every prompt with every other.
pub fn matrix(names: &[&str], similarities: &[Vec<f64>]) -> Table {
    let header = ["prompt"].iter().chain(names).map(|&name| name.to_owned());
    let mut grid = Grid::new(header.collect());
    for (name, row) in names.iter().zip(similarities) {
        let cells = row.iter().map(|similarity| format!("{similarity:.4}"));
        grid.push([(*name).to_owned()].into_iter().chain(cells).collect());
    }
    Table(grid)
}

/// Prompts and their similarity to one, best first.
pub fn ranking(ranking: &[(&str, f64)]) -> Table {
    let mut grid = Grid::new(vec!["source".to_owned(), "similarity".to_owned()]);
    ranking.iter().for_each(|(name, similarity)| grid.push(vec![(*name).to_owned(), format!("{similarity:.4}")]));
    Table(grid)
}
