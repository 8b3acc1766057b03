//! Text of others for a terminal: names, labels and file names may hold escape sequences.

use std::borrow::Cow;
use std::fmt::Write;

/// The text without characters that steer a terminal: each stands there as it is written in a string, `\u{1b}`. Line ends and
/// tabs stay. What steers are control characters (ESC, BEL, a carriage return alone, and the ones from U+0080 to U+009F, of
/// which U+009B begins a sequence as ESC does), and the marks that turn the direction of a line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            write!(shown, "{}", c.escape_default()).expect("a string takes everything");
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same for a value in JSON, whose texts may hold such characters unescaped from U+007F on. It stays the same value.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        // Every one that steers is in the first plane, so four digits do.
        if steers(c) {
            write!(shown, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn steers(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let text = "a\tb\n\u{1b}[31mred\u{7}\r\u{9b}2J\u{7f}\u{0} é \u{202e}txt";
        assert_eq!(printable(text), "a\tb\n\\u{1b}[31mred\\u{7}\\r\\u{9b}2J\\u{7f}\\u{0} é \\u{202e}txt");
        assert!(matches!(printable("plain é\n"), Cow::Borrowed(_)));
        for code in (0..0xa0).filter_map(char::from_u32).filter(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            assert!(!printable(&format!("a{code}b")).contains(code), "{code:?}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{9b}": "\u{7f}\u{1b}\u{202e}\n\"", "b": 1});
        let json = serde_json::to_string(&value).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.contains(steers), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
