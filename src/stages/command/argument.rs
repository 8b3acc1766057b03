//! An argument of a program: text with the names of files in braces, `--rows={rows.csv}`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// An argument, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The path of what has this name.
    Path(String),
}

impl Argument {
    /// Takes an argument apart; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut before, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            before.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                before.push_str(brace);
                rest = after;
                continue;
            }
            let hole = rest.split_once('}').filter(|(name, _)| brace == "{" && !name.contains('{'));
            let Some((name, after)) = hole else {
                return Err(format!(
                    "has a `{brace}` without its partner; write `{brace}{brace}` for a brace that is text"
                ));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut before)));
            }
            pieces.push(Piece::Path(name.to_owned()));
            rest = after;
        }
        before.push_str(rest);
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        Ok(Self(pieces))
    }

    /// The names in braces.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Path(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text, if no name is in it.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The argument with paths for names, all of which are known.
    pub(super) fn filled(&self, paths: &BTreeMap<String, PathBuf>) -> OsString {
        let mut filled = OsString::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push(text),
                Piece::Path(name) => filled.push(&paths[name]),
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_and_doubled_braces_text() {
        let paths = BTreeMap::from([("a.csv".to_owned(), PathBuf::from("/x/a.csv")), ("b".to_owned(), "/y".into())]);
        let filled = |text: &str| Argument::parse(text).unwrap().filled(&paths).into_string().unwrap();
        assert_eq!(filled("--in={a.csv}:{b}!"), "--in=/x/a.csv:/y!");
        assert_eq!(filled("{{print $1}} {{{b}}}"), "{print $1} {/y}");
        assert_eq!(filled(""), "");
        assert_eq!(Argument::parse("{{x}}").unwrap().plain(), Some("{x}"));
        assert_eq!(Argument::parse("{b}").unwrap().plain(), None);
    }

    #[test]
    fn a_brace_alone_is_refused() {
        for text in ["{print $1", "print $1}", "{a{b}"] {
            assert!(Argument::parse(text).unwrap_err().contains("without its partner"), "{text}");
        }
    }
}
