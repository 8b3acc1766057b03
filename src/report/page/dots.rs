//! A ranking as dots on one axis, each tied to the line of what it is compared with.

use super::cell::{Cell, Format, short};
use super::record::Index;
use super::scale::Linear;
use super::scatter::px;
use maud::{Markup, html};

/// Names with numbers, beside a number that they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Dots {
    /// What it shows.
    pub caption: String,
    /// Headings of names and numbers.
    pub headings: (String, String),
    /// Name and number of what the others are compared with; it has a row of its own.
    pub reference: (String, Cell),
    /// Rows in the order in which they stand.
    pub rows: Vec<(String, Cell)>,
    /// How numbers are written.
    pub format: Format,
}

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 20.0;

impl Dots {
    pub(super) fn draw(&self, index: &Index<'_>) -> Markup {
        let (name, reference) = &self.reference;
        let line = reference.value.unwrap_or(0.0);
        let numbers = self.rows.iter().filter_map(|(_, cell)| cell.value).chain([line]);
        let x = Linear::around(numbers, (6.0, WIDTH - 6.0));
        let after = self.rows.iter().position(|(_, cell)| cell.value.is_some_and(|value| value < line));
        let after = after.unwrap_or(self.rows.len());
        html! {
            figure {
                figcaption { (self.caption) }
                div.scroll tabindex="0" role="region" aria-label=(self.caption) {
                    table.plain.dots data-walk="grid" {
                        thead { tr {
                            th scope="col" { (self.headings.0) } th.number scope="col" { (self.headings.1) }
                            th.number scope="col" { "difference" } td {}
                        } }
                        tbody {
                            @for row in &self.rows[..after] { (self.row(row, line, x, index)) }
                            tr.reference {
                                th scope="row" { (name) }
                                td.number { (reference.draw(self.format, name, index, false)) }
                                td {}
                                td.strip { svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) aria-hidden="true" {
                                    (rule(line, x)) circle.base cx=(px(x.at(line))) cy="10" r="4.5" {}
                                } }
                            }
                            @for row in &self.rows[after..] { (self.row(row, line, x, index)) }
                        }
                    }
                }
            }
        }
    }

    fn row(&self, (name, cell): &(String, Cell), line: f64, x: Linear, index: &Index<'_>) -> Markup {
        let signed = Format { signed: true, ..self.format };
        html! {
            tr {
                th scope="row" title=(name) { (short(name, 40)) }
                td.number { (cell.draw(self.format, name, index, false)) }
                td.number { @if let Some(value) = cell.value { (signed.write(value - line)) } }
                td.strip { @if let Some(value) = cell.value {
                    svg.gain[value > line].loss[value < line] viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) aria-hidden="true" {
                        (rule(line, x))
                        line.stem x1=(px(x.at(line))) x2=(px(x.at(value))) y1="10" y2="10" {}
                        circle cx=(px(x.at(value))) cy="10" r="4.5" {}
                    }
                } }
            }
        }
    }
}

fn rule(line: f64, x: Linear) -> Markup {
    html! { line.rule x1=(px(x.at(line))) x2=(px(x.at(line))) y1="0" y2=(px(HEIGHT)) {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_stands_where_it_belongs_among_the_rows() {
        let row = |name: &str, value| (name.to_owned(), Cell::of(value));
        let dots = Dots {
            caption: String::new(),
            headings: ("source".to_owned(), "mean".to_owned()),
            reference: row("no transfer", 74.68),
            rows: vec![row("MNLI", 78.59), row("<i>", 70.8)],
            format: Format::plain(2),
        };
        let html = dots.draw(&Index::new(&[])).into_string();
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} in {html}"));
        assert!(at("MNLI") < at("no transfer") && at("no transfer") < at("&lt;i&gt;"));
        assert!(at("+3.91") < at("−3.88"));
    }
}
