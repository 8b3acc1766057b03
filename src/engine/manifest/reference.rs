//! References to jobs: `stage`, `stage[mnli,0]`, `stage[*,0]`, `stage[seed=0]`, `stage[mnli].curve`.

use super::problem::clipped;

/// A reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Reference<'a> {
    pub(in crate::engine) stage: &'a str,
    /// A pattern for each matrix key; `None` if there are no brackets.
    pub(in crate::engine) pattern: Option<Pattern<'a>>,
    pub(in crate::engine) output: Option<&'a str>,
}

/// Which values of a matrix are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Pattern<'a> {
    /// In the order of the keys; `*` for any.
    Places(Vec<&'a str>),
    /// By key; any value for the others.
    Named(Vec<(&'a str, &'a str)>),
}

/// Takes a reference apart.
pub(crate) fn parse(text: &str) -> Result<Reference<'_>, String> {
    let wrong = || {
        format!(
            "`{}` is not a reference; expected `stage`, `stage[value,value]` or `stage[value].output`",
            clipped(text)
        )
    };
    let (stage, rest) = match text.find(['[', '.']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (pattern, rest) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (inside, rest) = inner.split_once(']').ok_or_else(wrong)?;
            (Some(pattern(inside).ok_or_else(wrong)?), rest)
        }
        None => (None, rest),
    };
    let output = match rest {
        "" => None,
        _ => Some(rest.strip_prefix('.').filter(|output| !output.is_empty()).ok_or_else(wrong)?),
    };
    if stage.is_empty() { Err(wrong()) } else { Ok(Reference { stage, pattern, output }) }
}

fn pattern(inside: &str) -> Option<Pattern<'_>> {
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    if parts.iter().any(|part| part.contains('=')) {
        let named = parts.iter().map(|part| part.split_once('=').map(|(key, value)| (key.trim(), value.trim())));
        return Some(Pattern::Named(named.collect::<Option<_>>()?));
    }
    Some(Pattern::Places(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let places = |places: &[&'static str]| Some(Pattern::Places(places.to_vec()));
        assert_eq!(parse("a").unwrap(), Reference { stage: "a", pattern: None, output: None });
        assert_eq!(parse("a.b").unwrap(), Reference { stage: "a", pattern: None, output: Some("b") });
        let full = parse("a[x, *].b").unwrap();
        assert_eq!(full, Reference { stage: "a", pattern: places(&["x", "*"]), output: Some("b") });
        let named = parse("a[seed=0]").unwrap();
        assert_eq!(named.pattern, Some(Pattern::Named(vec![("seed", "0")])));
        for wrong in ["", "[x]", "a[x", "a[]", "a.", "a[x]b", "a[x,,y]"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
