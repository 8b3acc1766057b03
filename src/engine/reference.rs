//! References to jobs: `stage`, `stage[mnli,0]`, `stage[*,0]`, `stage[seed=0]`, `stage[mnli].curve`.

use super::problem::{nearest, suggestion};

/// A reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) stage: &'a str,
    /// A pattern for each matrix key; `None` if there are no brackets.
    pub(super) pattern: Option<Pattern<'a>>,
    pub(super) output: Option<&'a str>,
}

/// Which values of a matrix are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// In the order of the keys; `*` for any.
    Places(Vec<&'a str>),
    /// By key; any value for the others.
    Named(Vec<(&'a str, &'a str)>),
}

/// Takes a reference apart.
pub(super) fn parse(text: &str) -> Result<Reference<'_>, String> {
    let wrong = || format!("`{text}` is no reference; expected `stage`, `stage[value,value]` or `stage[value].output`");
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

impl Pattern<'_> {
    /// Which of `jobs` (values by key, in the order of `keys`) are meant, and whether several may be.
    pub(super) fn select(
        &self,
        stage: &str,
        keys: &[String],
        jobs: &[Vec<String>],
    ) -> Result<(Vec<usize>, bool), String> {
        let wanted: Vec<&str> = match self {
            Self::Places(places) if places.len() == keys.len() => places.clone(),
            Self::Places(places) if *places == ["*"] => vec!["*"; keys.len()],
            Self::Places(places) => {
                return Err(format!(
                    "`{stage}` has {}, but {} given",
                    count(keys),
                    if places.len() == 1 { "1 value is".to_owned() } else { format!("{} values are", places.len()) }
                ));
            }
            Self::Named(named) => {
                if let Some((key, _)) = named.iter().find(|(key, _)| !keys.iter().any(|known| known == key)) {
                    let known = suggestion(key, keys.iter().map(String::as_str));
                    return Err(format!("`{stage}` has no matrix key `{key}`{known}"));
                }
                let value = |key: &String| named.iter().find(|(name, _)| name == key).map_or("*", |(_, value)| *value);
                keys.iter().map(value).collect()
            }
        };
        for (place, (value, key)) in wanted.iter().zip(keys).enumerate() {
            if *value != "*" && !jobs.iter().any(|job| job[place] == *value) {
                let mut known: Vec<&str> = jobs.iter().map(|job| job[place].as_str()).collect();
                known.dedup();
                let hint = match nearest(value, known.iter().copied()) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None => suggestion(value, known.iter().copied()),
                };
                return Err(format!("`{stage}` has no job with `{key}` {value}{hint}"));
            }
        }
        let fits = |job: &Vec<String>| wanted.iter().zip(job).all(|(wanted, value)| *wanted == "*" || wanted == value);
        let found: Vec<usize> = (0..jobs.len()).filter(|i| fits(&jobs[*i])).collect();
        if found.is_empty() {
            return Err(format!("`{stage}` has no job [{}]", wanted.join(",")));
        }
        Ok((found, wanted.contains(&"*")))
    }
}

fn count(keys: &[String]) -> String {
    match keys {
        [] => "no matrix".to_owned(),
        [one] => format!("1 matrix key ({one})"),
        many => format!("{} matrix keys ({})", many.len(), many.join(", ")),
    }
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

    #[test]
    fn a_pattern_selects_jobs_or_says_what_is_wrong() {
        let keys = ["task".to_owned(), "seed".to_owned()];
        let jobs: Vec<Vec<String>> =
            [["mnli", "0"], ["mnli", "1"], ["rte", "0"]].map(|job| job.map(str::to_owned).to_vec()).to_vec();
        let select = |text: &'static str| parse(text).unwrap().pattern.unwrap().select("s", &keys, &jobs);
        assert_eq!(select("s[mnli,1]").unwrap(), (vec![1], false));
        assert_eq!(select("s[*]").unwrap(), (vec![0, 1, 2], true));
        assert_eq!(select("s[*,0]").unwrap(), (vec![0, 2], true));
        assert_eq!(select("s[seed=0]").unwrap(), (vec![0, 2], true));
        assert_eq!(select("s[mnil,0]").unwrap_err(), "`s` has no job with `task` mnil; did you mean `mnli`?");
        assert_eq!(select("s[rte,1]").unwrap_err(), "`s` has no job [rte,1]");
        assert_eq!(select("s[rte]").unwrap_err(), "`s` has 2 matrix keys (task, seed), but 1 value is given");
    }
}
