//! BLEU (Papineni et al. 2002) of a whole set, as sacreBLEU takes it with the settings of T5: international tokens, exponential smoothing,
//! no effective order. Of several accepted answers the counts of each n-gram are clipped by the answer with most of it, and the length
//! is that of the answer nearest to the prediction, the shorter one of two.

use super::answers::Texts;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The longest n-grams.
const LONGEST: usize = 4;

/// What was matched in all predictions.
#[derive(Default)]
struct Counts {
    matched: [usize; LONGEST],
    said: [usize; LONGEST],
    said_length: usize,
    asked_length: usize,
}

/// The score of all examples together, from 0 to 100.
pub(super) fn bleu(of: &Texts<'_>) -> f64 {
    let mut counts = Counts::default();
    for (answers, prediction) in of.answers.iter().zip(of.predictions) {
        let answers: Vec<Vec<String>> = answers.iter().map(|answer| tokens(answer)).collect();
        counts.add(&answers, &tokens(prediction));
    }
    counts.score()
}

impl Counts {
    fn add(&mut self, answers: &[Vec<String>], prediction: &[String]) {
        self.said_length += prediction.len();
        let distance = |answer: &Vec<String>| (answer.len().abs_diff(prediction.len()), answer.len());
        self.asked_length += answers.iter().min_by_key(|answer| distance(answer)).map_or(0, Vec::len);
        for order in 1..=LONGEST {
            let of_answers: Vec<HashMap<&[String], usize>> =
                answers.iter().map(|answer| grams(answer, order)).collect();
            for (gram, count) in grams(prediction, order) {
                let most = of_answers.iter().filter_map(|answer| answer.get(gram).copied()).max().unwrap_or(0);
                self.matched[order - 1] += count.min(most);
                self.said[order - 1] += count;
            }
        }
    }

    fn score(&self) -> f64 {
        if self.matched == [0; LONGEST] || self.said.contains(&0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let logarithms = self.matched.iter().zip(self.said).map(|(matched, said)| {
            if *matched > 0 {
                return (*matched as f64 / said as f64).ln();
            }
            smoothing *= 2.0;
            (1.0 / (smoothing * said as f64)).ln()
        });
        let mean = logarithms.sum::<f64>() / LONGEST as f64;
        100.0 * self.brevity() * mean.exp()
    }

    /// The penalty for predictions that are too short.
    fn brevity(&self) -> f64 {
        let (said, asked) = (self.said_length as f64, self.asked_length as f64);
        if said < asked { (1.0 - asked / said).exp() } else { 1.0 }
    }
}

/// How often a text has each run of so many tokens.
pub(super) fn grams(tokens: &[String], order: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    tokens.windows(order).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}

/// Tokens of any language: punctuation apart from all but digits beside it, symbols by themselves (`intl` of sacreBLEU).
fn tokens(text: &str) -> Vec<String> {
    static RULES: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
        let rule = |pattern: &str| Regex::new(pattern).expect("a pattern that is written here");
        [(rule(r"(\P{N})(\p{P})"), "$1 $2 "), (rule(r"(\p{P})(\P{N})"), " $1 $2"), (rule(r"(\p{S})"), " $1 ")]
    });
    let spaced =
        RULES.iter().fold(text.trim_end().to_owned(), |text, (rule, by)| rule.replace_all(&text, *by).into_owned());
    spaced.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden_of_generation, near};
    use serde_json::Value;

    fn texts(value: &Value) -> Vec<String> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn tokens_are_those_of_sacrebleu() {
        assert_eq!(tokens("It's 3,000 km (ca.)€5."), ["It", "'", "s", "3,000", "km", "(", "ca", ".", ")", "€", "5."]);
        assert!(tokens(" \n").is_empty());
    }

    #[test]
    fn scores_are_those_of_sacrebleu() {
        let cases = golden_of_generation()["bleu"].as_array().unwrap().clone();
        assert!(cases.len() >= 10);
        for case in cases {
            let answers: Vec<Vec<String>> = serde_json::from_value(case["answers"].clone()).unwrap();
            let predictions = texts(&case["predictions"]);
            let predictions: Vec<&str> = predictions.iter().map(String::as_str).collect();
            let answers: Vec<&[String]> = answers.iter().map(Vec::as_slice).collect();
            let of = Texts { targets: &[], answers: &answers, sources: &[], predictions: &predictions };
            near(bleu(&of), case["score"].as_f64().unwrap(), 1e-9);
        }
    }
}
