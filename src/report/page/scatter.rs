//! Scatter plots side by side: similarity against what transfer gained, a panel for each target.

use super::cell::{Format, short};
use super::record::Index;
use super::scale::Linear;
use maud::{Markup, html};

/// Panels with a common horizontal axis, and a vertical one each.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// What it shows.
    pub caption: String,
    /// What the horizontal axis is.
    pub x: String,
    /// What the vertical axis is.
    pub y: String,
    /// In the order in which they stand.
    pub panels: Vec<Panel>,
}

/// Points of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Target.
    pub title: String,
    /// Correlation and the like.
    pub note: String,
    /// Whether the line through the points is more than chance; it is dashed otherwise.
    pub is_significant: bool,
    /// The points.
    pub points: Vec<ScatterPoint>,
}

/// A point of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterPoint {
    /// Source.
    pub name: String,
    /// Place on the horizontal axis.
    pub x: f64,
    /// Place on the vertical axis.
    pub y: f64,
    /// Digests of what it was computed from.
    pub from: Vec<String>,
}

const WIDTH: f64 = 270.0;
const HEIGHT: f64 = 190.0;
/// Room for the labels of the axes.
const LEFT: f64 = 42.0;
const BOTTOM: f64 = 24.0;
const MARGIN: f64 = 10.0;

impl Scatter {
    pub(super) fn draw(&self, index: &Index<'_>) -> Markup {
        let every = self.panels.iter().flat_map(|panel| panel.points.iter().map(|point| point.x));
        let x = Linear::around(every, (LEFT, WIDTH - MARGIN));
        html! {
            figure {
                figcaption { (self.caption) }
                p.axes { "Across: " (self.x) ". Up: " (self.y) "." }
                div.panels {
                    @for panel in &self.panels {
                        div.panel {
                            h3 { (panel.title) }
                            p.panel-note { (panel.note) }
                            (self.panel(panel, x, index))
                        }
                    }
                }
            }
        }
    }

    fn panel(&self, panel: &Panel, x: Linear, index: &Index<'_>) -> Markup {
        let heights = panel.points.iter().map(|point| point.y).chain([0.0]);
        let y = Linear::around(heights, (HEIGHT - BOTTOM, MARGIN));
        let label = format!(
            "{}: {}. {} against {} of {} sources.",
            panel.title,
            panel.note,
            self.y,
            self.x,
            panel.points.len()
        );
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="group" aria-label=(label) data-walk="line" {
                (axes(x, y))
                @if let Some((from, to)) = fit(&panel.points).and_then(|line| between(line, y.domain)) {
                    line.fit.weak[!panel.is_significant] x1=(px(x.at(from.0))) y1=(px(y.at(from.1)))
                        x2=(px(x.at(to.0))) y2=(px(y.at(to.1))) {}
                }
                @for point in sorted(&panel.points) {
                    @let title = self.title(panel, point);
                    circle.point.gain[point.y > 0.0] cx=(px(x.at(point.x))) cy=(px(y.at(point.y))) r="4" tabindex="0"
                        role=(if point.from.is_empty() { "img" } else { "button" }) aria-label=(title) data-tip=(title)
                        data-title=(title) data-from=[(!point.from.is_empty()).then(|| index.places(&point.from))] {}
                }
                (extremes(&panel.points, x, y))
            }
        }
    }

    fn title(&self, panel: &Panel, point: &ScatterPoint) -> String {
        let (x, y) = (Format::plain(3).write(point.x), Format::signed(1).write(point.y));
        format!("{} → {}: {x}, {y} %", point.name, panel.title)
    }
}

/// From left to right, which is how the keys walk through them.
fn sorted(points: &[ScatterPoint]) -> Vec<&ScatterPoint> {
    let mut sorted: Vec<_> = points.iter().filter(|point| point.x.is_finite() && point.y.is_finite()).collect();
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x));
    sorted
}

/// Names beside the highest and the lowest point.
fn extremes(points: &[ScatterPoint], x: Linear, y: Linear) -> Markup {
    let sorted = sorted(points);
    let high = sorted.iter().max_by(|a, b| a.y.total_cmp(&b.y));
    let low = sorted.iter().min_by(|a, b| a.y.total_cmp(&b.y)).filter(|_| sorted.len() > 1);
    html! {
        @for point in high.into_iter().chain(low) {
            @let at = x.at(point.x);
            @let leftwards = at > (LEFT + WIDTH) / 2.0;
            // Not across the axis.
            @let height = (y.at(point.y) + 3.5).min(HEIGHT - BOTTOM - 4.0);
            text.name x=(px(if leftwards { at - 7.0 } else { at + 7.0 })) y=(px(height))
                text-anchor=(if leftwards { "end" } else { "start" }) aria-hidden="true" { (short(&point.name, 18)) }
        }
    }
}

/// Ticks of both axes, and a stronger line where nothing was gained.
pub(super) fn axes(x: Linear, y: Linear) -> Markup {
    let ((across, x_decimals), (up, y_decimals)) = (x.ticks(4), y.ticks(4));
    let (left, right) = x.range;
    let (bottom, _) = y.range;
    html! {
        g.axes aria-hidden="true" {
            @for tick in &up {
                line.zero[*tick == 0.0] x1=(px(left)) x2=(px(right)) y1=(px(y.at(*tick))) y2=(px(y.at(*tick))) {}
                text x=(px(left - 6.0)) y=(px(y.at(*tick) + 3.5)) text-anchor="end" {
                    (Format::plain(y_decimals).write(*tick))
                }
            }
            @for tick in &across {
                line.tick x1=(px(x.at(*tick))) x2=(px(x.at(*tick))) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                text x=(px(x.at(*tick))) y=(px(bottom + 16.0)) text-anchor="middle" { (compact(*tick, x_decimals)) }
            }
            line.tick x1=(px(left)) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
        }
    }
}

/// A tick: thousands as `k`.
fn compact(number: f64, decimals: usize) -> String {
    if number.abs() >= 1000.0 && number % 100.0 == 0.0 {
        let thousands = number / 1000.0;
        return format!("{}k", Format::plain(usize::from(thousands.fract() != 0.0)).write(thousands));
    }
    Format::plain(decimals).write(number)
}

/// The ends of a straight line.
type Line = ((f64, f64), (f64, f64));

/// The line of least squares; none where all points stand above each other.
fn fit(points: &[ScatterPoint]) -> Option<Line> {
    let points = sorted(points);
    let n = points.len() as f64;
    let (first, last) = (points.first()?.x, points.last()?.x);
    if points.len() < 3 || first == last {
        return None;
    }
    let mean_x = points.iter().map(|point| point.x).sum::<f64>() / n;
    let mean_y = points.iter().map(|point| point.y).sum::<f64>() / n;
    let slope = points.iter().map(|point| (point.x - mean_x) * (point.y - mean_y)).sum::<f64>()
        / points.iter().map(|point| (point.x - mean_x).powi(2)).sum::<f64>();
    let at = |x: f64| (x, mean_y + slope * (x - mean_x));
    Some((at(first), at(last)))
}

/// The part of a line between two heights.
fn between((from, to): Line, (low, high): (f64, f64)) -> Option<Line> {
    let rise = to.1 - from.1;
    let share = |height: f64| if rise == 0.0 { 0.0 } else { ((height - from.1) / rise).clamp(0.0, 1.0) };
    let at = |share: f64| (from.0 + share * (to.0 - from.0), from.1 + share * rise);
    let (start, end) = if rise < 0.0 { (share(high), share(low)) } else { (share(low), share(high)) };
    match rise {
        0.0 => (low..=high).contains(&from.1).then_some((from, to)),
        _ => (start < end).then(|| (at(start), at(end))),
    }
}

/// A place in a drawing; a tenth of a pixel is enough.
pub(super) fn px(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, x: f64, y: f64) -> ScatterPoint {
        ScatterPoint { name: name.to_owned(), x, y, from: Vec::new() }
    }

    #[test]
    fn the_line_goes_through_points_on_a_line() {
        let (from, to) = fit(&[point("a", 1.0, 3.0), point("b", 2.0, 5.0), point("c", 4.0, 9.0)]).unwrap();
        assert!((from.1 - 3.0).abs() < 1e-12 && (to.1 - 9.0).abs() < 1e-12, "{from:?} {to:?}");
        assert_eq!(fit(&[point("a", 1.0, 3.0), point("b", 1.0, 5.0), point("c", 1.0, 9.0)]), None);
    }

    #[test]
    fn a_line_ends_where_its_panel_does() {
        let rising = ((0.0, -10.0), (4.0, 10.0));
        assert_eq!(between(rising, (-20.0, 20.0)), Some(rising));
        assert_eq!(between(rising, (-5.0, 5.0)), Some(((1.0, -5.0), (3.0, 5.0))));
        assert_eq!(between(((0.0, 10.0), (4.0, -10.0)), (-5.0, 20.0)), Some(((0.0, 10.0), (3.0, -5.0))));
        let level = ((0.0, 1.0), (4.0, 1.0));
        assert_eq!((between(level, (0.0, 2.0)), between(level, (2.0, 3.0))), (Some(level), None));
        assert_eq!(between(rising, (11.0, 12.0)), None);
    }

    #[test]
    fn points_are_inside_and_names_are_text() {
        let points = vec![point("<b>", 0.1, -254.8), point("b", 0.4, 58.9), point("c", f64::NAN, 1.0)];
        let panel = Panel { title: "<script>".into(), note: String::new(), is_significant: false, points };
        let scatter = Scatter { caption: String::new(), x: "x".into(), y: "y".into(), panels: vec![panel] };
        let html = scatter.draw(&Index::new(&[])).into_string();
        assert!(!html.contains("<b>") && !html.contains("<script>") && !html.contains("NaN"), "{html}");
        assert_eq!(html.matches("<circle").count(), 2, "a point without a place is not drawn");
        for circle in html.split("<circle").skip(1) {
            let number = |name: &str| -> f64 {
                circle.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
            };
            assert!((LEFT..=WIDTH).contains(&number("cx")) && (0.0..=HEIGHT - BOTTOM).contains(&number("cy")));
        }
    }

    #[test]
    fn thousands_are_short() {
        assert_eq!(compact(30_000.0, 0), "30k");
        assert_eq!(compact(2500.0, 0), "2.5k");
        assert_eq!(compact(512.0, 0), "512");
    }
}
