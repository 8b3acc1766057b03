//! Numbers as they stand in tables and heatmaps, and what stands behind them.

use super::record::Index;
use maud::{Markup, html};

/// A number of the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// `None` where there is none to show.
    pub value: Option<f64>,
    /// Standard deviation.
    pub deviation: Option<f64>,
    /// Digests of the records that it was computed from; see [`Record`](super::Record).
    pub from: Vec<String>,
    /// A sentence about it, such as how it was computed.
    pub note: String,
}

/// How the numbers of a column or a heatmap are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Digits after the point.
    pub decimals: usize,
    /// Whether positive numbers have a sign too.
    pub signed: bool,
}

impl Cell {
    /// A number of which nothing else is known.
    pub fn of(value: f64) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// A place without a number.
    pub fn missing() -> Self {
        Self::default()
    }

    /// The same with its standard deviation.
    pub fn with_deviation(mut self, deviation: Option<f64>) -> Self {
        self.deviation = deviation;
        self
    }

    /// The same with the digests of what it was computed from.
    pub fn from(mut self, digests: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.from = digests.into_iter().map(Into::into).collect();
        self
    }

    /// The same with a sentence about it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The number alone, in words for a title.
    pub(super) fn in_words(&self, format: Format) -> String {
        let value = self.value.map_or_else(|| MISSING.to_owned(), |value| format.write(value));
        match self.deviation {
            Some(deviation) => format!("{value} ± {}", Format { signed: false, ..format }.write(deviation)),
            None => value,
        }
    }

    /// The number, as a button where records stand behind it. `title` names the place: row and column.
    pub(super) fn draw(&self, format: Format, title: &str, index: &Index<'_>, with_deviation: bool) -> Markup {
        let Some(value) = self.value else {
            return html! {
                span.missing aria-label="no number" { (MISSING) }
                @if with_deviation { span.sd {} }
            };
        };
        let number = html! {
            (format.write(value))
            @if let Some(deviation) = self.deviation {
                span.sd { "±" (Format { signed: false, ..format }.write(deviation)) }
            } @else if with_deviation {
                span.sd {}
            }
        };
        if self.from.is_empty() && self.note.is_empty() {
            return number;
        }
        let title = format!("{title}: {}", self.in_words(format));
        html! {
            button type="button" data-from=(index.places(&self.from)) data-title=(title)
                data-note=[(!self.note.is_empty()).then_some(&self.note)] { (number) }
        }
    }
}

/// What is shown where there is no number.
pub(super) const MISSING: &str = "–";

impl Format {
    /// A number without a sign where it is not negative.
    pub const fn plain(decimals: usize) -> Self {
        Self { decimals, signed: false }
    }

    /// A number that always has a sign.
    pub const fn signed(decimals: usize) -> Self {
        Self { decimals, signed: true }
    }

    /// The number with a typographic minus; what rounds to nothing has no sign.
    pub fn write(self, value: f64) -> String {
        if !value.is_finite() {
            return MISSING.to_owned();
        }
        let digits = format!("{:.*}", self.decimals, value.abs());
        let is_zero = digits.bytes().all(|byte| byte == b'0' || byte == b'.');
        match (is_zero, value < 0.0, self.signed) {
            (true, ..) | (_, false, false) => digits,
            (_, true, _) => format!("−{digits}"),
            (_, false, true) => format!("+{digits}"),
        }
    }
}

/// A name in at most this many characters.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

/// A probability, as precise as it needs to be.
pub fn probability(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_real_minus_and_no_negative_zero() {
        assert_eq!(Format::signed(1).write(-254.794), "−254.8");
        assert_eq!(Format::signed(1).write(58.9), "+58.9");
        assert_eq!(Format::signed(1).write(-0.04), "0.0");
        assert_eq!(Format::signed(0).write(0.4), "0");
        assert_eq!(Format::plain(2).write(74.678), "74.68");
        assert_eq!(Format::plain(2).write(f64::NAN), "–");
    }

    #[test]
    fn long_names_are_cut_by_characters() {
        assert_eq!(short("Überprüfung", 6), "Überp…");
        assert_eq!(short("short", 5), "short");
    }

    #[test]
    fn small_probabilities_are_not_zero() {
        assert_eq!(probability(1e-9), "p < 0.001");
        assert_eq!(probability(0.0123), "p = 0.012");
    }
}
