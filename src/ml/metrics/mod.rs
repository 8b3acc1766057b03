//! Measures of quality, as T5 and the official scripts of GLUE, SuperGLUE and SQuAD take them.
//!
//! All are in 0..=100, correlations in -100..=100, and none is ever NaN: where the usual formula divides by zero (constant
//! predictions, no example), the result is 0. Class ids are those of a task's labels; an id below 0 or beyond them stands
//! for an output that is no label.

mod rouge;

pub use rouge::{Measure, rouge, rouge_lsum, rouge1, rouge2};

use super::statistics;
use std::collections::BTreeMap;

/// An output that is none of the labels.
pub const ILLEGAL: i64 = -1;

/// Share of predictions equal to their target.
pub fn accuracy(targets: &[i64], predictions: &[i64]) -> f64 {
    percent(targets.iter().zip(predictions).filter(|(t, p)| t == p).count(), targets.len())
}

/// F1 of class 1 of two. An output that is neither class counts as the wrong one.
pub fn binary_f1(targets: &[i64], predictions: &[i64]) -> f64 {
    let settled: Vec<i64> =
        targets.iter().zip(predictions).map(|(t, p)| if matches!(p, 0 | 1) { *p } else { 1 - t }).collect();
    class_f1(targets, &settled, 1)
}

/// Unweighted mean of the F1 of classes 0 to `classes - 1`, 0 for a class that neither occurs nor is predicted.
pub fn macro_f1(targets: &[i64], predictions: &[i64], classes: usize) -> f64 {
    let scores: Vec<f64> = (0..classes).map(|class| class_f1(targets, predictions, class as i64)).collect();
    statistics::mean(&scores)
}

fn class_f1(targets: &[i64], predictions: &[i64], class: i64) -> f64 {
    let both = targets.iter().zip(predictions).filter(|(t, p)| **t == class && **p == class).count();
    let either = targets.iter().chain(predictions).filter(|id| **id == class).count();
    percent(2 * both, either)
}

/// Matthews correlation for any number of classes (Gorodkin 2004), an illegal output being a class of its own.
pub fn matthews(targets: &[i64], predictions: &[i64]) -> f64 {
    let mut counts: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (target, prediction) in targets.iter().zip(predictions) {
        counts.entry(*target).or_default().0 += 1.0;
        counts.entry(*prediction).or_default().1 += 1.0;
    }
    let n = targets.len() as f64;
    let right = targets.iter().zip(predictions).filter(|(t, p)| t == p).count() as f64;
    let chance: f64 = counts.values().map(|(t, p)| t * p).sum();
    let target_spread = n * n - counts.values().map(|(t, _)| t * t).sum::<f64>();
    let prediction_spread = n * n - counts.values().map(|(_, p)| p * p).sum::<f64>();
    let spread = target_spread * prediction_spread;
    if spread == 0.0 { 0.0 } else { 100.0 * (right * n - chance) / spread.sqrt() }
}

/// Mean over groups, in order of their first appearance, of a measure of each group.
pub fn group_mean(
    groups: &[&str],
    targets: &[i64],
    predictions: &[i64],
    measure: impl Fn(&[i64], &[i64]) -> f64,
) -> f64 {
    let mut members: BTreeMap<&str, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for ((group, target), prediction) in groups.iter().zip(targets).zip(predictions) {
        let (t, p) = members.entry(group).or_default();
        t.push(*target);
        p.push(*prediction);
    }
    statistics::mean(&members.values().map(|(t, p)| measure(t, p)).collect::<Vec<_>>())
}

/// 100 if all predictions equal their targets, else 0.
pub fn all_match(targets: &[i64], predictions: &[i64]) -> f64 {
    if targets == predictions { 100.0 } else { 0.0 }
}

/// Positions of the first example of every group.
pub fn first_of_groups(groups: &[&str]) -> Vec<usize> {
    let mut seen = std::collections::BTreeSet::new();
    (0..groups.len()).filter(|at| seen.insert(groups[*at])).collect()
}

/// Whether a prediction names the referent of a pronoun, for WSC: 1 or 0, or [`ILLEGAL`] if it names nothing.
pub fn names_referent(prediction: &str, referent: &str) -> i64 {
    let (prediction, referent) = (without_determiners(prediction), without_determiners(referent));
    if prediction.is_empty() {
        return ILLEGAL;
    }
    // "Bob" must not count for "Bob's hat".
    let apostrophes = [&prediction, &referent].map(|words| words.iter().any(|word| word.contains('\'')));
    if apostrophes[0] != apostrophes[1] {
        return 0;
    }
    let within = |a: &[String], b: &[String]| a.iter().all(|word| b.contains(word));
    i64::from(within(&prediction, &referent) || within(&referent, &prediction))
}

fn without_determiners(text: &str) -> Vec<String> {
    const DETERMINERS: [&str; 21] = [
        "a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that", "the", "their",
        "these", "this", "those", "which", "whose", "your",
    ];
    let text = text.trim().to_lowercase();
    let words: Vec<String> = text.split(' ').filter(|word| !DETERMINERS.contains(word)).map(str::to_owned).collect();
    // Joined again, an empty text has no words.
    if words.iter().all(String::is_empty) { Vec::new() } else { words }
}

/// Text as SQuAD's script compares it: lower case, without ASCII punctuation and articles, one space between words.
pub fn normalized(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let run = &rest[..end];
        kept.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = &rest[end..];
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Exact match and token F1 of SQuAD: for each example the best over its accepted answers, then the mean.
pub fn squad<A: AsRef<str>>(answers: &[&[A]], predictions: &[&str]) -> (f64, f64) {
    let mut exact = Vec::with_capacity(predictions.len());
    let mut overlap = Vec::with_capacity(predictions.len());
    for (answers, prediction) in answers.iter().zip(predictions) {
        let prediction = normalized(prediction);
        let answers: Vec<String> = answers.iter().map(|answer| normalized(answer.as_ref())).collect();
        exact.push(if answers.contains(&prediction) { 100.0 } else { 0.0 });
        overlap.push(answers.iter().map(|answer| 100.0 * token_f1(answer, &prediction)).fold(0.0, f64::max));
    }
    (statistics::mean(&exact), statistics::mean(&overlap))
}

fn token_f1(answer: &str, prediction: &str) -> f64 {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for token in answer.split(' ') {
        *counts.entry(token).or_default() += 1;
    }
    let mut common = 0;
    for token in prediction.split(' ').filter(|token| !token.is_empty()) {
        if let Some(left) = counts.get_mut(token).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / prediction.split(' ').count() as f64;
    let recall = common as f64 / answer.split(' ').count() as f64;
    2.0 * precision * recall / (precision + recall)
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden, near};

    #[test]
    fn vectors_of_the_t5_tests() {
        assert_eq!(binary_f1(&[0, 1, 1, 0], &[0, 1, 2, 2]), 50.0);
        assert_eq!(group_mean(&["a", "a", "b"], &[0, 1, 0], &[0, 0, 1], accuracy), 25.0);
        let first = first_of_groups(&["a", "a", "b"]);
        let pick = |ids: [i64; 3]| first.iter().map(|at| ids[*at]).collect::<Vec<_>>();
        assert_eq!(accuracy(&pick([0, 0, 1]), &pick([0, 0, 0])), 50.0);
        let (exact, overlap) = squad(&[&["abc abd", "$$$$"]], &["abd"]);
        assert_eq!(exact, 0.0);
        near(overlap, 200.0 / 3.0, 1e-12);
        assert_eq!(names_referent("fuzzy bunny", "fuzzy hungry bunny"), 1);
        assert_eq!(names_referent("Bob's hat", "Bob"), 0);
        assert_eq!(names_referent("a this", "Bob"), -1);
    }

    #[test]
    fn referents_ignore_case_and_determiners() {
        assert_eq!(names_referent(" The Bunny ", "a bunny"), 1);
        assert_eq!(names_referent("the dog", "the bunny"), 0);
        assert_eq!(names_referent("", "the bunny"), -1);
    }

    #[test]
    fn texts_are_normalised_as_by_squad() {
        assert_eq!(normalized(" The  quick, brown-fox! A an"), "quick brownfox");
        assert_eq!(normalized("Theatre the—a"), "theatre —");
        assert_eq!(normalized("a_n"), "");
    }

    #[test]
    fn nothing_to_score_is_zero() {
        assert_eq!([accuracy(&[], &[]), binary_f1(&[], &[]), macro_f1(&[], &[], 3), matthews(&[], &[])], [0.0; 4]);
        assert_eq!(squad::<&str>(&[], &[]), (0.0, 0.0));
        assert_eq!(group_mean(&[], &[], &[], all_match), 0.0);
        assert_eq!(matthews(&[0, 1], &[1, 1]), 0.0);
    }

    #[test]
    fn classes_agree_with_scikit_learn() {
        let cases = golden()["classes"].as_array().unwrap().clone();
        assert!(cases.len() >= 20);
        for case in cases {
            let ids = |name: &str| -> Vec<i64> { serde_json::from_value(case[name].clone()).unwrap() };
            let (targets, predictions) = (ids("targets"), ids("predictions"));
            let classes = case["classes"].as_u64().unwrap() as usize;
            near(accuracy(&targets, &predictions), case["accuracy"].as_f64().unwrap(), 1e-9);
            near(macro_f1(&targets, &predictions, classes), case["macro_f1"].as_f64().unwrap(), 1e-9);
            near(matthews(&targets, &predictions), case["matthews"].as_f64().unwrap(), 1e-9);
            if classes == 2 {
                near(binary_f1(&targets, &predictions), case["binary_f1"].as_f64().unwrap(), 1e-9);
            }
            let groups: Vec<String> = serde_json::from_value(case["groups"].clone()).unwrap();
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            near(
                group_mean(&groups, &targets, &predictions, all_match),
                case["group_exact_match"].as_f64().unwrap(),
                1e-9,
            );
        }
    }

    #[test]
    fn squad_agrees_with_an_independent_scorer() {
        let cases = golden()["squad"].as_array().unwrap().clone();
        assert!(cases.len() >= 10);
        for case in cases {
            let answers: Vec<Vec<String>> = serde_json::from_value(case["answers"].clone()).unwrap();
            let predictions: Vec<String> = serde_json::from_value(case["predictions"].clone()).unwrap();
            let answers: Vec<&[String]> = answers.iter().map(Vec::as_slice).collect();
            let predictions: Vec<&str> = predictions.iter().map(String::as_str).collect();
            let (exact, overlap) = squad(&answers, &predictions);
            near(exact, case["exact_match"].as_f64().unwrap(), 1e-9);
            near(overlap, case["token_f1"].as_f64().unwrap(), 1e-9);
        }
    }
}
