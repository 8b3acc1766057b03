//! Text with names in braces: `title: {title}`, `--rows={rows.csv}`.

/// A text, taken apart at its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Braces {
    /// Text in front of each name, and the name.
    holes: Vec<(String, String)>,
    /// Text after the last name.
    rest: String,
}

/// A part of such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

impl Braces {
    /// Takes a text apart; `{{` and `}}` stand for braces. Names are what is between the braces, whatever that is.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut holes, mut before, mut rest) = (Vec::new(), String::new(), text);
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
            holes.push((std::mem::take(&mut before), name.to_owned()));
            rest = after;
        }
        before.push_str(rest);
        Ok(Self { holes, rest: before })
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.holes.iter().map(|(_, name)| name.as_str())
    }

    /// The text, if no name is in it.
    pub(crate) fn plain(&self) -> Option<&str> {
        self.holes.is_empty().then_some(&self.rest)
    }

    /// Texts and names, in order; a text may be empty.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let holes = self.holes.iter().flat_map(|(before, name)| [Piece::Text(before), Piece::Name(name)]);
        holes.chain([Piece::Text(&self.rest)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_doubled_braces_are_told_apart() {
        let braces = Braces::parse("{{{a}}} b: { long name }, again {a}!").unwrap();
        assert_eq!(braces.names().collect::<Vec<_>>(), ["a", " long name ", "a"]);
        let shown = braces.pieces().map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Name(name) => format!("<{name}>"),
        });
        assert_eq!(shown.collect::<String>(), "{<a>} b: < long name >, again <a>!");
        assert_eq!(braces.plain(), None);
        assert_eq!(Braces::parse("{{x}}").unwrap().plain(), Some("{x}"));
        assert_eq!(Braces::parse("").unwrap().plain(), Some(""));
    }

    #[test]
    fn a_brace_alone_is_refused() {
        let error = |text: &str| Braces::parse(text).unwrap_err();
        assert!(error("{a").starts_with("has a `{` without its partner; write `{{`"));
        assert!(error("a} {b}").starts_with("has a `}` without its partner; write `}}`"));
        assert!(error("{a {b}").starts_with("has a `{` without its partner"));
    }
}
