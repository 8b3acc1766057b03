//! Learning curves side by side, a panel for each task and a line for each run.

use super::cell::Format;
use super::record::Index;
use super::scale::Linear;
use super::scatter::{axes, px};
use maud::{Markup, html};

/// Panels with axes of their own: tasks differ in scores, and runs in length.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// What it shows.
    pub caption: String,
    /// What the horizontal axis is: `step`.
    pub x: String,
    /// What the vertical axis is: `score`.
    pub y: String,
    /// What lines may be; the colour and the dashes of a line are those of its group. At most [`GROUPS`].
    pub groups: Vec<String>,
    /// In the order in which they stand.
    pub panels: Vec<CurvePanel>,
}

/// Lines of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePanel {
    /// Task.
    pub title: String,
    /// Its runs.
    pub lines: Vec<Curve>,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The job.
    pub name: String,
    /// Its group's number.
    pub group: usize,
    /// Steps and scores, by step.
    pub points: Vec<(f64, f64)>,
    /// Digests of what it was read from.
    pub from: Vec<String>,
}

/// Groups that can be told apart.
pub const GROUPS: usize = 4;

/// Points drawn of a line; of longer ones only every n-th.
const MOST: usize = 240;

const WIDTH: f64 = 270.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 42.0;
const BOTTOM: f64 = 24.0;
const MARGIN: f64 = 10.0;

impl Curves {
    pub(super) fn draw(&self, index: &Index<'_>) -> Markup {
        html! {
            figure {
                figcaption { (self.caption) }
                p.axes { "Across: " (self.x) ". Up: " (self.y) ". Scales differ. A dot marks the highest value of a run." }
                @if self.groups.len() > 1 {
                    ul.keys {
                        @for (at, group) in self.groups.iter().enumerate() {
                            li {
                                svg viewBox="0 0 26 8" aria-hidden="true" { path class=(class(at)) d="M1 4H25" {} }
                                (group)
                            }
                        }
                    }
                }
                div.panels {
                    @for panel in &self.panels {
                        div.panel { h3 { (panel.title) } (self.panel(panel, index)) }
                    }
                }
                (self.table())
            }
        }
    }

    fn panel(&self, panel: &CurvePanel, index: &Index<'_>) -> Markup {
        let steps = panel.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
        let x = Linear::around(steps, (LEFT, WIDTH - MARGIN));
        let heights = panel.lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
        let y = Linear::around(heights, (HEIGHT - BOTTOM, MARGIN));
        let label = format!("{}: {} over {} of {} runs", panel.title, self.y, self.x, panel.lines.len());
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="group" aria-label=(label) data-walk="line" {
                (axes(x, y))
                @for line in &panel.lines {
                    @if let Some(best) = best(&line.points) {
                        @let title = format!("{}: {} at {} {}", line.name, Format::plain(1).write(best.1), self.x, best.0);
                        g.curve tabindex="0" role=(if line.from.is_empty() { "img" } else { "button" })
                            aria-label=(title) data-tip=(title) data-title=(title)
                            data-from=[(!line.from.is_empty()).then(|| index.places(&line.from))] {
                            path.hit d=(path(&line.points, x, y)) {}
                            path class=(class(line.group)) d=(path(&line.points, x, y)) {}
                            circle class=(class(line.group)) cx=(px(x.at(best.0))) cy=(px(y.at(best.1))) r="2.5" {}
                        }
                    }
                }
            }
        }
    }

    /// The same in numbers, as far as people would read it off the lines.
    fn table(&self) -> Markup {
        html! {
            details {
                summary { "The curves in numbers" }
                div.scroll tabindex="0" role="region" aria-label="The curves in numbers" {
                    table.plain {
                        thead { tr {
                            th scope="col" { "Run" } th.number scope="col" { "Highest" }
                            th.number scope="col" { "at " (self.x) } th.number scope="col" { "Last" }
                        } }
                        tbody {
                            @for line in self.panels.iter().flat_map(|panel| &panel.lines) {
                                @if let (Some(best), Some(last)) = (best(&line.points), line.points.last()) {
                                    tr {
                                        th scope="row" { (line.name) }
                                        td.number { (Format::plain(1).write(best.1)) }
                                        td.number { (Format::plain(0).write(best.0)) }
                                        td.number { (Format::plain(1).write(last.1)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class(group: usize) -> String {
    format!("line g{}", group.min(GROUPS - 1))
}

/// The first of the highest points.
fn best(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let finite = points.iter().filter(|point| point.0.is_finite() && point.1.is_finite());
    finite.copied().reduce(|best, point| if point.1 > best.1 { point } else { best })
}

fn path(points: &[(f64, f64)], x: Linear, y: Linear) -> String {
    let every = points.len().div_ceil(MOST).max(1);
    let drawn = points.iter().enumerate().filter(|(at, _)| at % every == 0 || at + 1 == points.len());
    let drawn = drawn.filter(|(_, point)| point.0.is_finite() && point.1.is_finite());
    let places = drawn.map(|(_, point)| format!("{} {}", px(x.at(point.0)), px(y.at(point.1))));
    let places: Vec<String> = places.collect();
    if places.len() == 1 { format!("M{0}L{0}", places[0]) } else { format!("M{}", places.join("L")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_but_keep_their_ends() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        let scale = Linear { domain: (0.0, 9999.0), range: (0.0, 9999.0) };
        let path = path(&points, scale, scale);
        assert!(path.matches('L').count() <= MOST + 1);
        assert!(path.starts_with("M0.0 ") && path.contains("L9999.0 "));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        assert_eq!(best(&[(0.0, f64::NAN), (1.0, 50.0), (2.0, 60.0), (3.0, 60.0)]), Some((2.0, 60.0)));
        assert_eq!(best(&[]), None);
        let line = Curve { name: "<b>".into(), group: 9, points: vec![(0.0, 1.0), (1.0, f64::NAN)], from: vec![] };
        let panel = CurvePanel { title: "t".into(), lines: vec![line] };
        let names = ["step", "score"].map(str::to_owned);
        let [x, y] = names;
        let curves = Curves { caption: String::new(), x, y, groups: vec![], panels: vec![panel] };
        let html = curves.draw(&Index::new(&[])).into_string();
        assert!(!html.contains("NaN") && !html.contains("<b>"), "{html}");
    }
}
