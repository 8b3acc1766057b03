//! Heatmaps. One is a real table whose places have colours, so that it can be read aloud, searched, copied and walked
//! through; only dendrograms beside it are drawings.

use super::cell::{Cell, Format, short};
use super::dendrogram::{self, Side};
use super::record::Index;
use super::scale::Colours;
use crate::ml::prompt::clustering::Tree;
use maud::{Markup, html};

/// Longest name of a row or column before it is cut.
const LONGEST: usize = 26;
/// Longest name of a column that stands upright.
const UPRIGHT: usize = 6;

/// Rows by columns, in colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// What it shows.
    pub caption: String,
    /// What rows and columns are: `source`, `target`.
    pub axes: (String, String),
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A row of cells for each row.
    pub cells: Vec<Vec<Cell>>,
    /// How numbers are written.
    pub format: Format,
    /// How they become colours.
    pub colours: Colours,
    /// Numbers that are coloured in place of those that are shown, such as differences.
    pub tints: Option<Vec<Vec<f64>>>,
    /// What the numbers are, for the legend.
    pub unit: String,
    /// A last column without colour, such as the mean of each row; after those of the rows that of the reference.
    pub summary: Option<(String, Vec<Cell>)>,
    /// A first row without colour, for comparison with the others.
    pub reference: Option<(String, Vec<Cell>)>,
    /// Clustering of the rows, which puts them in its order.
    pub row_tree: Option<Tree>,
    /// Clustering of the columns.
    pub column_tree: Option<Tree>,
}

impl Heatmap {
    pub(super) fn draw(&self, index: &Index<'_>) -> Markup {
        let rows = order(self.row_tree.as_ref(), self.rows.len());
        let columns = order(self.column_tree.as_ref(), self.columns.len());
        let deviates = self.cells.iter().flatten().any(|cell| cell.deviation.is_some());
        html! {
            figure.heatmap {
                figcaption { (self.caption) }
                (self.legend())
                div.scroll tabindex="0" role="region" aria-label=(self.caption) {
                    table.heat.two-lines[deviates] data-walk="grid" {
                        (self.head(&columns))
                        tbody {
                            @if let Some((name, cells)) = &self.reference {
                                tr.reference {
                                    th scope="row" title=(name) { (short(name, LONGEST)) }
                                    @for &column in &columns {
                                        td { (self.cell(&cells[column], name, &self.columns[column], index)) }
                                    }
                                    @if let Some((_, cells)) = &self.summary {
                                        td.summary { @if let Some(cell) = cells.get(self.rows.len()) {
                                            (self.cell(cell, name, "", index))
                                        } }
                                    }
                                }
                            }
                            @for (at, &row) in rows.iter().enumerate() { (self.row(at, row, &columns, index)) }
                            @if let Some(tree) = &self.column_tree {
                                tr.tree {
                                    td {}
                                    td colspan=(self.columns.len()) {
                                        (dendrogram::draw(tree, Side::Above, "Dendrogram of the columns"))
                                    }
                                }
                            }
                        }
                    }
                }
                (self.joins())
            }
        }
    }

    fn head(&self, columns: &[usize]) -> Markup {
        let (row_axis, column_axis) = &self.axes;
        let longest = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let widest = self.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        // The width of the names' column, which a table with equal columns needs to be told.
        let width = match widest {
            0..=12 => "names-12",
            13..=18 => "names-18",
            _ => "names-26",
        };
        html! {
            thead { tr {
                th class={ "corner " (width) } scope="col" { (row_axis) " ↓ " (column_axis) " →" }
                @for &column in columns {
                    @let name = &self.columns[column];
                    th scope="col" class=[(longest > UPRIGHT).then_some("up")] title=(name) {
                        span { (short(name, LONGEST)) }
                    }
                }
                @if let Some((name, _)) = &self.summary {
                    th.summary.up[longest > UPRIGHT] scope="col" { span { (name) } }
                }
                @if self.row_tree.is_some() { td.tree-head {} }
            } }
        }
    }

    fn row(&self, at: usize, row: usize, columns: &[usize], index: &Index<'_>) -> Markup {
        let name = &self.rows[row];
        html! {
            tr {
                th scope="row" title=(name) { (short(name, LONGEST)) }
                @for &column in columns {
                    @let cell = &self.cells[row][column];
                    td class=(self.class(row, column)) {
                        (self.cell(cell, name, &self.columns[column], index))
                    }
                }
                @if let Some((heading, cells)) = &self.summary {
                    td.summary { (self.cell(&cells[row], name, heading, index)) }
                }
                @if at == 0 && let Some(tree) = &self.row_tree {
                    td.tree rowspan=(self.rows.len()) {
                        (dendrogram::draw(tree, Side::Left, "Dendrogram of the rows"))
                    }
                }
            }
        }
    }

    fn class(&self, row: usize, column: usize) -> String {
        match (self.cells[row][column].value, &self.tints) {
            (None, _) => "none".to_owned(),
            (Some(_), Some(tints)) => self.colours.class(tints[row][column]),
            (Some(value), None) => self.colours.class(value),
        }
    }

    fn cell(&self, cell: &Cell, row: &str, column: &str, index: &Index<'_>) -> Markup {
        let title = if column.is_empty() { row.to_owned() } else { format!("{row} → {column}") };
        cell.draw(self.format, &title, index, false)
    }

    /// The classes of colour with the numbers at their ends.
    fn legend(&self) -> Markup {
        let (low, high) = match self.colours {
            Colours::Diverging { limit } => {
                // The limit is round, so that it has few digits.
                let format = Format::signed(usize::from(limit.fract() != 0.0));
                (format!("{} or less", format.write(-limit)), format!("{} or more", format.write(limit)))
            }
            Colours::Sequential { low, high } => (self.format.write(low), self.format.write(high)),
        };
        html! {
            div.legend aria-hidden="true" {
                span { (self.unit) }
                span.end { (low) }
                span.ramp { @for class in self.colours.classes() { i class=(class) {} } }
                span.end { (high) }
            }
        }
    }

    /// What the dendrograms show, as text.
    fn joins(&self) -> Markup {
        let rows = (&self.row_tree, &self.rows, "rows");
        let trees = [rows, (&self.column_tree, &self.columns, "columns")];
        html! {
            @for (tree, names, which) in trees {
                @if let Some(tree) = tree && !tree.steps.is_empty() {
                    details {
                        summary { "The dendrogram of the " (which) " in words" }
                        ol.joins { @for join in dendrogram::in_words(tree, names) { li { (join) } } }
                    }
                }
            }
        }
    }
}

fn order(tree: Option<&Tree>, n: usize) -> Vec<usize> {
    tree.map_or_else(|| (0..n).collect(), Tree::leaves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::clustering::Linkage;

    fn heatmap() -> Heatmap {
        let name = |text: &str| vec![text.to_owned(), "b".to_owned(), "<script>alert(1)</script>".to_owned()];
        let numbers = [[1.0, -20.0, 3.0], [100.0, 0.0, 5.0], [2.0, -19.0, 3.5]];
        Heatmap {
            caption: "c".to_owned(),
            axes: ("source".to_owned(), "target".to_owned()),
            rows: name("<i>"),
            columns: name("\" onmouseover=\"x"),
            cells: numbers.map(|row| row.map(|x| Cell::of(x).from(["d"])).to_vec()).to_vec(),
            format: Format::signed(1),
            colours: Colours::Diverging { limit: 20.0 },
            tints: None,
            unit: "%".to_owned(),
            summary: None,
            reference: None,
            row_tree: None,
            column_tree: None,
        }
    }

    #[test]
    fn names_are_text_whatever_they_are() {
        let html = heatmap().draw(&Index::new(&[])).into_string();
        assert!(!html.contains("<script") && !html.contains("\" onmouseover") && !html.contains("<i>&"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; →"), "{html}");
    }

    #[test]
    fn a_tree_puts_rows_and_their_numbers_in_its_order() {
        let mut heatmap = heatmap();
        let rows = [[1.0, -20.0, 3.0], [100.0, 0.0, 5.0], [2.0, -19.0, 3.5]].map(Vec::from);
        heatmap.row_tree = Some(Tree::of_rows(&rows, Linkage::Average).unwrap());
        let html = heatmap.draw(&Index::new(&[])).into_string();
        // The second row is far from both others, and the tree numbers single observations before clusters.
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} in {html}"));
        assert!(at("+100.0") < at("−20.0") && at("−20.0") < at("−19.0"));
        assert!(html.contains("rowspan=\"3\"") && html.contains("<path"));
    }

    #[test]
    fn a_place_without_a_number_has_no_colour() {
        let mut heatmap = heatmap();
        heatmap.cells[0][0] = Cell::missing();
        let html = heatmap.draw(&Index::new(&[])).into_string();
        assert!(html.contains("<td class=\"none\"><span class=\"missing\" aria-label=\"no number\">–</span></td>"));
    }
}
