//! Labels of a column whose numbers have names: `0` is `entailment`.

use crate::ml::tasks::{Labels, Value, shortened};

/// How a file holds the labels of such a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// As numbers alone.
    Numbers,
    /// As numbers or as names: text has both.
    Either,
}

/// The labels of a column with these names, by number and, if files may hold them, by name: with the words that are written, or else
/// with the names themselves.
///
/// # Errors
/// What is wrong with the words, or can be read in two ways.
pub(super) fn labels(written: Option<&Labels>, names: &[String], held: Held) -> Result<Labels, String> {
    let pairs: Vec<(usize, String)> = match written {
        None => names.iter().cloned().enumerate().collect(),
        Some(Labels::Words(words)) => of_list(words, names)?,
        Some(Labels::Values(values)) => of_mapping(values, names)?,
    };
    let mut all: Vec<(String, String)> = pairs.iter().map(|(at, word)| (at.to_string(), word.clone())).collect();
    if let Some(Labels::Values(values)) = written {
        all.extend(values.iter().filter(|(key, _)| is_minus_one(key)).cloned());
    }
    if held == Held::Either {
        for (at, word) in pairs {
            match place(&names[at], names.len()) {
                Some(other) if other != at => return Err(two_numbers(at, other, names)),
                Some(_) => {}
                None => all.push((names[at].clone(), word)),
            }
        }
    }
    Ok(Labels::Values(all))
}

/// A list has a word for every name, in their order.
fn of_list(words: &[String], names: &[String]) -> Result<Vec<(usize, String)>, String> {
    if words.len() != names.len() {
        return Err(format!(
            "has {} words, but the column has {} names; expected a word for each of them, in their order: {}",
            words.len(),
            names.len(),
            numbered(names)
        ));
    }
    for (at, word) in words.iter().enumerate() {
        let by_name = names.iter().position(|name| Value::of(name) == Value::of(word));
        if let Some(other) = by_name.or_else(|| place(word, names.len())).filter(|other| *other != at) {
            return Err(format!(
                "has `{}` in place {at}, which can be read in two ways: as a word for {at} `{}`, by its place, or as {other} `{}`; say which \
                 is meant by a mapping: `labels: {{{}: …}}`",
                shortened(word),
                shortened(&names[at]),
                shortened(&names[other]),
                shortened(&names[at])
            ));
        }
    }
    Ok(words.iter().cloned().enumerate().collect())
}

/// The keys of a mapping are names, or all of them are numbers: those of a column whose names are numbers may be both.
fn of_mapping(values: &[(String, String)], names: &[String]) -> Result<Vec<(usize, String)>, String> {
    let values: Vec<&(String, String)> = values.iter().filter(|(key, _)| !is_minus_one(key)).collect();
    let by_name = |key: &str| names.iter().position(|name| Value::of(name) == Value::of(key));
    let by_number = |key: &str| place(key, names.len());
    let all =
        |of: &dyn Fn(&str) -> Option<usize>| values.iter().map(|(key, word)| Some((of(key)?, word.clone()))).collect();
    let as_names: Option<Vec<(usize, String)>> = all(&by_name);
    match (as_names, all(&by_number)) {
        (Some(names), Some(numbers)) if names == numbers => Ok(names),
        (Some(_), Some(_)) => {
            let differs = values.iter().find(|(key, _)| by_name(key) != by_number(key));
            let key = differs.map_or("", |(key, _)| key.as_str());
            Err(two_readings(key, by_name(key), by_number(key), names))
        }
        (Some(found), None) | (None, Some(found)) => Ok(found),
        (None, None) => values
            .iter()
            .map(|(key, word)| match (by_name(key), by_number(key)) {
                (Some(name), Some(number)) if name != number => Err(two_readings(key, Some(name), Some(number), names)),
                (Some(at), _) | (None, Some(at)) => Ok((at, word.clone())),
                (None, None) => Err(unknown(key, names)),
            })
            .collect(),
    }
}

fn unknown(key: &str, names: &[String]) -> String {
    let near = crate::engine::manifest::problem::nearest(key, names.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!(" (did you mean `{}`?)", shortened(near)));
    format!(
        "has `{}`, which is neither a name nor a number of the column{near}; these are {}",
        shortened(key),
        numbered(names)
    )
}

fn two_readings(key: &str, name: Option<usize>, number: Option<usize>, names: &[String]) -> String {
    let shown = |at: Option<usize>| at.map_or_else(String::new, |at| format!("{at} `{}`", shortened(&names[at])));
    format!(
        "has `{}`, which can be read in two ways: as a name it is {}, as a number {}; give a word for each of {}, so that all keys are names, \
         or all numbers",
        shortened(key),
        shown(name),
        shown(number),
        numbered(names)
    )
}

fn two_numbers(at: usize, other: usize, names: &[String]) -> String {
    let (name, of_other) = (shortened(&names[at]), shortened(&names[other]));
    format!(
        "cannot be looked up: `{name}` in a file of text can be read in two ways, as the name of {at} and as the number of `{of_other}`; \
         take Parquet files, or `answer: number`"
    )
}

/// The names with their numbers, for messages.
fn numbered(names: &[String]) -> String {
    const LISTED: usize = 20;
    let shown = names.iter().enumerate().take(LISTED).map(|(at, name)| format!("{at} `{}`", shortened(name)));
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.collect::<Vec<_>>().join(", ") + &more
}

/// The number that a text is, if it is one of so many, from 0.
fn place(text: &str, count: usize) -> Option<usize> {
    let Value::Number(number) = Value::of(text) else { return None };
    number.is_whole().then(|| number.to_string().parse().ok())?.filter(|at| *at < count)
}

/// Whether this is -1, which is no name, and hides an answer unless a mapping has a word for it.
fn is_minus_one(text: &str) -> bool {
    Value::of(text) == Value::of("-1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn mapping(pairs: &[(&str, &str)]) -> Labels {
        Labels::Values(pairs.iter().map(|(key, word)| ((*key).to_owned(), (*word).to_owned())).collect())
    }

    const RTE: [&str; 2] = ["entailment", "not_entailment"];
    const STARS: [&str; 3] = ["1", "2", "3"];

    #[expect(clippy::needless_pass_by_value, reason = "labels are made where they are read")]
    fn read(written: Option<Labels>, names: &[&str]) -> Result<Labels, String> {
        labels(written.as_ref(), &owned(names), Held::Numbers)
    }

    #[test]
    fn names_are_words_unless_others_are_written() {
        assert_eq!(read(None, &RTE).unwrap(), mapping(&[("0", "entailment"), ("1", "not_entailment")]));
        let yes = mapping(&[("0", "yes"), ("1", "no")]);
        assert_eq!(read(Some(Labels::Words(owned(&["yes", "no"]))), &RTE).unwrap(), yes);
        assert_eq!(read(Some(mapping(&[("entailment", "yes"), ("not_entailment", "no")])), &RTE).unwrap(), yes);
        assert_eq!(read(Some(yes.clone()), &RTE).unwrap(), yes);
        assert_eq!(
            read(Some(mapping(&[("1.0", "no"), ("entailment", "yes")])), &RTE).unwrap(),
            mapping(&[("1", "no"), ("0", "yes")])
        );
        let hidden = read(Some(mapping(&[("-1", "none"), ("entailment", "yes")])), &RTE).unwrap();
        assert_eq!(hidden, mapping(&[("0", "yes"), ("-1", "none")]));
    }

    #[test]
    fn text_may_hold_names_too() {
        let either = labels(None, &owned(&RTE), Held::Either).unwrap();
        let both = [
            ("0", "entailment"),
            ("1", "not_entailment"),
            ("entailment", "entailment"),
            ("not_entailment", "not_entailment"),
        ];
        assert_eq!(either, mapping(&both));
        assert!(labels(None, &owned(&STARS), Held::Either).unwrap_err().contains("can be read in two ways"));
        assert_eq!(labels(None, &owned(&["0", "1"]), Held::Either).unwrap(), mapping(&[("0", "0"), ("1", "1")]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_both() {
        let told = |written: Labels, names: &[&str]| read(Some(written), names).unwrap_err();
        assert_eq!(
            told(Labels::Words(owned(&["not_entailment", "entailment"])), &RTE),
            "has `not_entailment` in place 0, which can be read in two ways: as a word for 0 `entailment`, by its place, or as 1 \
             `not_entailment`; say which is meant by a mapping: `labels: {entailment: …}`"
        );
        assert!(told(Labels::Words(owned(&["1", "2"])), &RTE).contains("as 1 `not_entailment`"));
        assert_eq!(
            told(mapping(&[("1", "one"), ("2", "two")]), &STARS),
            "has `1`, which can be read in two ways: as a name it is 0 `1`, as a number 1 `2`; give a word for each of 0 `1`, 1 `2`, 2 `3`, so \
             that all keys are names, or all numbers"
        );
        let all = read(Some(mapping(&[("1", "one"), ("2", "two"), ("3", "three")])), &STARS).unwrap();
        assert_eq!(all, mapping(&[("0", "one"), ("1", "two"), ("2", "three")]));
        let numbers = read(Some(mapping(&[("0", "one"), ("1", "two")])), &STARS).unwrap();
        assert_eq!(numbers, mapping(&[("0", "one"), ("1", "two")]));
    }

    #[test]
    fn what_is_no_name_is_told_with_those_that_are() {
        let told = |written: Labels| read(Some(written), &RTE).unwrap_err();
        assert_eq!(
            told(mapping(&[("entailed", "yes"), ("1", "no")])),
            "has `entailed`, which is neither a name nor a number of the column (did you mean `entailment`?); these are 0 `entailment`, 1 \
             `not_entailment`"
        );
        assert!(told(mapping(&[("2", "yes"), ("1", "no")])).contains("has `2`, which is neither"));
        assert!(told(mapping(&[("true", "yes"), ("1", "no")])).contains("has `true`, which is neither"));
        assert!(told(Labels::Words(owned(&["yes"]))).contains("has 1 words, but the column has 2 names"));
    }
}
