//! White space as T5's preprocessors of questions about texts have it (`_pad_punctuation`, `_string_join` of
//! `t5/data/preprocessors.py` in google-research/text-to-text-transfer-transformer).

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What becomes of white space in the inputs of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// It stays.
    #[default]
    Kept,
    /// Any run of it is one space.
    Single,
    /// The same, and marks of ASCII punctuation in columns stand between spaces.
    Punctuation,
}

impl Spacing {
    /// Whether texts stay as they are.
    pub(super) fn is_kept(&self) -> bool {
        *self == Self::Kept
    }

    /// The text of a column.
    pub(super) fn of_column(self, text: &str) -> Cow<'_, str> {
        if self == Self::Punctuation { Cow::Owned(padded(text)) } else { Cow::Borrowed(text) }
    }

    /// A whole input, of columns that have this spacing.
    pub(super) fn of_input(self, text: String) -> String {
        if self.is_kept() { text } else { collapsed(&text) }
    }
}

/// Spaces around every ASCII punctuation mark, and one space for any run of white space, also at the ends.
pub(super) fn padded(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    collapsed(&spaced)
}

/// One space for any run of the white space that RE2's `\s` matches.
pub(super) fn collapsed(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if !matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c') {
            result.push(c);
        } else if !result.ends_with(' ') {
            result.push(' ');
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_stands_between_single_spaces() {
        assert_eq!(padded("It's  $12.\nYes"), "It ' s $ 12 . Yes");
        assert_eq!(padded("(a)"), " ( a ) ");
        assert_eq!(collapsed(" a\u{a0} \t b "), " a\u{a0} b ");
    }
}
