//! Tables: plain ones, and those in the layout of the paper's Tables 1 and 3.

use super::cell::{Cell, Format, short};
use super::record::Index;
use maud::{Markup, html};

/// Longest name in a table before it is cut; the whole of it is in its title.
const LONGEST: usize = 48;

/// A table with a caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Headings; the first column names the rows.
    pub columns: Vec<Column>,
    /// In the order in which they stand.
    pub rows: Vec<Row>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// How its numbers are written.
    pub format: Format,
    /// Whether its largest number is to stand out.
    pub best: bool,
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The heading that it stands under, if rows are in groups.
    pub group: String,
    /// Its name.
    pub name: String,
    /// One for each column but the first.
    pub values: Vec<Value>,
    /// Whether others are compared with it: it stands apart and is never the best.
    pub is_reference: bool,
}

/// What stands in a place of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(Cell),
}

/// A row of [`Table::of_gains`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gain {
    /// Heading of several methods, such as the strategy; may be empty.
    pub group: String,
    /// The method, such as `k = 3`.
    pub method: String,
    /// Points above the baseline.
    pub absolute: Cell,
    /// Relative error reduction in percent.
    pub relative: Cell,
    /// Mean score over targets.
    pub score: Cell,
    /// Whether others are compared with it, as with the baseline.
    pub is_reference: bool,
}

impl Column {
    /// A column of numbers.
    pub fn new(name: impl Into<String>, format: Format) -> Self {
        Self { name: name.into(), format, best: false }
    }

    /// The same, its largest number standing out.
    pub fn with_best(mut self) -> Self {
        self.best = true;
        self
    }
}

impl Table {
    /// Methods by suites, means and standard deviations: the paper's Table 1.
    pub fn of_suites(caption: impl Into<String>, suites: &[String], rows: Vec<Row>) -> Self {
        let suites = suites.iter().map(|suite| Column::new(suite, Format::plain(1)).with_best());
        let columns = [Column::new("Method", Format::plain(0))].into_iter().chain(suites);
        Self { caption: caption.into(), columns: columns.collect(), rows }
    }

    /// What methods gain over the baseline: the paper's Table 3.
    pub fn of_gains(caption: impl Into<String>, gains: Vec<Gain>) -> Self {
        let columns = vec![
            Column::new("Method", Format::plain(0)),
            Column::new("Change, points", Format::signed(1)).with_best(),
            Column::new("Error reduction, %", Format::signed(1)).with_best(),
            Column::new("Mean score", Format::plain(1)).with_best(),
        ];
        let rows = gains.into_iter().map(|gain| Row {
            group: gain.group,
            name: gain.method,
            values: [gain.absolute, gain.relative, gain.score].map(Value::Number).into(),
            is_reference: gain.is_reference,
        });
        Self { caption: caption.into(), columns, rows: rows.collect() }
    }

    /// The same without the columns in which no row has anything to say.
    #[must_use]
    pub fn without_empty_columns(mut self) -> Self {
        let says = |value: &Value| match value {
            Value::Text(text) => !text.is_empty(),
            Value::Number(cell) => cell.value.is_some(),
        };
        let places = 0..self.columns.len().saturating_sub(1);
        let kept: Vec<bool> =
            places.map(|at| self.rows.iter().any(|row| row.values.get(at).is_some_and(says))).collect();
        let mut columns = [true].iter().chain(&kept);
        self.columns.retain(|_| columns.next().is_some_and(|kept| *kept));
        for row in &mut self.rows {
            let mut kept = kept.iter();
            row.values.retain(|_| kept.next().is_some_and(|kept| *kept));
        }
        self
    }

    pub(super) fn draw(&self, index: &Index<'_>) -> Markup {
        let deviations: Vec<bool> = (1..self.columns.len()).map(|column| self.has_deviation(column)).collect();
        let best: Vec<Option<f64>> = (1..self.columns.len()).map(|column| self.best(column)).collect();
        html! {
            figure {
                figcaption { (self.caption) }
                div.scroll tabindex="0" role="region" aria-label=(self.caption) {
                    table.plain data-walk="grid" {
                        thead { tr {
                            @for (at, column) in self.columns.iter().enumerate() {
                                th scope="col" class=[self.is_numeric(at).then_some("number")] { (column.name) }
                            }
                        } }
                        tbody {
                            @for (at, row) in self.rows.iter().enumerate() {
                                @if !row.group.is_empty() && (at == 0 || self.rows[at - 1].group != row.group) {
                                    tr.group { th scope="rowgroup" colspan=(self.columns.len()) { (row.group) } }
                                }
                                (self.row(row, &deviations, &best, index))
                            }
                        }
                    }
                }
            }
        }
    }

    fn row(&self, row: &Row, deviations: &[bool], best: &[Option<f64>], index: &Index<'_>) -> Markup {
        let in_group = !row.group.is_empty();
        let class = match (row.is_reference, in_group) {
            (true, _) => Some("reference"),
            (false, true) => Some("member"),
            (false, false) => None,
        };
        html! {
            tr class=[class] {
                th scope="row" title=(row.name) { (short(&row.name, LONGEST)) }
                @for (at, value) in row.values.iter().enumerate() {
                    @match value {
                        Value::Text(text) => td { (text) },
                        Value::Number(cell) => {
                            @let column = &self.columns[at + 1];
                            @let is_best = !row.is_reference && cell.value.is_some() && cell.value == best[at];
                            td.number.best[is_best] {
                                (cell.draw(column.format, &place(row, column), index, deviations[at]))
                            }
                        },
                    }
                }
            }
        }
    }

    /// The numbers of a column; the column of the names, which is the first, has none.
    fn numbers(&self, column: usize) -> impl Iterator<Item = &Cell> {
        self.rows.iter().filter_map(move |row| match row.values.get(column.checked_sub(1)?)? {
            Value::Number(cell) => Some(cell),
            Value::Text(_) => None,
        })
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.numbers(column).next().is_some()
    }

    fn has_deviation(&self, column: usize) -> bool {
        self.numbers(column).any(|cell| cell.deviation.is_some())
    }

    /// The largest number of a column where that means something: it is asked for, and there is another to compare with.
    fn best(&self, column: usize) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| !row.is_reference);
        let values: Vec<f64> = rows
            .filter_map(|row| match row.values.get(column - 1)? {
                Value::Number(cell) => cell.value,
                Value::Text(_) => None,
            })
            .collect();
        let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (self.columns[column].best && values.len() > 1).then_some(best)
    }
}

fn place(row: &Row, column: &Column) -> String {
    let group = if row.group.is_empty() { String::new() } else { format!("{}, ", row.group) };
    format!("{group}{}, {}", row.name, column.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain(method: &str, absolute: Option<f64>, score: f64) -> Gain {
        Gain {
            group: String::new(),
            method: method.to_owned(),
            absolute: Cell { value: absolute, ..Cell::default() },
            relative: Cell { value: absolute.map(|a| 4.0 * a), ..Cell::default() },
            score: Cell::of(score).with_deviation(Some(0.7)),
            is_reference: absolute.is_none(),
        }
    }

    #[test]
    fn the_best_of_a_column_stands_out_but_never_the_reference() {
        let gains = vec![gain("baseline", None, 99.0), gain("k = 1", Some(1.5), 76.2), gain("k = 3", Some(2.7), 77.4)];
        let html = Table::of_gains("Gains", gains).draw(&Index::new(&[])).into_string();
        assert_eq!(html.matches("class=\"number best\"").count(), 3);
        assert!(html.contains("class=\"number best\">77.4<span class=\"sd\">±0.7</span>"), "{html}");
        assert!(html.contains("<tr class=\"reference\">"));
    }

    #[test]
    fn columns_without_anything_are_left_out() {
        let row = |name: &str, share: Option<f64>| Row {
            name: name.to_owned(),
            values: vec![
                Value::Text(String::new()),
                Value::Number(Cell { value: share, ..Cell::missing() }),
                Value::Number(Cell::missing()),
            ],
            ..Row::default()
        };
        let columns = ["Method", "Interval", "Share", "Tunings"].map(|name| Column::new(name, Format::plain(0))).into();
        let table = Table { caption: String::new(), columns, rows: vec![row("a", Some(1.0)), row("b", None)] };
        let table = table.without_empty_columns();
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Method", "Share"]);
        assert_eq!(table.rows[1].values, [Value::Number(Cell::missing())]);
    }

    #[test]
    fn names_are_text_whatever_they_are() {
        let name = "<script>alert(1)</script>\" onclick=\"x";
        let row = Row {
            name: name.to_owned(),
            group: name.to_owned(),
            values: vec![Value::Number(Cell::of(1.0).from([name]).note(name)), Value::Text(name.to_owned())],
            is_reference: false,
        };
        let html = Table::of_suites(name, &[name.to_owned(), name.to_owned()], vec![row]).draw(&Index::new(&[]));
        let html = html.into_string();
        assert!(!html.contains("<script") && !html.contains("\" onclick"), "{html}");
    }
}
