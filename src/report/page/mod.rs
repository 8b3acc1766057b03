//! A page of results: one file of HTML with its figures inside, which needs no network and runs nothing but its own script.
//!
//! [`Page`] is plain data; what fills it is elsewhere. Every text is escaped where it is drawn, since names come from manifests
//! and files of others.

mod cell;
mod curves;
mod dag;
mod dendrogram;
mod dots;
mod heatmap;
mod record;
mod scale;
mod scatter;
mod table;

pub use cell::{Cell, Format, probability};
pub use curves::{Curve, CurvePanel, Curves, GROUPS};
pub use dag::{Dag, Node, NodeState};
pub use dots::Dots;
pub use heatmap::Heatmap;
pub use record::{Record, RecordInput};
pub use scale::Colours;
pub use scatter::{Panel, Scatter, ScatterPoint};
pub use table::{Column, Gain, Row, Table, Value};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use record::Index;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Title.
    pub title: String,
    /// What it is about, in a sentence or two.
    pub lead: String,
    /// Where it comes from: pipeline, split, version of the program.
    pub about: Vec<(String, String)>,
    /// What a reader should know before believing a number.
    pub notices: Vec<String>,
    /// Its parts.
    pub sections: Vec<Section>,
    /// What its numbers were computed from.
    pub records: Vec<Record>,
}

/// A part of a page with a heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its anchor: letters and hyphens, once in a page.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What to see in it.
    pub lead: String,
    /// Figures and tables.
    pub blocks: Vec<Block>,
}

/// What a section holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A few numbers with names, in large type.
    Facts(Vec<(String, Cell, Format)>),
    /// Parts of a whole as one bar: name and count.
    Shares(Vec<(String, usize)>),
    /// A table.
    Table(Table),
    /// A heatmap.
    Heatmap(Heatmap),
    /// A ranking.
    Dots(Dots),
    /// Scatter plots.
    Scatter(Scatter),
    /// Learning curves.
    Curves(Curves),
    /// Stages.
    Dag(Dag),
}

impl Page {
    /// The page as HTML. Equal pages give equal bytes.
    pub fn to_html(&self) -> String {
        let index = Index::new(&self.records);
        let body = self.body(&index).into_string();
        // A script or style that somebody smuggled in would have to name the hash of a page that holds it.
        let nonce = blake3::hash(body.as_bytes()).to_hex()[..32].to_owned();
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
        );
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    title { (self.title) }
                    style nonce=(nonce) { (PreEscaped(STYLE)) }
                }
                body {
                    (PreEscaped(body))
                    script nonce=(nonce) { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string() + "\n"
    }

    fn body(&self, index: &Index<'_>) -> Markup {
        html! {
            a.skip href="#main" { "Skip to the results" }
            header.top {
                h1 { (self.title) }
                p.lead { (self.lead) }
                @if !self.about.is_empty() {
                    dl.about { @for (name, value) in &self.about { div { dt { (name) } dd { (value) } } } }
                }
                button.theme type="button" id="theme" hidden {}
            }
            div.frame {
                nav aria-label="Sections" {
                    ul {
                        @for section in &self.sections { li { a href=(format!("#{}", section.id)) { (section.title) } } }
                        @if !self.records.is_empty() { li { a href="#sources" { "Sources of the numbers" } } }
                    }
                }
                main id="main" tabindex="-1" {
                    @if !self.notices.is_empty() {
                        aside.notices aria-label="Before you believe a number" {
                            h2 { "Before you believe a number" }
                            ul { @for notice in &self.notices { li { (notice) } } }
                        }
                    }
                    @for section in &self.sections {
                        section id=(section.id) aria-labelledby=(format!("{}-title", section.id)) {
                            h2 id=(format!("{}-title", section.id)) { (section.title) }
                            @if !section.lead.is_empty() { p.lead { (section.lead) } }
                            @for block in &section.blocks { (block.draw(index)) }
                        }
                    }
                    @if !self.records.is_empty() {
                        section id="sources" aria-labelledby="sources-title" {
                            h2 id="sources-title" { "Sources of the numbers" }
                            p.lead {
                                "Most numbers can be opened: click one, or move to it with Tab and the arrow keys and press "
                                "Enter. What made it is shown, and what that was made from."
                            }
                            (index.to_table())
                        }
                    }
                }
            }
            dialog id="provenance" aria-labelledby="provenance-title" {
                div.bar {
                    h2 id="provenance-title" {}
                    button type="button" id="provenance-close" { "Close" }
                }
                p id="provenance-note" {}
                div id="provenance-records" {}
            }
            div id="tip" aria-hidden="true" hidden {}
            (index.to_script())
        }
    }
}

impl Block {
    fn draw(&self, index: &Index<'_>) -> Markup {
        match self {
            Self::Text(text) => html! { p { (text) } },
            Self::Facts(facts) => facts_in_large(facts, index),
            Self::Shares(shares) => bar(shares),
            Self::Table(table) => table.draw(index),
            Self::Heatmap(heatmap) => heatmap.draw(index),
            Self::Dots(dots) => dots.draw(index),
            Self::Scatter(scatter) => scatter.draw(index),
            Self::Curves(curves) => curves.draw(index),
            Self::Dag(dag) => dag.draw(),
        }
    }
}

fn facts_in_large(facts: &[(String, Cell, Format)], index: &Index<'_>) -> Markup {
    html! {
        dl.facts {
            @for (name, cell, format) in facts {
                div { dt { (name) } dd { (cell.draw(*format, name, index, false)) } }
            }
        }
    }
}

/// Parts side by side, their names and counts below. At most three have patterns of their own: gain, neutral, loss.
fn bar(shares: &[(String, usize)]) -> Markup {
    let total = shares.iter().map(|(_, n)| n).sum::<usize>().max(1) as f64;
    let starts = shares.iter().scan(0, |sum, (_, n)| Some(std::mem::replace(sum, *sum + n)));
    let share = |n: usize| format!("{:.3}%", 100.0 * n as f64 / total);
    html! {
        figure.shares {
            svg width="100%" height="14" aria-hidden="true" {
                @for ((at, (_, n)), start) in shares.iter().enumerate().zip(starts) {
                    rect class=(format!("part-{}", at % 3)) x=(share(start)) width=(share(*n)) height="14" {}
                }
            }
            ul.keys {
                @for (at, (name, n)) in shares.iter().enumerate() {
                    li {
                        svg viewBox="0 0 10 10" aria-hidden="true" {
                            rect class=(format!("part-{}", at % 3)) width="10" height="10" {}
                        }
                        strong { (n) } " " (name)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evil() -> String {
        "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>\" onfocus=\"alert(1)".to_owned()
    }

    #[test]
    fn nothing_that_comes_from_outside_becomes_markup() {
        let table = Table {
            caption: evil(),
            columns: vec![Column::new(evil(), Format::plain(1)), Column::new(evil(), Format::plain(1))],
            rows: vec![Row {
                group: evil(),
                name: evil(),
                values: vec![Value::Number(Cell::of(1.0).from([evil()]).note(evil()))],
                is_reference: false,
            }],
        };
        let blocks = vec![
            Block::Text(evil()),
            Block::Facts(vec![(evil(), Cell::of(1.0).from([evil()]), Format::plain(1))]),
            Block::Shares(vec![(evil(), 3)]),
            Block::Table(table),
        ];
        let record = Record {
            digest: evil(),
            name: evil(),
            kind: evil(),
            notes: vec![(evil(), evil())],
            inputs: vec![RecordInput { role: evil(), what: evil(), digest: None }],
            ..Record::default()
        };
        let page = Page {
            title: evil(),
            lead: evil(),
            about: vec![(evil(), evil())],
            notices: vec![evil()],
            sections: vec![Section { id: "s", title: evil(), lead: evil(), blocks }],
            records: vec![record],
        };
        let html = page.to_html();
        assert!(!html.contains("<script>") && !html.contains("<img") && !html.contains("\" onfocus=\""));
        assert_eq!(html.matches("</script>").count(), 2, "that of the records and that of the page");
    }

    #[test]
    fn a_page_is_allowed_to_run_its_own_script_only_and_to_load_nothing() {
        let html = Page::default().to_html();
        let nonce = html.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert!(html.contains("default-src &#39;none&#39;") || html.contains("default-src 'none'"));
        assert_eq!(html.matches(&format!("nonce=\"{nonce}\"")).count(), 2, "the style and the script");
        for outside in ["http:", "https:", "url(", "@import", "eval(", "innerHTML", " style=\""] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn equal_pages_are_equal_bytes_and_other_pages_have_other_nonces() {
        let other = Page { title: "x".to_owned(), ..Page::default() };
        assert_eq!(other.to_html(), other.clone().to_html());
        let nonce = |html: String| html.split("'nonce-").nth(1).unwrap()[..32].to_owned();
        assert_ne!(nonce(other.to_html()), nonce(Page::default().to_html()));
    }

    /// A colour of the style sheet in light and dark.
    fn colours(name: &str) -> [[f64; 3]; 2] {
        let start = format!("{name}: light-dark(");
        let value =
            STYLE.split(&start).nth(1).unwrap_or_else(|| panic!("no colour `{name}`")).split(')').next().unwrap();
        let colours: Vec<[f64; 3]> = value.split(',').map(|hex| parse(hex.trim())).collect();
        [colours[0], colours[1]]
    }

    fn parse(hex: &str) -> [f64; 3] {
        assert_eq!(hex.len(), 7, "{hex}");
        [1, 3, 5].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0)
    }

    /// The contrast of two colours as WCAG 2 defines it.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |colour: [f64; 3]| {
            let linear = colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_can_be_read_on_its_ground_in_light_and_dark() {
        let mut pairs: Vec<(String, String, f64)> = Vec::new();
        for colours in [Colours::Diverging { limit: 1.0 }, Colours::Sequential { low: 0.0, high: 1.0 }] {
            let classes = colours.classes().into_iter();
            pairs.extend(classes.map(|class| (format!("--{class}"), format!("--{class}-text"), 4.5)));
        }
        for text in ["--ink", "--muted", "--link"] {
            pairs.push(("--paper".to_owned(), text.to_owned(), 4.5));
            pairs.push(("--panel".to_owned(), text.to_owned(), 4.5));
        }
        for mark in ["--gain", "--loss", "--done", "--open", "--stop", "--g0", "--g1", "--g2", "--g3"] {
            pairs.push(("--paper".to_owned(), mark.to_owned(), 3.0));
        }
        for (ground, text, least) in pairs {
            let (grounds, texts) = (colours(&ground), colours(&text));
            for theme in 0..2 {
                let found = contrast(grounds[theme], texts[theme]);
                assert!(found >= least, "{text} on {ground}, theme {theme}: {found:.2}, expected {least}");
            }
        }
    }
}
