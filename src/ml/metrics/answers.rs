//! Measures of free text: SQuAD's, and whether a text names the referent of a pronoun.

use super::classes::ILLEGAL;
use crate::ml::statistics;
use std::collections::BTreeMap;

/// Texts that were asked for and said, example by example.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'t> {
    /// What is learned.
    pub targets: &'t [&'t str],
    /// All that is accepted, the target included.
    pub answers: &'t [&'t [String]],
    /// What was to be rewritten; nothing where no metric asks for it.
    pub sources: &'t [&'t str],
    /// What was said.
    pub predictions: &'t [&'t str],
}

impl Texts<'_> {
    /// The mean over examples of a measure from 0 to 1 in percent, the best over an example's accepted answers. The measure gets
    /// the answer first, then the prediction.
    pub(super) fn best(&self, measure: impl Fn(&str, &str) -> f64) -> f64 {
        let best = |(answers, prediction): (&&[String], &&str)| {
            answers.iter().map(|answer| 100.0 * measure(answer, prediction)).fold(0.0, f64::max)
        };
        statistics::mean(&self.answers.iter().zip(self.predictions).map(best).collect::<Vec<_>>())
    }
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
fn normalized(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    without_articles(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text with a blank in the place of every article.
pub(super) fn without_articles(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let run = &rest[..end];
        kept.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = &rest[end..];
    }
    kept
}

/// Exact match of SQuAD: 1 if both texts are the same but for their form.
pub(super) fn exact_match(answer: &str, prediction: &str) -> f64 {
    f64::from(normalized(answer) == normalized(prediction))
}

/// Token F1 of SQuAD: how many words two texts share.
pub(super) fn token_f1(answer: &str, prediction: &str) -> f64 {
    let (answer, prediction) = (normalized(answer), normalized(prediction));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden, near};

    fn squad(answers: &[Vec<String>], predictions: &[&str]) -> (f64, f64) {
        let answers: Vec<&[String]> = answers.iter().map(Vec::as_slice).collect();
        let texts = Texts { targets: &[], answers: &answers, sources: &[], predictions };
        (texts.best(exact_match), texts.best(token_f1))
    }

    #[test]
    fn vectors_of_the_t5_tests() {
        let (exact, overlap) = squad(&[vec!["abc abd".to_owned(), "$$$$".to_owned()]], &["abd"]);
        assert_eq!(exact, 0.0);
        near(overlap, 200.0 / 3.0, 1e-12);
        assert_eq!(names_referent("fuzzy bunny", "fuzzy hungry bunny"), 1);
        assert_eq!(names_referent("Bob's hat", "Bob"), 0);
        assert_eq!(names_referent("a this", "Bob"), -1);
        assert_eq!(squad(&[], &[]), (0.0, 0.0));
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
    fn squad_agrees_with_an_independent_scorer() {
        let cases = golden()["squad"].as_array().unwrap().clone();
        assert!(cases.len() >= 10);
        for case in cases {
            let answers: Vec<Vec<String>> = serde_json::from_value(case["answers"].clone()).unwrap();
            let predictions: Vec<String> = serde_json::from_value(case["predictions"].clone()).unwrap();
            let predictions: Vec<&str> = predictions.iter().map(String::as_str).collect();
            let (exact, overlap) = squad(&answers, &predictions);
            near(exact, case["exact_match"].as_f64().unwrap(), 1e-9);
            near(overlap, case["token_f1"].as_f64().unwrap(), 1e-9);
        }
    }
}
